//! The agent's identity against a real coordinator: enrolled, used, renewed, and refused with the reason.

use drydock_agent::identity::{Identity, IdentityError, enrol};
use drydock_proto::{
    agent::{StatBackupRequest, agent_service_client::AgentServiceClient},
    tls::{PrivateKey, key::certificate_to_pem, private_file},
};
use drydock_system_tests::Fleet;
use tonic::{Code, transport::Channel};

use super::clients::{self, World, block_on};

async fn call(channel: Channel) -> Result<(), tonic::Status> {
    AgentServiceClient::new(channel).stat_backup(StatBackupRequest::default()).await.map(drop)
}

/// Puts another certificate for the same key into an identity: one made so many days ago, for one day.
fn aged(world: &World, dir: &std::path::Path, name: &str, days: i64) {
    let file = dir.join("identity.json");
    let mut form: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let key = PrivateKey::from_pem(form["key"].as_str().unwrap()).unwrap();
    let old = world.node_over(&key, name, clients::days_ago(days));
    form["certificate"] = certificate_to_pem(&old.certificate).into();
    private_file::write(&file, form.to_string().as_bytes()).unwrap();
}

#[test]
fn an_agent_enrols_calls_and_renews_also_after_a_weekend_without_a_coordinator() {
    let fleet = Fleet::without_nodes();
    let world = World::of(&fleet);
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let token = fleet.token("db-1", &[]);
    block_on(async {
        let identity = enrol(&token, None, &state).await.unwrap();
        assert_eq!(identity.node_name().as_str(), "db-1");
        let channel = identity.channel().await.unwrap();
        // It is heard: what it asks for is malformed, which only a node is told.
        assert_eq!(call(channel.clone()).await.unwrap_err().code(), Code::InvalidArgument);
        assert!(!identity.renew_if_due(&channel).await.unwrap(), "a new certificate is not due");

        let again = enrol(&token, None, &state).await;
        assert!(matches!(again, Err(IdentityError::AlreadyEnrolled { .. })), "{again:?}");
        let elsewhere = enrol(&token, None, &dir.path().join("elsewhere")).await.unwrap_err();
        assert!(matches!(&elsewhere, IdentityError::Refused(why) if why.contains("used")), "{elsewhere:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0, "nothing is left");

        // Expired for a day: only renewal is answered, and after it everything is.
        aged(&world, &state, "db-1", 2);
        let identity = Identity::load(&state).unwrap();
        assert!(identity.is_expired());
        let channel = identity.channel().await.unwrap();
        assert_eq!(call(channel.clone()).await.unwrap_err().code(), Code::PermissionDenied);
        assert!(identity.renew_if_due(&channel).await.unwrap());
        assert!(!identity.is_expired() && !Identity::load(&state).unwrap().is_expired());
        let channel = identity.channel().await.unwrap();
        assert_eq!(call(channel).await.unwrap_err().code(), Code::InvalidArgument);
    });
}

/// Hostile input 3, end to end: beyond the 30 days of grace.
#[test]
fn a_certificate_that_expired_beyond_the_grace_is_refused_with_what_to_do() {
    let fleet = Fleet::without_nodes();
    let world = World::of(&fleet);
    let dir = tempfile::tempdir().unwrap();
    let token = fleet.token("db-9", &[]);
    let why = block_on(async {
        enrol(&token, None, dir.path()).await.unwrap();
        aged(&world, dir.path(), "db-9", 40);
        let identity = Identity::load(dir.path()).unwrap();
        match identity.channel().await {
            Ok(channel) => identity.renew_if_due(&channel).await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    });
    assert!(why.contains("expired"), "{why}");
}
