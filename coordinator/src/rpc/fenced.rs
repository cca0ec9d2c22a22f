//! In front of the operators' service while agents obey somebody else: what only reads is answered and says so
//! beside the answer; everything else is refused with what happened and the command that goes on.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use drydock_proto::operator::operator_service_server::SERVICE_NAME;
use http::{HeaderValue, Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::fencing::Fencing;

/// The header of an answer in which a notice stands, percent-encoded.
pub const NOTICE: &str = "drydock-notice";

/// Calls that change nothing, those that say what a node is to us (a machine whose word is not to count is
/// retired), and the one that decides. Any other, also one that is new, is refused.
const ANSWERED: [&str; 20] = [
    "Info",
    "ListTokens",
    "ListNodes",
    "ShowNode",
    "WhyNode",
    "CheckNode",
    "NodeLive",
    "NodeVersions",
    "ShowFleet",
    "ListClusters",
    "TestCluster",
    "CheckCluster",
    "StandNode",
    "ListArtifacts",
    "ListRuns",
    "ShowRun",
    "WatchRun",
    "DrainLeft",
    "Audit",
    "TakeOver",
];

/// A service behind the fence.
#[derive(Debug, Clone)]
pub struct Fenced<S> {
    inner: S,
    fencing: Arc<Fencing>,
}

impl<S> Fenced<S> {
    /// Puts the fence in front.
    pub const fn over(inner: S, fencing: Arc<Fencing>) -> Self {
        Self { inner, fencing }
    }
}

impl<S: NamedService> NamedService for Fenced<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let notice = self.fencing.notice();
        if notice.is_empty() {
            return Box::pin(self.inner.call(request));
        }
        if !is_answered(request.uri().path()) {
            return Box::pin(std::future::ready(Ok(Status::failed_precondition(notice).into_http())));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            if let Ok(value) = HeaderValue::from_str(&encoded(&notice)) {
                answer.headers_mut().insert(NOTICE, value);
            }
            Ok(answer)
        })
    }
}

fn is_answered(path: &str) -> bool {
    let call = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME)?.strip_prefix('/'));
    call.is_some_and(|call| ANSWERED.contains(&call))
}

/// As in a URL: names of nodes are plain, and nothing else in it is anybody's but ours.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%' || byte == b' ';
    let each = text.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_answered_behind_the_fence() {
        let path = |call: &str| format!("/{SERVICE_NAME}/{call}");
        for call in ANSWERED {
            assert!(is_answered(&path(call)), "{call}");
        }
        for call in
            ["StartRun", "ControlRun", "CreateToken", "LabelNode", "FreezeFleet", "Plan", "SomethingNew", ""]
        {
            assert!(!is_answered(&path(call)), "{call}");
        }
        assert!(!is_answered("/other.Service/ListRuns"));
    }

    #[test]
    fn a_notice_is_one_header_whatever_stands_in_it() {
        assert_eq!(encoded("a 100% é\n"), "a 100%25 %C3%A9%0A");
    }
}
