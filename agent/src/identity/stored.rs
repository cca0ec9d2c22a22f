//! The file's form.

use drydock_proto::tls::{
    Address, PrivateKey,
    key::{certificate_from_pem, certificate_to_pem},
};
use drydock_types::{FleetId, NodeName};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// As it stands in the file. No `Debug`: it holds the key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Form {
    version: u32,
    node: NodeName,
    fleet: FleetId,
    coordinator: String,
    ca: String,
    certificate: String,
    key: String,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) node: NodeName,
    pub(super) fleet: FleetId,
    pub(super) coordinator: Address,
    pub(super) ca: CertificateDer<'static>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKey,
}

impl Stored {
    /// The error never repeats what stands in the file.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let form: Form = serde_json::from_str(text).map_err(|why| {
            format!("not of the form expected, line {} column {}", why.line(), why.column())
        })?;
        if form.version != VERSION {
            return Err(format!("it has version {}, and this agent reads {VERSION}", form.version));
        }
        Ok(Self {
            node: form.node,
            fleet: form.fleet,
            coordinator: Address::parse(&form.coordinator).map_err(|why| why.to_string())?,
            ca: certificate_from_pem(&form.ca).map_err(|why| format!("ca: {why}"))?,
            certificate: certificate_from_pem(&form.certificate)
                .map_err(|why| format!("certificate: {why}"))?,
            key: PrivateKey::from_pem(&form.key).map_err(|why| why.to_string())?,
        })
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) node: &'a NodeName,
    pub(super) fleet: FleetId,
    pub(super) coordinator: &'a Address,
    pub(super) ca: &'a CertificateDer<'static>,
    pub(super) certificate: &'a CertificateDer<'static>,
    pub(super) key: &'a PrivateKey,
}

impl Write<'_> {
    pub(super) fn text(&self) -> String {
        let form = Form {
            version: VERSION,
            node: self.node.clone(),
            fleet: self.fleet,
            coordinator: self.coordinator.as_str().to_owned(),
            ca: certificate_to_pem(self.ca),
            certificate: certificate_to_pem(self.certificate),
            key: self.key.to_pem(),
        };
        // Strings and a number: the same encoder as every document.
        String::from_utf8(drydock_types::document::encode(&form)).unwrap_or_default()
    }
}
