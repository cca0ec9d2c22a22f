//! Reads every acknowledged key back from every member.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::acks::{Ack, Unknown, unknown_path};
use crate::lines;
use crate::member::{Member, hex};
use crate::pb;

/// Keys fetched by one range call.
const PAGE_KEYS: i64 = 1000;
/// Damaged keys named one by one in the report; the rest is only counted.
const NAMED_AT_MOST: usize = 20;

/// What one member holds of the acknowledged keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// The member's id in hex.
    pub member_id: String,
    /// Keys present with the acknowledged value, written exactly once.
    pub intact: u64,
    /// Keys that are not there.
    pub missing: u64,
    /// Keys with another value, or written more than once.
    pub different: u64,
    /// Keys never acknowledged that were written nevertheless (allowed).
    pub unknown_but_written: u64,
    /// Some of the missing and different keys.
    pub examples: Vec<String>,
}

/// What all members hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Keys that were acknowledged.
    pub acknowledged: u64,
    /// Keys whose writes ended without an answer.
    pub unknown: u64,
    /// The longest time between two acknowledgements, in milliseconds.
    pub longest_ack_gap_ms: u64,
    /// By endpoint.
    pub members: BTreeMap<String, MemberReport>,
}

impl Report {
    /// Nothing lost, nothing changed, on no member.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.acknowledged > 0
            && !self.members.is_empty()
            && self.members.values().all(|member| {
                member.missing == 0 && member.different == 0 && member.intact == self.acknowledged
            })
    }
}

/// Compares the recorded acknowledgements with what each member holds.
///
/// # Errors
/// When the record is empty or damaged, a member does not answer, or the endpoints are not
/// exactly the cluster's members. Lost keys are no error here: see [`Report::is_intact`].
pub async fn run(endpoints: &[String], acks: &Path, deadline: Duration) -> Result<Report> {
    let acked: Vec<Ack> = lines::read_all(acks)?;
    ensure!(
        !acked.is_empty(),
        "{} holds no acknowledged key: nothing was written, so nothing is proved",
        acks.display()
    );
    let unknown_file = unknown_path(acks);
    let unknown: Vec<Unknown> =
        if unknown_file.exists() { lines::read_all(&unknown_file)? } else { Vec::new() };
    let prefixes: BTreeSet<&str> = acked.iter().map(|ack| client_prefix(&ack.key)).collect();
    let mut members = BTreeMap::new();
    for member in Member::all(endpoints, deadline)? {
        let held = read_back(&member, &prefixes, deadline)
            .await
            .with_context(|| format!("cannot read back from {}", member.name()))?;
        let report = compare(held, &acked, &unknown);
        members.insert(member.name().to_owned(), report);
    }
    check_complete(endpoints, &members, deadline).await?;
    Ok(Report {
        acknowledged: count(acked.len()),
        unknown: count(unknown.len()),
        longest_ack_gap_ms: longest_gap_ms(&acked),
        members,
    })
}

struct Held {
    member_id: u64,
    keys: BTreeMap<Vec<u8>, pb::KeyValue>,
}

/// `PREFIX/RUN/CLIENT/` of `PREFIX/RUN/CLIENT/NUMBER`.
fn client_prefix(key: &str) -> &str {
    key.rfind('/').map_or(key, |slash| &key[..=slash])
}

async fn read_back(member: &Member, prefixes: &BTreeSet<&str>, deadline: Duration) -> Result<Held> {
    // A linearizable read returns only after this member has applied all that was committed:
    // afterwards its own (serializable) answers are up to date.
    let caught_up = member
        .range(
            pb::RangeRequest { key: b"drydock-witness".to_vec(), limit: 1, ..pb::RangeRequest::default() },
            deadline,
        )
        .await
        .context("the linearizable read that brings it up to date failed")?;
    let member_id = caught_up.header.map_or(0, |header| header.member_id);
    let mut keys = BTreeMap::new();
    for prefix in prefixes {
        read_prefix(member, prefix, deadline, &mut keys).await?;
    }
    Ok(Held { member_id, keys })
}

