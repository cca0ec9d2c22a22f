//! K3s as its installer sets it up: what steps and probes share.
//!
//! | module | what lives there |
//! |---|---|
//! | [`settings`] | the unit's arguments, environment and configuration files, merged as K3s merges them |
//! | [`local`] | what K3s is on this node: role, data directory, datastore; and what refuses it |
//! | [`api`] | the server's API on this node, asked as its administrator |
//! | [`token`] | the server's token: whole, of this cluster, and the one that opens what is in its datastore |
//! | [`etcd`] | the embedded member, and its snapshot |
//! | [`sqlite`] | an online copy of the SQLite datastore, seen to be whole |
//! | [`archive`] | datastore and token in one file, sealed as it is written |
//!
//! What is here is read from K3s's own source and documentation (repositories k3s-io/k3s and k3s-io/docs); each
//! file says where. Nothing here prints a token or an external datastore's address: both are secrets.

pub mod api;
pub mod archive;
pub mod etcd;
pub mod local;
pub mod settings;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod tests;
pub mod token;

pub use self::local::K3s;
