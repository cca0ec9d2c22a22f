//! Sees that ovn-controller is connected and has caught up, and runs what is installed.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Within};

use super::{
    Cx, Problem,
    look::{Look, until_well},
};
use crate::{
    ovn::{self, Seen, Tools},
    sys::units::LOOK_AGAIN,
};

/// The look.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a Within);

#[async_trait]
impl Look for Ready<'_> {
    async fn ahead(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        if ovn::is_chassis(&Tools::installed()).await? {
            return Ok(());
        }
        Err(Problem::new("this node is no chassis of OVN: external_ids has no ovn-remote")
            .next("leave the node out, or configure OVN on it"))
    }

    async fn see(&self, _cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let look = async || ready(&ovn::at(&Tools::installed()).await?);
        let source = until_well(self.0.within, LOOK_AGAIN * 4, look).await.map_err(|problem| {
            problem
                .next("ovn-appctl -t ovn-controller connection-status; journalctl -u ovn-controller -e")
                .next("where the database is: ovn-sbctl list Chassis_Private; ovn-sbctl list SB_Global")
        })?;
        Ok(vec![Evidence::Healthy { source }])
    }
}

/// Who answered; or what is not so.
fn ready(seen: &Seen) -> Result<String, Problem> {
    let generation = seen.view.caught_up().map_err(Problem::new)?;
    if !seen.controller.as_ref().map_err(Clone::clone)?.runs_installed {
        return Err(Problem::new("ovn-controller runs what is not installed any more"));
    }
    let version = seen.view.version.as_deref().unwrap_or_default();
    Ok(format!("ovn-controller {version}, chassis {} at {generation}", seen.view.chassis))
}
