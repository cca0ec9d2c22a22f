//! The record, by the real binaries: whole, signed and held by the agents; sealed; and everything that hostile
//! input 24 does to it behind the coordinator's back.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fs};

use drydock_coordinator::store::{chain_over, chain_start};
use drydock_system_tests::{Behaviour, Fleet, Ran, cli, wait};
use drydock_types::{FleetId, Sha256};
use rusqlite::{Connection, params};
use serde_json::Value;

/// A fleet of two that has done one run.
fn upgraded() -> Fleet {
    let fleet = Fleet::start(2);
    let plan = fleet.plan("2.0.0", Behaviour::Well);
    fleet.drydock(&["run", "start", &plan, "--wait"]).exits(0);
    fleet
}

fn verify(fleet: &Fleet) -> Ran {
    fleet.drydock(&["-o", "json", "audit", "verify"])
}

fn kinds(audit: &Value) -> BTreeSet<String> {
    let findings = audit["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// A finding of this kind; the whole answer in the message when there is none.
#[track_caller]
fn finding<'a>(audit: &'a Value, kind: &str) -> &'a Value {
    let found = audit["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}: {audit:#}"))
}

/// Every agent holds the record's last event.
fn held(fleet: &Fleet) -> Value {
    wait::until("every agent to hold the record's end", wait::SOON, || {
        let audit = verify(fleet).json();
        let last = &audit["last"];
        let heads = audit["heads"].as_array()?;
        let all = heads.len() == fleet.nodes.len() && heads.iter().all(|head| head["seq"] == *last);
        all.then(|| audit.clone())
    })
}

/// The store of a coordinator that is stopped.
fn store(fleet: &Fleet) -> Connection {
    Connection::open(fleet.coordinator.state_dir().join("drydock.db")).unwrap()
}

/// One event as it stands in the file.
#[derive(Debug, Clone)]
struct Row {
    seq: u64,
    run: u64,
    wall_ms: u64,
    event: String,
}

fn rows(store: &Connection) -> Vec<Row> {
    let mut select = store.prepare("SELECT seq, run, wall_ms, event FROM events ORDER BY seq").unwrap();
    let unsigned = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).unwrap().cast_unsigned();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            seq: unsigned(row, 0),
            run: unsigned(row, 1),
            wall_ms: unsigned(row, 2),
            event: row.get(3)?,
        })
    };
    select.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Writes a whole record with hashes and an end that fit: what somebody does who knows how the chain is made.
fn rewrite(store: &Connection, rows: &[Row]) {
    let fleet: String = store.query_row("SELECT fleet_id FROM fleet", [], |row| row.get(0)).unwrap();
    let mut hash = chain_start(FleetId::parse(&fleet).unwrap());
    store.execute("DELETE FROM events", []).unwrap();
    for row in rows {
        hash = chain_over(hash, row.seq, row.run, row.wall_ms, Sha256::of(row.event.as_bytes()));
        store
            .execute(
                "INSERT INTO events (seq, run, wall_ms, event, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    row.seq.cast_signed(),
                    row.run.cast_signed(),
                    row.wall_ms.cast_signed(),
                    row.event,
                    hash.to_string()
                ],
            )
            .unwrap();
    }
    let last = rows.last().map_or(0, |row| row.seq).cast_signed();
    store
        .execute("UPDATE fleet SET last_event = ?1, last_hash = ?2", params![last, hash.to_string()])
        .unwrap();
}

/// Stops the coordinator, does something to its store, and starts it again.
fn behind_its_back(fleet: &mut Fleet, bend: impl FnOnce(&Connection)) {
    assert_eq!(fleet.coordinator.terminate(), Some(0), "{}", fleet.coordinator.log());
    bend(&store(fleet));
    fleet.coordinator.start();
    fleet.all_connected();
}

