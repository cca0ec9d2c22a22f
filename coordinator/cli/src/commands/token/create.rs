//! `drydock token create NODE` and `--from hosts.txt`

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use drydock_proto::operator::{CreateTokenRequest, CreateTokenResponse};
use drydock_types::{Millis, NodeName};
use serde::{Deserialize, Serialize};

use super::{
    Ask,
    hosts::{self, Host},
};
use crate::{
    client::{self, Client},
    commands::LabelPair,
    error::{CliError, Exit},
    render::{Line, Page, time},
    screen,
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["node", "from"]))]
pub(crate) struct CreateArgs {
    /// The node that will join
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<NodeName>,
    /// A file with a node a line, labels behind it:  ctl-1 role=etcd zone=a
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// How long the token is good
    #[arg(long, default_value = "1h", value_parser = Millis::parse)]
    pub(crate) ttl: Millis,
    /// A label that the node will have; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<LabelPair>,
    /// The new machine takes the place of a node that is enrolled under the name
    #[arg(long)]
    pub(crate) replace: bool,
}

/// A token as it is printed: the only time that its secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewToken {
    node: NodeName,
    id: String,
    token: String,
    expires_unix_ms: u64,
    /// What to type on the node.
    command: String,
}

pub(super) async fn run(args: CreateArgs, ask: &Ask) -> Result<Exit, CliError> {
    let hosts = match (&args.from, &args.node) {
        (Some(file), _) => hosts::read(file)?,
        (None, node) => node.iter().cloned().map(|name| Host { name, labels: Vec::new() }).collect(),
    };
    if args.ttl.0 < 1_000 {
        return Err(CliError::usage("--ttl is at least 1s"));
    }
    let client = client::connect(&ask.global).await?;
    for (made, host) in hosts.iter().enumerate() {
        // Each is printed as soon as it is made: what was made is never lost by what fails later.
        let token = create(&client, request(host, &args)).await.map_err(|error| match made {
            0 => error,
            n => {
                error.hint(format!("the {n} before {} are made and printed; go on from that line", host.name))
            }
        })?;
        ask.screen.show(&token, |token, _| page(token))?;
    }
    let whom = time::count(hosts.len(), "node", "nodes");
    ask.screen
        .note(&format!("For {whom}, each once, within {}. Type the line on the node, as root.", args.ttl));
    Ok(Exit::Done)
}

fn request(host: &Host, args: &CreateArgs) -> CreateTokenRequest {
    // A host's own line stands above what was said for all.
    let both = args.labels.iter().chain(&host.labels);
    let labels: HashMap<String, String> =
        both.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect();
    let (node_name, ttl_s) = (host.name.to_string(), args.ttl.0 / 1_000);
    CreateTokenRequest { node_name, ttl_s, labels, replace: args.replace }
}

async fn create(client: &Client, request: CreateTokenRequest) -> Result<NewToken, CliError> {
    let node = NodeName::parse(&request.node_name).map_err(|why| CliError::usage(why.to_string()))?;
    let CreateTokenResponse { token, id, expires_unix_s } = client.create_token(request).await?;
    // The agent takes no token on its command line, which everybody on the machine can read; `echo` is the shell's own.
    let command = format!("echo {token} | drydock-agent enrol --token-file -");
    let expires_unix_ms = u64::try_from(expires_unix_s).unwrap_or_default().saturating_mul(1_000);
    Ok(NewToken { node, id, token, expires_unix_ms, command })
}

/// One line a node: it can be pasted, or cut from a file.
fn page(token: &NewToken) -> Page {
    let mut page = Page::default();
    let until = time::near(token.expires_unix_ms, screen::now_unix_ms());
    page.line(Line::of(format!("{}   # {}, token {}, until {until}", token.command, token.node, token.id)));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_that_can_be_pasted() {
        let token = NewToken {
            node: NodeName::parse("ctl-1").unwrap(),
            id: "0123456789abcdef".into(),
            token: "ddj1.AAAA".into(),
            expires_unix_ms: 1_795_212_271_000,
            command: "echo ddj1.AAAA | drydock-agent enrol --token-file -".into(),
        };
        let text = page(&token).to_text(crate::render::samples::FILE);
        assert!(text.starts_with("echo ddj1.AAAA | drydock-agent enrol --token-file -   # ctl-1, token 0123456789abcdef, until "), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
