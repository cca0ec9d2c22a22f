//! The reload, and the mending of one that went wrong. Used by the step and by the reverter.
//!
//! Debian's `systemctl reload openvswitch-switch` saves the flows, starts ovsdb-server anew, stops ovs-vswitchd, has it
//! hold its flows back, starts it, tells it the flows again and lets them go. It ends with 0 also where a bridge took
//! none of them back (seen with a flow that names a meter): so what counts is what the bridges have afterwards.

use std::{path::Path, time::Duration};

use drydock_types::{EffectId, UnitName, openvswitch::FlowsMust, outcome::Evidence};
use tokio::time::{Instant, sleep};

use super::{
    Seen, compare,
    daemons::{self, Daemons},
    module,
    saved::{Saved, Store},
};
use crate::{
    actions::Problem,
    ovn::{self, Behind},
    sys::{
        still,
        units::{JobEnd, LOOK_AGAIN, Others, Units, Verb},
    },
};

/// Starting what is down and the replays take no longer, beside the reload itself.
pub const MEND: Duration = Duration::from_secs(240);
/// When the reload has ended and a daemon does not run: systemd starts one anew that has died, and takes no longer. One that was
/// not started stays down.
const DOWN: Duration = Duration::from_secs(5);

/// A reload, with what was saved before it.
#[derive(Debug, Clone, Copy)]
pub struct Reload<'a> {
    /// systemd.
    pub units: &'a Units,
    /// The unit whose reload keeps flows.
    pub unit: &'a UnitName,
    /// Where the flows lie.
    pub store: &'a Store,
    /// What was saved.
    pub saved: &'a Saved,
    /// How long it may take until everything is as before.
    pub within: Duration,
}

/// By which picture a change is taken back. Right behind a reload that did not come to its end it is the one of before: what was lost
/// is replayed. One that did has lost nothing, and flows have been written and removed since, by whoever writes them: those of now
/// are what is kept. A way back that was interrupted goes on with the picture that it began with.
///
/// # Errors
/// When the switch cannot be seen or saved now.
pub async fn picture_back(
    units: &Units,
    state_dir: &Path,
    effect: EffectId,
    saved: Saved,
) -> Result<(Store, Saved), Problem> {
    let forward = Store::of(state_dir, effect);
    if !forward.is_done() {
        return Ok((forward, saved));
    }
    let back = Store::back(state_dir, effect);
    if !back.is_done()
        && let Some(begun) = back.read(None).await?
    {
        return Ok((back, begun));
    }
    daemons::start_what_is_down(units).await?;
    let (now, _) = back.save(saved.must).await?;
    Ok((back, now))
}

