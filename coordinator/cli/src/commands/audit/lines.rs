//! The record's lines on their way from the coordinator.

use drydock_coordinator::audit::{self, Line, Trusted};
use drydock_proto::operator::{AuditRequest, Document};
use tonic::Streaming;

use crate::{
    client::{self, Client},
    commands::Ask,
    contexts::Contexts,
    error::CliError,
};

/// A record that is being handed out, and what this machine knows by itself to judge it by.
pub(super) struct Record {
    client: Client,
    stream: Streaming<Document>,
    pub(super) trusted: Trusted,
}

/// Asks for a run's record, or for all of it (0).
pub(super) async fn ask(run: u64, ask: &Ask) -> Result<Record, CliError> {
    let ca = Contexts::of(&ask.global)?.pick(ask.global.context.as_deref())?.ca()?;
    let nonce = audit::nonce().map_err(|why| CliError::failed(why.to_string()))?;
    let client = client::connect(&ask.global).await?;
    let opened = client.audit(AuditRequest { run, nonce: nonce.0.to_vec() }).await;
    let stream = opened.map_err(|status| client.error(&status))?;
    let trusted = Trusted { ca: Some(ca), pin: None, nonce: Some(nonce) };
    Ok(Record { client, stream, trusted })
}

impl Record {
    /// The next lines; `None` when there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Line>>, CliError> {
        let message = self.stream.message().await.map_err(|status| self.client.error(&status))?;
        message.map(|document| client::read("part of the record", &document)).transpose()
    }
}
