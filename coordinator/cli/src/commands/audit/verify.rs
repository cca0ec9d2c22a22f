//! `drydock audit verify [--offline FILE]`

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use drydock_coordinator::audit::{AuditView, Judge, Line, Trusted, lines::MAX_LINE_BYTES};
use drydock_types::{Sha256, document};

use super::lines;
use crate::{
    commands::Ask,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A file of `drydock audit export`, instead of the coordinator's record
    #[arg(long, value_name = "FILE")]
    offline: Option<PathBuf>,
    /// The SHA-256 of the CA's certificate that the file must have been made under
    #[arg(long, value_name = "SHA256", requires = "offline", value_parser = Sha256::parse)]
    ca_pin: Option<Sha256>,
}

pub(super) async fn run(args: VerifyArgs, ask: &Ask) -> Result<Exit, CliError> {
    let view = match &args.offline {
        Some(file) => offline(file, args.ca_pin)?,
        None => online(ask).await?,
    };
    show(&view, ask)
}

/// Prints what was found: findings ask for a person.
pub(super) fn show(view: &AuditView, ask: &Ask) -> Result<Exit, CliError> {
    ask.screen.show(view, render::audit::page)?;
    Ok(if view.findings.is_empty() { Exit::Done } else { Exit::Person })
}

async fn online(ask: &Ask) -> Result<AuditView, CliError> {
    let mut record = lines::ask(0, ask).await?;
    let mut judge = Judge::new(record.trusted.clone());
    while let Some(lines) = record.next().await? {
        lines.into_iter().for_each(|line| judge.line(line));
    }
    Ok(judge.finish())
}

fn offline(path: &Path, pin: Option<Sha256>) -> Result<AuditView, CliError> {
    let bad = |why: String| CliError::usage(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|why| bad(why.to_string()))?;
    let mut reader = BufReader::new(file);
    let mut judge = Judge::new(Trusted { ca: None, pin, nonce: None });
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let most = MAX_LINE_BYTES as u64 + 1;
        let read = (&mut reader).take(most).read_until(b'\n', &mut line);
        if read.map_err(|why| bad(why.to_string()))? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let parsed: Line = document::decode("line of a sealed record", text).map_err(|why| {
            bad(format!("line {number}: {why}")).hint("is this a file of `drydock audit export`?")
        })?;
        judge.line(parsed);
    }
    Ok(judge.finish())
}
