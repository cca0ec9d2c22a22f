//! `metav1.Status`, as far as it is used, and what stands in its messages.
//!
//! Names, verbs and users are in no field of a Status: only in the message. Those of the server's authorizer have had
//! the same form for years; what has another one is shown as it is.

use std::{fmt, time::Duration};

use serde::Deserialize;

use super::{Refusal, shown};

/// What an API server says in the body of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) reason: String,
    pub(super) code: u16,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    causes: Vec<Cause>,
    retry_after_seconds: u64,
}

/// One cause.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cause {
    reason: String,
    pub(super) message: String,
}

/// A right, as the server's authorizer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// To do something with a kind of object.
    Resource {
        /// `patch`.
        verb: String,
        /// With its subresource: `nodes`, `pods/eviction`.
        resource: String,
        /// Empty for the core group.
        group: String,
        /// None at the cluster's scope.
        namespace: Option<String>,
    },
    /// To read a path such as `/metrics`.
    Path {
        /// `get`.
        verb: String,
        /// The path.
        path: String,
    },
    /// In words of another form.
    Other(String),
}

impl fmt::Display for Right {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { verb, resource, group, namespace } => {
                write!(out, "{verb} {resource}")?;
                if !group.is_empty() {
                    write!(out, ".{group}")?;
                }
                match namespace {
                    Some(namespace) => write!(out, " in the namespace {namespace}"),
                    None => out.write_str(" in the whole cluster"),
                }
            }
            Self::Path { verb, path } => write!(out, "{verb} {path}"),
            Self::Other(said) => out.write_str(said),
        }
    }
}

impl Status {
    pub(super) fn cause(&self, reason: &str) -> Option<&Cause> {
        self.details.as_ref()?.causes.iter().find(|cause| cause.reason == reason)
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// What a 403 is about.
    pub(super) fn forbidden(&self) -> Refusal {
        if let Some(cause) = self.cause("NamespaceTerminating") {
            let namespace =
                between(&cause.message, "namespace ", " is being terminated").unwrap_or("(unnamed)");
            return Refusal::NamespaceTerminating { namespace: shown(namespace) };
        }
        // A name may hold quotes of its own making nowhere here: the last "User" is the authorizer's.
        let Some((user, rest)) =
            self.message.rsplit_once("User \"").and_then(|(_, rest)| rest.split_once('"'))
        else {
            // "pdb disruptions allowed is negative", "DisruptedPods map too big", a plugin's no.
            return Refusal::Denied { by: "the server".to_owned(), said: shown(&self.message), later: false };
        };
        let right = right(rest).unwrap_or_else(|| Right::Other(shown(rest)));
        match user {
            "system:anonymous" => Refusal::Anonymous { right },
            user => Refusal::Forbidden { user: shown(user), right },
        }
    }

    /// A refusal by what clusters put in front of their objects: webhooks and policies. They choose their own status.
    pub(super) fn admission(&self, status: u16) -> Option<Refusal> {
        let message = self.message.as_str();
        let webhook = |rest: &str| rest.split_once('"').map(|(name, _)| shown(name));
        if let Some((_, rest)) = message.split_once("failed calling webhook \"") {
            return Some(Refusal::WebhookDown { name: webhook(rest)?, said: shown(message) });
        }
        if let Some(rest) = message.strip_prefix("admission webhook \"") {
            let name = webhook(rest)?;
            let by = format!("the admission webhook \"{name}\"");
            if rest.ends_with("does not support dry run") {
                return Some(Refusal::NoDryRun { by });
            }
            let said = rest
                .split_once("denied the request")
                .map_or(rest, |(_, words)| words.trim_start_matches(':'));
            return Some(Refusal::Denied { by, said: shown(said), later: status == 429 });
        }
        let (_, rest) = message.split_once("ValidatingAdmissionPolicy '")?;
        let (name, rest) = rest.split_once('\'')?;
        let said = rest.split_once("denied request: ").map_or(rest, |(_, words)| words);
        let by = format!("the ValidatingAdmissionPolicy \"{}\"", shown(name));
        Some(Refusal::Denied { by, said: shown(said), later: status == 429 })
    }
}

/// ` cannot patch resource "nodes" in API group "" at the cluster scope`, ` cannot get path "/metrics"`.
fn right(text: &str) -> Option<Right> {
    let (verb, rest) = text.strip_prefix(" cannot ")?.split_once(' ')?;
    let verb = shown(verb);
    if let Some(path) = between(rest, "path \"", "\"") {
        return Some(Right::Path { verb, path: shown(path) });
    }
    let resource = shown(between(rest, "resource \"", "\"")?);
    let group = between(rest, "in API group \"", "\"")?.to_owned();
    let namespace = between(rest, "in the namespace \"", "\"").map(shown);
    Some(Right::Resource { verb, resource, group, namespace })
}

/// "The disruption budget NAME needs 2 healthy pods and has 2 currently".
pub(super) fn budget_name(message: &str) -> Option<&str> {
    message.split_once("disruption budget ")?.1.split_whitespace().next()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}
