//! Is an artifact what the section says, signed by somebody whom this node believes?
//!
//! The minisign signature is over the file's bytes; its trusted comment binds component, version, system, size
//! and digest. What stands in the signature's text is judged before the first byte is fetched; the signature
//! itself over the bytes as they pass, before they get their final name.

use std::fmt;

use drydock_types::{ArtifactRef, Section, section::ArtifactLabel};
use minisign_verify::{PublicKey, Signature, StreamVerifier};

use crate::{actions::Problem, policy::Policy};

/// A signature file has some 400 bytes.
const MAX_SIGNATURE_BYTES: usize = 4 << 10;

/// A signature whose label fits its section and whose key this node believes for the component. The bytes are
/// still to be seen.
#[derive(Clone)]
pub struct Signed {
    key: PublicKey,
    signature: Signature,
}

impl fmt::Debug for Signed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signed({:?})", self.signature.trusted_comment())
    }
}

impl Signed {
    /// Sees the bytes as they pass.
    pub(super) fn verifier(&self) -> Result<StreamVerifier<'_>, String> {
        self.key.verify_stream(&self.signature).map_err(|error| error.to_string())
    }
}

/// Judges all that can be judged without the bytes: form, label, floor, key.
///
/// # Errors
/// When the section has no artifact, or the signature is for something else, below the floor, or by a key that
/// this node does not believe for the component.
pub fn judge<'a>(policy: &Policy, section: &'a Section) -> Result<(&'a ArtifactRef, Signed), Problem> {
    let artifact = section.artifact.as_ref().ok_or_else(|| {
        let stage = &section.stage;
        Problem::new(format!("the section has no artifact; stage {stage} needs `artifact:` in the plan"))
    })?;
    let label = judge_label(section, artifact)?;
    policy.may_install(&label.component, &label.version)?;
    let signature = Signature::decode(&artifact.signature).map_err(|error| unreadable(&error))?;
    let key = believed_key(policy, section, &signature)?;
    Ok((artifact, Signed { key, signature }))
}

fn judge_label(section: &Section, artifact: &ArtifactRef) -> Result<ArtifactLabel, Problem> {
    if artifact.signature.len() > MAX_SIGNATURE_BYTES {
        return Err(unreadable(&format_args!("it has over {MAX_SIGNATURE_BYTES} bytes")));
    }
    let signature = Signature::decode(&artifact.signature).map_err(|error| unreadable(&error))?;
    let label =
        ArtifactLabel::from_comment(signature.trusted_comment()).map_err(|error| unreadable(&error))?;
    let arch = std::env::consts::ARCH;
    let other = |what: &str, signed: &dyn fmt::Display, due: &dyn fmt::Display| {
        let what = format!("the artifact is signed as {what} {signed}, but this section needs {due}");
        Err(Problem::new(what).next("sign the right file: drydock artifact sign"))
    };
    if label.component != section.component {
        return other("component", &label.component, &section.component);
    }
    if label.version != section.to {
        return other("version", &label.version, &section.to);
    }
    if label.os != "linux" || label.arch != arch {
        return other("for", &format_args!("{}/{}", label.os, label.arch), &format_args!("linux/{arch}"));
    }
    if label.size != artifact.size {
        return other("size", &label.size, &artifact.size);
    }
    if label.sha256 != artifact.sha256 {
        return other("SHA-256", &label.sha256, &artifact.sha256);
    }
    Ok(label)
}

fn unreadable(why: &dyn fmt::Display) -> Problem {
    Problem::new(format!("the artifact's signature cannot be read: {why}")).next("drydock artifact sign")
}

/// The key that the signature names, if this node believes it for this component.
fn believed_key(policy: &Policy, section: &Section, signature: &Signature) -> Result<PublicKey, Problem> {
    for believed in policy.signing_keys_for(&section.component)? {
        let Ok(key) = PublicKey::from_base64(&believed.key) else { continue };
        match key.verify_stream(signature).map(|_| ()) {
            Ok(()) => return Ok(key),
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(minisign_verify::Error::UnsupportedLegacyMode) => {
                let what = "the artifact's signature is of minisign's old form, which is not believed";
                return Err(
                    Problem::new(what).next("sign with minisign 0.10 or later, or drydock artifact sign")
                );
            }
            Err(error) => return Err(unreadable(&error)),
        }
    }
    let component = &section.component;
    let what = format!("the artifact is signed by a key that this node does not believe for {component}");
    Err(Problem::new(what)
        .next("sign with a key of [[signing_keys]], or root adds the key to the agent's policy"))
}
