//! A section: what the agent does in one phase, sent whole and journalled whole.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{ComponentName, EffectId, Millis, NodeName, RunId, Sha256, Step, Version, step::UndoGuard};

/// Which phase of the node's life the section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SectionKind {
    /// Before the node leaves service: fetch, verify, dry checks.
    Stage,
    /// Snapshot or backup, verified and off the node.
    Protect,
    /// The change itself, with its local verification.
    Apply,
    /// Takes an earlier change back, in reverse, from what the journal recorded of it.
    Undo,
}

impl SectionKind {
    /// The word in effect ids, logs and screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Protect => "protect",
            Self::Apply => "apply",
            Self::Undo => "undo",
        }
    }
}

/// A typed program of steps. The unit of effect, of pause and of idempotency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Section {
    /// The same id returns the stored outcome; with other bytes it is refused.
    pub effect: EffectId,
    /// The run it belongs to.
    pub run: RunId,
    /// The run's number, for logs that people read.
    pub run_number: u64,
    /// The plan's stage.
    pub stage: String,
    /// The node that it is for; an agent of another name refuses it.
    pub node: NodeName,
    /// Which phase.
    pub kind: SectionKind,
    /// What is changed.
    pub component: ComponentName,
    /// The version that ran when the node was last looked at, as the coordinator saw it.
    pub from: Option<Version>,
    /// The version that must run afterwards.
    pub to: Version,
    /// The plan permits going down from `from` to `to`.
    pub allow_downgrade: bool,
    /// The binary, where the recipe needs one.
    pub artifact: Option<ArtifactRef>,
    /// Done in order: check, apply, verify of each.
    pub steps: Vec<Step>,
    /// Looked at after all steps; a failure undoes the section.
    pub verify: Vec<Step>,
    /// All must hold when undo is wanted, else the binary is left alone and the run holds.
    pub can_undo: Vec<UndoGuard>,
    /// Of an undo section: the apply section that it takes back. Such a section has no steps of its own.
    pub undoes: Option<EffectId>,
    /// `true`: undo on failure. `false`: leave as it is and hold.
    pub undo_on_failure: bool,
    /// The whole section's deadline; past it the step at work is failed and undo begins.
    pub deadline: Millis,
    /// The change can cut the node off: a revert is armed before it, outside of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_confirmed: Option<CommitConfirmed>,
    /// Safety fields that the agent must know by name, else it refuses.
    pub requires: Vec<String>,
}

/// A change that the node takes back by itself unless it is confirmed in time.
///
/// Confirmed: every step and look of the section passed, no address, route or rule was lost, and afterwards the
/// coordinator was heard *or* one of the witnesses took a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitConfirmed {
    /// From the arming until the change is taken back.
    pub within: Millis,
    /// `host:port` of gateways and peers. At least one: with none an outage of the coordinator would take back
    /// a change that is well.
    pub witness: Vec<String>,
}

/// An artifact, named by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactRef {
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Its size in bytes. What is longer is cut off and refused.
    pub size: u64,
    /// The whole minisign signature file, as text. Its trusted comment binds what the artifact is.
    pub signature: String,
}

/// What a trusted comment says: `drydock:v1 component=etcd version=3.5.16 os=linux arch=x86_64 size=… sha256=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactLabel {
    /// The component.
    pub component: ComponentName,
    /// Its version.
    pub version: Version,
    /// `linux`.
    pub os: String,
    /// `x86_64`, `aarch64`: the words of Rust's target triples.
    pub arch: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the bytes.
    pub sha256: Sha256,
}

impl ArtifactLabel {
    /// The trusted comment.
    #[must_use]
    pub fn to_comment(&self) -> String {
        let Self { component, version, os, arch, size, sha256 } = self;
        alloc::format!(
            "drydock:v1 component={component} version={version} os={os} arch={arch} size={size} sha256={sha256}"
        )
    }

    /// Reads a trusted comment strictly: these keys, in this order, once each.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_comment(comment: &str) -> Result<Self, crate::Invalid> {
        let bad = || {
            let form = "its form is: drydock:v1 component=… version=… os=… arch=… size=… sha256=…";
            crate::Invalid::new("trusted comment of an artifact", comment, form)
        };
        let mut words = comment.split(' ');
        if words.next() != Some("drydock:v1") {
            return Err(bad());
        }
        let mut value = |key: &str| {
            let word = words.next().ok_or_else(bad)?;
            word.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).ok_or_else(bad)
        };
        let label = Self {
            component: ComponentName::parse(value("component")?)?,
            version: Version::parse(value("version")?)?,
            os: value("os")?.into(),
            arch: value("arch")?.into(),
            size: value("size")?.parse().map_err(|_| bad())?,
            sha256: Sha256::parse(value("sha256")?)?,
        };
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 32
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if words.next().is_some() || !plain(&label.os) || !plain(&label.arch) {
            return Err(bad());
        }
        Ok(label)
    }
}

/// What agents of this build know of the `requires` list.
pub const KNOWN_REQUIREMENTS: [&str; 3] = ["canUndo", "commitConfirmed", "undoOnFailure"];

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> ArtifactLabel {
        ArtifactLabel {
            component: ComponentName::parse("etcd").unwrap(),
            version: Version::parse("3.5.16").unwrap(),
            os: "linux".into(),
            arch: "x86_64".into(),
            size: 9,
            sha256: Sha256::of(b"x"),
        }
    }

    #[test]
    fn a_trusted_comment_reads_back_what_it_says() {
        assert_eq!(ArtifactLabel::from_comment(&label().to_comment()), Ok(label()));
    }

    #[test]
    fn a_trusted_comment_with_more_less_or_other_words_is_refused() {
        let good = label().to_comment();
        for bad in [
            good.replace("drydock:v1", "drydock:v2"),
            alloc::format!("{good} x=1"),
            good.replace(" os=linux", ""),
            good.replace("size=9", "size=-9"),
            good.replace("arch=x86_64", "arch="),
            good.replace(' ', "  "),
        ] {
            assert!(ArtifactLabel::from_comment(&bad).is_err(), "{bad}");
        }
    }
}
