//! Looks, cordons, evicts and watches, until a look finds the Node empty.

use std::time::Duration;

use drydock_types::Verdict;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
    stream::{BoxStream, FuturesUnordered},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Finding, Kind, Order, Weight,
        ask::Fault,
        cordon::{self, NotCordoned},
        evict::{self, Went},
        force,
        hands::Kured,
        judge::{self, Judgement, Stayer},
        look::{self, BUDGETS, Look, Versions, pods_path, unseen},
    },
    judge_drained, read_again, replacements,
    roster::Roster,
    said::{self, Ended, Evidence, Progress, Stop, Waits},
    streams::{self, Seen},
};
use crate::{
    api::Api,
    mark::{
        self, Found,
        before::{self, Before},
    },
    objects::{Budget, Node, Pod, Uid},
};

/// The pause after the cluster did not answer: doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// One order being carried out.
pub(super) struct Rounds<'a> {
    api: &'a dyn Api,
    order: &'a Order,
    tell: &'a watch::Sender<Progress>,
    roster: Roster,
    /// Evictions under way. They outlive a look in between: what was asked is never forgotten.
    asked: FuturesUnordered<BoxFuture<'a, (Uid, Went)>>,
    notes: Vec<String>,
    stayed: Vec<Stayer>,
    pause: Duration,
    /// The cordon is being written.
    writing: watch::Sender<bool>,
    /// Told that nothing further is to be begun.
    halt: CancellationToken,
}

