//! What a choice does.

use std::{collections::VecDeque, rc::Rc};

use drydock_types::{EffectId, Sha256};

use super::{
    Second,
    agent::{Agent, At, Journal, Said, outcome},
    choice::Choice,
    cluster::{Cordon, Node},
    store::Disk,
    world::{Down, Link, NODES, Place, Up, World, name, word},
};

impl World {
    /// One step on.
    pub(super) fn act(&mut self, choice: Choice) {
        match choice {
            Choice::Up(link) => self.arrives_up(link.into()),
            Choice::Down(link) => self.arrives_down(link.into(), false),
            Choice::Lapses(link) => self.arrives_down(link.into(), true),
            Choice::Doubles(link) => self.doubles(link.into()),
            Choice::Breaks { link, losing } => self.breaks(link.into(), losing),
            Choice::CutOff(link) => self.cut_off(link.into()),
            Choice::SeatEnds(link) => self.seat_ends(link.into()),
            Choice::SessionEnds(link) => self.session_ends(link.into()),
            Choice::Answer { look, as_of_then } => self.answer(look.into(), as_of_then),
            Choice::Work(node) => self.work(node.into()),
            Choice::Move(order) => self.moves_on(order.into()),
            Choice::MoveEnds(order) => self.move_ends(order.into()),
            Choice::MoveLapses(order) => self.move_lapses(order.into()),
            Choice::Cordon(node) => {
                self.in_cluster(node.into(), "somebody else cordons its Node", |node| {
                    // Beside our mark a cordon is ours, whoever put it back.
                    let ours = node.mark == Some(false);
                    node.cordon = Some(if ours { Cordon::Ours } else { Cordon::Others });
                });
            }
            Choice::Uncordon(node) => {
                self.in_cluster(node.into(), "somebody else uncordons its Node", |node| node.cordon = None);
            }
            Choice::PodLands(node) => {
                self.in_cluster(node.into(), "a pod is put on its Node", |node| node.full = true);
            }
            Choice::NodeAnew(node) => {
                self.in_cluster(node.into(), "its Node is deleted and registers again", |node| {
                    *node = Node::default();
                });
            }
            Choice::Machine(node) => self.machine(node.into()),
            Choice::MachineFails(node) => self.machine_fails(node.into()),
            Choice::Time => self.time(),
            Choice::CoordinatorDies { place, losing } => self.coordinator_dies(place.into(), losing),
            Choice::CoordinatorStarts(place) => self.start_coordinator(place.into()),
            Choice::AgentDies(node) => self.agent_dies(node.into(), false),
            Choice::AgentDiesForgetting(node) => self.agent_dies(node.into(), true),
            Choice::AgentStarts(node) => {
                self.agents[usize::from(node)].alive = true;
                self.say(|| format!("{}: its agent is started", name(node.into())));
            }
            Choice::Dial { node, place } => self.dial(node.into(), place.into()),
            Choice::SecondStarts(second) => self.second_starts(second),
            Choice::OthersStop(node) => self.others_stop(node.into()),
            Choice::OthersStart(node) => {
                let service = self.service(node.into());
                (service.down, service.by_others) = (false, false);
                self.say(|| format!("{}: somebody starts the service again", name(node.into())));
            }
            Choice::Pause(place) => self.pause(place.into()),
            Choice::Resume(place) => self.resume(place.into()),
            Choice::Abort(place) => self.abort(place.into()),
            Choice::TakeOver(place) => self.take_over(place.into()),
        }
        self.forget_looks();
    }

    // ---- streams ---------------------------------------------------------------------------------------------

    fn dial(&mut self, node: usize, place: usize) {
        let Some(start) = self.places[place].running.as_ref().map(|running| running.start) else { return };
        self.last_session += 1;
        let journal = Rc::clone(&self.agents[node].journal);
        let hello = Up::Hello { seen: journal.seen, journal };
        let session = self.last_session;
        // In the order of their nodes: between two nodes' streams there is no earlier or later.
        let at = self.links.partition_point(|link| link.node <= node);
        let link = Rc::new(Link {
            node,
            coordinator: place,
            start,
            session,
            agent_open: true,
            seat_open: true,
            seated: false,
            attached: false,
            up: VecDeque::from([hello]),
            down: VecDeque::new(),
            asks: std::collections::BTreeMap::new(),
        });
        self.links.insert(at, link);
        let who = self.who(place);
        self.say(|| format!("{}: its agent dials {who}", name(node)));
        // An agent that is at work on nothing has nothing to tell that could come at another moment: that it dials,
        // is heard and is welcomed is one step.
        if self.agents[node].journal.open().is_none() {
            self.arrives_up(at);
            let mine = |link: &Rc<Link>| link.session == session && link.agent_open;
            if let Some(at) = self.links.iter().position(mine)
                && matches!(self.links[at].down.front(), Some(Down::Welcome(_)))
            {
                self.arrives_down(at, false);
            }
        }
    }

