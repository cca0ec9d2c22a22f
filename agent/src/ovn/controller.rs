//! The process of ovn-controller, and what it answers over its control socket.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drydock_failpoint::effect;

use super::{Tools, chassis::Keys};
use crate::{
    actions::Problem,
    openvswitch::{said, version_in},
    sys::{
        blocking,
        exec::Program,
        process::{self, FileId},
        units::printable_line,
    },
};

const PROGRAM: &str = "ovn-controller";
/// What of a command line is read.
const MAX_CMDLINE_BYTES: u64 = 64 << 10;
/// The longest chassis' name that is taken.
const MAX_NAME_BYTES: usize = 1024;
/// The longest answer of a short question.
const MAX_ANSWER: usize = 4096;

/// What its command line says that the database would say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// `-n`.
    pub chassis: Option<String>,
    /// `-p`, `-c` and `-C`, where all three are there.
    pub keys: Option<Keys>,
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Its number.
    pub pid: u32,
    /// Does it run the file that is installed?
    pub runs_installed: bool,
    /// Its command line.
    pub given: Given,
    /// Its control socket.
    socket: String,
}

impl Controller {
    /// Finds it by its pid file.
    ///
    /// # Errors
    /// When it does not run, or may not be looked at.
    pub(super) async fn find(tools: &Tools) -> Result<Self, Problem> {
        let (run, installed) = (tools.run.clone(), tools.controller.clone());
        blocking(move || {
            find(&run, installed.as_deref()).map_err(|error| {
                Problem::new(format!("ovn-controller: {error}"))
                    .next(format!("systemctl status ovn-controller; ls {}", run.display()))
            })
        })
        .await
    }

    /// For how long it has been running.
    ///
    /// # Errors
    /// When it is gone.
    pub fn age(&self) -> io::Result<Duration> {
        process::age(self.pid)
    }

    /// The version that it answers.
    pub(super) async fn version(&self, tools: &Tools) -> Result<String, String> {
        let said = self.ask(tools, &["version"]).await?;
        // `ovn-controller 23.03.1`, and the libraries below it.
        let first = said.lines().next().unwrap_or_default();
        if !first.starts_with(PROGRAM) {
            return Err(format!(
                "it answered {:?}, which is no version of ovn-controller",
                printable_line(first)
            ));
        }
        version_in(&said)
    }

    /// Its word on the southbound database.
    pub(super) async fn connection(&self, tools: &Tools) -> Result<String, String> {
        let said = self.ask(tools, &["connection-status"]).await?;
        match said.trim_end() {
            word @ ("connected" | "not connected") => Ok(word.to_owned()),
            other => {
                Err(format!("it answered {:?}", printable_line(other.lines().next().unwrap_or_default())))
            }
        }
    }

    /// Tells it to end and to leave everything as it is: its flows, and its rows in the southbound database. A plain end, as
    /// the unit's stop is one, has it delete its chassis there, and with that every port loses its place.
    ///
    /// # Errors
    /// When it does not take it.
    pub async fn leave(&self, tools: &Tools) -> Result<(), String> {
        effect!("agent.ovn.leave", self.ask(tools, &["exit", "--restart"]).await).map(drop)
    }

    async fn ask(&self, tools: &Tools, words: &[&str]) -> Result<String, String> {
        let Some(appctl) = &tools.appctl else {
            return Err("ovn-appctl is not installed on this node".to_owned());
        };
        let seconds = super::ANSWER.as_secs().to_string();
        let mut args = vec!["-T", &seconds, "-t", &self.socket];
        args.extend(words);
        let program = Program::new(appctl).args(args).deadline(super::ANSWER + super::MARGIN);
        said(program, &format!("ovn-appctl {}", words.join(" ")), MAX_ANSWER)
            .await
            .map_err(|problem| problem.what)
    }
}

