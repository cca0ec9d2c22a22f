//! The judge before records of real keys: whole ones, and everything that hostile input 24 does to one.

use drydock_proto::tls::{PrivateKey, key::certificate_to_pem};
use drydock_types::{
    EffectId, Epoch, FleetId, Head, Millis, NodeName, Outcome, Sha256, document,
    outcome::SectionResult,
    signed::{HeadConflict, HeadStatement, Purpose, message},
};

use super::{
    lines::{Begin, End, EventLine, HeadLine, Line, VERSION},
    view::{AuditView, Kind, Standing},
    *,
};
use crate::{
    heard::Signed,
    store::{chain_over, chain_start},
    trust::{Ca, SealingKey},
};

const FLEET: FleetId = FleetId([5; 16]);
const NONCE: Sha256 = Sha256([4; 32]);
const NOW_S: i64 = 1_800_000_000;

struct Node {
    name: NodeName,
    key: PrivateKey,
    certificate: String,
}

/// A CA, two nodes, and a record of eight events; the third and the sixth are outcomes, of `n1` and of `n2`.
struct World {
    ca: Ca,
    nodes: [Node; 2],
    _dir: tempfile::TempDir,
}

fn outcome(effect: u8) -> Outcome {
    Outcome {
        effect: EffectId([effect; 32]),
        result: SectionResult::Done {},
        steps: Vec::new(),
        took: Millis(7),
        out_of_service: None,
        evidence: Vec::new(),
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::create(dir.path(), FLEET, &SealingKey::new([1; 32], "test"), NOW_S - 1000).unwrap();
        let node = |name: &str| {
            let (name, key) = (NodeName::parse(name).unwrap(), PrivateKey::generate().unwrap());
            let issued = ca.issue_node(&key.request().unwrap(), &name, 86_400, NOW_S - 100).unwrap();
            Node { name, key, certificate: certificate_to_pem(&issued.certificate) }
        };
        let nodes = [node("n1"), node("n2")];
        Self { ca, nodes, _dir: dir }
    }

    fn signed(&self, node: usize, effect: u8) -> Signed {
        let Node { key, certificate, .. } = &self.nodes[node];
        let bytes = document::encode(&outcome(effect));
        let id = EffectId([effect; 32]);
        let signature = key.sign(&message(Purpose::Outcome, FLEET, key.node_key(), &id.0, &bytes)).unwrap();
        Signed::new(key.node_key(), bytes, certificate.clone().into_bytes(), signature)
    }

    fn ended(&self, node: usize, effect: u8) -> (String, Vec<Line>) {
        let signed = self.signed(node, effect);
        let event = serde_json::json!({
            "event": {"ended": {"outcome": outcome(effect)}},
            "node": self.nodes[node].name, "text": "apply section done", "proof": signed.proof,
        });
        let text = |bytes: &[u8]| Line::Document(String::from_utf8(bytes.to_vec()).unwrap());
        (event.to_string(), vec![text(&signed.outcome), text(&signed.certificate)])
    }

    fn record(&self) -> Record {
        let mut events = Vec::new();
        for number in 1..=8_u8 {
            let (text, documents) = match number {
                3 => self.ended(0, number),
                6 => self.ended(1, number),
                _ => (format!(r#"{{"event":{{"tick":{{}}}},"node":null,"text":"{number}"}}"#), Vec::new()),
            };
            events.push((text, documents));
        }
        Record::of(self, events)
    }

    fn head(&self, node: usize, head: Head, conflicts: Vec<HeadConflict>) -> Line {
        self.heads(node, vec![head], conflicts)
    }

    fn heads(&self, node: usize, all: Vec<Head>, conflicts: Vec<HeadConflict>) -> Line {
        let Node { name, key, certificate } = &self.nodes[node];
        let head = all.last().copied();
        let statement = document::encode(&HeadStatement { nonce: NONCE, head, earlier: all, conflicts });
        let signature =
            key.sign(&message(Purpose::Heads, FLEET, key.node_key(), &NONCE.0, &statement)).unwrap();
        Line::Head(HeadLine {
            node: name.clone(),
            certificate: certificate.clone(),
            statement: String::from_utf8(statement).unwrap(),
            signature,
        })
    }
}

/// A record as its lines, which a test can bend.
#[derive(Clone)]
struct Record {
    begin: Begin,
    heads: Vec<Line>,
    events: Vec<(EventLine, Vec<Line>)>,
    end: End,
}

impl Record {
    fn of(world: &World, events: Vec<(String, Vec<Line>)>) -> Self {
        let begin = Begin {
            version: VERSION,
            fleet: FLEET,
            ca: certificate_to_pem(world.ca.certificate()),
            run: None,
            after: 0,
            after_hash: chain_start(FLEET),
            nonce: NONCE,
            wall_ms: NOW_S as u64 * 1000,
            epoch: Epoch(1),
            drydock: "0".into(),
        };
        let line = |(seq, (event, documents)): (usize, (String, Vec<Line>))| {
            let (seq, hash) = (seq as u64 + 1, Sha256([0; 32]));
            (EventLine { seq, run: 1, wall_ms: NOW_S as u64 * 1000, event, hash }, documents)
        };
        let events = events.into_iter().enumerate().map(line).collect();
        let end = End { last_event: 0, last_hash: Sha256([0; 32]) };
        let mut record = Self { begin, heads: Vec::new(), events, end };
        record.rechain();
        record
    }

    /// What somebody does who knows how the chain is made.
    fn rechain(&mut self) {
        let mut hash = self.begin.after_hash;
        for (line, _) in &mut self.events {
            hash = chain_over(hash, line.seq, line.run, line.wall_ms, Sha256::of(line.event.as_bytes()));
            line.hash = hash;
        }
        let last_event = self.events.last().map_or(self.begin.after, |(line, _)| line.seq);
        self.end = End { last_event, last_hash: hash };
    }

    fn line(&self, seq: u64) -> &EventLine {
        self.events.iter().map(|(line, _)| line).find(|line| line.seq == seq).unwrap()
    }

    fn line_mut(&mut self, seq: u64) -> &mut EventLine {
        self.events.iter_mut().map(|(line, _)| line).find(|line| line.seq == seq).unwrap()
    }

    fn head(&self, seq: u64) -> Head {
        let hash = self.line(seq).hash;
        Head { fleet: FLEET, epoch: Epoch(1), seq, hash }
    }

    fn lines(&self) -> Vec<Line> {
        let events = self
            .events
            .iter()
            .flat_map(|(event, documents)| documents.iter().cloned().chain([Line::Event(event.clone())]));
        let begin = [Line::Begin(self.begin.clone())];
        begin.into_iter().chain(self.heads.clone()).chain(events).chain([Line::End(self.end)]).collect()
    }

    fn judged(&self, trusted: Trusted) -> AuditView {
        let mut judge = Judge::new(trusted);
        // As they come over the wire and stand in a file.
        for line in self.lines() {
            judge.line(document::decode("line", &document::encode(&line)).unwrap());
        }
        judge.finish()
    }

    fn found(&self) -> Vec<(Kind, Option<u64>)> {
        let view = self.judged(Trusted::default());
        view.findings.iter().map(|finding| (finding.kind, finding.seq)).collect()
    }
}

#[test]
fn a_whole_record_with_signed_outcomes_and_heads_is_whole() {
    let world = World::new();
    let mut record = world.record();
    record.heads = vec![world.head(0, record.head(8), vec![]), world.head(1, record.head(5), vec![])];
    let ca = Some(world.ca.certificate().to_vec());
    let view = record.judged(Trusted { ca, pin: None, nonce: Some(NONCE) });
    assert_eq!(view.findings, []);
    assert_eq!((view.events, view.first, view.last, view.outcomes), (8, 1, 8, 2));
    assert_eq!(view.ca_pin, world.ca.pin());
    assert!(view.ca_known && view.remarks.is_empty(), "{:?}", view.remarks);
    assert!(view.heads.iter().all(|head| head.standing == Standing::Held), "{:?}", view.heads);
}

#[test]
fn an_edited_event_is_named_and_those_behind_it_are_found_right() {
    let world = World::new();
    for seq in [1_u64, 4, 8] {
        let mut record = world.record();
        record.line_mut(seq).event.push(' ');
        assert_eq!(record.found(), [(Kind::Edited, Some(seq))]);
        let mut record = world.record();
        record.line_mut(seq).wall_ms += 1;
        assert_eq!(record.found(), [(Kind::Edited, Some(seq))]);
        let mut record = world.record();
        record.line_mut(seq).run = 2;
        assert_eq!(record.found(), [(Kind::Edited, Some(seq))]);
    }
}

#[test]
fn a_deleted_event_is_named_and_so_is_one_whose_number_another_took() {
    let world = World::new();
    let mut record = world.record();
    record.events.remove(3);
    assert_eq!(record.found(), [(Kind::Missing, Some(4))]);
    let mut record = world.record();
    record.events.drain(1..4);
    let view = record.judged(Trusted::default());
    assert!(view.findings[0].what.contains("events 2 to 4 are missing"), "{:?}", view.findings);
    // Renumbered, so that nothing seems to be missing.
    let mut record = world.record();
    record.events.remove(3);
    record.events.iter_mut().skip(3).for_each(|(line, _)| line.seq -= 1);
    let found = record.found();
    assert!(
        found.contains(&(Kind::Edited, Some(4))) && found.contains(&(Kind::Truncated, Some(8))),
        "{found:?}"
    );
}

#[test]
fn events_that_changed_places_are_named() {
    let world = World::new();
    let mut record = world.record();
    let (a, b) = (record.events[3].0.clone(), record.events[4].0.clone());
    record.events[3].0 = EventLine { seq: a.seq, ..b };
    record.events[4].0 = EventLine { seq: 5, ..a };
    let found = record.found();
    assert!(
        found.contains(&(Kind::Edited, Some(4))) && found.contains(&(Kind::Edited, Some(5))),
        "{found:?}"
    );
    assert!(found.iter().all(|(kind, _)| *kind == Kind::Edited));
}

#[test]
fn a_truncated_record_is_known_by_the_stores_own_end_and_without_it_by_the_agents() {
    let world = World::new();
    let whole = world.record();
    let mut record = whole.clone();
    record.events.truncate(5);
    assert_eq!(record.found(), [(Kind::Truncated, Some(6))]);
    // The end was bent too: only the agents know.
    record.rechain();
    assert_eq!(record.found(), []);
    record.heads = vec![world.head(0, whole.head(8), vec![]), world.head(1, whole.head(5), vec![])];
    let view = record.judged(Trusted::default());
    assert_eq!(view.findings.len(), 1, "{:?}", view.findings);
    let finding = &view.findings[0];
    assert_eq!((finding.kind, finding.seq), (Kind::Truncated, Some(8)));
    assert_eq!(finding.node.as_ref().map(NodeName::as_str), Some("n1"));
    assert!(finding.what.contains("events 6 to 8 are gone"), "{}", finding.what);
}

#[test]
fn a_record_that_was_rewritten_whole_is_known_by_the_agents_who_bracket_the_place() {
    let world = World::new();
    let whole = world.record();
    let mut record = whole.clone();
    record.events[4].0.event.push(' ');
    record.rechain();
    assert_eq!(record.found(), [], "by its own word it is whole");
    record.heads = vec![world.head(0, whole.head(7), vec![]), world.head(1, whole.head(4), vec![])];
    let view = record.judged(Trusted::default());
    assert_eq!(view.findings.len(), 1, "{:?}", view.findings);
    let finding = &view.findings[0];
    assert_eq!((finding.kind, finding.seq), (Kind::Rewritten, Some(7)));
    assert!(finding.what.contains("between event 5 and event 7 (n2 holds event 4)"), "{}", finding.what);
}

#[test]
fn a_record_that_was_rewritten_and_went_on_is_known_by_the_earlier_heads() {
    let world = World::new();
    let whole = world.record();
    let mut record = whole.clone();
    record.events[4].0.event.push(' ');
    record.rechain();
    // The agent was told of the end of the rewritten record too, and followed it: it is later.
    let earlier = vec![whole.head(2), whole.head(6), whole.head(7), record.head(8)];
    record.heads = vec![world.heads(0, earlier, vec![])];
    let view = record.judged(Trusted::default());
    assert_eq!(view.heads[0].standing, Standing::Held);
    assert_eq!(view.findings.len(), 1, "{:?}", view.findings);
    let finding = &view.findings[0];
    assert_eq!((finding.kind, finding.seq), (Kind::Rewritten, Some(6)));
    assert!(finding.what.contains("between event 3 and event 6 (n1 holds event 2)"), "{}", finding.what);
}

#[test]
fn two_agents_whose_heads_are_of_two_records_are_both_named() {
    let world = World::new();
    let one = world.record();
    let mut other = one.clone();
    other.events[5].0.wall_ms += 1;
    other.rechain();
    for (theirs, mine) in [(8, 8), (7, 8), (8, 8)] {
        let mut record = one.clone();
        record.heads = vec![world.head(0, one.head(mine), vec![]), world.head(1, other.head(theirs), vec![])];
        let view = record.judged(Trusted::default());
        let disagreement = view.findings.iter().find(|finding| finding.kind == Kind::Disagreement);
        let finding = disagreement.unwrap_or_else(|| panic!("{:?}", view.findings));
        let names = [&finding.node, &finding.other].map(|node| node.as_ref().map(NodeName::as_str));
        assert_eq!(names, [Some("n2"), Some("n1")]);
        assert_eq!(finding.seq, Some(theirs));
    }
}

#[test]
fn heads_that_an_agent_refused_are_a_finding_until_an_event_says_why() {
    let world = World::new();
    let whole = world.record();
    let conflict = HeadConflict {
        kept: Head { hash: Sha256([9; 32]), ..whole.head(7) },
        told: Head { epoch: Epoch(4), ..whole.head(2) },
    };
    let mut record = whole.clone();
    record.heads = vec![world.head(0, whole.head(8), vec![conflict])];
    let view = record.judged(Trusted::default());
    assert_eq!(view.findings.len(), 1);
    assert_eq!(view.findings[0].kind, Kind::Contradiction);
    assert!(view.findings[0].what.contains("the record holds the second"), "{}", view.findings[0].what);
    // Somebody put an older copy of the store in place, on record.
    record.events[1].0.event =
        r#"{"event":{"restored":{"by":"anna","from":2,"to":4,"reported":{"n1":3}}},"node":null,"text":""}"#
            .into();
    record.rechain();
    let told = Head { epoch: Epoch(4), ..record.head(2) };
    record.heads = vec![world.head(0, record.head(8), vec![HeadConflict { told, ..conflict }])];
    let view = record.judged(Trusted::default());
    assert_eq!(view.findings, []);
    assert!(view.remarks[0].contains("event 2 says why: anna"), "{:?}", view.remarks);
}

#[test]
fn an_outcome_without_its_nodes_signature_is_named_with_event_and_node() {
    let world = World::new();
    type Bend = fn(&mut serde_json::Value);
    let bent: [(&str, Kind, Bend); 5] = [
        ("unsigned", Kind::Signature, |event| drop(event.as_object_mut().unwrap().remove("proof"))),
        ("said of another node", Kind::Signature, |event| event["node"] = "n2".into()),
        ("another signature", Kind::Signature, |event| {
            let signature = event["proof"]["signature"].as_str().unwrap().to_owned();
            let last = if signature.ends_with('0') { "1" } else { "0" };
            event["proof"]["signature"] = format!("{}{last}", &signature[..signature.len() - 1]).into();
        }),
        ("another result", Kind::Outcome, |event| {
            event["event"]["ended"]["outcome"]["result"] = serde_json::json!({"failed": {"failure": {}}});
        }),
        ("another effect", Kind::Signature, |event| {
            event["event"]["ended"]["outcome"]["effect"] = "07".repeat(32).into();
        }),
    ];
    for (what, kind, bend) in bent {
        let mut record = world.record();
        let line = &mut record.events[2].0;
        let mut event: serde_json::Value = serde_json::from_str(&line.event).unwrap();
        bend(&mut event);
        line.event = event.to_string();
        record.rechain();
        let view = record.judged(Trusted::default());
        assert_eq!(view.findings.len(), 1, "{what}: {:?}", view.findings);
        let finding = &view.findings[0];
        assert_eq!((finding.kind, finding.seq), (kind, Some(3)), "{what}: {}", finding.what);
        assert!(finding.node.is_some() && finding.what.contains("event 3 of n"), "{what}: {}", finding.what);
        assert_eq!(view.outcomes, 1, "{what}: the other one is good");
    }
    // What was signed is not there, or was changed in the store.
    for take in [0, 1] {
        let mut record = world.record();
        record.events[2].1.remove(take);
        assert_eq!(record.found(), [(Kind::Outcome, Some(3))]);
    }
}

#[test]
fn certificates_are_judged_at_the_time_of_the_event_and_by_the_ca_that_is_trusted() {
    let world = World::new();
    // Years later by the clock of whoever verifies: nothing here asks it. A day and more after its end, by the event's.
    let mut record = world.record();
    record.events[2].0.wall_ms += 3 * 86_400_000;
    record.rechain();
    assert_eq!(record.found(), [(Kind::Signature, Some(3))]);

    let other = World::new();
    let record = world.record();
    let trusted = Trusted { ca: Some(other.ca.certificate().to_vec()), pin: None, nonce: None };
    let kinds: Vec<_> = record.judged(trusted).findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Authority, Kind::Signature, Kind::Signature]);
    let pinned = Trusted { ca: None, pin: Some(other.ca.pin()), nonce: None };
    assert_eq!(record.judged(pinned).findings[0].kind, Kind::Authority);
    let pinned = Trusted { ca: None, pin: Some(world.ca.pin()), nonce: None };
    assert_eq!(record.judged(pinned).findings, []);
}

