//! Which QEMU a process runs, by the program in its memory: QEMU's text for `--version` stands in it as a whole. Nothing is
//! executed, and it does not matter what has become of the file since.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Mutex,
};

use memchr::memmem::Finder;

use crate::sys::{process::FileId, units::printable_line};

const TEXT: &[u8] = b"QEMU emulator version ";
/// The longest version behind the text.
const MAX_VERSION_BYTES: usize = 128;
/// The largest program that is searched.
const MAX_PROGRAM_BYTES: u64 = 512 << 20;
const PIECE: usize = 1 << 20;
/// How many programs are remembered. A host has a handful of them.
const REMEMBERED: usize = 32;

/// Which file it was, with its size and its change times.
type Key = (FileId, u64, i64, i64);

static VERSIONS: Mutex<VecDeque<(Key, Result<String, String>)>> = Mutex::new(VecDeque::new());

/// `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)`; or why it is not known.
pub(super) fn version(program: &Path) -> Result<String, String> {
    look(program).unwrap_or_else(|error| Err(format!("its program cannot be read: {error}")))
}

fn look(program: &Path) -> io::Result<Result<String, String>> {
    use std::os::unix::fs::MetadataExt as _;
    let file = File::open(program)?;
    let meta = file.metadata()?;
    let key = (FileId::of(&meta), meta.size(), meta.ctime(), meta.ctime_nsec());
    let known =
        |list: &VecDeque<(Key, _)>| list.iter().find(|(of, _)| *of == key).map(|(_, it)| Clone::clone(it));
    if let Some(known) = VERSIONS.lock().ok().and_then(|list| known(&list)) {
        return Ok(known);
    }
    let found = search(file.take(MAX_PROGRAM_BYTES))?;
    if let Ok(mut list) = VERSIONS.lock() {
        list.truncate(REMEMBERED - 1);
        list.push_front((key, found.clone()));
    }
    Ok(found)
}

/// Reads on with an overlap, so that a text over the edge of two pieces is found.
fn search(mut from: impl io::Read) -> io::Result<Result<String, String>> {
    let finder = Finder::new(TEXT);
    let most = TEXT.len() + MAX_VERSION_BYTES;
    let mut held = Vec::with_capacity(PIECE + most);
    loop {
        let read = from.by_ref().take(PIECE as u64).read_to_end(&mut held)?;
        for at in finder.find_iter(&held) {
            let rest = &held[at + TEXT.len()..];
            // One that reaches over the end is looked at again with what follows.
            if (rest.len() >= MAX_VERSION_BYTES || read == 0)
                && let Some(version) = of(rest)
            {
                return Ok(Ok(version));
            }
        }
        if read == 0 {
            return Ok(Err("its program does not hold QEMU's version".to_owned()));
        }
        held.drain(..held.len().saturating_sub(most));
    }
}

/// Up to the end of the line.
fn of(rest: &[u8]) -> Option<String> {
    let end = rest.iter().take(MAX_VERSION_BYTES).position(|byte| matches!(byte, b'\n' | 0))?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| printable_line(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(before: usize, text: &str) -> Vec<u8> {
        let mut bytes = vec![0x90; before];
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&[0; 300]);
        bytes
    }

    #[test]
    fn the_version_is_found_wherever_it_lies() {
        // As it stands in Debian 12's qemu-system-x86_64.
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022";
        for before in (PIECE - 200..PIECE + 200).step_by(7).chain([0, 3 * PIECE - 30]) {
            let found = search(program(before, text).as_slice()).unwrap();
            assert_eq!(found.as_deref(), Ok("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"), "{before}");
        }
    }

    #[test]
    fn a_program_that_does_not_hold_it_is_an_error() {
        for text in
            ["", "QEMU emulator version ", "QEMU emulator version %s\n", "QEMU emulator version 7.2.22"]
        {
            assert!(search(text.as_bytes()).unwrap().is_err(), "{text}");
        }
        assert!(version(Path::new("/nonexistent")).is_err());
    }
}
