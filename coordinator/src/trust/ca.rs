//! The fleet's certificate authority: the only maker of certificates, and the only thing that is believed.
//!
//! Two files in its directory: `ca.pem`, which anybody may see, and `ca-key.sealed`. The certificate is
//! written last: a directory without it holds no CA.

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use drydock_proto::tls::{
    PrivateKey, Role, Serial,
    key::{certificate_from_pem, certificate_to_pem},
    peer::{identity_uri, is_operator_name},
    private_file::{self, PrivateFileError},
};
use drydock_types::{FleetId, NodeKey, NodeName, Sha256};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, string::Ia5String,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{
    request::{self, RequestRefusal},
    seal::{SealError, SealingKey, random},
};

/// The CA's certificate.
pub const CERTIFICATE_FILE: &str = "ca.pem";
/// Its key, sealed.
pub const KEY_FILE: &str = "ca-key.sealed";
/// What the sealed key is bound to.
const PURPOSE: &str = "drydock ca key";

const DAY_S: i64 = 24 * 60 * 60;
/// How long the CA is valid.
const CA_TTL_S: i64 = 3650 * DAY_S;
/// How long a node's certificate is valid when no setting says otherwise.
pub const NODE_TTL_S: i64 = 14 * DAY_S;
/// How long an operator's is.
pub const OPERATOR_TTL_S: i64 = 365 * DAY_S;
/// How long the coordinator's own is. It makes itself a new one at every start and at half of this.
pub const SERVER_TTL_S: i64 = 30 * DAY_S;
/// A certificate begins this much before it is made: clocks differ.
const BACK_S: i64 = 5 * 60;

