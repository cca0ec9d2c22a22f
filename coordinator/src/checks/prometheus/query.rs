//! The request of an instant query.

use std::fmt::Display;

use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    super::fetch::{Answer, DEADLINE, get},
    Unanswered,
};

/// Asks an instant query.
///
/// # Errors
/// When the URL is none, or the server could not be asked.
pub(super) async fn query(url: &str, query: &str) -> Result<Answer, Unanswered> {
    let uri = target(url, query).map_err(Unanswered::Refused)?;
    let unknown = |why: String| Unanswered::Unknown(format!("Prometheus at {url}: {why}"));
    get(&uri).await.map_err(unknown)
}

pub(super) fn target(url: &str, query: &str) -> Result<Uri, String> {
    let wrong = |why: &dyn Display| format!("{url:?} is no URL of a Prometheus: {why}");
    let base: Uri = url.parse().map_err(|error| wrong(&error))?;
    if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
        return Err(wrong(&"it begins with http:// or https:// and a host"));
    }
    if base.query().is_some() {
        return Err(wrong(&"the query has its own key"));
    }
    let (path, query) = (base.path().trim_end_matches('/'), utf8_percent_encode(query, NON_ALPHANUMERIC));
    let mut parts = base.clone().into_parts();
    let asked = format!("{path}/api/v1/query?query={query}&timeout={}s", DEADLINE.as_secs());
    parts.path_and_query = Some(asked.parse().map_err(|error| wrong(&error))?);
    Uri::from_parts(parts).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_one_value_of_the_url_whatever_stands_in_it() {
        let uri = target("http://10.0.0.9:9090", "up{job=\"a&b\"} > 0#x").unwrap();
        assert_eq!(
            uri.to_string(),
            "http://10.0.0.9:9090/api/v1/query?query=up%7Bjob%3D%22a%26b%22%7D%20%3E%200%23x&timeout=5s"
        );
        assert_eq!(target("https://m.example/prom/", "up").unwrap().path(), "/prom/api/v1/query");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in ["", "10.0.0.9:9090", "ftp://x/", "http://", "file:///etc/passwd", "http://x/?query=up"]
        {
            assert!(target(wrong, "up").is_err(), "{wrong}");
        }
    }
}
