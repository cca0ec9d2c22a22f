//! `drydock artifact keygen [FILE]`

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Ask, ask_password};
use crate::{
    error::{CliError, Exit},
    local_file,
    render::{Line, Page},
    signing,
};

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where the secret key is written; the public key is written beside it as FILE.pub
    #[arg(value_name = "FILE", default_value = "drydock.key")]
    file: PathBuf,
    /// Leave the secret key unencrypted: for machines that sign unattended
    #[arg(long)]
    no_password: bool,
}

/// What is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    public_key: String,
    secret_key_file: String,
    public_key_file: String,
}

pub(super) fn run(args: &KeygenArgs, ask: &Ask) -> Result<Exit, CliError> {
    let public_file = local_file::with_suffix(&args.file, ".pub");
    for file in [&args.file, &public_file] {
        // Before the password is asked for; `create` refuses again.
        if file.symlink_metadata().is_ok() {
            return Err(CliError::usage(format!("{} exists already and is left as it is", file.display()))
                .hint("name another file:  drydock artifact keygen FILE"));
        }
    }
    let password = if args.no_password { None } else { Some(new_password()?) };
    let key = signing::generate(password)?;
    local_file::create(&args.file, &key.secret, 0o600)?;
    local_file::create(&public_file, &key.public, 0o644)?;
    let view = KeyView {
        public_key: key.line,
        secret_key_file: args.file.display().to_string(),
        public_key_file: public_file.display().to_string(),
    };
    ask.screen.show(&view, |view, _| page(view))?;
    ask.screen.note(&format!(
        "The secret key is in {}: keep it off the nodes and the coordinator.",
        view.secret_key_file
    ));
    ask.screen.note(
        "Put the two lines at the end of /etc/drydock/agent.toml of every node that may run what this key signs.",
    );
    Ok(Exit::Done)
}

/// The lines for agent.toml: a table of its own, right wherever it is put behind.
fn page(view: &KeyView) -> Page {
    let mut page = Page::default();
    page.line(Line::of("[[signing_keys]]"));
    page.line(Line::of(format!("key = \"{}\"", view.public_key)));
    page
}

fn new_password() -> Result<String, CliError> {
    let first = ask_password("Password for the secret key: ")?;
    if first.is_empty() {
        return Err(CliError::usage("the password is empty").hint("a key without a password:  --no-password"));
    }
    if ask_password("The same again: ")? != first {
        return Err(CliError::usage("the two passwords differ; no key was made"));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{
        cli::{ColorChoice, Global, OutputFormat},
        screen::Screen,
    };

    fn ask() -> Ask {
        let global =
            Global { output: OutputFormat::Text, context: None, config_dir: None, color: ColorChoice::Never };
        Ask { global, screen: Screen::new(OutputFormat::Text, ColorChoice::Never) }
    }

    #[test]
    fn a_key_is_ours_alone_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let args = KeygenArgs { file: dir.path().join("my.key"), no_password: true };
        assert_eq!(run(&args, &ask()).unwrap(), Exit::Done);
        let secret = std::fs::read_to_string(&args.file).unwrap();
        assert_eq!(std::fs::metadata(&args.file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(dir.path().join("my.key.pub").exists());
        assert_eq!(run(&args, &ask()).unwrap_err().exit.code(), 2);
        assert_eq!(std::fs::read_to_string(&args.file).unwrap(), secret);
    }

    #[test]
    fn the_public_key_is_printed_as_the_lines_for_the_agent() {
        let view = KeyView {
            public_key: "RWQx".into(),
            secret_key_file: "a".into(),
            public_key_file: "a.pub".into(),
        };
        assert_eq!(page(&view).to_text(crate::render::samples::FILE), "[[signing_keys]]\nkey = \"RWQx\"\n");
    }
}
