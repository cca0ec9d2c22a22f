//! Which packages this node lets be changed.

use drydock_types::PackageName;
use serde::Deserialize;

/// A package's name, or the beginning of names: `libvirt-daemon`, `openvswitch-*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PackagePattern {
    stem: String,
    open: bool,
}

impl PackagePattern {
    /// Does it name this package?
    #[must_use]
    pub fn covers(&self, package: &PackageName) -> bool {
        let name = package.as_str();
        if self.open { name.starts_with(&self.stem) } else { name == self.stem }
    }
}

impl TryFrom<String> for PackagePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (stem, open) = text.strip_suffix('*').map_or((text.as_str(), false), |stem| (stem, true));
        // What stands before the star must be a name's beginning: a star alone would open every package.
        match PackageName::parse(stem.trim_end_matches(['-', '.', '+'])) {
            Ok(_) => Ok(Self { stem: stem.to_owned(), open }),
            Err(_) => Err(format!(
                "{:?} is not a package: write its name, such as \"openvswitch-switch\", or a beginning of at least two \
                 characters with a star behind it, such as \"openvswitch-*\"",
                text.chars().take(80).collect::<String>()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<PackagePattern, String> {
        PackagePattern::try_from(text.to_owned())
    }

    #[test]
    fn a_name_covers_itself_and_a_star_what_begins_so() {
        let package = |name: &str| PackageName::parse(name).unwrap();
        assert!(pattern("openvswitch-*").unwrap().covers(&package("openvswitch-switch")));
        assert!(!pattern("openvswitch-*").unwrap().covers(&package("openvswitch")));
        assert!(!pattern("openvswitch").unwrap().covers(&package("openvswitch-switch")));
        assert!(pattern("libvirt*").unwrap().covers(&package("libvirt0")));
    }

    #[test]
    fn what_would_open_everything_or_is_no_name_is_refused() {
        for bad in ["*", "", "a*", "-*", "li*virt", "libvirt**", "foo=1", "Foo", "a b", "$(id)"] {
            assert!(pattern(bad).is_err(), "{bad:?} was taken");
        }
    }
}
