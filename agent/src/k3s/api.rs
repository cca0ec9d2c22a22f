//! The API of this node's own K3s server, asked as its administrator by the certificate that K3s keeps for that.
//!
//! Sources in k3s-io/k3s: `pkg/daemons/control/deps/deps.go` (`ClientAdminCert`, `ServerCA`), `install.sh`. Anonymous
//! requests are refused there, so a certificate it must be. Certificates are read at each request: K3s renews them.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use ::http::StatusCode;
use drydock_types::Version;
use hyper::body::Bytes;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    actions::Problem,
    etcd::{EtcdTls, dial},
    sys::http::{self, Endpoint},
};

/// How long one answer may take.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Names of failing checks that are shown.
const MAX_CHECKS: usize = 8;

/// One server's API.
#[derive(Debug, Clone)]
pub struct Api {
    endpoint: Endpoint,
    tls: EtcdTls,
}

impl fmt::Display for Api {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "https://{}", self.endpoint)
    }
}

impl Api {
    /// By the certificates of a server's `tls` directory.
    #[must_use]
    pub fn new(host: &str, port: u16, tls: &Path) -> Self {
        let client = (tls.join("client-admin.crt"), tls.join("client-admin.key"));
        Self {
            endpoint: Endpoint { host: host.to_owned(), port },
            tls: EtcdTls { ca_file: tls.join("server-ca.crt"), client: Some(client) },
        }
    }

    /// The version that it answers.
    ///
    /// # Errors
    /// When it does not answer one.
    pub async fn version(&self) -> Result<Version, Problem> {
        let problem = |why: String| Problem::new(format!("no version from {self}/version: {why}"));
        let (status, body) = self.get("/version").await?;
        if status != StatusCode::OK {
            return Err(problem(format!("it answers {status}")));
        }
        let text = http::text_at(&body, Some("/gitVersion")).map_err(problem)?;
        Version::parse(&text).map_err(|error| problem(error.to_string()))
    }

    /// Is it ready, by all of its own checks?
    ///
    /// # Errors
    /// Why not, with the names of the checks that fail.
    pub async fn ready(&self) -> Result<(), Problem> {
        let (status, body) = self.get("/readyz?verbose").await?;
        match unready(status, &body) {
            None => Ok(()),
            Some(why) => Err(Problem::new(format!("{self} is not ready: {why}"))),
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Problem> {
        let late = |_| Problem::new(format!("{self} did not answer within {PATIENCE:?}"));
        timeout(PATIENCE, self.ask(path)).await.map_err(late)?
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), Problem> {
        let problem = |why: String| Problem::new(format!("{self}: {why}"));
        let config = dial::client_config(self.tls.clone()).await;
        let mut config = config.map_err(|(file, why)| {
            Problem::new(format!("K3s's certificate {} cannot be used: {why}", file.display()))
                .next("K3s writes its certificates anew when it starts; see its log")
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let host = self.endpoint.host.clone();
        let name = ServerName::try_from(host).map_err(|error| problem(error.to_string()))?;
        let at = (self.endpoint.host.as_str(), self.endpoint.port);
        let tcp = TcpStream::connect(at).await.map_err(|error| problem(error.to_string()))?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let tls = tls.map_err(|error| problem(error.to_string()))?;
        http::get_over(tls, &self.endpoint, path).await.map_err(|error| Problem::new(error.to_string()))
    }
}

/// Why an answer to `/readyz?verbose` is no yes; its lines are `[+]name ok` and `[-]name failed: …`.
fn unready(status: StatusCode, body: &[u8]) -> Option<String> {
    if status == StatusCode::OK {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let failing = text.lines().filter_map(|line| line.strip_prefix("[-]"));
    let failing: Vec<_> =
        failing.filter_map(|line| line.split_whitespace().next()).take(MAX_CHECKS).collect();
    Some(if failing.is_empty() {
        format!("it answers {status}")
    } else {
        format!("it answers {status}: {} failing", failing.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_ready_names_the_checks_that_fail() {
        assert_eq!(unready(StatusCode::OK, b"[+]ping ok\nreadyz check passed\n"), None);
        let body = b"[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n\
            [-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";
        let why = unready(StatusCode::INTERNAL_SERVER_ERROR, body).unwrap();
        assert_eq!(
            why,
            "it answers 500 Internal Server Error: etcd, poststarthook/rbac/bootstrap-roles failing"
        );
        assert_eq!(unready(StatusCode::FORBIDDEN, b"{}").unwrap(), "it answers 403 Forbidden");
    }

    #[tokio::test]
    async fn without_its_certificates_nothing_is_dialled_and_the_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let problem = Api::new("127.0.0.1", 1, dir.path()).version().await.unwrap_err();
        assert!(problem.what.contains("server-ca.crt"), "{problem}");
        std::fs::write(dir.path().join("server-ca.crt"), vec![b'x'; (1 << 20) + 1]).unwrap();
        let problem = Api::new("127.0.0.1", 1, dir.path()).version().await.unwrap_err();
        assert!(problem.what.contains("server-ca.crt") && problem.what.contains("over 1048576"), "{problem}");
    }
}
