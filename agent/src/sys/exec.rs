//! The one place that starts other programs: absolute path, argument vector, no shell, empty environment,
//! bounded output and time, killed with its whole process group at the deadline.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout_at},
};

/// Where distributions keep what the agent calls.
const PLACES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
const UNSHARE: &str = "unshare";
const SETPRIV: &str = "setpriv";
/// `nobody`, by number: the name may be missing.
const NOBODY: &str = "65534";

/// What is run.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
    deadline: Duration,
    max_output: usize,
}

/// What it said and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, cut at the limit.
    pub stdout: Vec<u8>,
    /// Its standard error, cut at the limit.
    pub stderr: Vec<u8>,
}

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It was not started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was killed at the deadline.
    #[error("{program} had not ended after {deadline:?} and was killed")]
    Deadline {
        /// Which program.
        program: PathBuf,
        /// The time that it had.
        deadline: Duration,
    },
    /// Reading from it or waiting for it failed.
    #[error("{program}: {source}")]
    Io {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It must not run with the agent's rights and network, and there is no means to take them away.
    #[error("{program} is not run: {why}")]
    NotConfined {
        /// Which program.
        program: PathBuf,
        /// What is missing.
        why: &'static str,
    },
}

impl Program {
    /// A program by its absolute path, which may write 64 KiB and take 5 s.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, args, env) = (path.into(), Vec::new(), Vec::new());
        Self { path, args, env, deadline: Duration::from_secs(5), max_output: 64 << 10 }
    }

    /// With these arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With these words in its environment, beside `LC_ALL` and `PATH`.
    #[must_use]
    pub fn env(mut self, env: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.env.extend(env);
        self
    }

    /// With another deadline.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With another limit to what is kept of each of its outputs, in bytes.
    #[must_use]
    pub const fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Without the agent's rights and without network: as `nobody` in a network namespace of its own where
    /// the agent is root. Where it is not root it has no rights to lose, and cannot cut off the network:
    /// then only with `allow_network`.
    ///
    /// # Errors
    /// [`ExecError::NotConfined`] where that cannot be done.
    pub fn confined(self, allow_network: bool) -> Result<Self, ExecError> {
        self.confined_as(nix::unistd::geteuid().is_root(), allow_network, find(UNSHARE), find(SETPRIV))
    }

    fn confined_as(
        self,
        root: bool,
        allow_network: bool,
        unshare: Option<PathBuf>,
        setpriv: Option<PathBuf>,
    ) -> Result<Self, ExecError> {
        let not = |why| ExecError::NotConfined { program: self.path.clone(), why };
        if !root {
            let why = "an agent that is not root cannot cut it off from the network; set allow_network = true \
                       for this command in the policy if it may have it";
            return if allow_network { Ok(self) } else { Err(not(why)) };
        }
        let setpriv = setpriv.ok_or_else(|| not("setpriv (util-linux) is not installed"))?;
        let drop_rights = [
            "--reuid",
            NOBODY,
            "--regid",
            NOBODY,
            "--clear-groups",
            "--no-new-privs",
            "--inh-caps=-all",
            "--bounding-set=-all",
            "--",
        ];
        let mut args: Vec<String> = Vec::new();
        let path = if allow_network {
            setpriv
        } else {
            args.extend(["--net".into(), "--".into(), setpriv.display().to_string()]);
            unshare.ok_or_else(|| not("unshare (util-linux) is not installed"))?
        };
        args.extend(drop_rights.map(Into::into));
        args.push(self.path.display().to_string());
        args.extend(self.args);
        Ok(Self { path, args, ..self })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started, does not end in time (it is killed with its process group), or cannot be read.
    /// A failing exit status is no error here: the caller knows what it means.
    pub async fn run(&self) -> Result<Output, ExecError> {
        // Read on past the limit, so that a talkative program ends instead of blocking.
        self.to_its_end(|stdout| drain(stdout, self.max_output)).await
    }

    /// Runs it to its end and hands on each line of its standard output as it comes, without its newline: what is
    /// long is never held whole. [`Output::stdout`] stays empty.
    ///
    /// # Errors
    /// As [`Program::run`]; or when a line is longer than `longest`, or `each` fails. It is killed then.
    pub async fn run_lines(
        &self,
        longest: usize,
        mut each: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
    ) -> Result<Output, ExecError> {
        self.to_its_end(|stdout| async move {
            lines(stdout, longest, &mut each).await?;
            Ok(Vec::new())
        })
        .await
    }

    async fn to_its_end<F>(&self, read: impl FnOnce(Option<ChildStdout>) -> F) -> Result<Output, ExecError>
    where
        F: Future<Output = std::io::Result<Vec<u8>>>,
    {
        let until = Instant::now() + self.deadline;
        let mut child = self.spawn()?;
        let mut group = Group::of(&child);
        let (stdout, stderr) = (read(child.stdout.take()), child.stderr.take());
        let work = async {
            let (stdout, stderr) = tokio::try_join!(stdout, drain(stderr, self.max_output))?;
            Ok(Output { status: child.wait().await?, stdout, stderr })
        };
        let done = timeout_at(until, work).await;
        if let Ok(Ok(output)) = done {
            group.0 = None;
            return Ok(output);
        }
        group.kill();
        let _ = child.wait().await;
        match done {
            Ok(done) => done.map_err(|source| ExecError::Io { program: self.path.clone(), source }),
            Err(_) => Err(ExecError::Deadline { program: self.path.clone(), deadline: self.deadline }),
        }
    }

    fn spawn(&self) -> Result<Child, ExecError> {
        Command::new(&self.path)
            .args(&self.args)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.env.iter().copied())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ExecError::Start { program: self.path.clone(), source })
    }
}

