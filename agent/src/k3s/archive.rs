//! Datastore and token in one tar archive, made piece by piece while it is encrypted: `age -d … | tar x`.
//!
//! Only the heads are made here; the bytes between them stream past. A tar names the length of an entry before its
//! bytes, so whoever makes one knows it.

use crate::actions::Problem;

const BLOCK: u64 = 512;
/// What a tar ends with.
pub const END: [u8; 1024] = [0; 1024];

/// What stands before an entry's bytes.
///
/// # Errors
/// When the name or the length cannot stand in a head.
pub fn head(name: &str, size: u64) -> Result<Vec<u8>, Problem> {
    let problem = |error: std::io::Error| Problem::new(format!("the head of {name} in the backup: {error}"));
    let mut head = tar::Header::new_gnu();
    head.set_path(name).map_err(problem)?;
    head.set_size(size);
    head.set_mode(0o600);
    head.set_mtime(0);
    head.set_uid(0);
    head.set_gid(0);
    head.set_entry_type(tar::EntryType::Regular);
    head.set_cksum();
    Ok(head.as_bytes().to_vec())
}

/// What fills up the last block behind an entry of this length.
#[must_use]
pub fn padding(size: u64) -> Vec<u8> {
    let over = usize::try_from(size % BLOCK).unwrap_or(0);
    vec![0; if over == 0 { 0 } else { 512 - over }]
}

/// A whole small entry.
///
/// # Errors
/// As [`head`].
pub fn entry(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let size = bytes.len() as u64;
    Ok([head(name, size)?, bytes.to_vec(), padding(size)].concat())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_made_piece_by_piece_is_a_tar() {
        for size in [0_usize, 1, 511, 512, 513, 70_000] {
            let bytes = vec![7_u8; size];
            let mut made = entry("token", b"K10abc::server:x\n").unwrap();
            made.extend(head("state.db", size as u64).unwrap());
            made.extend(&bytes);
            made.extend(padding(size as u64));
            made.extend(END);
            assert_eq!(made.len() % 512, 0);
            let mut archive = tar::Archive::new(made.as_slice());
            let mut seen = Vec::new();
            for found in archive.entries().unwrap() {
                let mut found = found.unwrap();
                let mut text = Vec::new();
                found.read_to_end(&mut text).unwrap();
                assert_eq!(found.header().mode().unwrap(), 0o600);
                seen.push((found.path().unwrap().display().to_string(), text));
            }
            let token = b"K10abc::server:x\n".to_vec();
            assert_eq!(seen, [("token".to_owned(), token), ("state.db".to_owned(), bytes)]);
        }
    }
}
