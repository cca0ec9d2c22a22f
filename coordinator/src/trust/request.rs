//! What a certificate request may ask for: a signature over its key, and nothing else.
//!
//! The CA takes only the public key anyway. A request that asks for more is refused all the same: somebody
//! is trying, or something is misconfigured, and both want to be seen.

use drydock_types::{NodeKey, NodeName, Sha256};
use rcgen::SubjectPublicKeyInfo;
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{ExtendedKeyUsage, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256},
    prelude::FromDer as _,
    x509::X509Name,
};

/// A request of ours has some 200 bytes.
const MAX_BYTES: usize = 4096;

/// Why a certificate request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// Not PKCS#10, something behind it, or too large.
    #[error("it is not a PKCS#10 request of at most {MAX_BYTES} bytes")]
    Encoding,
    /// Another kind of key.
    #[error("its key is not ECDSA P-256 signed with SHA-256")]
    Algorithm,
    /// Whoever sent it does not hold the key.
    #[error("its signature is not by its own key")]
    Signature,
    /// A subject that is not the node.
    #[error("it asks for the name {0:?}")]
    Subject(String),
    /// Further names.
    #[error("it asks for further names (subjectAltName); what a certificate names is the CA's to say")]
    ExtraNames,
    /// To be a CA.
    #[error("it asks to be a certificate authority")]
    Authority,
    /// An operator's, a server's, a signer's usage.
    #[error("it asks for a usage that a node does not have: {0}")]
    Usage(String),
    /// Something else.
    #[error("it asks for something that no node needs: {0}")]
    Other(String),
}

/// A request that asks for nothing but a signature over its key.
#[derive(Debug)]
pub struct CheckedRequest {
    /// The public key.
    pub public_key: SubjectPublicKeyInfo,
    /// The node identity that it stands for.
    pub node_key: NodeKey,
}

/// Checks a request for the node of this name.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(der: &[u8], name: &NodeName) -> Result<CheckedRequest, RequestRefusal> {
    if der.len() > MAX_BYTES {
        return Err(RequestRefusal::Encoding);
    }
    let request = match X509CertificationRequest::from_der(der) {
        Ok(([], request)) => request,
        Ok(_) | Err(_) => return Err(RequestRefusal::Encoding),
    };
    check_key(&request)?;
    check_subject(&request.certification_request_info.subject, name)?;
    for attribute in request.certification_request_info.attributes() {
        match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(wanted) => {
                wanted.extensions.iter().try_for_each(|one| check_extension(one.parsed_extension()))?;
            }
            _ => return Err(RequestRefusal::Other(format!("the attribute {}", attribute.oid))),
        }
    }
    let spki = request.certification_request_info.subject_pki.raw;
    let public_key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| RequestRefusal::Algorithm)?;
    Ok(CheckedRequest { public_key, node_key: Sha256::of(spki) })
}

fn check_key(request: &X509CertificationRequest<'_>) -> Result<(), RequestRefusal> {
    let key = &request.certification_request_info.subject_pki.algorithm;
    let curve = key.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_ours = key.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve == Some(OID_EC_P256)
        && request.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256;
    if !is_ours {
        return Err(RequestRefusal::Algorithm);
    }
    request.verify_signature().map_err(|_| RequestRefusal::Signature)
}

/// Empty, or exactly CN=NAME.
fn check_subject(subject: &X509Name<'_>, name: &NodeName) -> Result<(), RequestRefusal> {
    let shown: String = subject.to_string().chars().take(80).collect();
    let mut parts = subject.iter_attributes();
    let first_is_name = subject.iter_common_name().next().map(|cn| cn.as_str() == Ok(name.as_str()));
    match (parts.next(), parts.next(), first_is_name) {
        (None, None, _) | (Some(_), None, Some(true)) => Ok(()),
        _ => Err(RequestRefusal::Subject(shown)),
    }
}

fn check_extension(wanted: &ParsedExtension<'_>) -> Result<(), RequestRefusal> {
    match wanted {
        ParsedExtension::SubjectAlternativeName(_) => Err(RequestRefusal::ExtraNames),
        ParsedExtension::BasicConstraints(basic) if basic.ca => Err(RequestRefusal::Authority),
        ParsedExtension::BasicConstraints(_) => Ok(()),
        ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
            Err(RequestRefusal::Authority)
        }
        ParsedExtension::KeyUsage(usage) => match usage.flags {
            // digitalSignature alone: bit 0.
            1 => Ok(()),
            _ => Err(RequestRefusal::Usage(usage.to_string())),
        },
        ParsedExtension::ExtendedKeyUsage(usage) if is_client_alone(usage) => Ok(()),
        ParsedExtension::ExtendedKeyUsage(usage) => Err(RequestRefusal::Usage(usages(usage))),
        _ => Err(RequestRefusal::Other("an extension besides names and usages".to_owned())),
    }
}

fn is_client_alone(usage: &ExtendedKeyUsage<'_>) -> bool {
    usage.client_auth && usages(usage) == "clientAuth"
}

fn usages(usage: &ExtendedKeyUsage<'_>) -> String {
    let named = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "ocspSigning"),
    ];
    let named = named.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned());
    let other = usage.other.iter().map(ToString::to_string);
    named.chain(other).collect::<Vec<_>>().join(", ")
}
