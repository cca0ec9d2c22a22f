//! What a pod is given by its cluster: a token and a CA as files that the kubelet renews, and the API's address in the
//! environment.
//!
//! Source: Kubernetes, "Accessing the Kubernetes API from a Pod".

use std::path::Path;

use super::{Authority, Credentials, Endpoint, KubeconfigError, User, server};

/// Where the kubelet puts a ServiceAccount's files.
const FILES: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The credentials of the pod that this process runs in. The files are named, not copied: their content changes.
///
/// `env` reads the environment. `servers` are used instead of its address where any are given.
///
/// # Errors
/// When this is no pod, or one without a ServiceAccount's token.
pub fn in_cluster(
    env: impl Fn(&str) -> Option<String>,
    servers: &[String],
) -> Result<Credentials, KubeconfigError> {
    in_cluster_at(Path::new(FILES), env, servers)
}

pub(super) fn in_cluster_at(
    files: &Path,
    env: impl Fn(&str) -> Option<String>,
    servers: &[String],
) -> Result<Credentials, KubeconfigError> {
    let (token, authority) = (files.join("token"), files.join("ca.crt"));
    for file in [&token, &authority] {
        std::fs::File::open(file)
            .map_err(|why| KubeconfigError::NotInCluster { what: format!("{}: {why}", file.display()) })?;
    }
    let variable = |name: &str| {
        env(name).ok_or_else(|| KubeconfigError::NotInCluster { what: format!("${name} is not set") })
    };
    let endpoints = if servers.is_empty() {
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        vec![Endpoint::parse(&format!("https://{host}:{port}"))?]
    } else {
        server::endpoints(servers)?
    };
    Ok(Credentials {
        endpoints,
        authority: Authority::File(authority),
        tls_server_name: None,
        user: User::TokenFile(token),
    })
}
