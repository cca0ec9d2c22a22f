//! A coordinator whose record goes back or forks, before a real agent.

use drydock_proto::{PROTOCOL, tls::PublicKey};
use drydock_system_tests::wait;
use drydock_types::{
    EffectId, Head, SectionKind, Sha256, Signature, Step, document,
    outcome::SectionResult,
    probe::{Observation, Probe},
    signed::{HeadStatement, Purpose, message},
    step::Nothing,
};

use super::double::{Double, FLEET, fence};

fn head(seq: u64, hash: u8) -> Head {
    Head { fleet: FLEET, epoch: fence(5, 1).epoch, seq, hash: Sha256([hash; 32]) }
}

/// What the agent keeps, its signature judged by its certificate.
fn kept(double: &Double, request: u64) -> HeadStatement {
    let nonce = Sha256([u8::try_from(request).unwrap(); 32]);
    let seen = double.observe(request, &document::encode(&Probe::Record { nonce }));
    let Observation::Record(view) = document::decode("observation", &seen.observation).unwrap() else {
        panic!("{seen:?}")
    };
    let key = PublicKey::of(&double.certificate()).unwrap();
    let signed = message(Purpose::Heads, FLEET, key.node_key(), &nonce.0, view.statement.as_bytes());
    assert_eq!(key.verify(&signed, &view.signature), Ok(()));
    document::decode("statement", view.statement.as_bytes()).unwrap()
}

/// Hostile input 24: an agent that is told two heads that contradict each other keeps both, says so, and goes on.
#[test]
fn heads_that_go_back_or_fork_are_refused_kept_through_a_kill_and_told_in_every_hello() {
    let mut double = Double::start();
    double.tells(head(10, 1));
    double.tells(head(9, 1));
    double.tells(head(10, 2));
    wait::until_true("the agent to say so", wait::SOON, || {
        double.node.log().contains("goes back or is another one")
    });
    let said = kept(&double, 1);
    assert_eq!(said.head, Some(head(10, 1)));
    assert_eq!(said.conflicts.len(), 1, "{:?}", said.conflicts);
    assert_eq!((said.conflicts[0].kept, said.conflicts[0].told), (head(10, 1), head(9, 1)));

    double.node.kill();
    let before = double.hellos();
    double.node.launch();
    wait::until_true("the agent to be back", wait::SOON, || double.hellos() > before);
    let hello = double.last_hello();
    assert_eq!(hello.head, Some(head(10, 1).into()));
    assert_eq!(hello.conflict.and_then(|conflict| conflict.told), Some(head(9, 1).into()));
    let after = kept(&double, 2);
    assert_eq!((after.head, after.conflicts), (said.head, said.conflicts));
    // It is no lock: whom it obeys the fence says.
    double.welcomes(fence(5, 1), PROTOCOL);
    let section = double.section(1, SectionKind::Stage, "2.0.0", None, vec![Step::Nothing(Nothing {})]);
    let outcome = double.dispatch(fence(5, 1), section.effect, &document::encode(&section)).ended();
    assert_eq!(outcome.result, SectionResult::Done {});
}

#[test]
fn every_outcome_of_an_agent_is_signed_by_its_certificates_key_over_its_exact_bytes() {
    let double = Double::start();
    let section = double.section(1, SectionKind::Stage, "2.0.0", None, vec![Step::Nothing(Nothing {})]);
    drop(double.dispatch(fence(5, 1), section.effect, &document::encode(&section)).ended());
    let reports = double.outcomes();
    assert!(!reports.is_empty());
    let key = PublicKey::of(&double.certificate()).unwrap();
    for report in reports {
        let effect = EffectId(report.effect_id.as_slice().try_into().unwrap());
        let signed = message(Purpose::Outcome, FLEET, key.node_key(), &effect.0, &report.outcome);
        assert_eq!(key.verify(&signed, &Signature::of(&report.signature).unwrap()), Ok(()));
    }
}
