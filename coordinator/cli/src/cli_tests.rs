use clap::{CommandFactory as _, Parser as _};

use super::*;
use commands::{artifact::ArtifactCommand, node::NodeCommand, run::RunCommand, token::TokenCommand};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_guide_is_taken() {
    for line in [
        "drydock serve --state-dir /x --listen 0.0.0.0:7440 --advertise a:7440 --log json",
        "drydock demo",
        "drydock context list",
        "drydock context use prod",
        "drydock context show",
        "drydock token create ctl-1 --ttl 2h --label role=etcd --label zone=a",
        "drydock token create --from hosts.txt",
        "drydock token list -o json",
        "drydock token revoke 0123456789abcdef",
        "drydock node list",
        "drydock node show ctl-1",
        "drydock node label ctl-1 role=etcd zone-",
        "drydock node bind ctl-1 prod",
        "drydock node bind ctl-1 prod k3s-1",
        "drydock node bind ctl-1 --none",
        "drydock cluster add prod --kubeconfig k3s.yaml --kube-context c --server https://a:6443 --server https://b:6443",
        "drydock cluster add own --in-cluster --replace",
        "drydock cluster list -o json",
        "drydock cluster test prod",
        "drydock cluster remove prod",
        "drydock check cluster prod -o json",
        "drydock check node n1 -o json",
        "drydock node list --versions",
        "drydock marks list --kubeconfig k3s.yaml --kube-context c --server https://a:6443",
        "drydock marks release k3s-1 --kubeconfig k3s.yaml --yes",
        "drydock run force 42 --node ctl-3",
        "drydock run force 42 --node ctl-3 --pod shop/cart-0 --grace 10 --yes",
        "drydock artifact keygen",
        "drydock artifact keygen my.key --no-password",
        "drydock artifact sign ./etcd --component etcd --version 3.5.16",
        "drydock artifact add ./etcd",
        "drydock artifact list",
        "drydock recipe list",
        "drydock recipe show etcd",
        "drydock plan etcd.yaml",
        "drydock run start etcd.yaml --no-wait --detach",
        "drydock run list",
        "drydock run show",
        "drydock run show 42 --node ctl-3",
        "drydock run rollback 41",
        "drydock run rollback 41 --node ctl-3 --wait",
        "drydock run watch 42",
        "drydock run report 42 --format json",
        "drydock run pause 42",
        "drydock run resume 42",
        "drydock run abort 42",
        "drydock why",
        "drydock why 42 --context prod --color never",
        "drydock completions bash",
    ] {
        if let Err(why) = parse(line) {
            panic!("{line}: {why}");
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_exit_code_2() {
    for line in [
        "drydock",
        "drydock token create",
        "drydock token create ctl-1 --from hosts.txt",
        "drydock token create CTL_1",
        "drydock token create ctl-1 --ttl 10",
        "drydock token create ctl-1 --label role",
        "drydock node label ctl-1",
        "drydock node bind ctl-1",
        "drydock node bind ctl-1 prod --none",
        "drydock cluster add prod",
        "drydock marks list",
        "drydock marks release --kubeconfig k3s.yaml",
        "drydock run force 42",
        "drydock run force 42 --node ctl-3 --pod cart-0",
        "drydock cluster add Prod --in-cluster",
        "drydock cluster add prod --in-cluster --kubeconfig k3s.yaml",
        "drydock run pause",
        "drydock run pause 0",
        "drydock run start a.yaml --wait --detach",
        "drydock artifact sign ./etcd --component etcd",
        "drydock artifact sign ./etcd --component etcd --version latest",
        "drydock plan a.yaml -o yaml",
    ] {
        match parse(line) {
            Ok(cli) => panic!("{line} was taken: {cli:?}"),
            Err(why) => assert_eq!(why.exit_code(), 2, "{line}"),
        }
    }
}

#[test]
fn arguments_arrive_where_they_belong() {
    let Command::Token(TokenCommand::Create(create)) =
        parse("drydock token create ctl-1 --ttl 2h --label role=etcd").unwrap().command
    else {
        panic!("not token create")
    };
    assert_eq!(create.ttl.0, 7_200_000);
    assert_eq!(create.labels.iter().map(ToString::to_string).collect::<Vec<_>>(), ["role=etcd"]);

    let Command::Node(NodeCommand::Label(label)) =
        parse("drydock node label ctl-1 role=etcd zone-").unwrap().command
    else {
        panic!("not node label")
    };
    assert_eq!(label.changes.len(), 2);

    let cli = parse("drydock run show -o json --context prod").unwrap();
    assert_eq!((cli.global.output, cli.global.context.as_deref()), (OutputFormat::Json, Some("prod")));
    let Command::Run(RunCommand::Show(show)) = cli.command else { panic!("not run show") };
    assert_eq!((show.run, show.node), (None, None));

    let Command::Artifact(ArtifactCommand::Sign(sign)) =
        parse("drydock artifact sign etcd --component etcd --version v3.5.16").unwrap().command
    else {
        panic!("not artifact sign")
    };
    assert_eq!(sign.version.as_str(), "3.5.16");
}
