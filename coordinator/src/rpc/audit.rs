//! The record as it is handed out to be judged: first what agents keep of it, asked anew and signed over the
//! asker's nonce, then the events, page by page beside the driver.
//!
//! Agents are asked first: what they were told of before is then surely among what is read after.

use std::{sync::Arc, time::Duration};

use drydock_proto::{operator::Document, tls::key::certificate_to_pem};
use drydock_types::{NodeKey, NodeName, Sha256, document, probe::Observation, probe::Probe, signed::Proof};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tonic::Status;

use super::App;
use crate::{
    audit::lines::{Begin, HeadLine, Line, Silent, UnreadableLine, VERSION},
    driver::clock::wall_ms,
    heard,
    store::{EventRow, StoreError, chain_start, registry::Registry},
};

/// How long an agent may take to say what it keeps.
const ASK: Duration = Duration::from_secs(5);
/// Events that are read at once.
const PAGE: u32 = 200;
/// About how many bytes of lines go into one message.
const MESSAGE_BYTES: usize = 256 << 10;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// 0: the whole record.
    pub(super) run: u64,
    pub(super) nonce: Sha256,
}

type Lines = mpsc::Sender<Result<Document, Status>>;

/// Sends everything, and ends early when nobody listens any more.
pub(super) async fn send(app: Arc<App>, asked: Asked, lines: Lines) {
    let mut out = Out { lines, batch: Vec::new(), bytes: 0 };
    if let Err(status) = tell(&app, asked, &mut out).await {
        let _ = out.lines.send(Err(status)).await;
    }
}

async fn tell(app: &Arc<App>, asked: Asked, out: &mut Out) -> Result<(), Status> {
    let only = (asked.run > 0).then_some(asked.run);
    let heads = heads(app, asked.nonce).await?;
    let begin = app.blocking(move |app| begin(app, only, asked.nonce)).await?;
    let begin = begin.ok_or_else(|| {
        Status::not_found(format!("there is no run {}; `drydock run list` shows them", asked.run))
    })?;
    let mut after = begin.after;
    out.add(Line::Begin(begin)).await?;
    for line in heads {
        out.add(line).await?;
    }
    let mut behind = false;
    loop {
        let read = move |registry: &Registry| -> Result<_, StoreError> {
            Ok((page(registry, after, only)?, registry.record_end()?))
        };
        let (page, end) = app.blocking(move |app| read(&app.registry)).await?;
        let empty = page.lines.is_empty();
        after = page.last;
        for line in page.lines {
            out.add(line).await?;
        }
        // Nothing more, and the store says that there is: looked at once more, for what was committed between
        // the two readings.
        if empty && (end.seq <= after || behind) {
            out.add(Line::End(end.into())).await?;
            return out.flush().await;
        }
        behind = empty;
    }
}

/// Lines on their way, several in a message.
struct Out {
    lines: Lines,
    batch: Vec<u8>,
    bytes: usize,
}

impl Out {
    async fn add(&mut self, line: Line) -> Result<(), Status> {
        let encoded = document::encode(&line);
        self.batch.push(if self.batch.is_empty() { b'[' } else { b',' });
        self.batch.extend_from_slice(&encoded);
        self.bytes += encoded.len();
        if self.bytes >= MESSAGE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Status> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut json = std::mem::take(&mut self.batch);
        json.push(b']');
        self.bytes = 0;
        let gone = |_| Status::cancelled("nobody listens");
        self.lines.send(Ok(Document { json })).await.map_err(gone)
    }
}

fn begin(app: &App, only: Option<u64>, nonce: Sha256) -> Result<Option<Begin>, StoreError> {
    let fleet = app.ca.fleet();
    let after = match only {
        None => 0,
        Some(run) => match app.registry.events_of(run)? {
            Some((first, _)) => first.saturating_sub(1),
            None => return Ok(None),
        },
    };
    let after_hash = match after {
        0 => chain_start(fleet),
        // An event that is not there any more leaves a hash that nothing follows on.
        after => app.registry.event_hash(after)?.unwrap_or(Sha256([0; 32])),
    };
    Ok(Some(Begin {
        version: VERSION,
        fleet,
        ca: certificate_to_pem(app.ca.certificate()),
        run: only,
        after,
        after_hash,
        nonce,
        wall_ms: wall_ms(),
        epoch: app.sessions.fence().epoch,
        drydock: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

/// What every enrolled node's agent keeps, or why it did not say.
async fn heads(app: &Arc<App>, nonce: Sha256) -> Result<Vec<Line>, Status> {
    let enrolled = app.blocking(|app| app.registry.nodes()).await?;
    let present = app.sessions.present();
    let asked = enrolled.into_iter().map(|row| {
        let shown = present.iter().find(|(node, key, _)| *node == row.name && *key == row.key);
        let certificate = shown.map(|(_, _, shown)| certificate_to_pem(&shown.0));
        ask(app, row.name, row.key, certificate, nonce)
    });
    Ok(join_all(asked).await)
}

async fn ask(app: &App, node: NodeName, key: NodeKey, certificate: Option<String>, nonce: Sha256) -> Line {
    let silent = |why: String| Line::Silent(Silent { node: node.clone(), key, why });
    let Some(certificate) = certificate else { return silent("its agent's stream is not open".to_owned()) };
    match app.sessions.observe(&node, &Probe::Record { nonce }, ASK).await {
        Ok(Observation::Record(view)) => {
            Line::Head(HeadLine { node, certificate, statement: view.statement, signature: view.signature })
        }
        Ok(_) => silent("its agent answered another question".to_owned()),
        Err(why) => silent(heard::text(&why)),
    }
}

/// Some events, with what they name.
struct Page {
    lines: Vec<Line>,
    last: u64,
}

fn page(registry: &Registry, after: u64, only: Option<u64>) -> Result<Page, StoreError> {
    let (mut lines, mut last) = (Vec::new(), after);
    let rows = registry.record(after, PAGE)?;
    for row in rows {
        match row {
            Ok(row) => {
                last = row.seq;
                if only.is_none_or(|only| only == row.run) {
                    documents(registry, &row, &mut lines)?;
                }
                lines.push(Line::of_event(row, only));
            }
            Err(row) => {
                last = u64::try_from(row.seq).unwrap_or(last).max(last);
                lines.push(Line::Unreadable(UnreadableLine { seq: row.seq, why: row.why }));
            }
        }
    }
    Ok(Page { lines, last })
}

/// What an event names by its digest, as far as it is there and is text.
fn documents(registry: &Registry, row: &EventRow, lines: &mut Vec<Line>) -> Result<(), StoreError> {
    #[derive(serde::Deserialize)]
    struct Named {
        proof: Option<Proof>,
    }
    let Ok(Named { proof: Some(proof) }) = serde_json::from_slice(&row.event) else { return Ok(()) };
    for digest in [proof.outcome, proof.certificate] {
        let text = registry.document(digest)?.and_then(|bytes| String::from_utf8(bytes).ok());
        lines.extend(text.map(Line::Document));
    }
    Ok(())
}
