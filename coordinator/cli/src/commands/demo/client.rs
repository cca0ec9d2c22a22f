//! The demo's client: picks a member by its health endpoint, asks it once, retries nothing, writes down
//! each attempt. Beside it every member is watched, to see how long each was away.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write as _},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use drydock_types::Version;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle, time::interval};

use super::service;
use crate::{
    error::{CliError, Exit},
    render::{Canvas, Line, Page, Paint, time},
};

/// Pause between attempts.
const EVERY: Duration = Duration::from_millis(10);
/// Pause between two looks at one member.
const WATCH_EVERY: Duration = Duration::from_millis(10);

/// What the client saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen {
    /// Attempts in all.
    attempts: u64,
    /// Attempts that got no answer of the service, whoever was at fault.
    failures: u64,
    /// The first of them.
    first_failure: Option<String>,
    /// Answers by what they said.
    answers: BTreeMap<String, u64>,
    /// By member: how long its health endpoint did not answer 200, in all.
    away_ms: BTreeMap<String, u64>,
}

/// At work until it is finished.
pub(super) struct Client {
    stop: watch::Sender<bool>,
    asking: JoinHandle<Result<Seen, std::io::Error>>,
    watching: Vec<(String, JoinHandle<u64>)>,
}

impl Client {
    pub(super) fn start(members: Vec<(String, SocketAddr)>, log: &Path) -> Result<Self, CliError> {
        let log = File::create(log).map_err(|why| CliError::failed(format!("{}: {why}", log.display())))?;
        let (stop, stopped) = watch::channel(false);
        let watch =
            |(name, address): (String, SocketAddr)| (name, tokio::spawn(away(address, stopped.clone())));
        let watching = members.iter().cloned().map(watch).collect();
        let asking = tokio::spawn(ask(members, BufWriter::new(log), stopped));
        Ok(Self { stop, asking, watching })
    }

    pub(super) async fn finish(self) -> Result<Seen, CliError> {
        self.stop.send_replace(true);
        let failed = |why: &dyn std::fmt::Display| CliError::failed(format!("the demo's client: {why}"));
        let mut seen = self.asking.await.map_err(|why| failed(&why))?.map_err(|why| failed(&why))?;
        for (name, task) in self.watching {
            seen.away_ms.insert(name, task.await.map_err(|why| failed(&why))?);
        }
        Ok(seen)
    }
}

async fn ask(
    members: Vec<(String, SocketAddr)>,
    mut log: BufWriter<File>,
    stopped: watch::Receiver<bool>,
) -> Result<Seen, std::io::Error> {
    let (answers, away_ms) = (BTreeMap::new(), BTreeMap::new());
    let mut seen = Seen { attempts: 0, failures: 0, first_failure: None, answers, away_ms };
    let mut pace = interval(EVERY);
    let mut first = 0;
    while !*stopped.borrow() {
        pace.tick().await;
        first = (first + 1) % members.len();
        let (who, outcome) = attempt(&members, first).await;
        seen.attempts += 1;
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        match outcome {
            Ok(text) => {
                writeln!(log, "{unix_ms} {who} ok {text}")?;
                *seen.answers.entry(text).or_default() += 1;
            }
            Err(why) => {
                writeln!(log, "{unix_ms} {who} failed {why}")?;
                seen.failures += 1;
                seen.first_failure.get_or_insert(format!("{who}: {why}"));
            }
        }
    }
    log.flush()?;
    Ok(seen)
}

/// The first member that says it is well is asked, once.
async fn attempt(members: &[(String, SocketAddr)], first: usize) -> (String, Result<String, String>) {
    let turn = members.iter().cycle().skip(first).take(members.len());
    for (name, address) in turn {
        if service::answers(*address, "/healthz").await {
            let answer = service::get(*address, "/").await;
            let answer =
                answer.and_then(
                    |(status, text)| if status == 200 { Ok(text) } else { Err(format!("{status} {text}")) },
                );
            return (name.clone(), answer);
        }
    }
    ("nobody".to_owned(), Err("no member is well".to_owned()))
}

/// How long a member was not well: from the first look that says so to the next that does not.
async fn away(address: SocketAddr, stopped: watch::Receiver<bool>) -> u64 {
    let mut pace = interval(WATCH_EVERY);
    let (mut total, mut since) = (Duration::ZERO, None::<Instant>);
    while !*stopped.borrow() {
        pace.tick().await;
        if service::answers(address, "/healthz").await {
            total += since.take().map_or(Duration::ZERO, |since| since.elapsed());
        } else {
            since.get_or_insert_with(Instant::now);
        }
    }
    total += since.map_or(Duration::ZERO, |since| since.elapsed());
    u64::try_from(total.as_millis()).unwrap_or(u64::MAX)
}

impl Seen {
    /// The demo has shown what it says only when nothing failed and the new version answered.
    pub(super) fn verdict(&self, to: &Version) -> Result<Exit, CliError> {
        if let Some(first) = &self.first_failure {
            let what = format!("{} of {} attempts failed; the first: {first}", self.failures, self.attempts);
            return Err(CliError::failed(what));
        }
        if !self.answers.contains_key(&format!("web {to}")) {
            return Err(CliError::failed(format!("the client never saw web {to}")));
        }
        Ok(Exit::Done)
    }
}

/// The client's own account.
pub(super) fn page(seen: &Seen, _: Canvas) -> Page {
    let mut page = Page::default();
    page.gap();
    page.line(Line::painted("What a client saw that retries nothing", Paint::Bold));
    let failures =
        if seen.failures == 0 { "none failed".to_owned() } else { format!("{} failed", seen.failures) };
    page.line(Line::of(format!("  {} attempts, {failures}", seen.attempts)));
    for (answer, count) in &seen.answers {
        page.line(Line::of(format!("  {count:>6} answered by {answer}")));
    }
    for (node, ms) in &seen.away_ms {
        page.line(Line::of(format!("  {node} was away for {}", time::measured(*ms))));
    }
    page
}
