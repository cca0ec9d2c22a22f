//! Which QEMU each guest runs. The program in memory says it: a package that was upgraded since changes no running guest,
//! and libvirt knows only what it would start.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use drydock_types::Version;
use memchr::memmem;

use crate::{actions::Problem, sys::process::FileId};

/// What stands before the version in every build, as `qemu-system-x86_64 --version` prints it.
const BEFORE: &[u8] = b"QEMU emulator version ";
/// A version is never longer.
const MOST: usize = 64;
/// No build is larger, in bytes.
const MAX_BYTES: u64 = 512 << 20;
const CHUNK: usize = 256 << 10;

/// A version, or why it is not known; and how many processes run it.
type Counted = (Result<Version, String>, u64);

/// Versions, and how many processes run each.
pub(super) fn look() -> Result<Vec<Counted>, Problem> {
    let entries = fs::read_dir("/proc").map_err(|error| Problem::new(format!("/proc: {error}")))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // Many guests have one file in memory: it is read once.
    let mut files: BTreeMap<(u64, u64), Result<Version, String>> = BTreeMap::new();
    let mut counted: BTreeMap<Result<String, String>, u64> = BTreeMap::new();
    for exe in pids.map(|pid| format!("/proc/{pid}/exe")) {
        let is_one = fs::read_link(&exe).is_ok_and(|target| is_qemu(&target));
        if !is_one {
            continue;
        }
        let seen = match File::open(&exe).and_then(|file| Ok((FileId::of(&file.metadata()?), file))) {
            Ok((id, file)) => files.entry((id.dev, id.ino)).or_insert_with(|| of(file)).clone(),
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(format!("its program cannot be read: {error}")),
        };
        *counted.entry(seen.map(|version| version.to_string())).or_default() += 1;
    }
    let each = counted.into_iter().map(|(version, count)| {
        (version.and_then(|text| Version::parse(&text).map_err(|error| error.to_string())), count)
    });
    Ok(each.collect())
}

fn is_qemu(target: &Path) -> bool {
    // Of a file that was replaced the kernel says ` (deleted)`.
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("qemu-system-") || name.starts_with("qemu-kvm")
}

fn of(file: impl Read) -> Result<Version, String> {
    let text = find(file.take(MAX_BYTES)).map_err(|error| format!("its program cannot be read: {error}"))?;
    let text = text.ok_or("its program says no version")?;
    let end = text.iter().position(|byte| byte.is_ascii_whitespace() || *byte == 0).unwrap_or(text.len());
    let text = String::from_utf8_lossy(&text[..end]);
    Version::parse(&text).map_err(|_| "its program says no version".to_owned())
}

/// What follows the words, from wherever they stand.
fn find(mut file: impl Read) -> io::Result<Option<Vec<u8>>> {
    let finder = memmem::Finder::new(BEFORE);
    let mut window: Vec<u8> = Vec::with_capacity(2 * CHUNK);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        window.extend_from_slice(&chunk[..read]);
        if let Some(at) = finder.find(&window) {
            let rest = &window[at + BEFORE.len()..];
            // All of it, or all that there is.
            if rest.len() >= MOST || read == 0 {
                return Ok(Some(rest[..rest.len().min(MOST)].to_vec()));
            }
            continue;
        }
        if read == 0 {
            return Ok(None);
        }
        // The words may begin at the end of this piece.
        let keep = window.len().saturating_sub(BEFORE.len() - 1);
        window.drain(..keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it stands in Debian 12's build.
    const LINE: &[u8] =
        b"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022 Fabrice Bellard\0";

    #[test]
    fn the_version_is_found_wherever_it_stands_also_across_two_pieces() {
        for before in [0, 7, CHUNK - 40, CHUNK - 22, CHUNK - 10, CHUNK - 1, CHUNK, 3 * CHUNK + 5] {
            let mut program = vec![b'x'; before];
            program.extend_from_slice(LINE);
            program.extend(vec![0; 100]);
            assert_eq!(of(&program[..]).unwrap().to_string(), "7.2.22", "{before}");
        }
        assert_eq!(of(&LINE[..30]).unwrap().to_string(), "7.2.22", "at the very end");
    }

    #[test]
    fn a_program_without_the_words_has_no_version_and_none_is_made_up() {
        assert!(of(&[0; 1000][..]).is_err());
        assert!(of(&b"QEMU emulator version %s\n"[..]).is_err());
        assert!(is_qemu(Path::new("/usr/bin/qemu-system-x86_64 (deleted)")));
        assert!(is_qemu(Path::new("/usr/libexec/qemu-kvm")) && !is_qemu(Path::new("/usr/bin/qemu-img")));
    }
}
