//! `health`: a health probe of the node's service passes: asked on the node itself, from another node, or by the
//! coordinator. What a node says of its own health is one source; a probe from elsewhere is another.

use drydock_core::recipe::{HealthCheck, Vantage};
use drydock_types::{
    NodeName, Verdict,
    probe::{HealthView, Observation, Probe},
    step::HealthProbe,
};

use super::{PROBE_DEADLINE, Scene, fetch};

/// Observes and judges.
pub(super) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: &HealthCheck) -> Verdict {
    match &config.from {
        None => judge(&through(scene, node, &config.probe).await),
        Some(Vantage::Node(other)) if other == node => {
            Verdict::Unknown(format!("{node} is to be seen from another place, and not by itself"))
        }
        Some(Vantage::Node(other)) => {
            as_seen(judge(&through(scene, other, &config.probe).await), &format!("as {other} sees it"))
        }
        Some(Vantage::Coordinator {}) => {
            as_seen(judge(&by_coordinator(&config.probe).await), "as the coordinator sees it")
        }
    }
}

async fn through(scene: &Scene<'_>, agent: &NodeName, probe: &HealthProbe) -> Result<HealthView, String> {
    let probe = Probe::Health { probe: probe.clone() };
    match scene.sessions.observe(agent, &probe, PROBE_DEADLINE).await? {
        Observation::Health(view) => Ok(view),
        _ => Err("the agent answered another question".to_string()),
    }
}

/// Well is what an agent takes for well: a GET that answers 200, a connection that opens.
async fn by_coordinator(probe: &HealthProbe) -> Result<HealthView, String> {
    let asked = match probe {
        HealthProbe::Http { url } => {
            let uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
            fetch::get(&uri).await.map(|answer| (answer.status == 200, answer.status.to_string()))
        }
        HealthProbe::Tcp { address } => {
            fetch::connect(address).await.map(|()| (true, "connected".to_string()))
        }
    };
    Ok(match asked {
        Ok((well, detail)) => HealthView { well, detail },
        Err(detail) => HealthView { well: false, detail },
    })
}

/// Well is clear; ill may become well; unseen is unknown.
#[must_use]
pub fn judge(observation: &Result<HealthView, String>) -> Verdict {
    match observation {
        Ok(view) if view.well => Verdict::Clear,
        Ok(view) => Verdict::Waiting(format!("the service is not well: {}", view.detail)),
        Err(why) => Verdict::Unknown(why.clone()),
    }
}

/// A reason says whose eyes it was seen with.
fn as_seen(verdict: Verdict, whose: &str) -> Verdict {
    match verdict {
        Verdict::Clear => Verdict::Clear,
        Verdict::Waiting(why) => Verdict::Waiting(format!("{why}, {whose}")),
        Verdict::Refused(why) => Verdict::Refused(format!("{why}, {whose}")),
        Verdict::Unknown(why) => Verdict::Unknown(format!("{why}, {whose}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_never_clear() {
        let view = |well| Ok(HealthView { well, detail: "503".to_string() });
        assert_eq!(judge(&view(true)), Verdict::Clear);
        assert!(matches!(judge(&view(false)), Verdict::Waiting(why) if why.contains("503")));
        assert!(matches!(judge(&Err("no stream".to_string())), Verdict::Unknown(_)));
    }

    #[tokio::test]
    async fn the_coordinator_sees_a_service_with_its_own_eyes() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tcp = HealthProbe::Tcp { address: address.clone() };
        let http = HealthProbe::Http { url: format!("http://{address}/healthz") };
        assert_eq!(judge(&by_coordinator(&tcp).await), Verdict::Clear);
        drop(listener.accept().await.unwrap());
        for (answer, well) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /healthz HTTP/1.1\r\n"));
                let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            };
            let (seen, ()) = tokio::join!(by_coordinator(&http), serve);
            assert_eq!(seen.unwrap().well, well, "{answer}");
        }
        drop(listener);
        let gone = as_seen(judge(&by_coordinator(&tcp).await), "as the coordinator sees it");
        assert!(
            matches!(&gone, Verdict::Waiting(why) if why.ends_with("as the coordinator sees it")),
            "{gone:?}"
        );
        let wrong = by_coordinator(&HealthProbe::Http { url: "not a url".to_string() }).await;
        assert!(matches!(judge(&wrong), Verdict::Unknown(_)));
    }
}
