//! What one node forges: an outcome that its key did not sign, a state that others see otherwise.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use drydock_core::view::{Phase, RunStatus};
use drydock_proto::{agent, agent::to_agent::Message as Order, tls::PrivateKey};
use drydock_system_tests::{Fleet, fleet, wait};
use drydock_types::{
    EffectId, Version,
    probe::{EtcdMember, EtcdStatus, EtcdView, HealthView, Observation, Probe},
};

use super::puppet::Puppet;

fn plan(fleet: &Fleet, recipe: &str) -> String {
    fleet.write(
        "puppets.yaml",
        &format!(
            "apiVersion: drydock/v1\nkind: Plan\nmetadata: {{name: puppets}}\nspec:\n  stages:\n    - name: s\n      \
             component: thing\n      recipe: {recipe}\n      to: \"2.0\"\n      waves:\n        - name: w\n          \
             nodes: {{labels: {{role: puppet}}}}\n          soak: 0s\n"
        ),
    )
}

/// The lines of a run's record that say this.
fn lines(fleet: &Fleet, says: &str) -> usize {
    fleet.run(1).log.iter().filter(|line| line.text.contains(says)).count()
}

#[test]
fn an_outcome_that_the_nodes_key_did_not_sign_changes_nothing_and_is_asked_for_again() {
    let fleet = Fleet::without_nodes();
    let puppet = Puppet::start(&fleet, "p1");
    let plan = plan(&fleet, "nothing");
    wait::until_true("the puppet to be connected", wait::SOON, || {
        fleet.drydock(&["-o", "json", "node", "list"]).json()[0]["connected"] == true
    });
    fleet.drydock(&["run", "start", &plan]).exits(0);
    let effect = puppet.section().effect;
    let asked_again = || {
        let ask = |order| match order {
            Order::Ask(ask) => Some(ask.effect_ids),
            _ => None,
        };
        assert_eq!(puppet.order("to be asked again", ask), [effect.0.to_vec()]);
    };

    puppet.reports(effect, puppet.done(effect), Vec::new());
    asked_again();
    fleet.drydock(&["why"]).says(&["an outcome was refused: it is not signed", "p1"]);
    let view = fleet.run(1);
    assert_eq!((view.status, fleet::phases(&view)), (RunStatus::Running, vec![Phase::Staging]));
    assert!(fleet.coordinator.log().contains("an outcome was refused"), "{}", fleet.coordinator.log());

    // As an answer, by another key, and for another effect: all of it is refused.
    let outcome = puppet.done(effect);
    let stranger = PrivateKey::generate().unwrap();
    let other = puppet.done(EffectId([9; 32]));
    for (outcome, signature) in [
        (outcome.clone(), puppet.signature(&stranger, effect, &outcome)),
        (outcome.clone(), puppet.signature(&puppet.key, EffectId([9; 32]), &outcome)),
        (outcome.clone(), puppet.signature(&puppet.key, effect, &other)),
        ([&outcome[..], b" "].concat(), puppet.signature(&puppet.key, effect, &outcome)),
    ] {
        puppet.say(agent::from_agent::Message::Answer(agent::Answer {
            effect_id: effect.0.to_vec(),
            state: agent::answer::State::Ended.into(),
            outcome,
            signature,
        }));
        asked_again();
        assert_eq!(fleet::phases(&fleet.run(1)), [Phase::Staging]);
    }
    assert_eq!(lines(&fleet, "an outcome was refused"), 1, "one line a stream, however often it is repeated");

    puppet.does(effect);
    puppet.does(puppet.section().effect);
    fleet.until_status(RunStatus::Done);
    let audit = fleet.drydock(&["-o", "json", "audit", "verify"]);
    let audit = audit.exits(0).json();
    assert_eq!(audit["outcomes"], 2, "{audit}");
    assert_eq!(audit["silent"][0]["node"], "p1", "it does not say what it keeps: {audit}");
    assert!(audit["remarks"].to_string().contains("were refused"), "{audit}");
    // It was told where the record ended, with what was sent anyway, and never that it went back.
    let heads = puppet.heads();
    assert!(heads.len() >= 3 && heads.windows(2).all(|pair| pair[0].seq <= pair[1].seq), "{heads:?}");
}

