//! What an answer of an API server means. Pure.
//!
//! The same status stands for very different things here. A 429 is a disruption budget or a server that has too
//! much to do, and only the cause in the body tells which; a 403 is a missing right, a namespace that is going, a
//! webhook's no, or a server that has not read its roles yet. Each is told apart once, here, and everything else
//! matches on [`Refusal`].
//!
//! | module | what lives there |
//! |---|---|
//! | `status` | `metav1.Status`, as far as it is used, and what stands in its messages |
//!
//! Source: answers of a real server (1.36.3), word for word in the tests; `pkg/registry/core/pod/storage/eviction.go`,
//! `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters` and `…/admission/plugin/webhook/errors` of
//! kubernetes/kubernetes for what was not tried.

mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::de::DeserializeOwned;

pub use self::status::Right;
use self::status::Status;
use crate::api::Answer;

/// Where a server says "later" and not when.
const LATER: Duration = Duration::from_secs(1);
/// More than a person reads, in characters. What a server says is not ours: it is cut before it is shown.
const MOST_SHOWN: usize = 400;

/// Why a request was not done. Display says what happened and, where it is not plain, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 429: a disruption budget does not allow one more pod to go. The server never says when it will.
    #[error("the PodDisruptionBudget {name} does not allow it now: {said}")]
    Budget {
        /// In the pod's namespace.
        name: String,
        /// In the server's words: "The disruption budget b needs 2 healthy pods and has 2 currently".
        said: String,
    },
    /// 429: the controller-manager has not looked at the budget since it was made or changed. Where none leads (a
    /// server was just stopped) that lasts some seconds.
    #[error("the controller-manager has not yet looked at the PodDisruptionBudget {name}")]
    BudgetNotSeen {
        /// In the pod's namespace.
        name: String,
        /// When to ask again.
        after: Duration,
    },
    /// 429 without a cause: this server has too many requests (priority and fairness). Says nothing of budgets.
    #[error("the API server has too many requests and asks for {after:?} of patience")]
    Throttled {
        /// When to ask again.
        after: Duration,
    },
    /// 500: more than one budget selects the pod. Never ends by waiting.
    #[error(
        "more than one PodDisruptionBudget selects this pod, and then none of its evictions is ever allowed: make \
         their selectors exclude each other"
    )]
    TwoBudgets,
    /// 404: it is not there, or not any more.
    #[error("it does not exist: {said}")]
    Gone {
        /// `pods "web-1" not found`.
        said: String,
    },
    /// 409: under this name there is another object than the one that was meant. **Its budget is one lower for
    /// 121 s all the same**: read the object, and do not ask again soon.
    #[error("under this name there is another object by now: {said}")]
    AnotherUid {
        /// With both UIDs.
        said: String,
    },
    /// 409: it was changed since it was read. Read it again.
    #[error("it was changed by somebody since it was read")]
    Stale,
    /// 409 of another kind: it is there already, or other managers own its fields.
    #[error("it cannot be done as things are: {said}")]
    Conflict {
        /// In the server's words.
        said: String,
    },
    /// 410: the resourceVersion is too old to go on from. List anew.
    #[error("the server no longer knows the resourceVersion to go on from")]
    Expired,
    /// 403: the namespace is going, and nothing is made in it any more. Not a missing right.
    #[error(
        "the namespace {namespace} is being terminated: nothing can be created in it, an eviction neither"
    )]
    NamespaceTerminating {
        /// Which.
        namespace: String,
    },
    /// 403: who asks lacks a right. From a server that is just starting it is not final: see
    /// [`Refusal::is_of_a_ready_server_only`].
    #[error("{user} must not: {right}")]
    Forbidden {
        /// Who: `system:serviceaccount:drydock:coordinator`.
        user: String,
        /// What.
        right: Right,
    },
    /// 403 for `system:anonymous`: the server saw no credentials at all.
    #[error("the server saw no credentials ({right}): what the cluster was added with does not reach it")]
    Anonymous {
        /// What was asked.
        right: Right,
    },
    /// 401: the credentials are wrong, expired or of another cluster.
    #[error(
        "the server does not take the credentials: expired, revoked, or of another cluster; give new ones with \
         `drydock cluster add NAME --replace`"
    )]
    Unauthorized,
    /// An admission webhook, or a policy in the server, says no.
    #[error("{by} does not allow it: {said}")]
    Denied {
        /// `the admission webhook "x"`, `the ValidatingAdmissionPolicy "y"`, `the server`.
        by: String,
        /// Its words.
        said: String,
        /// It answered 429: it means "not now" rather than "no".
        later: bool,
    },
    /// A webhook that should have been asked did not answer, and the cluster refuses what it cannot ask about.
    #[error("the cluster could not ask the admission webhook {name}, and refuses until it can: {said}")]
    WebhookDown {
        /// Its configured name.
        name: String,
        /// What the server met.
        said: String,
    },
    /// A dry run is not to be had: a webhook on the way has effects of its own.
    #[error("{by} does not take dry runs: what it would say can only be seen in earnest")]
    NoDryRun {
        /// `the admission webhook "x"`.
        by: String,
    },
    /// 503: this endpoint is shutting down. Another one may answer.
    #[error("the API server is shutting down")]
    ShuttingDown,
    /// 500, 502, 503, 504 of other kinds: a server that is starting, or that did not reach its etcd in time.
    #[error("the API server answered {status}: {said}")]
    Unwell {
        /// HTTP's.
        status: u16,
        /// In its words.
        said: String,
        /// When to ask again.
        after: Duration,
    },
    /// 400, 422: the server does not accept what was asked.
    #[error("the server does not accept the request ({status}): {said}")]
    Invalid {
        /// HTTP's.
        status: u16,
        /// In its words.
        said: String,
    },
    /// An answer of no known meaning: a proxy's, mostly.
    #[error("an answer that no API server gives ({status}, {content_type}): {said}")]
    Strange {
        /// HTTP's.
        status: u16,
        /// As it was given.
        content_type: String,
        /// How it begins.
        said: String,
    },
}