    fn doubles(&mut self, link: usize) {
        let it = Rc::make_mut(&mut self.links[link]);
        let node = it.node;
        if let Some(first) = it.down.front().cloned() {
            it.down.push_front(first);
        }
        self.say(|| format!("{}: what is on its way to its agent comes twice", name(node)));
    }

    /// The agent's end is over.
    fn breaks(&mut self, link: usize, losing: bool) {
        let it = Rc::make_mut(&mut self.links[link]);
        it.agent_open = false;
        it.down.clear();
        if losing {
            it.up.clear();
        }
        let node = it.node;
        let lost = if losing { ", and what it had said is lost" } else { "" };
        self.say(|| format!("{}: its stream breaks{lost}", name(node)));
        self.forget_link(link);
    }

    /// The coordinator's end is over, and it knows; the agent has not noticed.
    fn cut_off(&mut self, link: usize) {
        Rc::make_mut(&mut self.links[link]).up.clear();
        let node = self.links[link].node;
        self.say(|| {
            format!("{}: the coordinator gives its stream up; the agent has not noticed", name(node))
        });
        self.seat_ends(link);
    }

    fn session_ends(&mut self, link: usize) {
        let it = Rc::make_mut(&mut self.links[link]);
        it.agent_open = false;
        let node = it.node;
        self.say(|| format!("{}: its agent finds its stream closed", name(node)));
        self.forget_link(link);
    }

    /// Something for the coordinator, where the agent has a stream that it was welcomed on.
    fn speak(&mut self, node: usize, up: Up) {
        if let Some(link) = self.speaks_on(node).filter(|link| self.links[*link].attached) {
            Rc::make_mut(&mut self.links[link]).up.push_back(up);
        }
    }

    fn arrives_down(&mut self, link: usize, lapses: bool) {
        let it = Rc::make_mut(&mut self.links[link]);
        let (node, down) = (it.node, it.down.pop_front());
        match down {
            Some(Down::Welcome(fence)) => {
                let lacks = self.lacks.agent;
                if self.journal(node).obey(fence, lacks) {
                    self.say(|| format!("{}: its agent obeys epoch {}", name(node), fence.epoch.0));
                    self.obeyed(node, fence);
                    Rc::make_mut(&mut self.links[link]).attached = true;
                } else {
                    self.say(|| format!("{}: its agent does not obey epoch {}", name(node), fence.epoch.0));
                    self.breaks(link, false);
                }
            }
            Some(Down::Dispatch { effect, fence, section }) => {
                let (payload, lacks) = (Sha256::of(&section), self.lacks.agent);
                let before = self.agents[node].journal.at(effect);
                let said = self.journal(node).take(effect, fence, payload, lapses, lacks);
                if said == Said::Accepted && before != self.agents[node].journal.at(effect) {
                    self.accepted(node, effect, fence, payload);
                }
                self.say(|| format!("{}: its agent has the change {}: {said:?}", name(node), effect.short()));
                let up = match said {
                    Said::Declined { why, lapsed } => Up::Declined { effect, why, lapsed },
                    Said::Ended(at) => Up::Ended(Rc::new(outcome(effect, at))),
                    Said::Accepted | Said::Unknown => Up::Accepted(effect),
                };
                self.speak(node, up);
            }
            Some(Down::Ask(effect)) => {
                let said = self.agents[node].journal.stored(effect);
                self.say(|| format!("{}: its agent is asked about {}: {said:?}", name(node), effect.short()));
                let up = match said {
                    Said::Ended(at) => Up::Ended(Rc::new(outcome(effect, at))),
                    Said::Unknown => Up::Unknown(effect),
                    Said::Accepted | Said::Declined { .. } => Up::StillOpen(effect),
                };
                self.speak(node, up);
            }
            Some(Down::Forget(effects)) => {
                self.journal(node).forget(&effects);
                self.say(|| format!("{}: its agent forgets what is over", name(node)));
            }
            None => {}
        }
    }

    // ---- machines --------------------------------------------------------------------------------------------

