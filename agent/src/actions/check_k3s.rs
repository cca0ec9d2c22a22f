//! Sees that K3s is here as its installer sets it up, that a restart of its unit leaves pods alone, and that what runs
//! is what lies there: else the way back would lead to another K3s than the one that ran. Only looks, and everything of
//! it can be refused ahead.

use std::collections::BTreeMap;

use async_trait::async_trait;
use drydock_types::{AbsPath, outcome::Evidence, step::CheckK3s};

use super::{Cx, Problem, look::Look};
use crate::{k3s::K3s, policy::BinaryRule, sys::unpacked};

/// The look at one unit.
#[derive(Debug)]
pub struct Check<'a>(pub &'a CheckK3s);

impl Check<'_> {
    async fn judge(&self, k3s: &K3s, binaries: &BTreeMap<AbsPath, BinaryRule>) -> Result<(), Problem> {
        k3s.check(self.0)?;
        let (path, pid) = (&self.0.path, k3s.main_pid);
        if pid == 0 || unpacked::runs_now(pid, path.as_str(), binaries).await {
            return Ok(());
        }
        let id = &k3s.id;
        Err(Problem::new(format!(
            "what runs is not the file at {path}: the main process of {id} ({pid}) was started from another one, or \
             unpacks where the policy does not say. The way back would put {path} in place, and not what ran"
        ))
        .next(format!("ls -l /proc/{pid}/exe; systemctl restart {id}, or put the file back that it was started from"))
        .next(format!(
            "if K3s keeps its data elsewhere than by default: unpacks_under of \"{path}\" in the agent's policy"
        )))
    }
}

#[async_trait]
impl Look for Check<'_> {
    async fn ahead(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        let k3s = K3s::look(cx.host, &self.0.unit).await?;
        self.judge(&k3s, &cx.host.policy.binaries).await
    }

    /// Looked at again: between the two somebody may have written the unit anew.
    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        self.ahead(cx).await.map(|()| Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        process::{Child, Command, Stdio},
    };

    use drydock_types::{UnitName, step::K3sRole};

    use super::*;
    use crate::sys::units::{Started, UnitInfo};

    const OLD: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    struct Running(Child);

    impl Running {
        fn start(program: &Path) -> Self {
            Self(Command::new(program).arg("600").stdin(Stdio::null()).spawn().unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn what_runs_and_is_not_the_file_at_the_path_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let absolute = |path: &Path| AbsPath::parse(path.to_str().unwrap()).unwrap();
        let (program, data) = (dir.path().join("k3s"), dir.path().join("data"));
        let unpacked = data.join(OLD).join("bin/k3s");
        fs::create_dir_all(unpacked.parent().unwrap()).unwrap();
        fs::copy("/bin/sleep", &unpacked).unwrap();
        fs::write(&program, format!("build/data/{OLD}.tar.zst")).unwrap();
        let rule = BinaryRule { unpacks_under: vec![absolute(&data)], ..BinaryRule::default() };
        let binaries = BTreeMap::from([(absolute(&program), rule)]);
        let config = CheckK3s {
            unit: UnitName::parse("k3s.service").unwrap(),
            path: absolute(&program),
            role: K3sRole::Server,
        };
        let settings = dir.path().join("config.yaml");
        fs::write(&settings, "").unwrap();
        let exec = [program.to_str().unwrap(), "server", "--config", settings.to_str().unwrap()];
        let k3s = |main_pid| {
            let started = Started { exec: exec.map(str::to_owned).to_vec(), ..Started::default() };
            let (id, kill_mode) = ("k3s.service".into(), "process".into());
            K3s::of(&UnitInfo { id, kill_mode, main_pid, started, ..UnitInfo::default() }).unwrap()
        };
        let (check, running) = (Check(&config), Running::start(&unpacked));
        let pid = running.0.id();
        check.judge(&k3s(pid), &binaries).await.unwrap();
        check.judge(&k3s(0), &binaries).await.unwrap();
        // Somebody has put another release there and not restarted the unit.
        let other = dir.path().join("other");
        fs::write(&other, "build/data/2222.tar.zst").unwrap();
        fs::rename(&other, &program).unwrap();
        let problem = check.judge(&k3s(pid), &binaries).await.unwrap_err();
        assert!(problem.what.contains("what runs is not the file at"), "{problem}");
        assert!(problem.next[0].contains("systemctl restart k3s.service"), "{problem:?}");
        // And one that unpacks nothing is the file itself, or it is not.
        fs::copy("/bin/sleep", dir.path().join("plain")).unwrap();
        fs::rename(dir.path().join("plain"), &program).unwrap();
        let plain = Running::start(&program);
        check.judge(&k3s(plain.0.id()), &binaries).await.unwrap();
    }
}
