//! The rules, on what the machines are and what is on the disks. Nothing in here asks the code under test whether it is
//! right.

use std::collections::{BTreeMap, BTreeSet};

use drydock_core::{
    run::Run,
    run_view::{self, Live},
    view::{Phase, RunStatus},
};
use drydock_types::{EffectId, Fence, Sha256};

use super::{
    cluster::Cordon,
    store::Disk,
    world::{NODES, Running, Service, World, has_stopped, name, node_of},
};

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its number; 0 is for what no rule has a number for: a story without an end, a step that cannot be.
    pub rule: u8,
    /// What was seen.
    pub what: String,
}

/// The evidence that a coordinator decides on.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) node: usize,
    pub(super) clear: bool,
    /// Another node's change was handed out after the look was asked for.
    pub(super) outdated: bool,
    pub(super) excused: u8,
    /// What it told of.
    pub(super) saw: Service,
    /// The node had left, where it has to.
    pub(super) left: bool,
}

/// What the rules remember.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    pub(super) broken: Option<Broken>,
    /// How often each effect stopped its service.
    stopped: BTreeMap<EffectId, u8>,
    /// How often each service was stopped by us.
    stops: [u8; NODES],
    /// How often a person let a run go on that had stopped at a node.
    decisions: u8,
    /// The highest fence that each agent has obeyed.
    obeyed: [Option<Fence>; NODES],
    /// By disk: a pause was acknowledged.
    paused: Vec<bool>,
    /// By disk: changes that were handed out, at which node, and their exact bytes.
    sent: Vec<BTreeMap<EffectId, (usize, Sha256)>>,
    /// By effect: whom others stopped after it was decided.
    excused: BTreeMap<EffectId, u8>,
    /// Two coordinators on two disks: neither can know what the other does.
    split: bool,
}

impl Truth {
    pub(super) fn with_disk(&mut self, from: Option<usize>) {
        let paused = from.and_then(|disk| self.paused.get(disk)).copied().unwrap_or_default();
        let sent = from.and_then(|disk| self.sent.get(disk)).cloned().unwrap_or_default();
        self.split = !self.paused.is_empty();
        self.paused.push(paused);
        self.sent.push(sent);
    }

    fn sent_by_anybody(&self, effect: EffectId) -> Option<Sha256> {
        self.sent.iter().find_map(|sent| sent.get(&effect)).map(|(_, payload)| *payload)
    }

    pub(super) fn decided(&mut self) {
        self.decisions = self.decisions.saturating_add(1);
    }

    pub(super) fn paused(&mut self, disk: usize, paused: bool) {
        if let Some(known) = self.paused.get_mut(disk) {
            *known = paused;
        }
    }

    pub(super) fn others_stopped(&mut self, node: usize, under_way: &BTreeSet<EffectId>) {
        for effect in under_way {
            *self.excused.entry(*effect).or_default() |= 1 << node;
        }
    }

    /// Its journal is lost: whom it obeyed nobody can expect it to know.
    pub(super) const fn lost_memory(&mut self, node: usize) {
        self.obeyed[node] = None;
    }
}

impl World {
    pub(super) fn broken(&mut self, rule: u8, what: impl FnOnce() -> String) {
        if self.truth.broken.is_none() {
            let what = what();
            self.say(|| format!("rule {rule} does not hold: {what}"));
            self.truth.broken = Some(Broken { rule, what });
        }
    }

