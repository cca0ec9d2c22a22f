//! A node that is enrolled like any other, with an agent that says what a test tells it to say; before a real
//! coordinator.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use drydock_proto::{
    PROTOCOL,
    agent::{
        EnrollRequest, FromAgent, Hello, ObserveResult, OutcomeReport,
        agent_service_client::AgentServiceClient, enroll_service_client::EnrollServiceClient,
        from_agent::Message as Said, to_agent::Message as Order,
    },
    tls::PrivateKey,
};
use drydock_system_tests::{Fleet, wait};
use drydock_types::{
    EffectId, FleetId, Head, Millis, Outcome, Section, Step, document,
    outcome::SectionResult,
    probe::{Observation, Probe},
    section::KNOWN_REQUIREMENTS,
    signed::{Purpose, message},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::clients::{self, World, block_on};

/// How a puppet answers a look.
type Eyes = Box<dyn Fn(&Probe) -> Result<Observation, String> + Send>;

#[derive(Default)]
struct Shared {
    orders: Mutex<VecDeque<Order>>,
    heads: Mutex<Vec<Head>>,
    eyes: Mutex<Option<Eyes>>,
}

/// A node whose agent is the test.
pub(crate) struct Puppet {
    pub(crate) name: String,
    pub(crate) key: PrivateKey,
    fleet: FleetId,
    shared: Arc<Shared>,
    say: mpsc::Sender<FromAgent>,
}

impl Puppet {
    /// Enrols with a token, dials and says Hello.
    pub(crate) fn start(fleet: &Fleet, name: &str) -> Self {
        let world = World::of(fleet);
        let token = fleet.token(name, &["--label", "role=puppet"]);
        let key = PrivateKey::generate().unwrap();
        let csr_der = key.request().unwrap();
        let asked = EnrollRequest { token, node_name: name.into(), csr_der };
        block_on(async { EnrollServiceClient::new(world.connect(None).await.unwrap()).enroll(asked).await })
            .unwrap();
        let (say, said) = mpsc::channel(64);
        let shared = Arc::new(Shared::default());
        let shown = world.shown(&key, name);
        let puppet = Self { name: name.into(), key, fleet: world.fleet(), shared: Arc::clone(&shared), say };
        puppet.say(Said::Hello(hello()));
        let answer = puppet.say.clone();
        // A thread of its own: the test's waits block. It ends with the stream.
        std::thread::spawn(move || {
            block_on(async {
                let mut client = AgentServiceClient::new(world.connect(Some(&shown)).await.unwrap());
                let mut orders = client.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
                while let Ok(Some(order)) = orders.message().await {
                    if let Some(head) = &order.head {
                        shared.heads.lock().unwrap().push(Head::try_from(head).unwrap());
                    }
                    match order.message {
                        Some(Order::Observe(observe)) => {
                            let result = shared.look(observe.request, &observe.probe);
                            let result = FromAgent { message: Some(Said::Observed(result)) };
                            answer.send(result).await.unwrap();
                        }
                        Some(order) => shared.orders.lock().unwrap().push_back(order),
                        None => {}
                    }
                }
            });
        });
        puppet
    }

    /// From now on looks are answered so.
    pub(crate) fn sees(&self, eyes: impl Fn(&Probe) -> Result<Observation, String> + Send + 'static) {
        *self.shared.eyes.lock().unwrap() = Some(Box::new(eyes));
    }

    pub(crate) fn say(&self, said: Said) {
        self.say.blocking_send(FromAgent { message: Some(said) }).unwrap();
    }

    /// The next order of a kind; others before it are passed over.
    pub(crate) fn order<T>(&self, what: &str, mut is: impl FnMut(Order) -> Option<T>) -> T {
        wait::until(what, wait::RUN, || {
            let mut orders = self.shared.orders.lock().unwrap();
            while let Some(order) = orders.pop_front() {
                if let Some(found) = is(order) {
                    return Some(found);
                }
            }
            None
        })
    }

    /// The next section.
    pub(crate) fn section(&self) -> Section {
        self.order("a section", |order| match order {
            Order::Dispatch(dispatch) => Some(document::decode("section", &dispatch.section).unwrap()),
            _ => None,
        })
    }

    /// The heads of the record that it was told, in order.
    pub(crate) fn heads(&self) -> Vec<Head> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// That a section is done, as an honest agent would write it.
    pub(crate) fn done(&self, effect: EffectId) -> Vec<u8> {
        document::encode(&Outcome {
            effect,
            result: SectionResult::Done {},
            steps: Vec::new(),
            took: Millis(1),
            out_of_service: None,
            evidence: Vec::new(),
        })
    }

    /// This key's signature over an outcome.
    pub(crate) fn signature(&self, key: &PrivateKey, effect: EffectId, outcome: &[u8]) -> Vec<u8> {
        let message = message(Purpose::Outcome, self.fleet, self.key.node_key(), &effect.0, outcome);
        key.sign(&message).unwrap().as_bytes().to_vec()
    }

    /// Reports an outcome with this signature.
    pub(crate) fn reports(&self, effect: EffectId, outcome: Vec<u8>, signature: Vec<u8>) {
        self.say(Said::Outcome(OutcomeReport { effect_id: effect.0.to_vec(), outcome, signature }));
    }

    /// Reports that a section is done, as an honest agent does.
    pub(crate) fn does(&self, effect: EffectId) {
        let outcome = self.done(effect);
        let signature = self.signature(&self.key, effect, &outcome);
        self.reports(effect, outcome, signature);
    }
}

impl Shared {
    fn look(&self, request: u64, probe: &[u8]) -> ObserveResult {
        let probe: Probe = document::decode("probe", probe).unwrap();
        let eyes = self.eyes.lock().unwrap();
        let seen = eyes.as_ref().map_or_else(|| Err("a puppet sees nothing".to_owned()), |eyes| eyes(&probe));
        match seen {
            Ok(seen) => {
                ObserveResult { request, observation: document::encode(&seen), ..ObserveResult::default() }
            }
            Err(error) => ObserveResult { request, error, ..ObserveResult::default() },
        }
    }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        journal_id: vec![7; 16],
        journal_length: 1,
        steps: Step::ALL.map(String::from).to_vec(),
        requirements: KNOWN_REQUIREMENTS.map(String::from).to_vec(),
        host_facts: clients::facts(),
        ..Hello::default()
    }
}
