//! From raw fields to checked values and back.

use drydock_types::{EffectId, Epoch, Fence, FleetId, Head, HeadConflict, InstanceId, JournalId, Sha256};

use crate::agent;

/// A field of a message that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} of a message has {got} bytes where {want} are due")]
pub struct BadField {
    field: &'static str,
    got: usize,
    want: usize,
}

fn exact<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], BadField> {
    bytes.try_into().map_err(|_| BadField { field, got: bytes.len(), want: N })
}

/// An effect id of 32 bytes.
///
/// # Errors
/// When it has another length.
pub fn effect_id(bytes: &[u8]) -> Result<EffectId, BadField> {
    exact("effect_id", bytes).map(EffectId)
}

/// A SHA-256 of 32 bytes.
///
/// # Errors
/// When it has another length.
pub fn sha256(bytes: &[u8]) -> Result<Sha256, BadField> {
    exact("sha256", bytes).map(Sha256)
}

/// A journal id of 16 bytes.
///
/// # Errors
/// When it has another length.
pub fn journal_id(bytes: &[u8]) -> Result<JournalId, BadField> {
    exact("journal_id", bytes).map(JournalId)
}

impl From<Fence> for agent::Fence {
    fn from(fence: Fence) -> Self {
        Self { epoch: fence.epoch.0, instance: fence.instance.0.to_vec() }
    }
}

impl TryFrom<&agent::Fence> for Fence {
    type Error = BadField;
    fn try_from(raw: &agent::Fence) -> Result<Self, BadField> {
        Ok(Self { epoch: Epoch(raw.epoch), instance: InstanceId(exact("fence.instance", &raw.instance)?) })
    }
}

impl From<Head> for agent::Head {
    fn from(head: Head) -> Self {
        let (fleet, hash) = (head.fleet.0.to_vec(), head.hash.0.to_vec());
        Self { fleet, epoch: head.epoch.0, seq: head.seq, hash }
    }
}

impl TryFrom<&agent::Head> for Head {
    type Error = BadField;
    fn try_from(raw: &agent::Head) -> Result<Self, BadField> {
        Ok(Self {
            fleet: FleetId(exact("head.fleet", &raw.fleet)?),
            epoch: Epoch(raw.epoch),
            seq: raw.seq,
            hash: Sha256(exact("head.hash", &raw.hash)?),
        })
    }
}

impl From<HeadConflict> for agent::HeadConflict {
    fn from(conflict: HeadConflict) -> Self {
        Self { kept: Some(conflict.kept.into()), told: Some(conflict.told.into()) }
    }
}

impl TryFrom<&agent::HeadConflict> for HeadConflict {
    type Error = BadField;
    fn try_from(raw: &agent::HeadConflict) -> Result<Self, BadField> {
        let missing = |field| BadField { field, got: 0, want: 32 };
        let kept = raw.kept.as_ref().ok_or_else(|| missing("conflict.kept"))?;
        let told = raw.told.as_ref().ok_or_else(|| missing("conflict.told"))?;
        Ok(Self { kept: kept.try_into()?, told: told.try_into()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_wrong_length_is_named() {
        let error = effect_id(&[0; 31]).unwrap_err();
        assert_eq!(error.to_string(), "effect_id of a message has 31 bytes where 32 are due");
    }

    #[test]
    fn a_fence_survives_the_wire() {
        let fence = Fence { epoch: Epoch(u64::MAX), instance: InstanceId([7; 16]) };
        assert_eq!(Fence::try_from(&agent::Fence::from(fence)), Ok(fence));
    }
}