impl Refusal {
    /// When the server itself asked to be asked again. A budget has no such time: watch it.
    #[must_use]
    pub const fn after(&self) -> Option<Duration> {
        match self {
            Self::BudgetNotSeen { after, .. } | Self::Throttled { after } | Self::Unwell { after, .. } => {
                Some(*after)
            }
            Self::ShuttingDown => Some(LATER),
            _ => None,
        }
    }

    /// Another endpoint of the same cluster may answer otherwise.
    #[must_use]
    pub const fn is_of_this_endpoint(&self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Unwell { .. } | Self::Strange { .. })
    }

    /// A server that is starting says this of credentials that are good, for as long as it has not read its roles.
    /// It counts only from one whose `/readyz` is ok.
    #[must_use]
    pub const fn is_of_a_ready_server_only(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Anonymous { .. } | Self::Unauthorized)
    }

    /// The change may have been made although this was the answer: a server that gave up waiting for its etcd.
    #[must_use]
    pub const fn may_have_taken_effect(&self) -> bool {
        matches!(self, Self::Unwell { .. } | Self::Strange { .. })
    }

    /// Nothing but a person ends it: neither time nor another endpoint nor reading again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::TwoBudgets
                | Self::Forbidden { .. }
                | Self::Anonymous { .. }
                | Self::Unauthorized
                | Self::Denied { later: false, .. }
                | Self::NoDryRun { .. }
                | Self::Invalid { .. }
        )
    }
}

/// Was it done?
///
/// # Errors
/// When it was not.
pub fn done(answer: &Answer) -> Result<(), Refusal> {
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(refusal(answer)) }
}

/// The object in an answer.
///
/// # Errors
/// When the answer is a refusal, or has another form than asked for.
pub fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Refusal> {
    done(answer)?;
    serde_json::from_slice(&answer.body).map_err(|why| Refusal::Strange {
        status: answer.status,
        content_type: shown(&answer.content_type),
        said: format!("its content cannot be read: {}", shown(&why.to_string())),
    })
}

