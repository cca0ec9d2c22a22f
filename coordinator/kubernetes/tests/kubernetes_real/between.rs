//! Somebody between a drain and its client: requests pass through unchanged and are noted, and the test may do something
//! right before one of them is sent. What a server says to that is the server's own word.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use drydock_kubernetes::{
    api::{Answer, Api, Line, Method, Request, Unreached},
    client::Client,
};
use drydock_test_cluster::cluster::SOON;
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::sync::{oneshot, watch};

/// A request that passed.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) method: Method,
    /// Without its query.
    pub(super) path: String,
    /// HTTP's; `None` where nobody answered.
    pub(super) status: Option<u16>,
}

/// A request that is held, until this is sent or dropped.
pub(super) type GoOn = oneshot::Sender<()>;

struct Hold {
    path: String,
    caught: oneshot::Sender<GoOn>,
}

pub(super) struct Between<'a> {
    client: &'a Client,
    passed: watch::Sender<Vec<Passed>>,
    hold: Mutex<Option<Hold>>,
    /// Do watches tell what they hear?
    hears: watch::Sender<bool>,
}

impl<'a> Between<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        Self {
            client,
            passed: watch::Sender::default(),
            hold: Mutex::default(),
            hears: watch::Sender::new(true),
        }
    }

    /// The next eviction whose path ends so is held right before it leaves.
    pub(super) fn hold_eviction(&self, ends: &str) -> oneshot::Receiver<GoOn> {
        let (caught, held) = oneshot::channel();
        *self.hold.lock().unwrap() = Some(Hold { path: format!("{ends}/eviction"), caught });
        held
    }

    /// While this is on, watches are late, as they are on a server that is busy: what they heard comes when it is off.
    pub(super) fn watches_are_late(&self, late: bool) {
        self.hears.send_replace(!late);
    }

    pub(super) fn passed(&self) -> Vec<Passed> {
        self.passed.borrow().clone()
    }

    /// Until the server has answered so.
    pub(super) async fn until_answered(&self, status: u16) {
        let mut passed = self.passed.subscribe();
        let is = |passed: &Vec<Passed>| passed.iter().any(|one| one.status == Some(status));
        let answered = tokio::time::timeout(SOON, passed.wait_for(is)).await;
        drop(answered.unwrap_or_else(|_| panic!("nothing was answered {status}: {:?}", self.passed())));
    }

    fn caught(&self, request: &Request) -> Option<Hold> {
        let mut hold = self.hold.lock().unwrap();
        let is = |hold: &mut Hold| request.method == Method::Post && request.path.ends_with(&hold.path);
        hold.take_if(is)
    }
}

#[async_trait]
impl Api for Between<'_> {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        if let Some(hold) = self.caught(&request) {
            let (go_on, held) = oneshot::channel();
            if hold.caught.send(go_on).is_ok() {
                // Dropped is as good as sent.
                drop(held.await);
            }
        }
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        let method = request.method;
        let answer = self.client.call(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status);
        self.passed.send_modify(|passed| passed.push(Passed { method, path, status }));
        answer
    }

    async fn watch(
        &self,
        path: String,
        within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        let hears = self.hears.subscribe();
        let opened = self.client.watch(path, within).await?;
        Ok(opened.map(|lines| {
            let told = lines.then(move |line| {
                let mut hears = hears.clone();
                async move {
                    // It fails where the test is over.
                    drop(hears.wait_for(|hears| *hears).await);
                    line
                }
            });
            told.boxed()
        }))
    }
}
