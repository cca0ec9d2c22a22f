//! Who passes TLS.

use std::{sync::Arc, time::Duration};

use drydock_proto::{
    agent::{StatBackupRequest, agent_service_client::AgentServiceClient},
    limits::HANDSHAKE_TIMEOUT,
    tls::{Anchor, ClientCertificate, Clock, CoordinatorVerifier, DialFault, client_config, dial, provider},
};
use drydock_types::{FleetId, Sha256};
use rustls::{ClientConfig, RootCertStore, client::danger::ServerCertVerifier as _};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::Code;

use super::world::{DAY_S, FLEET, World, connect, new_ca, node_of, now, operator_of};

/// Hostile input 1.
#[tokio::test]
async fn without_a_client_certificate_nothing_but_enroll_is_answered() {
    let world = World::start().await;
    for to in [&world.agents, &world.operators] {
        let refused = world.call(to, None).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Unauthenticated), "{refused:?}");
    }
    assert!(world.seen.lock().unwrap().is_empty());
    assert_eq!(world.trust.refusals.counts()["no certificate"], 2);
}

/// Hostile input 2: the same fleet, the same name, another CA.
#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_by_tls() {
    let world = World::start().await;
    let dir = tempfile::tempdir().unwrap();
    let other = new_ca(dir.path(), FLEET);
    for shown in [node_of(&other, "db-1", DAY_S, now()), operator_of(&other, "alice")] {
        let refused = world.call(&world.agents, Some(&shown)).await.unwrap_err();
        assert!(refused.is_refused_by_tls(), "{refused:?}");
    }
    assert!(world.trust.refusals.counts()["certificate"] >= 2);
}

/// Hostile input 3. An operator has no grace; a node has 30 days, and then none either.
#[tokio::test]
async fn certificates_not_yet_valid_or_too_long_expired_are_refused_by_tls() {
    let world = World::start().await;
    let (issued, key) = world.ca.issue_operator("alice", DAY_S, now() - 2 * DAY_S).unwrap();
    let early = node_of(&world.ca, "db-1", DAY_S, now() + DAY_S);
    let late = node_of(&world.ca, "db-1", DAY_S, now() - 31 * DAY_S - 60);
    for shown in [super::world::Shown { issued, key }, early, late] {
        for to in [&world.agents, &world.operators] {
            let refused = world.call(to, Some(&shown)).await.unwrap_err();
            assert!(refused.is_refused_by_tls(), "{refused:?}");
        }
    }
    assert!(world.seen.lock().unwrap().is_empty());
}

/// Hostile input 3: expired for a day, and for 29 days and 23 hours.
#[tokio::test]
async fn an_expired_certificate_of_a_node_may_renew_and_nothing_else() {
    let world = World::start().await;
    for made in [now() - 2 * DAY_S, now() - 31 * DAY_S + 3600] {
        let shown = node_of(&world.ca, "db-1", DAY_S, made);
        for to in [&world.agents, &world.operators] {
            let refused = world.call(to, Some(&shown)).await.unwrap_err();
            assert_eq!(refused.code(), Some(Code::PermissionDenied), "{refused:?}");
        }
        let renewed = world.renew(&shown, shown.key.request().unwrap()).await.unwrap();
        let new =
            drydock_proto::tls::PeerIdentity::from_certificate(&renewed.certificate_der, now()).unwrap();
        assert!(!new.expired && new.name() == "db-1");
    }
    let shown = node_of(&world.ca, "db-1", DAY_S, now() - 2 * DAY_S);
    world.trust.revoked.change(|list| {
        list.serials.insert(shown.issued.serial);
    });
    assert!(world.renew(&shown, shown.key.request().unwrap()).await.is_err(), "revoked and renewed");
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let world = World::start().await;
    let mut roots = RootCertStore::empty();
    roots.add(world.ca.certificate().clone()).unwrap();
    for (version, passes) in [(&rustls::version::TLS12, false), (&rustls::version::TLS13, true)] {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(world.agents.as_str()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        assert_eq!(shaken.is_ok(), passes, "{version:?}");
    }
}

#[tokio::test]
async fn a_coordinator_with_another_pin_or_of_another_fleet_is_not_ours() {
    let world = World::start().await;
    let clock = || Arc::new(Clock::default());
    let good = client_config(Anchor::Pin(world.ca.pin()), FLEET, None, clock()).unwrap();
    assert!(dial(&world.agents, good).await.is_ok());
    let pin = client_config(Anchor::Pin(Sha256([1; 32])), FLEET, None, clock()).unwrap();
    let fleet = client_config(Anchor::Pin(world.ca.pin()), FleetId([2; 16]), None, clock()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let other = Anchor::Ca(new_ca(dir.path(), FLEET).certificate().clone());
    let ca = client_config(other, FLEET, None, clock()).unwrap();
    for config in [pin, fleet, ca] {
        let error = dial(&world.agents, config).await.unwrap_err();
        assert!(matches!(error.fault, DialFault::OtherCa(_)), "{error}");
    }
}

/// A node or an operator who plays coordinator, with the real CA behind the leaf; and a coordinator's
/// certificate that has expired or is not valid yet.
#[test]
fn no_certificate_but_a_valid_one_of_a_coordinator_makes_a_coordinator() {
    let dir = tempfile::tempdir().unwrap();
    let ca = new_ca(dir.path(), FLEET);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now()).unwrap()));
    let verifier = CoordinatorVerifier::new(Anchor::Pin(ca.pin()), FLEET).unwrap();
    let name = ServerName::try_from("anything.example").unwrap();
    let judge = |leaf: &rustls_pki_types::CertificateDer<'_>| {
        verifier.verify_server_cert(leaf, &[ca.certificate().clone()], &name, &[], at)
    };
    assert!(judge(&ca.issue_server(&[], DAY_S, now()).unwrap().0.certificate).is_ok());
    for bad in [
        node_of(&ca, "db-1", DAY_S, now()).issued,
        operator_of(&ca, "alice").issued,
        ca.issue_server(&[], DAY_S, now() - 2 * DAY_S).unwrap().0,
        ca.issue_server(&[], DAY_S, now() + DAY_S).unwrap().0,
    ] {
        assert!(judge(&bad.certificate).is_err());
    }
    assert!(judge(ca.certificate()).is_err(), "the CA itself is no coordinator");
}

