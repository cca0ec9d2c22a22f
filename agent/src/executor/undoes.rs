//! May an earlier section's change be taken back by command? Judged by what the journal holds.

use drydock_types::{Section, SectionKind, outcome::SectionResult};

use super::bounds;
use crate::journal::{Journal, JournalError, Past, Stored};

/// The change that an undo section takes back, or why it is not begun.
///
/// # Errors
/// When the journal cannot be read.
pub(super) fn judge(journal: &Journal, section: &Section) -> Result<Result<Past, String>, JournalError> {
    let Some(undoes) = section.undoes else { return Ok(Err("an undo section names nothing to undo".into())) };
    let (short, component) = (undoes.short(), &section.component);
    match journal.stored(undoes)? {
        Stored::Unknown => {
            return Ok(Err(format!(
                "the change {short} of {component} is not in this node's journal: it was never begun here, or its \
                 notes were let go when a later run had changed {component}; go back by a plan to the old version \
                 (allowDowngrade)"
            )));
        }
        Stored::Open { .. } => {
            return Ok(Err(format!("the change {short} of {component} is still at work")));
        }
        Stored::Ended { outcome, .. } => match outcome.result {
            SectionResult::Done {} | SectionResult::LeftAlone { .. } => {}
            SectionResult::Undecidable { .. } => {
                return Ok(Err(format!(
                    "nothing told how the change {short} of {component} ended, so nothing tells how it is taken \
                     back: look at {component} on {} and put right what is wrong by hand",
                    section.node
                )));
            }
            SectionResult::Refused { .. } | SectionResult::Failed { .. } | SectionResult::Undone { .. } => {
                return Ok(Err(format!(
                    "the change {short} of {component} ended as {}: nothing of it is left to take back",
                    outcome.result.word()
                )));
            }
        },
    }
    let Some(last) = journal.last_change(component) else {
        return Ok(Err(format!("the change {short} is none of {component}, or its notes are gone")));
    };
    if last.effect != undoes {
        return Ok(Err(format!(
            "run {} changed {component} here after the change {short} that is to be undone; an undo never takes a \
             later change with it: take run {} back first",
            last.run_number, last.run_number
        )));
    }
    let Some(past) = journal.past(last)? else {
        return Ok(Err(format!("the notes of the change {short} of {component} are gone")));
    };
    Ok(fits(&past.section, section).map(|()| past))
}

/// Does the section ask for what its change can be taken back to?
fn fits(past: &Section, section: &Section) -> Result<(), String> {
    if past.commit_confirmed.is_some() {
        return Err(format!(
            "the change of {} by run {} could have cut this node off and was confirmed by the node itself; taking \
             it back could cut it off again with nothing armed: go back by a plan to the old version (allowDowngrade)",
            past.component, past.run_number
        ));
    }
    match &past.from {
        Some(from) if *from != section.to => Err(format!(
            "{} ran {from} here before run {} changed it; the undo section says {}",
            past.component, past.run_number, section.to
        )),
        _ => Ok(()),
    }
}

/// The change that an undo section which is begun takes back, kept for it whatever is forgotten meanwhile.
///
/// # Errors
/// When the journal cannot be read.
pub(super) fn past(journal: &Journal, section: &Section) -> Result<Option<Past>, JournalError> {
    let last = journal.last_change(&section.component).filter(|last| Some(last.effect) == section.undoes);
    last.map_or(Ok(None), |last| journal.past(last))
}

/// Bytes that a section can need in the journal: an undo section as many as the one that it takes back.
///
/// # Errors
/// When the journal cannot be read.
pub(super) fn needed(journal: &Journal, section: &Section, bytes: usize) -> Result<u64, JournalError> {
    let past = if section.kind == SectionKind::Undo { past(journal, section)? } else { None };
    Ok(bounds::needed(past.as_ref().map_or(section, |past| &past.section), bytes))
}