fn status(member: usize) -> EtcdStatus {
    EtcdStatus {
        cluster: "c0".into(),
        member: format!("{member:x}"),
        version: Version::parse("3.5.16").unwrap(),
        leader: "1".into(),
        raft_term: 4,
        raft_index: 1000,
        raft_applied: 1000,
        db_size: 1 << 20,
        errors: Vec::new(),
    }
}

/// A cluster of three as the node of this member sees it; `down` are the members that it cannot reach.
fn view(own: usize, down: &[usize]) -> EtcdView {
    let gone = || Err("connection refused".to_owned());
    let seen = |member| if down.contains(&member) { gone() } else { Ok(status(member)) };
    let member =
        |id| EtcdMember { id: format!("{id:x}"), name: format!("m{id}"), learner: false, status: seen(id) };
    EtcdView {
        local: seen(own),
        members: (1..=3).map(member).collect(),
        alarms: Ok(Vec::new()),
        cluster_version: Ok(Version::parse("3.5").unwrap()),
        linearizable: Ok(()),
    }
}

fn sees(puppet: &Puppet, own: usize, down: &'static [usize]) {
    puppet.sees(move |probe| match probe {
        Probe::Etcd {} => Ok(Observation::Etcd(view(own, down))),
        _ => Err("a puppet sees etcd and nothing else".to_owned()),
    });
}

/// Hostile input 26: a node whose member is down says that it is well, and that everybody else is. The others,
/// who dialled it, decide.
#[test]
fn a_member_that_lies_about_itself_is_contradicted_by_those_who_dialled_it() {
    let fleet = Fleet::without_nodes();
    let puppets: Vec<Puppet> = ["p1", "p2", "p3"].map(|name| Puppet::start(&fleet, name)).into();
    wait::until_true("the puppets to be connected", wait::SOON, || {
        let nodes = fleet.drydock(&["-o", "json", "node", "list"]).json();
        let connected =
            |nodes: &Vec<serde_json::Value>| nodes.iter().filter(|node| node["connected"] == true).count();
        nodes.as_array().map(connected) == Some(3)
    });
    fleet.write(
        "quorum.yaml",
        "apiVersion: drydock/v1\nkind: Recipe\nmetadata: {name: quorum, summary: a gate alone}\nspec:\n  detect: {}\n  \
         gate: [etcdQuorum]\n  apply: [nothing]\n",
    );
    let plan = plan(&fleet, "./quorum.yaml");
    // p3's member is down. p3 says that all is well; p1 and p2 dialled it in vain.
    sees(&puppets[0], 1, &[3]);
    sees(&puppets[1], 2, &[3]);
    sees(&puppets[2], 3, &[]);
    fleet.drydock(&["run", "start", &plan]).exits(0);
    let contradicted = |says: &str| {
        wait::until_true(says, wait::RUN, || fleet.drydock(&["why"]).stdout.contains(says));
        let view = fleet.run(1);
        assert!(
            fleet::phases(&view)
                .iter()
                .all(|phase| matches!(phase, Phase::Pending | Phase::Staged | Phase::Gating))
        );
    };
    contradicted("member m3 on p3 is well by its own word, but not as p2 sees it: connection refused");
    // Two lie for each other, and one does not: still not clear.
    sees(&puppets[1], 2, &[]);
    contradicted("but not as p1 sees it: connection refused");
    // p3 says that p1's member is well, which p1 itself finds down.
    sees(&puppets[0], 1, &[1]);
    contradicted("the etcd member on p1 does not answer: connection refused");
    // When all agree the gate opens: it was shut by what was seen, and by nothing else.
    sees(&puppets[0], 1, &[]);
    let first = wait::until("a section", wait::RUN, || {
        puppets.iter().find(|puppet| {
            fleet::nodes(&fleet.run(1))
                .any(|node| node.node.as_str() == puppet.name && node.phase == Phase::Applying)
        })
    });
    first.does(first.section().effect);
    wait::until_true("the first to be done", wait::RUN, || {
        fleet::phases(&fleet.run(1)).contains(&Phase::Done)
    });
}

