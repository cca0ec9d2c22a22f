//! Unary calls to the coordinator from within actions: whatever connection there is at the moment.

use std::time::Duration;

use drydock_proto::agent::agent_service_client::AgentServiceClient;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tonic::transport::Channel;

/// Handed to actions; follows the link's connection as it comes and goes.
#[derive(Debug, Clone)]
pub struct Remote {
    channel: watch::Receiver<Option<Channel>>,
    heard: watch::Receiver<Option<Instant>>,
}

/// The link's end: publishes the connection that actions may use.
#[derive(Debug)]
pub struct RemoteSender {
    channel: watch::Sender<Option<Channel>>,
    heard: watch::Sender<Option<Instant>>,
}

/// No connection came within the time that was given.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the coordinator within {0:?}; is it up, and can this node reach it?")]
pub struct NotConnected(Duration);

/// A pair: nothing is connected yet.
#[must_use]
pub fn remote() -> (RemoteSender, Remote) {
    let (sender, channel) = watch::channel(None);
    let (hears, heard) = watch::channel(None);
    (RemoteSender { channel: sender, heard: hears }, Remote { channel, heard })
}

impl RemoteSender {
    /// From now on calls use this connection; `None` when it is gone.
    pub fn publish(&self, channel: Option<Channel>) {
        self.channel.send_replace(channel);
    }

    /// The coordinator has just said something.
    pub fn hear(&self) {
        self.heard.send_replace(Some(Instant::now()));
    }
}

impl Remote {
    /// Has the coordinator said anything since then?
    #[must_use]
    pub fn heard_since(&self, then: Instant) -> bool {
        self.heard.borrow().is_some_and(|heard| heard >= then)
    }

    /// A client over the present connection; waits for one until the deadline.
    ///
    /// # Errors
    /// [`NotConnected`] when there is none within `deadline`.
    pub async fn client(&self, deadline: Duration) -> Result<AgentServiceClient<Channel>, NotConnected> {
        let mut channel = self.channel.clone();
        let ready = timeout(deadline, channel.wait_for(Option::is_some)).await;
        let ready = ready.ok().and_then(Result::ok).and_then(|present| present.clone());
        let ready = ready.ok_or(NotConnected(deadline))?;
        Ok(AgentServiceClient::new(ready).max_decoding_message_size(drydock_proto::limits::MAX_MESSAGE_BYTES))
    }
}
