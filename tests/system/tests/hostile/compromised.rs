//! A coordinator in the wrong hands: it holds the fleet's authority, it is obeyed, and it gets no further than
//! the policy of the node.

use drydock_system_tests::{Behaviour, node::UNIT};
use drydock_types::{
    Millis, Section, SectionKind, Step, document,
    outcome::SectionResult,
    step::{FetchArtifact, HealthProbe, Healthy, ServiceVersion, SwapBinary, UnitStep, VersionSource},
};

use super::double::{Answered, Double, Serves, fence};

/// What the agent says when it will not, whichever way it says so. *Failed* is: before anything was changed.
#[track_caller]
fn refusal(answer: Answered) -> String {
    match answer {
        Answered::Declined(why) => why,
        Answered::Ended(outcome) => match outcome.result {
            SectionResult::Refused { failure } | SectionResult::Failed { failure } => failure.what,
            other => panic!("it was begun: {other:#?}"),
        },
    }
}

fn unit(unit: &str) -> UnitStep {
    UnitStep { unit: unit.parse().unwrap(), within: Millis::secs(5) }
}

fn swap(path: &str) -> Step {
    Step::SwapBinary(SwapBinary { path: path.parse().unwrap() })
}

/// Hostile input 22: commands. There is no step that runs one, whatever it is called and wherever it stands.
#[test]
fn a_compromised_coordinator_has_no_step_that_runs_a_command() {
    let double = Double::start();
    let section =
        double.section(1, SectionKind::Apply, "2.0.0", None, vec![Step::Nothing(Default::default())]);
    let text = String::from_utf8(document::encode(&section)).unwrap();
    let usual = r#"{"nothing":{}}"#;
    assert!(text.contains(usual), "{text}");
    for step in [
        r#"{"runCommand":{"command":["/bin/sh","-c","touch /tmp/drydock-was-here"]}}"#,
        r#"{"shell":"id"}"#,
        r#"{"nothing":{"then":["/bin/sh"]}}"#,
        r#"{"restartUnit":{"unit":"demo.service","within":"5s","execStart":"/bin/sh"}}"#,
        r#"{"writeFile":{"path":"/etc/drydock/agent.toml","bytes":""}}"#,
        r#"{"setPolicy":{"units":["*"]}}"#,
    ] {
        let bytes = text.replace(usual, step).into_bytes();
        let why = refusal(double.dispatch(fence(5, 1), section.effect, &bytes));
        assert!(why.contains("section"), "{step}: {why}");
    }
    double.untouched();
}

/// Hostile input 22: units that the policy does not list, the agent's own among them: with it stopped nobody
/// would watch the node any more.
#[test]
fn a_compromised_coordinator_stops_and_restarts_nothing_that_the_policy_does_not_list() {
    let double = Double::start();
    let mut number = 0;
    for name in ["drydock-agent.service", "sshd.service", "dbus.service", "systemd-logind.service"] {
        for step in [Step::StopUnit(unit(name)), Step::StartUnit(unit(name)), Step::RestartUnit(unit(name))] {
            number += 1;
            let section = double.section(number, SectionKind::Apply, "2.0.0", None, vec![step]);
            let why = refusal(double.dispatch(fence(5, 1), section.effect, &document::encode(&section)));
            assert!(why.contains(name), "{why}");
            assert!(why.contains("policy") || why.contains("is never touched"), "{why}");
        }
    }
    // Not even behind a step that is allowed: everything is judged before the first change.
    let behind = vec![Step::RestartUnit(unit(UNIT)), Step::StopUnit(unit("sshd.service"))];
    let section = double.section(100, SectionKind::Apply, "2.0.0", None, behind);
    let why = refusal(double.dispatch(fence(5, 1), section.effect, &document::encode(&section)));
    assert!(why.contains("sshd.service"), "{why}");
    double.untouched();
}

/// Hostile input 22: a policy change, by the only thing that writes files: an exchange of a signed file.
#[test]
fn a_compromised_coordinator_cannot_put_anything_in_the_place_of_the_policy_or_the_agent() {
    let double = Double::start();
    let (bytes, artifact) = double.artifact("2.0.0", Behaviour::Well);
    double.serves(Serves::Bytes(bytes.into()));
    let policy = double.node.dir.join("agent.toml");
    let before = std::fs::read_to_string(&policy).unwrap();
    let identity = double.node.state_dir();
    let targets = [
        policy.display().to_string(),
        format!("{}/identity.json", identity.display()),
        "/etc/passwd".to_string(),
        "/usr/bin/env".to_string(),
    ];
    for (number, target) in targets.iter().enumerate() {
        let number = u8::try_from(number + 1).unwrap();
        let steps = vec![Step::FetchArtifact(FetchArtifact {}), swap(target)];
        let section = double.section(number, SectionKind::Apply, "2.0.0", Some(artifact.clone()), steps);
        let why = refusal(double.dispatch(fence(5, 1), section.effect, &document::encode(&section)));
        assert!(why.contains(target.as_str()) && why.contains("policy"), "{why}");
    }
    assert_eq!(std::fs::read_to_string(&policy).unwrap(), before);
    double.untouched();
}

/// Hostile input 22: the node is no telescope. It asks nobody whom the policy does not name, and runs no version
/// command that is not root's.
#[test]
fn a_compromised_coordinator_looks_at_nothing_that_the_policy_does_not_name() {
    let double = Double::start();
    let command = VersionSource::Command { name: "sh".into() };
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let away = VersionSource::Http { url: metadata.into(), pointer: None };
    let steps: [(Step, &str); 3] = [
        (Step::ServiceVersion(ServiceVersion { source: command, within: Millis::secs(5) }), "sh"),
        (Step::ServiceVersion(ServiceVersion { source: away, within: Millis::secs(5) }), "169.254.169.254"),
        (
            Step::Healthy(Healthy {
                probe: HealthProbe::Tcp { address: "10.255.255.1:22".into() },
                within: Millis::secs(5),
            }),
            "10.255.255.1:22",
        ),
    ];
    for (number, (step, names)) in steps.into_iter().enumerate() {
        let number = u8::try_from(number + 1).unwrap();
        let section: Section = double.section(number, SectionKind::Apply, "2.0.0", None, vec![step]);
        let why = refusal(double.dispatch(fence(5, 1), section.effect, &document::encode(&section)));
        assert!(why.contains(names) && why.contains("policy"), "{why}");
    }
    for (request, (probe, names)) in [
        (format!(r#"{{"version":{{"source":{{"http":{{"url":"{metadata}"}}}}}}}}"#), "169.254.169.254"),
        (r#"{"version":{"source":{"command":{"name":"sh"}}}}"#.to_string(), "sh"),
        (r#"{"health":{"probe":{"tcp":{"address":"10.255.255.1:22"}}}}"#.to_string(), "10.255.255.1:22"),
        (r#"{"unit":{"unit":"sshd.service"}}"#.to_string(), "sshd.service"),
        (r#"{"file":{"path":"/etc/shadow"}}"#.to_string(), "probe"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = double.observe(1000 + request as u64, probe.as_bytes());
        assert!(answer.observation.is_empty(), "{probe}: {}", String::from_utf8_lossy(&answer.observation));
        assert!(answer.error.contains(names), "{probe}: {}", answer.error);
    }
    double.untouched();
}
