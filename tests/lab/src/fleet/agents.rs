//! The agent on a node: installed as an administrator would, and hurt as none would.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use super::{Fleet, Outfit};
use crate::exec::last_lines;
use crate::node::Node;
use crate::wait::until;
use crate::{Error, Result, built};

/// The unit as it is shipped.
const UNIT: &str = include_str!("../../../../deploy/systemd/drydock-agent.service");
/// What takes back at boot what was not confirmed, as it is shipped.
const REVERT_UNIT: &str = include_str!("../../../../deploy/systemd/drydock-revert.service");
const SERVICE: &str = "drydock-agent.service";
const REVERT_SERVICE: &str = "drydock-revert.service";
/// The secret signing key, in the fleet's directory.
pub(crate) const SIGNING_KEY: &str = "sign.key";
/// The key that opens backups, in the fleet's directory.
const BACKUP_KEY: &str = "backup.key";

#[derive(Deserialize)]
struct NewToken {
    token: String,
}

impl Fleet<'_> {
    /// Makes the signing key and the backup key; gives the policy of every node.
    pub(super) fn make_policy(&self, outfit: &Outfit<'_>) -> Result<String> {
        let signing = self.succeed(&["artifact", "keygen", SIGNING_KEY, "--no-password"])?;
        let Outfit { policy, tables, backups, .. } = outfit;
        let recipient = if *backups {
            format!("backup_recipient = \"{}\"\n", self.make_backup_key()?)
        } else {
            String::new()
        };
        // What keygen printed is a table, so it comes last.
        Ok(format!("{policy}\n{recipient}\n{tables}\n{signing}\n"))
    }

    /// Makes the backup key; gives its public half.
    fn make_backup_key(&self) -> Result<String> {
        let key = self.lab.node(1).run(&["age-keygen"])?;
        let file = self.backup_key();
        fs::write(&file, &key).map_err(Error::io("write", &file))?;
        let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: "));
        let recipient =
            recipient.ok_or_else(|| Error::Unfit("age-keygen printed no public key".to_owned()))?;
        Ok(recipient.to_owned())
    }

    /// The file with the key that opens backups. No node and no coordinator has it.
    #[must_use]
    pub fn backup_key(&self) -> PathBuf {
        self.dir().join(BACKUP_KEY)
    }

    /// Binary, unit, policy; enrolled by a one-time token; started.
    pub(super) fn install_agent(&self, node: &Node, policy: &str, label: &str) -> Result<()> {
        let agent = built::program("drydock-agent", "DRYDOCK_AGENT")?;
        node.copy_in(&agent, "/usr/bin/drydock-agent", 0o755)?;
        node.write_file(&format!("/etc/systemd/system/{SERVICE}"), UNIT.as_bytes(), 0o644)?;
        node.write_file(&format!("/etc/systemd/system/{REVERT_SERVICE}"), REVERT_UNIT.as_bytes(), 0o644)?;
        node.write_file("/etc/drydock/agent.toml", policy.as_bytes(), 0o644)?;
        let name = node.name();
        let NewToken { token } = self.json(&["token", "create", &name, "--label", label])?;
        node.write_file("/run/join-token", token.as_bytes(), 0o600)?;
        node.run(&["drydock-agent", "enrol", "--token-file", "/run/join-token", "--name", &name])?;
        node.run(&["rm", "/run/join-token"])?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "enable", "--quiet", SERVICE, REVERT_SERVICE])?;
        let started = node.exec(&["systemctl", "start", SERVICE])?;
        if !started.status.success() {
            let log = node.exec(&["journalctl", "-q", "-n", "15", "-o", "cat", "-u", SERVICE])?;
            let said = format!("{}\n{}", started.error_text(), log.text());
            return Err(Error::Unfit(format!(
                "the agent on {name} does not start:{}",
                last_lines(said.as_bytes())
            )));
        }
        Ok(())
    }
}

/// The agent's process as the host sees it.
///
/// # Errors
/// When it does not run.
pub fn pid(node: &Node) -> Result<Pid> {
    find(node).ok_or_else(|| Error::Unfit(format!("no drydock-agent runs on {}", node.name())))
}

fn find(node: &Node) -> Option<Pid> {
    let is_agent = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "drydock-agent")
    };
    node.container_pids().into_iter().find(is_agent).map(Pid::from_raw)
}

/// Sends a signal to the agent's process. False: there was none to send it to.
///
/// # Errors
/// When the signal cannot be sent for another reason.
pub fn signal(node: &Node, signal: Signal) -> Result<bool> {
    let Some(pid) = find(node) else { return Ok(false) };
    match kill(pid, signal) {
        Ok(()) => Ok(true),
        Err(nix::errno::Errno::ESRCH) => Ok(false),
        Err(errno) => {
            Err(Error::Unfit(format!("cannot send {signal} to the agent on {}: {errno}", node.name())))
        }
    }
}

/// Waits until systemd has started the agent again.
///
/// # Errors
/// When it does not within 15 s.
pub fn wait_back(node: &Node) -> Result<Pid> {
    until(
        &format!("systemd to start the agent on {} again", node.name()),
        Duration::from_secs(15),
        Duration::from_millis(20),
        || Ok(find(node)),
        || node.console_tail(),
    )
}