impl Reload<'_> {
    /// Reloads, and sees that both daemons are others, run what is installed, and the switch is as before.
    ///
    /// # Errors
    /// When that is not so in time. Flows that were lost have been replayed by then, and the text says it.
    pub async fn run(&self, others: Others) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + self.within;
        let before = Daemons::look(self.units).await?;
        let info = self.units.load(self.unit).await.map_err(|error| Problem::new(error.to_string()))?;
        let job = self.units.run(&info.id, Verb::Reload, others, self.within).await;
        let why = match job {
            Ok(JobEnd::Done | JobEnd::Unseen) => match self.kept(Some(&before), until).await {
                Ok(seen) => {
                    self.store.keep_done().await?;
                    return Ok(vec![self.evidence(&seen).await]);
                }
                Err(why) => why,
            },
            Ok(JobEnd::Not(word)) => format!("systemd's job to reload {} ended as {word}", info.id),
            Err(error) => error.to_string(),
        };
        let problem = match self.mend().await {
            Ok(done) if done.is_empty() => Problem::new(why),
            Ok(done) => Problem::new(format!("{why}; mended: {}", done.join("; "))),
            Err(problem) => problem.next("forwarding is not what it was: look at it now").after(&why),
        };
        Err(problem.next(format!("journalctl -u {} -u ovs-vswitchd -u ovsdb-server", info.id)))
    }

    /// Waits for a reload that goes on without its agent: what is mended beside it would be in its way. One that hangs is mended
    /// all the same.
    pub async fn is_over(&self) {
        if let Err(error) = self.units.settled(self.unit, self.within).await {
            tracing::warn!(%error, "Open vSwitch is put back all the same");
        }
    }

    /// The reload of a way back. What counts is how the switch stands in the end: a reload that lost flows, which were told
    /// again, has done its work. In words, where that was so.
    ///
    /// # Errors
    /// When the switch is not as before in time.
    pub async fn run_back(&self) -> Result<(Vec<Evidence>, Option<String>), Problem> {
        let first = match self.run(Others::Replace).await {
            Ok(evidence) => return Ok((evidence, None)),
            Err(problem) => problem,
        };
        match self.kept(None, Instant::now() + self.within).await {
            Ok(seen) => {
                self.store.keep_done().await?;
                Ok((vec![self.evidence(&seen).await], Some(first.what)))
            }
            Err(why) => Err(Problem { what: format!("{}; {why}", first.what), ..first }),
        }
    }

    /// Everything as before, within the time; or what is not.
    async fn kept(&self, before: Option<&Daemons>, until: Instant) -> Result<Seen, String> {
        let mut patience = Patience { until, down_since: None };
        loop {
            let (why, stands) = match self.look(before).await {
                Ok(seen) => return Ok(seen),
                Err(why) => why,
            };
            if patience.is_over(stands, Instant::now()) {
                return Err(why);
            }
            still::waits(&why);
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn look(&self, before: Option<&Daemons>) -> Result<Seen, (String, Stands)> {
        let now = Daemons::look(self.units).await.map_err(|problem| (problem.what, Stands::Down))?;
        let seen = super::look().await.map_err(|problem| (problem.what, Stands::NotYet))?;
        let same = compare::same_flows(&self.saved.seen, &seen, self.saved.must);
        let differences = self.differences(&seen).await;
        let not_yet = |why: &str| Err((why.to_owned(), Stands::NotYet));
        if !differences.is_empty() {
            let stands = if same { Stands::NotYet } else { Stands::Lost };
            return Err((format!("after the reload: {}", differences.join("; ")), stands));
        }
        if before.is_some_and(|before| !now.both_differ(before)) {
            return not_yet("the reload has not started both ovsdb-server and ovs-vswitchd anew");
        }
        if !now.run_installed() {
            return not_yet("after the reload a daemon still runs what is not installed any more");
        }
        Ok(seen)
    }

    /// What is not as before, now.
    async fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut all = compare::differences(&self.saved.seen, seen, self.saved.must);
        if self.saved.must == FlowsMust::CaughtUp {
            all.extend(self.behind(seen).await);
        }
        all
    }

    /// OVN's own word, where it writes flows here. One that stands still (it waits for a northd of its version) writes none: then
    /// they must be the ones of before.
    async fn behind(&self, seen: &Seen) -> Option<String> {
        match ovn::caught_up().await {
            Ok(()) => None,
            Err(Behind { stands_still: true, .. })
                if compare::same_flows(&self.saved.seen, seen, FlowsMust::Equal) =>
            {
                None
            }
            Err(behind) => Some(behind.why),
        }
    }

    /// Is it all as before?
    ///
    /// # Errors
    /// When it cannot be seen.
    pub async fn is_kept(&self) -> Result<Option<Seen>, Problem> {
        let seen = super::look().await?;
        Ok(self.differences(&seen).await.is_empty().then_some(seen))
    }

    /// Starts what is down, replays what is missing, lets the flows go. In words, what had to be done.
    ///
    /// # Errors
    /// What could not be.
    pub async fn mend(&self) -> Result<Vec<String>, Problem> {
        let mut done = daemons::start_what_is_down(self.units).await?;
        done.extend(self.store.replay(self.saved).await?);
        done.extend(self.start_unit().await?);
        Ok(done)
    }

    /// A stop of either daemon takes the unit down with it, and what is down cannot be reloaded.
    async fn start_unit(&self) -> Result<Option<String>, Problem> {
        let failed = |why: String| Problem::new(format!("{} cannot be started: {why}", self.unit));
        let info = self.units.load(self.unit).await.map_err(|error| failed(error.to_string()))?;
        if !info.is_stopped() {
            return Ok(None);
        }
        match self.units.run(&info.id, Verb::Start, Others::Replace, self.within).await {
            Ok(JobEnd::Done | JobEnd::Unseen) => Ok(Some(format!("{} started", info.id))),
            Ok(JobEnd::Not(word)) => Err(failed(format!("its job ended as {word}"))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// What was seen of it.
    pub async fn evidence(&self, now: &Seen) -> Evidence {
        Evidence::FlowsKept {
            before: compare::count(&self.saved.seen.view),
            after: compare::count(&now.view),
            same: compare::same_flows(&self.saved.seen, now, FlowsMust::Equal),
            version: now.view.version.clone().unwrap_or_default(),
            module: module::waits_for_reboot().await,
        }
    }
}

/// What is not as before, by who brings it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Nobody: the sooner it is replayed the better.
    Lost,
    /// systemd, or nobody.
    Down,
    /// Whoever is at work on it.
    NotYet,
}

/// How long is waited for it.
#[derive(Debug)]
struct Patience {
    until: Instant,
    down_since: Option<Instant>,
}

impl Patience {
    fn is_over(&mut self, stands: Stands, now: Instant) -> bool {
        let down = match stands {
            Stands::Lost => return true,
            Stands::Down => now - *self.down_since.get_or_insert(now),
            Stands::NotYet => {
                self.down_since = None;
                Duration::ZERO
            }
        };
        down >= DOWN || now >= self.until
    }
}

impl Problem {
    /// With what had gone wrong before it.
    fn after(mut self, first: &str) -> Self {
        self.what = format!("{first}; {}", self.what);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use drydock_types::openvswitch::OpenvswitchView;

    use super::*;
    use crate::policy::Policy;

    fn saved(must: FlowsMust) -> Saved {
        let view = OpenvswitchView {
            version: Ok("3.1.0".into()),
            db_version: Ok("3.1.0".into()),
            schema: "8.3.1".into(),
            other_config: Default::default(),
            flow_restore_wait: false,
            dpdk: false,
            bridges: Default::default(),
        };
        let seen = Seen { view, dialects: Default::default(), controlled: Vec::new() };
        Saved { seen, must, bridges: Vec::new() }
    }

    #[tokio::test]
    async fn flows_of_before_are_replayed_only_behind_a_reload_that_did_not_come_to_its_end() {
        let (dir, effect) = (tempfile::tempdir().unwrap(), EffectId([7; 32]));
        let units = Units::of(&Policy::default()).unwrap();
        let forward = Store::of(dir.path(), effect);
        let by = || async {
            let before = saved(FlowsMust::Equal);
            let (_, by) = picture_back(&units, dir.path(), effect, before).await.unwrap();
            by.must
        };
        assert_eq!(by().await, FlowsMust::Equal, "it may have been interrupted anywhere");
        forward.keep_done().await.unwrap();
        // A way back that was begun, and interrupted.
        let back = dir.path().join(format!("openvswitch/{effect}-back"));
        fs::create_dir_all(&back).unwrap();
        let begun = serde_json::to_vec(&saved(FlowsMust::CaughtUp)).unwrap();
        fs::write(back.join("picture.json"), begun).unwrap();
        assert_eq!(by().await, FlowsMust::CaughtUp);
    }

    #[test]
    fn what_nobody_brings_back_is_not_waited_for_and_all_else_for_its_time() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let patience = || Patience { until: at(120), down_since: None };
        assert!(patience().is_over(Stands::Lost, begun));
        let mut slow = patience();
        assert!(!slow.is_over(Stands::NotYet, at(119)));
        assert!(slow.is_over(Stands::NotYet, at(120)));
        // One that dies and is started anew is not the same as one that stays down.
        let mut down = patience();
        assert!(!down.is_over(Stands::Down, at(1)));
        assert!(!down.is_over(Stands::Down, at(5)));
        assert!(!down.is_over(Stands::NotYet, at(6)));
        assert!(!down.is_over(Stands::Down, at(7)));
        assert!(!down.is_over(Stands::Down, at(11)));
        assert!(down.is_over(Stands::Down, at(12)));
        assert!(patience().is_over(Stands::Down, at(121)));
    }
}
