//! What this node's key signs for the record.

use drydock_types::{
    Signature,
    signed::{Purpose, message},
};

use super::Identity;

impl Identity {
    /// Signs a document: what it is for, and what it is about (an effect id, a nonce). `None`, and said in the
    /// log, when the system gives no randomness: the coordinator refuses what is not signed and asks again.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, about: &[u8; 32], document: &[u8]) -> Option<Signature> {
        let message = message(purpose, self.fleet(), self.node_key(), about, document);
        let signed = self.inner.key.sign(&message);
        signed.inspect_err(|why| tracing::error!(%why, "what was to be reported could not be signed")).ok()
    }
}
