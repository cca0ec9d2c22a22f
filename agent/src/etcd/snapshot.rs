//! Is a snapshot whole? `etcdctl snapshot status` does not tell: a flipped bit passed it (3.4, 3.5) and failed
//! the restore.
//!
//! A snapshot is the store's file, a multiple of 512 bytes, and behind it the SHA-256 of all that: so its size
//! mod 512 is 32, and its last 32 bytes are the digest of the rest. Checked while it streams past.

use drydock_types::Sha256;
use sha2::Digest as _;

const DIGEST_BYTES: usize = 32;
const BLOCK_BYTES: u64 = 512;

/// What is wrong with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotWhole {
    /// It was cut off, or is none.
    #[error("the snapshot has {0} bytes: cut off, for a whole one is a multiple of 512 and 32 more")]
    Size(u64),
    /// Its bytes are not those that etcd hashed.
    #[error(
        "the snapshot's bytes do not have the digest that etcd put behind them: it was damaged on its way"
    )]
    Digest,
}

/// A snapshot that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Of the file as etcd wrote it, its own digest included: what `sha256sum` prints of it.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// Looks at a snapshot as it passes.
#[derive(Debug, Clone, Default)]
pub struct Passing {
    hash: sha2::Sha256,
    /// The last 32 bytes so far: not hashed until more come.
    tail: Vec<u8>,
    size: u64,
}

impl Passing {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        let kept = DIGEST_BYTES.min(bytes.len());
        let (body, last) = bytes.split_at(bytes.len() - kept);
        // How much of the old tail is now surely not the digest.
        let settled = (self.tail.len() + kept).saturating_sub(DIGEST_BYTES);
        self.hash.update(&self.tail[..settled]);
        self.tail.drain(..settled);
        self.hash.update(body);
        self.tail.extend_from_slice(last);
    }

    /// No more bytes come.
    ///
    /// # Errors
    /// [`NotWhole`], with what is wrong.
    pub fn finish(self) -> Result<Whole, NotWhole> {
        let Self { hash, tail, size } = self;
        if size % BLOCK_BYTES != DIGEST_BYTES as u64 || size <= DIGEST_BYTES as u64 {
            return Err(NotWhole::Size(size));
        }
        let mut all = hash.clone();
        if hash.finalize().as_slice() != tail.as_slice() {
            return Err(NotWhole::Digest);
        }
        all.update(&tail);
        Ok(Whole { sha256: Sha256(all.finalize().into()), size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..1024u32).map(|i| (i * 7 % 251) as u8).collect();
        let digest = Sha256::of(&bytes);
        bytes.extend_from_slice(&digest.0);
        bytes
    }

    fn look(bytes: &[u8], piece: usize) -> Result<Whole, NotWhole> {
        let mut passing = Passing::default();
        bytes.chunks(piece).for_each(|piece| passing.update(piece));
        passing.finish()
    }

    #[test]
    fn a_whole_snapshot_passes_however_it_is_cut_into_pieces() {
        let bytes = snapshot();
        for piece in [1, 5, 31, 32, 33, 64, 100, 512, 1055, 4096] {
            let whole = look(&bytes, piece).unwrap();
            assert_eq!(whole, Whole { sha256: Sha256::of(&bytes), size: 1056 }, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_snapshot_with_any_flipped_bit_is_refused() {
        let bytes = snapshot();
        for at in [0, 511, 1023, 1024, 1055] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(look(&bad, 100), Err(NotWhole::Digest), "bit flipped in byte {at}");
        }
    }

    #[test]
    fn a_snapshot_that_was_cut_off_is_refused() {
        let bytes = snapshot();
        for size in [0, 31, 32, 512, 1024, 1055] {
            assert!(look(&bytes[..size], 100).is_err(), "{size} bytes were taken");
        }
        assert_eq!(look(&bytes[..544], 100), Err(NotWhole::Digest), "the size alone is no proof");
    }
}
