//! A watch that goes on: over its end, a gap, a dead endpoint. Whoever reads it sees each change once, in order, or is
//! told that it must list anew.

use std::time::Duration;

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde::de::DeserializeOwned;

use crate::{
    answer::{self, Refusal},
    api::{Api, Line},
    drain::ask::Fault,
    objects::{Budget, Change, Meta, Pod},
};

/// How long one watch is read before it is opened anew. What a dead connection had to say is heard after that.
const WITHIN: Duration = Duration::from_secs(60);
/// The pause before it is opened anew after a failure: doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// So often a missing right is asked for again: a server that starts says so for a moment.
const DENIALS: u32 = 5;

/// Something with metadata.
pub(super) trait Object: DeserializeOwned + Send {
    fn meta(&self) -> &Meta;
}

impl Object for Pod {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Object for Budget {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What a watch brings.
#[derive(Debug)]
pub(super) enum Seen<T> {
    /// It is there now, like this.
    Is(T),
    /// It went.
    Went(T),
    /// Changes were missed: list anew. The last that comes.
    Expired,
    /// It is interrupted; it goes on by itself.
    Trouble(String),
    /// It goes on.
    Well,
    /// It is not allowed. The last that comes.
    Denied(Refusal),
}

struct Watch<'a> {
    api: &'a dyn Api,
    path: String,
    version: String,
    open: Option<BoxStream<'static, Line>>,
    pause: Duration,
    waits: bool,
    in_trouble: bool,
    denials: u32,
    over: bool,
}

/// Watches what a list's path lists, from the list's version on.
pub(super) fn watch<'a, T: Object + 'a>(
    api: &'a dyn Api,
    path: &str,
    version: &str,
) -> BoxStream<'a, Seen<T>> {
    let watch = Watch {
        api,
        path: path.to_owned(),
        version: version.to_owned(),
        open: None,
        pause: PAUSE.0,
        waits: false,
        in_trouble: false,
        denials: 0,
        over: false,
    };
    // Its state moves with it, so that a reader that looks elsewhere in between loses nothing.
    stream::unfold(watch, |mut watch| async move {
        let seen = watch.next::<T>().await?;
        Some((seen, watch))
    })
    .boxed()
}

impl Watch<'_> {
    async fn next<T: Object>(&mut self) -> Option<Seen<T>> {
        while !self.over {
            if self.waits {
                tokio::time::sleep(self.pause).await;
                self.waits = false;
                self.pause = (self.pause * 2).min(PAUSE.1);
            }
            let Some(open) = &mut self.open else {
                match self.open().await {
                    Some(seen) => return Some(seen),
                    None => continue,
                }
            };
            match open.next().await {
                None => {
                    self.open = None;
                    // One that ends at once would be asked for without a breath.
                    self.waits = true;
                }
                Some(Err(unreached)) => return Some(self.trouble(&Fault::from(unreached).to_string())),
                Some(Ok(line)) => {
                    if let Some(seen) = self.read(&line) {
                        return Some(seen);
                    }
                }
            }
        }
        None
    }

    /// Opens it. Brings what there is to say of that.
    async fn open<T>(&mut self) -> Option<Seen<T>> {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        let path = format!(
            "{}{joint}watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            self.path,
            self.version,
            WITHIN.as_secs()
        );
        let refusal = match self.api.watch(path, WITHIN).await {
            Ok(Ok(open)) => {
                self.open = Some(open);
                self.denials = 0;
                return std::mem::take(&mut self.in_trouble).then_some(Seen::Well);
            }
            Ok(Err(answer)) => answer::refusal(&answer),
            Err(unreached) => return Some(self.trouble(&Fault::from(unreached).to_string())),
        };
        match refusal {
            Refusal::Expired => Some(self.end(Seen::Expired)),
            refusal if refusal.is_of_a_ready_server_only() && self.denials < DENIALS => {
                self.denials += 1;
                Some(self.trouble(&refusal.to_string()))
            }
            refusal if refusal.is_final() => Some(self.end(Seen::Denied(refusal))),
            refusal => {
                self.pause = self.pause.max(refusal.after().unwrap_or_default());
                Some(self.trouble(&refusal.to_string()))
            }
        }
    }

    fn read<T: Object>(&mut self, line: &[u8]) -> Option<Seen<T>> {
        let Ok(change) = serde_json::from_slice::<Change<T>>(line) else {
            // What cannot be read may have been a pod: only a list tells.
            return Some(self.end(Seen::Expired));
        };
        let (object, went) = match change {
            Change::Added(object) | Change::Modified(object) => (object, false),
            Change::Deleted(object) => (object, true),
            Change::Bookmark(bookmark) => {
                self.version = bookmark.metadata.resource_version;
                self.pause = PAUSE.0;
                return None;
            }
            Change::Error(status) => {
                return Some(match answer::watch_error(status.to_string().as_bytes()) {
                    Refusal::Expired => self.end(Seen::Expired),
                    refusal => self.trouble(&refusal.to_string()),
                });
            }
        };
        self.version.clone_from(&object.meta().resource_version);
        self.pause = PAUSE.0;
        Some(if went { Seen::Went(object) } else { Seen::Is(object) })
    }

    fn trouble<T>(&mut self, why: &str) -> Seen<T> {
        self.open = None;
        self.waits = true;
        self.in_trouble = true;
        Seen::Trouble(why.to_owned())
    }

    fn end<T>(&mut self, last: Seen<T>) -> Seen<T> {
        self.over = true;
        last
    }
}