/// Why there is no CA or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// `create` where one is.
    #[error("{0} exists: there is a CA already")]
    Exists(PathBuf),
    /// `open` where none is.
    #[error("there is no CA here: {0} does not exist")]
    Missing(PathBuf),
    /// The certificate or the key is not what it must be.
    #[error("the CA in {dir} is damaged: {why}")]
    Damaged {
        /// Where it is.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key does not open.
    #[error("the CA's key: {0}")]
    Sealed(#[from] SealError),
    /// The request.
    #[error("the certificate request is refused: {0}")]
    Request(#[from] RequestRefusal),
    /// The name.
    #[error("{0:?} is not a name for {1}")]
    Name(String, &'static str),
    /// The library that encodes and signs.
    #[error("a certificate could not be made: {0}")]
    Encoding(String),
    /// The files.
    #[error("{path}: {why}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A private file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

impl From<rcgen::Error> for CaError {
    fn from(why: rcgen::Error) -> Self {
        Self::Encoding(why.to_string())
    }
}

/// A certificate that was just made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Itself, DER.
    pub certificate: CertificateDer<'static>,
    /// Its number: what a revocation names.
    pub serial: Serial,
    /// SHA-256 of its public key.
    pub key: NodeKey,
    /// When it ends.
    pub not_after_unix_s: i64,
}

/// The authority. Its key is in memory in clear for as long as it lives.
pub struct Ca {
    fleet: FleetId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Ca {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Ca(fleet {}, pin {})", self.fleet, self.pin().short())
    }
}

impl Ca {
    /// Makes the CA of a new fleet.
    ///
    /// # Errors
    /// When there is one already, or the disk does not take it.
    pub fn create(
        dir: &Path,
        fleet: FleetId,
        sealing: &SealingKey,
        now_unix_s: i64,
    ) -> Result<Self, CaError> {
        let place = dir.join(CERTIFICATE_FILE);
        if place.exists() {
            return Err(CaError::Exists(place));
        }
        let key = new_key()?;
        let mut params = params(now_unix_s, CA_TTL_S, &format!("Drydock CA of fleet {fleet}"))?.0;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("drydock://{fleet}/ca"))?];
        params.use_authority_key_identifier_extension = false;
        let pem = key.to_pem();
        let certificate = params.self_signed(&key.into_signer())?;
        private_file::write(&dir.join(KEY_FILE), &sealing.seal(PURPOSE, pem.as_bytes())?)?;
        private_file::write(&place, certificate_to_pem(certificate.der()).as_bytes())?;
        Self::open(dir, sealing)
    }

    /// Opens the CA of this directory.
    ///
    /// # Errors
    /// When there is none, the sealing key is another one, or certificate and key do not belong together.
    pub fn open(dir: &Path, sealing: &SealingKey) -> Result<Self, CaError> {
        let damaged = |why: &str| CaError::Damaged { dir: dir.to_owned(), why: why.to_owned() };
        let place = dir.join(CERTIFICATE_FILE);
        let pem = fs::read_to_string(&place).map_err(|why| match why.kind() {
            std::io::ErrorKind::NotFound => CaError::Missing(place.clone()),
            _ => CaError::Io { path: place.clone(), why },
        })?;
        let sealed_at = dir.join(KEY_FILE);
        let sealed = fs::read(&sealed_at).map_err(|why| CaError::Io { path: sealed_at, why })?;
        let opened = String::from_utf8(sealing.open(PURPOSE, &sealed)?).map_err(|_| damaged("its key"))?;
        let key = PrivateKey::from_pem(&opened).map_err(|_| damaged("its key"))?;
        let certificate = certificate_from_pem(&pem).map_err(|_| damaged("its certificate"))?;
        let (fleet, of_key) = read_ca(&certificate).ok_or_else(|| damaged("its certificate"))?;
        if of_key != key.node_key() {
            return Err(damaged("certificate and key do not belong together"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key.into_signer())?;
        Ok(Self { fleet, certificate, issuer })
    }

    /// Does this directory hold one?
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(CERTIFICATE_FILE).exists()
    }

    /// The fleet.
    #[must_use]
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// The CA's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What a join token carries: SHA-256 of the certificate.
    #[must_use]
    pub fn pin(&self) -> Sha256 {
        Sha256::of(&self.certificate)
    }

    /// A node's certificate. Nothing of the request but its public key goes into it.
    ///
    /// # Errors
    /// When the request asks for more than a node may have, or is not by its own key.
    pub fn issue_node(
        &self,
        csr_der: &[u8],
        name: &NodeName,
        ttl_s: i64,
        now_unix_s: i64,
    ) -> Result<Issued, CaError> {
        let request = request::check(csr_der, name)?;
        let role = Role::Node(name.clone(), request.node_key);
        self.issue(&role, vec![], &request.public_key, ttl_s, now_unix_s)
    }

    /// An operator's certificate and its key, which is kept nowhere here.
    ///
    /// # Errors
    /// When the name is not an operator's.
    pub fn issue_operator(
        &self,
        name: &str,
        ttl_s: i64,
        now_unix_s: i64,
    ) -> Result<(Issued, PrivateKey), CaError> {
        if !is_operator_name(name) {
            return Err(CaError::Name(name.chars().take(80).collect(), "an operator"));
        }
        self.with_new_key(&Role::Operator(name.to_owned()), vec![], ttl_s, now_unix_s)
    }

    /// The coordinator's own certificate, reachable under these names and addresses. Drydock's clients do
    /// not judge by them (see `drydock_proto::tls::verify`); a browser or curl does.
    ///
    /// # Errors
    /// When a name is neither a host name nor an address.
    pub fn issue_server(
        &self,
        names: &[String],
        ttl_s: i64,
        now_unix_s: i64,
    ) -> Result<(Issued, PrivateKey), CaError> {
        let names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        self.with_new_key(&Role::Coordinator, names, ttl_s, now_unix_s)
    }

    fn with_new_key(
        &self,
        role: &Role,
        names: Vec<SanType>,
        ttl_s: i64,
        now_unix_s: i64,
    ) -> Result<(Issued, PrivateKey), CaError> {
        let key = new_key()?;
        let pem = key.to_pem();
        let issued = self.issue(role, names, &key.into_signer(), ttl_s, now_unix_s)?;
        let key = PrivateKey::from_pem(&pem).map_err(|why| CaError::Encoding(why.to_string()))?;
        Ok((issued, key))
    }

    fn issue(
        &self,
        role: &Role,
        mut names: Vec<SanType>,
        public_key: &impl PublicKeyData,
        ttl_s: i64,
        now_unix_s: i64,
    ) -> Result<Issued, CaError> {
        let title = match role {
            Role::Node(name, _) => name.to_string(),
            Role::Operator(name) => name.clone(),
            Role::Coordinator => "drydock coordinator".to_owned(),
        };
        let (mut params, serial) = params(now_unix_s, ttl_s, &title)?;
        names.insert(0, uri(&identity_uri(self.fleet, role))?);
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Coordinator => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Node(..) | Role::Operator(_) => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let certificate = params.signed_by(public_key, &self.issuer)?;
        let key = Sha256::of(&public_key.subject_public_key_info());
        let not_after_unix_s = now_unix_s + ttl_s;
        Ok(Issued { certificate: certificate.into(), serial, key, not_after_unix_s })
    }
}

fn new_key() -> Result<PrivateKey, CaError> {
    PrivateKey::generate().map_err(|why| CaError::Encoding(why.to_string()))
}

/// The parameters that all certificates share: validity, number, a title for people.
fn params(now_unix_s: i64, ttl_s: i64, title: &str) -> Result<(CertificateParams, Serial), CaError> {
    let at = |unix_s: i64| {
        let since_1970 = std::time::Duration::from_secs(u64::try_from(unix_s).unwrap_or(0));
        rcgen::date_time_ymd(1970, 1, 1) + since_1970
    };
    let serial = new_serial()?;
    let mut params = CertificateParams::default();
    params.not_before = at(now_unix_s - BACK_S);
    params.not_after = at(now_unix_s + ttl_s);
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, title);
    params.use_authority_key_identifier_extension = true;
    Ok((params, serial))
}

/// 16 random bytes that DER writes as exactly these 16: positive, and no leading zero.
fn new_serial() -> Result<Serial, SealError> {
    let mut serial: [u8; 16] = random()?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(Serial(serial))
}

fn uri(text: &str) -> Result<SanType, CaError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}

fn server_name(text: &str) -> Result<SanType, CaError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if text.is_empty() || text.len() > 253 || !text.chars().all(plain) {
        return Err(CaError::Name(text.chars().take(80).collect(), "a server"));
    }
    Ok(SanType::DnsName(Ia5String::try_from(text)?))
}

/// The fleet that a CA's certificate names, and the mark of its key.
fn read_ca(der: &[u8]) -> Option<(FleetId, NodeKey)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let fleet = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("drydock://")?.strip_suffix("/ca"),
        _ => None,
    })?;
    Some((FleetId::parse(fleet).ok()?, Sha256::of(certificate.public_key().raw)))
}
