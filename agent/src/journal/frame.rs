//! How records lie in the file.
//!
//! ```text
//! header   magic 16 | journal id 16 | records written before this file: u64 | checksum 8
//! record   length u32 | number u64 | durable u64 | checksum 8 | JSON
//! ```
//!
//! Numbers are big-endian. A record's `durable` says how many records were known to be on the disk when it
//! was written. After a loss of power the pages behind the last fsync may be there in part and in any order,
//! so a damaged record with sound ones behind it is not yet corruption. It is, when one of those says that
//! the damaged one had been on the disk.

use std::io;

use drydock_types::{JournalId, Sha256};

use super::disk::JournalDisk;

/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 48;
/// Bytes before a record's JSON.
pub(super) const FRAME_BYTES: usize = 28;
/// The longest JSON of one record.
pub(super) const MAX_RECORD_BYTES: usize = 1 << 20;
const MAGIC: &[u8; 16] = b"drydock-journal1";
/// How far ahead a record's number may be when sound records are looked for behind a damaged one.
const MAX_SKIP: u64 = 1 << 20;

/// The beginning of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: JournalId,
    /// Records that were ever written before this file's first one.
    pub(super) base: u64,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&self.base.to_be_bytes());
        let sum = checksum(&[&bytes]);
        bytes.extend_from_slice(&sum);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (Some(magic), Some(id), Some(base), Some(sum)) =
            (array::<16>(bytes, 0), array::<16>(bytes, 16), array::<8>(bytes, 32), array::<8>(bytes, 40))
        else {
            return Err("it is shorter than a journal's header");
        };
        if &magic != MAGIC {
            return Err("it does not begin as a journal of this version does");
        }
        if checksum(&[&bytes[..40]]) != sum {
            return Err("its header's checksum is wrong");
        }
        Ok(Self { id: JournalId(id), base: u64::from_be_bytes(base) })
    }
}

/// One record's bytes.
pub(super) fn encode(number: u64, durable: u64, json: &[u8], out: &mut Vec<u8>) {
    debug_assert!(json.len() <= MAX_RECORD_BYTES, "records are bounded before they are framed");
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut head = [0; 20];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4..12].copy_from_slice(&number.to_be_bytes());
    head[12..].copy_from_slice(&durable.to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&checksum(&[&head, json]));
    out.extend_from_slice(json);
}

/// What lies at an offset.
pub(super) enum Found {
    /// A sound record.
    Record { durable: u64, json: Vec<u8> },
    /// Nothing any more.
    End,
    /// Something else.
    Damaged,
}

/// Reads the record with this number at this offset.
pub(super) fn read(disk: &dyn JournalDisk, at: u64, number: u64) -> io::Result<Found> {
    if at == disk.length() {
        return Ok(Found::End);
    }
    let head = disk.read(at, FRAME_BYTES)?;
    let Some((length, found, durable)) = plausible(&head) else {
        return Ok(Found::Damaged);
    };
    if found != number {
        return Ok(Found::Damaged);
    }
    let json = disk.read(at + FRAME_BYTES as u64, length)?;
    if json.len() != length || checksum(&[&head[..20], &json])[..] != head[20..FRAME_BYTES] {
        return Ok(Found::Damaged);
    }
    Ok(Found::Record { durable, json })
}

/// Is there a sound record behind `at` that knew record `number` to be on the disk?
pub(super) fn was_durable(disk: &dyn JournalDisk, at: u64, number: u64) -> io::Result<bool> {
    const WINDOW: usize = 64 << 10;
    let mut from = at + 1;
    while from < disk.length() {
        let window = disk.read(from, WINDOW + FRAME_BYTES)?;
        let starts = window.len().saturating_sub(FRAME_BYTES - 1).min(WINDOW);
        for start in 0..starts {
            let Some((_, found, durable)) = plausible(&window[start..]) else { continue };
            let near = found > number && found - number <= MAX_SKIP;
            if near
                && durable > number
                && matches!(read(disk, from + start as u64, found)?, Found::Record { .. })
            {
                return Ok(true);
            }
        }
        from += WINDOW as u64;
    }
    Ok(false)
}

/// Length, number and `durable`, when these bytes may begin a record.
fn plausible(head: &[u8]) -> Option<(usize, u64, u64)> {
    let length = u32::from_be_bytes(array(head, 0)?) as usize;
    let number = u64::from_be_bytes(array(head, 4)?);
    let durable = u64::from_be_bytes(array(head, 12)?);
    (head.len() >= FRAME_BYTES && length <= MAX_RECORD_BYTES && length > 0 && durable <= number)
        .then_some((length, number, durable))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn checksum(parts: &[&[u8]]) -> [u8; 8] {
    let digest = Sha256::of_parts(parts).0;
    let mut sum = [0; 8];
    sum.copy_from_slice(&digest[..8]);
    sum
}