/// What the `object` of a watch's line of type `ERROR` means. It is a `Status` as in an answer.
#[must_use]
pub fn watch_error(object: &[u8]) -> Refusal {
    let code = serde_json::from_slice::<Status>(object).map_or(0, |status| status.code);
    refusal(&Answer {
        status: code,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: object.to_vec(),
    })
}

/// What an answer that is no success means.
#[must_use]
pub fn refusal(answer: &Answer) -> Refusal {
    let status = match answer.content_type.as_str() {
        "application/json" => serde_json::from_slice::<Status>(&answer.body).ok(),
        _ => None,
    };
    // What has a Status comes from an API server. Without one only these two are known to.
    let Some(status) = status.filter(|status| status.kind == "Status") else {
        return match answer.status {
            429 => Refusal::Throttled { after: answer.retry_after.unwrap_or(LATER) },
            500..=504 => unwell(answer, None),
            status => Refusal::Strange {
                status,
                content_type: shown(&answer.content_type),
                said: shown(&String::from_utf8_lossy(&answer.body)),
            },
        };
    };
    if let Some(refusal) = status.admission(answer.status) {
        return refusal;
    }
    match answer.status {
        429 => too_many(answer, &status),
        401 => Refusal::Unauthorized,
        403 => status.forbidden(),
        404 => Refusal::Gone { said: shown(&status.message) },
        409 => conflict(&status),
        410 => Refusal::Expired,
        500 if status.message.contains("more than one PodDisruptionBudget") => Refusal::TwoBudgets,
        500..=504 => unwell(answer, Some(&status)),
        400 | 405 | 413 | 415 | 422 => {
            Refusal::Invalid { status: answer.status, said: shown(&status.message) }
        }
        other => Refusal::Strange {
            status: other,
            content_type: shown(&answer.content_type),
            said: shown(&status.message),
        },
    }
}

fn too_many(answer: &Answer, status: &Status) -> Refusal {
    let after = answer.retry_after.or_else(|| status.retry_after());
    let Some(cause) = status.cause("DisruptionBudget") else {
        return Refusal::Throttled { after: after.unwrap_or(LATER) };
    };
    let name = shown(status::budget_name(&cause.message).unwrap_or("(unnamed)"));
    if cause.message.contains("still being processed") {
        return Refusal::BudgetNotSeen { name, after: after.unwrap_or(LATER) };
    }
    Refusal::Budget { name, said: shown(&cause.message) }
}

/// The reason is "Conflict" for all of them: only the message says which.
fn conflict(status: &Status) -> Refusal {
    if status.message.contains("the UID in the precondition") {
        return Refusal::AnotherUid { said: shown(&status.message) };
    }
    let stale = [
        "the object has been modified",
        "the ResourceVersion in the precondition",
        "The object might have been modified",
    ];
    if status.reason == "Conflict" && stale.iter().any(|words| status.message.contains(words)) {
        return Refusal::Stale;
    }
    Refusal::Conflict { said: shown(&status.message) }
}

fn unwell(answer: &Answer, status: Option<&Status>) -> Refusal {
    let said = match status {
        Some(status) => status.message.clone(),
        None => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    if answer.status == 503 && said.contains("shutting down") {
        return Refusal::ShuttingDown;
    }
    let after = answer.retry_after.or_else(|| status.and_then(Status::retry_after)).unwrap_or(LATER);
    Refusal::Unwell { status: answer.status, said: shown(&said), after }
}

/// A server's text for a person: one line, of bounded length, without control characters.
fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.trim().chars().take(MOST_SHOWN).map(clean).collect();
    if text.trim().chars().nth(MOST_SHOWN).is_some() {
        shown.push('…');
    }
    if shown.is_empty() { "(nothing)".to_owned() } else { shown }
}
