//! Open vSwitch, through its own tools: what it has, what of it is saved, how that is replayed.
//!
//! | module | what it does |
//! |---|---|
//! | [`database`] | reads what `ovs-vsctl --format=json` answers, strictly |
//! | [`flows`] | flows, groups, meters: streamed, counted, with a digest that does not depend on their order |
//! | [`daemons`] | which processes serve, and whether they run what is installed |
//! | [`module`] | the kernel's own part, which a reload does not exchange |
//! | [`compare`] | what differs between two looks |
//! | [`saved`] | the picture and the flows on the disk, and their replay |
//! | [`reload`] | the reload itself, and the mending of one that went wrong |
//!
//! Everything that cannot be seen is an error: "no bridges" is believed only when the database has said so.

pub mod compare;
pub mod daemons;
pub mod database;
pub mod flows;
pub mod module;
pub mod reload;
pub mod saved;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use drydock_types::openvswitch::{Bridge, OpenvswitchView};
use serde::{Deserialize, Serialize};

use self::{database::Database, flows::Dialect};
use crate::{
    actions::Problem,
    sys::{
        blocking,
        exec::{self, Program},
        network::Network,
        units::printable_line,
    },
};

/// How long one call of a tool may take that asks for little.
const CALL: Duration = Duration::from_secs(5);
/// The most bytes of the database that are read. 1000 interfaces are about 200 KiB.
const MAX_DATABASE: usize = 16 << 20;

/// A look, with what is needed to ask the bridges again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// What is handed out.
    pub view: OpenvswitchView,
    /// The OpenFlow version of each bridge, as it was asked.
    pub dialects: BTreeMap<String, Dialect>,
    /// The bridges whose flows a controller writes: OVN's, and those with a controller of their own.
    pub controlled: Vec<String>,
}

/// A tool by its name.
///
/// # Errors
/// When it is not installed.
pub(crate) fn tool(name: &str) -> Result<PathBuf, Problem> {
    exec::find(name).ok_or_else(|| {
        Problem::new(format!("{name} is not installed"))
            .next("install openvswitch-switch, or leave the node out")
    })
}