#[test]
fn a_run_leaves_a_record_that_is_whole_signed_and_held_by_every_agent() {
    let fleet = upgraded();
    let audit = held(&fleet);
    assert_eq!(audit["findings"], Value::Array(vec![]), "{audit:#}");
    // A stage and an apply section on each of two nodes.
    assert_eq!(audit["outcomes"], 4, "{audit:#}");
    assert!(audit["caKnown"] == true && audit["silent"] == Value::Array(vec![]), "{audit:#}");
    let read = fleet.drydock(&["audit", "verify"]);
    read.exits(0).says(&["The record is whole", "4 outcomes signed by their nodes", "n1 event", "n2 event"]);
    // Nobody is asked who is not there, and nothing is held against the record for it.
    let mut fleet = fleet;
    fleet.nodes[1].kill();
    wait::until_true("n2 to be silent", wait::SOON, || {
        let audit = verify(&fleet);
        audit.exits(0).json()["silent"][0]["node"] == "n2"
    });
    fleet.coordinator.terminate();
    fleet.drydock(&["audit", "verify"]).exits(1).says(&["nothing listens there"]);
}

#[test]
fn a_sealed_run_is_verified_without_any_coordinator_and_no_change_to_it_goes_unnoticed() {
    let mut fleet = upgraded();
    held(&fleet);
    let sealed = fleet.drydock(&["audit", "export", "1", "run-1.record"]);
    sealed.exits(0).says(&["Run 1 is sealed in run-1.record", "audit verify --offline run-1.record"]);
    fleet.drydock(&["audit", "export", "1", "run-1.record"]).exits(2).says(&["exists already"]);
    fleet.drydock(&["audit", "export", "9", "run-9.record"]).exits(1).says(&["no run 9"]);
    assert!(!fleet.dir().join("run-9.record").exists());

    // Another machine, years later: no coordinator, no context.
    let pin = verify(&fleet).json()["caPin"].as_str().unwrap().to_owned();
    fleet.coordinator.terminate();
    let (dir, nothing) = (fleet.dir().to_owned(), fleet.dir().join("nothing"));
    let offline = |file: &str, more: &[&str]| {
        let typed = [&["-o", "json", "audit", "verify", "--offline", file], more].concat();
        cli::drydock(&dir, &nothing, &typed)
    };
    let audit = offline("run-1.record", &["--ca-pin", &pin]);
    let audit = audit.exits(0).json();
    assert_eq!((&audit["run"], &audit["outcomes"]), (&1.into(), &4.into()), "{audit:#}");
    assert_eq!(audit["heads"].as_array().unwrap().len(), 2);
    assert!(audit["caPin"] == pin.as_str() && audit["caKnown"] == true);
    assert_eq!(offline("run-1.record", &[]).exits(0).json()["caKnown"], false);
    let other = Sha256([1; 32]).to_string();
    assert_eq!(
        kinds(&offline("run-1.record", &["--ca-pin", &other]).exits(3).json()),
        ["authority".to_owned()].into()
    );

    let text = fs::read_to_string(dir.join("run-1.record")).unwrap();
    assert!(!text.contains("PRIVATE KEY"));
    let bent = |name: &str, text: &str| {
        fs::write(dir.join(name), text).unwrap();
        offline(name, &[])
    };
    // An outcome, the state of which is in its signed text and in the event; the hash of an event; a cut file.
    let edited = bent("edited", &text.replacen("\\\"done\\\"", "\\\"fail\\\"", 1));
    assert!(!kinds(&edited.exits(3).json()).is_empty());
    let line = |kind: &str| text.lines().position(|line| line.starts_with(&format!("{{\"{kind}\""))).unwrap();
    let without = |at: usize| {
        let kept: Vec<_> =
            text.lines().enumerate().filter(|(number, _)| *number != at).map(|(_, line)| line).collect();
        kept.join("\n")
    };
    let second =
        text.lines().enumerate().filter(|(_, line)| line.starts_with("{\"event\"")).nth(1).unwrap().0;
    let deleted = bent("deleted", &without(second));
    assert!(kinds(&deleted.exits(3).json()).contains("missing"));
    let unsigned = bent("unsigned", &without(line("document")));
    assert_eq!(kinds(&unsigned.exits(3).json()), ["outcome".to_owned()].into());
    let cut = bent("cut", &without(line("end")));
    assert!(kinds(&cut.exits(3).json()).contains("file"));
    bent("garbage", "not a record\n").exits(2).says(&["line 1"]);
    offline("none", &[]).exits(2);
}

