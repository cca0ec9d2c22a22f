//! Which version may follow which.

use alloc::{format, string::String};
use core::cmp::Ordering;

use drydock_types::Version;

use crate::recipe::VersionRules;

/// A step from one version to another that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The version stays; the build may be another.
    pub same: bool,
    /// A minor (or major) is crossed.
    pub crosses_minor: bool,
}

/// May `to` follow `from`?
///
/// # Errors
/// A sentence for the operator: a way down without permit, a minor left out, versions without an order.
pub fn judge(
    from: &Version,
    to: &Version,
    rules: &VersionRules,
    allow_downgrade: bool,
) -> Result<Hop, String> {
    let order = from.compare(to).ok_or_else(|| {
        format!("{from} and {to} have no order (their suffixes are of different families): nothing tells whether this goes up or down")
    })?;
    if order == Ordering::Greater && !allow_downgrade {
        return Err(format!(
            "{from} runs, and {to} is lower: versions do not go down unless the stage says `allowDowngrade: true`"
        ));
    }
    let ((from_major, from_minor), (to_major, to_minor)) = (from.minor(), to.minor());
    let crosses_minor = (from_major, from_minor) != (to_major, to_minor);
    if rules.one_minor_at_a_time && crosses_minor && order == Ordering::Less {
        if to_major != from_major {
            return Err(format!(
                "{from} → {to} crosses a major version; this recipe goes one minor at a time"
            ));
        }
        if to_minor - from_minor > 1 {
            return Err(format!(
                "{from} → {to} leaves out {from_major}.{next}: one minor at a time; upgrade to a {from_major}.{next} first",
                next = from_minor.saturating_add(1)
            ));
        }
    }
    Ok(Hop { same: order == Ordering::Equal, crosses_minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(from: &str, to: &str, down: bool) -> Result<Hop, String> {
        let rules = VersionRules { one_minor_at_a_time: true, ..VersionRules::default() };
        judge(&Version::parse(from).unwrap(), &Version::parse(to).unwrap(), &rules, down)
    }

    #[test]
    fn one_minor_up_is_allowed_and_said_to_cross() {
        assert_eq!(hop("3.4.23", "3.5.16", false), Ok(Hop { same: false, crosses_minor: true }));
        assert_eq!(hop("3.5.1", "3.5.16", false), Ok(Hop { same: false, crosses_minor: false }));
        assert_eq!(hop("3.5.16", "3.5.16", false), Ok(Hop { same: true, crosses_minor: false }));
    }

    #[test]
    fn a_minor_left_out_is_refused_and_named() {
        assert!(hop("3.4.23", "3.6.0", false).unwrap_err().contains("leaves out 3.5"));
        assert!(hop("2.3.8", "3.0.0", false).is_err());
    }

    #[test]
    fn versions_do_not_go_down_without_a_permit() {
        assert!(hop("3.5.16", "3.5.15", false).unwrap_err().contains("allowDowngrade"));
        assert!(hop("3.5.16", "3.4.23", true).is_ok());
    }

    #[test]
    fn numbers_at_their_limits_do_not_overflow() {
        assert!(hop("3.18446744073709551615.0", "4.0.0", false).is_err());
        assert!(hop("3.0.0", "3.18446744073709551615.0", false).is_err());
    }
}