async fn read_prefix(
    member: &Member,
    prefix: &str,
    deadline: Duration,
    keys: &mut BTreeMap<Vec<u8>, pb::KeyValue>,
) -> Result<()> {
    let mut from = prefix.as_bytes().to_vec();
    // '/' + 1 = '0': the first key after all those under the prefix.
    let mut until = from.clone();
    if let Some(last) = until.last_mut() {
        *last += 1;
    }
    loop {
        let page = member
            .range(
                pb::RangeRequest {
                    key: from.clone(),
                    range_end: until.clone(),
                    limit: PAGE_KEYS,
                    serializable: true,
                    ..pb::RangeRequest::default()
                },
                deadline,
            )
            .await?;
        let more = page.more;
        for pair in page.kvs {
            from = pair.key.clone();
            from.push(0);
            keys.insert(pair.key.clone(), pair);
        }
        if !more {
            return Ok(());
        }
    }
}

fn compare(held: Held, acked: &[Ack], unknown: &[Unknown]) -> MemberReport {
    let mut report = MemberReport { member_id: hex(held.member_id), ..MemberReport::default() };
    for ack in acked {
        let complaint = match held.keys.get(ack.key.as_bytes()) {
            None => {
                report.missing += 1;
                "missing"
            }
            // The version counts writes of a key; each is written once.
            Some(pair) if pair.value != ack.value.as_bytes() || pair.version != 1 => {
                report.different += 1;
                "different"
            }
            Some(_) => {
                report.intact += 1;
                continue;
            }
        };
        if report.examples.len() < NAMED_AT_MOST {
            report.examples.push(format!("{complaint}: {}", ack.key));
        }
    }
    report.unknown_but_written =
        count(unknown.iter().filter(|lost| held.keys.contains_key(lost.key.as_bytes())).count());
    report
}

/// "Every member" must mean every member: two endpoints of one, or a forgotten one, prove less.
async fn check_complete(
    endpoints: &[String],
    members: &BTreeMap<String, MemberReport>,
    deadline: Duration,
) -> Result<()> {
    let Some(first) = endpoints.first() else {
        bail!("no endpoints; name every member");
    };
    let listed: BTreeSet<String> = Member::new(first, deadline)?
        .list(deadline)
        .await
        .with_context(|| format!("cannot ask {first} for the cluster's members"))?
        .members
        .iter()
        .map(|member| hex(member.id))
        .collect();
    let read: BTreeSet<String> = members.values().map(|member| member.member_id.clone()).collect();
    ensure!(
        listed == read && read.len() == endpoints.len(),
        "the cluster's members are {listed:?}, but the endpoints lead to {read:?}; \
         name one endpoint of each member"
    );
    Ok(())
}

fn longest_gap_ms(acked: &[Ack]) -> u64 {
    let mut times: Vec<u64> = acked.iter().map(|ack| ack.acked_unix_ms).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(key: &str) -> Ack {
        Ack { key: key.to_owned(), value: "v".to_owned(), acked_unix_ms: 1 }
    }

    fn pair(key: &str, value: &str, version: i64) -> (Vec<u8>, pb::KeyValue) {
        let pair = pb::KeyValue { key: key.into(), value: value.into(), version, ..pb::KeyValue::default() };
        (key.into(), pair)
    }

    #[test]
    fn a_missing_a_changed_and_a_twice_written_key_are_each_found() {
        let held = Held {
            member_id: 10,
            keys: BTreeMap::from([pair("a", "v", 1), pair("b", "w", 1), pair("c", "v", 2)]),
        };
        let acked = [ack("a"), ack("b"), ack("c"), ack("d")];
        let report = compare(held, &acked, &[]);
        assert_eq!((report.intact, report.missing, report.different), (1, 1, 2));
        assert_eq!(report.examples.len(), 3);
        assert_eq!(report.member_id, "a");
    }

    #[test]
    fn nothing_acknowledged_is_never_intact() {
        let report = Report {
            acknowledged: 0,
            unknown: 0,
            longest_ack_gap_ms: 0,
            members: BTreeMap::from([("m".to_owned(), MemberReport::default())]),
        };
        assert!(!report.is_intact());
    }
}
