//! Join tokens against the real service.

use drydock_proto::{
    agent::{EnrollRequest, enroll_service_client::EnrollServiceClient},
    tls::{JoinToken, PrivateKey},
};
use tonic::{Code, Status};

use super::world::{World, connect, now};

async fn enrol(world: &World, token: &JoinToken, name: &str) -> Result<Vec<u8>, Status> {
    enrol_with(world, token, name, PrivateKey::generate().unwrap().request().unwrap()).await
}

async fn enrol_with(
    world: &World,
    token: &JoinToken,
    name: &str,
    csr_der: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let mut client = EnrollServiceClient::new(connect(&world.ca, &world.agents, None).await.unwrap());
    let asked = EnrollRequest { token: token.to_text(), node_name: name.into(), csr_der };
    client.enroll(asked).await.map(|answer| answer.into_inner().certificate_der)
}

/// Hostile input 6: twice.
#[tokio::test]
async fn a_token_works_once() {
    let world = World::start().await;
    let token = world.token("db-1", 60, now());
    enrol(&world, &token, "db-1").await.unwrap();
    let refused = enrol(&world, &token, "db-1").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("used"), "{refused}");
}

/// Hostile input 6: 16 at once, one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_with_one_token_one_wins() {
    let world = World::start().await;
    for _ in 0..4 {
        let token = world.token("db-1", 60, now());
        let all = (0..16).map(|_| enrol(&world, &token, "db-1"));
        let ended = futures_util::future::join_all(all).await;
        assert_eq!(ended.iter().filter(|one| one.is_ok()).count(), 1);
    }
}

/// Hostile input 7: expired by two seconds, and for another node; and what costs no token.
#[tokio::test]
async fn an_expired_token_and_one_for_another_node_are_refused_and_stay_unused() {
    let world = World::start().await;
    let late = world.token("db-1", 60, now() - 62);
    let refused = enrol(&world, &late, "db-1").await.unwrap_err();
    assert!(refused.message().contains("expired"), "{refused}");
    let token = world.token("db-1", 60, now());
    for (name, csr) in [("db-2", None), ("../etc", None), ("db-1", Some(b"garbage".to_vec()))] {
        let csr = csr.unwrap_or_else(|| PrivateKey::generate().unwrap().request().unwrap());
        assert!(enrol_with(&world, &token, name, csr).await.is_err(), "{name}");
    }
    assert!(world.tokens.0.lock().unwrap().values().all(|row| row.used_unix_s.is_none()));
    enrol(&world, &token, "db-1").await.unwrap();
}

/// Hostile input 27.
#[tokio::test]
async fn what_is_stored_of_a_token_and_shown_of_it_is_not_its_secret() {
    let world = World::start().await;
    let token = world.token("db-1", 60, now());
    let hex: String = token.secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", token.secret.0);
    let shown = format!("{:?} {token:?} {:?} {:?}", world.tokens, world.ca, world.trust);
    assert!(!shown.contains(&hex) && !shown.contains(&list) && !shown.contains(&token.to_text()));
}