    /// A coordinator lets a change out.
    pub(super) fn handed_out(
        &mut self,
        place: usize,
        (effect, node): (EffectId, usize),
        section: &[u8],
        evidence: Option<&Evidence>,
    ) {
        let disk = self.places[place].disk;
        // Rule 2: it is on the disk, to the byte, before anybody hears of it.
        let written =
            |disk: &Disk| disk.effects.iter().any(|row| row.effect == effect && row.section == section);
        if !written(&self.disks[disk]) {
            self.broken(2, || {
                format!("the change of {} was handed out before it was on the disk", name(node))
            });
        }
        if self.truth.paused[disk] {
            self.broken(7, || format!("the run was paused, and the change of {} was handed out", name(node)));
        }
        self.on_evidence(node, evidence);
        // Rule 1: a node that is silent counts as out of service.
        let start = self.places[place].running.as_ref().map_or(0, |running| running.start);
        let silent = (0..NODES).find(|other| *other != node && self.seat(place, start, *other).is_none());
        if let Some(silent) = silent {
            let (node, silent) = (name(node), name(silent));
            self.broken(1, || format!("the change of {node} was handed out while {silent} was silent"));
        }
        self.one_after_another(disk, node, effect);
        self.truth.sent[disk].insert(effect, (node, Sha256::of(section)));
        if let Some(excused) = evidence.map(|evidence| evidence.excused).filter(|excused| *excused != 0) {
            self.truth.excused.insert(effect, excused);
        }
        // What was being looked at elsewhere is no evidence any more.
        for look in &mut self.looks {
            let other = node_of(&look.request.node) != Some(node);
            if other && self.places[look.coordinator].disk == disk && !look.outdated {
                std::rc::Rc::make_mut(look).outdated = true;
            }
        }
    }

    /// Rule 8.
    fn on_evidence(&mut self, node: usize, evidence: Option<&Evidence>) {
        let of = name(node);
        let Some(evidence) = evidence else {
            return self.broken(8, || format!("the change of {of} was handed out without a look"));
        };
        if evidence.node != node || !evidence.clear {
            self.broken(8, || format!("the change of {of} was handed out on a look that was not clear"));
        }
        if !evidence.left {
            self.broken(8, || format!("the change of {of} was handed out, and it has not left"));
        }
        if evidence.outdated {
            self.broken(8, || {
                format!("the change of {of} was handed out on a look from before another one left service")
            });
        }
    }

    /// Rule 4: whoever was handed its change before is through with it, and serves.
    fn one_after_another(&mut self, disk: usize, node: usize, effect: EffectId) {
        let before = self.truth.sent[disk].clone();
        for (sent, (other, _)) in before {
            if other == node || sent == effect {
                continue;
            }
            let excused = self.truth.excused.get(&sent).copied().unwrap_or_default();
            let at_work = self.agents[other].journal.open().is_some_and(|(open, _)| open == sent);
            let service = &self.services[other];
            let out =
                service.job.is_some() || (service.down && !service.by_others && excused & (1 << other) == 0);
            if at_work || out {
                let (node, other) = (name(node), name(other));
                self.broken(4, || {
                    format!("the change of {node} was handed out, and that of {other} is not over")
                });
            }
        }
    }

    /// An agent takes a section in.
    pub(super) fn accepted(&mut self, node: usize, effect: EffectId, fence: Fence, payload: Sha256) {
        if self.truth.sent_by_anybody(effect) != Some(payload) {
            self.broken(2, || format!("{} accepted a change that no coordinator's disk holds", name(node)));
        }
        if !fence.is_obeyed_after(self.truth.obeyed[node].as_ref()) {
            let epoch = fence.epoch.0;
            self.broken(2, || {
                format!("{} accepted a change of epoch {epoch}, and obeys a later one", name(node))
            });
        }
        self.truth.obeyed[node] = Some(fence);
    }

    pub(super) fn obeyed(&mut self, node: usize, fence: Fence) {
        if !fence.is_obeyed_after(self.truth.obeyed[node].as_ref()) {
            let epoch = fence.epoch.0;
            self.broken(2, || format!("{} obeys epoch {epoch} after a later one", name(node)));
        }
        self.truth.obeyed[node] = Some(fence);
    }

