//! The server's token. Without it nobody can restore what was saved: K3s encrypts the bootstrap data in its datastore
//! with it. It is a secret like a root password and is never shown, logged or put into an error.
//!
//! Whether it is the right one is told by the datastore: K3s keeps the bootstrap data under a key that is made of the
//! password's digest, in embedded etcd as in SQLite, and starts no server whose token has another.
//!
//! Sources in k3s-io/k3s: `pkg/cluster/storage.go` (`Save`, `getBootstrapKeyFromStorage`, `normalizeToken`),
//! `pkg/cluster/encrypt.go` (`storageKey`, `keyHash`), `pkg/cluster/cluster.go` (`Start`: with embedded etcd they are
//! saved once it is ready, "since subsequent etcd snapshots will be empty" without them). In k3s-io/docs:
//! docs/cli/token.md ("The server token is always written to …/server/token, in secure format"; the form
//! `K10<hash>::<credentials>`, and of what the hash is) and docs/datastore/backup-restore.md.

use std::{fmt, path::Path};

use drydock_types::Sha256;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    actions::Problem,
    sys::bounded::{self, Kind},
};

/// What the keys of K3s's bootstrap data begin with, in every datastore.
pub const BOOTSTRAP: &str = "/bootstrap/";
/// Nobody has more such keys: there is one, and while a token is rotated another.
pub const MOST_KEYS: u32 = 64;

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
    /// Blocks on files.
    ///
    /// # Errors
    /// When it is missing, empty, cut off, or another cluster's.
    pub fn of(data_dir: &Path) -> Result<Self, Problem> {
        let path = data_dir.join("server/token");
        let bytes = read(&path)?;
        judge(&bytes, &data_dir.join("server/tls/server-ca.crt"), &path)?;
        Ok(Self(bytes))
    }

    /// Sees that this token opens K3s's bootstrap data in a datastore, by the keys under which it has such data. What
    /// K3s has encrypted with another password nobody could read with this token.
    ///
    /// # Errors
    /// When they lie under others only, or there are none.
    pub fn opens(&self, keys: &[String]) -> Result<(), Problem> {
        if keys.is_empty() {
            return Err(Problem::new(
                "there are no bootstrap data of K3s in the datastore (certificate authorities and their keys): no new \
                 host could be set up from a backup of it",
            )
            .next("restart K3s on this server, which saves them when it starts; then try again"));
        }
        if keys.contains(&self.bootstrap_key()) {
            return Ok(());
        }
        Err(Problem::new(
            "server/token is not the token of this datastore: K3s's bootstrap data in it are encrypted with another one",
        )
        .next(
            "put the token there that the servers were started with, or that it was rotated to: with this one the backup \
             could not be restored",
        ))
    }

    /// The key under which K3s keeps what it has encrypted with this token's password.
    fn bootstrap_key(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        // As K3s reads it: a blank at the end is of the password.
        let credentials =
            text.trim_end_matches('\n').split_once("::").map_or("", |(_, credentials)| credentials);
        let password = credentials.split_once(':').map_or(credentials, |(_, password)| password);
        let hash = Sha256::of(password.as_bytes()).to_string();
        format!("{BOOTSTRAP}{}", hash.chars().take(12).collect::<String>())
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
    let bytes = bounded::bytes(path, Kind::Token).map_err(|error| missing(error.to_string()))?;
    if bytes.is_empty() { Err(missing("it is empty".into())) } else { Ok(bytes) }
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
    let pem = bounded::bytes(ca, Kind::Certificates).map_err(|error| {
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
    use std::fs;

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
    fn a_token_opens_the_bootstrap_data_that_lie_under_its_passwords_key_and_no_others() {
        let token = |credentials: &str| {
            let dir = data_dir(Some(&format!("K10{{ca}}::{credentials}\n")));
            Token::of(dir.path()).unwrap()
        };
        let keys = |keys: &[&str]| keys.iter().map(|key| format!("{BOOTSTRAP}{key}")).collect::<Vec<_>>();
        // The first twelve digits of what `printf hunter2 | sha256sum` says.
        let (own, other) = ("f52fbd32b2b3", "000000000000");
        for credentials in ["server:hunter2", "hunter2"] {
            token(credentials).opens(&keys(&[own])).unwrap();
            token(credentials).opens(&keys(&[other, own])).unwrap();
            let problem = token(credentials).opens(&keys(&[other])).unwrap_err();
            assert!(problem.what.contains("not the token of this datastore"), "{problem}");
            assert!(problem.next[0].contains("put the token there"), "{problem:?}");
        }
        assert!(token("server:another").opens(&keys(&[own])).is_err());
        let problem = token("server:hunter2").opens(&[]).unwrap_err();
        assert!(problem.what.contains("no bootstrap data") && !problem.next.is_empty(), "{problem:?}");
    }

    #[test]
    fn a_token_or_a_ca_that_is_larger_than_any_is_refused_with_the_limit() {
        let dir = data_dir(Some(&format!("K10{{ca}}::server:{}\n", "x".repeat(5000))));
        let problem = Token::of(dir.path()).unwrap_err();
        assert!(problem.what.contains("over 4096 bytes"), "{problem}");
        let dir = data_dir(Some("K10{ca}::server:hunter2\n"));
        fs::write(dir.path().join("server/tls/server-ca.crt"), vec![b'x'; (1 << 20) + 1]).unwrap();
        let problem = Token::of(dir.path()).unwrap_err();
        assert!(problem.what.contains("over 1048576 bytes"), "{problem}");
    }

    #[test]
    fn without_the_ca_whose_token_it_is_cannot_be_seen() {
        let dir = data_dir(Some("K10{ca}::server:hunter2\n"));
        fs::remove_file(dir.path().join("server/tls/server-ca.crt")).unwrap();
        assert!(Token::of(dir.path()).unwrap_err().what.contains("cannot be seen"));
    }
}
