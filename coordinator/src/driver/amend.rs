//! What operators change in a live run. Whatever would change nothing is refused with the reason, before there is
//! an event.

use drydock_core::{
    Now,
    moves::{ForcedPod, forced_in_words},
    plan_file::Allow,
    run::{Change, Event, NodeRun, Run},
    view::{AmendedView, Phase, RunStatus},
};
use drydock_types::{Millis, NodeName, Sha256};

use super::{Driver, LookRequest, OperatorError, Output, looks::look_request};
use crate::store::RunStore;

/// A wave as an operator names it: stage and wave.
pub type Place = (String, String);

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Let a wave begin; the one that waits, where none is named.
    Approve {
        /// Which.
        place: Option<Place>,
        /// The plan's digest that the operator has seen.
        digest: Option<Sha256>,
    },
    /// Leave a node out.
    Skip {
        /// Which.
        node: NodeName,
    },
    /// Move a node's deadline.
    Extend {
        /// Whose.
        node: NodeName,
        /// By how much.
        more: Millis,
    },
    /// Watch the nodes of a wave for so long.
    Soak {
        /// Which; the one at work, where none is named.
        place: Option<Place>,
        /// How long.
        soak: Millis,
    },
    /// Take so many nodes of a wave at once.
    Concurrency {
        /// Which; the one at work, where none is named.
        place: Option<Place>,
        /// How many.
        concurrency: u32,
    },
    /// Do without the window.
    NoWindow,
    /// Delete pods that could not be evicted.
    Force {
        /// Whose.
        node: NodeName,
        /// Exactly these, as they were just seen there.
        pods: Vec<ForcedPod>,
        /// Their grace period in seconds, where it is not to be their own.
        grace_s: Option<u32>,
    },
}

impl<S: RunStore> Driver<S> {
    /// Changes a live run as far as its plan allows: durable when this returns.
    ///
    /// # Errors
    /// See [`OperatorError`]; [`OperatorError::Refused`] says what is in the way and what to do instead.
    pub fn amend(
        &mut self,
        number: u64,
        asked: &Asked,
        by: &str,
        now: Now,
    ) -> Result<(AmendedView, Vec<Output>), OperatorError> {
        let number = self.resolve(number)?;
        let run = self.runs.get(&number).ok_or(OperatorError::Closed(number))?;
        let from = run.plan.digest;
        let judged = judge(run, asked, by).map_err(OperatorError::Refused)?;
        let Judged { event, what, nodes } = judged;
        let before = run.clone();
        let outputs = self.transition(number, event, now)?;
        let run = self.runs.get(&number);
        if run == Some(&before) {
            // The reducer has the last word: it is not said to have been done when it was not.
            return Err(OperatorError::Refused(format!(
                "run {number} did not take it: {what} changes nothing"
            )));
        }
        let status = run.map_or(RunStatus::Done, |run| run.status);
        let to = run.map_or(from, |run| run.plan.digest);
        Ok((AmendedView { number, status, what, from, to, nodes }, outputs))
    }

    /// What is to be looked at before an operator can say which pods are forced off a node.
    ///
    /// # Errors
    /// See [`OperatorError`]; [`OperatorError::Refused`] says why none may be.
    pub fn forcible(&self, number: u64, node: &NodeName) -> Result<LookRequest, OperatorError> {
        let number = self.resolve(number)?;
        let run = self.runs.get(&number).ok_or(OperatorError::Closed(number))?;
        let index = may_force(run, node).map_err(OperatorError::Refused)?;
        // As at its gate, wherever it stands.
        let mut run = run.clone();
        run.nodes[index].phase = Phase::Gating;
        look_request(&run, index, 0, Vec::new())
            .ok_or_else(|| OperatorError::Refused(format!("nothing is evicted from {node}")))
    }
}

struct Judged {
    event: Event,
    what: String,
    nodes: Vec<NodeName>,
}

