//! The binary beside a plan: is it there, and is it what its signature says and the plan wants?
//!
//! The signature itself is not verified here, for want of a key: every agent does that against its own
//! keys, and the coordinator against the fleet's. What is compared is what the signature *says*.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use drydock_core::plan_file::{ArtifactSpec, StageSpec};
pub use drydock_proto::limits::MAX_ARTIFACT_BYTES;
use drydock_types::{ArtifactRef, Label, Sha256, section::ArtifactLabel};
use sha2::Digest as _;

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    tree::{At, Node},
};

/// The largest signature file.
const MAX_SIGNATURE_BYTES: u64 = 4096;

/// A stage's binary on the operator's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalArtifact {
    /// The stage's name.
    pub stage: Label,
    /// Where the file is.
    pub path: PathBuf,
    /// Its digest, size and signature, as the bundle has it.
    pub artifact: ArtifactRef,
    /// What its signature says it is. Not verified here.
    pub label: ArtifactLabel,
}

/// Reads a stage's artifact and its signature, and compares them with each other and with the stage.
pub(super) fn read(
    stage: &StageSpec,
    spec: &ArtifactSpec,
    at: &Node,
    base: &Path,
) -> Result<LocalArtifact, Diagnostics> {
    let spot = At::Key("artifact");
    let path = base.join(plain(&spec.path));
    let path_place = at.place_of(&[spot, At::Key("path")]);
    let signature_path = match &spec.signature {
        Some(signature) => base.join(plain(signature)),
        None => PathBuf::from(format!("{}.minisig", path.display())),
    };
    let signature_place = match spec.signature {
        Some(_) => at.place_of(&[spot, At::Key("signature")]),
        None => path_place,
    };
    let file =
        measure(&path).map_err(|why| Diagnostic::at(path_place, format!("{}: {why}", path.display())))?;
    let said = signature(&signature_path).map_err(|why| {
        let message = format!("{}: {why}", signature_path.display());
        Diagnostic::at(signature_place, message).note(format!("drydock artifact sign {}", spec.path))
    })?;
    let mut found = Diagnostics::default();
    for (place, message) in differences(stage, &file, &said.label, at, path_place) {
        found.push(|| {
            Diagnostic::at(place, message).note(format!(
                "{}: {}",
                signature_path.display(),
                said.label.to_comment()
            ))
        });
    }
    if !found.is_empty() {
        return Err(found);
    }
    let artifact = ArtifactRef { sha256: file.sha256, size: file.size, signature: said.text };
    Ok(LocalArtifact { stage: stage.name.clone(), path, artifact, label: said.label })
}

fn plain(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

/// Where the signature's words and the facts part.
fn differences<'a>(
    stage: &StageSpec,
    file: &Measured,
    label: &ArtifactLabel,
    at: &'a Node,
    path: &'a Place,
) -> Vec<(&'a Place, String)> {
    let mut found = Vec::new();
    let mut differ = |differs: bool, place: &'a Place, message: String| {
        if differs {
            found.push((place, message));
        }
    };
    let (component, to) = (at.place_of(&[At::Key("component")]), at.place_of(&[At::Key("to")]));
    differ(
        label.component != stage.component,
        component,
        format!("the artifact is signed as {}, and this stage upgrades {}", label.component, stage.component),
    );
    differ(
        label.version != stage.to,
        to,
        format!("the artifact is signed as version {}, and this stage goes to {}", label.version, stage.to),
    );
    differ(label.os != "linux", path, format!("the artifact is for {}, and nodes run linux", label.os));
    if label.size != file.size {
        differ(
            true,
            path,
            format!("the artifact has {} bytes, and is signed as having {}", file.size, label.size),
        );
    } else {
        differ(
            label.sha256 != file.sha256,
            path,
            format!(
                "the artifact is not the file that was signed: its SHA-256 is {}…, signed is {}…",
                file.sha256.short(),
                label.sha256.short()
            ),
        );
    }
    if let Some(machine) = &file.machine {
        differ(
            *machine != label.arch,
            path,
            format!(
                "the artifact is for another architecture: its ELF header says {machine}, its signature {}",
                label.arch
            ),
        );
    }
    found
}

struct Measured {
    size: u64,
    sha256: Sha256,
    /// What the ELF header says; `None` for a file that is not ELF (the agent refuses that where it must).
    machine: Option<String>,
}

/// Size, digest and machine, in one pass and bounded memory.
fn measure(path: &Path) -> Result<Measured, String> {
    let mut file = open(path, MAX_ARTIFACT_BYTES)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    let mut machine = None;
    let mut size = 0u64;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let bytes = &buffer[..read];
        if size == 0 {
            machine = elf_machine(bytes);
        }
        size += read as u64;
        if size > MAX_ARTIFACT_BYTES {
            return Err(too_large(MAX_ARTIFACT_BYTES));
        }
        hash.update(bytes);
    }
    if size == 0 {
        return Err("is empty".to_owned());
    }
    Ok(Measured { size, sha256: Sha256(hash.finalize().into()), machine })
}

/// Opens a plain file that is not too large. Opening a pipe would wait, so the kind is looked at first.
fn open(path: &Path, most: u64) -> Result<File, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err("is not a file".to_owned());
    }
    if found.len() > most {
        return Err(too_large(most));
    }
    File::open(path).map_err(unreadable)
}

fn too_large(most: u64) -> String {
    if most >= 1 << 30 {
        format!("is larger than {} GiB", most >> 30)
    } else {
        format!("is larger than {most} bytes")
    }
}

struct Said {
    text: String,
    label: ArtifactLabel,
}

/// A minisign signature file and what its trusted comment says.
fn signature(path: &Path) -> Result<Said, String> {
    let mut text = String::new();
    open(path, MAX_SIGNATURE_BYTES)?
        .take(MAX_SIGNATURE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let decoded = minisign_verify::Signature::decode(&text)
        .map_err(|error| format!("is not a minisign signature: {error}"))?;
    let label = ArtifactLabel::from_comment(decoded.trusted_comment())
        .map_err(|error| format!("does not say what the artifact is: {error}"))?;
    Ok(Said { text, label })
}

/// `e_machine` of an ELF header, in the words of target triples; unknown ones by number.
fn elf_machine(bytes: &[u8]) -> Option<String> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let pair = [header[18], header[19]];
    let little = header[5] == 1;
    let number = if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
    Some(match (number, little) {
        (3, _) => "i686".to_owned(),
        (21, true) => "powerpc64le".to_owned(),
        (21, false) => "powerpc64".to_owned(),
        (22, _) => "s390x".to_owned(),
        (40, _) => "arm".to_owned(),
        (62, _) => "x86_64".to_owned(),
        (183, _) => "aarch64".to_owned(),
        (243, _) => "riscv64".to_owned(),
        (258, _) => "loongarch64".to_owned(),
        (other, _) => format!("machine {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_stands_in_the_elf_header() {
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
        assert_eq!(elf_machine(&header).as_deref(), Some("x86_64"));
        header[18] = 183;
        assert_eq!(elf_machine(&header).as_deref(), Some("aarch64"));
        (header[5], header[18], header[19]) = (2, 0, 22);
        assert_eq!(elf_machine(&header).as_deref(), Some("s390x"));
        assert_eq!(elf_machine(b"#!/bin/sh\nexec something\n"), None);
        assert_eq!(elf_machine(b"\x7fELF"), None);
    }
}
