//! Why a kubeconfig is not taken. Nothing of what is secret in it is ever in a message.

use std::path::PathBuf;

/// Why a kubeconfig is not taken, and what would help.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// No such file.
    #[error(
        "{path} does not exist: name the kubeconfig with --kubeconfig FILE (K3s writes /etc/rancher/k3s/k3s.yaml)"
    )]
    Missing {
        /// As it was named.
        path: PathBuf,
    },
    /// The system says no.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// As it was named, or the file that the kubeconfig names.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Larger than any kubeconfig.
    #[error("{path} has more than {most} bytes: that is no kubeconfig")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The limit, in bytes.
        most: u64,
    },
    /// Not of the form. The place alone: the line may hold a secret.
    #[error("{path} is no kubeconfig: {place}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// `line 3, column 5`.
        place: String,
    },
    /// YAML, and without a single context.
    #[error("{path} names no context: is it a kubeconfig?")]
    NoContexts {
        /// Which.
        path: PathBuf,
    },
    /// None was asked for, and the file has no current one.
    #[error("{path} has no current-context: choose one with --context; it has {}", .known.join(", "))]
    NoCurrentContext {
        /// Which.
        path: PathBuf,
        /// Those that there are.
        known: Vec<String>,
    },
    /// No context of that name.
    #[error("{path} has no context {name}; it has {}", .known.join(", "))]
    UnknownContext {
        /// Which.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The context names something that the file does not have.
    #[error("the context {context} names the {what} {name}, which the file does not have")]
    Dangling {
        /// Which.
        context: String,
        /// `cluster`, `user`.
        what: &'static str,
        /// What is not there.
        name: String,
    },
    /// No URL.
    #[error("the cluster of the context {context} has no server: name one with --server https://HOST:6443")]
    NoServer {
        /// Which.
        context: String,
    },
    /// A URL that is none, or of a form that would be weaker.
    #[error("{url} is no API server's URL: {why}; it looks like https://HOST:6443")]
    BadServer {
        /// As it was given, without what stands before an `@`.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// TLS without verification.
    #[error(
        "the cluster of the context {context} has insecure-skip-tls-verify: then anybody on the way could take the \
         credentials and drain nodes in your name; put the cluster's CA into certificate-authority-data instead"
    )]
    Insecure {
        /// Which.
        context: String,
    },
    /// A program would make the credentials.
    #[error(
        "the user of the context {context} gets its credentials from {plugin}: the coordinator runs no such programs; \
         make a ServiceAccount for it (deploy/kubernetes has one with the rights that it needs) and use its token"
    )]
    Plugin {
        /// Which.
        context: String,
        /// `the program aws`, `the auth-provider gcp`.
        plugin: String,
    },
    /// Something that Drydock does not do, and that changes what the credentials mean.
    #[error("the context {context} uses {what}, which Drydock does not do: {instead}")]
    NotDone {
        /// Which.
        context: String,
        /// The kubeconfig's key.
        what: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Nothing to be known by.
    #[error("the user of the context {context} has neither a token nor a client certificate")]
    NoCredentials {
        /// Which.
        context: String,
    },
    /// A token of no characters, or of ones that no token has.
    #[error("the token of the context {context} is {what}")]
    BadToken {
        /// Which.
        context: String,
        /// `empty`, `not one line of printable characters`.
        what: &'static str,
    },
    /// Base64, PEM or X.509 that is not.
    #[error("{what} of the context {context} cannot be read: {why}")]
    BadMaterial {
        /// Which.
        context: String,
        /// `the client certificate`, `the certificate-authority-data`.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Half of an identity.
    #[error("the user of the context {context} has {there} and not {missing}")]
    Half {
        /// Which.
        context: String,
        /// `a client certificate`.
        there: &'static str,
        /// `its key`.
        missing: &'static str,
    },
    /// Too late.
    #[error("{what} of the context {context} expired at {at}: fetch a new kubeconfig")]
    Expired {
        /// Which.
        context: String,
        /// `the client certificate`, `the token`.
        what: &'static str,
        /// RFC 3339.
        at: String,
    },
    /// Too early, or this machine's clock is slow.
    #[error("{what} of the context {context} is good only from {at}: is this machine's clock right?")]
    NotYetValid {
        /// Which.
        context: String,
        /// `the client certificate`.
        what: &'static str,
        /// RFC 3339.
        at: String,
    },
    /// Not in a pod.
    #[error(
        "the coordinator has no in-cluster credentials ({what}): it does not run in a pod with a ServiceAccount; use \
         --kubeconfig FILE"
    )]
    NotInCluster {
        /// What is missing.
        what: String,
    },
}
