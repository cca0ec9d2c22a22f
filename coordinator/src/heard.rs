//! What agents say, before anything else sees it.
//!
//! An agent is root on one node, and may be somebody else's. Its words go into the run's state (written
//! whole with every transition), the record, logs and every operator's screen: so texts are no longer than
//! anybody reads and are one line, and lists are no longer than an honest section makes them. What is cut is
//! cut, not refused: a section must not become undecidable because its log was long.

mod signed;

use drydock_core::inventory::Seen;
use drydock_types::{
    Outcome, Verdict, document,
    findings::{Finding, FindingsView, Looked, RunningVersion},
    outcome::{Evidence, Failure, SectionResult, StepReport},
    probe::HostFacts,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::signed::{NotBelieved, Signed, Speaker, read as signed_outcome};

/// Characters of one text.
const TEXT_CHARS: usize = 500;
/// Characters of a name or a fact.
const WORD_CHARS: usize = 128;
/// Steps of one outcome; each may stand there twice, done and undone.
const STEPS: usize = 64;
/// Pieces of evidence of one outcome.
const EVIDENCE: usize = 64;
/// Bytes of one piece of evidence: two paths and two digests fit well.
const EVIDENCE_BYTES: usize = 4096;
/// Lines of a unit's log.
const LOG_LINES: usize = 50;
/// Packages that one change may name.
const PACKAGES: usize = 200;
/// Findings of one node.
const FINDINGS: usize = 200;
/// Kinds of things that are looked at, and of things that run.
const KINDS: usize = 64;
/// Hints of a failure.
const HINTS: usize = 8;

/// A text as it may stand in the record: one line, short.
#[must_use]
pub fn text(said: &str) -> String {
    cut(said, TEXT_CHARS)
}

/// The same for a name, a version, a fact.
#[must_use]
pub fn word(said: &str) -> String {
    cut(said, WORD_CHARS)
}

fn cut(said: &str, most: usize) -> String {
    // Beside control characters, those that turn the direction of what stands around them.
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    said.chars().take(most).map(|c| if obeyed(c) { ' ' } else { c }).collect()
}

/// A view whose every text, also where one names an entry, is cut and is one line. Lists stay as long as a message lets them be:
/// nothing of it is kept.
///
/// # Errors
/// When it is not the same kind of thing any more: a name that was none.
pub fn plain<T: Serialize + DeserializeOwned>(said: &T) -> Result<T, String> {
    let unreadable =
        |error: serde_json::Error| format!("what was answered cannot be read: {}", text(&error.to_string()));
    let mut value = serde_json::to_value(said).map_err(unreadable)?;
    plain_value(&mut value);
    serde_json::from_value(value).map_err(unreadable)
}

fn plain_value(value: &mut Value) {
    match value {
        Value::String(said) => *said = text(said),
        Value::Array(items) => items.iter_mut().for_each(plain_value),
        Value::Object(entries) => {
            let taken = std::mem::take(entries);
            entries.extend(taken.into_iter().map(|(name, mut of)| {
                plain_value(&mut of);
                (text(&name), of)
            }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A section's end.
#[must_use]
pub fn outcome(said: Outcome) -> Outcome {
    let step = |said: StepReport| StepReport {
        step: word(&said.step),
        error: said.error.as_deref().map(text),
        ..said
    };
    let short = |said: &Evidence| document::encode(said).len() <= EVIDENCE_BYTES;
    Outcome {
        result: result(said.result),
        steps: said.steps.into_iter().take(STEPS).map(step).collect(),
        evidence: said.evidence.into_iter().take(EVIDENCE).map(evidence).filter(short).collect(),
        ..said
    }
}

fn result(said: SectionResult) -> SectionResult {
    match said {
        SectionResult::Done {} => SectionResult::Done {},
        SectionResult::Refused { failure: said } => SectionResult::Refused { failure: failure(&said) },
        SectionResult::Failed { failure: said } => SectionResult::Failed { failure: failure(&said) },
        SectionResult::Undone { failure: said } => SectionResult::Undone { failure: failure(&said) },
        SectionResult::LeftAlone { failure: said, because } => {
            SectionResult::LeftAlone { failure: failure(&said), because: text(&because) }
        }
        SectionResult::Undecidable { step, because } => {
            SectionResult::Undecidable { step: word(&step), because: text(&because) }
        }
    }
}

fn failure(said: &Failure) -> Failure {
    // The end of a log tells more than its beginning.
    let skipped = said.log.len().saturating_sub(LOG_LINES);
    Failure {
        step: word(&said.step),
        what: text(&said.what),
        next: said.next.iter().take(HINTS).map(|hint| text(hint)).collect(),
        log: said.log.iter().skip(skipped).map(|line| text(line)).collect(),
    }
}

fn evidence(said: Evidence) -> Evidence {
    match said {
        Evidence::Running(mut unit) => {
            unit.invocation = word(&unit.invocation);
            unit.unpacked = unit.unpacked.as_deref().map(text);
            Evidence::Running(unit)
        }
        Evidence::Version { version, source } => Evidence::Version { version, source: text(&source) },
        Evidence::Healthy { source } => Evidence::Healthy { source: text(&source) },
        Evidence::EtcdMember { member, cluster, raft_index, leader } => Evidence::EtcdMember {
            member: word(&member),
            cluster: word(&cluster),
            raft_index,
            leader: word(&leader),
        },
        Evidence::LeaderMoved { from, to } => Evidence::LeaderMoved { from: word(&from), to: word(&to) },
        Evidence::Confirmed { by, after } => Evidence::Confirmed { by: text(&by), after },
        Evidence::Reverted { at_unix_ms, after, because, restored } => {
            Evidence::Reverted { at_unix_ms, after, because: text(&because), restored: lines(&restored) }
        }
        Evidence::Network { lost, gained } => {
            Evidence::Network { lost: lines(&lost), gained: lines(&gained) }
        }
        Evidence::Rebooted { from, to } => Evidence::Rebooted { from: word(&from), to: word(&to) },
        Evidence::BackedUpElsewhere { what, by } => {
            Evidence::BackedUpElsewhere { what: text(&what), by: text(&by) }
        }
        Evidence::PackagesChanged { mut changed, kept, held_still, stale, still } => {
            changed.truncate(PACKAGES);
            let (kept, held_still, still) = (lines(&kept), lines(&held_still), lines(&still));
            Evidence::PackagesChanged { changed, kept, held_still, stale, still }
        }
        Evidence::PackagesStaged { mut packages, mut releases } => {
            packages.truncate(PACKAGES);
            packages.iter_mut().for_each(|package| package.architecture = word(&package.architecture));
            releases.truncate(LOG_LINES);
            releases.iter_mut().for_each(|release| release.suite = word(&release.suite));
            Evidence::PackagesStaged { packages, releases }
        }
        Evidence::GuestsKept { guests, version, qemu } => {
            let qemu = qemu.iter().take(LOG_LINES).map(|(version, count)| (text(version), *count)).collect();
            Evidence::GuestsKept { guests, version: text(&version), qemu }
        }
        Evidence::FlowsKept { before, after, same, version, module } => {
            let module = module.as_deref().map(text);
            Evidence::FlowsKept { before, after, same, version: text(&version), module }
        }
        said @ (Evidence::Artifact { .. }
        | Evidence::Swapped { .. }
        | Evidence::Placed { .. }
        | Evidence::Snapshot { .. }) => said,
    }
}

/// A list of an agent's lines.
fn lines(said: &[String]) -> Vec<String> {
    said.iter().take(LOG_LINES).map(|line| text(line)).collect()
}

/// A host's facts: shown, never trusted.
#[must_use]
pub fn facts(said: &HostFacts) -> HostFacts {
    HostFacts {
        os: word(&said.os),
        kernel: word(&said.kernel),
        arch: word(&said.arch),
        hostname: word(&said.hostname),
        boot_id: word(&said.boot_id),
        machine_id: word(&said.machine_id),
        ..*said
    }
}

/// What is wrong with a node, in its agent's words.
#[must_use]
pub fn findings(said: FindingsView) -> FindingsView {
    let finding = |said: Finding| Finding {
        what: text(&said.what),
        next: said.next.iter().take(HINTS).map(|hint| text(hint)).collect(),
        ..said
    };
    let looked = |said: Looked| Looked { at: word(&said.at), seen: said.seen.map_err(|why| text(&why)) };
    FindingsView {
        findings: said.findings.into_iter().take(FINDINGS).map(finding).collect(),
        looked_at: said.looked_at.into_iter().take(KINDS).map(looked).collect(),
        unix_ms: said.unix_ms,
    }
}

/// What runs on a node.
#[must_use]
pub fn versions(said: Vec<RunningVersion>) -> Vec<RunningVersion> {
    let one =
        |said: RunningVersion| RunningVersion { version: said.version.map_err(|why| text(&why)), ..said };
    said.into_iter().take(KINDS).map(one).collect()
}

/// A verdict, whose reason may quote an agent.
#[must_use]
pub fn verdict(said: Verdict) -> Verdict {
    match said {
        Verdict::Clear => Verdict::Clear,
        Verdict::Waiting(why) => Verdict::Waiting(text(&why)),
        Verdict::Refused(why) => Verdict::Refused(text(&why)),
        Verdict::Unknown(why) => Verdict::Unknown(text(&why)),
    }
}

/// What runs on a node, or in an agent's words why that is not known.
#[must_use]
pub fn seen(said: Seen) -> Seen {
    Seen { version: said.version.map(|version| version.map_err(|why| text(&why))), ..said }
}

#[cfg(test)]
mod tests {
    use drydock_types::{EffectId, Millis};

    use super::*;

    #[test]
    fn an_outcome_of_megabytes_becomes_one_that_a_run_can_carry_and_stays_the_same_outcome() {
        let long = "x".repeat(100_000);
        let failure = Failure {
            step: long.clone(),
            what: long.clone(),
            next: vec![long.clone(); 100],
            log: (0..1000).map(|line| format!("{line} {long}")).collect(),
        };
        let steps =
            StepReport { step: long.clone(), undo: false, took: Millis(1), error: Some(long.clone()) };
        let said = Outcome {
            effect: EffectId([7; 32]),
            result: SectionResult::LeftAlone { failure, because: long.clone() },
            steps: vec![steps; 1000],
            took: Millis(5),
            out_of_service: Some(Millis(3)),
            evidence: vec![Evidence::Healthy { source: long }; 10_000],
        };
        let kept = outcome(said);
        assert!(document::encode(&kept).len() < 256 << 10, "{}", document::encode(&kept).len());
        assert_eq!(
            (kept.effect, kept.took, kept.out_of_service),
            (EffectId([7; 32]), Millis(5), Some(Millis(3)))
        );
        let SectionResult::LeftAlone { failure, .. } = kept.result else { panic!("{:?}", kept.result) };
        assert!(failure.log.last().unwrap().starts_with("999 "), "the end of the log is kept");
    }

    #[test]
    fn no_text_of_an_agent_begins_a_line_of_its_own_or_moves_the_cursor() {
        let said = "gone\n2026-01-01 INFO all is well\u{1b}[2J\u{202e}\r\0";
        assert_eq!(text(said), "gone 2026-01-01 INFO all is well [2J   ");
        assert_eq!(verdict(Verdict::Waiting(said.to_string())).reason(), Some(text(said).as_str()));
    }
}
