//! `drydock artifact sign FILE --component etcd --version 3.5.16`

use std::{fs::File, path::PathBuf};

use clap::Args;
use drydock_types::{ComponentName, Sha256, Version};
use serde::{Deserialize, Serialize};

use super::{Ask, ask_password};
use crate::{
    error::{CliError, Exit},
    local_file,
    render::{Line, Page, Paint, time},
    signing,
};

/// A secret key's file is never larger.
const MAX_KEY_BYTES: u64 = 16 << 10;

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The binary; the signature is written to FILE.minisig
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What it is a version of
    #[arg(long, value_name = "NAME")]
    pub(crate) component: ComponentName,
    /// Which version: as the service itself will answer
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Version,
    /// For a file without an ELF header (a script): x86_64, aarch64, …
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// The secret key, made by `drydock artifact keygen`
    #[arg(long, value_name = "FILE", default_value = "drydock.key", env = "DRYDOCK_SIGNING_KEY")]
    pub(crate) key: PathBuf,
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedView {
    component: ComponentName,
    version: Version,
    arch: String,
    size: u64,
    sha256: Sha256,
    signature_file: String,
}

pub(super) fn run(args: &SignArgs, ask: &Ask) -> Result<Exit, CliError> {
    let bad = |why: std::io::Error| CliError::usage(format!("{}: {why}", args.file.display()));
    let mut file = File::open(&args.file).map_err(bad)?;
    if !file.metadata().map_err(bad)?.is_file() {
        return Err(CliError::usage(format!("{} is no plain file", args.file.display())));
    }
    let measured = signing::measure(&mut file, args.version.as_str()).map_err(bad)?;
    let label = signing::label(&measured, &args.component, &args.version, args.arch.as_deref())?;
    let key = local_file::read_text(&args.key, MAX_KEY_BYTES)
        .map_err(|error| error.hint("a new key:  drydock artifact keygen;  another one:  --key FILE"))?;
    let key = signing::open_key(&key, || ask_password(&format!("Password of {}: ", args.key.display())))?;
    let place = local_file::with_suffix(&args.file, ".minisig");
    local_file::replace(&place, &signing::sign(&mut file, &key, &label)?)?;
    if let Err(error) = signing::verify(&place, &mut file, &key, &label) {
        drop(std::fs::remove_file(&place));
        return Err(error);
    }
    if !measured.names_version {
        let remark =
            format!("warning: the text {} does not occur in the file: is it the right binary?", args.version);
        ask.screen.note(&remark);
    }
    let signature_file = place.display().to_string();
    let view = SignedView {
        component: label.component,
        version: label.version,
        arch: label.arch,
        size: label.size,
        sha256: label.sha256,
        signature_file,
    };
    ask.screen.show(&view, |view, _| page(view))?;
    Ok(Exit::Done)
}

fn page(view: &SignedView) -> Page {
    let mut page = Page::default();
    let SignedView { component, version, arch, size, sha256, signature_file } = view;
    let what = format!(" {version} for {arch}, {}, sha256:{sha256}", time::bytes(*size));
    page.line(Line::painted("✓ ", Paint::Good).plus(component.as_str(), Paint::Bold).and(what));
    page.line(Line::of(format!("  signed and verified: {signature_file}")));
    page
}
