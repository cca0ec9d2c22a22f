//! Sees that Open vSwitch answers and holds no flows back.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::Within};

use super::{
    Cx, Problem,
    look::{Look, until_well},
    reload_openvswitch,
};
use crate::{
    openvswitch::{self, daemons::Daemons},
    sys::units::LOOK_AGAIN,
};

/// The look.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a Within);

#[async_trait]
impl Look for Ready<'_> {
    async fn ahead(&self, _cx: &Cx<'_>) -> Result<(), Problem> {
        openvswitch::tool("ovs-vsctl").map(drop)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        until_well(self.0.within, LOOK_AGAIN, || look(cx)).await.map(|()| Vec::new())
    }
}

async fn look(cx: &Cx<'_>) -> Result<(), Problem> {
    reload_openvswitch::well(&openvswitch::look().await?.view)?;
    if Daemons::look(&cx.host.units).await?.run_installed() {
        return Ok(());
    }
    Err(Problem::new("ovsdb-server or ovs-vswitchd runs what is not installed any more"))
}
