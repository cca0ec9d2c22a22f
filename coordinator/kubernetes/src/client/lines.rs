//! A watch's body as lines.

use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::time::Instant;

use super::why;
use crate::{
    api::{Line, Unreached},
    kubeconfig::Endpoint,
};

/// The longest line, in bytes. etcd takes no object beyond 1.5 MiB.
const MOST_LINE: usize = 8 << 20;

struct State {
    body: Incoming,
    url: Endpoint,
    ends_at: Instant,
    /// What came and was not yet brought.
    chunk: Bytes,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    ended: bool,
}

/// The lines, until the body ends or `ends_at` comes. A line that is cut off by the end is not brought: what it told of
/// is told again to who goes on from the last resourceVersion.
pub(super) fn of(body: Incoming, url: Endpoint, ends_at: Instant) -> impl Stream<Item = Line> {
    let state = State { body, url, ends_at, chunk: Bytes::new(), begun: Vec::new(), ended: false };
    stream::unfold(state, |mut state| async move {
        let line = state.next().await?;
        state.ended = line.is_err();
        Some((line, state))
    })
}

impl State {
    async fn next(&mut self) -> Option<Line> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
                self.begun.extend_from_slice(&self.chunk.split_to(end + 1)[..end]);
                if self.begun.is_empty() {
                    continue;
                }
                return Some(Ok(std::mem::take(&mut self.begun)));
            }
            self.begun.extend_from_slice(&std::mem::take(&mut self.chunk));
            if self.begun.len() > MOST_LINE {
                return Some(Err(self.broken("a line of it is longer than 8 MiB")));
            }
            let frame = tokio::time::timeout_at(self.ends_at, self.body.frame()).await.ok()??;
            match frame {
                Ok(frame) => self.chunk = frame.into_data().unwrap_or_default(),
                Err(error) => return Some(Err(self.broken(&why::of(&error)))),
            }
        }
    }

    fn broken(&self, why: &str) -> Unreached {
        Unreached { why: format!("{}: the watch broke off: {why}", self.url), may_have_taken_effect: false }
    }
}