/// Hostile input 24: edited, deleted and put in another order, by somebody who only edits the file.
#[test]
fn an_edited_a_deleted_and_a_moved_event_are_named() {
    let mut fleet = upgraded();
    let whole = held(&fleet)["last"].as_u64().unwrap();
    assert!(whole >= 8, "{whole}");
    let mut kept = Vec::new();
    behind_its_back(&mut fleet, |store| {
        kept = rows(store);
        store
            .execute("UPDATE events SET event = replace(event, 'section', 'sektion') WHERE seq = 5", [])
            .unwrap();
        store.execute("UPDATE events SET wall_ms = wall_ms + 1 WHERE seq = 2", []).unwrap();
    });
    let audit = verify(&fleet).exits(3).json();
    let edited: Vec<_> =
        audit["findings"].as_array().unwrap().iter().map(|finding| &finding["seq"]).collect();
    assert!(edited.contains(&&2.into()), "{audit:#}");
    assert_eq!(
        kinds(&audit).iter().filter(|kind| *kind != "edited" && *kind != "outcome").count(),
        0,
        "{audit:#}"
    );
    fleet.drydock(&["audit", "verify"]).exits(3).says(&["edited at event 2", "not what it should be"]);

    behind_its_back(&mut fleet, |store| {
        rewrite(store, &kept);
        store.execute("DELETE FROM events WHERE seq = 4", []).unwrap();
    });
    let audit = verify(&fleet).exits(3).json();
    assert_eq!(finding(&audit, "missing")["seq"], 4, "{audit:#}");
    assert_eq!(kinds(&audit), ["missing".to_owned()].into(), "and nothing else: {audit:#}");

    behind_its_back(&mut fleet, |store| {
        rewrite(store, &kept);
        store
            .execute_batch(
                "UPDATE events SET seq = -3 WHERE seq = 3; UPDATE events SET seq = 3 WHERE seq = 4;
                 UPDATE events SET seq = 4 WHERE seq = -3;",
            )
            .unwrap();
    });
    let audit = verify(&fleet).exits(3).json();
    let moved: BTreeSet<_> =
        audit["findings"].as_array().unwrap().iter().map(|it| it["seq"].as_u64()).collect();
    assert!(moved.contains(&Some(3)) && moved.contains(&Some(4)), "{audit:#}");

    // Put right again it is whole: what was found was in the record, and nowhere else.
    behind_its_back(&mut fleet, |store| rewrite(store, &kept));
    let audit = verify(&fleet).exits(0).json();
    assert_eq!((&audit["last"], &audit["outcomes"]), (&whole.into(), &4.into()), "{audit:#}");
}

