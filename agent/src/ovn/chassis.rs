//! What the local database of Open vSwitch says of the chassis: its name, its southbound database, its bridge.

use std::collections::BTreeMap;

use drydock_types::ovn::MATCH_NORTHD;

use super::{
    controller::Given,
    rows::{self, Row},
};
use crate::{openvswitch::database::plain_name, sys::units::printable_line};

/// Asked of the local database.
pub(super) const ASK: &str = concat!(
    r#"["Open_vSwitch","#,
    r#"{"op":"select","table":"Open_vSwitch","where":[],"columns":["external_ids"]},"#,
    r#"{"op":"select","table":"SSL","where":[],"columns":["private_key","certificate","ca_cert"]},"#,
    r#"{"op":"select","table":"Bridge","where":[],"columns":["name","protocols"]}]"#
);

/// The longest address of a database that is taken.
const MAX_REMOTE_BYTES: usize = 4096;

/// Files of keys: never their content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// The private key's file.
    pub private_key: String,
    /// The certificate's file.
    pub certificate: String,
    /// The file of the authority's certificate.
    pub ca_cert: String,
}

/// A chassis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chassis {
    /// Its name, raw.
    pub name: String,
    /// Where its southbound database is, as `ovsdb-client` takes it; or why that cannot be used.
    pub remote: Result<String, String>,
    /// Keys for that.
    pub keys: Option<Keys>,
    /// The bridge that its controller writes flows to.
    pub bridge: String,
    /// The OpenFlow versions that this speaks, as set.
    pub protocols: Vec<String>,
    /// Does it refuse to follow a northd of another version?
    pub matches_northd: bool,
}

/// The local database's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    external_ids: BTreeMap<String, String>,
    keys: Option<Keys>,
    bridges: BTreeMap<String, Vec<String>>,
}

impl Local {
    /// Reads the answer to [`ASK`].
    pub(super) fn parse(said: &str) -> Result<Self, String> {
        let [switch, ssl, bridges] = rows::parse::<3>(said)?;
        let external_ids = rows::only("Open_vSwitch", &switch)?.map("external_ids")?;
        let bridges = bridges.iter().map(|row| Ok((row.text("name")?, row.texts("protocols")?)));
        let keys = ssl.first().map(keys).transpose()?;
        Ok(Self { external_ids, keys, bridges: bridges.collect::<Result<_, String>>()? })
    }

    /// Is there an ovn-controller to be expected here?
    pub(super) fn is_chassis(&self) -> bool {
        self.external_ids.keys().any(|key| key == "ovn-remote" || key.starts_with("ovn-remote-"))
    }

    /// The chassis. Its name is that of the controller's command line, else of the file that overrides, else of the database.
    ///
    /// # Errors
    /// When the node has no name as a chassis, or its bridge one that cannot be handed to tools.
    pub(super) fn chassis(&self, given: &Given, override_file: Option<&str>) -> Result<Chassis, String> {
        let name = given.chassis.as_deref().or(override_file);
        let name = name.or_else(|| self.external_ids.get("system-id").map(String::as_str));
        let name = name.filter(|name| !name.is_empty()).ok_or("external_ids has no system-id")?.to_owned();
        let bridge = self.setting("ovn-bridge", &name).unwrap_or("br-int").to_owned();
        plain_name(&bridge)?;
        let remote = self.setting("ovn-remote", &name).ok_or("external_ids has no ovn-remote".to_owned());
        Ok(Chassis {
            remote: remote.and_then(|remote| usable(remote).map(|()| remote.to_owned())),
            keys: given.keys.clone().or_else(|| self.keys.clone()),
            protocols: self.bridges.get(&bridge).cloned().unwrap_or_default(),
            matches_northd: self
                .setting(MATCH_NORTHD, &name)
                .is_some_and(|it| it.eq_ignore_ascii_case("true")),
            bridge,
            name,
        })
    }

    /// What is set for this chassis alone comes before what is set for all.
    fn setting(&self, key: &str, chassis: &str) -> Option<&str> {
        let own = self.external_ids.get(&format!("{key}-{chassis}"));
        own.or_else(|| self.external_ids.get(key)).map(String::as_str)
    }
}