/// How this host is called by others, and an address there that nobody listens on: the address by which it would send
/// into a network (nothing is sent), else its name.
fn own_place() -> (String, SocketAddr) {
    let way_out = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let host = match way_out {
        Ok(own) if !own.ip().is_loopback() => own.ip().to_string(),
        _ => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned(),
    };
    let bound = TcpListener::bind((host.as_str(), 0)).and_then(|listener| listener.local_addr());
    let address =
        bound.unwrap_or_else(|error| panic!("{host}, as this host is called, is not here: {error}"));
    (host, address)
}

/// Hostile input 26: a node says of its service that it is well, and it cannot be reached. What the coordinator sees
/// with its own eyes decides, and an honest node that is asked from beside.
#[test]
fn a_node_that_lies_about_its_health_is_contradicted_by_another_place() {
    for from in ["coordinator", "{node: p2}"] {
        let fleet = Fleet::without_nodes();
        let puppets: Vec<Puppet> = ["p1", "p2"].map(|name| Puppet::start(&fleet, name)).into();
        wait::until_true("the puppets to be connected", wait::SOON, || {
            let nodes = fleet.drydock(&["-o", "json", "node", "list"]).json();
            nodes
                .as_array()
                .is_some_and(|nodes| nodes.iter().filter(|node| node["connected"] == true).count() == 2)
        });
        // Not by a loopback address: that is whoever asks, and not p1.
        let (host, address) = own_place();
        fleet
            .drydock(&["node", "label", "p1", &format!("ip={host}"), &format!("port={}", address.port())])
            .exits(0);
        let probe = "probe: {tcp: {address: \"{label:ip}:{label:port}\"}}";
        fleet.write(
            "seen.yaml",
            &format!(
                "apiVersion: drydock/v1\nkind: Recipe\nmetadata: {{name: seen, summary: a gate alone}}\nspec:\n  detect: {{}}\n  \
                 gate:\n    - health: {{{probe}}}\n    - health: {{{probe}, from: {from}}}\n  apply: [nothing]\n"
            ),
        );
        let file = plan(&fleet, "./seen.yaml");
        let only_p1 = std::fs::read_to_string(fleet.dir().join(&file))
            .unwrap()
            .replace("labels: {role: puppet}", "names: [p1]");
        let file = fleet.write(&file, &only_p1);
        let answers = |well: bool| {
            move |probe: &Probe| match probe {
                Probe::Health { .. } => {
                    Ok(Observation::Health(HealthView { well, detail: "refused".to_owned() }))
                }
                _ => Err("a puppet sees health and nothing else".to_owned()),
            }
        };
        puppets[0].sees(answers(true));
        puppets[1].sees(answers(false));
        fleet.drydock(&["run", "start", &file]).exits(0);
        let whose = if from == "coordinator" { "as the coordinator sees it" } else { "as p2 sees it" };
        wait::until_true(whose, wait::RUN, || fleet.drydock(&["why"]).stdout.contains(whose));
        assert!(
            fleet::phases(&fleet.run(1)).iter().all(|phase| *phase == Phase::Gating),
            "its own word opens nothing"
        );
        // When the other place sees it as well, the gate opens.
        let _listens = std::net::TcpListener::bind(address).unwrap();
        puppets[1].sees(answers(true));
        let effect = puppets[0].section().effect;
        puppets[0].does(effect);
        fleet.until_status(RunStatus::Done);
    }
}
