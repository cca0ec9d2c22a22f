//! How long credentials are good: a client certificate's dates, and those in a token that is a JWT.
//!
//! A token's dates are read and not verified: only the server can. They serve to say early what it will say.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use super::{Credentials, User};

/// From when until when, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The first second at which it is good.
    pub from_unix_s: i64,
    /// The last one.
    pub until_unix_s: i64,
}

/// The dates of the first certificate in a PEM text.
///
/// # Errors
/// When there is none, or it is no certificate: what is wrong, in words.
pub fn of_certificate(pem: &str) -> Result<Validity, String> {
    let first = CertificateDer::pem_slice_iter(pem.as_bytes()).next();
    let der = first.ok_or("there is no certificate in it")?.map_err(|why| why.to_string())?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|why| why.to_string())?;
    let validity = certificate.validity();
    Ok(Validity {
        from_unix_s: validity.not_before.timestamp(),
        until_unix_s: validity.not_after.timestamp(),
    })
}

/// The dates in a token, where it is a JWT that has an end.
#[must_use]
pub fn of_token(token: &str) -> Option<Validity> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
        #[serde(default)]
        nbf: i64,
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(Validity { from_unix_s: claims.nbf, until_unix_s: claims.exp })
}

/// Until when credentials are good, where they say so. A file's are not: it is read anew while the coordinator runs.
#[must_use]
pub fn of(credentials: &Credentials) -> Option<Validity> {
    match &credentials.user {
        User::Token(token) => of_token(token.expose()),
        User::Certificate(identity) => of_certificate(&identity.certificate).ok(),
        User::TokenFile(_) => None,
    }
}

/// A time as people and tools read it: `2026-11-21T02:55:27Z`.
#[must_use]
pub fn rfc3339(unix_s: i64) -> String {
    Timestamp::from_second(unix_s).map_or_else(|_| format!("second {unix_s}"), |time| time.to_string())
}
