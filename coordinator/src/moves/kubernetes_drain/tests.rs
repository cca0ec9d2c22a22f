//! The look right before the change, against an API that answers by path.
//!
//! | module | what is told there |
//! |---|---|
//! | `replacements` | orders one after another over a cluster in memory: what each waits for |

mod replacements;

use std::{collections::BTreeMap, sync::Mutex};

use drydock_kubernetes::{
    api::{Answer, Line, Method, Request, Unreached},
    mark::KEY,
};
use drydock_proto::{
    agent::{ObserveResult, to_agent},
    tls::peer::Shown,
};
use drydock_types::{Epoch, Fence, InstanceId, document};
use futures_util::stream::BoxStream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

/// Objects and lists by their paths; every other path is not found.
#[derive(Default)]
struct Table {
    there: Mutex<BTreeMap<&'static str, Value>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Api for Table {
    async fn call(&self, request: Request) -> Result<Answer, Unreached> {
        assert_eq!(request.method, Method::Get);
        let path = request.path.split('?').next().unwrap().to_owned();
        let found = self.there.lock().unwrap().get(&*path).cloned();
        self.asked.lock().unwrap().push(path);
        let none = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        Ok(Answer {
            status: if found.is_some() { 200 } else { 404 },
            retry_after: None,
            content_type: "application/json".to_owned(),
            body: found.unwrap_or(none).to_string().into_bytes(),
        })
    }

    async fn watch(
        &self,
        path: String,
        _within: Duration,
    ) -> Result<Result<BoxStream<'static, Line>, Answer>, Unreached> {
        Err(Unreached { why: format!("{path} is not watched by a look"), may_have_taken_effect: false })
    }
}

pub(crate) struct Binding(pub(crate) Arc<dyn Api>);

impl std::fmt::Debug for Binding {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Binding")
    }
}

#[async_trait]
impl Bindings for Binding {
    async fn of(self: Arc<Self>, _key: NodeKey, _name: &NodeName) -> Result<Bound, String> {
        let api = Arc::clone(&self.0);
        Ok(Bound { cluster: "shop".to_owned(), node: "k-1".to_owned(), api, own_pod: None })
    }

    async fn any_of(self: Arc<Self>, _cluster: &str, keys: &BTreeSet<NodeKey>) -> Result<bool, String> {
        Ok(!keys.is_empty())
    }
}

/// Answers every question of which machine it is, until the stream ends.
async fn agent(sessions: Sessions, name: NodeName, seat: u64, mut sent: mpsc::Receiver<crate::link::Sent>) {
    while let Some(Ok(message)) = sent.recv().await {
        let Some(to_agent::Message::Observe(asked)) = message.message else { continue };
        let facts = HostFacts { machine_id: "m".to_owned(), boot_id: "b".to_owned(), ..HostFacts::default() };
        let facts = Observation::Host(facts);
        let observation = document::encode(&facts);
        let result = ObserveResult { request: asked.request, observation, ..ObserveResult::default() };
        sessions.observed(&name, seat, result);
    }
}

/// A coordinator of that epoch whose only session is that node's. Its agent runs on the machine `m`, of the boot `b`.
pub(crate) fn sessions(
    name: &NodeName,
    key: NodeKey,
    epoch: Epoch,
) -> (Sessions, tokio::task::JoinHandle<()>) {
    let sessions = Sessions::new(Fence { epoch, instance: InstanceId([1; 16]) });
    let (queue, sent) = mpsc::channel(8);
    let seat = sessions.sit(name.clone(), key, Shown(Arc::from(&b"certificate"[..])), queue).unwrap();
    let (spoken_to, name) = (sessions.clone(), name.clone());
    // The session lasts as long as its seat.
    let agent = tokio::spawn(async move {
        agent(spoken_to, name, seat.id, sent).await;
        drop(seat);
    });
    (sessions, agent)
}

#[tokio::test(start_paused = true)]
async fn kureds_lock_is_looked_at_right_before_the_change_where_a_kured_runs() {
    let name = NodeName::parse("n1").unwrap();
    let of: Move = serde_json::from_value(json!({"kubernetesDrain": {}})).unwrap();
    let asked =
        LookRequest { moves: vec![of.clone()], drained: true, ..crate::checks::tests::request(&name) };
    let (sessions, agent) = sessions(&name, asked.key, Epoch(1));

    let table = Arc::new(Table::default());
    let drains = KubernetesDrain::new(Arc::new(Binding(Arc::<Table>::clone(&table))), sessions);
    let marker = Marker { fleet: asked.fleet, run: asked.run_id, node: asked.node.clone(), epoch: Epoch(1) };
    let put = |path, object| drop(table.there.lock().unwrap().insert(path, object));
    let marked = serde_json::to_string(&marker.mark("k-1", false)).unwrap();
    let node = json!({
        "metadata": {"name": "k-1", "uid": "u", "resourceVersion": "1", "annotations": {KEY: marked}},
        "spec": {"unschedulable": true},
        "status": {"nodeInfo": {"machineID": "m", "bootID": "b"}},
    });
    put("/api/v1/nodes/k-1", node);
    let pods = |items: Value| json!({"metadata": {"resourceVersion": "1"}, "items": items});
    put("/api/v1/pods", pods(json!([])));
    assert_eq!(drains.look(&asked, &of).await, Verdict::Clear);
    assert_eq!(table.asked.lock().unwrap().len(), 2);

    let owner = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "kured", "uid": "d", "controller": true}]);
    let kured = json!({
        "metadata": {"namespace": "kube-system", "name": "kured-1", "uid": "p", "resourceVersion": "1", "ownerReferences": owner},
        "spec": {"nodeName": "k-1"},
        "status": {"phase": "Running"},
    });
    put("/api/v1/pods", pods(json!([kured])));
    let set = "/apis/apps/v1/namespaces/kube-system/daemonsets/kured";
    let holds = |node: &str| {
        let lock = json!({"nodeID": node}).to_string();
        let annotations = json!({"weave.works/kured-node-lock": lock});
        let meta = json!({"namespace": "kube-system", "name": "kured", "uid": "d", "resourceVersion": "1", "annotations": annotations});
        json!({"metadata": meta})
    };
    put(set, holds("k-1"));
    let verdict = drains.look(&asked, &of).await;
    assert!(
        matches!(&verdict, Verdict::Refused(why) if why.contains("kured has its lock for it")),
        "{verdict:?}"
    );
    // It takes nothing back here, so the Node is not drained anew for it.
    put(set, holds("k-2"));
    let verdict = drains.look(&asked, &of).await;
    assert!(matches!(&verdict, Verdict::Unknown(why) if why.contains("its lock for k-2")), "{verdict:?}");
    put(set, holds(""));
    assert_eq!(drains.look(&asked, &of).await, Verdict::Clear);
    assert_eq!(table.asked.lock().unwrap().iter().filter(|path| *path == set).count(), 3);
    agent.abort();
}
