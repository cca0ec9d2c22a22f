//! What `ovs-vsctl --format=json` answers, read strictly. Names come from whoever may create ports.

use std::collections::BTreeMap;

use drydock_types::{Sha256, openvswitch::Port};
use serde::Deserialize;
use serde_json::Value;

use crate::{ovsdb, sys::units::printable_line};

/// One transaction, so that its tables belong together.
pub(super) const ASK: [&str; 19] = [
    "--columns=db_version,other_config,external_ids,dpdk_initialized",
    "list",
    "Open_vSwitch",
    "--",
    "--columns=name,datapath_type,fail_mode,protocols,controller,other_config,ports",
    "list",
    "Bridge",
    "--",
    "--columns=_uuid,name,interfaces",
    "list",
    "Port",
    "--",
    "--columns=_uuid,name,ofport,error,type",
    "list",
    "Interface",
    "--",
    "--columns=_uuid,target",
    "list",
    "Controller",
];

/// The most characters of an interface's name that are shown; Linux takes 15.
const LONGEST_NAME: usize = 300;
/// `flow-restore-wait`, in `other_config` of the whole switch.
pub const FLOW_RESTORE_WAIT: &str = "flow-restore-wait";

/// What the database has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    /// Version of its schema.
    pub schema: String,
    /// `other_config` of the whole switch.
    pub other_config: BTreeMap<String, String>,
    /// `external_ids` of the whole switch.
    pub external_ids: BTreeMap<String, String>,
    /// Each bridge.
    pub bridges: BTreeMap<String, BridgeRow>,
    dpdk_initialized: bool,
}

/// One bridge in the database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BridgeRow {
    /// `system`, `netdev`.
    pub datapath_type: String,
    /// `secure`, `standalone`; empty where it is not set.
    pub fail_mode: String,
    /// Addresses of its controllers.
    pub controllers: Vec<String>,
    /// `other_config`.
    pub other_config: BTreeMap<String, String>,
    /// Its interfaces.
    pub ports: BTreeMap<String, Port>,
    protocols: Vec<String>,
}

impl BridgeRow {
    /// The OpenFlow versions that it speaks, as set; empty: Open vSwitch's default.
    #[must_use]
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    headings: Vec<String>,
    data: Vec<Vec<Value>>,
}

/// One row of a table, read by column.
struct Row<'a>(&'a Table, &'a [Value]);

impl Table {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.data.iter().map(|row| Row(self, row))
    }
}

impl Row<'_> {
    fn cell(&self, column: &str) -> Result<&Value, String> {
        let at = self.0.headings.iter().position(|name| name == column);
        at.and_then(|at| self.1.get(at)).ok_or_else(|| format!("it has no column {column}"))
    }

    /// Printable: they are shown to people.
    fn texts(&self, column: &str) -> Result<Vec<String>, String> {
        let cells = ovsdb::elements(self.cell(column)?).iter();
        cells.map(|cell| ovsdb::text(cell, column).map(printable_line)).collect()
    }

    /// One text, or none.
    fn optional(&self, column: &str) -> Result<String, String> {
        let mut all = self.texts(column)?;
        if all.len() > 1 {
            return Err(format!("{column} has {} values", all.len()));
        }
        Ok(all.pop().unwrap_or_default())
    }

    fn uuids(&self, column: &str) -> Result<Vec<String>, String> {
        let cells = ovsdb::elements(self.cell(column)?).iter();
        cells.map(|cell| ovsdb::uuid(cell, column).map(str::to_owned)).collect()
    }

    fn uuid(&self) -> Result<String, String> {
        self.uuids("_uuid")?.pop().ok_or_else(|| "a row has no _uuid".to_owned())
    }

    fn map(&self, column: &str) -> Result<BTreeMap<String, String>, String> {
        let pairs = ovsdb::map(self.cell(column)?, column)?;
        Ok(pairs.into_iter().map(|(key, value)| (printable_line(key), printable_line(value))).collect())
    }
}

/// May a bridge of this name be handed to ovs-ofctl? It takes some texts for addresses or flags.
pub(crate) fn plain_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
    if !name.is_empty() && name.len() <= 255 && !name.starts_with(['-', '.']) && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!(
        "a bridge is called {name:?}: the agent works with letters, digits and -_.@+ only; rename it, or leave the node out"
    ))
}

