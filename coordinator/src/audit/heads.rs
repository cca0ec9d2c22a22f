//! What agents keep of the record, beside the record itself.

use std::collections::BTreeMap;

use drydock_types::{
    FleetId, Head, NodeName, Sha256, document,
    signed::{HeadConflict, HeadStatement, Purpose, message},
};

use super::{
    lines::HeadLine,
    outcomes::Certificates,
    view::{Finding, HeadView, Kind, Standing},
};

/// An agent's word, believed.
#[derive(Debug)]
struct Told {
    node: NodeName,
    head: Option<Head>,
    /// All that it keeps, the latest too.
    all: Vec<Head>,
    conflicts: Vec<HeadConflict>,
}

/// The words of all agents that were asked, and the record's hashes at the events that they name.
#[derive(Debug, Default)]
pub(super) struct Heads {
    told: Vec<Told>,
    /// The record's hash at each event that somebody names; `None` until the walk has come by.
    at: BTreeMap<u64, Option<Sha256>>,
}

/// A coordinator that was put in the place of another, on record: from this epoch on its record is the one that
/// goes on.
#[derive(Debug, Clone)]
pub(super) struct Restored {
    pub(super) seq: u64,
    /// The first event that it wrote: what others wrote under this number and later is of the other record.
    pub(super) from_seq: u64,
    pub(super) by: String,
    pub(super) to_epoch: u64,
}