/// Runs a tool; what it says, or why it failed, in its own words.
///
/// # Errors
/// When it cannot be run, fails, does not end in time, or says more than `max` bytes.
pub(crate) async fn said(program: Program, what: &str, max: usize) -> Result<String, Problem> {
    let output =
        program.max_output(max).run().await.map_err(|error| Problem::new(format!("{what}: {error}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = printable_line(why.lines().next().unwrap_or("it said nothing"));
        return Err(Problem::new(format!("{what}: {} ({why})", output.status))
            .next("systemctl status ovsdb-server ovs-vswitchd; ovs-vsctl show"));
    }
    if output.stdout.len() >= max {
        return Err(Problem::new(format!("{what}: it answered more than {max} bytes")));
    }
    String::from_utf8(output.stdout).map_err(|_| Problem::new(format!("{what}: it did not answer UTF-8")))
}

/// The version in `ovs-vswitchd (Open vSwitch) 3.1.0`.
pub(crate) fn version_in(said: &str) -> Result<String, String> {
    let first = said.lines().next().unwrap_or_default();
    let version =
        first.rsplit_once(") ").or_else(|| first.rsplit_once(' ')).map(|(_, version)| version.trim());
    match version {
        Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) && version.len() <= 64 => {
            Ok(printable_line(version))
        }
        _ => Err(format!("it answered {:?}, which is no version", printable_line(first))),
    }
}

async fn version(target: &str) -> Result<String, String> {
    let ask = async {
        let program =
            Program::new(tool("ovs-appctl")?).args(["-t", target, "-T", "4", "version"]).deadline(CALL);
        said(program, &format!("ovs-appctl -t {target} version"), 4096).await
    };
    ask.await.map_err(|problem| problem.what).and_then(|said| version_in(&said))
}

/// The database as it is now.
///
/// # Errors
/// When it cannot be reached, or answers in another form than expected.
pub async fn database() -> Result<Database, Problem> {
    asked(Program::new(tool("ovs-vsctl")?).deadline(CALL)).await
}

async fn asked(vsctl: Program) -> Result<Database, Problem> {
    let program = vsctl.args(["--timeout=4", "--format=json"]).args(database::ASK);
    let said = said(program, "Open vSwitch's database (ovs-vsctl)", MAX_DATABASE).await?;
    Database::parse(&said).map_err(|why| Problem::new(format!("Open vSwitch's database: {why}")))
}

/// Looks at the whole switch.
///
/// # Errors
/// When any of it cannot be seen.
pub async fn look() -> Result<Seen, Problem> {
    let database = database().await?;
    let network = blocking(|| {
        Network::look().map_err(|error| Problem::new(format!("the node's addresses cannot be read: {error}")))
    })
    .await?;
    let mut bridges = BTreeMap::new();
    let mut dialects = BTreeMap::new();
    for (name, row) in &database.bridges {
        let dialect = flows::dialect(name, row.protocols()).await?;
        let table = flows::look(name, dialect).await?;
        let bridge = Bridge {
            datapath_type: row.datapath_type.clone(),
            fail_mode: row.fail_mode.clone(),
            controllers: row.controllers.clone(),
            other_config: row.other_config.clone(),
            ports: row.ports.clone(),
            flows: table.flows.count,
            flows_digest: table.flows.digest(),
            groups: table.groups.count,
            groups_digest: table.groups.digest(),
            meters: table.meters.count,
            meters_digest: table.meters.digest(),
            has_address: has_address(&network, name),
        };
        dialects.insert(name.clone(), dialect);
        bridges.insert(name.clone(), bridge);
    }
    let view = OpenvswitchView {
        version: version("ovs-vswitchd").await,
        db_version: version("ovsdb-server").await,
        schema: database.schema.clone(),
        other_config: database.other_config.clone(),
        flow_restore_wait: database.flow_restore_wait(),
        dpdk: database.dpdk(),
        bridges,
    };
    Ok(Seen { view, dialects, controlled: database.controlled() })
}

/// Does the bridge's own interface carry an address that is more than link-local?
fn has_address(network: &Network, bridge: &str) -> bool {
    let end = format!(" dev {bridge}");
    network.addresses.iter().any(|it| it.text.ends_with(&end) && !it.text.starts_with("address fe80:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_daemons_say_them() {
        assert_eq!(version_in("ovs-vswitchd (Open vSwitch) 3.1.0\n").unwrap(), "3.1.0");
        assert_eq!(version_in("ovsdb-server (Open vSwitch) 3.1.0\n").unwrap(), "3.1.0");
        assert_eq!(version_in("ovn-controller 23.03.1\nOpen vSwitch Library 3.1.2\n").unwrap(), "23.03.1");
        assert!(version_in("ovs-appctl: cannot read pidfile\n").is_err());
        assert!(version_in("").is_err());
    }

    #[tokio::test]
    async fn a_tool_that_fails_or_says_too_much_is_no_answer() {
        let sh = |script: &str| Program::new("/bin/sh").args(["-c", script]);
        let why = said(sh("echo '\u{1b}[2Jno' >&2; exit 1"), "x", 100).await.unwrap_err();
        assert_eq!(why.what, "x: exit status: 1 (\\u{1b}[2Jno)");
        assert!(
            said(sh("head -c 200 /dev/zero"), "x", 100).await.unwrap_err().what.contains("more than 100")
        );
        assert!(said(sh("printf '\\377'"), "x", 100).await.unwrap_err().what.contains("UTF-8"));
    }

    #[tokio::test]
    async fn a_client_that_hangs_never_ends_its_answer_or_is_not_itself_is_no_empty_switch() {
        // Its arguments are the client's.
        let of = |script: &str| Program::new("/bin/sh").args(["-c", script, "ovs-vsctl"]);
        let begun = tokio::time::Instant::now();
        let hangs = asked(of("sleep 600").deadline(Duration::from_millis(300))).await.unwrap_err();
        assert!(hangs.what.contains("ovs-vsctl") && hangs.what.contains("had not ended"), "{hangs}");
        assert!(begun.elapsed() < Duration::from_secs(30));
        let endless = of("yes '{\"headings\":[],\"data\":[' | head -c 40000000").deadline(CALL * 12);
        let endless = asked(endless).await.unwrap_err();
        assert!(endless.what.contains(&format!("more than {MAX_DATABASE} bytes")), "{endless}");
        for (script, word) in
            [("true", "0 tables"), ("cat /dev/null; exit 1", "exit status: 1"), ("echo no", "JSON")]
        {
            let why = asked(of(script).deadline(CALL)).await.unwrap_err();
            assert!(why.what.contains(word), "{script}: {why}");
        }
    }
}
