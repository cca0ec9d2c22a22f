//! Who is whom behind TLS, and what a certificate request may not ask for.

use drydock_proto::tls::{PeerIdentity, PrivateKey, Role};
use drydock_types::FleetId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku, IsCa,
    KeyPair, KeyUsagePurpose as Usage,
};
use tonic::{Code, Request};

use super::world::{DAY_S, FLEET, World, new_ca, node, node_of, now, operator_of};
use crate::trust::{
    Ca, CaError, Clock, PeerConnection, RevocationList, SealError, SealingKey, Trust, node_peer,
    operator_peer, request::RequestRefusal,
};

/// Hostile input 4.
#[tokio::test]
async fn an_operator_on_the_agents_service_and_the_reverse_are_denied() {
    let world = World::start().await;
    let (agent, operator) = (node_of(&world.ca, "db-1", DAY_S, now()), operator_of(&world.ca, "alice"));
    for (to, shown) in [(&world.agents, &operator), (&world.operators, &agent)] {
        let refused = world.call(to, Some(shown)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::PermissionDenied), "{refused:?}");
    }
    assert!(world.seen.lock().unwrap().is_empty());
    world.call(&world.agents, Some(&agent)).await.unwrap();
    world.call(&world.operators, Some(&operator)).await.unwrap();
    assert_eq!(*world.seen.lock().unwrap(), ["db-1", "alice"]);
}

/// Hostile input 5: a request that says in every field and header that it is B comes from A's certificate.
#[test]
fn who_calls_is_read_from_the_certificate_and_from_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let ca = new_ca(dir.path(), FLEET);
    let a = node_of(&ca, "a", DAY_S, now());
    let peer = PeerIdentity::from_certificate(&a.issued.certificate, now()).unwrap();
    let trust = Trust::new(FLEET, RevocationList::default(), Clock::default().into());
    let mut request = Request::new("node b");
    request.metadata_mut().insert("node-name", "b".parse().unwrap());
    assert_eq!(node_peer(&request).unwrap_err().code(), Code::Unauthenticated);
    let from = "127.0.0.1:1".parse().unwrap();
    request.extensions_mut().insert(PeerConnection::new(from, Some(peer.clone()), trust));
    let caller = node_peer(&request).unwrap();
    assert_eq!((caller.name, caller.key), (node("a"), a.key.node_key()));
    assert_eq!(operator_peer(&request).unwrap_err().code(), Code::PermissionDenied);
    let elsewhere = Trust::new(FleetId([3; 16]), RevocationList::default(), Clock::default().into());
    request.extensions_mut().insert(PeerConnection::new(from, Some(peer), elsewhere));
    assert_eq!(node_peer(&request).unwrap_err().code(), Code::PermissionDenied, "another fleet's");
}

#[tokio::test]
async fn a_renewal_over_another_key_or_of_another_name_is_refused() {
    let world = World::start().await;
    let shown = node_of(&world.ca, "db-1", DAY_S, now());
    let other = PrivateKey::generate().unwrap().request().unwrap();
    let refused = world.renew(&shown, other).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::PermissionDenied), "{refused:?}");
    let refused = world.renew(&shown, b"garbage".to_vec()).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::InvalidArgument), "{refused:?}");
}

