//! Sees that the API of this node's K3s server is ready, by all of its own checks.

use async_trait::async_trait;
use drydock_types::{outcome::Evidence, step::K3sReady};

use super::{
    Cx, Problem,
    look::{Look, until_well},
    unit,
};
use crate::{k3s::K3s, sys::units::LOOK_AGAIN};

/// The look at one server.
#[derive(Debug)]
pub struct Ready<'a>(pub &'a K3sReady);

#[async_trait]
impl Look for Ready<'_> {
    async fn ahead(&self, cx: &Cx<'_>) -> Result<(), Problem> {
        K3s::look(cx.host, &self.0.unit).await?.api().map(drop)
    }

    async fn see(&self, cx: &Cx<'_>) -> Result<Vec<Evidence>, Problem> {
        let wait = async {
            let ready = until_well(self.0.within, LOOK_AGAIN * 2, || self.look(cx)).await;
            ready.map_err(|problem| {
                let (unit, api) = (&self.0.unit, "k3s kubectl get --raw '/readyz?verbose'");
                problem.next(format!("{api}; journalctl -u {unit} -e"))
            })
        };
        let source = unit::while_it_may_come(cx, wait).await?;
        Ok(vec![Evidence::Healthy { source }])
    }
}

impl Ready<'_> {
    async fn look(&self, cx: &Cx<'_>) -> Result<String, Problem> {
        let api = K3s::look(cx.host, &self.0.unit).await?.api()?;
        api.ready().await?;
        Ok(format!("{api}/readyz"))
    }
}
