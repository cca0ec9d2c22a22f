//! Clusters with their sealed credentials, and which Node of which cluster a machine is.

use drydock_types::{ClusterName, NodeKey, NodeName, Sha256};
use rusqlite::{Row, Transaction, params};

use super::{Refusal, Registry, RegistryError, Work};
use crate::store::{
    StoreError,
    sqlite::{
        database::Fault,
        rows::{integer, parsed, unsigned},
    },
};

/// Names that are listed in a refusal.
const NAMED: usize = 5;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRow {
    /// As operators call it.
    pub name: ClusterName,
    /// Of the kubeconfig that it came from; empty: the coordinator's own pod.
    pub context: String,
    /// URLs, the preferred one first.
    pub endpoints: Vec<String>,
    /// What it is reached with, sealed.
    pub sealed: Vec<u8>,
    /// When that ends, in Unix seconds, where it says so.
    pub valid_until_unix_s: Option<i64>,
    /// Who added it.
    pub added_by: String,
    /// When.
    pub added_unix_ms: u64,
}

/// Which Node of which cluster a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingRow {
    /// The machine.
    pub key: NodeKey,
    /// Its name when it was bound.
    pub node: NodeName,
    /// Which cluster.
    pub cluster: ClusterName,
    /// The Node's name there.
    pub kube_node: String,
    /// By whose word.
    pub bound_by: String,
    /// When.
    pub bound_unix_ms: u64,
}

const CLUSTER: &str = "name, context, endpoints, sealed, valid_until_s, added_by, added_at_ms";
const BINDING: &str = "node_key, node, cluster, kube_node, bound_by, bound_at_ms";

fn cluster(row: &Row<'_>) -> rusqlite::Result<ClusterRow> {
    Ok(ClusterRow {
        name: parsed(row, 0, ClusterName::parse)?,
        context: row.get(1)?,
        endpoints: parsed(row, 2, |text| serde_json::from_str(text))?,
        sealed: row.get(3)?,
        valid_until_unix_s: row.get(4)?,
        added_by: row.get(5)?,
        added_unix_ms: unsigned(row, 6)?,
    })
}

fn binding(row: &Row<'_>) -> rusqlite::Result<BindingRow> {
    Ok(BindingRow {
        key: parsed(row, 0, Sha256::parse)?,
        node: parsed(row, 1, NodeName::parse)?,
        cluster: parsed(row, 2, ClusterName::parse)?,
        kube_node: row.get(3)?,
        bound_by: row.get(4)?,
        bound_unix_ms: unsigned(row, 5)?,
    })
}

fn is_there(tx: &Transaction<'_>, name: &ClusterName) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM clusters WHERE name = ?1")?.exists([name.as_str()])
}

impl Registry {
    /// Keeps a cluster. `replace`: also where there is one of this name, whose nodes stay bound to it.
    ///
    /// # Errors
    /// When there is one of this name and it is not to be replaced, or it cannot be written.
    pub fn put_cluster(&self, row: &ClusterRow, replace: bool) -> Result<(), RegistryError> {
        let endpoints = super::tokens::json(&row.endpoints)?;
        let added_at_ms = integer("time", row.added_unix_ms)?;
        self.change("keeping a cluster", |tx| {
            if !replace && is_there(tx, &row.name)? {
                return Err(Fault::No(Refusal::ClusterKnown(row.name.clone())));
            }
            let sql = format!(
                "INSERT INTO clusters ({CLUSTER}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (name) DO UPDATE SET context = excluded.context, endpoints = excluded.endpoints,
                     sealed = excluded.sealed, valid_until_s = excluded.valid_until_s,
                     added_by = excluded.added_by, added_at_ms = excluded.added_at_ms"
            );
            tx.prepare_cached(&sql)?.execute(params![
                row.name.as_str(),
                row.context,
                endpoints,
                row.sealed,
                row.valid_until_unix_s,
                row.added_by,
                added_at_ms
            ])?;
            Ok(())
        })
    }

