//! `health`: a health probe of the node's service passes: asked on the node itself, from another node, or by the
//! coordinator. What a node says of its own health is one source; a probe from elsewhere is another.

use std::net::IpAddr;

use drydock_core::recipe::{HealthCheck, Vantage};
use drydock_types::{
    NodeName, Verdict,
    probe::{HealthView, Observation, Probe},
    step::HealthProbe,
};
use http::Uri;

use super::{PROBE_DEADLINE, Scene, fetch};

/// What is wrong with a host that [`names_the_asker`].
pub(crate) const NAMES_THE_ASKER: &str = "is whoever asks, and this is asked from elsewhere";

/// Observes and judges.
pub(super) async fn verdict(scene: &Scene<'_>, node: &NodeName, config: &HealthCheck) -> Verdict {
    // A label was filled in since the file was read: what it says is not known before.
    if let Some(own) = names_the_asker(config) {
        return Verdict::Unknown(format!(
            "{own:?} {NAMES_THE_ASKER}: give {node} a label with an address that is the same from there, or leave `from` out of a new plan"
        ));
    }
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

/// The host of a probe from elsewhere, where it means another machine to everybody who asks. A name that has to be
/// resolved first is not judged, and neither is what is no address: who asks says that of it.
pub(crate) fn names_the_asker(config: &HealthCheck) -> Option<String> {
    config.from.as_ref()?;
    let host = match &config.probe {
        HealthProbe::Http { url } => url.parse::<Uri>().ok()?.host()?.to_string(),
        HealthProbe::Tcp { address } => {
            address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_string()
        }
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    let itself = name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip.is_unspecified()
        });
    itself.then(|| bare.to_string())
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
    use std::collections::BTreeMap;

    use drydock_types::{Epoch, Fence, InstanceId};

    use super::*;
    use crate::{checks::tests::request, link::Sessions};

    #[test]
    fn what_cannot_be_seen_is_never_clear() {
        let view = |well| Ok(HealthView { well, detail: "503".to_string() });
        assert_eq!(judge(&view(true)), Verdict::Clear);
        assert!(matches!(judge(&view(false)), Verdict::Waiting(why) if why.contains("503")));
        assert!(matches!(judge(&Err("no stream".to_string())), Verdict::Unknown(_)));
    }

    fn http(url: &str) -> HealthProbe {
        HealthProbe::Http { url: url.to_string() }
    }

    fn tcp(address: &str) -> HealthProbe {
        HealthProbe::Tcp { address: address.to_string() }
    }

    fn from_elsewhere(probe: HealthProbe) -> HealthCheck {
        HealthCheck { probe, from: Some(Vantage::Coordinator {}) }
    }

    #[test]
    fn whoever_asks_is_found_in_every_way_to_write_a_host() {
        for itself in [
            http("http://[::1]/healthz"),
            http("http://x@127.0.0.1/"),
            http("http://127.0.0.1?x"),
            http("http://127.0.0.1:8080/healthz"),
            http("https://LOCALHOST"),
            http("http://localhost.:80/"),
            http("http://[::ffff:127.0.0.1]:80/"),
            http("http://0.0.0.0/"),
            tcp("127.9.8.7:1"),
            tcp("[::]:1"),
            tcp("::1:80"),
            tcp("db.localhost:1"),
        ] {
            let check = from_elsewhere(itself);
            assert!(names_the_asker(&check).is_some(), "{check:?}");
            assert_eq!(names_the_asker(&HealthCheck { from: None, ..check }), None);
        }
        for another in [
            http("http://192.0.2.1/127.0.0.1"),
            http("http://192.0.2.1/?at=http://localhost/"),
            http("http://127.0.0.1@192.0.2.1/"),
            http("http://localhost.example/"),
            http("http://{label:ip}:80/"),
            tcp("[2001:db8::1]:80"),
            tcp("ctl-1:80"),
        ] {
            assert_eq!(names_the_asker(&from_elsewhere(another.clone())), None, "{another:?}");
        }
    }

    /// A label is filled in after the file was read.
    #[tokio::test]
    async fn an_address_of_whoever_asks_is_unknown_though_somebody_answers_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let node = NodeName::parse("ctl-1").unwrap();
        let request = request(&node);
        let sessions = Sessions::new(Fence { epoch: Epoch(1), instance: InstanceId([1; 16]) });
        let scene = Scene {
            request: &request,
            sessions: &sessions,
            etcd: BTreeMap::new(),
            until: tokio::time::Instant::now() + super::super::LOOK_WITHIN,
            clusters: None,
            machines: super::super::kubernetes::Machines::default(),
            failing: std::sync::Mutex::default(),
        };
        let check = from_elsewhere(tcp(&listener.local_addr().unwrap().to_string()));
        let seen = verdict(&scene, &node, &check).await;
        let Verdict::Unknown(why) = seen else { panic!("{seen:?}") };
        assert!(why.contains("\"127.0.0.1\" is whoever asks") && why.contains("give ctl-1 a label"), "{why}");
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
