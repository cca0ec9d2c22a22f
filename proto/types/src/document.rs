//! How a document becomes bytes and bytes become a document.
//!
//! The bytes are what is hashed and stored, never a re-encoding of them. Reading is strict: an unknown
//! key or anything behind the document's end is an error, so a safety field that this side does not know
//! can never be dropped in silence.

use alloc::{string::String, string::ToString, vec::Vec};

use serde::{Serialize, de::DeserializeOwned};

/// The largest document that is read: 4 MiB. A plan for thousands of nodes fits well below.
pub const MAX_BYTES: usize = 4 << 20;

/// Why bytes are not the document that they were said to be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unreadable {
    /// The document is larger than [`MAX_BYTES`].
    #[error("a document of {0} bytes is over the limit of {MAX_BYTES}")]
    TooLarge(usize),
    /// The bytes do not have the form of the document.
    #[error("not a {document}: {why}")]
    Form {
        /// What was expected.
        document: &'static str,
        /// What the reader said, with line and column.
        why: String,
    },
}

/// The bytes of a document: JSON, fields in the order of their definition, maps sorted.
///
/// # Panics
/// Never for the documents of this crate: their keys are strings and they hold no foreign serializer.
#[must_use]
pub fn encode<T: Serialize>(document: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "string keys and plain data cannot fail to serialize")]
    serde_json::to_vec(document).expect("plain data serializes")
}

/// Reads a document strictly.
///
/// # Errors
/// When it is too large, is not JSON, has an unknown key or is not of the type's form.
pub fn decode<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, Unreadable> {
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge(bytes.len()));
    }
    decode_own(document, bytes)
}

/// Reads what this program itself has written, as strictly: [`MAX_BYTES`] is for what others send. A state
/// that could be written and not be read again would stop its owner for ever.
///
/// # Errors
/// When it is not JSON, has an unknown key or is not of the type's form.
pub fn decode_own<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(bytes).map_err(|error| Unreadable::Form { document, why: error.to_string() })
}
