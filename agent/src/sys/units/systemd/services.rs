//! The services that run, each with its invocation.

use std::collections::BTreeMap;

use zbus::zvariant::OwnedObjectPath;

use super::{
    super::services::{ByItself, Service},
    CALL, Failed, Properties, SERVICE, Systemd, UNIT, UnitsError, list, manager, properties, text, value,
    within,
};

/// As in [`super::survey`].
type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

impl Systemd {
    /// Looks at all of them.
    pub(in super::super) async fn services(&self) -> Result<BTreeMap<String, Service>, UnitsError> {
        let mut seen = self.try_services().await;
        if matches!(seen, Err(Failed::Bus(_))) {
            self.forget().await;
            seen = self.try_services().await;
        }
        seen.map_err(|failed| failed.of("list", "services"))
    }

    async fn try_services(&self) -> Result<BTreeMap<String, Service>, Failed> {
        let connection = self.connect().await?;
        let manager = manager(&connection).await?;
        let rows: Vec<Row> = within(CALL, manager.call("ListUnits", &())).await?;
        let mut services = BTreeMap::new();
        for (name, _, _, active, _, _, path, ..) in rows {
            if !name.ends_with(".service")
                || !matches!(active.as_str(), "active" | "reloading" | "refreshing")
            {
                continue;
            }
            let unit = properties(&connection, &path, UNIT).await?;
            // It has ended since the list was made.
            if text(&unit, "ActiveState") == "inactive" {
                continue;
            }
            let service = properties(&connection, &path, SERVICE).await?;
            let invocation: Vec<u8> = value(&unit, "InvocationID").unwrap_or_default();
            let invocation = invocation.iter().map(|byte| format!("{byte:02x}")).collect();
            services
                .insert(name.clone(), Service { invocation, by_itself: by_itself(&name, &unit, &service) });
        }
        Ok(services)
    }
}

fn by_itself(name: &str, unit: &Properties, service: &Properties) -> ByItself {
    let by_timer = list(unit, "TriggeredBy").iter().any(|by| by.ends_with(".timer"));
    if by_timer || name.starts_with("user@") || name.starts_with("user-runtime-dir@") {
        ByItself::ComesAndGoes
    } else if text(service, "Type") == "dbus" && text(unit, "UnitFileState") == "static" {
        ByItself::Ends
    } else {
        ByItself::RunsOn
    }
}