/// Hostile input 24: by somebody who computes the chain anew. The agents know.
#[test]
fn a_record_that_was_rewritten_or_cut_off_with_its_hashes_is_contradicted_by_the_agents() {
    let mut fleet = upgraded();
    let whole = held(&fleet)["last"].as_u64().unwrap();
    let mut kept = Vec::new();
    behind_its_back(&mut fleet, |store| {
        kept = rows(store);
        let mut rows = kept.clone();
        rows.truncate(rows.len() - 3);
        rewrite(store, &rows);
    });
    let audit = verify(&fleet).exits(3).json();
    let cut = finding(&audit, "truncated");
    assert_eq!(cut["seq"], whole, "{audit:#}");
    assert!(
        cut["what"].as_str().unwrap().contains(&format!("events {} to {whole} are gone", whole - 2)),
        "{cut}"
    );
    // Both agents were told of the shorter record too, and kept both heads.
    assert_eq!(finding(&audit, "contradiction")["seq"], whole - 3, "{audit:#}");
    for node in &fleet.nodes {
        wait::until_true("the agent to say so", wait::SOON, || {
            node.log().contains("goes back or is another one")
        });
    }
    let says = "was told of an event that this record does not hold";
    assert!(fleet.coordinator.log().contains(says), "and the coordinator's log, unasked");

    // One event is changed in the middle, the rest is as it was, and the record goes on.
    behind_its_back(&mut fleet, |store| {
        let mut rows = kept.clone();
        rows[3].event = rows[3].event.replacen("\"text\":\"", "\"text\":\"not ", 1);
        let last = rows.last().unwrap().clone();
        rows.push(Row { seq: last.seq + 1, ..last.clone() });
        rewrite(store, &rows);
    });
    let audit = verify(&fleet).exits(3).json();
    assert!(audit["heads"].as_array().unwrap().iter().all(|head| head["standing"] == "held"), "{audit:#}");
    let rewritten = finding(&audit, "rewritten");
    assert!(rewritten["seq"].as_u64().unwrap() >= 4, "{audit:#}");

    // What its node signed is changed in the store, and then taken out of it.
    behind_its_back(&mut fleet, |store| {
        rewrite(store, &kept);
        let changed = store.execute("UPDATE documents SET document = replace(document, 'done', 'gone')", []);
        assert!(changed.unwrap() > 0);
    });
    let audit = verify(&fleet).exits(3).json();
    assert!(finding(&audit, "outcome")["node"].as_str().unwrap().starts_with('n'), "{audit:#}");
    assert_eq!(audit["outcomes"], 0, "{audit:#}");
    behind_its_back(&mut fleet, |store| store.execute_batch("DELETE FROM documents").unwrap());
    assert!(finding(&verify(&fleet).exits(3).json(), "outcome")["seq"].as_u64().is_some());
}

/// Hostile input 24: two agents that were told two records.
#[test]
fn two_agents_that_hold_different_heads_are_both_named() {
    let mut fleet = upgraded();
    let whole = held(&fleet)["last"].as_u64().unwrap();
    // n2 is away while n1 is told of a record that goes on otherwise.
    fleet.nodes[1].kill();
    let mut kept = Vec::new();
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    {
        let store = store(&fleet);
        kept.extend(rows(&store));
        let last = kept.last().unwrap().clone();
        let more = Row { seq: last.seq + 1, wall_ms: last.wall_ms + 1, ..last };
        rewrite(&store, &[&kept[..], &[more]].concat());
    }
    fleet.coordinator.start();
    let told = |fleet: &Fleet, seq: u64, node: usize| {
        wait::until_true("an agent to be told", wait::SOON, || {
            let audit = verify(fleet).json();
            let heads = audit["heads"].as_array().unwrap().iter();
            heads
                .filter(|head| head["node"] == fleet.nodes[node].name.as_str())
                .any(|head| head["seq"] == seq)
        });
    };
    told(&fleet, whole + 1, 0);
    // And n1 is away while n2 is told of another one of the same length.
    fleet.nodes[0].kill();
    assert_eq!(fleet.coordinator.terminate(), Some(0));
    {
        let last = kept.last().unwrap().clone();
        let other = Row { seq: last.seq + 1, wall_ms: last.wall_ms + 2, ..last };
        rewrite(&store(&fleet), &[&kept[..], &[other]].concat());
    }
    fleet.coordinator.start();
    fleet.nodes[1].launch();
    told(&fleet, whole + 1, 1);
    fleet.nodes[0].launch();
    fleet.all_connected();
    let audit = verify(&fleet).exits(3).json();
    let disagreement = finding(&audit, "disagreement");
    assert_eq!((&disagreement["node"], &disagreement["other"]), (&"n1".into(), &"n2".into()), "{audit:#}");
    assert_eq!(disagreement["seq"], whole + 1);
    // n1 itself was told both, one after the other: it kept the first and says so.
    let contradiction = finding(&audit, "contradiction");
    assert_eq!(contradiction["node"], "n1", "{audit:#}");
    fleet.drydock(&["audit", "verify"]).exits(3).says(&["n1 and n2 disagree"]);
}
