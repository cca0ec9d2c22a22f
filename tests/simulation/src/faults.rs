//! What can go wrong. Each kind has a name, and how often it took place is counted.

use crate::dice::Dice;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// In the coverage table and in stories.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// A message is lost and its stream goes on, as behind a bug of ours; streams themselves lose only their end.
    MessageLost = "message lost",
    /// It comes twice.
    MessageDuplicated = "message duplicated",
    /// It takes seconds.
    MessageDelayed = "message delayed",
    /// It overtakes the one before it, where the stream gives no order between the two.
    MessageReordered = "message reordered",
    /// A stream breaks; what was under way in it is lost.
    StreamBroken = "stream broken",
    /// A node can neither be heard nor reached.
    PartitionBoth = "partition both ways",
    /// What a node says does not arrive.
    PartitionUp = "partition: agent not heard",
    /// What a node is told does not arrive.
    PartitionDown = "partition: agent not reached",
    /// The coordinator is killed, between any two things that it does.
    CoordinatorKilled = "coordinator killed",
    /// The coordinator is killed behind a commit, with some of what follows from it done and some not.
    CoordinatorKilledAfterCommit = "coordinator killed after a commit",
    /// The coordinator is asked to stop, and is started again.
    CoordinatorStopped = "coordinator stopped in good order",
    /// The agent's process is killed.
    AgentKilled = "agent killed",
    /// The agent's process is killed at one of its next steps or writes.
    AgentKilledAtPoint = "agent killed at an await point",
    /// The machine dies; what was not fsynced is lost.
    PowerLost = "node lost power",
    /// The coordinator starts on an older copy of its store.
    StoreRestored = "store restored from a copy",
    /// The agent starts on an older copy of its journal.
    JournalRestored = "journal restored from a copy",
    /// The agent starts without its journal.
    JournalLost = "journal lost",
    /// The coordinator's wall clock jumps an hour ahead.
    ClockForward = "clock jumps ahead",
    /// The coordinator's wall clock jumps an hour back.
    ClockBack = "clock jumps back",
    /// The coordinator's disk is full at its next commit.
    StoreFull = "store: disk full",
    /// The coordinator's disk fails at its next commit, which took place or did not.
    StoreIo = "store: EIO",
    /// The agent's disk is full for a while.
    JournalFull = "journal: disk full",
    /// The agent's disk fails at one of its next writes.
    JournalIo = "journal: EIO",
    /// An action never ends.
    ActionHangs = "action hangs",
    /// An action fails, and nothing took place.
    ActionFails = "action fails",
    /// An action takes place half-way, or wholly, and fails.
    ActionHalf = "action half done",
    /// An action says that it is done, and nothing took place.
    ActionLies = "action lies",
    /// A health probe says ill of what is well, now and then.
    CheckFlaps = "check flaps",
    /// Looks are answered late or not at all.
    CheckStale = "check goes stale",
    /// A health probe says ill for a long time.
    CheckNeverClear = "check never clears",
    /// Somebody stops a node's service, and starts it again later.
    StoppedByOthers = "service stopped by others",
    /// Somebody puts another version on a node.
    ChangedByOthers = "version changed by others",
    /// A second coordinator is started on a copy of the store; the agents' address leads now here, now there.
    SecondCoordinator = "second coordinator",
    /// An operator pauses a run, and lets it go on later.
    OperatorPauses = "operator pauses",
    /// An operator aborts a run.
    OperatorAborts = "operator aborts",
    /// An operator freezes the fleet, and thaws it later.
    OperatorFreezes = "operator freezes",
    /// An operator leaves a node of an open run out.
    OperatorSkips = "operator skips a node",
    /// An operator moves a node's deadline.
    OperatorExtends = "operator extends a deadline",
    /// An operator takes a run back, or one node of it.
    OperatorRollsBack = "operator rolls back",
    /// An operator sets a node aside, and releases it later.
    OperatorSetsAside = "operator sets a node aside",
    /// Somebody puts another build of the same version on a node.
    RebuiltByOthers = "another build by others",
    /// Right after it has begun a change an agent loses its journal, and the coordinator dies.
    JournalLostMidway = "journal lost in mid-change",
    /// An agent's process is killed between an effect and its record.
    AgentKilledMidStep = "agent killed in a step",
    /// An artifact is gone from an agent's store.
    ArtifactLost = "artifact lost",
    /// An agent's disk stands still for seconds.
    JournalStalls = "journal: disk stands still",
    /// A look that came back stands in the coordinator's queue.
    LookLate = "look told late",
    /// Somebody cordons a Node, and uncordons it later.
    NodeCordoned = "cluster: cordoned by others",
    /// Somebody uncordons a Node.
    NodeUncordoned = "cluster: uncordoned by others",
    /// kured takes its lock for a Node, cordons it, and gives both back.
    KuredLocks = "cluster: kured's lock",
    /// The cluster-autoscaler marks a Node as one to delete, and thinks better of it later.
    AutoscalerTaints = "cluster: autoscaler's taint",
    /// A Node is deleted, and registers again later.
    NodeAnew = "cluster: Node deleted",
    /// A budget demands every pod, until somebody repairs it.
    BudgetBlocks = "cluster: budget blocks",
    /// A pod is put on a Node, cordoned or not.
    PodLands = "cluster: pod lands",
    /// A pod does not end, until somebody takes its finalizer off.
    PodStays = "cluster: pod stays",
    /// No controller-manager leads.
    NoControllers = "cluster: no controllers",
    /// No endpoint of the cluster answers.
    ApiDown = "cluster: API down",
    /// Every watch breaks, and what was before is forgotten.
    WatchesBreak = "cluster: watches break",
    /// The coordinator is killed while a move is under way.
    CoordinatorKilledDraining = "coordinator killed in a move",
    /// A request never arrives.
    ApiSilent = "cluster: request lost",
    /// A request is served, and nobody hears of it.
    ApiAnswerLost = "cluster: answer lost",
    /// A server that has too much to do says so.
    ApiThrottles = "cluster: throttled",
    /// A Node's kubelet is faster.
    ApiOvertakes = "cluster: overtaken",
    /// Something fails in the server.
    ApiFails = "cluster: internal error",
    /// A request is on its way for seconds.
    ApiSlow = "cluster: request slow",
}

