//! `drydock artifact add FILE`

use std::{fs::File, path::PathBuf};

use clap::Args;
use drydock_types::ArtifactRef;

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    local_file,
    render::fleet,
    signing, upload,
};

/// A signature's file is never larger.
const MAX_SIGNATURE_BYTES: u64 = 4096;

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The binary
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its signature [default: FILE.minisig]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

pub(super) async fn run(args: AddArgs, ask: &Ask) -> Result<Exit, CliError> {
    let artifact = read(&args)?;
    let client = client::connect(&ask.global).await?;
    let view = upload::upload(&client, &args.file, &artifact, ask.screen).await?;
    ask.screen.show(&view, |view, _| fleet::added(view))?;
    Ok(Exit::Done)
}

/// The file and its signature, compared before anything is connected to.
fn read(args: &AddArgs) -> Result<ArtifactRef, CliError> {
    let place = args.signature.clone().unwrap_or_else(|| local_file::with_suffix(&args.file, ".minisig"));
    let how = format!("drydock artifact sign {} --component NAME --version V", args.file.display());
    let bad = |why: std::io::Error| CliError::usage(format!("{}: {why}", args.file.display()));
    let measured = signing::measure(&mut File::open(&args.file).map_err(bad)?, "").map_err(bad)?;
    let signature =
        local_file::read_text(&place, MAX_SIGNATURE_BYTES).map_err(|error| error.hint(how.clone()))?;
    let label = signing::read_label(&signature)
        .map_err(|why| CliError::usage(format!("{}: {why}", place.display())).hint(how.clone()))?;
    if (label.size, label.sha256) != (measured.size, measured.sha256) {
        let what = format!("{} is a signature of another file than {}", place.display(), args.file.display());
        return Err(CliError::usage(what).hint(how));
    }
    Ok(ArtifactRef { sha256: measured.sha256, size: measured.size, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_another_file_is_refused_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let args = AddArgs { file: dir.path().join("etcd"), signature: None };
        assert_eq!(read(&args).unwrap_err().exit.code(), 2, "no file");
        std::fs::write(&args.file, "#!/bin/sh\n").unwrap();
        let error = read(&args).unwrap_err();
        assert!(
            error.to_string().contains("etcd.minisig") && !error.hints.is_empty(),
            "no signature: {error}"
        );

        let key = signing::open_key(&signing::generate(None).unwrap().secret, || Ok(String::new())).unwrap();
        let mut file = File::open(&args.file).unwrap();
        let measured = signing::measure(&mut file, "").unwrap();
        let (component, version) = ("etcd".parse().unwrap(), "3.5.16".parse().unwrap());
        let label = signing::label(&measured, &component, &version, Some("x86_64")).unwrap();
        let text = signing::sign(&mut file, &key, &label).unwrap();
        std::fs::write(dir.path().join("etcd.minisig"), &text).unwrap();
        assert_eq!(read(&args).unwrap(), ArtifactRef { sha256: label.sha256, size: 10, signature: text });

        std::fs::write(&args.file, "#!/bin/bash\n").unwrap();
        assert!(read(&args).unwrap_err().to_string().contains("of another file"));
    }
}