/// Why evicting paused.
enum Emptied {
    /// Nobody is left, as far as the watch knows.
    Yes,
    /// Somebody came: look anew.
    LookAnew,
    /// Changes were missed: look anew.
    Missed,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        api: &'a dyn Api,
        order: &'a Order,
        tell: &'a watch::Sender<Progress>,
        halt: CancellationToken,
    ) -> Self {
        Self {
            api,
            order,
            tell,
            roster: Roster::forcing(order.force.clone()),
            asked: FuturesUnordered::new(),
            notes: Vec::new(),
            stayed: Vec::new(),
            pause: PAUSE.0,
            writing: watch::Sender::new(false),
            halt,
        }
    }

    /// Is the cordon being written? Whoever stops this waits until it is not: dropped, the write could land after it was
    /// looked whether the cordon stands.
    pub(super) fn writing(&self) -> watch::Receiver<bool> {
        self.writing.subscribe()
    }

    /// What is left where it was stopped.
    pub(super) fn stopped(&self, why: Stop) -> Ended {
        let progress = self.roster.progress(&self.order.node, Instant::now());
        let waits = self.tell.borrow().waits.clone().or(progress.waits);
        Ended::Stopped { why, left: progress.left, waits }
    }

    /// Goes on until it is done or refused. Dropped, it does nothing further.
    pub(super) async fn run(&mut self, look: Option<Look>) -> Ended {
        match self.until_drained(look).await {
            Ok(evidence) => Ended::Drained(evidence),
            Err(finding) => Ended::Refused { why: finding.what, next: finding.next },
        }
    }

    async fn until_drained(&mut self, look: Option<Look>) -> Result<Evidence, Finding> {
        let mut seen = look;
        let mut begun = false;
        let mut missed = Duration::ZERO;
        let mut unremembered = None;
        loop {
            let mut look = match seen.take() {
                Some(look) => look,
                None => self.look().await?,
            };
            self.judge(&look, begun)?;
            // As many as the cluster has, and read again by the next look: not kept while a drain waits.
            (look.elsewhere, look.volumes) = (None, None);
            let ready = self.ready_now(&look).await?;
            let node = self.cordon(&look.node, ready.as_ref()).await?;
            begun = true;
            let before = ready.and_then(|_| replacements::remembered(self.order, &node, &look.pods));
            if self.order.words.wait_for_replacements && before.is_none() {
                // Somebody has changed that meanwhile. Nobody is asked to go of whom it does not stand there.
                self.tell_unremembered(*unremembered.get_or_insert_with(Instant::now));
                tokio::time::sleep(missed).await;
                missed = (missed * 2).clamp(PAUSE.0, PAUSE.1);
                continue;
            }
            self.roster.take(&look, Instant::now());
            if unremembered.take().is_some() {
                self.tell();
            }
            if let Some(finding) = self.roster.comes_back() {
                return Err(finding);
            }
            let versions = look.into_versions();
            match self.empty(&versions).await? {
                // A server that forgets at once would be asked without a breath.
                Emptied::Missed => {
                    tokio::time::sleep(missed).await;
                    missed = (missed * 2).clamp(PAUSE.0, PAUSE.1);
                    continue;
                }
                Emptied::LookAnew => {
                    missed = Duration::ZERO;
                    continue;
                }
                Emptied::Yes => {}
            }
            if let Some(before) = &before {
                replacements::wait(before, self.api, self.order, self.roster.gone(), self.tell).await?;
            }
            if self.order.looks_again {
                // The next to look is whoever gave the order, by a read of its own.
                return Ok(self.evidence(&node, node.clone(), versions.pods));
            }
            if let Some(evidence) = self.seen_drained(&node).await? {
                return Ok(evidence);
            }
        }
    }

    async fn look(&mut self) -> Result<Look, Finding> {
        loop {
            match look::look(self.api, self.order).await {
                Ok(look) => {
                    self.well();
                    return Ok(look);
                }
                Err(fault) => self.breathe(fault).await?,
            }
        }
    }

    /// What keeps the drain from beginning. Once it has begun, budgets and room are waited for and not judged: our own
    /// evictions have changed them.
    fn judge(&mut self, look: &Look, begun: bool) -> Result<(), Finding> {
        let Judgement { stay, findings, .. } = judge::judge(look, self.order);
        self.stayed = stay;
        let counts = |finding: &&Finding| match finding.kind {
            Kind::Budget | Kind::BudgetSum | Kind::NowhereElse if begun => false,
            // Beside somebody who is at work elsewhere and will end nothing is begun; what is begun goes on.
            Kind::Hand if !begun => finding.weight >= Weight::Waiting,
            _ => finding.weight >= Weight::Unknown,
        };
        let against: Vec<&Finding> = findings.iter().filter(counts).collect();
        if let Some(first) = against.first() {
            let what: Vec<&str> = against.iter().map(|finding| finding.what.as_str()).collect();
            let mut next: Vec<&str> = against.iter().map(|finding| finding.next.as_str()).collect();
            next.dedup();
            return Err(Finding::new(first.weight, first.kind, what.join("; "), next.join("; ")));
        }
        let notes = findings.iter().filter(|finding| finding.weight == Weight::Note).map(|f| f.what.clone());
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(())
    }

    async fn cordon(&mut self, seen: &Node, ready: Option<&Before>) -> Result<Node, Finding> {
        let mut seen = Some(seen);
        loop {
            self.writing.send_replace(true);
            let done = cordon::cordon(self.api, self.order, seen.take(), ready).await;
            self.writing.send_replace(false);
            if self.halt.is_cancelled() {
                // Whoever stopped this drops it now.
                future::pending::<()>().await;
            }
            match done {
                Ok(node) => {
                    self.well();
                    return Ok(node);
                }
                Err(NotCordoned::Faulted(fault)) => self.breathe(*fault).await?,
                Err(NotCordoned::Gone) => return Err(gone(self.order)),
                Err(NotCordoned::Uncordoned) => return Err(uncordoned(self.order)),
                Err(NotCordoned::Forgotten(why)) => return Err(forgotten(self.order, &why)),
                Err(NotCordoned::Blocked(findings)) => {
                    return Err(findings.into_iter().next().unwrap_or_else(|| gone(self.order)));
                }
            }
        }
    }

    /// How many pods are ready now of each controller of which it does not stand on the Node yet. `None`: the plan does
    /// not ask for it.
    async fn ready_now(&mut self, look: &Look) -> Result<Option<Before>, Finding> {
        if !self.order.words.wait_for_replacements {
            return Ok(None);
        }
        let uncounted = replacements::uncounted(self.order, &look.node, &look.pods);
        loop {
            match replacements::counted(self.api, uncounted.clone()).await {
                Ok(ready) => {
                    self.well();
                    return Ok(Some(ready));
                }
                Err(fault) => self.breathe(fault).await?,
            }
        }
    }

    /// Evicts whoever is due and reads the watches, until nobody is left.
    async fn empty(&mut self, versions: &Versions) -> Result<Emptied, Finding> {
        if self.roster.is_empty() && self.asked.is_empty() {
            return Ok(Emptied::Yes);
        }
        let api = self.api;
        let mut pods: BoxStream<'a, Seen<Pod>> =
            streams::watch(api, &pods_path(&self.order.node), &versions.pods);
        let mut budgets: Option<BoxStream<'a, Seen<Budget>>> = None;
        loop {
            let now = Instant::now();
            for (name, uid) in self.roster.due(now) {
                let force = self.roster.force(&uid).cloned();
                let ask = async move {
                    let went = match &force {
                        Some(force) => force::remove(api, &name, &uid, force).await,
                        None => evict::evict(api, &name, &uid, None, false).await,
                    };
                    (uid, went)
                };
                self.asked.push(ask.boxed());
            }
            if budgets.is_none() && self.roster.waits_for_budgets() {
                budgets = Some(streams::watch(api, BUDGETS, &versions.budgets));
            }
            self.tell();
            if self.roster.is_empty() && self.asked.is_empty() {
                return Ok(Emptied::Yes);
            }
            let wake = self.roster.wake(now);
            tokio::select! {
                // Not by chance: the same events make the same drain.
                biased;
                Some((uid, went)) = self.asked.next(), if !self.asked.is_empty() => {
                    if let Some(finding) = self.roster.went(&uid, went, Instant::now()) {
                        return Err(finding);
                    }
                }
                seen = pods.next() => {
                    if let Some(why) = self.pod(seen)? {
                        return Ok(why);
                    }
                }
                seen = next_of(&mut budgets) => {
                    if let Some(why) = self.budget(seen)? {
                        return Ok(why);
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Why evicting pauses, where it does.
    fn pod(&mut self, seen: Option<Seen<Pod>>) -> Result<Option<Emptied>, Finding> {
        let now = Instant::now();
        match seen {
            Some(Seen::Is(pod)) => {
                // One that was not there: somebody may have uncordoned the Node, or it is of a kind to be refused.
                return Ok(self.roster.is(pod, now).then_some(Emptied::LookAnew));
            }
            Some(Seen::Went(pod)) => self.roster.left(&pod.metadata.uid),
            Some(Seen::Trouble(why)) => self.roster.trouble(Some(why), now),
            Some(Seen::Well) => self.roster.trouble(None, now),
            Some(Seen::Denied(refusal)) => return Err(denied("the Node's pods", &refusal.to_string())),
            Some(Seen::Expired) | None => return Ok(Some(Emptied::Missed)),
        }
        Ok(None)
    }

    /// Why evicting pauses, where it does.
    fn budget(&mut self, seen: Option<Seen<Budget>>) -> Result<Option<Emptied>, Finding> {
        match seen {
            Some(Seen::Is(budget)) => self.roster.budget(budget),
            Some(Seen::Went(budget)) => self.roster.budget_left(&budget.name()),
            // The pods' watch tells of the cluster.
            Some(Seen::Trouble(_) | Seen::Well) => {}
            Some(Seen::Denied(refusal)) => return Err(denied("the budgets", &refusal.to_string())),
            Some(Seen::Expired) | None => return Ok(Some(Emptied::Missed)),
        }
        Ok(None)
    }

    /// Reads Node and pods once more, consistently: what the watch has not heard yet is seen here.
    async fn seen_drained(&mut self, cordoned: &Node) -> Result<Option<Evidence>, Finding> {
        loop {
            let seen = match read_again(self.api, self.order).await {
                Ok(seen) => seen,
                Err(fault) if fault.is_gone() => return Err(gone(self.order)),
                Err(fault) => {
                    self.breathe(fault).await?;
                    continue;
                }
            };
            // kured's lock was judged by the round's look: what is begun goes on beside it.
            let verdict = judge_drained(&seen.node, &seen.pods, &Kured::None, self.order);
            return match verdict {
                Verdict::Clear => Ok(Some(self.evidence(cordoned, seen.node, seen.pods_version))),
                // Somebody landed meanwhile.
                Verdict::Waiting(_) | Verdict::Unknown(_) => Ok(None),
                Verdict::Refused(_) if self.was_uncordoned(&seen.node) => Err(uncordoned(self.order)),
                Verdict::Refused(why) => {
                    Err(Finding::new(Weight::Refused, Kind::Node, why, "then `drydock run resume`"))
                }
            };
        }
    }

    fn was_uncordoned(&self, node: &Node) -> bool {
        matches!(mark::found(node, &self.order.marker), Found::Ours(_)) && !node.spec.unschedulable
    }

    fn evidence(&mut self, cordoned: &Node, node: Node, pods_version: String) -> Evidence {
        let was_cordoned = match mark::found(cordoned, &self.order.marker) {
            Found::Ours(mark) => mark.was_cordoned,
            _ => false,
        };
        Evidence {
            node: node.metadata.name,
            uid: node.metadata.uid,
            node_version: node.metadata.resource_version,
            pods_version,
            was_cordoned,
            gone: self.roster.gone().to_vec(),
            forced: self.roster.forced().to_vec(),
            stayed: std::mem::take(&mut self.stayed),
            notes: std::mem::take(&mut self.notes),
        }
    }

    fn tell(&self) {
        said::tell(self.tell, self.roster.progress(&self.order.node, Instant::now()));
    }

    /// Names what nobody is asked to go without.
    fn tell_unremembered(&self, since: Instant) {
        let node = &self.order.node;
        let waits = Waits {
            what: format!("what was ready before to stand on the Node {node}"),
            because: format!(
                "the annotation {} that was just written does not name every controller with a pod on the Node: something \
                 changes it, and before it stands nobody is asked to go",
                before::KEY
            ),
            since,
        };
        let progress = self.roster.progress(node, Instant::now());
        said::tell(self.tell, Progress { waits: Some(waits), ..progress });
    }

    fn well(&mut self) {
        self.pause = PAUSE.0;
        self.roster.trouble(None, Instant::now());
    }

    /// Waits a little where the cluster may answer later, and says so.
    async fn breathe(&mut self, fault: Fault) -> Result<(), Finding> {
        if fault.is_gone() {
            return Err(gone(self.order));
        }
        if fault.is_final() {
            let (Verdict::Refused(why) | Verdict::Unknown(why)) = unseen(&self.order.node, &fault) else {
                return Ok(());
            };
            return Err(Finding::new(
                Weight::Refused,
                Kind::Unseen,
                why,
                "mend that, then `drydock run resume`",
            ));
        }
        self.roster.trouble(Some(fault.to_string()), Instant::now());
        self.tell();
        tokio::time::sleep(self.pause.max(fault.after().unwrap_or_default())).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        Ok(())
    }
}

async fn next_of<T>(stream: &mut Option<BoxStream<'_, T>>) -> Option<T> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn gone(order: &Order) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Node,
        format!("the Node {} was deleted while this run was at it", order.node),
        "leave the node out (`drydock run skip`), or bind it anew when it is back (`drydock node bind`)",
    )
}

fn uncordoned(order: &Order) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Node,
        format!("somebody uncordoned the Node {} while this run drained it", order.node),
        "find out who and why; then `drydock run resume` drains it again, `drydock run skip` leaves it",
    )
}

fn forgotten(order: &Order, why: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Unseen,
        format!(
            "how many pods of each controller were ready before this run evicted the first from the Node {} is not known \
             any more ({}: {why})",
            order.node,
            before::KEY
        ),
        "see that what runs there is at strength on other nodes; then `drydock run resume` has what is ready counted anew, \
         `drydock run skip` gives the node back",
    )
}

fn denied(what: &str, why: &str) -> Finding {
    Finding::new(
        Weight::Refused,
        Kind::Unseen,
        format!("{what} can no longer be watched: {why}"),
        "mend that (`drydock cluster test`), then `drydock run resume`",
    )
}
