//! Secrets at rest: ChaCha20-Poly1305 under a key that does not lie beside them.
//!
//! A copy of the state directory (a backup, a stolen disk image) must not be enough to issue certificates.
//! The key is looked for in this order: the systemd credential `drydock-sealing-key`, a file that a setting
//! names, the environment variable `DRYDOCK_SEALING_KEY`; and on a first start, when there is none of these,
//! a new file in the *configuration* directory is made. The environment is readable in `/proc` by the same
//! user and by root for as long as the process lives, and cannot be taken back safely by a process with
//! threads: prefer the credential.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use drydock_proto::tls::private_file::{self, PrivateFileError};
use drydock_types::Sha256;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

/// The name of the systemd credential, and of the file that a first start makes.
pub const NAME: &str = "drydock-sealing-key";
/// The environment variable.
pub const ENV: &str = "DRYDOCK_SEALING_KEY";
/// What a sealed file begins with.
const MAGIC: &[u8; 8] = b"ddseal1\n";
const KEY_ID_BYTES: usize = 8;

/// Why something cannot be sealed or opened. Never holds a part of a key or of what was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Found, and not a key.
    #[error("the sealing key of {0} is not 32 bytes in base64 or hex")]
    BadKey(String),
    /// Not found where it must be by now.
    #[error("no sealing key: looked for {0}; without it what is sealed stays closed")]
    NoKey(String),
    /// Another key was used to seal.
    #[error("it was sealed with the key {sealed_with}, and {origin} has the key {given}: give the right one")]
    WrongKey {
        /// The mark of the key that sealed.
        sealed_with: String,
        /// The mark of the key at hand.
        given: String,
        /// Where that came from.
        origin: String,
    },
    /// The right key, and yet it does not open.
    #[error("the sealed file is damaged or was exchanged for another one")]
    Damaged,
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// The key's file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The credential's file.
    #[error("the sealing key of {from}: {why}")]
    Io {
        /// Which source.
        from: String,
        /// What the system said.
        why: std::io::Error,
    },
}

/// A key of 256 bits that seals and opens.
#[derive(Clone)]
pub struct SealingKey {
    bytes: [u8; 32],
    origin: String,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SealingKey({} from {})", hex(&self.id()), self.origin)
    }
}

/// Where a sealing key may be. Filled from the environment and the settings by whoever starts the service.
#[derive(Debug, Clone, Default)]
pub struct SealingSources {
    /// `$CREDENTIALS_DIRECTORY`, which systemd sets.
    pub credentials_dir: Option<PathBuf>,
    /// The file that a setting names.
    pub file: Option<PathBuf>,
    /// `$DRYDOCK_SEALING_KEY`.
    pub env: Option<HiddenText>,
    /// The configuration directory, for the key of a first start. Not the state directory.
    pub config_dir: PathBuf,
}

impl SealingSources {
    /// The sources that this process's environment names.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, config_dir: PathBuf) -> Self {
        Self {
            credentials_dir: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            file,
            env: std::env::var(ENV).ok().map(HiddenText),
            config_dir,
        }
    }

    fn default_file(&self) -> PathBuf {
        self.config_dir.join(NAME)
    }
}

/// A text that `Debug` does not show.
#[derive(Clone)]
pub struct HiddenText(pub String);

impl fmt::Debug for HiddenText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(hidden)")
    }
}

impl SealingKey {
    /// A key from its 32 bytes; `origin` is for messages.
    #[must_use]
    pub fn new(bytes: [u8; 32], origin: &str) -> Self {
        Self { bytes, origin: origin.to_owned() }
    }

    /// Finds the key; on a first start, when there is none, makes one. Say [`SealingKey::origin`] aloud then.
    ///
    /// # Errors
    /// When a source has something that is no key, or none has one and it is not the first start.
    pub fn find(from: &SealingSources, first_start: bool) -> Result<Self, SealError> {
        let credential = from.credentials_dir.as_ref().map(|dir| dir.join(NAME));
        if let Some(path) = credential.filter(|path| path.exists()) {
            let origin = format!("the systemd credential {}", path.display());
            // systemd guards this directory; its owner and mode are systemd's.
            let content = fs::read(&path).map_err(|why| SealError::Io { from: origin.clone(), why })?;
            return read_key(&content, origin);
        }
        if let Some(path) = &from.file {
            return read_key(private_file::read(path)?.as_bytes(), path.display().to_string());
        }
        if let Some(text) = &from.env {
            return read_key(text.0.as_bytes(), format!("${ENV}"));
        }
        let path = from.default_file();
        match private_file::read(&path) {
            Ok(text) => read_key(text.as_bytes(), path.display().to_string()),
            Err(PrivateFileError::Missing(_)) if first_start => Self::make(&path),
            Err(PrivateFileError::Missing(path)) => Err(SealError::NoKey(format!(
                "the systemd credential {NAME}, the setting's file, ${ENV} and {}",
                path.display()
            ))),
            Err(other) => Err(other.into()),
        }
    }

