//! Peers of another protocol: refused, both named.

use drydock_proto::{
    PROTOCOL,
    agent::{FromAgent, Hello, agent_service_client::AgentServiceClient, from_agent::Message},
};
use drydock_system_tests::{Fleet, wait};
use tonic::Code;

use super::{clients, double::Double};

#[test]
fn an_agent_refuses_a_coordinator_of_another_protocol_and_names_both() {
    for (protocol, older) in [(PROTOCOL + 1, "agent"), (PROTOCOL - 1, "coordinator")] {
        let double = Double::with(protocol);
        let ours = env!("CARGO_PKG_VERSION");
        let says = format!(
            "this agent ({ours}) speaks protocol {PROTOCOL}, the coordinator (9.9.9) protocol {protocol}; upgrade the {older}"
        );
        wait::until_true(&says, wait::SOON, || double.node.log().contains(&says));
        assert!(!double.node.log().contains("connected to"), "{}", double.node.log());
        double.untouched();
    }
}

#[test]
fn a_coordinator_refuses_an_agent_of_another_protocol_and_names_both() {
    let fleet = Fleet::without_nodes();
    let world = clients::World::of(&fleet);
    for protocol in [PROTOCOL + 1, PROTOCOL - 1, u32::MAX] {
        let status = clients::block_on(async {
            let node = world.node("old");
            let mut client = AgentServiceClient::new(world.connect(Some(&node)).await.unwrap());
            let hello = Hello { protocol, agent_version: "0.0.7".into(), ..Hello::default() };
            let hello = FromAgent { message: Some(Message::Hello(hello)) };
            let attached = client.attach(tokio_stream::iter([hello])).await;
            match attached {
                Err(status) => status,
                Ok(stream) => stream.into_inner().message().await.unwrap_err(),
            }
        });
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        let says = format!(
            "agent 0.0.7 speaks protocol {protocol}, coordinator {} speaks {PROTOCOL}",
            env!("CARGO_PKG_VERSION")
        );
        assert!(status.message().contains(&says), "{status:?}");
    }
    // A node that is there and cannot be spoken to counts as silent, and is seen to be.
    let nodes = fleet.drydock(&["-o", "json", "node", "list"]);
    assert!(
        nodes.json().as_array().is_some_and(|nodes| nodes.iter().all(|node| node["connected"] == false)),
        "{}",
        nodes.said()
    );
}