/// Hostile input 9, at the connection: dropped within 1 s.
#[tokio::test]
async fn an_open_connection_ends_within_a_second_of_its_peers_revocation() {
    let world = World::start().await;
    let shown = node_of(&world.ca, "db-1", DAY_S, now());
    let certificate = ClientCertificate::new(shown.issued.certificate.clone(), &shown.key).unwrap();
    let anchor = Anchor::Ca(world.ca.certificate().clone());
    let config = client_config(anchor, FLEET, Some(certificate), Arc::new(Clock::default())).unwrap();
    let tcp = TcpStream::connect(world.agents.as_str()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut open = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let mut bytes = Vec::new();
    assert!(
        timeout(Duration::from_millis(300), open.read_to_end(&mut bytes)).await.is_err(),
        "it was not open"
    );
    world.trust.revoked.change(|list| {
        list.keys.insert(shown.issued.key);
    });
    assert!(timeout(Duration::from_secs(1), open.read_to_end(&mut bytes)).await.is_ok(), "it is open still");
    assert!(world.call(&world.agents, Some(&shown)).await.is_err());
}

/// Hostile input 25: 300 peers from one address that connect and say nothing; one that is honest.
#[tokio::test]
async fn peers_that_never_finish_a_handshake_do_not_keep_an_honest_one_out_for_long() {
    let world = World::start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(world.agents.as_str()).await.unwrap());
    }
    let shown = node_of(&world.ca, "db-1", DAY_S, now());
    let honest = async {
        while world.call(&world.agents, Some(&shown)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(timeout(HANDSHAKE_TIMEOUT * 2, honest).await.is_ok());
    assert!(world.trust.refusals.counts()["too many"] >= 44);
}

/// Hostile input 25: one identity with as many connections as it gets.
#[tokio::test]
async fn a_node_that_opens_connections_without_end_keeps_nobody_else_out() {
    let world = World::start().await;
    let shown = node_of(&world.ca, "db-1", DAY_S, now());
    let mut held = Vec::new();
    let refused = loop {
        let called = match connect(&world.ca, &world.agents, Some(&shown)).await {
            Ok(channel) => {
                let mut client = AgentServiceClient::new(channel.clone());
                held.push(channel);
                client.stat_backup(StatBackupRequest::default()).await.map(|_| ())
            }
            Err(_) => break held.len(),
        };
        if called.is_err() {
            break held.len() - 1;
        }
        assert!(held.len() < 200, "there is no end to it");
    };
    assert!(refused >= 8, "an honest agent has a few: {refused}");
    assert!(world.trust.refusals.counts()["too many"] >= 1);
    let other = node_of(&world.ca, "db-2", DAY_S, now());
    world.call(&world.agents, Some(&other)).await.unwrap();
    held.clear();
    let again = async {
        while world.call(&world.agents, Some(&shown)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(Duration::from_secs(5), again).await.is_ok(), "what it closed is free again");
}
