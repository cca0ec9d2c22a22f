//! One request to a cluster and its answer, and a watch. Everything else here is written against this, so that a
//! simulation can be a cluster.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

/// A verb of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates: an eviction, a review, a pod of ours.
    Post,
    /// Changes a part, by `application/merge-patch+json`.
    MergePatch,
    /// Deletes: only what is ours.
    Delete,
}

impl Method {
    /// Can it have changed something where no answer came?
    #[must_use]
    pub const fn changes(self) -> bool {
        !matches!(self, Self::Get)
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub method: Method,
    /// Path with its query: `/api/v1/nodes?resourceVersion=0`. Whatever stands in it is percent-encoded already.
    pub path: String,
    /// JSON, of `Post`, `MergePatch` and `Delete`.
    pub body: Option<Vec<u8>>,
    /// How long one endpoint may take with its answer.
    pub within: Duration,
}

/// An answer of an API server, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// `Retry-After`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// Its bytes; bounded, what is longer is an error.
    pub body: Vec<u8>,
}

/// No endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// What happened at each endpoint, in words.
    pub why: String,
    /// The request may have been taken: read again before anything is concluded.
    pub may_have_taken_effect: bool,
}

impl fmt::Display for Unreached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.why)
    }
}

impl core::error::Error for Unreached {}

/// One line of a watch: `{"type": "MODIFIED", "object": {…}}`, as bytes.
pub type Line = Result<Vec<u8>, Unreached>;

/// A cluster's API. Endpoints, TLS and credentials are its own affair.
#[async_trait]
pub trait Api: Send + Sync {
    /// Asks, and brings the answer of the first endpoint that gives one.
    ///
    /// # Errors
    /// When none does in time. A request that [`Method::changes`] something is not sent to a second endpoint once
    /// the first may have taken it.
    async fn call(&self, request: Request) -> Result<Answer, Unreached>;

    /// Opens a watch at one endpoint (`path` has `watch=1`). An answer that is no stream is `Ok(Err(answer))`.
    /// The stream ends when the server, its endpoint or its time does; its caller goes on from the last
    /// resourceVersion.
    ///
    /// # Errors
    /// When no endpoint can be reached.
    async fn watch(
        &self,
        path: String,
        within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached>;

    /// How far a server's clock is before this machine's, in seconds, by what the latest answers said: where servers differ,
    /// the one that is furthest off. `None` where none has said so within the last minute.
    fn clock_ahead_s(&self) -> Option<i64> {
        None
    }

    /// Reads the same through every endpoint there is, each by its name: what servers are like, one by one.
    async fn through_each(&self, path: &str, within: Duration) -> Vec<(String, Result<Answer, String>)> {
        let request = Request { method: Method::Get, path: path.to_owned(), body: None, within };
        let said = |unreached: Unreached| unreached.to_string();
        vec![("the API".to_owned(), self.call(request).await.map_err(said))]
    }
}