fn judge(run: &Run, asked: &Asked, by: &str) -> Result<Judged, String> {
    let by_whom = by.to_string();
    if run.status == RunStatus::Aborting {
        return Err(format!("run {} is being aborted: nothing of it is changed any more", run.number));
    }
    match asked {
        Asked::Approve { place, digest } => approve(run, place.as_ref(), *digest, by),
        Asked::Skip { node } => {
            allowed(run, Allow::Skip, "skip")?;
            let index = find(run, node)?;
            run.why_not_skipped(index).map_or(Ok(()), Err)?;
            let event = Event::NodeSkipped { by: by_whom, node: index };
            Ok(Judged { event, what: format!("{node} is left out"), nodes: vec![node.clone()] })
        }
        Asked::Extend { node, more } => {
            allowed(run, Allow::Extend, "extend")?;
            let index = find(run, node)?;
            run.why_not_extended(index, *more).map_or(Ok(()), Err)?;
            let event = Event::Extended { by: by_whom, node: index, more: *more };
            Ok(Judged { event, what: format!("{node} has {more} more"), nodes: vec![node.clone()] })
        }
        Asked::Soak { place, soak } => {
            allowed(run, Allow::Soak, "soak")?;
            let (stage, wave) = open_wave(run, place.as_ref())?;
            let what = format!("soak of {} is {soak} now", run.place(stage, wave));
            let change = Change::Soak { stage, wave, soak: *soak };
            Ok(Judged { event: Event::Amended { by: by_whom, change }, what, nodes: ahead(run, stage, wave) })
        }
        Asked::Concurrency { place, concurrency } => {
            allowed(run, Allow::Concurrency, "concurrency")?;
            if *concurrency == 0 {
                return Err(
                    "0 nodes at once let nobody leave service; drydock run pause does that".to_string()
                );
            }
            let (stage, wave) = open_wave(run, place.as_ref())?;
            let what = format!("concurrency of {} is {concurrency} now", run.place(stage, wave));
            let change = Change::Concurrency { stage, wave, concurrency: *concurrency };
            Ok(Judged { event: Event::Amended { by: by_whom, change }, what, nodes: ahead(run, stage, wave) })
        }
        Asked::NoWindow => {
            allowed(run, Allow::Window, "window")?;
            if run.plan.window.is_none() {
                return Err(format!("run {} has no window", run.number));
            }
            let what = "the window no longer binds".to_string();
            let event = Event::Amended { by: by_whom, change: Change::NoWindow {} };
            Ok(Judged { event, what, nodes: Vec::new() })
        }
        Asked::Force { node, pods, grace_s } => {
            let index = may_force(run, node)?;
            if pods.is_empty() {
                return Err(format!(
                    "no pod is named: drydock run force {} --node {node} lists them",
                    run.number
                ));
            }
            let what = forced_in_words(node, pods, *grace_s);
            let change = Change::Force { node: index, pods: pods.clone(), grace_s: *grace_s };
            Ok(Judged { event: Event::Amended { by: by_whom, change }, what, nodes: vec![node.clone()] })
        }
    }
}

/// The node of a run off which pods may be forced now.
fn may_force(run: &Run, node: &NodeName) -> Result<usize, String> {
    allowed(run, Allow::Force, "force")?;
    let index = find(run, node)?;
    run.why_not_forced(index).map_or(Ok(index), Err)
}

fn approve(run: &Run, place: Option<&Place>, digest: Option<Sha256>, by: &str) -> Result<Judged, String> {
    let (stage, wave) = match place {
        Some(place) => wave_of(run, place)?,
        None => wave_that_waits(run)?,
    };
    let now = run.plan.digest;
    if let Some(seen) = digest.filter(|seen| *seen != now) {
        return Err(format!(
            "run {} stands at digest {} now, and what was seen is {}: look at it again with  drydock run show {}",
            run.number,
            now.short(),
            seen.short(),
            run.number
        ));
    }
    run.approval_wanted(by, stage, wave)?;
    let known = |given: &drydock_core::run::Approval| {
        (given.stage, given.wave, given.digest) == (stage, wave, now) && given.by == by
    };
    let place = run.place(stage, wave);
    if run.approvals.iter().any(known) {
        return Err(format!("{by} has approved wave {place} already, as it stands"));
    }
    let what = format!("wave {place} is approved by {by} as it stands, digest {}", now.short());
    let event = Event::Approved { by: by.to_string(), stage, wave };
    Ok(Judged { event, what, nodes: ahead(run, stage, wave) })
}

