//! The kinds of holds and waits that there are: each has a chapter in docs/guide/holds.md.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$what:meta])* $kind:ident => $anchor:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum $name { $($(#[$what])* $kind,)* }

        impl $name {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The heading's anchor in docs/guide/holds.md.
            #[must_use]
            pub const fn anchor(self) -> &'static str {
                match self { $(Self::$kind => $anchor,)* }
            }
        }
    };
}

kinds! {
    /// Why a run stopped on purpose.
    pub enum HoldKind {
        /// A check forbids that the node leaves service.
        GateRefused => "a-check-forbids-it",
        /// A gate, or a node before it, waited until its deadline.
        WaitedTooLong => "waited-too-long",
        /// An agent has not reported the end of a section in time.
        NotReported => "not-reported-in-time",
        /// A node could not be taken out of service by the plan's moves.
        NotDrained => "not-drained",
        /// What the run has marked for a node could not be taken back.
        NotGivenBack => "not-given-back",
        /// A changed node did not become well in time.
        NotBack => "not-back-in-time",
        /// A changed node became unwell while it was watched.
        Unwell => "unwell-while-soaking",
        /// A service has been out for longer than the plan accepts.
        OutageTooLong => "out-for-longer-than-accepted",
        /// Measured from outside there was no answer for longer than the plan accepts.
        GapTooLong => "no-answer-for-too-long",
        /// A section was handed out again and again and never begun.
        NeverBegun => "never-begun",
        /// The agent will not do the section.
        Declined => "declined",
        /// The section was refused or failed, and nothing was changed.
        NothingChanged => "failed-and-nothing-changed",
        /// The archive of packages changed between two nodes.
        OtherBytes => "other-packages-than-before",
        /// The change failed and was taken back.
        RolledBack => "rolled-back",
        /// The change failed and was not taken back.
        LeftAlone => "left-alone",
        /// A rollback's agent could not, or must not, take the change back.
        NotTakenBack => "not-taken-back",
        /// Nobody can tell whether a step took place.
        Undecidable => "undecidable",
        /// Somebody else changed the node meanwhile.
        ChangedByOthers => "changed-by-somebody-else",
        /// Nobody approved a wave in time.
        NotApproved => "not-approved-in-time",
        /// The window is never open for as long as a node takes.
        WindowTooShort => "window-too-short",
        /// What it held for is over, and it waits for the word to go on.
        ToBeDecided => "waits-for-a-decision",
    }
}

kinds! {
    /// What a run can wait for without holding.
    pub enum WaitKind {
        /// The run before it.
        Queue => "behind-another-run",
        /// An operator who paused it.
        Pause => "paused",
        /// A check, or the budget, to become clear at a node.
        Gate => "a-check-is-not-clear",
        /// An agent that is at work.
        Section => "an-agent-is-at-work",
        /// A node that is leaving service by moves, or being given back.
        Move => "a-node-is-being-drained",
        /// An agent that is silent while it has a section.
        Silent => "an-agent-is-silent",
        /// A section that lapsed, to be begun.
        Lapsed => "a-section-lapsed",
        /// An approval.
        Approval => "an-approval",
        /// The plan's window.
        Window => "the-window",
        /// A fleet that is frozen.
        Freeze => "the-fleet-is-frozen",
        /// The limit of nodes an hour.
        HourlyLimit => "the-hourly-limit",
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, string::String};

    use super::*;
    use crate::standing::checks;

    const GUIDE: &str = include_str!("../../../docs/guide/holds.md");

    /// The anchors of the headings below one of the guide's chapters.
    fn chapter(name: &str) -> BTreeSet<String> {
        let chapter = GUIDE.split("\n## ").find(|chapter| chapter.starts_with(name)).expect("a chapter");
        let headings = chapter.lines().filter_map(|line| line.strip_prefix("### "));
        headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect()
    }

    #[test]
    fn every_hold_and_every_wait_has_its_place_in_the_guide_and_nothing_else_has() {
        let holds: BTreeSet<String> = HoldKind::ALL.iter().map(|kind| kind.anchor().into()).collect();
        let waits: BTreeSet<String> = WaitKind::ALL.iter().map(|kind| kind.anchor().into()).collect();
        assert_eq!((chapter("Holds"), chapter("Waits")), (holds, waits));
    }

    #[test]
    fn every_check_of_the_coordinator_itself_that_can_hold_a_run_is_explained() {
        for check in [checks::SET_ASIDE, checks::QUARANTINE, checks::TWO_MACHINES, checks::RETIRED] {
            assert!(GUIDE.contains(&alloc::format!("| `{check}` |")), "{check}");
        }
    }
}
