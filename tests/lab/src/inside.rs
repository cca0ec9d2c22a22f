//! Running commands and moving files inside a node.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cgroup::{Cgroup, JOIN};
use crate::exec::{self, Cmd, Output};
use crate::guard::ChildGuard;
use crate::node::Node;
use crate::{Error, Result};

/// Writes standard input to the file $1 with mode $2, at once.
const COPY_IN: &str = r#"set -e
mkdir -p -- "$(dirname -- "$1")"
cat >"$1.drydock-lab"
chmod "$2" "$1.drydock-lab"
mv -fT -- "$1.drydock-lab" "$1""#;
/// Stands between `nsenter` and the command, outside the node's PID namespace: lets the command
/// handle the guard's SIGTERM itself and hands on its exit code. (nsenter waiting by itself would
/// die of the signal first, and stops for good when its child is stopped.)
const STAND_BY: &str = r#"trap : TERM INT HUP; "$@"; exit $?"#;
/// The search path inside a node.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long [`Node::exec`] waits.
const EXEC: Duration = Duration::from_secs(60);

impl Node {
    /// Runs a command in the node as root; any exit code is fine. See [`Node::exec_within`].
    ///
    /// # Errors
    /// When the node is off or the command does not end within 60 s.
    pub fn exec<S: AsRef<str>>(&self, words: &[S]) -> Result<Output> {
        self.exec_within(EXEC, words)
    }

    /// Runs a command in the node as root, with an empty environment but for PATH, HOME and LANG.
    ///
    /// # Errors
    /// When the node is off, or the command does not end in time: it is killed then.
    pub fn exec_within<S: AsRef<str>>(&self, deadline: Duration, words: &[S]) -> Result<Output> {
        self.enter(words, None, deadline)
    }

    /// Like [`Node::exec`], but any exit code other than 0 is an error; gives what was printed.
    ///
    /// # Errors
    /// As for `exec`, and when the command fails.
    pub fn run<S: AsRef<str>>(&self, words: &[S]) -> Result<String> {
        let output = self.exec(words)?;
        exec::succeed(&self.purpose("running a command"), &join(words), &output)?;
        Ok(output.text())
    }

    /// Starts a command in the node and leaves it running until the guard is dropped.
    ///
    /// # Errors
    /// When the node is off or the command cannot be started.
    pub fn spawn<S: AsRef<str>>(&self, name: &str, words: &[S]) -> Result<ChildGuard> {
        let command = self.entering(words)?;
        let log = self.record.work.join(format!("{}-{name}.log", self.name()));
        ChildGuard::start(name, self.new_exec_group(), &command, log)
    }

    /// Copies a file of the host into the node, in one step, with the mode given.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the node is off.
    pub fn copy_in(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let file = File::open(from).map_err(Error::io("read", from))?;
        self.put(file, to, mode)
    }

    /// Writes a file in the node, in one step, with the mode given.
    ///
    /// # Errors
    /// When the file cannot be written or the node is off.
    pub fn write_file(&self, to: &str, content: &[u8], mode: u32) -> Result<()> {
        self.put(exec::input(content)?, to, mode)
    }

    /// Reads a file in the node.
    ///
    /// # Errors
    /// When it cannot be read or the node is off.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let words = ["cat", "--", path];
        let output = self.exec(&words)?;
        exec::succeed(&self.purpose("reading a file"), &words.join(" "), &output)?;
        Ok(output.stdout)
    }

    fn put(&self, content: File, to: &str, mode: u32) -> Result<()> {
        let mode = format!("{mode:o}");
        let words = ["sh", "-c", COPY_IN, "sh", to, &mode];
        let output = self.enter(&words, Some(content), EXEC)?;
        exec::succeed(&self.purpose("writing a file"), to, &output)
    }

    fn enter<S: AsRef<str>>(&self, words: &[S], stdin: Option<File>, deadline: Duration) -> Result<Output> {
        let group = self.new_exec_group();
        group.create()?;
        let door = group.door();
        let join = ["sh".as_ref(), "-c".as_ref(), JOIN.as_ref(), door.as_os_str()];
        let entering = self.entering(words);
        let outcome = entering.and_then(|inner| {
            let command = exec::wrap(&join, &inner).unwrap_or(inner);
            let mut cmd = Cmd::of(self.purpose("running a command"), command).deadline(deadline);
            if let Some(file) = stdin {
                cmd = cmd.stdin(file);
            }
            cmd.output_or_kill(|| {
                // The command has failed already; what is left of it goes with the lab.
                let _ = group.kill();
            })
        });
        // Busy when the command left something running in the background, which is its right.
        let _ = fs::remove_dir(group.path());
        outcome
    }

    fn entering<S: AsRef<str>>(&self, words: &[S]) -> Result<Command> {
        let init = self.init_pid().ok_or_else(|| self.no_init())?;
        let mut command = exec::command("nsenter");
        command
            .args(["-t", &init.to_string()])
            .args(["-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "-F", "env", "-i"])
            .args([&format!("PATH={PATH}"), "HOME=/root", "LANG=C.UTF-8"])
            .args(["sh", "-c", STAND_BY, "sh"])
            .args(words.iter().map(AsRef::as_ref));
        Ok(command)
    }

    fn new_exec_group(&self) -> Cgroup {
        // Other processes (`drydock-lab exec`) start things in the same node.
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", self.name(), std::process::id());
        self.exec_group.child(&name)
    }
}

fn join<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}