    /// Every cluster, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError> {
        self.list(&format!("SELECT {CLUSTER} FROM clusters ORDER BY name"), [], cluster)
    }

    /// A cluster by its name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn cluster(&self, name: &ClusterName) -> Result<Option<ClusterRow>, StoreError> {
        self.one(&format!("SELECT {CLUSTER} FROM clusters WHERE name = ?1"), [name.as_str()], cluster)
    }

    /// Forgets a cluster with its credentials.
    ///
    /// # Errors
    /// When there is none, nodes are bound to it, or it cannot be written.
    pub fn remove_cluster(&self, name: &ClusterName) -> Result<(), RegistryError> {
        self.change("removing a cluster", |tx| {
            let bound: Vec<String> = tx
                .prepare_cached("SELECT node FROM bindings WHERE cluster = ?1 ORDER BY node")?
                .query_map([name.as_str()], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            if !bound.is_empty() {
                return Err(Fault::No(bound_to(name, &bound)));
            }
            match tx.prepare_cached("DELETE FROM clusters WHERE name = ?1")?.execute([name.as_str()])? {
                0 => Err(Fault::No(Refusal::UnknownCluster(name.clone()))),
                _ => Ok(()),
            }
        })
    }

    /// Says which Node of which cluster a machine is; what was said of it before ends.
    ///
    /// # Errors
    /// When there is no such cluster, another machine is that Node, or it cannot be written.
    pub fn bind_node(&self, row: &BindingRow) -> Result<(), RegistryError> {
        let bound_at_ms = integer("time", row.bound_unix_ms)?;
        self.change("binding a node", |tx| {
            if !is_there(tx, &row.cluster)? {
                return Err(Fault::No(Refusal::UnknownCluster(row.cluster.clone())));
            }
            free(tx, row)?;
            let sql = format!("INSERT OR REPLACE INTO bindings ({BINDING}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
            tx.prepare_cached(&sql)?.execute(params![
                row.key.to_string(),
                row.node.as_str(),
                row.cluster.as_str(),
                row.kube_node,
                row.bound_by,
                bound_at_ms
            ])?;
            Ok(())
        })
    }

    /// Ends what was said of a machine. `false`: nothing was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn unbind_node(&self, key: NodeKey) -> Result<bool, StoreError> {
        self.put("ending a node's binding", |tx| {
            let gone =
                tx.prepare_cached("DELETE FROM bindings WHERE node_key = ?1")?.execute([key.to_string()])?;
            Ok(gone == 1)
        })
    }

    /// Which Node a machine is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn binding(&self, key: NodeKey) -> Result<Option<BindingRow>, StoreError> {
        self.one(&format!("SELECT {BINDING} FROM bindings WHERE node_key = ?1"), [key.to_string()], binding)
    }

    /// All of them, by cluster and Node.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn bindings(&self) -> Result<Vec<BindingRow>, StoreError> {
        self.list(&format!("SELECT {BINDING} FROM bindings ORDER BY cluster, kube_node"), [], binding)
    }
}

/// No other machine is that Node.
fn free(tx: &Transaction<'_>, row: &BindingRow) -> Work<()> {
    let sql = "SELECT node FROM bindings WHERE cluster = ?1 AND kube_node = ?2 AND node_key <> ?3";
    let mut statement = tx.prepare_cached(sql)?;
    let of = params![row.cluster.as_str(), row.kube_node, row.key.to_string()];
    let mut others = statement.query_map(of, |row| parsed(row, 0, NodeName::parse))?;
    match others.next().transpose()? {
        None => Ok(()),
        Some(other) => {
            let (cluster, kube_node) = (row.cluster.clone(), row.kube_node.clone());
            Err(Fault::No(Refusal::NodeBound { cluster, kube_node, other }))
        }
    }
}

