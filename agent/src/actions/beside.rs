//! The services beside a restart: none but those that it names may have been touched by it.

use std::collections::BTreeMap;

use super::Problem;
use crate::{
    host::Host,
    sys::units::services::{Service, touched},
};

/// The services that run.
pub(super) struct Beside(BTreeMap<String, Service>);

impl Beside {
    /// Looks, right before the restart.
    pub(super) async fn look(host: &Host) -> Result<Self, Problem> {
        host.units.services().await.map(Self).map_err(|error| {
            Problem::new(format!("which services run cannot be seen: {error}"))
                .next("systemctl list-units --type=service")
        })
    }

    /// Looks again. `named` may be others by now.
    pub(super) async fn untouched(self, host: &Host, named: impl Fn(&str) -> bool) -> Result<(), Problem> {
        self.compare(&Self::look(host).await?, named)
    }

    fn compare(mut self, now: &Self, named: impl Fn(&str) -> bool) -> Result<(), Problem> {
        self.0.retain(|name, _| !named(name));
        let touched = touched(&self.0, &now.0, &[]);
        if touched.is_empty() {
            return Ok(());
        }
        Err(Problem::new(format!("beside what this step restarts: {}", touched.join(", ")))
            .next("see that they are well: systemctl status UNIT; journalctl -u UNIT -e"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::units::services::ByItself;

    fn services(list: &[(&str, &str)]) -> Beside {
        let service =
            |invocation: &str| Service { invocation: invocation.into(), by_itself: ByItself::RunsOn };
        Beside(list.iter().map(|(name, invocation)| ((*name).to_owned(), service(invocation))).collect())
    }

    #[test]
    fn whoever_was_not_named_and_is_another_one_or_gone_is_told() {
        let before =
            || services(&[("libvirtd.service", "1"), ("nova-compute.service", "1"), ("a.service", "1")]);
        let named = |name: &str| name == "libvirtd.service";
        let well = services(&[("libvirtd.service", "2"), ("nova-compute.service", "1"), ("a.service", "1")]);
        assert_eq!(before().compare(&well, named), Ok(()));
        let now = services(&[("libvirtd.service", "2"), ("nova-compute.service", "2")]);
        let said = before().compare(&now, named).unwrap_err().what;
        assert_eq!(
            said,
            "beside what this step restarts: a.service does not run any more, nova-compute.service was restarted"
        );
    }
}
