//! One question to a cluster, and what its answer means for whoever asked.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{
    answer::{self, Refusal},
    api::{Answer, Api, Method, Request, Unreached},
    objects::List,
};

/// How long one endpoint may take. A server that is stopping may let a request hang: the next one is asked then.
pub const WITHIN: Duration = Duration::from_secs(3);
/// How long one endpoint may take for a page of a list.
pub const PAGE_WITHIN: Duration = Duration::from_secs(15);
/// Objects of a page.
const PAGE: usize = 500;
/// More pages than any cluster has: a server that always says "more" does not keep us for ever.
const MOST_PAGES: usize = 2000;

/// Why there is no answer to go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No endpoint answered.
    #[error("no endpoint of the cluster answers: {0}")]
    Unreached(#[from] Unreached),
    /// It was refused.
    #[error("{asked}: {refusal}")]
    Refused {
        /// What was asked: `GET /api/v1/nodes/k-1`.
        asked: String,
        /// Why not.
        refusal: Refusal,
    },
    /// A server that does not call itself ready said so: its word on credentials does not count yet.
    #[error("the API server is starting and is not ready yet ({0})")]
    Starting(Refusal),
    /// A list without an end.
    #[error("the list {0} has no end")]
    Endless(String),
    /// A list whose end did not come in the time that whoever asked has.
    #[error("the list {list} was not at its end after {within:?}")]
    Late {
        /// Its path.
        list: String,
        /// How long it was waited for.
        within: Duration,
    },
}

impl Fault {
    /// Nothing but a person ends it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => refusal.is_final(),
            Self::Unreached(_) | Self::Starting(_) | Self::Late { .. } => false,
            Self::Endless(_) => true,
        }
    }

    /// It is not there.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::Gone { .. }, .. })
    }

    /// What was to be changed may have been: read it again.
    #[must_use]
    pub const fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unreached(unreached) => unreached.may_have_taken_effect,
            Self::Refused { refusal, .. } => refusal.may_have_taken_effect(),
            Self::Starting(_) | Self::Endless(_) | Self::Late { .. } => false,
        }
    }

    /// When to ask again, where the server said so.
    #[must_use]
    pub const fn after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refusal, .. } | Self::Starting(refusal) => refusal.after(),
            Self::Unreached(_) | Self::Endless(_) | Self::Late { .. } => None,
        }
    }
}

/// Asks, and takes an answer only where it is one. Of a refusal for want of rights it is seen first whether the
/// server was ready to judge them.
///
/// # Errors
/// When nobody answers, or the answer is a refusal.
pub async fn ask(api: &dyn Api, request: Request) -> Result<Answer, Fault> {
    match asked(api, &request).await {
        Err(Fault::Refused { refusal, .. }) if refusal.is_of_a_ready_server_only() => {
            let readyz =
                Request { method: Method::Get, path: "/readyz".to_owned(), body: None, within: WITHIN };
            match api.call(readyz).await?.status {
                // Refused by one that was not ready when it was asked, perhaps: what it says now counts. Nothing
                // took effect by a refusal of rights, so it can be asked anew whatever it is.
                200 => asked(api, &request).await,
                // Who must not even see readiness lacks rights for good.
                401 | 403 => asked(api, &request).await,
                _ => Err(Fault::Starting(refusal)),
            }
        }
        other => other,
    }
}

async fn asked(api: &dyn Api, request: &Request) -> Result<Answer, Fault> {
    let answer = api.call(request.clone()).await?;
    match answer::done(&answer) {
        Ok(()) => Ok(answer),
        Err(refusal) => Err(Fault::Refused { asked: words(request), refusal }),
    }
}

/// Reads one object.
///
/// # Errors
/// When nobody answers, it is refused, or it is of another form.
pub async fn get<T: DeserializeOwned>(api: &dyn Api, path: &str) -> Result<T, Fault> {
    read(api, Request { method: Method::Get, path: path.to_owned(), body: None, within: WITHIN }).await
}

/// Asks for an object, by whatever request.
///
/// # Errors
/// When nobody answers, it is refused, or it is of another form.
pub async fn read<T: DeserializeOwned>(api: &dyn Api, request: Request) -> Result<T, Fault> {
    let words = words(&request);
    let answer = ask(api, request).await?;
    answer::read(&answer).map_err(|refusal| Fault::Refused { asked: words, refusal })
}

/// Reads a list whole, page by page, and hands each object on as it comes. Brings the version to watch from.
///
/// # Errors
/// When nobody answers, it is refused, or it is of another form. A list that expired between two pages is
/// [`Refusal::Expired`]: the caller begins anew.
pub async fn each<T: DeserializeOwned>(
    api: &dyn Api,
    path: &str,
    mut take: impl FnMut(T),
) -> Result<String, Fault> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let first = format!("{path}{joint}limit={PAGE}");
    let mut page = first.clone();
    for _ in 0..MOST_PAGES {
        let request = Request { method: Method::Get, path: page, body: None, within: PAGE_WITHIN };
        let list: List<T> = read(api, request).await?;
        list.items.into_iter().for_each(&mut take);
        if list.metadata.more.is_empty() {
            return Ok(list.metadata.resource_version);
        }
        page = format!("{first}&continue={}", encoded(&list.metadata.more));
    }
    Err(Fault::Endless(path.to_owned()))
}

/// Reads a list whole.
///
/// # Errors
/// As [`each`].
pub async fn list<T: DeserializeOwned>(api: &dyn Api, path: &str) -> Result<(Vec<T>, String), Fault> {
    let mut items = Vec::new();
    let version = each(api, path, |item| items.push(item)).await?;
    Ok((items, version))
}

/// Percent-encodes what stands in a query.
#[must_use]
pub fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A String takes whatever is written.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn words(request: &Request) -> String {
    let verb = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::MergePatch => "PATCH",
        Method::Delete => "DELETE",
    };
    format!("{verb} {}", request.path.split('?').next().unwrap_or_default())
}
