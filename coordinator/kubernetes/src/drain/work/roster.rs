//! Which pods are where on their way out, who is next, and what each waits for. No I/O: everything that happens is told
//! to it with the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{Finding, Force, Kind, Weight, ask::Fault, evict::Went, judge, look::Look},
    said::{Left, Progress, Stage, Waits, pods},
};
use crate::{
    answer::Refusal,
    objects::{Budget, Pod, Uid, pod::PodName},
};

/// Evictions under way at once.
pub(super) const AT_ONCE: usize = 10;
/// A UID that did not match has taken one from the budget for 121 s. Not again under that name before it is back.
const AFTER_ANOTHER_UID: Duration = Duration::from_secs(125);
/// Why one waits for that.
const NAMESAKE: &str =
    "an earlier pod of its name counts as gone for its budget for two minutes; it is asked to go after that";
/// The first pause after an eviction that got no answer: doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A budget is watched, not asked. Should the watch miss it, it is asked again after this, doubled each time, up to
/// the second.
const UNHEARD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// A pod that was told to end may take its grace period and this.
const SLACK: Duration = Duration::from_secs(15);
/// Kubernetes' own, where a pod names none, in seconds.
const GRACE_S: u64 = 30;
/// A pod that comes back here so often under one name will not stay away.
const MOST_RETURNS: u32 = 3;

/// A pod that has to leave.
struct Charge {
    pod: Pod,
    stage: Stage,
    since: Instant,
    because: String,
    /// Not before this.
    not_before: Option<Instant>,
    /// Attempts that brought nothing.
    tries: u32,
    /// How often its budget had been heard of when it was last asked about.
    heard: u64,
}

/// A budget that said no.
struct Denied {
    again: Instant,
    times: u32,
    said: String,
}

/// Everything that a drain knows of its pods.
#[derive(Default)]
pub(super) struct Roster {
    charges: BTreeMap<Uid, Charge>,
    budgets: BTreeMap<String, Budget>,
    denied: BTreeMap<String, Denied>,
    /// How often each budget was heard of with room in it.
    heard: BTreeMap<String, u64>,
    gone: Vec<(PodName, Uid)>,
    /// Names under which there was another pod than the one that was meant.
    another_uid: BTreeMap<PodName, Instant>,
    returns: BTreeMap<PodName, u32>,
    /// Who may be deleted.
    force: Option<Force>,
    /// Who was, each with what was passed over.
    forced: Vec<String>,
    /// The server has too much to do.
    throttled: Option<(Instant, String)>,
    /// The cluster does not answer: since when, in words.
    trouble: Option<(Instant, String)>,
}

impl Roster {
    /// Of a drain in which some may be deleted.
    pub(super) fn forcing(force: Option<Force>) -> Self {
        Self { force, ..Self::default() }
    }

    /// What may be done about this pod besides evicting it.
    pub(super) fn force(&self, uid: &str) -> Option<&Force> {
        self.force.as_ref().filter(|force| self.charges.get(uid).is_some_and(|one| force.takes(&one.pod)))
    }

    /// Who was deleted, each with what was passed over.
    pub(super) fn forced(&self) -> &[String] {
        &self.forced
    }

    /// Takes what a look saw. Who was asked before stays so.
    pub(super) fn take(&mut self, look: &Look, now: Instant) {
        self.budgets = look.budgets.iter().map(|budget| (budget.name(), budget.clone())).collect();
        let there: BTreeSet<&str> = look.pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
        let missing: Vec<Uid> =
            self.charges.keys().filter(|uid| !there.contains(uid.as_str())).cloned().collect();
        for uid in missing {
            self.left(&uid);
        }
        for pod in &look.pods {
            self.is(pod.clone(), now);
        }
    }

