//! `drydock node label NODE key=value key-`

use std::str::FromStr;

use clap::Args;
use drydock_proto::operator::LabelNodeRequest;
use drydock_types::{Invalid, Label, NodeName};

use super::Ask;
use crate::{
    client,
    commands::LabelPair,
    error::{CliError, Exit},
    render::{Line, Page, Paint, fleet},
};

#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// Its name
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeName,
    /// key=value sets a label, key- removes it
    #[arg(value_name = "CHANGE", required = true)]
    pub(crate) changes: Vec<Change>,
}

/// What is done to a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(LabelPair),
    Remove(Label),
}

impl FromStr for Change {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_suffix('-').filter(|_| !text.contains('=')) {
            Some(key) => Label::parse(key).map(Self::Remove),
            None => text.parse().map(Self::Set),
        }
    }
}

pub(super) async fn run(args: LabelArgs, ask: &Ask) -> Result<Exit, CliError> {
    let mut request = LabelNodeRequest { node_name: args.node.to_string(), ..LabelNodeRequest::default() };
    for change in args.changes {
        match change {
            Change::Set(pair) => {
                request.set.insert(pair.key.to_string(), pair.value.to_string());
            }
            Change::Remove(key) => request.remove.push(key.to_string()),
        }
    }
    if let Some(key) = request.remove.iter().find(|key| request.set.contains_key(*key)) {
        return Err(CliError::usage(format!("{key} is both set and removed")));
    }
    let node = client::connect(&ask.global).await?.label_node(request).await?;
    ask.screen.show(&node, |node, _| {
        let mut page = Page::default();
        let labels =
            if node.labels.is_empty() { "no labels".to_owned() } else { fleet::labels(&node.labels) };
        page.line(Line::painted(node.name.as_str(), Paint::Bold).and("   ").and(labels));
        page
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_sets_or_removes() {
        let set = Change::Set("zone=a-".parse().unwrap());
        assert_eq!("zone=a-".parse(), Ok(set));
        assert_eq!("zone-".parse(), Ok(Change::Remove(Label::parse("zone").unwrap())));
        for bad in ["zone", "-", "=", "zo ne-"] {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
    }
}
