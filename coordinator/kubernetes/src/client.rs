//! The real [`Api`]: HTTPS to one cluster through several endpoints.
//!
//! A request goes to the first endpoint that is not known to be down, and to the next one when that does not answer in
//! time or says that it is shutting down: a server that is stopping may leave a request without an answer for seconds,
//! and one that is starting refuses good credentials for a moment. What may have changed something is never sent a
//! second time: whoever asked reads again and sees.
//!
//! TLS, client certificates and files that are renewed are kube-client's; which endpoint, how long, and what an answer
//! means are ours (docs/adr/0021). There is no retry below this: kube-client's own would repeat a 429 up to fifteen
//! times without a word.
//!
//! | module | what lives there |
//! |---|---|
//! | `endpoint` | one endpoint: a request, a watch, and when it is worth trying again |
//! | `lines` | a watch's body as lines |
//! | `why` | what went wrong with a connection, in words |

mod endpoint;
mod lines;
#[cfg(test)]
pub(crate) mod tests;
mod why;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future, stream::BoxStream};

use self::endpoint::{End, Failure};
use crate::{
    answer::{self, Refusal},
    api::{Answer, Api, Line, Method, Request, Unreached},
    kubeconfig::{Credentials, Endpoint},
};

/// How long a server may take to say whether it is ready.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// How long a server may take until a watch begins. Its life has another limit.
const WATCH_OPENS_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no client for some credentials.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The credentials have no endpoint.
    #[error("there is no endpoint: name one with --server https://HOST:6443")]
    NoEndpoint,
    /// TLS does not take what the credentials hold, or a file that they name is not there.
    #[error("the credentials for {endpoint} cannot be used: {why}")]
    Unusable {
        /// Which.
        endpoint: Endpoint,
        /// What is wrong.
        why: String,
    },
}

/// A cluster's API. Its endpoints' states and connections live as long as it does.
#[derive(Debug)]
pub struct Client {
    ends: Vec<End>,
    sent: AtomicU64,
}

impl Client {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    /// When there is no endpoint, or TLS does not take the credentials.
    pub fn new(credentials: &Credentials) -> Result<Self, ClientError> {
        let ends: Result<Vec<End>, ClientError> =
            credentials.endpoints.iter().map(|endpoint| End::new(endpoint, credentials)).collect();
        match ends? {
            ends if ends.is_empty() => Err(ClientError::NoEndpoint),
            ends => Ok(Self { ends, sent: AtomicU64::new(0) }),
        }
    }

    /// How many requests have gone out, those to further endpoints included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Asks every endpoint the same, at the same time: what they are like, one by one. For reading only.
    pub async fn each(&self, path: &str, within: Duration) -> Vec<(Endpoint, Result<Answer, String>)> {
        let request = Request { method: Method::Get, path: path.to_owned(), body: None, within };
        let asked: Vec<_> = self.ends.iter().map(|end| self.send(end, &request)).collect();
        let answers = future::join_all(asked).await;
        let said = |failure: Failure| failure.why().to_owned();
        self.ends.iter().zip(answers).map(|(end, answer)| (end.url().clone(), answer.map_err(said))).collect()
    }

