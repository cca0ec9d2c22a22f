//! What a followed run looks like: a frame that is redrawn, lines in a file, documents for programs.

use std::time::Instant;

use drydock_core::view::{EventLineView, RunView};

use crate::{
    error::CliError,
    follow,
    render::{Line, watch},
    screen::{self, Screen},
};

/// How many events a view carries at most; see `RunView::log`.
const LOG_LINES: usize = 200;

/// Shows views one after another.
pub(crate) struct Viewer {
    screen: Screen,
    log: Log,
    /// The newest view (clean), and when it came.
    newest: Option<(RunView, Instant)>,
    /// Columns of each line of the frame that is on the terminal now.
    drawn: Vec<usize>,
}

impl Viewer {
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, log: Log::default(), newest: None, drawn: Vec::new() }
    }

    /// A view has come.
    pub(crate) fn update(&mut self, view: RunView) -> Result<(), CliError> {
        if self.screen.is_json() {
            let line = crate::text::json(&view, false)
                .map_err(|why| CliError::failed(format!("writing JSON: {why}")))?;
            self.screen.data(&line)?;
            self.newest = Some((view, Instant::now()));
            return Ok(());
        }
        let view = screen::clean(&view)?;
        if !self.screen.terminal {
            let lines = self.log.new_lines(&view);
            if lines.missed {
                self.screen.note("some events are not shown: more happened than a view carries");
            }
            for line in lines.events {
                self.screen.data(&(watch::event(line).to_text(self.screen.color) + "\n"))?;
            }
        }
        self.newest = Some((view, Instant::now()));
        self.draw(None)
    }

    /// Draws the newest view on a terminal, in the place of the last frame.
    pub(crate) fn draw(&mut self, trouble: Option<&str>) -> Result<(), CliError> {
        let Some((view, came)) =
            self.newest.as_ref().filter(|_| self.screen.terminal && !self.screen.is_json())
        else {
            return Ok(());
        };
        let (columns, height) = self.screen.size();
        let since_view_ms = u64::try_from(came.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The last column stays free: a terminal may break the line behind it.
        let canvas = crate::render::Canvas { width: Some(columns - 1), color: self.screen.color };
        let frame = watch::frame(view, watch::Around { since_view_ms, height, trouble }, canvas);
        let text = redraw(&self.drawn, columns, &frame, self.screen.color);
        self.drawn = frame.iter().map(Line::width).collect();
        self.screen.data(&text)
    }

    /// The run has ended: the frame gives way to the closing lines.
    pub(crate) fn close(&mut self) -> Result<(), CliError> {
        let Some((view, _)) = self.newest.take().filter(|_| !self.screen.is_json()) else { return Ok(()) };
        let closing = follow::closing(&view, self.screen)?;
        // The last frame stays: it has the nodes and their times.
        self.screen.data(&format!("\n{closing}"))
    }

    /// The operator leaves: the frame stays as it is.
    pub(crate) fn leave(&mut self) {
        self.newest = None;
    }
}

/// The control sequences that put a frame in the place of the one before. Lines are overwritten, not
/// cleared first: nothing blinks. A terminal that has become narrower has broken the old lines.
fn redraw(before: &[usize], columns: usize, frame: &[Line], color: bool) -> String {
    let rows: usize = before.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    let mut out = String::new();
    if rows > 0 {
        out.push_str(&format!("\x1b[{rows}A\r"));
    }
    for line in frame {
        out.push_str(&line.to_text(color));
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J");
    out
}

/// Which events have been printed: each once, none left out, over any number of reconnects.
#[derive(Debug, Default)]
pub(crate) struct Log {
    last: Option<u64>,
}

/// What is to be printed now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewLines<'a> {
    /// In order.
    pub(crate) events: Vec<&'a EventLineView>,
    /// More happened than the view carries: there is a gap before these.
    pub(crate) missed: bool,
}

impl Log {
    fn new_lines<'a>(&mut self, view: &'a RunView) -> NewLines<'a> {
        let full = view.log.len() >= LOG_LINES;
        let missed = match (self.last, view.log.first()) {
            (Some(last), Some(first)) => full && first.seq > last + 1,
            _ => false,
        };
        let mut events: Vec<&EventLineView> =
            view.log.iter().filter(|line| self.last.is_none_or(|last| line.seq > last)).collect();
        events.sort_by_key(|line| line.seq);
        events.dedup_by_key(|line| line.seq);
        self.last = events.last().map(|line| line.seq).or(self.last);
        NewLines { events, missed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn with_log(seqs: impl IntoIterator<Item = u64>) -> RunView {
        let mut view = samples::run();
        let line = view.log[0].clone();
        view.log = seqs.into_iter().map(|seq| EventLineView { seq, ..line.clone() }).collect();
        view
    }

    fn printed(log: &mut Log, view: &RunView) -> (Vec<u64>, bool) {
        let lines = log.new_lines(view);
        (lines.events.iter().map(|line| line.seq).collect(), lines.missed)
    }

    #[test]
    fn an_event_is_printed_once_and_none_is_missed_after_a_reconnect() {
        let mut log = Log::default();
        assert_eq!(printed(&mut log, &with_log([1, 2, 4])), (vec![1, 2, 4], false));
        assert_eq!(printed(&mut log, &with_log([1, 2, 4])), (vec![], false));
        // Another run wrote 5; the stream broke and came back two events later.
        assert_eq!(printed(&mut log, &with_log([1, 2, 4, 6, 7])), (vec![6, 7], false));
        // A coordinator that restarted shows an older view first.
        assert_eq!(printed(&mut log, &with_log([1, 2])), (vec![], false));
        assert_eq!(printed(&mut log, &with_log([4, 6, 7, 8])), (vec![8], false));
    }

    #[test]
    fn a_gap_that_a_view_cannot_fill_is_said() {
        let mut log = Log::default();
        assert_eq!(printed(&mut log, &with_log(1..=3)), (vec![1, 2, 3], false));
        let (events, missed) = printed(&mut log, &with_log(10..210));
        assert_eq!((events.len(), missed), (200, true));
        let (events, missed) = printed(&mut log, &with_log(11..211));
        assert_eq!((events, missed), (vec![210], false));
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        let frame = [Line::of("one"), Line::of("two")];
        assert_eq!(redraw(&[], 80, &frame, false), "one\x1b[K\ntwo\x1b[K\n\x1b[J");
        assert_eq!(redraw(&[3, 80, 0], 80, &frame, false), "\x1b[3A\rone\x1b[K\ntwo\x1b[K\n\x1b[J");
        // Half as wide as before: the line of 80 stands in two rows now.
        assert!(redraw(&[3, 80, 0], 40, &frame, false).starts_with("\x1b[4A\r"));
    }
}
