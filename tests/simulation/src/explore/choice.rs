//! What can happen next.

use drydock_core::{moves::Doing, view::RunStatus};

use super::{
    Second, Trouble,
    agent::At,
    cluster::At as OrderAt,
    world::{Down, NODES, World},
};

/// One step of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The next message of a stream arrives at its coordinator.
    Up(u8),
    /// The next message of a stream arrives at its agent.
    Down(u8),
    /// The same, and the section is not begun in time.
    Lapses(u8),
    /// A section that is on its way comes twice.
    Doubles(u8),
    /// The agent's end of a stream is over; what it had said still arrives, or is lost with it.
    Breaks {
        link: u8,
        losing: bool,
    },
    /// The coordinator's end is over; what it had said still arrives.
    CutOff(u8),
    /// The coordinator hears that the agent's end is over.
    SeatEnds(u8),
    /// The agent hears that the coordinator's end is over.
    SessionEnds(u8),
    /// A look is answered, with how things are or with how they were when it was asked for.
    Answer {
        look: u8,
        as_of_then: bool,
    },
    /// An agent does its next step.
    Work(u8),
    /// An order in the cluster goes one step on.
    Move(u8),
    /// What was sent for one that was stopped does not arrive.
    MoveEnds(u8),
    /// The cluster does not answer it.
    MoveLapses(u8),
    /// Somebody else cordons a Node.
    Cordon(u8),
    /// Somebody else uncordons it.
    Uncordon(u8),
    /// A pod is put on a Node that is marked.
    PodLands(u8),
    /// A Node that is marked is deleted, and registers again.
    NodeAnew(u8),
    /// A machine's service manager does its job.
    Machine(u8),
    /// It does it, and the service does not come up.
    MachineFails(u8),
    /// Time goes on until somebody wants to be told.
    Time,
    /// A coordinator is killed; what it had just sent still arrives, or is lost with it.
    CoordinatorDies {
        place: u8,
        losing: bool,
    },
    CoordinatorStarts(u8),
    AgentDies(u8),
    /// Its disk as well: it comes back with a journal that knows of nothing.
    AgentDiesForgetting(u8),
    AgentStarts(u8),
    Dial {
        node: u8,
        place: u8,
    },
    /// A second coordinator begins, and agents' addresses lead to either.
    SecondStarts(Second),
    OthersStop(u8),
    OthersStart(u8),
    Pause(u8),
    Resume(u8),
    Abort(u8),
    TakeOver(u8),
}

#[expect(clippy::cast_possible_truncation, reason = "a handful of each")]
const fn small(number: usize) -> u8 {
    number as u8
}

impl World {
    /// What can happen without anything going wrong, the most natural first; and what can go wrong.
    pub(super) fn choices(&self, trouble: &Trouble) -> (Vec<Choice>, Vec<Choice>) {
        let mut can = Vec::new();
        self.orders(&mut can);
        self.machines(&mut can);
        self.messages(&mut can);
        self.starts(&mut can);
        self.people(&mut can);
        let waits = !can.iter().any(|choice| !matches!(choice, Choice::Dial { .. }));
        let mut wrong = Vec::new();
        if let Some(at_ms) = self.next_wake_ms() {
            // What is due is due; else nobody waits while there is something to do, unless it is held up.
            let into = if waits || at_ms == self.now_ms { &mut can } else { &mut wrong };
            into.push(Choice::Time);
        }
        if self.left > 0 {
            self.troubles(trouble, &mut wrong);
        } else {
            wrong.clear();
        }
        (can, wrong)
    }

    fn orders(&self, can: &mut Vec<Choice>) {
        for (number, order) in self.moving() {
            can.push(Choice::Move(small(number)));
            if order.stopped {
                can.push(Choice::MoveEnds(small(number)));
            }
        }
    }

