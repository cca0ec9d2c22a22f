//! The agent's disk: the journal's own disk for tests, with time, deaths and a witness to what is durable.

use std::{io, time::Duration};

use async_trait::async_trait;
use drydock_agent::journal::{JournalDisk, memory::MemoryDisk};
use drydock_types::{EffectId, Epoch, Fence, InstanceId};
use tokio::time::sleep;

use crate::{
    faults::Kind,
    shared::{Life, Shared},
};

/// What a record says that the rules ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Accepted(EffectId),
    Begun(EffectId, u32),
    Done(EffectId, u32),
    Ended(EffectId),
    Obeyed(Fence),
}

/// The disk as one life of an agent uses it.
pub(crate) struct SimDisk {
    disk: MemoryDisk,
    life: Life,
    shared: Shared,
    /// Written and not known to be on the disk.
    waiting: Vec<Fact>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SimDisk").field("life", &self.life).finish_non_exhaustive()
    }
}

impl SimDisk {
    pub(crate) fn new(disk: MemoryDisk, life: Life, shared: Shared) -> Self {
        Self { disk, life, shared, waiting: Vec::new() }
    }

    async fn takes_time(&self, durable: bool) {
        let ms = {
            let mut inner = self.shared.lock();
            if inner.dice.chance(30) {
                inner.dice.between(5, 40)
            } else {
                u64::from(durable && inner.dice.chance(300))
            }
        };
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
    }

    fn is_durable(&mut self) {
        let now_ms = self.shared.now_ms();
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        let host = self.life.host;
        for fact in self.waiting.drain(..) {
            match fact {
                Fact::Accepted(effect) => {
                    if inner.rules.journals[host].accepted.insert(effect) {
                        inner.rules.accepted(&inner.ground, host, effect, now_ms);
                    }
                }
                Fact::Begun(effect, index) => {
                    inner.rules.journals[host].begun.insert((effect, index));
                }
                Fact::Done(effect, index) => {
                    inner.rules.journals[host].done.insert((effect, index));
                }
                Fact::Ended(effect) => {
                    inner.rules.journals[host].ended.insert(effect);
                }
                Fact::Obeyed(fence) => inner.rules.obeyed(&inner.ground, host, fence, now_ms),
            }
        }
    }
}

/// Reads what the journal's records say, without the journal's own code.
fn facts(bytes: &[u8]) -> Vec<Fact> {
    let mut found = Vec::new();
    let mut rest = bytes;
    // A record's JSON begins behind its frame; inside of texts quotes are escaped, so this is never one.
    while let Some(at) = find(rest, b"{\"") {
        rest = &rest[at..];
        if let Some(effect) = after(rest, b"{\"accepted\":{\"effect\":\"").and_then(effect) {
            found.push(Fact::Accepted(effect));
        } else if let Some((effect, index)) = after(rest, b"{\"stepBegun\":{\"effect\":\"").and_then(step) {
            found.push(Fact::Begun(effect, index));
        } else if let Some((effect, index)) = after(rest, b"{\"stepDone\":{\"effect\":\"").and_then(step) {
            found.push(Fact::Done(effect, index));
        } else if let Some(effect) = after(rest, b"{\"ended\":{\"effect\":\"").and_then(effect) {
            found.push(Fact::Ended(effect));
        } else if let Some(text) = after(rest, b"{\"fenceSeen\":{\"fence\":{\"epoch\":") {
            let epoch = Epoch(number(text));
            if let Some(at) = find(text, b"\"instance\":\"")
                && let Ok(hex) = std::str::from_utf8(&text[at + 12..(at + 44).min(text.len())])
                && let Ok(instance) = InstanceId::parse(hex)
            {
                found.push(Fact::Obeyed(Fence { epoch, instance }));
            }
        }
        rest = &rest[2..];
    }
    found
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn after<'a>(bytes: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    bytes.strip_prefix(what)
}

fn effect(bytes: &[u8]) -> Option<EffectId> {
    EffectId::parse(std::str::from_utf8(bytes.get(..64)?).ok()?).ok()
}

/// Of which effect, and which of its steps.
fn step(bytes: &[u8]) -> Option<(EffectId, u32)> {
    let index = after(bytes.get(64..)?, b"\",\"index\":").map(number)?;
    Some((effect(bytes)?, u32::try_from(index).unwrap_or(u32::MAX)))
}

fn number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// What lies on a disk, told to the rules again: after a crash, a loss or a restore it is what the agent knows.
pub(crate) fn look_again(disk: &MemoryDisk, host: usize, shared: &Shared) {
    let mut bytes = Vec::new();
    disk.edit(|content| bytes.clone_from(content));
    let mut inner = shared.lock();
    let truth = &mut inner.rules.journals[host];
    *truth = crate::rules::JournalTruth::default();
    for fact in facts(&bytes) {
        match fact {
            Fact::Accepted(effect) => drop(truth.accepted.insert(effect)),
            Fact::Begun(effect, index) => drop(truth.begun.insert((effect, index))),
            Fact::Done(effect, index) => drop(truth.done.insert((effect, index))),
            Fact::Ended(effect) => drop(truth.ended.insert(effect)),
            Fact::Obeyed(fence) => truth.fence = Some(fence),
        }
    }
}

#[async_trait]
impl JournalDisk for SimDisk {
    fn length(&self) -> u64 {
        self.disk.length()
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.disk.read(offset, length)
    }

    async fn append(&mut self, bytes: Vec<u8>, durable: bool) -> io::Result<()> {
        self.shared.point(self.life).await;
        self.takes_time(durable).await;
        let facts = facts(&bytes);
        // Killed with the bytes written and not synced, or synced and not told.
        self.disk.append(bytes, false).await?;
        self.waiting.extend(facts);
        self.shared.point(self.life).await;
        if durable {
            self.disk.append(Vec::new(), true).await?;
            self.is_durable();
            self.shared.point(self.life).await;
        }
        Ok(())
    }

    async fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.shared.point(self.life).await;
        let stalls_ms = {
            let now_ms = self.shared.now_ms();
            let mut inner = self.shared.lock();
            if inner.happens(Kind::JournalStalls, now_ms) { inner.dice.between(1000, 12_000) } else { 0 }
        };
        if stalls_ms > 0 {
            sleep(Duration::from_millis(stalls_ms)).await;
        }
        self.disk.reserve(bytes).await
    }

    async fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.shared.point(self.life).await;
        self.disk.truncate(length).await
    }

    async fn replace(&mut self, contents: Vec<u8>) -> io::Result<()> {
        self.shared.point(self.life).await;
        self.takes_time(true).await;
        self.disk.replace(contents).await?;
        self.shared.point(self.life).await;
        Ok(())
    }
}
