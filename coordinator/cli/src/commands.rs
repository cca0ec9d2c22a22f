//! One file a command: `commands/<noun>/<verb>.rs`. Each reads its arguments, asks, and prints.

pub(crate) mod artifact;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod freeze;
pub(crate) mod marks;
pub(crate) mod node;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod rehearse;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod takeover;
pub(crate) mod token;
pub(crate) mod why;

use std::{fmt, str::FromStr};

use drydock_types::{Invalid, Label};

use crate::{
    cli::{Cli, Command, Global},
    error::{CliError, Exit},
    screen::Screen,
};

/// What every command gets.
pub(crate) struct Ask {
    /// `--context` and the like.
    pub(crate) global: Global,
    /// Where it prints.
    pub(crate) screen: Screen,
}

/// Runs the command that was typed.
pub(crate) async fn run(cli: Cli, screen: Screen) -> Result<Exit, CliError> {
    let ask = Ask { global: cli.global, screen };
    match cli.command {
        Command::Plan(args) => plan::run(args, &ask).await,
        Command::Rehearse(args) => rehearse::run(args, &ask).await,
        Command::Takeover(args) => takeover::run(args, &ask).await,
        Command::Run(command) => command.run(&ask).await,
        Command::Why(args) => why::run(args, &ask).await,
        Command::Node(command) => command.run(&ask).await,
        Command::Freeze(args) => freeze::freeze(args, &ask).await,
        Command::Thaw => freeze::thaw(&ask).await,
        Command::Cluster(command) => command.run(&ask).await,
        Command::Check(command) => command.run(&ask).await,
        Command::Marks(command) => command.run(&ask).await,
        Command::Token(command) => command.run(&ask).await,
        Command::Artifact(command) => command.run(&ask).await,
        Command::Recipe(command) => command.run(&ask),
        Command::Audit(command) => command.run(&ask).await,
        Command::Context(command) => command.run(&ask),
        Command::Serve(args) => serve::run(args, &ask).await,
        Command::Demo(args) => demo::run(args, &ask).await,
        Command::DemoService(args) => demo::service::run(args).await,
        Command::Completions(args) => completions::run(&args, &ask),
    }
}

/// `role=etcd`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelPair {
    /// Before the `=`.
    pub(crate) key: Label,
    /// Behind it.
    pub(crate) value: Label,
}

impl FromStr for LabelPair {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| Invalid::new("label", text, "write it as key=value"))?;
        Ok(Self { key: Label::parse(key)?, value: Label::parse(value)? })
    }
}

impl fmt::Display for LabelPair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_key_and_a_value() {
        let pair: LabelPair = "zone=a".parse().unwrap();
        assert_eq!((pair.key.as_str(), pair.value.as_str()), ("zone", "a"));
        for bad in ["zone", "=a", "zone=", "zo ne=a", "zone=a=b"] {
            assert!(bad.parse::<LabelPair>().is_err(), "{bad}");
        }
    }
}