    /// Its endpoints, in the order in which they were given.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.ends.iter().map(End::url)
    }

    /// Asks one endpoint, and no other in its place. For reading only.
    ///
    /// # Errors
    /// When it does not answer in time; why.
    pub async fn at(&self, index: usize, path: &str, within: Duration) -> Result<Answer, String> {
        let request = Request { method: Method::Get, path: path.to_owned(), body: None, within };
        let end = self.ends.get(index).ok_or_else(|| format!("there is no endpoint {index}"))?;
        self.send(end, &request).await.map_err(|failure| failure.why().to_owned())
    }

    async fn send(&self, end: &End, request: &Request) -> Result<Answer, Failure> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        end.call(request).await
    }

    /// Those that are not known to be down in their order, then the others.
    fn in_order(&self) -> Vec<&End> {
        let (mut up, down): (Vec<&End>, Vec<&End>) = self.ends.iter().partition(|end| !end.is_resting());
        up.extend(down);
        up
    }

    /// A server that is starting refuses good credentials. Is this one?
    async fn is_starting(&self, end: &End) -> bool {
        let path = "/readyz".to_owned();
        let ask = Request { method: Method::Get, path, body: None, within: READY_WITHIN };
        // A 401 or 403 here is the same no once more, and says nothing of being ready.
        !matches!(self.send(end, &ask).await, Ok(Answer { status: 200 | 401 | 403 | 404, .. }))
    }

    /// What to do with an answer: bring it, or go on to the next endpoint.
    async fn judge(&self, end: &End, request: &Request, answer: Answer) -> Said {
        let Err(refusal) = answer::done(&answer) else { return Said::Final(answer) };
        match &refusal {
            Refusal::ShuttingDown => Said::Next(refusal.to_string()),
            // Asked anew elsewhere it could be done twice. Who asked reads again.
            _ if refusal.may_have_taken_effect() && request.method.changes() => Said::Final(answer),
            _ if refusal.is_of_this_endpoint() => Said::NextOr(refusal.to_string(), answer),
            _ if refusal.is_of_a_ready_server_only() && self.is_starting(end).await => {
                Said::Next(format!("it is starting, and not ready yet ({refusal})"))
            }
            _ => Said::Final(answer),
        }
    }
}

/// What an endpoint's answer is worth.
enum Said {
    /// The cluster's answer.
    Final(Answer),
    /// This endpoint's trouble.
    Next(String),
    /// This endpoint's trouble, and what there is when no other one answers.
    NextOr(String, Answer),
}

/// What happened at each endpoint, for people.
#[derive(Default)]
struct Tried(Vec<String>);

impl Tried {
    fn note(&mut self, end: &End, why: &str) {
        tracing::debug!(endpoint = %end.url(), why, "an endpoint did not answer");
        self.0.push(format!("{}: {why}", end.url()));
    }

    fn unreached(self, may_have_taken_effect: bool) -> Unreached {
        Unreached { why: self.0.join("; "), may_have_taken_effect }
    }
}

#[async_trait]
impl Api for Client {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        let (mut tried, mut otherwise) = (Tried::default(), None);
        for end in self.in_order() {
            match self.send(end, &request).await {
                Ok(answer) => match self.judge(end, &request, answer).await {
                    Said::Final(answer) => {
                        end.answered();
                        return Ok(answer);
                    }
                    Said::Next(why) => {
                        end.rest();
                        tried.note(end, &why);
                    }
                    Said::NextOr(why, answer) => {
                        tried.note(end, &why);
                        otherwise = otherwise.or(Some(answer));
                    }
                },
                Err(failure) => {
                    end.rest();
                    tried.note(end, failure.why());
                    if failure.may_have_arrived() && request.method.changes() {
                        return Err(tried.unreached(true));
                    }
                }
            }
        }
        otherwise.ok_or_else(|| tried.unreached(false))
    }

    async fn watch(
        &self,
        path: String,
        within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        let (mut tried, mut otherwise) = (Tried::default(), None);
        for end in self.in_order() {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let opened = end.watch(&path, WATCH_OPENS_WITHIN.min(within), within).await;
            let answer = match opened {
                Ok(Ok(lines)) => {
                    end.answered();
                    return Ok(Ok(lines.boxed()));
                }
                Ok(Err(answer)) => answer,
                Err(failure) => {
                    end.rest();
                    tried.note(end, failure.why());
                    continue;
                }
            };
            let ask = Request { method: Method::Get, path: path.clone(), body: None, within };
            match self.judge(end, &ask, answer).await {
                Said::Final(answer) => return Ok(Err(answer)),
                Said::Next(why) => {
                    end.rest();
                    tried.note(end, &why);
                }
                Said::NextOr(why, answer) => {
                    tried.note(end, &why);
                    otherwise = otherwise.or(Some(answer));
                }
            }
        }
        otherwise.map(Err).ok_or_else(|| tried.unreached(false))
    }

    fn clock_ahead_s(&self) -> Option<i64> {
        self.ends.iter().filter_map(End::clock_ahead_s).max_by_key(|ahead| ahead.unsigned_abs())
    }

    async fn through_each(&self, path: &str, within: Duration) -> Vec<(String, Result<Answer, String>)> {
        let answers = self.each(path, within).await;
        answers.into_iter().map(|(endpoint, answer)| (endpoint.to_string(), answer)).collect()
    }
}
