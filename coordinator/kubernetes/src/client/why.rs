//! What went wrong with a connection, in words. The libraries wrap their errors several times, and the one that says
//! what to do is the innermost.

use std::{error::Error, io};

use rustls::CertificateError;

/// What happened, and what that mostly comes from.
pub(super) fn of(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = tls_of(error) {
            return tls_words(tls);
        }
        if error.is::<tower::timeout::error::Elapsed>() {
            return "no connection within 1s".to_owned();
        }
        if let Some(why) = error.downcast_ref::<io::Error>() {
            match why.kind() {
                io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                io::ErrorKind::ConnectionReset => return "connection reset".to_owned(),
                _ => {}
            }
        }
        if error.is::<http_body_util::LengthLimitError>() {
            return "it is longer than 32 MiB".to_owned();
        }
        next = error.source();
    }
    chain(error)
}

/// An `io::Error`'s source is its content's source: the content itself is found by another way.
fn tls_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    let inner: &'a (dyn Error + 'static) = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_of(inner)
}

fn tls_words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = error else { return format!("TLS: {error}") };
    let why = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by the CA that the cluster was added with: another cluster answers there, or its CA was \
             renewed"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not for this name or address: add the cluster with --server and a name that the certificate has"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: is this machine's clock right?"
        }
        other => return format!("the server's certificate is not taken: {other}"),
    };
    format!("the server's certificate {why}")
}

/// The errors from the outermost to the innermost, without those that say the same again.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        next = error.source();
    }
    text
}
