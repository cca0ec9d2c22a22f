//! `drydock run force RUN --node NODE`
//!
//! What would be deleted is shown first, and only with `--yes` is anything decided: then exactly the pods that were
//! shown, by their UIDs. The coordinator looks at them once more before it takes the word.

use std::str::FromStr;

use clap::Args;
use drydock_coordinator::moves::left::{DrainLeftView, LeftPod};
use drydock_proto::operator::{AmendRunRequest, ForceDrain, PodName, amend_run_request::Change};
use drydock_types::{Invalid, NodeName};

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render, screen,
};

#[derive(Debug, Args)]
pub(crate) struct ForceArgs {
    /// The run's number: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// The node that cannot leave service
    #[arg(long, value_name = "NODE")]
    node: NodeName,
    /// Only this pod of those that are left; can be given several times
    #[arg(long = "pod", value_name = "NAMESPACE/NAME")]
    pods: Vec<Pod>,
    /// Grace period in seconds instead of each pod's own; 0 does not wait for its processes at all: two of a StatefulSet may
    /// run at once
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u32>,
    /// Have them deleted; without this they are only shown
    #[arg(long)]
    yes: bool,
}

/// `shop/cart-0`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    namespace: String,
    name: String,
}

impl FromStr for Pod {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("pod", text, "write it as NAMESPACE/NAME: shop/cart-0");
        let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl Pod {
    fn is(&self, left: &LeftPod) -> bool {
        (&self.namespace, &self.name) == (&left.pod.namespace, &left.pod.name)
    }
}

pub(super) async fn run(args: ForceArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    let seen = client.drain_left(args.run, args.node.to_string()).await?;
    let chosen = chosen(seen, &args)?;
    let shows = |view: &DrainLeftView, canvas| render::force::before(view, args.grace, canvas);
    if !args.yes || chosen.pods.is_empty() {
        ask.screen.show(&chosen, shows)?;
        if chosen.pods.is_empty() {
            return Ok(Exit::Done);
        }
        ask.screen.note(&format!("Nothing was deleted. With --yes:  {}", again(&args)));
        return Ok(Exit::Person);
    }
    if !ask.screen.is_json() {
        let canvas = ask.screen.canvas();
        ask.screen.note(
            &shows(&screen::clean(&chosen)?, canvas).to_text(render::Canvas { color: false, ..canvas }),
        );
    }
    let pods = chosen.pods.into_iter().map(|left| PodName {
        namespace: left.pod.namespace,
        name: left.pod.name,
        uid: left.pod.uid,
    });
    let force = ForceDrain { node_name: args.node.to_string(), pods: pods.collect(), grace_s: args.grace };
    let view = client.amend(AmendRunRequest { run: args.run, change: Some(Change::Force(force)) }).await?;
    ask.screen.show(&view, render::standing::amended)?;
    Ok(Exit::Done)
}

/// Those that were named, or all that are left.
fn chosen(mut seen: DrainLeftView, args: &ForceArgs) -> Result<DrainLeftView, CliError> {
    if let Some(missing) = args.pods.iter().find(|pod| !seen.pods.iter().any(|left| pod.is(left))) {
        let what = format!("the pod {}/{} is not on {}", missing.namespace, missing.name, args.node);
        let look = format!("drydock run force {} --node {}", args.run, args.node);
        return Err(CliError::usage(what).hint(format!("who is left there:  {look}")));
    }
    if !args.pods.is_empty() {
        seen.pods.retain(|left| args.pods.iter().any(|pod| pod.is(left)));
    }
    Ok(seen)
}

fn again(args: &ForceArgs) -> String {
    let mut again = format!("drydock run force {} --node {}", args.run, args.node);
    for Pod { namespace, name } in &args.pods {
        again.push_str(&format!(" --pod {namespace}/{name}"));
    }
    if let Some(grace) = args.grace {
        again.push_str(&format!(" --grace {grace}"));
    }
    again + " --yes"
}

#[cfg(test)]
mod tests {
    use drydock_core::moves::ForcedPod;

    use super::*;

    fn args(pods: &[&str]) -> ForceArgs {
        let pods = pods.iter().map(|pod| pod.parse().unwrap()).collect();
        let node = NodeName::parse("n1").unwrap();
        ForceArgs { run: 4, node, pods, grace: Some(9), yes: false }
    }

    fn seen() -> DrainLeftView {
        let pod = |name: &str| LeftPod {
            pod: ForcedPod { namespace: "shop".into(), name: name.into(), uid: name.into(), budget: None },
            because: Vec::new(),
            grace_s: 30,
            ends_since: None,
        };
        DrainLeftView { number: 4, node: NodeName::parse("n1").unwrap(), pods: vec![pod("a"), pod("b")] }
    }

    #[test]
    fn a_pod_is_named_with_its_namespace() {
        assert!("shop/cart-0".parse::<Pod>().is_ok());
        for bad in ["cart-0", "/cart-0", "shop/", "shop/a/b", ""] {
            assert!(bad.parse::<Pod>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_was_named_is_chosen_and_all_where_nothing_was() {
        assert_eq!(chosen(seen(), &args(&[])).unwrap().pods.len(), 2);
        let one = chosen(seen(), &args(&["shop/b"])).unwrap();
        assert_eq!((one.pods.len(), one.pods[0].pod.name.as_str()), (1, "b"));
        let why = chosen(seen(), &args(&["shop/b", "shop/c"])).unwrap_err();
        assert!(why.to_string().contains("shop/c is not on n1"), "{why}");
        assert_eq!(again(&args(&["shop/b"])), "drydock run force 4 --node n1 --pod shop/b --grace 9 --yes");
    }
}