fn find(run: &Path, installed: Option<&Path>) -> io::Result<Controller> {
    let path = run.join(format!("{PROGRAM}.pid"));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let text = read(&path, 64).map_err(named)?;
    let text = String::from_utf8_lossy(&text);
    let pid: u32 = text.trim().parse().map_err(|_| named(io::Error::other("it holds no number")))?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let comm = fs::read_to_string(proc.join("comm"))
        .map_err(|_| named(io::Error::other(format!("process {pid} is gone"))))?;
    if comm.trim_end() != PROGRAM {
        return Err(named(io::Error::other(format!("process {pid} is another program"))));
    }
    let installed = installed.ok_or_else(|| io::Error::other("the program is not installed"))?;
    let installed = FileId::of(&fs::metadata(installed)?);
    Ok(Controller {
        pid,
        runs_installed: process::exe_file(pid)? == installed,
        given: given(&read(&proc.join("cmdline"), MAX_CMDLINE_BYTES)?)?,
        socket: run.join(format!("{PROGRAM}.{pid}.ctl")).display().to_string(),
    })
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Of a command line as the kernel has it. What is not UTF-8 in what is wanted is an error: another name is another chassis.
fn given(line: &[u8]) -> io::Result<Given> {
    let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let chassis = value(&args, b"-n", None)?.filter(|name| name.len() <= MAX_NAME_BYTES);
    let keys = (
        value(&args, b"-p", Some(b"--private-key="))?,
        value(&args, b"-c", Some(b"--certificate="))?,
        value(&args, b"-C", Some(b"--ca-cert="))?,
    );
    let keys = match keys {
        (Some(private_key), Some(certificate), Some(ca_cert)) => {
            Some(Keys { private_key, certificate, ca_cert })
        }
        _ => None,
    };
    Ok(Given { chassis, keys })
}

/// `-n NAME`, `-nNAME`, `--private-key=FILE`.
fn value(args: &[&[u8]], short: &[u8], long: Option<&[u8]>) -> io::Result<Option<String>> {
    let found = args.iter().enumerate().skip(1).find_map(|(at, arg)| {
        if let Some(value) = long.and_then(|long| arg.strip_prefix(long)) {
            return Some(value);
        }
        match arg.strip_prefix(short)? {
            [] => args.get(at + 1).copied(),
            joined => Some(joined),
        }
    });
    let text = found.map(|value| String::from_utf8(value.to_vec())).transpose();
    text.map_err(|_| io::Error::other("its command line is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_the_controller_reads_it() {
        // Of a controller that Debian's script has started.
        let plain = b"ovn-controller\0unix:/var/run/openvswitch/db.sock\0-vconsole:emer\0-vsyslog:err\0-vfile:info\0--no-chdir\0\
                      --log-file=/var/log/ovn/ovn-controller.log\0--pidfile=/var/run/ovn/ovn-controller.pid\0--detach\0";
        assert_eq!(given(plain).unwrap(), Given::default());
        let keys = Keys { private_key: "/a".into(), certificate: "/b".into(), ca_cert: "/c".into() };
        let all = given(b"ovn-controller\0-n\0a\"b\n\0--private-key=/a\0-c/b\0-C\0/c\0").unwrap();
        assert_eq!(all, Given { chassis: Some("a\"b\n".into()), keys: Some(keys) });
        assert_eq!(given(b"x\0-p\0/a\0-c\0/b\0").unwrap().keys, None, "no authority");
        assert!(given(b"x\0-n\0\xff\0").is_err());
        assert_eq!(given(b"x\0-n\0").unwrap().chassis.as_deref(), Some(""));
    }

    #[test]
    fn a_pid_file_that_names_no_controller_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let found = || find(dir.path(), Some(Path::new("/bin/sh"))).unwrap_err().to_string();
        assert!(found().contains("ovn-controller.pid"), "{}", found());
        for (text, word) in [
            ("", "no number"),
            ("-1", "no number"),
            ("999999999", "is gone"),
            (&std::process::id().to_string(), "another program"),
        ] {
            fs::write(dir.path().join("ovn-controller.pid"), text).unwrap();
            assert!(found().contains(word), "{text}: {}", found());
        }
    }
}