impl Database {
    /// Reads the answer to [`ASK`].
    ///
    /// # Errors
    /// What is not as expected.
    pub fn parse(said: &str) -> Result<Self, String> {
        let tables: Result<Vec<Table>, _> = serde_json::Deserializer::from_str(said).into_iter().collect();
        let tables =
            tables.map_err(|error| format!("its answer is not the JSON that is expected: {error}"))?;
        let [open, bridges, ports, interfaces, controllers] = tables.as_slice() else {
            return Err(format!("it answered {} tables, not 5", tables.len()));
        };
        let Some(switch) = open.rows().next().filter(|_| open.data.len() == 1) else {
            return Err(format!("it has {} rows Open_vSwitch, not 1", open.data.len()));
        };
        let mut database = Self {
            schema: switch.optional("db_version")?,
            other_config: switch.map("other_config")?,
            external_ids: switch.map("external_ids")?,
            bridges: BTreeMap::new(),
            dpdk_initialized: switch
                .cell("dpdk_initialized")?
                .as_bool()
                .ok_or("dpdk_initialized is no bool")?,
        };
        let interfaces = by_uuid(interfaces)?;
        let ports = by_uuid(ports)?;
        let controllers = by_uuid(controllers)?;
        for row in bridges.rows() {
            let name = row.optional("name")?;
            plain_name(&name)?;
            let targets = row.uuids("controller")?.into_iter().map(|uuid| {
                controllers.get(&uuid).ok_or("a controller is missing".to_owned())?.optional("target")
            });
            let mut bridge = BridgeRow {
                datapath_type: row.optional("datapath_type")?,
                fail_mode: row.optional("fail_mode")?,
                controllers: targets.collect::<Result<_, _>>()?,
                other_config: row.map("other_config")?,
                ports: BTreeMap::new(),
                protocols: row.texts("protocols")?,
            };
            bridge.controllers.sort();
            for port in row.uuids("ports")? {
                let port = ports.get(&port).ok_or_else(|| format!("a port of {name} is missing"))?;
                bridge.ports.extend(members(port, &interfaces)?);
            }
            database.bridges.insert(name, bridge);
        }
        Ok(database)
    }

    /// Does it hold flows back?
    #[must_use]
    pub fn flow_restore_wait(&self) -> bool {
        self.other_config.get(FLOW_RESTORE_WAIT).is_some_and(|value| value == "true")
    }

    /// Is DPDK in use, or asked for?
    #[must_use]
    pub fn dpdk(&self) -> bool {
        let asked = self.other_config.get("dpdk-init").is_some_and(|value| value != "false");
        let ports = self.bridges.values().flat_map(|bridge| bridge.ports.values());
        asked || self.dpdk_initialized || ports.into_iter().any(|port| port.kind.starts_with("dpdk"))
    }

    /// The bridges whose flows somebody else writes: OVN's integration bridge where the node is a chassis, and those
    /// with a controller.
    #[must_use]
    pub fn controlled(&self) -> Vec<String> {
        let integration = self
            .external_ids
            .contains_key("ovn-remote")
            .then(|| self.external_ids.get("ovn-bridge").map_or("br-int", String::as_str));
        let written = |(name, row): &(&String, &BridgeRow)| {
            integration == Some(name.as_str()) || !row.controllers.is_empty()
        };
        self.bridges.iter().filter(written).map(|(name, _)| name.clone()).collect()
    }
}

fn by_uuid(table: &Table) -> Result<BTreeMap<String, Row<'_>>, String> {
    table.rows().map(|row| Ok((row.uuid()?, row))).collect()
}

/// An interface's name as people see it. Two that differ stay two: what is escaped in one cannot be the text of the other,
/// and one that is cut ends with its digest.
fn own_name(row: &Row<'_>) -> Result<String, String> {
    let name = row.cell("name")?.as_str().ok_or("name is no text")?;
    let body = name.trim_end();
    let blanks: String = name[body.len()..].chars().map(|c| format!("\\u{{{:x}}}", u32::from(c))).collect();
    let plain = format!("{}{blanks}", body.replace('\\', "\\\\"));
    if plain.chars().count() <= LONGEST_NAME {
        return Ok(printable_line(&plain));
    }
    let begin: String = plain.chars().take(LONGEST_NAME / 2).collect();
    Ok(format!("{}…{:.16}", printable_line(&begin), Sha256::of(name.as_bytes()).to_string()))
}

/// The interfaces of a port; more than one are a bond.
fn members(port: &Row<'_>, interfaces: &BTreeMap<String, Row<'_>>) -> Result<Vec<(String, Port)>, String> {
    let uuids = port.uuids("interfaces")?;
    let bond = if uuids.len() > 1 { Some(port.optional("name")?) } else { None };
    let member = |uuid: String| {
        let row = interfaces.get(&uuid).ok_or_else(|| "an interface is missing".to_owned())?;
        let ofport = ovsdb::elements(row.cell("ofport")?)
            .first()
            .map_or(Ok(-1), |cell| cell.as_i64().ok_or_else(|| "ofport is no number".to_owned()))?;
        let (error, kind) = (row.optional("error")?, row.optional("type")?);
        Ok((own_name(row)?, Port { ofport, error, kind, bond: bond.clone() }))
    };
    uuids.into_iter().map(member).collect()
}

#[cfg(test)]
mod tests;