fn allowed(run: &Run, what: Allow, key: &str) -> Result<(), String> {
    if run.may(what) {
        return Ok(());
    }
    let allows: Vec<String> =
        run.plan.allow.iter().map(|allow| format!("{allow:?}").to_lowercase()).collect();
    let allows = if allows.is_empty() { "nothing".to_string() } else { allows.join(", ") };
    Err(format!(
        "the plan of run {} does not allow it: {key} is not in its spec.allow, which has {allows}; a new plan can (drydock run abort {} leaves what is done)",
        run.number, run.number
    ))
}

fn find(run: &Run, name: &NodeName) -> Result<usize, String> {
    let stands = |node: &NodeRun| &node.name == name;
    // A node may stand in several stages: the one that is not through yet is meant.
    let open = run.nodes.iter().position(|node| {
        stands(node)
            && !matches!(node.phase, drydock_core::view::Phase::Done | drydock_core::view::Phase::Skipped)
    });
    open.or_else(|| run.nodes.iter().rposition(stands)).ok_or_else(|| {
        format!("run {} has no node {name}; drydock run show {} lists them", run.number, run.number)
    })
}

fn wave_of(run: &Run, (stage, wave): &Place) -> Result<(usize, usize), String> {
    let find = || {
        let at = run.plan.stages.iter().position(|of| of.name.as_str() == stage)?;
        Some((at, run.plan.stages[at].waves.iter().position(|of| of.name.as_str() == wave)?))
    };
    find().ok_or_else(|| {
        let waves =
            run.plan.stages.iter().flat_map(|stage| {
                stage.waves.iter().map(move |wave| format!("{}/{}", stage.name, wave.name))
            });
        let waves: Vec<String> = waves.collect();
        format!("run {} has no wave {stage}/{wave}; it has {}", run.number, waves.join(", "))
    })
}

/// The wave named, or the first that is not over.
fn open_wave(run: &Run, place: Option<&Place>) -> Result<(usize, usize), String> {
    let (stage, wave) = match place {
        Some(place) => wave_of(run, place)?,
        None => first_open(run).ok_or_else(|| format!("every wave of run {} is over", run.number))?,
    };
    if run.wave_is_over(stage, wave) {
        return Err(format!(
            "wave {} of run {} is over: there is nothing to change any more",
            run.place(stage, wave),
            run.number
        ));
    }
    Ok((stage, wave))
}

fn first_open(run: &Run) -> Option<(usize, usize)> {
    waves(run).find(|(stage, wave)| !run.wave_is_over(*stage, *wave))
}

/// The first wave that wants an approval and has none.
fn wave_that_waits(run: &Run) -> Result<(usize, usize), String> {
    let waits =
        |(stage, wave): &(usize, usize)| !run.wave_is_over(*stage, *wave) && !run.is_approved(*stage, *wave);
    waves(run).find(waits).ok_or_else(|| format!("no wave of run {} waits for an approval", run.number))
}

fn waves(run: &Run) -> impl Iterator<Item = (usize, usize)> + '_ {
    run.plan
        .stages
        .iter()
        .enumerate()
        .flat_map(|(stage, of)| (0..of.waves.len()).map(move |wave| (stage, wave)))
}

/// Nodes of a wave that have not come to their end.
fn ahead(run: &Run, stage: usize, wave: usize) -> Vec<NodeName> {
    let here = |node: &&NodeRun| (node.stage, node.wave) == (stage, wave) && !node.phase.is_ended();
    run.nodes.iter().filter(here).map(|node| node.name.clone()).collect()
}