    /// Nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        self.charges.is_empty()
    }

    /// Who has left.
    pub(super) fn gone(&self) -> &[(PodName, Uid)] {
        &self.gone
    }

    /// A pod is there, like this. `true`: it has to leave and was not known.
    pub(super) fn is(&mut self, pod: Pod, now: Instant) -> bool {
        let uid = pod.metadata.uid.clone();
        if !judge::goes(&pod) {
            // It has ended by itself, under our eyes.
            self.left(&uid);
            return false;
        }
        // One that is to end sooner than it was told is still to be asked.
        let going = pod.metadata.is_going() && !self.force.as_ref().is_some_and(|force| force.hastens(&pod));
        if self.charges.contains_key(&uid) {
            if going {
                self.ends(&uid, now);
            }
            if let Some(charge) = self.charges.get_mut(&uid) {
                charge.pod = pod;
            }
            return false;
        }
        let name = pod.name();
        if self.gone.iter().any(|(gone, _)| *gone == name) {
            *self.returns.entry(name.clone()).or_default() += 1;
        }
        let not_before = self.another_uid.get(&name).copied().filter(|at| *at > now);
        let charge = Charge {
            stage: if going { Stage::Ends } else { Stage::Waits },
            since: now,
            because: if not_before.is_some() { NAMESAKE.to_owned() } else { String::new() },
            not_before,
            tries: 0,
            heard: 0,
            pod,
        };
        self.charges.insert(uid, charge);
        true
    }

    /// A pod was told to end: by the answer or by its watch, whichever is faster.
    fn ends(&mut self, uid: &str, now: Instant) {
        let Some(charge) = self.charges.get_mut(uid).filter(|charge| charge.stage != Stage::Ends) else {
            return;
        };
        let asked = charge.stage == Stage::Asked;
        charge.stage = Stage::Ends;
        charge.since = now;
        charge.because.clear();
        if asked {
            self.takes_one(uid);
        }
    }

    /// Until its budget's own watch says how it stands, it counts as one lower.
    fn takes_one(&mut self, uid: &str) {
        let over = self.charges.get(uid).and_then(|charge| self.over(&charge.pod));
        if let Some(budget) = over.and_then(|name| self.budgets.get_mut(&name)) {
            budget.status.disruptions_allowed -= 1;
        }
    }

    /// A pod is not there any more, by its UID.
    pub(super) fn left(&mut self, uid: &str) {
        if self.charges.get(uid).is_some_and(|charge| charge.stage == Stage::Asked) {
            self.takes_one(uid);
        }
        if let Some(charge) = self.charges.remove(uid) {
            self.gone.push((charge.pod.name(), uid.to_owned()));
        }
    }

    /// A pod that will not stay away, however often it goes.
    pub(super) fn comes_back(&self) -> Option<Finding> {
        let (name, times) = self.returns.iter().find(|(_, times)| **times >= MOST_RETURNS)?;
        Some(Finding::new(
            Weight::Refused,
            Kind::NowhereElse,
            format!("the pod {name} has come back to this node {times} times although it is cordoned"),
            "it names its node itself or is put here by a controller of its own: move it, then `drydock run resume`",
        ))
    }

    /// A budget is there, like this.
    pub(super) fn budget(&mut self, budget: Budget) {
        let name = budget.name();
        if budget.is_counted() && budget.status.disruptions_allowed > 0 {
            self.denied.remove(&name);
            *self.heard.entry(name.clone()).or_default() += 1;
        }
        self.budgets.insert(name, budget);
    }

    /// A budget is not there any more.
    pub(super) fn budget_left(&mut self, name: &str) {
        self.budgets.remove(name);
        self.denied.remove(name);
    }

    /// Does anybody wait for a budget to change?
    pub(super) fn waits_for_budgets(&self) -> bool {
        !self.denied.is_empty()
            || self.charges.values().any(|charge| {
                charge.stage == Stage::Waits && self.room(&charge.pod).is_some_and(|room| room <= 0)
            })
    }

    /// The cluster does not answer, or does again.
    pub(super) fn trouble(&mut self, why: Option<String>, now: Instant) {
        self.trouble = match (why, self.trouble.take()) {
            (Some(why), Some((since, _))) => Some((since, why)),
            (Some(why), None) => Some((now, why)),
            (None, _) => None,
        };
    }

    /// Whom to ask now. They count as asked from here on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(PodName, Uid)> {
        let mut due = Vec::new();
        while self.asked() < AT_ONCE {
            let Some(uid) = self.next(now) else { break };
            let heard = self.heard_of(&uid);
            let Some(charge) = self.charges.get_mut(&uid) else { break };
            charge.stage = Stage::Asked;
            charge.since = now;
            charge.not_before = None;
            charge.heard = heard;
            due.push((charge.pod.name(), uid));
        }
        due
    }

    fn asked(&self) -> usize {
        self.charges.values().filter(|charge| charge.stage == Stage::Asked).count()
    }

    fn heard_of(&self, uid: &str) -> u64 {
        let budget = self.charges.get(uid).and_then(|charge| self.over(&charge.pod));
        budget.and_then(|name| self.heard.get(&name)).copied().unwrap_or(0)
    }

    /// The next one, by class and name. A class goes when the ones below it are gone.
    fn next(&self, now: Instant) -> Option<Uid> {
        if self.throttled.as_ref().is_some_and(|(until, _)| *until > now) {
            return None;
        }
        let class = self.charges.values().map(|charge| charge.pod.spec.priority).min()?;
        let mut ready: Vec<(PodName, &Uid)> = self
            .charges
            .iter()
            .filter(|(_, charge)| charge.stage == Stage::Waits && charge.pod.spec.priority == class)
            .filter(|(_, charge)| charge.not_before.is_none_or(|at| at <= now) && self.lets(&charge.pod, now))
            .map(|(uid, charge)| (charge.pod.name(), uid))
            .collect();
        ready.sort();
        ready.first().map(|(_, uid)| (*uid).clone())
    }

    /// Is there room in its budget for one more, as far as is known?
    fn lets(&self, pod: &Pod, now: Instant) -> bool {
        let Some(room) = self.room(pod) else { return true };
        if self.force.as_ref().is_some_and(|force| force.takes(pod)) {
            // Whatever its budget says: it is heard once more, and passed over.
            return true;
        }
        let denied = self.over(pod).and_then(|name| self.denied.get(&name));
        match denied {
            // It said no and was not heard of since. Asked again only because a watch can be deaf.
            Some(denied) => denied.again <= now,
            None => room > 0,
        }
    }

    /// How many more its budget lets go, as far as is known. `None` where none is over it.
    fn room(&self, pod: &Pod) -> Option<i64> {
        let budget = judge::counted_by(pod, self.budgets.values())?;
        if !budget.is_counted() {
            return Some(0);
        }
        let name = budget.name();
        let asked = self
            .charges
            .values()
            .filter(|charge| charge.stage == Stage::Asked && self.over(&charge.pod).as_ref() == Some(&name))
            .count();
        Some(budget.status.disruptions_allowed.saturating_sub(i64::try_from(asked).unwrap_or(i64::MAX)))
    }

    fn over(&self, pod: &Pod) -> Option<String> {
        judge::counted_by(pod, self.budgets.values()).map(Budget::name)
    }

    /// What came of an eviction. `Some`: only a person ends it.
    pub(super) fn went(&mut self, uid: &str, went: Went, now: Instant) -> Option<Finding> {
        if let Went::Forced { pod, past } = &went {
            // Kept also where the pod was seen to be gone before this answer came.
            let by = self.force.as_ref().map(|force| force.by.clone()).unwrap_or_default();
            let past =
                past.as_ref().map_or_else(|| "to end sooner".to_owned(), |said| format!("although {said}"));
            tracing::warn!(%pod, %by, %past, "a pod was deleted that could not be evicted");
            self.forced.push(format!("the pod {pod} was deleted by the word of {by}, {past}"));
        }
        let over = self.charges.get(uid).and_then(|charge| self.over(&charge.pod));
        let heard = self.heard_of(uid);
        let charge = self.charges.get_mut(uid)?;
        let name = charge.pod.name();
        // Whatever it said, somebody answered.
        if !matches!(went, Went::Faulted(_)) {
            self.trouble = None;
        }
        match went {
            Went::Taken => {
                self.ends(uid, now);
                self.throttled = None;
            }
            Went::Forced { .. } => {
                self.ends(uid, now);
                self.throttled = None;
            }
            Went::Going(pod) => {
                self.ends(uid, now);
                if let Some(charge) = self.charges.get_mut(uid) {
                    charge.pod = *pod;
                }
            }
            Went::Gone | Went::Finished => self.left(uid),
            Went::Faulted(fault) if fault.is_final() => return Some(refused(&name, &fault.to_string())),
            Went::Faulted(fault) => {
                charge.again(now, fault.after(), &fault.to_string());
                if matches!(fault, Fault::Unreached(_)) {
                    self.trouble(Some(fault.to_string()), now);
                }
            }
            Went::Refused(refusal) => return self.refused(uid, refusal, over, heard, now),
        }
        None
    }

    fn refused(
        &mut self,
        uid: &str,
        refusal: Refusal,
        over: Option<String>,
        heard: u64,
        now: Instant,
    ) -> Option<Finding> {
        let charge = self.charges.get_mut(uid)?;
        let (name, said) = (charge.pod.name(), refusal.to_string());
        match refusal {
            Refusal::Budget { name: budget, .. } => {
                charge.waits(now, &said);
                // Room was heard of between the question and this answer: then the answer is the older of the two.
                let overtaken = heard > charge.heard;
                let budget = over.unwrap_or_else(|| format!("{}/{budget}", name.namespace));
                if !overtaken {
                    self.denies(budget, said, UNHEARD.0, now);
                }
            }
            Refusal::BudgetNotSeen { name: budget, after } => {
                charge.waits(now, &said);
                let budget = over.unwrap_or_else(|| format!("{}/{budget}", name.namespace));
                self.denies(budget, said, after, now);
            }
            Refusal::Throttled { after } => {
                charge.waits(now, &said);
                // Its own time too: that another one was taken meanwhile does not shorten it.
                charge.not_before = Some(now + after);
                self.throttled = Some((now + after, said));
            }
            Refusal::AnotherUid { .. } => {
                charge.waits(now, &said);
                charge.not_before = Some(now + AFTER_ANOTHER_UID);
                self.another_uid.insert(name, now + AFTER_ANOTHER_UID);
            }
            Refusal::NamespaceTerminating { .. } => {
                // Whoever deletes the namespace deletes the pod.
                charge.waits(now, &said);
                charge.not_before = Some(now + UNHEARD.0);
            }
            refusal if refusal.is_final() => return Some(refused(&name, &said)),
            refusal => charge.again(now, refusal.after(), &said),
        }
        None
    }

    fn denies(&mut self, budget: String, said: String, after: Duration, now: Instant) {
        let times = self.denied.get(&budget).map_or(0, |denied| denied.times);
        let pause = after.saturating_mul(2_u32.saturating_pow(times.min(8))).min(UNHEARD.1).max(after);
        self.denied.insert(budget, Denied { again: now + pause, times: times + 1, said });
    }

    /// When something becomes due by time alone, or has to be said otherwise.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let waits = self.charges.values().filter(|charge| charge.stage == Stage::Waits);
        let pauses = waits.filter_map(|charge| charge.not_before);
        let denied = self.denied.values().map(|denied| denied.again);
        let overdue =
            self.charges.values().filter(|charge| charge.stage == Stage::Ends).map(Charge::overdue_at);
        let throttled = self.throttled.iter().map(|(until, _)| *until);
        pauses.chain(denied).chain(overdue).chain(throttled).filter(|at| *at > now).min()
    }

    /// How far it is, and what it waits for.
    pub(super) fn progress(&self, node: &str, now: Instant) -> Progress {
        let mut charges: Vec<&Charge> = self.charges.values().collect();
        charges.sort_by_key(|charge| (charge.pod.spec.priority, charge.pod.name()));
        let left: Vec<Left> = charges.iter().map(|charge| self.left_of(charge, now)).collect();
        let waits = self.blocker(&charges, now).map(|(because, since)| {
            let what = format!("{} still to leave the Node {node}", pods(left.len()));
            Waits { what, because, since }
        });
        Progress { gone: self.gone.len(), left, waits }
    }

    fn left_of(&self, charge: &Charge, now: Instant) -> Left {
        Left {
            pod: charge.pod.name(),
            uid: charge.pod.metadata.uid.clone(),
            stage: charge.stage,
            because: self.keeps(charge, now).unwrap_or_default(),
            since: charge.since,
        }
    }

    /// What keeps one pod, where something does.
    fn keeps(&self, charge: &Charge, now: Instant) -> Option<String> {
        match charge.stage {
            Stage::Ends if charge.overdue_at() <= now => Some(charge.overdue()),
            Stage::Ends | Stage::Asked => None,
            Stage::Waits => {
                let budget = judge::counted_by(&charge.pod, self.budgets.values());
                if let Some(budget) = budget.filter(|budget| !budget.is_counted()) {
                    // What its status allows is of the budget as it was.
                    return Some(format!(
                        "the controller-manager has not yet looked at the PodDisruptionBudget {}",
                        budget.name()
                    ));
                }
                if let Some(denied) = budget.and_then(|budget| self.denied.get(&budget.name())) {
                    let gone = budget.map(judge::counts_as_gone).unwrap_or_default();
                    return Some(format!("{}{gone}", denied.said));
                }
                if let Some(budget) = budget.filter(|_| self.room(&charge.pod).is_some_and(|room| room <= 0))
                {
                    return Some(format!(
                        "the PodDisruptionBudget {} allows {} more now ({} of {} pods healthy, {}){}",
                        budget.name(),
                        budget.status.disruptions_allowed,
                        budget.status.current_healthy,
                        budget.status.expected_pods,
                        budget.rule(),
                        judge::counts_as_gone(budget),
                    ));
                }
                (!charge.because.is_empty()).then(|| charge.because.clone())
            }
        }
    }

    /// The first thing that keeps the drain: the cluster itself, then whoever holds up a class.
    fn blocker(&self, charges: &[&Charge], now: Instant) -> Option<(String, Instant)> {
        if let Some((since, why)) = &self.trouble {
            return Some((why.clone(), *since));
        }
        if let Some((_, why)) = self.throttled.as_ref().filter(|(until, _)| *until > now) {
            return Some((why.clone(), now));
        }
        let kept = charges.iter().find_map(|charge| {
            let why = self.keeps(charge, now)?;
            Some((format!("the pod {}: {why}", charge.pod.name()), charge.since))
        });
        kept.or_else(|| {
            let first = charges.iter().min_by_key(|charge| charge.since)?;
            Some((format!("the pod {} is ending", first.pod.name()), first.since))
        })
    }
}

