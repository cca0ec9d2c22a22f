//! What a section may leave in the journal: bounded, so that room for its end can be taken before it begins.

use drydock_types::{
    Outcome, Section,
    document::encode,
    outcome::{Evidence, Failure},
};

use crate::actions::{Note, Problem};

/// The longest note of one step.
const NOTE_BYTES: usize = 16 << 10;
/// The longest evidence of one step.
const EVIDENCE_BYTES: usize = 8 << 10;
/// All evidence of an outcome.
const OUTCOME_EVIDENCE_BYTES: usize = 48 << 10;
/// The longest outcome: evidence, failure (twice, JSON escapes) and a report for each step.
const OUTCOME_BYTES: usize = 192 << 10;
/// Frame, names and numbers of one record.
const RECORD_BYTES: usize = 512;

/// Bytes that a section can need in the journal from acceptance to the end of its undo.
pub(super) fn needed(section: &Section, bytes: usize) -> u64 {
    let steps = section.steps.len() + section.verify.len();
    // A note, evidence and their records for the step and again for its undo.
    let each = 2 * NOTE_BYTES + 2 * EVIDENCE_BYTES + 4 * RECORD_BYTES;
    // The section stands in a JSON text of the record: quotes are escaped.
    (2 * bytes + steps * each + 2 * OUTCOME_BYTES + RECORD_BYTES) as u64
}

/// Refuses a note that is too long for the journal.
pub(super) fn note(note: Note) -> Result<Note, Problem> {
    let length = encode(&note).len();
    if length > NOTE_BYTES {
        return Err(Problem::new(format!("the step's note has {length} bytes; {NOTE_BYTES} is the limit")));
    }
    Ok(note)
}

/// Keeps the first evidence that fits.
pub(super) fn evidence(evidence: Vec<Evidence>) -> Vec<Evidence> {
    keep(evidence, EVIDENCE_BYTES)
}

/// A failure as it can be journalled and shown.
pub(super) fn failure(step: &str, problem: Problem) -> Failure {
    let Problem { what, next, log } = problem;
    let from = log.len().saturating_sub(40);
    Failure {
        step: step.to_owned(),
        what: self::what(what),
        next: next.into_iter().take(8).map(|line| cut(line, 500)).collect(),
        log: log.into_iter().skip(from).map(|line| cut(line, 300)).collect(),
    }
}

/// What went wrong, as it stands in a failure.
pub(super) fn what(text: String) -> String {
    cut(text, 2000)
}

/// An error text as it stands in a step's report.
pub(super) fn text(text: String) -> String {
    cut(text, 500)
}

/// An outcome that fits.
pub(super) fn outcome(mut outcome: Outcome) -> Outcome {
    outcome.evidence = keep(outcome.evidence, OUTCOME_EVIDENCE_BYTES);
    debug_assert!(encode(&outcome).len() <= OUTCOME_BYTES, "an outcome's parts are bounded");
    outcome
}

fn keep(evidence: Vec<Evidence>, limit: usize) -> Vec<Evidence> {
    let mut left = limit;
    let fits = |item: &Evidence| {
        let length = encode(item).len();
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    };
    evidence.into_iter().take_while(fits).collect()
}

fn cut(mut text: String, chars: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(chars) {
        text.truncate(at);
        text.push('…');
    }
    text
}
