//! Sees that ovn-controller is connected and has caught up, and runs what is installed.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Within};
use tokio::time::{Instant, sleep};

use super::{Action, Cx, Found, Note, Problem};
use crate::{
    ovn::{self, Seen, Tools},
    sys::units::LOOK_AGAIN,
};

/// The look.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a Within);

#[async_trait]
impl Action for Ready<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        if ovn::is_chassis(&Tools::installed()).await? {
            return Ok(());
        }
        Err(Problem::new("this node is no chassis of OVN: external_ids has no ovn-remote")
            .next("leave the node out, or configure OVN on it"))
    }

    async fn apply(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + Duration::from_millis(self.0.within.0);
        loop {
            let why = match ovn::at(&Tools::installed()).await.and_then(|seen| ready(&seen)) {
                Ok(source) => return Ok(vec![Evidence::Healthy { source }]),
                Err(problem) => problem.what,
            };
            if Instant::now() >= until {
                return Err(Problem::new(format!("{why}, still after {}", self.0.within))
                    .next("ovn-appctl -t ovn-controller connection-status; journalctl -u ovn-controller -e")
                    .next(
                        "where the database is: ovn-sbctl list Chassis_Private; ovn-sbctl list SB_Global",
                    ));
            }
            sleep(LOOK_AGAIN * 4).await;
        }
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
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
