//! Every node of a stage gets the same files: what each has fetched is compared with what the first one fetched. An
//! archive can change between two nodes, also under the same version.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};

use drydock_types::{
    PackageName, Sha256, Version,
    outcome::Evidence,
    packages::{ReleasePin, StagedPackage},
};

use crate::run::{NodeRun, Run};

/// What the last stage section of a node has fetched.
fn fetched(node: &NodeRun) -> Option<(&[StagedPackage], &[ReleasePin])> {
    node.evidence.iter().rev().find_map(|evidence| match evidence {
        Evidence::PackagesStaged { packages, releases } => Some((packages.as_slice(), releases.as_slice())),
        _ => None,
    })
}

type Files<'a> = BTreeMap<(&'a PackageName, &'a str), (&'a Version, Sha256)>;

fn files(packages: &[StagedPackage]) -> Files<'_> {
    packages.iter().map(|it| ((&it.name, it.architecture.as_str()), (&it.to, it.sha256))).collect()
}

/// Whether this node, which has just been staged, has other files than the first of its stage that was staged in this
/// run: what differs, for a person. What only one of the two has installed is no difference, nor is an archive that
/// was signed anew over the same files.
pub(super) fn differs(run: &Run, index: usize) -> Option<String> {
    let node = &run.nodes[index];
    let (here, releases) = fetched(node)?;
    let mut others = run.nodes.iter().enumerate().filter(|(at, _)| *at != index);
    let staged = |other: &NodeRun| other.stage == node.stage && other.staged;
    let (first, (there, first_releases)) =
        others.find_map(|(_, other)| fetched(other).filter(|_| staged(other)).map(|seen| (other, seen)))?;
    let (here, there) = (files(here), files(there));
    let ((name, _), (version, digest), (first_version, first_digest)) =
        here.iter().find_map(|(key, file)| {
            let other = there.get(key).filter(|other| *other != file)?;
            Some((*key, *file, *other))
        })?;
    let what = if version == first_version {
        let (digest, first_digest) = (digest.short(), first_digest.short());
        format!(
            "{name} {version} is sha256:{digest} for {} and sha256:{first_digest} for {}",
            node.name, first.name
        )
    } else {
        format!("{name} is {version} for {} and {first_version} for {}", node.name, first.name)
    };
    let changed = changed(releases, first_releases);
    Some(format!("the archive changed between {} and {}: {what}{changed}", first.name, node.name))
}

/// Which of the archives were signed anew in between.
fn changed(now: &[ReleasePin], before: &[ReleasePin]) -> String {
    let other = |pin: &&ReleasePin| !before.contains(pin);
    let names: Vec<&str> = now.iter().filter(other).map(|pin| pin.suite.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" (signed anew since: {})", names.join(", ")) }
}
