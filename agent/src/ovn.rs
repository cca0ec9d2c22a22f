//! ovn-controller on a chassis: its own word, the southbound database's, and the bridge's.
//!
//! | module | what it does |
//! |---|---|
//! | [`chassis`] | the node's name, database and bridge, by the local database of Open vSwitch |
//! | [`controller`] | the process, by its pid file, and what it answers over its control socket |
//! | `southbound` | which generation is asked for, and which this chassis has reached |
//! | `rows` | answers of OVSDB servers, strictly |
//!
//! What cannot be seen is said and never guessed: whether a chassis has caught up nobody knows without the southbound database.

pub mod chassis;
pub mod controller;
mod rows;
mod southbound;

use std::{fs, path::PathBuf, time::Duration};

use drydock_types::ovn::OvnView;
use tokio::time::timeout;

use self::{
    chassis::{Chassis, Local},
    controller::{Controller, Given},
};
use crate::{
    actions::Problem,
    openvswitch::{
        flows::{self, Dialect, Tables},
        said,
    },
    sys::{
        blocking,
        exec::{self, Program},
        units::printable_line,
    },
};

/// How long the local database may take to answer.
const LOCAL: Duration = Duration::from_secs(2);
/// How long each of the others may: they are asked at once, and a look from afar is not waited for longer than 6 s in all.
const ANSWER: Duration = Duration::from_secs(3);
/// So much longer a tool is waited for than its own patience lasts, so that it says itself what it waited for.
const MARGIN: Duration = Duration::from_millis(250);
/// The most bytes of a database's answer: a row or two, and the names of bridges.
const MAX_ANSWER: usize = 4 << 20;
/// Where Debian's build looks for a name that overrides the database's (tried with 23.03.1).
const OVERRIDE: &str = "/etc/system-id-override";

/// What is asked, and where it is found.
#[derive(Debug, Clone)]
pub struct Tools {
    client: Option<PathBuf>,
    appctl: Option<PathBuf>,
    controller: Option<PathBuf>,
    run: PathBuf,
    override_file: PathBuf,
}

impl Tools {
    /// As they are installed.
    #[must_use]
    pub fn installed() -> Self {
        Self {
            client: exec::find("ovsdb-client"),
            appctl: exec::find("ovn-appctl"),
            controller: exec::find("ovn-controller"),
            run: "/run/ovn".into(),
            override_file: OVERRIDE.into(),
        }
    }

    /// Asks a database. `whom` it is, for people.
    async fn ask(&self, args: Vec<String>, within: Duration, whom: &str) -> Result<String, String> {
        let client = self.client.as_ref().ok_or("ovsdb-client is not installed on this node")?;
        let own = ["-vconsole:off".to_owned(), format!("--timeout={}", within.as_secs())];
        let program = Program::new(client).args(own).args(args).deadline(within + MARGIN);
        said(program, &format!("ovsdb-client, asking {whom}"), MAX_ANSWER)
            .await
            .map_err(|problem| problem.what)
    }

    async fn local(&self) -> Result<Local, Problem> {
        let said =
            self.ask(vec!["transact".to_owned(), chassis::ASK.to_owned()], LOCAL, "Open vSwitch").await;
        said.and_then(|said| Local::parse(&said)).map_err(|why| {
            Problem::new(format!("the local database of Open vSwitch: {why}"))
                .next("systemctl status ovsdb-server; ovs-vsctl show")
        })
    }
}

/// A look, with what it was made of.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What is handed out.
    pub view: OvnView,
    /// The chassis.
    pub chassis: Chassis,
    /// The process, or why there is none.
    pub controller: Result<Controller, Problem>,
}

/// Looks at everything but the flows, which take their time: their number is for [`look`].
///
/// # Errors
/// When the node is no chassis, or its local database cannot be asked.
pub async fn at(tools: &Tools) -> Result<Seen, Problem> {
    let (controller, chassis) = here(tools).await?;
    let view = asked(tools, &controller, &chassis).await;
    Ok(Seen { view, chassis, controller })
}

