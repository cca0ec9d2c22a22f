//! The package manager of a node, and what runs although it is not installed any more.

use drydock_types::packages::PackagesView;

use crate::{
    actions::Problem,
    apt::database::Database,
    host::Host,
    sys::{blocking, packages, stale},
};

/// The most packages in half a state, or on hold, that are named.
const NAMED: usize = 200;

/// Looks.
///
/// # Errors
/// When something of it cannot be seen.
pub async fn look(_host: &Host) -> Result<PackagesView, Problem> {
    let unseen = |what: &str, error: std::io::Error| Problem::new(format!("{what} cannot be seen: {error}"));
    let (at_work, stale) = blocking(move || {
        let at_work =
            packages::at_work().map_err(|error| unseen("whether a package manager is at work", error))?;
        let stale = stale::processes().map_err(|error| unseen("which files processes run", error))?;
        Ok::<_, Problem>((at_work, stale))
    })
    .await?;
    let mut database = Database::look().await?;
    database.half_done.truncate(NAMED);
    let held = database.packages.into_iter().filter(|known| known.held).map(|known| known.name);
    Ok(PackagesView {
        manager: "apt".into(),
        at_work,
        half_done: database.half_done,
        held: held.take(NAMED).collect(),
        stale: stale.named,
        unread: stale.unread,
    })
}
