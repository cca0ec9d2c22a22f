//! Keys and signatures of artifacts: minisign, prehashed, with a trusted comment that says what the file is.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use drydock_types::{ComponentName, Sha256, Version, section::ArtifactLabel};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use sha2::Digest as _;

use crate::{error::CliError, local_file};

/// What a secret key file begins with, behind its comment.
const KEY_COMMENT: &str = "drydock artifact signing key: keep it away from coordinator and nodes";

/// A new pair as text: the secret key's file, and the line for `signing_keys` in agent.toml.
pub(crate) struct NewKey {
    /// The secret key's file.
    pub(crate) secret: String,
    /// The public key's file.
    pub(crate) public: String,
    /// `RWQ…`
    pub(crate) line: String,
}

fn failed(doing: &str) -> impl FnOnce(minisign::PError) -> CliError {
    let doing = doing.to_owned();
    move |why| CliError::failed(format!("{doing}: {why}"))
}

/// Makes a pair; the secret key is encrypted when there is a password.
pub(crate) fn generate(password: Option<String>) -> Result<NewKey, CliError> {
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(failed("making a key"))?;
    Ok(NewKey {
        secret: pair.sk.to_box(Some(KEY_COMMENT)).map_err(failed("writing a key"))?.into_string(),
        public: pair.pk.to_box().map_err(failed("writing a key"))?.into_string(),
        line: pair.pk.to_base64(),
    })
}

/// Reads a secret key; `ask` is called when it is encrypted.
pub(crate) fn open_key(
    text: &str,
    ask: impl FnOnce() -> Result<String, CliError>,
) -> Result<SecretKey, CliError> {
    let boxed = |text: &str| SecretKeyBox::from(text.to_owned());
    if let Ok(key) = boxed(text).into_unencrypted_secret_key() {
        return Ok(key);
    }
    // The library prompts on stdout when it gets no password: it always gets one.
    let opened = boxed(text).into_secret_key(Some(ask()?));
    opened.map_err(|why| CliError::usage(format!("the signing key cannot be opened: {why}")))
}

/// What a file is, measured in one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Its size.
    pub(crate) size: u64,
    /// Its digest.
    pub(crate) sha256: Sha256,
    /// The architecture in its ELF header; `None` when it is no ELF file.
    pub(crate) arch: Option<String>,
    /// Does the version's text occur in it?
    pub(crate) names_version: bool,
}

/// Reads the file once: digest, architecture, and whether it names the version.
pub(crate) fn measure(file: &mut File, version: &str) -> io::Result<Measured> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut size, mut arch, mut names_version) = (sha2::Sha256::new(), 0u64, None, false);
    let needle = version.as_bytes();
    let mut chunk = vec![0u8; 1 << 16];
    let mut window: Vec<u8> = Vec::new();
    loop {
        let n = file.read(&mut chunk)?;
        if n == 0 {
            break;
        }
        if size == 0 {
            arch = elf_arch(&chunk[..n]);
        }
        hash.update(&chunk[..n]);
        size += n as u64;
        if !names_version && !needle.is_empty() {
            window.extend_from_slice(&chunk[..n]);
            names_version = window.windows(needle.len()).any(|part| part == needle);
            // The version may stand across two chunks.
            window.drain(..window.len().saturating_sub(needle.len() - 1));
        }
    }
    Ok(Measured { size, sha256: Sha256(hash.finalize().into()), arch, names_version })
}

/// `e_machine` of an ELF header, in the words of Rust's target triples. ELF-64 Object File Format, figure 2;
/// the numbers are those of the gABI's registry.
pub(crate) fn elf_arch(head: &[u8]) -> Option<String> {
    let little = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', _, 1] => true,
        [0x7f, b'E', b'L', b'F', _, 2] => false,
        _ => return None,
    };
    let raw: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let machine = if little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) };
    Some(match (machine, little) {
        (3, _) => "i686".to_owned(),
        (21, true) => "powerpc64le".to_owned(),
        (22, _) => "s390x".to_owned(),
        (40, _) => "arm".to_owned(),
        (62, _) => "x86_64".to_owned(),
        (183, true) => "aarch64".to_owned(),
        (243, true) => "riscv64".to_owned(),
        (258, _) => "loongarch64".to_owned(),
        (other, _) => format!("elf_{other}"),
    })
}

/// The label of a file, or why it cannot have one.
pub(crate) fn label(
    file: &Measured,
    component: &ComponentName,
    version: &Version,
    arch: Option<&str>,
) -> Result<ArtifactLabel, CliError> {
    let arch = match (&file.arch, arch) {
        (Some(elf), Some(said)) if elf != said => {
            return Err(CliError::usage(format!("the file is for {elf} by its ELF header, not for {said}"))
                .hint("leave --arch out: it is read from the file"));
        }
        (Some(elf), _) => elf.clone(),
        (None, Some(said)) => said.to_owned(),
        (None, None) => {
            return Err(CliError::usage(
                "the file is no ELF binary: its architecture cannot be read from it",
            )
            .hint("is it the right file? If so, say --arch x86_64 (or aarch64, …)"));
        }
    };
    let (component, version) = (component.clone(), version.clone());
    let label =
        ArtifactLabel { component, version, os: "linux".into(), arch, size: file.size, sha256: file.sha256 };
    // What cannot be read back must not be signed.
    ArtifactLabel::from_comment(&label.to_comment()).map_err(|why| CliError::usage(why.to_string()))
}

/// The signature's file as text.
pub(crate) fn sign(file: &mut File, key: &SecretKey, label: &ArtifactLabel) -> Result<String, CliError> {
    let rewound = file.seek(SeekFrom::Start(0));
    rewound.map_err(|why| CliError::failed(format!("reading the file again: {why}")))?;
    let comment = label.to_comment();
    let signed = minisign::sign(None, key, file, Some(&comment), Some("signature of a drydock artifact"));
    signed.map(|signature| signature.into_string()).map_err(failed("signing"))
}

/// Is the signature file at `path` this key's over this file, and does it say what was meant?
pub(crate) fn verify(
    path: &Path,
    file: &mut File,
    key: &SecretKey,
    label: &ArtifactLabel,
) -> Result<(), CliError> {
    let text = local_file::read_text(path, 4096)?;
    let said = read_label(&text).map_err(|why| CliError::failed(format!("{}: {why}", path.display())))?;
    if said != *label {
        return Err(CliError::failed(format!("{} does not say what was signed", path.display())));
    }
    let public = PublicKey::from_secret_key(key).map_err(failed("reading the key"))?;
    let signature = SignatureBox::from_string(&text).map_err(failed("reading the signature"))?;
    file.seek(SeekFrom::Start(0))
        .map_err(|why| CliError::failed(format!("reading the file again: {why}")))?;
    minisign::verify(&public, &signature, file, true, false, false).map_err(failed(
        "the signature that was just written does not fit the file (did it change meanwhile?)",
    ))
}

/// What the trusted comment of a signature's text says.
pub(crate) fn read_label(text: &str) -> Result<ArtifactLabel, String> {
    let signature =
        SignatureBox::from_string(text).map_err(|why| format!("it is no minisign signature: {why}"))?;
    let comment = signature.trusted_comment().map_err(|why| why.to_string())?;
    ArtifactLabel::from_comment(&comment).map_err(|why| why.to_string())
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
