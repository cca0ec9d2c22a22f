//! What the agent keeps of the coordinator's record: the latest head that it was told, some earlier ones, and
//! those that it refused.
//!
//! A head costs no write of its own while a section is taken or ended: it goes along with the records that are
//! written anyway. What a crash forgets of it is told again, and is earlier and not false.

use drydock_types::{
    Head, HeadConflict,
    signed::{Followed, MAX_CONFLICTS, MAX_EARLIER},
};

use super::record::Record;

/// The latest head, some before it, and evidence of those that could not follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads {
    /// The latest head that was told; `None` before the first.
    pub head: Option<Head>,
    /// Earlier ones that went to the disk, oldest first; thinned out, the more the older they are.
    pub earlier: Vec<Head>,
    /// Heads that were refused, with what was kept then; the first ones, [`MAX_CONFLICTS`] at most.
    pub conflicts: Vec<HeadConflict>,
}

impl Heads {
    /// Takes in what was told. What is new is to be written. A head that goes back, or of another record, is not
    /// followed: it is kept beside the one that it contradicts, once for each that was kept.
    pub(super) fn hear(&mut self, told: Head) -> (Followed, Option<Record>) {
        let followed = self.head.as_ref().map_or(Followed::News, |kept| kept.followed_by(&told));
        let record = match (followed, self.head) {
            (Followed::News, _) => {
                self.head = Some(told);
                Some(Record::HeadSeen { head: told })
            }
            (Followed::Back | Followed::Fork, Some(kept)) => {
                let known = self.conflicts.iter().any(|conflict| conflict.kept == kept);
                let conflict = HeadConflict { kept, told };
                let new = !known && self.conflicts.len() < MAX_CONFLICTS;
                new.then(|| {
                    self.conflicts.push(conflict);
                    Record::HeadRefused { conflict }
                })
            }
            (Followed::Known | Followed::Back | Followed::Fork, _) => None,
        };
        (followed, record)
    }

    /// Takes in what stands in the journal.
    pub(super) fn read(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::HeadSeen { head } => {
                let followed = self.head.as_ref().map_or(Followed::News, |kept| kept.followed_by(head));
                if !matches!(followed, Followed::News | Followed::Known) {
                    return Err("a head of the record follows that does not go on from the one before".into());
                }
                // What is on the disk stays among the earlier ones; what a later one overtook in memory does not.
                if self.earlier.last() != Some(head) {
                    self.earlier.push(*head);
                    self.thin_out(head.seq);
                }
                if followed == Followed::News {
                    self.head = Some(*head);
                }
            }
            Record::HeadRefused { conflict } if !self.conflicts.contains(conflict) => {
                self.conflicts.push(*conflict);
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets the one go whose neighbours say nearly as much. What is left lies the closer together the later it
    /// is, so that few heads reach back to the beginning.
    fn thin_out(&mut self, latest: u64) {
        if self.earlier.len() <= MAX_EARLIER {
            return;
        }
        // Between the two neighbours, beside how long ago that is: cross-multiplied, so that nothing is rounded.
        let gap = |at: usize| {
            let (before, behind) = (self.earlier[at - 1].seq, self.earlier[at + 1].seq);
            (u128::from(behind - before), u128::from(latest.saturating_sub(before)) + 1)
        };
        let least = (1..self.earlier.len() - 1).min_by(|a, b| {
            let ((gap_a, age_a), (gap_b, age_b)) = (gap(*a), gap(*b));
            (gap_a * age_b).cmp(&(gap_b * age_a))
        });
        if let Some(at) = least {
            self.earlier.remove(at);
        }
    }

    /// All of it, to be written again.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let latest = self.head.filter(|head| self.earlier.last() != Some(head));
        let heads = self.earlier.iter().copied().chain(latest).map(|head| Record::HeadSeen { head });
        let conflicts = self.conflicts.iter().map(|conflict| Record::HeadRefused { conflict: *conflict });
        heads.chain(conflicts)
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::{Epoch, FleetId, Sha256};

    use super::*;

    #[test]
    fn few_heads_reach_back_to_the_beginning_and_lie_closer_together_the_later_they_are() {
        let mut heads = Heads::default();
        let head = |seq| Head { fleet: FleetId([1; 16]), epoch: Epoch(1), seq, hash: Sha256([2; 32]) };
        for seq in 1..=20_000 {
            let (_, record) = heads.hear(head(seq));
            heads.read(&record.unwrap()).unwrap();
            assert!(heads.earlier.len() <= MAX_EARLIER);
            assert_eq!(heads.earlier.first(), Some(&head(1)));
            assert_eq!(heads.earlier.last(), Some(&head(seq)));
            for pair in heads.earlier.windows(2) {
                let (gap, age) = (pair[1].seq - pair[0].seq, seq - pair[0].seq);
                assert!(gap <= 1 + age * 3 / 5, "at {seq}: {} of {age}", gap);
            }
        }
    }
}