fn bound_to(cluster: &ClusterName, nodes: &[String]) -> Refusal {
    let more = nodes.len().saturating_sub(NAMED);
    let mut named = nodes[..nodes.len().min(NAMED)].join(", ");
    if more > 0 {
        named = format!("{named} and {more} more");
    }
    let are = if nodes.len() == 1 { "is" } else { "are" };
    Refusal::ClusterBound { cluster: cluster.clone(), nodes: named, are }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    fn registry() -> (Registry, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&dir.path().join("drydock.db")).unwrap();
        (store.registry().unwrap(), dir)
    }

    fn row(name: &str, sealed: u8) -> ClusterRow {
        ClusterRow {
            name: ClusterName::parse(name).unwrap(),
            context: "home".into(),
            endpoints: vec!["https://b:6443".into(), "https://a:6443".into()],
            sealed: vec![sealed, 0, 255],
            valid_until_unix_s: Some(1_780_000_000),
            added_by: "anna".into(),
            added_unix_ms: 1_770_000_000_000,
        }
    }

    fn bound(key: u8, node: &str, cluster: &str, kube_node: &str) -> BindingRow {
        BindingRow {
            key: Sha256([key; 32]),
            node: NodeName::parse(node).unwrap(),
            cluster: ClusterName::parse(cluster).unwrap(),
            kube_node: kube_node.into(),
            bound_by: "anna".into(),
            bound_unix_ms: 5,
        }
    }

    fn refused<T: std::fmt::Debug>(done: Result<T, RegistryError>) -> String {
        match done.unwrap_err() {
            RegistryError::Refused(refusal) => refusal.to_string(),
            RegistryError::Store(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_cluster_is_kept_as_it_was_given_and_replaced_only_by_a_word() {
        let (registry, _dir) = registry();
        registry.put_cluster(&row("prod", 1), false).unwrap();
        registry.put_cluster(&row("lab", 2), false).unwrap();
        assert_eq!(registry.clusters().unwrap(), [row("lab", 2), row("prod", 1)]);
        assert!(refused(registry.put_cluster(&row("prod", 3), false)).contains("--replace"));
        assert_eq!(registry.cluster(&row("prod", 1).name).unwrap(), Some(row("prod", 1)));
        let own = ClusterRow { valid_until_unix_s: None, context: String::new(), ..row("prod", 3) };
        registry.put_cluster(&own, true).unwrap();
        assert_eq!(registry.cluster(&own.name).unwrap(), Some(own));
    }

    #[test]
    fn a_cluster_that_nodes_are_bound_to_is_not_removed_but_replaced() {
        let (registry, _dir) = registry();
        registry.put_cluster(&row("prod", 1), false).unwrap();
        registry.bind_node(&bound(1, "ctl-1", "prod", "a")).unwrap();
        let text = refused(registry.remove_cluster(&row("prod", 1).name));
        assert!(text.starts_with("ctl-1 is bound to the cluster prod") && text.contains("--none"), "{text}");
        registry.put_cluster(&row("prod", 2), true).unwrap();
        assert_eq!(registry.bindings().unwrap(), [bound(1, "ctl-1", "prod", "a")]);
        assert!(registry.unbind_node(Sha256([1; 32])).unwrap());
        assert!(!registry.unbind_node(Sha256([1; 32])).unwrap());
        registry.remove_cluster(&row("prod", 1).name).unwrap();
        assert!(refused(registry.remove_cluster(&row("prod", 1).name)).contains("drydock cluster list"));
        assert_eq!(registry.clusters().unwrap(), []);
    }

    #[test]
    fn a_node_is_one_node_and_a_node_is_one_machine() {
        let (registry, _dir) = registry();
        registry.put_cluster(&row("prod", 1), false).unwrap();
        registry.put_cluster(&row("lab", 1), false).unwrap();
        registry.bind_node(&bound(1, "ctl-1", "prod", "a")).unwrap();
        let text = refused(registry.bind_node(&bound(2, "ctl-2", "prod", "a")));
        assert!(text.contains("the Node a of the cluster prod is ctl-1 already"), "{text}");
        assert!(refused(registry.bind_node(&bound(2, "ctl-2", "gone", "a"))).contains("no cluster gone"));
        // The same Node of another cluster is another one; and the same word twice is one.
        registry.bind_node(&bound(2, "ctl-2", "lab", "a")).unwrap();
        registry.bind_node(&bound(1, "ctl-1", "prod", "a")).unwrap();
        // A machine that is bound anew leaves its old Node free.
        registry.bind_node(&bound(1, "ctl-1", "prod", "b")).unwrap();
        registry.bind_node(&bound(3, "ctl-3", "prod", "a")).unwrap();
        assert_eq!(registry.binding(Sha256([1; 32])).unwrap(), Some(bound(1, "ctl-1", "prod", "b")));
        assert_eq!(registry.binding(Sha256([9; 32])).unwrap(), None);
        assert_eq!(registry.bindings().unwrap().len(), 3);
    }
}
