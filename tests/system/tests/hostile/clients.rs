//! Clients of every sort before a real coordinator.

use std::{collections::BTreeMap, sync::Arc};

use drydock_coordinator::trust::{Ca, Issued, SealingKey, SealingSources};
use drydock_proto::{
    PROTOCOL,
    agent::{
        EnrollRequest, FromAgent, Hello, RenewRequest, StatBackupRequest,
        agent_service_client::AgentServiceClient, enroll_service_client::EnrollServiceClient, from_agent,
    },
    operator::{ListNodesRequest, operator_service_client::OperatorServiceClient},
    tls::{Address, Anchor, ClientCertificate, Clock, DialError, PrivateKey, client_config, dial},
};
use drydock_system_tests::{Fleet, node::Node, wait};
use drydock_types::{NodeName, probe::HostFacts};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, KeyPair};
use tonic::{Code, Status, transport::Channel};

const DAY_S: i64 = 86_400;

/// The authority of a running fleet, in the hands of a test.
pub(crate) struct World {
    ca: Ca,
    address: Address,
}

/// A certificate and its key.
pub(crate) struct Shown {
    issued: Issued,
    key: PrivateKey,
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn now() -> i64 {
    Clock::default().now_unix_s()
}

pub(crate) fn days_ago(days: i64) -> i64 {
    now() - days * DAY_S
}

impl World {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let sources = SealingSources::of_process(None, fleet.coordinator.config_dir());
        let sealing = SealingKey::find(&sources, false).unwrap();
        let ca = Ca::open(&fleet.coordinator.state_dir().join("ca"), &sealing).unwrap();
        Self { ca, address: Address::parse(&fleet.coordinator.address.to_string()).unwrap() }
    }

    /// A node's certificate, valid now.
    pub(crate) fn node(&self, name: &str) -> Shown {
        self.node_made(name, now())
    }

    /// One that was made at this time, for a day.
    fn node_made(&self, name: &str, made_unix_s: i64) -> Shown {
        let key = PrivateKey::generate().unwrap();
        let name = NodeName::parse(name).unwrap();
        let issued = self.ca.issue_node(&key.request().unwrap(), &name, DAY_S, made_unix_s).unwrap();
        Shown { issued, key }
    }

    /// One over this very key.
    pub(crate) fn node_over(&self, key: &PrivateKey, name: &str, made_unix_s: i64) -> Issued {
        self.ca
            .issue_node(&key.request().unwrap(), &NodeName::parse(name).unwrap(), DAY_S, made_unix_s)
            .unwrap()
    }

    /// A certificate over this key with the key, to be shown.
    pub(crate) fn shown(&self, key: &PrivateKey, name: &str) -> Shown {
        let key = PrivateKey::from_pem(&key.to_pem()).unwrap();
        Shown { issued: self.node_over(&key, name, now()), key }
    }

    pub(crate) fn fleet(&self) -> drydock_types::FleetId {
        self.ca.fleet()
    }

    fn operator(&self, made_unix_s: i64) -> Shown {
        let (issued, key) = self.ca.issue_operator("mallory", DAY_S, made_unix_s).unwrap();
        Shown { issued, key }
    }

    pub(crate) async fn connect(&self, shown: Option<&Shown>) -> Result<Channel, DialError> {
        let shown =
            shown.map(|shown| ClientCertificate::new(shown.issued.certificate.clone(), &shown.key).unwrap());
        let anchor = Anchor::Ca(self.ca.certificate().clone());
        let config = client_config(anchor, self.ca.fleet(), shown, Arc::new(Clock::default())).unwrap();
        dial(&self.address, config).await
    }

    /// A call on the agents' service and one on the operators': how each is answered.
    fn calls(&self, shown: Option<&Shown>) -> [Result<(), String>; 2] {
        let text = |status: Status| format!("{:?} {}", status.code(), status.message());
        block_on(async {
            let agents = match self.connect(shown).await {
                Err(error) => Err(error.to_string()),
                Ok(channel) => {
                    let called =
                        AgentServiceClient::new(channel).stat_backup(StatBackupRequest::default()).await;
                    called.map(drop).map_err(text)
                }
            };
            let operators = match self.connect(shown).await {
                Err(error) => Err(error.to_string()),
                Ok(channel) => {
                    let called = OperatorServiceClient::new(channel).list_nodes(ListNodesRequest {}).await;
                    called.map(drop).map_err(text)
                }
            };
            [agents, operators]
        })
    }
}

/// Hostile inputs 1, 2, 3 and 4, end to end: before a running coordinator with the fleet's real authority.
#[test]
fn who_shows_no_certificate_or_a_wrong_one_is_told_nothing() {
    let fleet = Fleet::without_nodes();
    let world = World::of(&fleet);
    let dir = tempfile::tempdir().unwrap();
    let other = Ca::create(dir.path(), world.ca.fleet(), &SealingKey::new([7; 32], "test"), now()).unwrap();
    let foreign = |name: &str| {
        let key = PrivateKey::generate().unwrap();
        let issued =
            other.issue_node(&key.request().unwrap(), &NodeName::parse(name).unwrap(), DAY_S, now()).unwrap();
        Shown { issued, key }
    };
    let (issued, key) = other.issue_operator("admin", DAY_S, now()).unwrap();
    for (what, shown) in [
        ("none", None),
        ("a node of another CA", Some(foreign("n1"))),
        ("an operator of another CA", Some(Shown { issued, key })),
        ("an operator whose day is over", Some(world.operator(now() - 2 * DAY_S))),
        ("an operator whose day has not come", Some(world.operator(now() + DAY_S))),
        ("a node that expired beyond the grace", Some(world.node_made("n1", now() - 40 * DAY_S))),
        ("a node whose day has not come", Some(world.node_made("n1", now() + DAY_S))),
    ] {
        let answers = world.calls(shown.as_ref());
        assert!(answers.iter().all(Result::is_err), "{what}: {answers:?}");
    }
    // Each on the other's service: the connection stands, the call does not.
    let [agents, operators] = world.calls(Some(&world.node("n1")));
    assert!(operators.unwrap_err().starts_with("PermissionDenied"));
    assert!(!agents.is_err_and(|why| why.starts_with("PermissionDenied")), "on its own it is heard");
    let [agents, operators] = world.calls(Some(&world.operator(now())));
    assert!(agents.unwrap_err().starts_with("PermissionDenied"));
    operators.unwrap();
    fleet.drydock(&["node", "list"]).exits(0);
}

