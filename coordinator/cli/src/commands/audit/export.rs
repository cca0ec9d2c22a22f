//! `drydock audit export RUN FILE`

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use drydock_coordinator::audit::{AuditView, Judge};
use drydock_types::document;

use super::{lines, verify};
use crate::{
    commands::Ask,
    error::{CliError, Exit},
    local_file,
};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The run's number
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// Where to; a file that exists is left as it is
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(args: ExportArgs, ask: &Ask) -> Result<Exit, CliError> {
    if args.file.exists() {
        return Err(CliError::usage(format!("{} exists already and is left as it is", args.file.display()))
            .hint("name another file, or move that one away"));
    }
    // Whoever finds the name finds the whole file.
    let draft = local_file::with_suffix(&args.file, &format!(".{}.new", std::process::id()));
    let view = match write(&args, &draft, ask).await {
        Ok(view) => view,
        Err(error) => {
            drop(fs::remove_file(&draft));
            return Err(error);
        }
    };
    let placed = fs::hard_link(&draft, &args.file);
    drop(fs::remove_file(&draft));
    placed.map_err(|why| failed(&args.file, &why))?;
    ask.screen.note(&format!("Run {} is sealed in {}", args.run, args.file.display()));
    ask.screen.note(&format!("Verify it:  drydock audit verify --offline {}", args.file.display()));
    verify::show(&view, ask)
}

fn failed(path: &Path, why: &io::Error) -> CliError {
    CliError::failed(format!("writing {}: {why}", path.display()))
}

/// Judged while it is written: a file whose record is not whole is a piece of evidence, and said to be one.
async fn write(args: &ExportArgs, draft: &Path, ask: &Ask) -> Result<AuditView, CliError> {
    let mut record = lines::ask(args.run, ask).await?;
    let mut judge = Judge::new(record.trusted.clone());
    let opened = OpenOptions::new().write(true).create_new(true).open(draft);
    let mut out = BufWriter::new(opened.map_err(|why| failed(draft, &why))?);
    while let Some(lines) = record.next().await? {
        for line in lines {
            let mut bytes = document::encode(&line);
            bytes.push(b'\n');
            out.write_all(&bytes).map_err(|why| failed(draft, &why))?;
            judge.line(line);
        }
    }
    let file = out.into_inner().map_err(|why| failed(draft, why.error()))?;
    file.sync_all().map_err(|why| failed(draft, &why))?;
    Ok(judge.finish())
}
