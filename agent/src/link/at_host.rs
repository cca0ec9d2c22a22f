//! The link's two other ends in a real agent: the identity dials, the host is looked at.

use async_trait::async_trait;
use drydock_types::{
    Signature,
    probe::{HostFacts, Observation, Probe},
    signed::Purpose,
};
use tonic::{Status, transport::Channel};

use super::{Dialer, Eyes, Signer};
use crate::{actions::Problem, executor::AtHost, identity::Identity, probes};

#[async_trait]
impl Dialer for Identity {
    async fn dial(&self) -> Result<Channel, String> {
        self.channel().await.map_err(|error| error.to_string())
    }

    async fn renew_if_due(&self, channel: &Channel) -> Result<bool, String> {
        Self::renew_if_due(self, channel).await.map_err(|error| error.to_string())
    }

    fn explain(&self, status: &Status) -> Option<String> {
        Self::explain(self, status).map(|error| error.to_string())
    }
}

impl Signer for Identity {
    fn sign(&self, purpose: Purpose, about: &[u8; 32], document: &[u8]) -> Option<Signature> {
        Self::sign(self, purpose, about, document)
    }
}

#[async_trait]
impl Eyes for AtHost {
    fn facts(&self) -> HostFacts {
        probes::host::look(&self.0)
    }

    async fn look(&self, probe: &Probe) -> Result<Observation, Problem> {
        probes::look(&self.0, probe).await
    }
}
