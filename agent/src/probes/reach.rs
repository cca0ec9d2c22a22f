//! Watches over somebody else's reachability: asked again and again from here while another node is changed.
//!
//! A watch begins with the first look that names it, goes on with each further one, and ends when nobody has looked for as
//! long as the last one said. One that says `keep: 0` ends it, or, where there is none, only asks whether it might begin. It lives in memory: an agent that was started anew begins it anew, and says since when.

mod tally;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drydock_types::reach::{ReachTarget, ReachView, ReachWatch};
use futures_util::StreamExt as _;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::IntervalStream;

use self::tally::Tally;
use crate::{
    actions::Problem,
    host::Host,
    sys::{
        http::{self, HttpUrl},
        ping,
    },
};

/// So many are kept at once.
const MOST: usize = 256;
/// The longest name of one, in bytes.
const MAX_ID_BYTES: usize = 200;
/// How often, in milliseconds.
const EVERY_MS: std::ops::RangeInclusive<u64> = 20..=60_000;
/// How long an answer may take, in milliseconds.
const WITHIN_MS: std::ops::RangeInclusive<u64> = 10..=10_000;
/// For how long one is kept that nobody asks for, in milliseconds.
const KEEP_MS: std::ops::RangeInclusive<u64> = 1_000..=600_000;
/// So many questions of one watch wait for an answer at once.
const MOST_OPEN: usize = 64;

static WATCHES: Mutex<BTreeMap<String, Arc<Watch>>> = Mutex::new(BTreeMap::new());

/// One that is kept.
#[derive(Debug)]
struct Watch {
    asked_for: ReachWatch,
    began: Instant,
    tally: Mutex<Tally>,
    /// When it ends, unless somebody looks before.
    until: Mutex<Instant>,
    /// Told when it was ended by name.
    over: Notify,
}

/// Who is asked, as the policy has let it.
#[derive(Debug, Clone)]
enum Target {
    Ping(IpAddr),
    Tcp(SocketAddr),
    Http(HttpUrl),
}

/// Looks: begins the watch, or goes on with it.
///
/// # Errors
/// When the policy does not list the target, it cannot be asked from here, or too much is watched already.
pub async fn look(host: &Host, watch: &ReachWatch) -> Result<ReachView, Problem> {
    bounded(watch)?;
    let target = Target::read(&watch.target)?;
    let (address, port) = target.address()?;
    host.policy.may_watch_target(address, port)?;
    if let Target::Ping(address) = target {
        ping::may(address).map_err(|error| cannot_ping(&error))?;
    }
    if watch.keep.0 == 0 {
        return Ok(ended(watch));
    }
    Ok(kept(watch, &target)?.view())
}

/// Ends the watch of that name, where it is this one; what it has seen.
fn ended(asked_for: &ReachWatch) -> ReachView {
    let mut watches = all();
    let same = watches.get(&asked_for.id).is_some_and(|watch| watch.asks_the_same(asked_for));
    let Some(watch) = same.then(|| watches.remove(&asked_for.id)).flatten() else {
        return ReachView::default();
    };
    drop(watches);
    // Its task wakes up then, and finds that it is over.
    *watch.until() = Instant::now();
    watch.over.notify_one();
    watch.view()
}

fn all() -> MutexGuard<'static, BTreeMap<String, Arc<Watch>>> {
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watch of that name; a new one asks from now on.
fn kept(asked_for: &ReachWatch, target: &Target) -> Result<Arc<Watch>, Problem> {
    let until = Instant::now() + Duration::from_millis(asked_for.keep.0);
    let mut watches = all();
    if let Some(watch) = watches.get(&asked_for.id) {
        if !watch.asks_the_same(asked_for) {
            return Err(Problem::new("another watch has that name".to_owned())
                .next("name it otherwise, or wait until nobody asks for the other one"));
        }
        *watch.until() = until;
        return Ok(Arc::clone(watch));
    }
    if watches.len() >= MOST {
        return Err(Problem::new(format!("{MOST} watches are kept here already"))
            .next("watch less, or let another node watch the rest"));
    }
    let watch = Arc::new(Watch {
        asked_for: asked_for.clone(),
        began: Instant::now(),
        tally: Mutex::default(),
        until: Mutex::new(until),
        over: Notify::new(),
    });
    watches.insert(asked_for.id.clone(), Arc::clone(&watch));
    drop(watches);
    let (it, target) = (Arc::clone(&watch), target.clone());
    tokio::spawn(async move {
        let asking = it.ask_again_and_again(&target);
        tokio::pin!(asking);
        loop {
            let ends = *it.until();
            tokio::select! {
                () = &mut asking => break,
                () = it.over.notified() => break,
                () = sleep_until(ends) => if it.is_over() { break },
            }
        }
    });
    Ok(watch)
}

