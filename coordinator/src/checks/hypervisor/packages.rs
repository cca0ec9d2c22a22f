//! `packages`: the package manager may be used.

use drydock_core::recipe::PackagesCheck;
use drydock_types::{Verdict, packages::PackagesView};

/// How many of a list are named.
const NAMED: usize = 5;

/// Judges what was seen. What is on hold, and what runs although it is not installed any more, is no reason against a
/// change: the one is the step's to judge, the other what a restart cures.
pub(super) fn judge(view: &PackagesView, config: PackagesCheck) -> Verdict {
    if let Some(who) = &view.at_work {
        return Verdict::Waiting(format!("a package manager is at work: {who}"));
    }
    if !view.half_done.is_empty() && !config.repair {
        return Verdict::Refused(format!(
            "dpkg has not ended its work: {}; see dpkg --audit, then dpkg --configure -a on the node, or `repair: true` in a new plan",
            some(&view.half_done)
        ));
    }
    if view.manager == "apt" {
        return Verdict::Clear;
    }
    Verdict::Unknown(format!("its package manager is {:?}, which this build does not know", view.manager))
}

fn some(list: &[String]) -> String {
    let named = list.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(at_work: Option<&str>, half_done: &[&str]) -> PackagesView {
        PackagesView {
            manager: "apt".into(),
            at_work: at_work.map(Into::into),
            half_done: half_done.iter().map(ToString::to_string).collect(),
            held: Vec::new(),
            stale: Vec::new(),
            unread: Vec::new(),
        }
    }

    #[test]
    fn only_a_package_manager_that_rests_and_has_ended_its_work_is_clear() {
        let (strict, repairs) = (PackagesCheck { repair: false }, PackagesCheck { repair: true });
        let half = view(None, &["ovs: half-configured"]);
        let busy = view(Some("dpkg (pid 812) holds /var/lib/dpkg/lock"), &[]);
        assert_eq!(judge(&view(None, &[]), strict), Verdict::Clear);
        assert_eq!(judge(&half, repairs), Verdict::Clear);
        for (seen, config, kind, word) in [
            (&busy, strict, "waiting", "dpkg (pid 812)"),
            (&busy, repairs, "waiting", "dpkg (pid 812)"),
            (&half, strict, "refused", "ovs: half-configured"),
            (&PackagesView { manager: "dnf".into(), ..view(None, &[]) }, strict, "unknown", "dnf"),
        ] {
            let (found, why) = match judge(seen, config) {
                Verdict::Clear => ("clear", String::new()),
                Verdict::Waiting(why) => ("waiting", why),
                Verdict::Refused(why) => ("refused", why),
                Verdict::Unknown(why) => ("unknown", why),
            };
            assert_eq!(found, kind, "{why}");
            assert!(why.contains(word), "{why}");
        }
        let many: Vec<String> = (0..9).map(|i| format!("p{i}: unpacked")).collect();
        assert!(some(&many).ends_with("and 4 more"));
    }
}
