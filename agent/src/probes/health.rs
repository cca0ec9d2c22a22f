//! Is a service well? A GET that answers 200, or a TCP connection that opens.

use std::time::Duration;

use drydock_types::{probe::HealthView, step::HealthProbe};

use crate::{
    actions::Problem,
    host::Host,
    sys::http::{self, AskError, Endpoint, HttpUrl},
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// May this be asked at all?
///
/// # Errors
/// When it is no address, or none that the policy lists.
pub fn allowed(host: &Host, probe: &HealthProbe) -> Result<(), Problem> {
    host.policy.may_ask(&endpoint(probe)?)
}

/// What is asked, for people.
#[must_use]
pub fn source(probe: &HealthProbe) -> String {
    match probe {
        HealthProbe::Http { url } => url.clone(),
        HealthProbe::Tcp { address } => format!("tcp {address}"),
    }
}

/// Asks once. A service that does not answer is not well; that is an answer and no error.
///
/// # Errors
/// When it may not be asked.
pub async fn look(host: &Host, probe: &HealthProbe) -> Result<HealthView, Problem> {
    allowed(host, probe)?;
    let asked = match probe {
        HealthProbe::Http { url } => {
            let url = HttpUrl::parse(url).map_err(form)?;
            http::get(&url, PATIENCE).await.map(|(status, _)| (status == 200, status.as_u16().to_string()))
        }
        HealthProbe::Tcp { .. } => {
            http::connect(&endpoint(probe)?, PATIENCE).await.map(|()| (true, "connected".to_owned()))
        }
    };
    Ok(match asked {
        Ok((well, detail)) => HealthView { well, detail },
        Err(error) => HealthView { well: false, detail: error.to_string() },
    })
}

fn endpoint(probe: &HealthProbe) -> Result<Endpoint, Problem> {
    match probe {
        HealthProbe::Http { url } => HttpUrl::parse(url).map(|url| url.endpoint).map_err(form),
        HealthProbe::Tcp { address } => Endpoint::parse(address).map_err(form),
    }
}

fn form(error: AskError) -> Problem {
    Problem::new(error.to_string()).next("correct the recipe")
}