/// Hostile inputs 6 and 7, end to end, by the agent's own command.
#[test]
fn a_join_token_is_good_once_for_its_node_and_for_its_time() {
    let fleet = Fleet::without_nodes();
    let node = |name: &str| Node::new(fleet.dir(), name, &fleet.public_key);

    // Two at once: one wins.
    let token = fleet.token("n1", &[]);
    let twins: Vec<Node> = (0..4).map(|number| node(&format!("twin{number}"))).collect();
    let codes: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = twins.iter().map(|twin| scope.spawn(|| twin.enrol(&token))).collect();
        tries.into_iter().map(|tried| tried.join().unwrap()).collect()
    });
    let won = codes.iter().filter(|ran| ran.code == Some(0)).count();
    assert_eq!(won, 1, "{codes:#?}");
    for lost in codes.iter().filter(|ran| ran.code != Some(0)) {
        lost.exits(1).says(&["used"]);
    }
    let identities = twins.iter().filter(|twin| twin.state_dir().join("identity.json").exists()).count();
    assert_eq!(identities, 1);
    // And again, later.
    node("later").enrol(&token).exits(1).says(&["used"]);

    let short = fleet.token("n2", &["--ttl", "1s"]);
    wait::pause(std::time::Duration::from_secs(3));
    node("n2").enrol(&short).exits(1).says(&["expired"]);

    let revoked = fleet.drydock(&["-o", "json", "token", "create", "n3"]).json();
    fleet.drydock(&["token", "revoke", revoked["id"].as_str().unwrap()]).exits(0);
    node("n3").enrol(revoked["token"].as_str().unwrap()).exits(1).says(&["revoked"]);

    // For another node: by the agent's own flag, and by a client that claims another name (hostile input 5).
    let token = fleet.token("n4", &[]);
    let world = World::of(&fleet);
    let claim = |node_name: &str, csr_der: Vec<u8>| {
        let asked = EnrollRequest { token: token.clone(), node_name: node_name.into(), csr_der };
        block_on(async { EnrollServiceClient::new(world.connect(None).await.unwrap()).enroll(asked).await })
    };
    let csr = || PrivateKey::generate().unwrap().request().unwrap();
    let refused = claim("n5", csr()).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");

    // Hostile input 8: what a request asks for beyond a key is refused, and costs no token.
    let request = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        change(&mut params);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    };
    let more = CertificateParams::new(vec!["n9".into()]).unwrap().subject_alt_names;
    for csr in [
        request(&|params| params.subject_alt_names.clone_from(&more)),
        request(&|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        request(&|params| params.extended_key_usages = vec![Usage::ServerAuth]),
        vec![0; 10_000],
    ] {
        let refused = claim("n4", csr).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    claim("n4", csr()).unwrap();
    let nodes = fleet.drydock(&["-o", "json", "node", "list"]).json();
    let names: BTreeMap<_, _> =
        nodes.as_array().unwrap().iter().map(|node| (node["name"].as_str().unwrap(), ())).collect();
    assert_eq!(names.into_keys().collect::<Vec<_>>(), ["n1", "n4"]);
}

/// Hostile input 5, end to end: a certificate of A over B's key, name or number is still A's.
#[test]
fn a_renewal_is_for_who_shows_the_certificate_and_for_its_own_key() {
    let fleet = Fleet::start(1);
    let world = World::of(&fleet);
    let stranger = world.node("n2");
    let csr_der = PrivateKey::generate().unwrap().request().unwrap();
    let refused = block_on(async {
        let mut client = AgentServiceClient::new(world.connect(Some(&stranger)).await.unwrap());
        client.renew(RenewRequest { csr_der }).await
    });
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    // n1's name over another key, by the fleet's real authority: the registered machine keeps its seat.
    let impostor = world.node("n1");
    let hello =
        Hello { protocol: PROTOCOL, journal_id: vec![0; 16], host_facts: facts(), ..Hello::default() };
    let hello = FromAgent { message: Some(from_agent::Message::Hello(hello)) };
    let refused = block_on(async {
        let mut client = AgentServiceClient::new(world.connect(Some(&impostor)).await.unwrap());
        match client.attach(tokio_stream::iter([hello])).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        }
    });
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("not the one registered for n1"), "{refused:?}");
    fleet.all_connected();
    assert!(!fleet.nodes[0].log().contains("not connected"), "{}", fleet.nodes[0].log());
}

/// What any host says of itself.
pub(crate) fn facts() -> Vec<u8> {
    let text = String::new;
    drydock_types::document::encode(&HostFacts {
        os: text(),
        kernel: text(),
        arch: text(),
        hostname: "impostor".into(),
        cpus: 1,
        memory_bytes: 1,
        state_free_bytes: 1,
        boot_id: text(),
        machine_id: text(),
        uptime_s: 1,
        policy: None,
    })
}