/// The process and the chassis, without asking either.
async fn here(tools: &Tools) -> Result<(Result<Controller, Problem>, Chassis), Problem> {
    let local = tools.local().await?;
    if !local.is_chassis() {
        return Err(Problem::new("this node is no chassis of OVN: external_ids has no ovn-remote")
            .next("ovs-vsctl get Open_vSwitch . external_ids; leave the node out, or configure OVN on it"));
    }
    let controller = Controller::find(tools).await;
    let given = controller.as_ref().map_or_else(|_| Given::default(), |it| it.given.clone());
    let file = overridden(tools).await?;
    let chassis = local.chassis(&given, file.as_deref()).map_err(|why| {
        Problem::new(format!("this chassis of OVN: {why}")).next("ovs-vsctl get Open_vSwitch . external_ids")
    })?;
    Ok((controller, chassis))
}

/// What controller and southbound database answer, asked at once.
async fn asked(tools: &Tools, controller: &Result<Controller, Problem>, chassis: &Chassis) -> OvnView {
    let none = |problem: &Problem| problem.what.clone();
    let version = async { controller.as_ref().map_err(none)?.version(tools).await };
    let connection = async { controller.as_ref().map_err(none)?.connection(tools).await };
    let (version, connection, southbound) =
        tokio::join!(version, connection, southbound::look(tools, chassis));
    OvnView {
        version,
        connection,
        chassis: printable_line(&chassis.name),
        bridge: chassis.bridge.clone(),
        flows: Err("not asked".to_owned()),
        matches_northd: chassis.matches_northd,
        southbound,
    }
}

/// The file's first line, which comes before the database's name.
async fn overridden(tools: &Tools) -> Result<Option<String>, Problem> {
    let path = tools.override_file.clone();
    blocking(move || match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::new(format!("{}: {error}", path.display()))),
    })
    .await
}

/// Looks, also at how many flows the integration bridge has.
///
/// # Errors
/// As [`at`].
pub async fn look() -> Result<OvnView, Problem> {
    let tools = Tools::installed();
    let (controller, chassis) = here(&tools).await?;
    let (mut view, counted) =
        tokio::join!(asked(&tools, &controller, &chassis), timeout(ANSWER, tables(&chassis)));
    view.flows = match counted {
        Ok(Ok((_, tables))) => Ok(tables.flows.count),
        Ok(Err(problem)) => Err(problem.what),
        Err(_) => Err(format!("they were not counted within {} s", ANSWER.as_secs())),
    };
    Ok(view)
}

/// What the integration bridge has been told, and the OpenFlow version that it was asked in.
///
/// # Errors
/// When it cannot be read.
pub async fn tables(chassis: &Chassis) -> Result<(Dialect, Tables), Problem> {
    let dialect = flows::dialect(&chassis.bridge, &chassis.protocols).await?;
    Ok((dialect, flows::look(&chassis.bridge, dialect).await?))
}

/// Is a southbound database configured on this node?
///
/// # Errors
/// When the local database cannot be asked.
pub async fn is_chassis(tools: &Tools) -> Result<bool, Problem> {
    Ok(tools.local().await?.is_chassis())
}

/// Why what OVN writes on this node is not what the southbound database asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// In words.
    pub why: String,
    /// Does it do nothing on purpose, until northd has its version?
    pub stands_still: bool,
}

/// Has OVN's controller caught up, where there is one? A node that is no chassis has nothing to catch up with.
///
/// # Errors
/// Why not, or why nobody can tell.
pub async fn caught_up() -> Result<(), Behind> {
    let tools = Tools::installed();
    let unseen = |problem: Problem| Behind { why: problem.what, stands_still: false };
    if !is_chassis(&tools).await.map_err(unseen)? {
        return Ok(());
    }
    let seen = at(&tools).await.map_err(unseen)?;
    let behind = |why| Behind { why, stands_still: seen.view.stands_still().is_some() };
    seen.view.caught_up().map(drop).map_err(behind)
}

#[cfg(test)]
mod tests;
