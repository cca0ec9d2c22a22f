//! An endpoint's URL.

use std::fmt;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::KubeconfigError;

/// More endpoints than a cluster has servers help nobody.
const MOST: usize = 16;

/// Where an API is served: `https://10.0.0.11:6443`, or with a path behind which a proxy serves it. Without a slash
/// at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is none, is not https, or has in it what does not belong into one.
    pub fn parse(url: &str) -> Result<Self, KubeconfigError> {
        let shown = url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned();
        let bad = |why: &str| KubeconfigError::BadServer { url: shown.clone(), why: why.to_owned() };
        let uri: Uri = url.trim().parse().map_err(|why: http::uri::InvalidUri| bad(&why.to_string()))?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") => return Err(bad("over plain http anybody on the way reads the credentials")),
            _ => return Err(bad("it does not begin with https://")),
        }
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if authority.contains('@') {
            return Err(bad("it has a user in it"));
        }
        if uri.host().unwrap_or_default().is_empty() {
            return Err(bad("it has no host"));
        }
        if authority.ends_with(':') || (uri.port().is_some() && uri.port_u16().is_none_or(|port| port == 0)) {
            return Err(bad("its port is none"));
        }
        if uri.query().is_some() || url.contains('#') {
            return Err(bad("it has a query or a fragment in it"));
        }
        Ok(Self(format!("https://{authority}{}", uri.path().trim_end_matches('/'))))
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = KubeconfigError;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        Self::parse(&url)
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

/// Several, in the order in which they are preferred.
///
/// # Errors
/// When one is no URL, is named twice, or they are too many.
pub fn endpoints(urls: &[String]) -> Result<Vec<Endpoint>, KubeconfigError> {
    let mut all: Vec<Endpoint> = Vec::new();
    for url in urls {
        let endpoint = Endpoint::parse(url)?;
        let bad = |why: &str| KubeconfigError::BadServer { url: endpoint.0.clone(), why: why.to_owned() };
        if all.contains(&endpoint) {
            return Err(bad("it is named twice"));
        }
        if all.len() == MOST {
            return Err(bad("16 endpoints are the most"));
        }
        all.push(endpoint);
    }
    Ok(all)
}