    fn in_clusters(&self, wrong: &mut Vec<Choice>) {
        for (number, order) in self.moving() {
            if order.doing == Doing::Leave && order.at == OrderAt::Begun && !order.stopped {
                wrong.push(Choice::MoveLapses(small(number)));
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let number = small(number);
            match node.cordon {
                Some(_) => wrong.push(Choice::Uncordon(number)),
                None => wrong.push(Choice::Cordon(number)),
            }
            if node.mark.is_some() {
                wrong.push(Choice::NodeAnew(number));
                if !node.full {
                    wrong.push(Choice::PodLands(number));
                }
            }
        }
    }

    fn machines(&self, can: &mut Vec<Choice>) {
        for node in 0..NODES {
            if self.services[node].job.is_some() {
                can.push(Choice::Machine(small(node)));
            } else if self.agents[node].alive && self.agents[node].journal.open().is_some() {
                can.push(Choice::Work(small(node)));
            }
            if self.services[node].by_others {
                can.push(Choice::OthersStart(small(node)));
            }
        }
    }

    fn messages(&self, can: &mut Vec<Choice>) {
        for (number, link) in self.links.iter().enumerate() {
            let number = small(number);
            if link.agent_open && !link.down.is_empty() {
                can.push(Choice::Down(number));
            }
            if link.seat_open && !link.up.is_empty() {
                can.push(Choice::Up(number));
            }
            if link.agent_open && !link.seat_open && link.down.is_empty() {
                can.push(Choice::SessionEnds(number));
            }
            if link.seat_open && !link.agent_open && link.up.is_empty() {
                can.push(Choice::SeatEnds(number));
            }
        }
        for (number, look) in self.looks.iter().enumerate() {
            can.push(Choice::Answer { look: small(number), as_of_then: false });
            if *look.then != *self.services || look.nodes_then != self.nodes {
                can.push(Choice::Answer { look: small(number), as_of_then: true });
            }
        }
    }

    fn starts(&self, can: &mut Vec<Choice>) {
        for node in 0..NODES {
            if !self.agents[node].alive {
                can.push(Choice::AgentStarts(small(node)));
            }
        }
        for (number, place) in self.places.iter().enumerate() {
            // What it had sent has arrived or is lost by then.
            let sent = self.moves.iter().any(|order| order.place == number);
            if place.running.is_none() && !sent && !self.stays_away(place) {
                can.push(Choice::CoordinatorStarts(small(number)));
            }
        }
        for node in (0..NODES).filter(|node| self.agents[*node].alive && self.speaks_on(*node).is_none()) {
            // Whoever listens and is obeyed comes first: there it will stay.
            let seen = self.agents[node].journal.seen;
            let mut there: Vec<(bool, usize)> = self
                .places
                .iter()
                .enumerate()
                .filter_map(|(number, place)| {
                    let driver = &place.running.as_ref()?.driver;
                    let listens = driver.fenced_by().is_none();
                    Some((!(listens && driver.fence().is_obeyed_after(seen.as_ref())), number))
                })
                .collect();
            there.sort_unstable();
            can.extend(
                there.iter().map(|(_, place)| Choice::Dial { node: small(node), place: small(*place) }),
            );
        }
    }

    /// Whoever paused a run lets it go on.
    fn people(&self, can: &mut Vec<Choice>) {
        for (number, place) in self.places.iter().enumerate() {
            let Some(running) = &place.running else { continue };
            let paused = running.driver.runs().any(|run| run.status == RunStatus::Paused);
            if paused && running.driver.fenced_by().is_none() {
                can.push(Choice::Resume(small(number)));
            }
        }
    }

    fn troubles(&self, trouble: &Trouble, wrong: &mut Vec<Choice>) {
        if trouble.streams {
            self.broken_streams(wrong);
        }
        if trouble.cluster {
            self.in_clusters(wrong);
        }
        for node in 0..NODES {
            let (agent, service, number) = (&self.agents[node], &self.services[node], small(node));
            // The death of one that is at work on nothing is the end of its stream.
            let idle = agent.journal.open().is_none();
            if trouble.agents && agent.alive && !(idle && trouble.streams) {
                wrong.push(Choice::AgentDies(number));
            }
            if trouble.journals && agent.alive {
                wrong.push(Choice::AgentDiesForgetting(number));
            }
            if trouble.services && service.job.is_some_and(|(_, new)| new) {
                wrong.push(Choice::MachineFails(number));
            }
            if trouble.services && !service.down && !service.by_others {
                wrong.push(Choice::OthersStop(number));
            }
        }
        for (number, place) in self.places.iter().enumerate() {
            let Some(running) = &place.running else { continue };
            let (place, fenced) = (small(number), running.driver.fenced_by().is_some());
            if trouble.coordinators {
                wrong.push(Choice::CoordinatorDies { place, losing: false });
                let sent = |link: &&std::rc::Rc<super::world::Link>| link.coordinator == number;
                if self.links.iter().filter(sent).any(|link| !link.down.is_empty()) {
                    wrong.push(Choice::CoordinatorDies { place, losing: true });
                }
            }
            if trouble.people {
                self.verbs(place, fenced, running, wrong);
            }
        }
        if let Some(second) = trouble.second.filter(|_| self.places.len() == 1) {
            wrong.push(Choice::SecondStarts(second));
        }
    }

    fn broken_streams(&self, wrong: &mut Vec<Choice>) {
        for (number, link) in self.links.iter().enumerate() {
            let number = small(number);
            if link.agent_open && link.seat_open {
                wrong.push(Choice::Breaks { link: number, losing: false });
                if !link.up.is_empty() {
                    wrong.push(Choice::Breaks { link: number, losing: true });
                }
                // Where nothing is on its way to the agent, who of both notices first is the same.
                if !link.down.is_empty() || self.agents[link.node].journal.open().is_some() {
                    wrong.push(Choice::CutOff(number));
                }
            }
            if link.agent_open && matches!(link.down.front(), Some(Down::Dispatch { .. })) {
                wrong.extend([Choice::Lapses(number), Choice::Doubles(number)]);
            }
        }
    }

    fn verbs(&self, place: u8, fenced: bool, running: &super::world::Running, wrong: &mut Vec<Choice>) {
        if fenced {
            return wrong.push(Choice::TakeOver(place));
        }
        for run in running.driver.runs() {
            match run.status {
                RunStatus::Running => wrong.extend([Choice::Pause(place), Choice::Abort(place)]),
                RunStatus::Held => wrong.extend([Choice::Resume(place), Choice::Abort(place)]),
                RunStatus::Paused => wrong.push(Choice::Abort(place)),
                _ => {}
            }
        }
    }

    /// Is this a step that an agent takes towards the service itself?
    pub(super) fn next_of(&self, node: usize) -> Option<(drydock_types::EffectId, At)> {
        self.agents[node].journal.open().map(|(effect, entry)| (effect, entry.at))
    }
}