/// One fault at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// Index of a host, for those that concern one.
    pub host: usize,
    /// How long it lasts, for those that last.
    pub for_ms: u64,
    /// A number for what else is to be decided.
    pub chance: u64,
}

impl Fault {
    /// Draws what is to be known of it.
    #[must_use]
    pub fn draw(kind: Kind, host: usize, dice: &mut Dice) -> Self {
        let for_ms = match kind {
            Kind::PartitionBoth | Kind::PartitionUp | Kind::PartitionDown => dice.between(1000, 180_000),
            Kind::StoppedByOthers => dice.between(1000, 900_000),
            Kind::PowerLost => dice.between(5000, 300_000),
            Kind::CheckFlaps | Kind::CheckStale => dice.between(5000, 120_000),
            Kind::CheckNeverClear => dice.between(60_000, 2_400_000),
            Kind::JournalFull => dice.between(1000, 60_000),
            Kind::SecondCoordinator => dice.between(5000, 120_000),
            Kind::OperatorPauses | Kind::OperatorFreezes | Kind::OperatorSetsAside => {
                dice.between(1000, 300_000)
            }
            // How long until it is started again.
            Kind::CoordinatorKilled
            | Kind::CoordinatorKilledAfterCommit
            | Kind::CoordinatorStopped
            | Kind::StoreRestored
            | Kind::StoreFull
            | Kind::StoreIo => dice.between(200, 30_000),
            Kind::NodeCordoned | Kind::KuredLocks | Kind::AutoscalerTaints | Kind::BudgetBlocks => {
                dice.between(1000, 400_000)
            }
            Kind::NodeAnew | Kind::PodStays => dice.between(1000, 200_000),
            Kind::NoControllers => dice.between(5000, 30_000),
            Kind::ApiDown => dice.between(500, 90_000),
            Kind::CoordinatorKilledDraining => dice.between(50, 8000),
            Kind::AgentKilled
            | Kind::AgentKilledAtPoint
            | Kind::JournalRestored
            | Kind::JournalLost
            | Kind::JournalIo => dice.between(200, 20_000),
            _ => 0,
        };
        Self { kind, host, for_ms, chance: dice.draw() }
    }

    /// Until when it can still be felt, from its beginning on.
    #[must_use]
    pub const fn lasts_ms(&self) -> u64 {
        self.for_ms
    }
}

impl Kind {
    /// So many, from the first, are drawn for any story; those behind them belong to stories that are aimed.
    pub const DRAWN: usize = Self::RebuiltByOthers as usize;

    /// Does it need older copies of disks?
    #[must_use]
    pub const fn wants_copies(self) -> bool {
        matches!(self, Self::StoreRestored | Self::JournalRestored | Self::SecondCoordinator)
    }

    /// Those that happen at random while faults last: how many times in a thousand.
    #[must_use]
    pub fn rate(self, dice: &mut Dice) -> Option<u32> {
        let rate = |low, high, dice: &mut Dice| Some(u32::try_from(dice.between(low, high)).unwrap_or(0));
        match self {
            Self::MessageLost | Self::MessageDuplicated | Self::MessageReordered => rate(5, 60, dice),
            Self::MessageDelayed => rate(10, 100, dice),
            Self::ActionHangs => rate(5, 40, dice),
            Self::ActionFails | Self::ActionHalf | Self::ActionLies => rate(10, 100, dice),
            Self::ApiSilent | Self::ApiAnswerLost => rate(10, 120, dice),
            Self::ApiThrottles | Self::ApiFails => rate(10, 200, dice),
            Self::ApiOvertakes | Self::ApiSlow => rate(20, 400, dice),
            _ => None,
        }
    }
}
