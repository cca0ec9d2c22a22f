//! The reducer's own word: every section that it puts out, before the limiter has judged it and before anything is
//! on the wire. Each layer is held to the rules by itself, so that one does not hide what the other lacks.

use std::cell::RefCell;

use drydock_core::{
    Now,
    run::{Effect, Event, Run},
};
use drydock_types::{NodeName, RunId, SectionKind};

/// A section that the reducer decided.
#[derive(Debug, Clone)]
pub struct Word {
    /// Of which run.
    pub run: RunId,
    /// For which node.
    pub node: NodeName,
    /// Which phase.
    pub kind: SectionKind,
}

thread_local! {
    // A driver's reducer is a plain function, and a story has one thread.
    static SAID: RefCell<Vec<Word>> = const { RefCell::new(Vec::new()) };
}

/// The reducer, listened to.
pub(crate) fn step(run: Run, event: &Event, now: Now) -> (Run, Vec<Effect>) {
    let (run, effects) = drydock_core::step::step(run, event, now);
    let words = effects.iter().filter_map(|effect| match effect {
        Effect::Dispatch { section } if section.kind != SectionKind::Stage => {
            Some(Word { run: section.run, node: section.node.clone(), kind: section.kind })
        }
        _ => None,
    });
    SAID.with_borrow_mut(|said| said.extend(words));
    (run, effects)
}

/// What was said since this was last asked.
pub(crate) fn take() -> Vec<Word> {
    SAID.take()
}