fn request(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn refusal(ca: &Ca, csr: &[u8]) -> RequestRefusal {
    match ca.issue_node(csr, &node("db-1"), DAY_S, now()) {
        Err(CaError::Request(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// Hostile input 8.
#[test]
fn a_request_with_extra_names_ca_true_or_an_operators_usage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca = new_ca(dir.path(), FLEET);
    let names = CertificateParams::new(vec!["db-2".into()]).unwrap().subject_alt_names;
    assert_eq!(refusal(&ca, &request(|p| p.subject_alt_names = names)), RequestRefusal::ExtraNames);
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(refusal(&ca, &request(|p| p.is_ca = authority)), RequestRefusal::Authority);
    let signs = vec![Usage::DigitalSignature, Usage::KeyCertSign];
    assert_eq!(refusal(&ca, &request(|p| p.key_usages = signs)), RequestRefusal::Authority);
    for usages in [vec![Eku::ServerAuth], vec![Eku::ClientAuth, Eku::ServerAuth], vec![Eku::Any]] {
        let why = refusal(&ca, &request(|p| p.extended_key_usages = usages));
        assert!(matches!(why, RequestRefusal::Usage(_)), "{why}");
    }
    let cipher = refusal(&ca, &request(|p| p.key_usages = vec![Usage::KeyEncipherment]));
    assert!(matches!(cipher, RequestRefusal::Usage(_)), "{cipher}");
    for (kind, text) in [(DnType::CommonName, "db-2"), (DnType::OrganizationName, "db-1")] {
        let why = refusal(&ca, &request(|p| p.distinguished_name.push(kind, text)));
        assert!(matches!(why, RequestRefusal::Subject(_)), "{why}");
    }
}

#[test]
fn a_request_that_is_damaged_of_another_key_or_followed_by_something_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca = new_ca(dir.path(), FLEET);
    let good = request(|_| {});
    let key = ca.issue_node(&good, &node("db-1"), DAY_S, now()).unwrap().key;
    let behind = [good.as_slice(), &[0]].concat();
    assert_eq!(refusal(&ca, &behind), RequestRefusal::Encoding);
    assert_eq!(refusal(&ca, &vec![0x30; 1 << 20]), RequestRefusal::Encoding);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x01;
        // What the signature does not cover (its own wrapping) may differ; the key may not.
        let issued = ca.issue_node(&changed, &node("db-1"), DAY_S, now());
        assert!(issued.is_err() || issued.unwrap().key == key, "byte {at}");
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let other = CertificateParams::default().serialize_request(&key).unwrap();
    assert_eq!(refusal(&ca, other.der()), RequestRefusal::Algorithm);
}

#[test]
fn a_certificate_holds_the_requests_key_and_our_words() {
    let dir = tempfile::tempdir().unwrap();
    let ca = new_ca(dir.path(), FLEET);
    let csr = request(|p| p.distinguished_name.push(DnType::CommonName, "db-1"));
    let first = ca.issue_node(&csr, &node("db-1"), DAY_S, 2_000_000_000).unwrap();
    let peer = PeerIdentity::from_certificate(&first.certificate, now()).unwrap();
    assert_eq!((peer.fleet, peer.serial), (FLEET, first.serial));
    assert_eq!(peer.role, Role::Node(node("db-1"), first.key));
    assert_eq!(peer.not_before_unix_s, 2_000_000_000 - 300);
    assert_eq!((peer.not_after_unix_s, first.not_after_unix_s), (2_000_086_400, 2_000_086_400));
    let second = ca.issue_node(&csr, &node("db-1"), DAY_S, 2_000_000_000).unwrap();
    assert_ne!(first.serial, second.serial);
    assert!(ca.issue_operator("a/b", DAY_S, now()).is_err());
}

#[test]
fn a_ca_opens_with_its_sealing_key_only_and_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let ca = new_ca(dir.path(), FLEET);
    let right = SealingKey::new([9; 32], "test");
    assert_eq!(Ca::open(dir.path(), &right).unwrap().pin(), ca.pin());
    assert_eq!(Ca::open(dir.path(), &right).unwrap().fleet(), FLEET);
    let error = Ca::open(dir.path(), &SealingKey::new([8; 32], "the wrong file")).unwrap_err();
    assert!(matches!(error, CaError::Sealed(SealError::WrongKey { .. })));
    assert!(error.to_string().contains("the wrong file"), "{error}");
    assert!(matches!(Ca::create(dir.path(), FLEET, &right, now()), Err(CaError::Exists(_))));
    let on_disk = std::fs::read(dir.path().join(crate::trust::ca::KEY_FILE)).unwrap();
    assert!(!String::from_utf8_lossy(&on_disk).contains("PRIVATE"), "the key lies open");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Ca::open(empty.path(), &right), Err(CaError::Missing(_))));
}