    fn make(path: &Path) -> Result<Self, SealError> {
        let key = Self { bytes: random()?, origin: path.display().to_string() };
        private_file::write(path, format!("{}\n", STANDARD.encode(key.bytes)).as_bytes())?;
        Ok(key)
    }

    /// Where it was found: for the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A mark that tells two keys apart and says nothing of either.
    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&Sha256::of_parts(&[b"drydock sealing key id", &self.bytes]).0[..KEY_ID_BYTES]);
        id
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.bytes).map(LessSafeKey::new).map_err(|_| SealError::Damaged)
    }

    /// Seals a secret. `purpose` is bound to it: it opens for the same purpose only.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        // A key seals a handful of secrets in its life: 96 random bits do not meet.
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut body = secret.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut body,
            )
            .map_err(|_| SealError::Random)?;
        Ok([MAGIC.as_slice(), &self.id(), &nonce, &body].concat())
    }

    /// Opens what [`SealingKey::seal`] made.
    ///
    /// # Errors
    /// When another key sealed it, or it was changed, or it is for another purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let rest = sealed.strip_prefix(MAGIC.as_slice()).ok_or(SealError::Damaged)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(SealError::Damaged)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
        if *id != self.id() {
            let (sealed_with, given) = (hex(id), hex(&self.id()));
            return Err(SealError::WrongKey { sealed_with, given, origin: self.origin.clone() });
        }
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut body);
        opened.map(|secret| secret.to_vec()).map_err(|_| SealError::Damaged)
    }
}

/// 32 raw bytes, or their base64 or hex.
fn read_key(content: &[u8], origin: String) -> Result<SealingKey, SealError> {
    if let Ok(bytes) = content.try_into() {
        return Ok(SealingKey { bytes, origin });
    }
    let text = std::str::from_utf8(content).unwrap_or_default().trim();
    let decoded = match Sha256::parse(text) {
        Ok(hex) => Some(hex.0.to_vec()),
        Err(_) => [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD].iter().find_map(|form| form.decode(text).ok()),
    };
    match decoded.and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Ok(SealingKey { bytes, origin }),
        None => Err(SealError::BadKey(origin)),
    }
}

/// Random bytes of the system.
///
/// # Errors
/// When there are none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_purpose_and_nothing_else() {
        let key = SealingKey::new([7; 32], "here");
        let sealed = key.seal("ca", b"secret").unwrap();
        assert_eq!(key.open("ca", &sealed).unwrap(), b"secret");
        assert!(matches!(key.open("cloud", &sealed), Err(SealError::Damaged)));
        let other = SealingKey::new([8; 32], "there");
        let error = other.open("ca", &sealed).unwrap_err();
        assert!(matches!(error, SealError::WrongKey { .. }));
        assert!(error.to_string().contains("there"), "{error}");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("ca", &changed).is_err(), "a changed byte {at} was not noticed");
            assert!(key.open("ca", &sealed[..at]).is_err());
        }
    }

    /// Hostile input 27: 171 is 0xab.
    #[test]
    fn a_sealing_key_is_in_no_debug_output() {
        let sources = SealingSources { env: Some(HiddenText("abababab".into())), ..Default::default() };
        let shown = format!("{:?} {sources:?}", SealingKey::new([0xab; 32], "here"));
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn a_key_is_found_in_order_and_made_only_on_a_first_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut from = SealingSources { config_dir: dir.path().join("etc"), ..Default::default() };
        assert!(matches!(SealingKey::find(&from, false), Err(SealError::NoKey(_))));
        let made = SealingKey::find(&from, true).unwrap();
        assert!(made.origin().ends_with(NAME));
        assert_eq!(SealingKey::find(&from, false).unwrap().id(), made.id());
        from.env = Some(HiddenText("11".repeat(32)));
        assert_eq!(SealingKey::find(&from, false).unwrap().bytes, [0x11; 32]);
        let file = dir.path().join("file");
        private_file::write(&file, STANDARD.encode([0x22; 32]).as_bytes()).unwrap();
        from.file = Some(file);
        assert_eq!(SealingKey::find(&from, false).unwrap().bytes, [0x22; 32]);
        fs::write(dir.path().join(NAME), [0x33; 32]).unwrap();
        from.credentials_dir = Some(dir.path().to_owned());
        assert_eq!(SealingKey::find(&from, false).unwrap().bytes, [0x33; 32]);
        fs::write(dir.path().join(NAME), "too short").unwrap();
        let error = SealingKey::find(&from, false).unwrap_err();
        assert!(matches!(error, SealError::BadKey(_)) && !error.to_string().contains("too short"));
    }
}
