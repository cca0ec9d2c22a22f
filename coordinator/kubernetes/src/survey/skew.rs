//! Which versions of servers and kubelets may be together.
//!
//! Source: Kubernetes, "Version Skew Policy": servers within one minor of each other, no kubelet newer than the oldest
//! server, none more than three minors older than the newest.

/// What of the policy is broken, a line each.
pub(super) fn findings(servers: &[&str], kubelets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut minors = Vec::new();
    for version in servers {
        match minor(version) {
            Some(minor) => minors.push((minor, *version)),
            None => found.push(format!("a server says that it is {version}, which is no version")),
        }
    }
    let (Some(oldest), Some(newest)) = (minors.iter().min(), minors.iter().max()) else { return found };
    if newest.0.0 != oldest.0.0 || newest.0.1 - oldest.0.1 > 1 {
        found.push(format!("servers are {} and {}: more than one minor apart", oldest.1, newest.1));
    }
    for version in kubelets {
        match minor(version) {
            None => found.push(format!("a kubelet says that it is {version}, which is no version")),
            Some(kubelet) if kubelet > oldest.0 => {
                found.push(format!("a kubelet is {version}, newer than a server ({})", oldest.1));
            }
            Some(kubelet) if kubelet.0 != newest.0.0 || newest.0.1 - kubelet.1 > 3 => {
                found.push(format!("a kubelet is {version}, more than three minors older than {}", newest.1));
            }
            Some(_) => {}
        }
    }
    found
}

/// `v1.33.4+k3s1` → (1, 33).
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_may_be_together_are_no_finding() {
        for (servers, kubelets) in [
            (&["v1.33.4+k3s1"][..], &["v1.33.4+k3s0", "v1.30.0"][..]),
            (&["v1.33.4", "v1.34.0"], &["v1.33.9", "v1.31.2"]),
            (&[], &["v1.33.0"]),
        ] {
            assert_eq!(findings(servers, kubelets), Vec::<String>::new(), "{servers:?} {kubelets:?}");
        }
    }

    #[test]
    fn versions_that_may_not_are_each_named() {
        for (servers, kubelets, words) in [
            (&["v1.33.4", "v1.35.0"][..], &[][..], "more than one minor apart"),
            (&["v1.33.4", "v1.34.0"], &["v1.34.0"], "newer than a server (v1.33.4)"),
            (&["v1.34.0"], &["v1.30.9"], "more than three minors older"),
            (&["v1.34.0"], &["v2.0.0"], "newer than a server"),
            (&["1.34"], &[], "no version"),
            (&["v1.34.0"], &["latest"], "no version"),
        ] {
            let found = findings(servers, kubelets);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(words), "{found:?}");
        }
    }
}
