//! `versionSkew`: the versions that run across the stage's nodes may stand beside the target version.
//!
//! What may follow what on the node itself is judged by the core at the gate; here it is the others: with
//! one minor at a time, nobody may be more than one minor away from the version that is about to join.

use std::collections::BTreeMap;

use drydock_types::{NodeName, Verdict, Version, step::VersionSource};
use futures_util::future::join_all;

use super::Scene;

/// Observes and judges.
pub(super) async fn verdict(scene: &Scene<'_>) -> Verdict {
    let request = scene.request;
    let Some(source) = &request.detect.version else {
        return Verdict::Refused("the recipe says nowhere how a version is read".to_string());
    };
    let versions: BTreeMap<NodeName, Result<Version, String>> = match source {
        VersionSource::Etcd {} => {
            scene.etcd.iter().map(|(node, view)| (node.clone(), super::etcd_version(view))).collect()
        }
        _ => {
            let sources =
                request.peers.iter().filter_map(|(node, detect)| Some((node, detect.version.as_ref()?)));
            let ask = sources.map(|(node, source)| async move {
                (node.clone(), super::version(scene.sessions, node, source).await)
            });
            join_all(ask).await.into_iter().collect()
        }
    };
    judge(&versions, &request.to, request.one_minor_at_a_time)
}

/// Every node's version is known, and none is more than a minor away from the target.
#[must_use]
pub fn judge(
    versions: &BTreeMap<NodeName, Result<Version, String>>,
    to: &Version,
    one_minor: bool,
) -> Verdict {
    if versions.is_empty() {
        return Verdict::Unknown("no node of the stage was looked at".to_string());
    }
    for (node, version) in versions {
        let version = match version {
            Ok(version) => version,
            Err(why) => return Verdict::Unknown(format!("the version on {node} is not known: {why}")),
        };
        let ((major, minor), (to_major, to_minor)) = (version.minor(), to.minor());
        if one_minor && (major != to_major || minor.abs_diff(to_minor) > 1) {
            let why =
                format!("{node} runs {version}, more than one minor away from {to}: bring it nearer first");
            return Verdict::Refused(why);
        }
    }
    Verdict::Clear
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(versions: &[(&str, Result<&str, &str>)]) -> Verdict {
        let parse = |version: &Result<&str, &str>| {
            version.map(|text| Version::parse(text).unwrap()).map_err(str::to_string)
        };
        let versions =
            versions.iter().map(|(node, version)| (NodeName::parse(node).unwrap(), parse(version)));
        judge(&versions.collect(), &Version::parse("3.5.16").unwrap(), true)
    }

    #[test]
    fn a_node_two_minors_away_is_refused_by_name() {
        assert_eq!(judged(&[("a", Ok("3.4.23")), ("b", Ok("3.5.16"))]), Verdict::Clear);
        assert!(
            matches!(judged(&[("a", Ok("3.3.0"))]), Verdict::Refused(why) if why.contains("a runs 3.3.0"))
        );
        assert!(matches!(judged(&[("a", Ok("3.7.0"))]), Verdict::Refused(_)));
    }

    #[test]
    fn a_version_that_is_not_known_is_unknown() {
        assert!(matches!(judged(&[("a", Ok("3.4.23")), ("b", Err("silent"))]), Verdict::Unknown(_)));
    }

    #[test]
    fn nobody_looked_at_is_unknown_and_not_clear() {
        assert!(matches!(judged(&[]), Verdict::Unknown(_)));
    }

    #[test]
    fn another_major_is_refused_and_without_the_rule_any_known_version_is_clear() {
        assert!(matches!(judged(&[("a", Ok("2.5.16"))]), Verdict::Refused(_)));
        assert!(matches!(judged(&[("a", Ok("4.5.16"))]), Verdict::Refused(_)));
        let versions = BTreeMap::from([(NodeName::parse("a").unwrap(), Ok(Version::parse("1.0").unwrap()))]);
        assert_eq!(judge(&versions, &Version::parse("3.5.16").unwrap(), false), Verdict::Clear);
    }
}
