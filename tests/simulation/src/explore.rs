//! A small world, explored whole: three etcd members, one or two coordinators, and every order in which anything can
//! happen to them, with so many things going wrong.
//!
//! | module | what lives there |
//! |---|---|
//! | `world` | a moment of the world, as a value, and its digest |
//! | `choice`, `act` | what can happen next, and what it does |
//! | `cluster` | the cluster whose Nodes the machines are, in the world that has one |
//! | `coordinator`, `store` | the real driver over the store in memory, and what is around it |
//! | `agent` | an agent as small as it can be, compared with the real one |
//! | `rules` | the rules, on what the machines are and what is on the disks |
//! | `search`, `canon` | breadth first, with what was seen before cut off |
//! | `begin` | how it all begins |
//!
//! The simulation tells long stories of which chance picks the steps; this one picks no steps, and so the stories are
//! short. See `docs/adr/0019-a-small-world-explored-whole.md`.

mod act;
mod agent;
mod begin;
mod canon;
mod choice;
mod cluster;
#[cfg(test)]
mod compared;
mod coordinator;
mod rules;
mod search;
mod store;
mod world;

pub use self::{
    agent::AgentLacks,
    rules::Broken,
    search::{Explored, explore},
};

/// A second coordinator, and what lies under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// The first one's store: that one wakes up and finds it taken.
    OnTheSameStore,
    /// A copy of it from this very moment.
    OnACopy,
    /// A copy from right after the run was accepted.
    OnABackup,
}

impl Second {
    const fn words(self) -> &'static str {
        match self {
            Self::OnTheSameStore => "on the same store",
            Self::OnACopy => "on a copy of the store",
            Self::OnABackup => "on a copy of the store from before anything was handed out",
        }
    }
}

/// What may go wrong in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// Coordinators are killed.
    pub coordinators: bool,
    /// Agents are.
    pub agents: bool,
    /// And lose their journals.
    pub journals: bool,
    /// Streams break; sections lapse, or come twice; time passes while something is under way.
    pub streams: bool,
    /// New versions do not start, and somebody else stops services.
    pub services: bool,
    /// Operators pause, resume, abort, take over.
    pub people: bool,
    /// Nodes leave a cluster before they are changed, and other people's hands are in it.
    pub cluster: bool,
    /// A second coordinator is started.
    pub second: Option<Second>,
}

/// A guard that an experiment takes out of the world around the driver: is it missed?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lacks {
    /// Of the agents.
    pub agent: AgentLacks,
    /// Checks are clear whatever there is to see.
    pub checks: bool,
    /// Whether a node has left is answered with yes whatever there is to see.
    pub left: bool,
    /// The store takes what anybody writes.
    pub owner: bool,
}

/// A world, and how far it is explored.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is called.
    pub name: String,
    /// What may go wrong.
    pub trouble: Trouble,
    /// How often, in one story.
    pub faults: u8,
    /// Steps of the longest story.
    pub depth: u32,
    /// States at the most.
    pub states: usize,
    /// What is taken out.
    pub lacks: Lacks,
}

/// The worlds that are explored, whole with one thing that goes wrong; that a second coordinator begins is one.
#[must_use]
pub fn worlds() -> Vec<Wanted> {
    let all = Trouble {
        coordinators: true,
        agents: true,
        journals: false,
        streams: true,
        services: true,
        people: true,
        cluster: false,
        second: None,
    };
    let two = |second| Trouble { services: false, second: Some(second), ..all };
    let world = |name: &str, trouble| Wanted {
        name: name.to_string(),
        trouble,
        faults: 1,
        depth: u32::MAX,
        states: usize::MAX,
        lacks: Lacks::default(),
    };
    vec![
        world("one coordinator", all),
        world(
            "one coordinator, and journals that are lost",
            Trouble { journals: true, ..Trouble::default() },
        ),
        world("one coordinator, and nodes that are drained", Trouble { cluster: true, ..all }),
        world("two coordinators on one store", two(Second::OnTheSameStore)),
        world("two coordinators on copies of a store", two(Second::OnACopy)),
        world("two coordinators, one on an older copy", two(Second::OnABackup)),
    ]
}
