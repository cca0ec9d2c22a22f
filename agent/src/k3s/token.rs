//! The server's token. Without it nobody can restore what was saved: K3s encrypts the bootstrap data in its datastore
//! with it. It is a secret like a root password and is never shown, logged or put into an error.
//!
//! Sources in k3s-io/docs: docs/cli/token.md ("The server token is always written to …/server/token, in secure
//! format"; the form `K10<hash>::<credentials>`, and of what the hash is) and docs/datastore/backup-restore.md.

use std::{fmt, fs, io::Read as _, path::Path};

use drydock_types::Sha256;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::actions::Problem;

/// No token is longer, in bytes.
const MAX_BYTES: u64 = 4 << 10;

/// A whole token of this cluster, as its file has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

impl Token {
    /// Reads `server/token` of a data directory and sees that it is one of the cluster that `server/tls` belongs to.
    ///
    /// # Errors
    /// When it is missing, empty, cut off, or another cluster's.
    pub fn of(data_dir: &Path) -> Result<Self, Problem> {
        let path = data_dir.join("server/token");
        let bytes = read(&path)?;
        judge(&bytes, &data_dir.join("server/tls/server-ca.crt"), &path)?;
        Ok(Self(bytes))
    }

    /// The key under which K3s keeps what it has encrypted with this token's password (`pkg/cluster/storage.go`,
    /// `encrypt.go` of k3s-io/k3s: `storageKey`, `keyHash`).
    #[must_use]
    pub fn bootstrap_key(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let credentials = text.trim().split_once("::").map_or("", |(_, credentials)| credentials);
        let password = credentials.split_once(':').map_or(credentials, |(_, password)| password);
        let hash = Sha256::of(password.as_bytes()).to_string();
        format!("/bootstrap/{}", hash.chars().take(12).collect::<String>())
    }

    /// The file's bytes, to be encrypted.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let missing = |why: String| {
        Problem::new(format!("the K3s server's token cannot be read: {}: {why}", path.display()))
            .next("a backup without the token cannot be restored on another host: put the server's token there again")
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| missing(error.to_string()))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| missing(error.to_string()))?;
    match bytes.len() as u64 {
        0 => Err(missing("it is empty".into())),
        size if size > MAX_BYTES => Err(missing(format!("it is over {MAX_BYTES} bytes, and no token is"))),
        _ => Ok(bytes),
    }
}

/// The hash in a token is that of the CA's certificate, as it lies on the disk, or of the DER of a root of one's own.
fn judge(bytes: &[u8], ca: &Path, path: &Path) -> Result<(), Problem> {
    let shown = path.display();
    let form = || {
        Problem::new(format!(
            "{shown} holds no K3s server token in the secure form (K10<hash>::<credentials>)"
        ))
        .next("see docs/cli/token.md of K3s; a server writes the file anew when it starts")
    };
    let text = std::str::from_utf8(bytes).map_err(|_| form())?.trim();
    let (hash, credentials) =
        text.strip_prefix("K10").and_then(|rest| rest.split_once("::")).ok_or_else(form)?;
    let hash = Sha256::parse(hash).map_err(|_| form())?;
    if credentials.is_empty() || credentials.ends_with(':') {
        return Err(form());
    }
    let pem = fs::read(ca).map_err(|error| {
        Problem::new(format!("{}: {error}: whose token {shown} is cannot be seen", ca.display()))
    })?;
    let roots = CertificateDer::pem_slice_iter(&pem).flatten().map(|root| Sha256::of(&root));
    if core::iter::once(Sha256::of(&pem)).chain(roots).any(|known| known == hash) {
        return Ok(());
    }
    Err(Problem::new(format!(
        "{shown} is the token of another cluster: its hash is not that of {}",
        ca.display()
    ))
    .next("with that token the backup could not be restored: put this cluster's token there"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A data directory with a CA and this in `server/token`; `{ca}` stands for the hash of the CA's file.
    pub(crate) fn data_dir(token: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().join("server/tls");
        fs::create_dir_all(&tls).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        fs::write(tls.join("server-ca.crt"), cert.pem()).unwrap();
        if let Some(token) = token {
            let hash = Sha256::of(cert.pem().as_bytes()).to_string();
            let der = Sha256::of(cert.der()).to_string();
            let token = token.replace("{ca}", &hash).replace("{der}", &der);
            fs::write(dir.path().join("server/token"), token).unwrap();
        }
        dir
    }

    #[test]
    fn a_whole_token_of_this_cluster_is_taken_as_it_lies_there() {
        for token in ["K10{ca}::server:hunter2\n", "K10{der}::server:hunter2\n"] {
            let dir = data_dir(Some(token));
            let taken = Token::of(dir.path()).unwrap();
            assert_eq!(taken.bytes(), fs::read(dir.path().join("server/token")).unwrap());
            assert!(!format!("{taken:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_token_that_is_missing_cut_off_or_of_another_cluster_is_refused_and_never_shown() {
        let other = format!("K10{}::server:hunter2\n", Sha256::of(b"another CA"));
        for (token, word) in [
            (None, "cannot be read"),
            (Some(""), "empty"),
            (Some("hunter2\n"), "secure form"),
            (Some("K10{ca}\n"), "secure form"),
            (Some("K10{ca}::\n"), "secure form"),
            (Some("K10{ca}::server:\n"), "secure form"),
            (Some("K10abc::server:hunter2\n"), "secure form"),
            (Some(other.as_str()), "another cluster"),
        ] {
            let dir = data_dir(token);
            let problem = Token::of(dir.path()).unwrap_err();
            assert!(problem.what.contains(word), "{token:?}: {problem}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
            assert!(!problem.next.is_empty() || word == "cannot be seen", "{problem:?}");
        }
    }

    #[test]
    fn without_the_ca_whose_token_it_is_cannot_be_seen() {
        let dir = data_dir(Some("K10{ca}::server:hunter2\n"));
        fs::remove_file(dir.path().join("server/tls/server-ca.crt")).unwrap();
        assert!(Token::of(dir.path()).unwrap_err().what.contains("cannot be seen"));
    }
}