/// A child's process group, by the number of its leader; `None` once it has ended. Killed when it is dropped
/// before that: whoever waited for it was given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Ends every process in it. None left is as good.
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Where a system program lies, or `None`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(&PLACES.map(Path::new), name)
}

fn find_in(places: &[&Path], name: &str) -> Option<PathBuf> {
    places.iter().map(|place| place.join(name)).find(|path| path.is_file())
}

/// Reads to the end and keeps the first `limit` bytes.
async fn drain<R: AsyncRead + Unpin>(from: Option<R>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return Ok(kept) };
    let mut buffer = [0u8; 4096];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = limit.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
    }
}

/// Hands on each line. Beside the buffer no more than one line is held.
async fn lines<R: AsyncRead + Unpin>(
    from: Option<R>,
    longest: usize,
    each: &mut (impl FnMut(&[u8]) -> std::io::Result<()> + Send),
) -> std::io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut from = BufReader::with_capacity(64 << 10, from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let room = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
        if (&mut from).take(room).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > longest {
            let why = format!("it wrote a line of more than {longest} bytes");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        each(&line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn a_program_sees_none_of_the_agents_environment() {
        let output = Program::new("/usr/bin/env").run().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(output.status.success());
    }

    #[tokio::test]
    async fn endless_output_is_cut_and_the_program_killed_at_the_deadline() {
        let error =
            Program::new("/usr/bin/yes").deadline(Duration::from_millis(200)).run().await.unwrap_err();
        assert!(error.to_string().contains("yes had not ended after 200ms"), "{error}");
        let output = sh("head -c 300000 /dev/zero").run().await.unwrap();
        assert_eq!(output.stdout.len(), 64 << 10);
    }

    #[tokio::test]
    async fn lines_are_handed_on_and_a_longer_one_ends_it() {
        let (mut count, mut last) = (0u32, Vec::new());
        let output = sh("seq 100000; printf end; echo no >&2; exit 3")
            .run_lines(64, |line| {
                count += 1;
                last = line.to_vec();
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!((count, last.as_slice(), output.status.code()), (100_001, &b"end"[..], Some(3)));
        assert_eq!((output.stdout.len(), output.stderr.as_slice()), (0, &b"no\n"[..]));
        let error = sh("head -c 65 /dev/zero; sleep 60").run_lines(64, |_| Ok(())).await.unwrap_err();
        assert!(error.to_string().contains("a line of more than 64 bytes"), "{error}");
        let error = sh("echo x; sleep 60").run_lines(64, |_| Err(std::io::Error::other("full"))).await;
        assert!(error.unwrap_err().to_string().contains("full"));
        let slow = sh("sleep 60").deadline(Duration::from_millis(100)).run_lines(64, |_| Ok(())).await;
        assert!(matches!(slow, Err(ExecError::Deadline { .. })));
    }

    #[tokio::test]
    async fn the_deadline_ends_the_children_of_the_program_too() {
        let marker = format!("{}.{}", 3000 + std::process::id() % 1000, std::process::id());
        let script = format!("sleep {marker} & sleep {marker}");
        assert!(sh(&script).deadline(Duration::from_millis(200)).run().await.is_err());
        let alive = sh(&format!("ps -eo args | grep -c '^sleep {marker}'")).run().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&alive.stdout).trim(), "0");
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_leaves_no_process() {
        let marker = format!("{}.{}", 5000 + std::process::id() % 1000, std::process::id());
        let script = format!("sleep {marker} & sleep {marker}");
        let program = sh(&script);
        assert!(tokio::time::timeout(Duration::from_millis(200), program.run()).await.is_err());
        let alive = sh(&format!("ps -eo args | grep -c '^sleep {marker}'")).run().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&alive.stdout).trim(), "0");
    }

    #[tokio::test]
    async fn a_shells_characters_in_an_argument_mean_nothing() {
        let output = Program::new("/bin/echo").args(["$HOME; reboot", "`id`"]).run().await.unwrap();
        assert_eq!(output.stdout, b"$HOME; reboot `id`\n");
    }

    #[tokio::test]
    async fn of_two_versions_of_a_tool_the_systems_own_is_run_and_no_path_of_somebodys_says_which() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = dirs.each_ref().map(tempfile::TempDir::path);
        std::fs::create_dir(first.join("virsh")).unwrap();
        for (dir, name) in [(second, "virsh"), (first, "ovs-vsctl"), (second, "ovs-vsctl")] {
            std::fs::write(dir.join(name), "").unwrap();
        }
        assert_eq!(
            find_in(&[first, second], "virsh"),
            Some(second.join("virsh")),
            "a directory is no program"
        );
        assert_eq!(
            find_in(&[first, second], "ovs-vsctl"),
            Some(first.join("ovs-vsctl")),
            "always the same one"
        );
        assert_eq!(find_in(&[first, second], "ovs-ofctl"), None);
        assert!(PLACES.iter().all(|place| Path::new(place).is_absolute() && !place.contains("local")));
        assert!(find("sh").unwrap().is_absolute());
        // What it starts in its turn finds the system's own too.
        let said = sh("echo $PATH").run().await.unwrap().stdout;
        assert_eq!(said, b"/usr/sbin:/usr/bin:/sbin:/bin\n");
    }

    #[tokio::test]
    async fn a_confined_program_is_nobody_and_has_no_network() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let script = "id -u; id -G; cat /proc/self/net/dev | tail -n +3 | cut -d: -f1; grep -i capbnd /proc/self/status";
        let output = sh(script).confined(false).unwrap().run().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace(char::is_whitespace, " ");
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["65534", "65534", "lo", "CapBnd:", "0000000000000000"]
        );
    }

    #[test]
    fn without_the_means_to_confine_nothing_is_run() {
        let some = || Some(PathBuf::from("/usr/bin/x"));
        let try_as = |root, network, unshare, setpriv| {
            Program::new("/bin/true").confined_as(root, network, unshare, setpriv).is_ok()
        };
        assert!(!try_as(false, false, some(), some()));
        assert!(try_as(false, true, None, None));
        assert!(!try_as(true, false, None, some()));
        assert!(!try_as(true, true, some(), None));
        assert!(try_as(true, true, None, some()));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Program::new("/nonexistent/x").run().await.unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/x could not be started"), "{error}");
    }
}
