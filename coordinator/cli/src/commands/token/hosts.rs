//! The file of `token create --from`: a node's name a line, its labels behind it, `#` for remarks.

use std::path::Path;

use drydock_types::NodeName;

use crate::{commands::LabelPair, error::CliError, local_file};

/// The largest such file.
const MAX_BYTES: u64 = 1 << 20;

/// A node that is to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name.
    pub(super) name: NodeName,
    /// Labels from its line.
    pub(super) labels: Vec<LabelPair>,
}

/// Reads the whole file before anything is asked of anybody.
pub(super) fn read(path: &Path) -> Result<Vec<Host>, CliError> {
    parse(&local_file::read_text(path, MAX_BYTES)?, &path.display().to_string())
}

fn parse(text: &str, file: &str) -> Result<Vec<Host>, CliError> {
    let mut hosts: Vec<Host> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |why: String| {
            CliError::usage(format!("{file}:{}: {why}", number + 1))
                .hint("a line is: NODE [key=value …]  # remark")
        };
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let name = NodeName::parse(name).map_err(|why| bad(why.to_string()))?;
        if hosts.iter().any(|host| host.name == name) {
            return Err(bad(format!("{name} stands in this file twice")));
        }
        let labels: Result<Vec<LabelPair>, _> = words.map(str::parse).collect();
        hosts.push(Host { name, labels: labels.map_err(|why| bad(why.to_string()))? });
    }
    if hosts.is_empty() {
        return Err(CliError::usage(format!("{file} names no node")));
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_hosts_has_a_node_a_line_with_its_labels() {
        let hosts =
            parse("# the control plane\nctl-1 role=etcd zone=a\n\n  ctl-2  # no labels\n", "hosts.txt")
                .unwrap();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["ctl-1", "ctl-2"]);
        assert_eq!(
            hosts[0].labels.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["role=etcd", "zone=a"]
        );
        assert_eq!(hosts[1].labels, []);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (text, want) in [
            ("ctl-1\nCTL_2\n", "hosts.txt:2: \"CTL_2\" is not a node name"),
            ("ctl-1\n\nctl-1\n", "hosts.txt:3: ctl-1 stands in this file twice"),
            ("ctl-1 zone\n", "hosts.txt:1: \"zone\" is not a label"),
            ("# nothing\n", "hosts.txt names no node"),
        ] {
            let error = parse(text, "hosts.txt").unwrap_err();
            assert_eq!(error.exit.code(), 2);
            assert!(error.to_string().starts_with(want), "{error}");
        }
    }
}
