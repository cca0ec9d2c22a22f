//! Names that are checked once, at the edge.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A text that is not what it was said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {why}")]
pub struct Invalid {
    what: &'static str,
    text: String,
    why: String,
}

impl Invalid {
    /// `why` says what the right form is.
    #[must_use]
    pub fn new(what: &'static str, text: &str, why: &str) -> Self {
        // A hostile text may be long; what is shown of it is not.
        let text = text.chars().take(80).collect();
        Self { what, text, why: why.to_owned() }
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// When it is not of the form that the type's documentation gives.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                check(text).map_err(|why| Invalid::new($what, text, why))?;
                Ok(Self(text.to_string()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, out)
            }
        }

        impl core::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(|error| D::Error::custom(format!("{error}")))
            }
        }
    };
}

/// Letters, digits and inner `-` `.`; the form that host names and certificates share.
fn host_like(text: &str) -> Result<(), &'static str> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.len() > 63
        || !edge(text.chars().next())
        || !edge(text.chars().next_back())
        || !text.chars().all(inner)
    {
        return Err("1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit");
    }
    Ok(())
}

/// A systemd service, spelled out: no templates' bare `@`, no path, no flag, no shell.
fn unit(text: &str) -> Result<(), &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '@');
    let stem = text.strip_suffix(".service").ok_or("it must end in .service")?;
    if stem.is_empty() || stem.ends_with('@') || text.len() > 255 {
        return Err("a unit has a name before .service, 255 characters at most");
    }
    if stem.starts_with(['-', '.']) || !stem.chars().all(fine) {
        return Err("a unit's name has letters, digits and : - _ . @ only, and does not begin with - or .");
    }
    Ok(())
}

/// Absolute and already in its simplest form, so that what is compared is what is opened.
fn absolute_path(text: &str) -> Result<(), &'static str> {
    if text.len() > 1024 || text.chars().any(char::is_control) {
        return Err("a path has 1024 bytes at most and no control characters");
    }
    let parts = text.strip_prefix('/').ok_or("the path must be absolute")?;
    if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the path must name a file with no empty part, '.' or '..'");
    }
    Ok(())
}

/// A distribution's package, in the strictest form that one of them has (Debian policy 5.6.1): no flag, no shell, no
/// `=VERSION`, `/SUITE`, `:ARCH` or trailing `-` that apt would read as an order.
fn package(text: &str) -> Result<(), &'static str> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    // `g++` is one; `apt-get install foo-` would remove foo.
    let last = text.chars().next_back();
    if text.len() < 2 || text.len() > 128 || !edge(text.chars().next()) || !text.chars().all(fine) {
        return Err("2 to 128 of a-z, 0-9, '+', '-' and '.', beginning with a letter or digit");
    }
    if last == Some('-') {
        return Err("it must not end in '-', which tells apt to remove it");
    }
    Ok(())
}

fn label(text: &str) -> Result<(), &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    if text.is_empty() || text.len() > 128 || !text.chars().all(fine) {
        return Err("1 to 128 letters, digits and - _ . / :");
    }
    Ok(())
}

checked_text!(
    /// A node's name: 1 to 63 of `a-z`, `0-9`, `-`, `.`; begins and ends with a letter or digit.
    NodeName, "node name", host_like
);
checked_text!(
    /// A component: `etcd`, `k3s`, `drydock-agent`. The form of a node name.
    ComponentName, "component name", host_like
);
checked_text!(
    /// A Kubernetes cluster, as operators call it. The form of a node name.
    ClusterName, "cluster name", host_like
);
checked_text!(
    /// A systemd service unit. Characters that systemd allows, ends in `.service`, never begins with `-`.
    UnitName, "service unit", unit
);
checked_text!(
    /// A package of the distribution, or a source that packages are built from: `libvirt-daemon`, `g++-12`.
    PackageName, "package name", package
);
checked_text!(
    /// An absolute path of a file, without `.`, `..`, doubled or trailing slashes, or control characters.
    AbsPath, "path", absolute_path
);
checked_text!(
    /// A label's key or value: 1 to 128 letters, digits and `- _ . / :`.
    Label, "label", label
);

impl UnitName {
    /// A name that stands in this crate.
    pub(crate) fn known(text: &'static str) -> Self {
        debug_assert!(unit(text).is_ok(), "{text}");
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_are_flags_paths_or_shell_are_refused() {
        for bad in [
            "foo;reboot",
            "--flag",
            "-x.service",
            "a\0.service",
            "a\n.service",
            "x@.service",
            ".service",
            "../x.service",
            "a/b.service",
            "foo.socket",
            "é.service",
        ] {
            assert!(UnitName::parse(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["etcd.service", "getty@tty1.service", "dbus-org.freedesktop.login1.service"] {
            assert!(UnitName::parse(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn paths_that_climb_or_are_relative_are_refused() {
        for bad in
            ["usr/bin/x", "/usr/../etc/shadow", "/usr//bin/x", "/usr/bin/", "/", "/a/./b", "/a\0b", "/a\nb"]
        {
            assert!(AbsPath::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert!(AbsPath::parse("/usr/bin/etcd").is_ok());
    }

    #[test]
    fn packages_that_are_flags_orders_or_shell_are_refused() {
        for bad in [
            "-o", "--purge", "a;reboot", "foo-", "foo=1.0", "foo/sid", "foo:i386", "Foo", "a", "$(id)",
            "a b", "../x", "a\n", "*", "",
        ] {
            assert!(PackageName::parse(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["g++", "libvirt-daemon-system", "qemu-system-x86", "0ad", "libstdc++6"] {
            assert!(PackageName::parse(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn an_error_shows_only_the_beginning_of_a_long_text() {
        let error = NodeName::parse(&"x".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 300);
    }
}