    /// The next step of the section that is open: a write to the journal, or the restart.
    fn work(&mut self, node: usize) {
        let Some((effect, at)) = self.next_of(node) else { return };
        let last = self.services[node].last.filter(|(by, _)| *by == effect);
        let next = match (at, last) {
            (At::Accepted, _) => {
                // What is noted before the restart tells a later look whether it took place.
                self.service(node).last = None;
                At::Begun
            }
            // Not done yet, or not begun when somebody looks again after a death.
            (At::Begun, None) => return self.restart(node, effect, true),
            (At::Begun, Some((_, true))) => At::Done,
            (At::Begun, Some((_, false))) => At::TakenBack,
            (At::TakenBack, Some((_, false))) => return self.restart(node, effect, false),
            (At::TakenBack, _) => At::Undone,
            (At::Done | At::Undone, _) => return,
        };
        self.journal(node).write(effect, next);
        self.say(|| format!("{}: its agent writes down: {} {}", name(node), effect.short(), word(next)));
        if next.is_over() {
            self.speak(node, Up::Ended(Rc::new(outcome(effect, next))));
        }
    }

    fn restart(&mut self, node: usize, effect: EffectId, new: bool) {
        if new {
            self.stops(node, effect);
        }
        let service = self.service(node);
        (service.down, service.by_others, service.job) = (true, false, Some((effect, new)));
        service.last = None;
        let what = if new { "the new version" } else { "what ran before" };
        self.say(|| format!("{}: the service stops, to be started with {what}", name(node)));
    }

    fn machine(&mut self, node: usize) {
        let service = self.service(node);
        let Some((effect, new)) = service.job.take() else { return };
        (service.down, service.new, service.last) = (false, new, Some((effect, true)));
        self.say(|| format!("{}: the service is back", name(node)));
    }

    fn machine_fails(&mut self, node: usize) {
        let service = self.service(node);
        let Some((effect, _)) = service.job.take() else { return };
        (service.new, service.last) = (true, Some((effect, false)));
        self.say(|| format!("{}: the service does not come up", name(node)));
    }

    fn others_stop(&mut self, node: usize) {
        let service = self.service(node);
        (service.down, service.by_others) = (true, true);
        for look in &mut self.looks {
            Rc::make_mut(look).excused |= 1 << node;
        }
        let under_way = self.under_way();
        self.truth.others_stopped(node, &under_way);
        self.say(|| format!("{}: somebody else stops the service", name(node)));
    }

    fn agent_dies(&mut self, node: usize, forgetting: bool) {
        let links: Vec<usize> = (0..self.links.len()).filter(|link| self.links[*link].node == node).collect();
        for link in links.into_iter().rev() {
            let it = Rc::make_mut(&mut self.links[link]);
            if it.agent_open {
                it.agent_open = false;
                it.down.clear();
            }
            self.forget_link(link);
        }
        self.agents[node].alive = false;
        self.say(|| format!("{}: its agent is killed", name(node)));
        if forgetting {
            let id = self.agents[node].journal.id.0[0].wrapping_add(100);
            self.agents[node].journal = Rc::new(Journal::new(id));
            self.truth.lost_memory(node);
            self.say(|| format!("{}: its journal is lost", name(node)));
        }
    }

    // ---- the rest --------------------------------------------------------------------------------------------

    fn second_starts(&mut self, second: Second) {
        for link in (0..self.links.len()).rev() {
            let it = Rc::make_mut(&mut self.links[link]);
            it.agent_open = false;
            it.down.clear();
            self.forget_link(link);
        }
        let disk = match second {
            Second::OnTheSameStore => 0,
            Second::OnACopy => {
                let copy = Rc::new(self.disks[0].copy());
                self.disks.push(copy);
                self.truth.with_disk(Some(0));
                1
            }
            Second::OnABackup => {
                let Some(backup) = self.backup.take() else { return };
                self.disks.push(backup);
                self.truth.with_disk(None);
                1
            }
        };
        self.places.push(Place { disk, starts: 100, running: None, retired: false });
        self.say(|| format!("a second coordinator begins, {}", second.words()));
        self.start_coordinator(1);
    }
}

/// The three machines' agents as they are at first.
pub(super) fn agents() -> [Agent; NODES] {
    let agent = |id| Agent { alive: true, journal: Rc::new(Journal::new(id)) };
    [agent(1), agent(2), agent(3)]
}

/// The first coordinator, on an empty disk.
pub(super) fn first_place() -> (Place, Rc<Disk>) {
    (Place { disk: 0, starts: 0, running: None, retired: false }, Rc::new(Disk::empty()))
}
