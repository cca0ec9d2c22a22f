//! Who a certificate speaks for. Nothing that a peer says in a message is asked about this.

use std::{fmt, sync::Arc};

use drydock_types::{FleetId, NodeKey, NodeName, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

/// A certificate's serial number: 128 bits from our CA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 16]);

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// What the holder of a certificate is, as its one URI says: `drydock://FLEET/node/NAME`,
/// `drydock://FLEET/operator/NAME` or `drydock://FLEET/coordinator`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An agent: its name, and the key that it enrolled with, which is the node's identity.
    Node(NodeName, NodeKey),
    /// A person or a script at the command line.
    Operator(String),
    /// The coordinator.
    Coordinator,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name, key) => write!(out, "node {name} (key {})", key.short()),
            Self::Operator(name) => write!(out, "operator {name}"),
            Self::Coordinator => out.write_str("a coordinator"),
        }
    }
}

/// Everything that is known of a peer, read from its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The fleet whose CA has named it.
    pub fleet: FleetId,
    /// What it is, and how it is called.
    pub role: Role,
    /// The certificate's number: what a revocation names.
    pub serial: Serial,
    /// The certificate is valid from here on.
    pub not_before_unix_s: i64,
    /// … to here.
    pub not_after_unix_s: i64,
    /// `true`: past its end when it was looked at, and good for nothing but its own renewal.
    pub expired: bool,
    /// The certificate itself.
    pub certificate: Shown,
}

/// A certificate as it was shown (DER); a clone is the same bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(pub Arc<[u8]>);

impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Shown({} bytes)", self.0.len())
    }
}

/// A certificate that says of nobody who it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Not X.509.
    #[error("it is not an X.509 certificate")]
    Encoding,
    /// The number is not one of our CA's.
    #[error("its serial number is not 128 bits long")]
    Serial,
    /// There must be exactly one identity.
    #[error("it has {0} names of the form drydock://… where exactly one is due")]
    HowMany(usize),
    /// Not one of the three forms.
    #[error("its name is not drydock://FLEET/node/NAME, …/operator/NAME or …/coordinator")]
    Form,
}

/// The URI scheme of identities.
const SCHEME: &str = "drydock://";

/// The URI that a certificate of this role carries.
#[must_use]
pub fn identity_uri(fleet: FleetId, role: &Role) -> String {
    match role {
        Role::Node(name, _) => format!("{SCHEME}{fleet}/node/{name}"),
        Role::Operator(name) => format!("{SCHEME}{fleet}/operator/{name}"),
        Role::Coordinator => format!("{SCHEME}{fleet}/coordinator"),
    }
}

/// May an operator be called this? 1 to 64 of `a-z A-Z 0-9 - _ . @`, beginning with a letter or digit.
#[must_use]
pub fn is_operator_name(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fine)
}

/// The node identity that belongs to a certificate: SHA-256 of its public key (SubjectPublicKeyInfo, DER).
///
/// # Errors
/// When the bytes are no certificate.
pub fn key_of(certificate_der: &[u8]) -> Result<NodeKey, BadIdentity> {
    Ok(Sha256::of(parse(certificate_der)?.public_key().raw))
}

/// A certificate's SubjectPublicKeyInfo, DER.
pub(super) fn spki_of(certificate_der: &[u8]) -> Result<Vec<u8>, BadIdentity> {
    Ok(parse(certificate_der)?.public_key().raw.to_vec())
}

/// Is the one signed by the other? Says nothing of validity or usage.
#[must_use]
pub fn is_signed_by(certificate_der: &[u8], ca_der: &[u8]) -> bool {
    match (parse(certificate_der), parse(ca_der)) {
        (Ok(certificate), Ok(ca)) => certificate.verify_signature(Some(ca.public_key())).is_ok(),
        _ => false,
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, BadIdentity> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(BadIdentity::Encoding),
    }
}

impl PeerIdentity {
    /// Reads a certificate. Its signature is somebody else's to check: TLS's, before this.
    ///
    /// # Errors
    /// When it does not name exactly one identity in the exact form.
    pub fn from_certificate(der: &[u8], now_unix_s: i64) -> Result<Self, BadIdentity> {
        let certificate = parse(der)?;
        let uris = identity_uris(&certificate);
        let [uri] = uris.as_slice() else { return Err(BadIdentity::HowMany(uris.len())) };
        let (fleet, role) = read_uri(uri, Sha256::of(certificate.public_key().raw))?;
        let serial = certificate.raw_serial().try_into().map_err(|_| BadIdentity::Serial)?;
        let not_after_unix_s = certificate.validity().not_after.timestamp();
        Ok(Self {
            fleet,
            role,
            serial: Serial(serial),
            not_before_unix_s: certificate.validity().not_before.timestamp(),
            not_after_unix_s,
            expired: now_unix_s > not_after_unix_s,
            certificate: Shown(der.into()),
        })
    }

    /// The name alone, for a record: `web-1`, `alice`, `coordinator`.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.role {
            Role::Node(name, _) => name.as_str(),
            Role::Operator(name) => name,
            Role::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, certificate {}", self.role, self.serial)
    }
}

fn identity_uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.iter()),
        _ => None,
    });
    let uris = names.flatten().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some((*uri).to_owned()),
        _ => None,
    });
    uris.collect()
}

fn read_uri(uri: &str, key: NodeKey) -> Result<(FleetId, Role), BadIdentity> {
    let rest = uri.strip_prefix(SCHEME).ok_or(BadIdentity::Form)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let (fleet, role) = match parts.as_slice() {
        [fleet, "coordinator"] => (fleet, Role::Coordinator),
        [fleet, "node", name] => {
            (fleet, Role::Node(NodeName::parse(name).map_err(|_| BadIdentity::Form)?, key))
        }
        [fleet, "operator", name] if is_operator_name(name) => (fleet, Role::Operator((*name).to_owned())),
        _ => return Err(BadIdentity::Form),
    };
    Ok((FleetId::parse(fleet).map_err(|_| BadIdentity::Form)?, role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_forms_are_read() {
        let fleet = FleetId([0xab; 16]);
        let key = Sha256([1; 32]);
        let roles = [
            Role::Node(NodeName::parse("db-1.example").unwrap(), key),
            Role::Operator("alice@example.org".into()),
            Role::Coordinator,
        ];
        for role in roles {
            assert_eq!(read_uri(&identity_uri(fleet, &role), key), Ok((fleet, role)));
        }
        for bad in [
            "drydock://ab/node/x".to_owned(),
            format!("drydock://{fleet}/node/"),
            format!("drydock://{fleet}/node/a/b"),
            format!("drydock://{fleet}/node/../operator"),
            format!("drydock://{fleet}/operator/"),
            format!("drydock://{fleet}/operator/a b"),
            format!("drydock://{fleet}/coordinator/"),
            format!("drydock://{fleet}/admin/x"),
            format!("https://{fleet}/node/x"),
        ] {
            assert_eq!(read_uri(&bad, key), Err(BadIdentity::Form), "{bad}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for bad in [&b""[..], b"garbage", &[0x30, 0x82, 0xff, 0xff], &[0; 4096]] {
            assert_eq!(PeerIdentity::from_certificate(bad, 0), Err(BadIdentity::Encoding));
        }
    }
}
