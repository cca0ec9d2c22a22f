//! What goes wrong on demand.

use super::Cluster;
use crate::api::{Answer, Request};

/// What goes wrong with a request.
pub enum Fault {
    /// It is answered so, and nothing is done.
    Answer(Answer),
    /// No answer comes in its time.
    Hang {
        /// It is done all the same.
        takes_effect: bool,
    },
    /// Somebody else is faster: this happens first, then the request is served.
    Before(Box<dyn FnMut(&Cluster) + Send>),
}

/// A fault for the next requests that match.
pub(super) struct Rule {
    pub(super) times: usize,
    pub(super) when: Box<dyn Fn(&Request) -> bool + Send>,
    pub(super) fault: Fault,
}

/// The fault that this request meets. A rule that is used up is gone.
pub(super) fn take(rules: &mut Vec<Rule>, request: &Request) -> Option<Fault> {
    let index = rules.iter().position(|rule| (rule.when)(request))?;
    let rule = rules.get_mut(index)?;
    rule.times = rule.times.saturating_sub(1);
    if rule.times == 0 {
        return Some(rules.remove(index).fault);
    }
    match &rule.fault {
        Fault::Answer(answer) => Some(Fault::Answer(answer.clone())),
        Fault::Hang { takes_effect } => Some(Fault::Hang { takes_effect: *takes_effect }),
        // Somebody is faster once, however often it was asked for.
        Fault::Before(_) => Some(rules.remove(index).fault),
    }
}