impl Watch {
    /// For how long it is kept is said anew with each look.
    fn asks_the_same(&self, of: &ReachWatch) -> bool {
        ReachWatch { keep: of.keep, ..self.asked_for.clone() } == *of
    }

    /// Nobody has looked: it is taken out under the lock under which it would be asked for.
    fn is_over(&self) -> bool {
        let mut watches = all();
        let over = *self.until() <= Instant::now();
        // One of its name that was begun after it was ended is another one.
        if over && watches.get(&self.asked_for.id).is_some_and(|watch| std::ptr::eq(&raw const **watch, self))
        {
            watches.remove(&self.asked_for.id);
        }
        over
    }

    fn since_began(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> ReachView {
        let now = self.since_began(Instant::now());
        self.tally().view(now)
    }

    /// One question does not wait for the answer to the last one; they are told in the order in which they were asked.
    async fn ask_again_and_again(&self, target: &Target) {
        let (every, within) = (self.asked_for.every.0.max(1), self.asked_for.answer_within.0);
        let open = usize::try_from(within / every).unwrap_or(MOST_OPEN).saturating_add(2).min(MOST_OPEN);
        let mut next = interval(Duration::from_millis(every));
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = IntervalStream::new(next)
            .map(|_| async move {
                let asked = self.since_began(Instant::now());
                (asked, target.answers(Duration::from_millis(within)).await)
            })
            .buffered(open);
        while let Some((asked, well)) = answers.next().await {
            self.tally().note(asked, well);
        }
    }
}

impl Target {
    fn read(target: &ReachTarget) -> Result<Self, Problem> {
        let bad = |text: &str, form: &str| {
            let shown: String = text.chars().take(100).collect();
            Problem::new(format!("{shown:?} is not {form}")).next("correct the recipe or the plan")
        };
        Ok(match target {
            ReachTarget::Ping { address } => {
                Self::Ping(address.parse().map_err(|_| bad(address, "an address, such as 10.0.0.7"))?)
            }
            ReachTarget::Tcp { address } => {
                let read: SocketAddr = address
                    .parse()
                    .map_err(|_| bad(address, "an address with a port, such as 10.0.0.7:22"))?;
                Self::Tcp(read)
            }
            ReachTarget::Http { url } => {
                Self::Http(HttpUrl::parse(url).map_err(|error| Problem::new(error.to_string()))?)
            }
        })
    }

    /// Whom the policy judges. No name is looked up: what it points to may be another a moment later.
    fn address(&self) -> Result<(IpAddr, Option<u16>), Problem> {
        match self {
            Self::Ping(address) => Ok((*address, None)),
            Self::Tcp(address) => Ok((address.ip(), Some(address.port()))),
            Self::Http(url) => {
                let host = url.endpoint.host.parse().map_err(|_| {
                    Problem::new(format!("{url} names a host; only addresses are watched"))
                        .next("write its address in place of the name")
                })?;
                Ok((host, Some(url.endpoint.port)))
            }
        }
    }

    async fn answers(&self, within: Duration) -> bool {
        match self {
            Self::Ping(address) => ping::answers(*address, within).await,
            Self::Tcp(address) => {
                matches!(timeout(within, tokio::net::TcpStream::connect(address)).await, Ok(Ok(_)))
            }
            Self::Http(url) => http::get(url, within)
                .await
                .is_ok_and(|(status, _)| status.is_success() || status.is_redirection()),
        }
    }
}

fn bounded(watch: &ReachWatch) -> Result<(), Problem> {
    let within = |name: &str, ms: u64, range: &std::ops::RangeInclusive<u64>| match range.contains(&ms) {
        true => Ok(()),
        false => Err(Problem::new(format!(
            "{name} of a watch is {ms} ms; it goes from {} to {} ms",
            range.start(),
            range.end()
        ))),
    };
    if watch.id.is_empty() || watch.id.len() > MAX_ID_BYTES {
        return Err(Problem::new(format!("a watch's name has 1 to {MAX_ID_BYTES} bytes")));
    }
    within("every", watch.every.0, &EVERY_MS)?;
    within("answerWithin", watch.answer_within.0, &WITHIN_MS)?;
    if watch.keep.0 == 0 {
        return Ok(());
    }
    within("keep", watch.keep.0, &KEEP_MS)
}

fn cannot_ping(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Problem::new("the kernel of this node lets the agent's group send no ping without further rights")
                .next("as root on this node: sysctl -w net.ipv4.ping_group_range=\"0 0\", and a line of it in /etc/sysctl.d")
                .next("or watch a TCP port of the same address")
        }
        _ => Problem::new(format!("no ping can be sent from this node: {error}")),
    }
}

#[cfg(test)]
mod tests;