    /// A service is about to be stopped by an effect.
    pub(super) fn stops(&mut self, node: usize, effect: EffectId) {
        let excused = self.truth.excused.get(&effect).copied().unwrap_or_default();
        let down: Vec<usize> =
            (0..NODES).filter(|other| *other != node && self.services[*other].down).collect();
        let ours = |other: &&usize| !self.services[**other].by_others;
        let noticed = |other: &&usize| self.services[**other].by_others && excused & (1 << **other) == 0;
        let by_us: Vec<&str> = down.iter().filter(ours).map(|other| name(*other)).collect();
        let out = by_us.len() + down.iter().filter(noticed).count();
        // What is out of service was worked on there before: two of us at once is what the budget forbids.
        if !by_us.is_empty() {
            let (node, by_us) = (name(node), by_us.join(", "));
            self.broken(1, || format!("{node} is taken out of service while {by_us} is out by our doing"));
        }
        if out >= 1 && NODES - 1 - out < NODES / 2 + 1 {
            let node = name(node);
            self.broken(6, || {
                format!("{node} is taken down, and the healthy rest is no majority of the voters")
            });
        }
        let times = self.truth.stopped.entry(effect).or_default();
        *times = times.saturating_add(1);
        let again = *times > 1;
        self.truth.stops[node] = self.truth.stops[node].saturating_add(1);
        let more = self.truth.stops[node] > 1 + self.truth.decisions;
        if again {
            self.broken(3, || format!("effect {} stopped {} a second time", effect.short(), name(node)));
        }
        if more {
            self.broken(3, || format!("{} was stopped again, and nobody had decided so", name(node)));
        }
    }

    /// After a coordinator did something: what is new in what it says.
    pub(super) fn says(&mut self, place: usize, before: &[Run], evidence: Option<&Evidence>) {
        let Some(running) = self.places[place].running.clone() else { return };
        for was in before {
            let is = running.driver.runs().find(|run| run.number == was.number);
            match is {
                Some(is) => {
                    for (was, is) in was.nodes.iter().zip(&is.nodes).filter(|(was, is)| was.phase != is.phase)
                    {
                        let (of, was, is_now) = (is.name.clone(), was.phase.word(), is.phase.word());
                        let who = self.who(place);
                        self.say(|| format!("{who}: {of}: {was} → {is_now}"));
                        if matches!(is.phase, Phase::Done | Phase::Skipped) {
                            self.called_done(&of, evidence);
                        }
                    }
                    if was.status != is.status {
                        self.says_why(place, is);
                    }
                }
                None => self.closed(place, was, evidence),
            }
        }
    }

    /// A run is over: who of its nodes was not through before is so now, or the run was aborted.
    fn closed(&mut self, place: usize, was: &Run, evidence: Option<&Evidence>) {
        let Some(running) = self.places[place].running.clone() else { return };
        self.desk.lay(&self.disks[self.places[place].disk]);
        let Ok(view) = running.driver.show(was.number, self.now_of(&running)) else {
            return self.broken(0, || format!("run {} is over and cannot be shown", was.number));
        };
        let (who, status) = (self.who(place), view.status);
        self.say(|| format!("{who}: the run is {status:?}, and over"));
        let nodes = view.stages.iter().flat_map(|stage| &stage.waves).flat_map(|wave| &wave.nodes);
        let now_done: Vec<_> = nodes
            .zip(&was.nodes)
            .filter(|(is, was)| is.phase != was.phase && matches!(is.phase, Phase::Done | Phase::Skipped))
            .map(|(is, _)| is.node.clone())
            .collect();
        for node in now_done {
            self.called_done(&node, evidence);
        }
        if status == RunStatus::Done && was.nodes.len() != NODES {
            self.broken(0, || "the run lost a node".to_string());
        }
    }

    /// Rule 12: whoever is called done was seen to run what was to run, and to serve.
    fn called_done(&mut self, node: &drydock_types::NodeName, evidence: Option<&Evidence>) {
        let Some(number) = node_of(node) else { return };
        if self.nodes[number].mark.is_some() {
            self.broken(10, || format!("{node} was called done, and our mark stands on its Node"));
        }
        let saw = evidence.filter(|evidence| evidence.node == number).map(|evidence| evidence.saw.clone());
        let mut well = saw.as_ref().is_some_and(|saw| saw.new && !saw.down);
        if evidence.is_none() && self.drains {
            // It was seen to be well before it was given back.
            let service = &self.services[number];
            well = service.new && (!service.down || service.by_others);
        }
        // Nobody but us changes what runs: it is so now unless it was stopped meanwhile.
        if !well || !self.services[number].new {
            let now = self.services[number].clone();
            self.broken(12, || format!("{node} was called done, was seen as {saw:?} and is {now:?}"));
        }
    }

