//! Sees that Open vSwitch answers and holds no flows back.

use std::time::Duration;

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Within};
use tokio::time::{Instant, sleep};

use super::{Action, Cx, Found, Note, Problem, reload_openvswitch};
use crate::{
    openvswitch::{self, daemons::Daemons},
    sys::units::LOOK_AGAIN,
};

/// The look.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a Within);

#[async_trait]
impl Action for Ready<'_> {
    async fn check(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        openvswitch::tool("ovs-vsctl").map(drop)
    }

    async fn apply(&self, cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        let until = Instant::now() + Duration::from_millis(self.0.within.0);
        loop {
            match look(cx).await {
                Ok(()) => return Ok(Vec::new()),
                Err(problem) if Instant::now() >= until => {
                    return Err(Problem {
                        what: format!("{}, still after {}", problem.what, self.0.within),
                        ..problem
                    });
                }
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }

    async fn probe(&self, _cx: &Cx<'_>, _note: &Note) -> Found {
        Found::NotBegun
    }

    async fn undo(&self, _cx: &Cx<'_>, _note: &Note) -> Result<Vec<Evidence>, Problem> {
        Ok(Vec::new())
    }
}

async fn look(cx: &Cx<'_>) -> Result<(), Problem> {
    reload_openvswitch::well(&openvswitch::look().await?.view)?;
    if Daemons::look(&cx.host.units).await?.run_installed() {
        return Ok(());
    }
    Err(Problem::new("ovsdb-server or ovs-vswitchd runs what is not installed any more"))
}
