//! What a pod is given by its cluster: a token and a CA as files that the kubelet renews, and the API's address in the
//! environment.
//!
//! Source: Kubernetes, "Accessing the Kubernetes API from a Pod".

use std::path::Path;

use super::{Authority, Credentials, Endpoint, KubeconfigError, User, server};
use crate::{drain::OwnPod, objects::pod::PodName};

/// Where the kubelet puts a ServiceAccount's files.
const FILES: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The pod that this process runs in, where it runs in one: by `POD_NAMESPACE`, `POD_NAME` and `POD_UID` of its
/// environment (Kubernetes' downward API), and where those are not set by the ServiceAccount's namespace and the host's
/// name, which is that of the pod unless it shares its node's network.
///
/// `env` reads the environment.
#[must_use]
pub fn own_pod(env: impl Fn(&str) -> Option<String>) -> Option<OwnPod> {
    own_pod_at(Path::new(FILES), env)
}

pub(super) fn own_pod_at(files: &Path, env: impl Fn(&str) -> Option<String>) -> Option<OwnPod> {
    let said = |name: &str| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let here = || std::fs::read_to_string(files.join("namespace")).ok().map(|text| text.trim().to_owned());
    let namespace = said("POD_NAMESPACE").or_else(here).filter(|text| !text.is_empty())?;
    let name = said("POD_NAME").or_else(|| said("HOSTNAME"))?;
    Some(OwnPod { name: PodName { namespace, name }, uid: said("POD_UID") })
}

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