    /// Rule 9: whatever has stopped says why, and what a person can do.
    fn says_why(&mut self, place: usize, run: &Run) {
        let Some(running) = self.places[place].running.clone() else { return };
        let view = run_view::view(run, &Live::default(), Vec::new(), self.now_of(&running));
        let who = self.who(place);
        let hold = run.hold.as_ref().map(|hold| format!(": {} ({})", hold.reason, hold.happened));
        self.say(|| format!("{who}: the run is {:?}{}", run.status, hold.unwrap_or_default()));
        let said = match run.status {
            RunStatus::Held => {
                view.hold.as_ref().is_some_and(|hold| !hold.reason.is_empty() && !hold.next.is_empty())
            }
            RunStatus::Aborting if run.hold.is_some() => {
                view.hold.as_ref().is_some_and(|hold| !hold.reason.is_empty())
                    && (view.hold.as_ref().is_some_and(|hold| !hold.next.is_empty())
                        || view.waiting.as_ref().is_some_and(|waiting| !waiting.can.is_empty()))
            }
            RunStatus::Paused => view.waiting.as_ref().is_some_and(|waiting| !waiting.can.is_empty()),
            _ => true,
        };
        if !said {
            self.broken(9, || {
                format!("the run is {:?} and says not why, or not what can be done", run.status)
            });
        }
    }

    /// Rules 9 and 10, where everything rests: whatever has stopped says what a person can do, and what is out of
    /// service by our doing is said to be.
    pub(super) fn rests(&mut self) {
        for place in 0..self.places.len() {
            let Some(running) = self.places[place].running.clone() else { continue };
            for run in running.driver.runs().filter(|run| has_stopped(run)) {
                self.says_why(place, run);
            }
        }
        for node in 0..NODES {
            let (service, kube) = (&self.services[node], self.nodes[node]);
            if kube.mark.is_none() && kube.cordon == Some(Cordon::Ours) {
                self.broken(10, || format!("our cordon stands on the Node of {} without a mark", name(node)));
                continue;
            }
            if kube.mark.is_none() && (!service.down || service.by_others) {
                continue;
            }
            // One that is fenced knows no more of a node; where nobody is left that is not, people see what it says.
            let heard = |fenced: bool| {
                let all = self.places.iter().filter_map(|place| place.running.as_ref());
                all.filter(move |running| running.driver.fenced_by().is_some() == fenced)
            };
            let said = match heard(false).next() {
                Some(_) => heard(false).any(|running| speaks_of(running, node)),
                None => heard(true).any(|running| speaks_of(running, node)),
            };
            if !said {
                self.broken(10, || {
                    format!("{} is out of service by our doing, and nothing says so", name(node))
                });
            }
        }
    }
}

/// Does it say of this very node that something is the matter with it: that it waits for a person, is on its way, or is
/// left in doubt?
fn speaks_of(running: &Running, node: usize) -> bool {
    let in_run = |run: &Run| {
        let mut nodes = run.nodes.iter().enumerate().filter(|(_, of)| node_of(&of.name) == Some(node));
        nodes.any(|(index, of)| {
            let mut holds = run.hold.iter().chain(&run.holds_behind);
            holds.any(|hold| hold.node == Some(index)) || !of.phase.is_ended() || of.unsettled.is_some()
        })
    };
    let stands = running.driver.nodes().into_iter().filter(|of| node_of(&of.name) == Some(node));
    running.driver.runs().any(in_run)
        || stands
            .filter_map(|of| of.standing)
            .any(|standing| !standing.unsettled.is_empty() || !standing.marks.is_empty())
}