impl Charge {
    /// Back in line; since when it waits is kept while it is told the same.
    fn waits(&mut self, now: Instant, said: &str) {
        // The watch has seen it told to end meanwhile.
        if self.stage == Stage::Ends {
            return;
        }
        self.stage = Stage::Waits;
        if self.because != said {
            self.since = now;
            said.clone_into(&mut self.because);
        }
    }

    /// Back in line after a pause.
    fn again(&mut self, now: Instant, after: Option<Duration>, said: &str) {
        self.waits(now, said);
        let pause = PAUSE.0.saturating_mul(2_u32.saturating_pow(self.tries.min(8))).min(PAUSE.1);
        self.tries = self.tries.saturating_add(1);
        self.not_before = Some(now + after.unwrap_or_default().max(pause));
    }

    fn overdue_at(&self) -> Instant {
        let meta = &self.pod.metadata;
        let grace = meta
            .deletion_grace_period_seconds
            .or(self.pod.spec.termination_grace_period_seconds)
            .unwrap_or(GRACE_S);
        self.since + Duration::from_secs(grace) + SLACK
    }

    fn overdue(&self) -> String {
        let finalizers = &self.pod.metadata.finalizers;
        if finalizers.is_empty() {
            "it was told to end and does not, over its grace period: look at its kubelet and at its processes"
                .to_owned()
        } else {
            format!(
                "it was told to end, and its finalizer {} keeps it: whoever set that must take it off",
                finalizers.join(", ")
            )
        }
    }
}

fn refused(pod: &PodName, said: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Unseen,
        format!("the pod {pod} cannot be evicted: {said}"),
        "mend that, then `drydock run resume`",
    )
}