#[test]
fn an_agents_word_is_believed_for_this_question_alone() {
    let world = World::new();
    let mut record = world.record();
    let Line::Head(good) = world.head(0, record.head(8), vec![]) else { unreachable!() };
    let statement = good.statement.replace(&NONCE.to_string(), &Sha256([1; 32]).to_string());
    for bad in [
        HeadLine { statement, ..good.clone() },
        HeadLine { statement: good.statement.replace("\"seq\":8", "\"seq\":7"), ..good.clone() },
        HeadLine { certificate: world.nodes[1].certificate.clone(), ..good.clone() },
        HeadLine { node: world.nodes[1].name.clone(), ..good.clone() },
        HeadLine { certificate: "none".into(), ..good.clone() },
    ] {
        record.heads = vec![Line::Head(bad)];
        assert_eq!(record.found(), [(Kind::Statement, None)]);
    }
    record.heads = vec![Line::Head(good)];
    let other = Trusted { nonce: Some(Sha256([3; 32])), ..Trusted::default() };
    let kinds: Vec<_> = record.judged(other).findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::File, Kind::Statement], "an answer to somebody else's question");
}

#[test]
fn a_run_alone_is_followed_through_the_digests_of_the_others() {
    let world = World::new();
    let mut whole = world.record();
    for seq in [2, 5, 8] {
        whole.events[seq - 1].0.run = 2;
    }
    whole.rechain();
    // From the third event on, and of run 2 no more than digests.
    let sealed = |bend: &dyn Fn(&mut Vec<Line>)| {
        let begin =
            Begin { run: Some(1), after: 2, after_hash: whole.events[1].0.hash, ..whole.begin.clone() };
        let mut lines = vec![Line::Begin(begin), world.head(0, whole.head(8), vec![])];
        for (event, documents) in whole.events.iter().skip(2) {
            lines.extend(documents.iter().cloned());
            let EventLine { seq, run, wall_ms, event, hash } = event.clone();
            let row = crate::store::EventRow { seq, run, wall_ms, event: event.into_bytes(), hash };
            lines.push(Line::of_event(row, Some(1)));
        }
        lines.push(Line::End(whole.end));
        bend(&mut lines);
        let mut judge = Judge::new(Trusted::default());
        lines.into_iter().for_each(|line| judge.line(line));
        judge.finish()
    };
    let view = sealed(&|_| {});
    assert_eq!(view.findings, []);
    assert_eq!((view.run, view.first, view.last, view.outcomes), (Some(1), 3, 8, 2));
    let bent = sealed(&|lines| {
        for line in lines {
            if let Line::Other(other) = line {
                other.event = Sha256([0; 32]);
            }
        }
    });
    assert_eq!(bent.findings.len(), 2, "{:?}", bent.findings);
    let cut = sealed(&|lines| lines.truncate(6));
    assert!(cut.findings.iter().any(|finding| finding.kind == Kind::File), "{:?}", cut.findings);
}

#[test]
fn what_is_no_record_or_of_another_form_is_said_to_be_so() {
    let judge = Judge::new(Trusted::default());
    assert_eq!(judge.finish().findings[0].kind, Kind::File);
    let world = World::new();
    let mut record = world.record();
    record.begin.version = VERSION + 1;
    assert_eq!(record.judged(Trusted::default()).findings[0].kind, Kind::File);
    record.begin = Begin { ca: "none".into(), ..world.record().begin };
    assert_eq!(record.judged(Trusted::default()).findings[0].kind, Kind::Authority);
}
