//! Asks the daemon through `virsh`: few calls with many commands each, guests by their UUID only. Every command is
//! announced on both of virsh's outputs, for it goes on behind one that failed.

use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::parse::{self, Known, Overview, Parts};
use crate::sys::exec::Program;

/// How many guests one call asks about: the kernel takes 128 KiB in an argument, and a guest needs some 400 bytes.
const AT_ONCE: usize = 200;
/// How many calls at a time.
const SIDE_BY_SIDE: usize = 4;
/// The longest answer that is read: 8192 guests with names of 255 bytes are 2.4 MB.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// `virsh`, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Virsh<'a> {
    /// The program.
    pub(super) path: &'a Path,
    /// When its answers are too late.
    pub(super) until: Instant,
}

impl Virsh<'_> {
    /// What the daemon says of itself. What of it cannot be seen is an error there.
    pub(super) async fn overview(&self) -> Overview {
        let commands = [
            "version --daemon",
            "list --uuid --name",
            "pool-list --all --name",
            "pool-list --name",
            "net-list --all --name",
            "net-list --name",
        ];
        let commands: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(at, command)| (format!("m{at}"), (*command).to_owned()))
            .collect();
        let read = |parts: &Parts<'_>| Overview {
            version: parts.at(0).and_then(parse::version),
            active: parts.at(1).and_then(parse::active),
            pools: parse::named(parts.at(2), parts.at(3)),
            networks: parse::named(parts.at(4), parts.at(5)),
        };
        self.ask(&commands, read).await.unwrap_or_else(|why| Overview {
            version: Err(why.clone()),
            active: Err(why.clone()),
            pools: Err(why.clone()),
            networks: Err(why),
        })
    }

    /// What the daemon says of these guests, in this order.
    pub(super) async fn known(&self, uuids: &[String]) -> Result<Vec<Known>, String> {
        let calls: Vec<_> = uuids.chunks(AT_ONCE).map(|uuids| self.some(uuids)).collect();
        let answers: Vec<_> = stream::iter(calls).buffered(SIDE_BY_SIDE).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn some(&self, uuids: &[String]) -> Result<Vec<Known>, String> {
        let of = |uuid: &String| {
            [("s", "domstate --reason"), ("j", "domjobinfo"), ("c", "domcontrol")]
                .map(|(mark, command)| (format!("{mark}:{uuid}"), format!("{command} {uuid}")))
        };
        let commands: Vec<_> = uuids.iter().flat_map(of).collect();
        let read = |parts: &Parts<'_>| {
            let one = |at: usize| Known {
                state: parse::state(parts.line(3 * at)),
                job: parse::job(parts.at(3 * at + 1)),
                monitor: parse::monitor(parts.line(3 * at + 2)),
            };
            (0..uuids.len()).map(one).collect()
        };
        self.ask(&commands, read).await
    }

    /// What the daemon says why a guest that is not there any more has ended: `shut off (shutdown)`.
    pub(super) async fn end_of(&self, uuid: &str) -> String {
        let commands = [("s".to_owned(), format!("domstate --reason {uuid}"))];
        let said = self.ask(&commands, |parts| parts.line(0).map(str::to_owned)).await;
        said.and_then(|line| line).map_or_else(|why| why, |line| crate::sys::units::printable_line(&line))
    }

    /// Has commands done, each under a mark; the last mark says that the answer is whole.
    async fn ask<T>(
        &self,
        commands: &[(String, String)],
        read: impl FnOnce(&Parts<'_>) -> T,
    ) -> Result<T, String> {
        let mut script = String::new();
        for (mark, command) in commands {
            script.extend(["echo ", mark, ";echo --err ", mark, ";", command, ";"]);
        }
        script.push_str("echo end;echo --err end");
        let left = self.until.saturating_duration_since(Instant::now());
        let program = Program::new(self.path)
            .args(["-c", "qemu:///system", script.as_str()])
            .deadline(left)
            .max_output(MAX_ANSWER_BYTES);
        let output = program.run().await.map_err(|error| error.to_string())?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        let marks: Vec<String> =
            commands.iter().map(|(mark, _)| mark.clone()).chain(["end".to_owned()]).collect();
        let parts = Parts::cut(&out, &errors, &marks)?;
        Ok(read(&parts))
    }
}