impl Heads {
    /// Takes in an agent's word.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(super) fn take(
        &mut self,
        line: &HeadLine,
        nonce: Sha256,
        fleet: FleetId,
        ca: &[u8],
        certificates: &mut Certificates,
    ) -> Result<(), String> {
        let known = certificates.judge(&line.certificate, fleet, ca);
        let known = known.map_err(|why| format!("its certificate: {why}"))?;
        if known.node != line.node {
            return Err(format!("the certificate beside it is {}'s", known.node));
        }
        let statement = line.statement.as_bytes();
        let signed = message(Purpose::Heads, fleet, known.key, &nonce.0, statement);
        known.public.verify(&signed, &line.signature).map_err(|why| why.to_string())?;
        let said: HeadStatement = document::decode("statement", statement).map_err(|why| why.to_string())?;
        if said.nonce != nonce {
            return Err("it answers another question".to_owned());
        }
        let named = said.conflicts.iter().flat_map(|conflict| [conflict.kept, conflict.told]);
        let all: Vec<Head> = said.earlier.into_iter().chain(said.head).collect();
        self.at.extend(all.iter().copied().chain(named).map(|head| (head.seq, None)));
        self.told.push(Told { node: known.node, head: said.head, all, conflicts: said.conflicts });
        Ok(())
    }

    /// The walk has come by this event.
    pub(super) fn pass(&mut self, seq: u64, hash: Sha256) {
        if let Some(at) = self.at.get_mut(&seq) {
            *at = Some(hash);
        }
    }

    /// Did anybody say what it keeps?
    pub(super) fn anchored(&self) -> bool {
        self.told.iter().any(|told| told.head.is_some())
    }

    /// Beside a record that goes from behind `after` to `last`.
    pub(super) fn judge(&self, fleet: FleetId, after: u64, last: u64, restored: &[Restored]) -> Judged {
        let mut judged = Judged::default();
        for told in &self.told {
            let standing = told.head.map_or(Standing::None, |head| self.standing(fleet, after, &head));
            let (seq, hash) = (told.head.map(|head| head.seq), told.head.map(|head| head.hash));
            let (node, epoch) = (told.node.clone(), told.head.map(|head| head.epoch));
            judged.heads.push(HeadView { node, seq, hash, epoch, standing });
            for conflict in &told.conflicts {
                self.conflict(told, conflict, restored, &mut judged);
            }
            let contradicted =
                told.all.iter().filter(|head| self.standing(fleet, after, head) == Standing::Contradicted);
            let (explained, open): (Vec<&Head>, Vec<&Head>) =
                contradicted.partition(|head| explanation(head, restored).is_some());
            if let Some(event) = explained.first().and_then(|head| explanation(head, restored)) {
                judged.remarks.push(format!(
                    "{} keeps {} that this record does not hold; event {} says why: {} put this coordinator in the place of another one",
                    told.node,
                    if explained.len() == 1 { "a head" } else { "heads" },
                    event.seq,
                    event.by
                ));
            }
            // The lowest that is not as it was: closest to what was changed; and what was cut off.
            let rewritten = open.iter().filter(|head| head.seq <= last).min_by_key(|head| head.seq);
            let gone = open.iter().filter(|head| head.seq > last).max_by_key(|head| head.seq);
            for head in rewritten.into_iter().chain(gone) {
                self.contradicted(fleet, after, last, told, head, &mut judged);
            }
        }
        judged
    }

    fn standing(&self, fleet: FleetId, after: u64, head: &Head) -> Standing {
        match self.at.get(&head.seq).copied().flatten() {
            _ if head.fleet != fleet => Standing::Contradicted,
            Some(hash) if hash == head.hash => Standing::Held,
            None if head.seq < after => Standing::Before,
            Some(_) | None => Standing::Contradicted,
        }
    }

    /// The head of an agent is not the record's.
    fn contradicted(
        &self,
        fleet: FleetId,
        after: u64,
        last: u64,
        told: &Told,
        head: &Head,
        judged: &mut Judged,
    ) {
        let node = &told.node;
        let (kind, what) = if head.seq > last {
            let gone = if head.seq == last + 1 {
                format!("event {} is gone", head.seq)
            } else {
                format!("events {} to {} are gone", last + 1, head.seq)
            };
            (
                Kind::Truncated,
                format!("{node} was told of {head}, and the record ends with event {last}: {gone}"),
            )
        } else if !self.passed(head.seq) {
            (Kind::Missing, format!("{node} was told of {head}, which is not in the record any more"))
        } else {
            let since = self.last_held_below(fleet, after, head.seq);
            let hash = self.at.get(&head.seq).copied().flatten().map(|hash| hash.short());
            let place = match since {
                Some((seq, other)) => {
                    format!("between event {} and event {} ({other} holds event {seq})", seq + 1, head.seq)
                }
                None => format!("at event {} or before it", head.seq),
            };
            let has = hash.unwrap_or_else(|| "no hash".to_owned());
            (
                Kind::Rewritten,
                format!(
                    "{node} was told of {head}, and the record has {has} there: it was rewritten {place}"
                ),
            )
        };
        judged.findings.push(Finding {
            kind,
            seq: Some(head.seq),
            node: Some(node.clone()),
            other: None,
            what,
        });
        if let Some((other, theirs)) = self.opponent(fleet, after, told, head) {
            let what = format!(
                "{node} and {other} disagree: {node} keeps {head}, {other} keeps {theirs}, and no one record holds both"
            );
            judged.findings.push(Finding {
                kind: Kind::Disagreement,
                seq: Some(head.seq),
                node: Some(node.clone()),
                other: Some(other),
                what,
            });
        }
    }

    /// Is there an event of this number?
    fn passed(&self, seq: u64) -> bool {
        self.at.get(&seq).copied().flatten().is_some()
    }

    /// The highest head below an event that the record holds.
    fn last_held_below(&self, fleet: FleetId, after: u64, seq: u64) -> Option<(u64, &NodeName)> {
        let each = self.told.iter().flat_map(|told| told.all.iter().map(move |head| (head, &told.node)));
        let held = |head: &Head| head.seq < seq && self.standing(fleet, after, head) == Standing::Held;
        let below = each.filter(|(head, _)| held(head)).max_by_key(|(head, _)| head.seq)?;
        Some((below.0.seq, below.1))
    }

    /// Somebody who keeps a head that cannot be of the same record: of the same event with another hash, or of a
    /// later one that this very record leads to.
    fn opponent(&self, fleet: FleetId, after: u64, told: &Told, head: &Head) -> Option<(NodeName, Head)> {
        let passed = self.passed(head.seq);
        let opposed = |theirs: &Head| {
            let same_event = theirs.seq == head.seq && theirs.hash != head.hash;
            same_event
                || (passed && theirs.seq > head.seq && self.standing(fleet, after, theirs) == Standing::Held)
        };
        let others = self.told.iter().filter(|other| other.node != told.node);
        let mut found = others.flat_map(|other| other.all.iter().map(move |head| (&other.node, head)));
        found.find(|(_, theirs)| opposed(theirs)).map(|(node, theirs)| (node.clone(), *theirs))
    }

    /// An agent kept two heads that contradict each other.
    fn conflict(&self, told: &Told, conflict: &HeadConflict, restored: &[Restored], judged: &mut Judged) {
        let node = &told.node;
        let why = explanation(&conflict.kept, restored);
        if let Some(event) = why.filter(|event| conflict.told.epoch.0 >= event.to_epoch) {
            judged.remarks.push(format!(
                "{node} {}; event {} says why: {} put this coordinator in the place of another one",
                conflict.text(),
                event.seq,
                event.by
            ));
            return;
        }
        let held = |head: &Head| self.at.get(&head.seq).copied().flatten() == Some(head.hash);
        let holds = match (held(&conflict.kept), held(&conflict.told)) {
            (true, false) => "; the record holds the first",
            (false, true) => "; the record holds the second",
            (true, true) => "; the record holds both now",
            (false, false) => "; the record holds neither",
        };
        judged.findings.push(Finding {
            kind: Kind::Contradiction,
            seq: Some(conflict.told.seq),
            node: Some(node.clone()),
            other: None,
            what: format!("{node} {}{holds}", conflict.text()),
        });
    }
}

/// The event that says why a head is not of this record: it was told under an older epoch, of an event that
/// stood where this record went on otherwise.
fn explanation<'a>(head: &Head, restored: &'a [Restored]) -> Option<&'a Restored> {
    restored.iter().find(|event| head.epoch.0 < event.to_epoch && head.seq >= event.from_seq)
}

/// What the heads show.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) heads: Vec<HeadView>,
    pub(super) findings: Vec<Finding>,
    pub(super) remarks: Vec<String>,
}
