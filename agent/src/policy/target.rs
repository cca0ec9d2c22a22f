//! Patterns of what may be asked over the network.

use serde::Deserialize;

use crate::sys::http::Endpoint;

/// `host:port`; the host may be `*` or `*.example.org`, the port `*`. Names are compared as they are
/// written, never resolved: what a name points to is not this file's to know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TargetPattern {
    host: String,
    port: Option<u16>,
}

impl TargetPattern {
    /// Does it cover this endpoint?
    #[must_use]
    pub fn covers(&self, endpoint: &Endpoint) -> bool {
        let host = match self.host.strip_prefix('*') {
            None => self.host == endpoint.host,
            Some("") => true,
            Some(suffix) => endpoint.host.len() > suffix.len() && endpoint.host.ends_with(suffix),
        };
        host && self.port.is_none_or(|port| port == endpoint.port)
    }
}

impl TryFrom<String> for TargetPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().take(80).collect();
            format!(
                "{shown:?} is not a probe target; write host:port, such as \"10.0.0.5:8080\", \"*.example.org:443\" or \"[::1]:*\""
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = if port == "*" { None } else { Some(port.parse().map_err(|_| bad())?) };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let host = host.to_ascii_lowercase();
        let rest = match host.strip_prefix('*') {
            Some("") => "",
            Some(suffix) if suffix.starts_with('.') => suffix,
            Some(_) => return Err(bad()),
            None if host.is_empty() => return Err(bad()),
            None => &host,
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !rest.chars().all(fine) {
            return Err(bad());
        }
        Ok(Self { host, port })
    }
}