fn keys(row: &Row) -> Result<Keys, String> {
    Ok(Keys {
        private_key: row.text("private_key")?,
        certificate: row.text("certificate")?,
        ca_cert: row.text("ca_cert")?,
    })
}

/// Addresses that a client dials, separated by commas: it is an argument of a program.
fn usable(remote: &str) -> Result<(), String> {
    let dialled = |part: &str| {
        ["tcp:", "ssl:", "unix:"]
            .iter()
            .any(|kind| part.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
            && part.chars().all(|c| c.is_ascii_graphic())
    };
    if remote.len() <= MAX_REMOTE_BYTES && remote.split(',').all(dialled) {
        return Ok(());
    }
    Err(format!(
        "ovn-remote is {:?}, which is no list of tcp:, ssl: and unix: addresses",
        printable_line(remote)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Open vSwitch 3.1.0 answered on a chassis.
    const RECORDED: &str = include_str!("recorded-local.json");

    fn with(from: &str, to: &str) -> Local {
        assert!(RECORDED.contains(from), "{from}");
        Local::parse(&RECORDED.replace(from, to)).unwrap()
    }

    fn chassis(local: &Local) -> Chassis {
        local.chassis(&Given::default(), None).unwrap()
    }

    #[test]
    fn a_recorded_answer_is_read() {
        let local = Local::parse(RECORDED).unwrap();
        assert!(local.is_chassis());
        let expected = Chassis {
            name: "n1".into(),
            remote: Ok("tcp:127.0.0.1:6642".into()),
            keys: None,
            bridge: "br-int".into(),
            protocols: vec![],
            matches_northd: false,
        };
        assert_eq!(chassis(&local), expected);
    }

    #[test]
    fn the_name_is_the_command_lines_then_the_files_then_the_databases() {
        let local = Local::parse(RECORDED).unwrap();
        let given = Given { chassis: Some("cli".into()), keys: None };
        assert_eq!(local.chassis(&given, Some("file")).unwrap().name, "cli");
        assert_eq!(local.chassis(&Given::default(), Some("file")).unwrap().name, "file");
        let none = with("[\"system-id\",\"n1\"]", "[\"system-idd\",\"n1\"]");
        assert!(none.chassis(&Given::default(), None).unwrap_err().contains("no system-id"));
    }

    #[test]
    fn what_is_set_for_one_chassis_alone_comes_first() {
        let local = with(
            "[\"system-id\",\"n1\"]",
            "[\"system-id\",\"n1\"],[\"ovn-bridge\",\"br-a\"],[\"ovn-bridge-n1\",\"br-b\"]",
        );
        assert_eq!(chassis(&local).bridge, "br-b");
        for (value, matches) in [("true", true), ("TRUE", true), ("false", false), ("1", false)] {
            let set = format!("[\"system-id\",\"n1\"],[\"{MATCH_NORTHD}\",\"{value}\"]");
            assert_eq!(chassis(&with("[\"system-id\",\"n1\"]", &set)).matches_northd, matches, "{value}");
        }
    }

    #[test]
    fn names_with_quotes_and_newlines_are_kept_as_they_are_and_addresses_that_are_none_not_used() {
        assert_eq!(chassis(&with("\"n1\"", r#""a\"b\n'; reboot""#)).name, "a\"b\n'; reboot");
        for bad in [
            "--bootstrap-ca-cert=/etc/shadow",
            "tcp:",
            "ptcp:6642",
            "tcp:1.2.3.4:1,--x",
            "",
            "tcp:a\\nb",
            "tcp:a b",
        ] {
            let local = with("tcp:127.0.0.1:6642", bad);
            assert!(chassis(&local).remote.unwrap_err().contains("which is no list"), "{bad}");
        }
        let two = chassis(&with("tcp:127.0.0.1:6642", "ssl:[::1]:6642,unix:/run/ovn/ovnsb_db.sock"));
        assert!(two.remote.is_ok());
        let bridge = with("[\"system-id\",\"n1\"]", "[\"system-id\",\"n1\"],[\"ovn-bridge\",\"--all br\"]");
        assert!(bridge.chassis(&Given::default(), None).unwrap_err().contains("a bridge is called"));
    }

    #[test]
    fn a_node_without_a_southbound_database_is_no_chassis() {
        assert!(!with("\"ovn-remote\"", "\"ovn-remot\"").is_chassis());
    }
}
