//! Following a run until it ends: on a terminal redrawn in place, in a file one line an event.
//!
//! The stream may break at any time (a coordinator that restarts is the normal case); it is dialled again
//! until the run has ended or the operator leaves. Leaving never stops a run.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use drydock_core::view::{RunStatus, RunView};
use drydock_proto::operator::Document;
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tonic::{Status, Streaming};

use crate::{
    client::{self, Client},
    error::{CliError, Exit},
    render::{hold, run, time},
    screen::{self, Screen},
    view::Viewer,
};

/// How often the frame is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// How a run ends its view; `None` while it goes on.
pub(crate) fn exit(view: &RunView) -> Option<Exit> {
    match view.status {
        _ if hold::asks(view).is_some() => Some(Exit::Person),
        RunStatus::Queued | RunStatus::Running | RunStatus::Paused | RunStatus::Aborting => None,
        RunStatus::Held => Some(Exit::Person),
        RunStatus::Aborted => Some(Exit::Failed),
        RunStatus::Done => Some(Exit::Done),
    }
}

/// Follows the run until it is done (0), held (3) or aborted (1), or until the operator leaves (0).
pub(crate) async fn follow(client: &Client, number: u64, screen: Screen) -> Result<Exit, CliError> {
    let mut leave = pin!(interrupted());
    let mut follower = Follower::new(client, number, screen);
    tokio::select! {
        ended = follower.run() => ended,
        () = &mut leave => {
            follower.viewer.leave();
            let run = follower.number;
            screen.note(&format!("Left the view. Run {run} goes on; look again:  drydock run watch {run}"));
            Ok(Exit::Done)
        }
    }
}

/// Ctrl-C, or the polite end of the terminal.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Between two attempts: short at first, 2 s at most, for ever.
fn backoff() -> ExponentialBackoff {
    let slowest = Duration::from_secs(2);
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(slowest)
        .without_max_times()
        .with_jitter()
        .build()
}

struct Follower<'a> {
    client: &'a Client,
    number: u64,
    screen: Screen,
    viewer: Viewer,
    /// Since when nobody answers.
    silent_since: Option<Instant>,
    /// Was anything ever received? Before that an error is the answer.
    seen: bool,
}

impl<'a> Follower<'a> {
    fn new(client: &'a Client, number: u64, screen: Screen) -> Self {
        Self { client, number, screen, viewer: Viewer::new(screen), silent_since: None, seen: false }
    }

    async fn run(&mut self) -> Result<Exit, CliError> {
        let mut delays = backoff();
        loop {
            match self.client.watch(self.number).await {
                Ok(stream) => {
                    let received = self.seen;
                    if let Some(exit) = self.one_stream(stream).await? {
                        return Ok(exit);
                    }
                    if self.seen != received || self.silent_since.is_none() {
                        delays = backoff();
                    }
                }
                Err(status) => self.broken(&status)?,
            }
            self.silent_since.get_or_insert_with(Instant::now);
            self.pause(delays.next().unwrap_or(Duration::from_secs(2))).await?;
        }
    }

    /// Reads one stream to its end. `None`: it broke, and the run has not ended.
    async fn one_stream(&mut self, mut stream: Streaming<Document>) -> Result<Option<Exit>, CliError> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                message = stream.next() => match message {
                    Some(Ok(document)) => {
                        if let Some(exit) = self.received(&document)? {
                            return Ok(Some(exit));
                        }
                    }
                    Some(Err(status)) => {
                        self.broken(&status)?;
                        return Ok(None);
                    }
                    None => return Ok(None),
                },
                _ = tick.tick() => self.viewer.draw(None)?,
            }
        }
    }

    fn received(&mut self, document: &Document) -> Result<Option<Exit>, CliError> {
        let view: RunView = client::read("run", document)?;
        // From now on this run, whatever is started meanwhile.
        self.number = view.number;
        self.seen = true;
        if let Some(since) = self.silent_since.take().filter(|_| !self.screen.terminal) {
            self.screen.note(&format!("coordinator is back after {}", time::measured(millis(since))));
        }
        let ended = exit(&view);
        self.viewer.update(view)?;
        if let Some(exit) = ended {
            self.viewer.close()?;
            return Ok(Some(exit));
        }
        Ok(None)
    }

    /// An error that will not pass by itself ends the view; so does any before the first answer.
    fn broken(&mut self, status: &Status) -> Result<(), CliError> {
        if self.seen && crate::status::may_pass(status.code()) {
            return Ok(());
        }
        self.viewer.leave();
        Err(self.client.error(status))
    }

    /// Waits before the next attempt and says so.
    async fn pause(&mut self, delay: Duration) -> Result<(), CliError> {
        let since = self.silent_since.unwrap_or_else(Instant::now);
        let first = !self.screen.terminal && since.elapsed() < Duration::from_millis(50);
        let say = format!("coordinator not reachable for {}, trying again", time::rough(millis(since)));
        if first {
            self.screen.note("coordinator not reachable, trying again");
        }
        self.viewer.draw(Some(&say))?;
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The closing lines of a view.
pub(crate) fn closing(view: &RunView, screen: Screen) -> Result<String, CliError> {
    let (view, canvas) = (screen::clean(view)?, screen.canvas());
    let page = match hold::asks(&view) {
        Some(hold) => hold::page(&view, hold, canvas),
        None => run::ended(&view, canvas),
    };
    Ok(page.to_text(canvas))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_view_ends_when_the_run_does_and_its_exit_code_says_how() {
        let code = |status| exit(&RunView { status, ..samples::run() }).map(Exit::code);
        assert_eq!(code(RunStatus::Done), Some(0));
        assert_eq!(code(RunStatus::Aborted), Some(1));
        assert_eq!(code(RunStatus::Held), Some(3));
        for status in [RunStatus::Queued, RunStatus::Running, RunStatus::Paused, RunStatus::Aborting] {
            assert_eq!(code(status), None, "{status:?}");
        }
        // It cannot end by itself: its agent is silent.
        let aborting = RunView { status: RunStatus::Aborting, ..samples::held_run() };
        assert_eq!(exit(&aborting).map(Exit::code), Some(3));
        assert_eq!(exit(&RunView { handed_out: vec![], ..aborting }), None);
    }

    #[test]
    fn attempts_never_end_and_are_never_far_apart() {
        let delays: Vec<Duration> = backoff().take(100).collect();
        assert_eq!(delays.len(), 100);
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(4)), "{delays:?}");
    }
}
