//! Drains over three real servers: one hangs in the middle of a request, and nobody leads the controllers for a while.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use drydock_kubernetes::{
    api::Method,
    drain::{
        cordon::Released,
        work::{Ended, Progress, drain},
    },
};
use drydock_test_cluster::{Admin, Settings, cluster::SOON, here_with_all, objects::is};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    BUDGETS, PODS, Scene,
    between::{Between, Passed},
    ours, told_of,
};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/// What was asked about this pod: it itself, or its eviction.
fn is_about(pod: &str, passed: &Passed) -> bool {
    passed.path == pod || passed.path == format!("{pod}/eviction")
}

/// One server takes an eviction and says nothing. The drain asks the next one how that pod stands, and goes on there.
pub(super) async fn a_request_that_hangs_is_looked_after_through_another_server(scene: &mut Scene) {
    // Without the one that leads nothing is made anew, and that is another story.
    let leads = |index: usize| scene.cluster.servers()[index].leads_controllers();
    let hangs = if leads(1) { 2 } else { 1 };
    scene.client = ours(&scene.cluster, &[hangs, 3 - hangs, 0]);
    scene.workload("web", 6, "0s", json!({"maxUnavailable": 3}), 3).await;
    let order = scene.order("node-1").await;
    let here = scene.pods_on("node-1").await;
    let (admin, client) = (scene.cluster.admin().clone(), &scene.client);
    let servers = scene.cluster.servers_mut();

    let api = Between::of(client);
    let held = api.hold_eviction(&format!("/pods/{}", here[0]));
    let (tell, stop) = (watch::Sender::new(Progress::default()), CancellationToken::new());
    let (ended, ()) = tokio::join!(drain(&api, &order, None, 3 * SOON, &tell, &stop), async {
        let go_on = tokio::time::timeout(SOON, held).await.expect("nobody was asked to go").unwrap();
        servers[hangs].freeze().unwrap();
        go_on.send(()).unwrap();
        // While it hangs everybody leaves through the others.
        let path = format!("{PODS}?fieldSelector=spec.nodeName%3Dnode-1");
        let empty = |all: &[Value]| all.is_empty().then_some(());
        admin.until("the node to be empty", &path, SOON, empty).await.unwrap();
        // It goes on, and its watches tell.
        servers[hangs].thaw().unwrap();
    });
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");

    let passed = api.passed();
    let hung = |one: &Passed| one.method == Method::Post && one.status.is_none();
    let at = passed.iter().position(hung).expect("no request hung");
    let pod = passed[at].path.strip_suffix("/eviction").unwrap();
    let mut after = passed[at + 1..].iter().filter(|one| is_about(pod, one));
    // A look first, whatever the pod is by then.
    let look = after.next().unwrap();
    assert_eq!((look.method, look.path.as_str()), (Method::Get, pod), "{passed:?}");
    assert!(look.status.is_some(), "{passed:?}");
    // And never to the end without having read the Node and its pods anew, after everything that was asked.
    let last = passed.iter().rposition(|one| one.method.changes()).unwrap();
    let read: Vec<&str> = passed[last + 1..].iter().map(|one| one.path.as_str()).collect();
    for path in ["/api/v1/nodes/node-1", "/api/v1/pods"] {
        assert!(read.contains(&path), "{path} was not read after {:?}: {read:?}", passed[last]);
    }
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
    scene.remove("web").await;
}

/// How often somebody looked, and how few pods of an app were ready.
#[derive(Debug, Clone, Copy)]
struct Watched {
    looks: usize,
    fewest: usize,
}

/// Counts the ready pods at each change of any of them, by a watch of its own.
fn watch_ready(admin: &Admin, app: &str) -> (JoinHandle<()>, Arc<Mutex<Watched>>) {
    let watched = Arc::new(Mutex::new(Watched { looks: 0, fewest: usize::MAX }));
    let (admin, seen) = (admin.clone(), Arc::clone(&watched));
    let path = format!("{PODS}?labelSelector=app%3D{app}");
    let counts = async move {
        let serves = |pod: &&Value| is(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null();
        let looked = |all: &[Value]| {
            let mut seen = seen.lock().unwrap();
            seen.looks += 1;
            seen.fewest = seen.fewest.min(all.iter().filter(serves).count());
            None::<()>
        };
        // It is never found: it ends with the test.
        drop(admin.until("what never comes", &path, Duration::from_secs(3600), looked).await);
    };
    (tokio::spawn(counts), watched)
}

/// The one whose controllers lead; never the first, whom the test and its kubelets ask.
async fn leader(scene: &mut Scene) -> usize {
    let leads = |scene: &Scene| (1..3).find(|index| scene.cluster.servers()[*index].leads_controllers());
    if let Some(leader) = leads(scene) {
        return leader;
    }
    tokio::task::block_in_place(|| {
        scene.cluster.servers_mut()[0].stop().unwrap();
        scene.cluster.servers_mut()[0].start().unwrap();
    });
    let admin = scene.cluster.admin().clone();
    admin.until("another server's controllers to lead", LEASES, SOON, |_| leads(scene)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants Go: tests/run kubernetes"]
async fn while_no_controller_manager_leads_a_drain_waits_by_its_budgets_name_and_overruns_none() {
    if !here_with_all("DRYDOCK_KUBERNETES_ALL") {
        return;
    }
    let mut scene = Scene::of(Settings { servers: 3, ..Settings::default() }).await;
    let leader = leader(&mut scene).await;
    scene.client = ours(&scene.cluster, &[0, 1, 2]);
    scene.workload("shop", 9, "0s", json!({"maxUnavailable": 1}), 1).await;
    let order = scene.order("node-1").await;
    let here = scene.pods_on("node-1").await;
    assert!(here.len() >= 2, "{here:?}");
    let (admin, client) = (scene.cluster.admin().clone(), &scene.client);
    let servers = scene.cluster.servers_mut();
    let (counting, watched) = watch_ready(&admin, "shop");

    let api = Between::of(client);
    let mut first = here.clone();
    first.sort();
    let held = api.hold_eviction(&format!("/pods/{}", first[0]));
    let (tell, stop) = (watch::Sender::new(Progress::default()), CancellationToken::new());
    let mut told = tell.subscribe();
    let waits_for = |words: &'static str| {
        move |progress: &Progress| progress.waits.as_ref().is_some_and(|waits| waits.because.contains(words))
    };
    let (ended, gone) = tokio::join!(drain(&api, &order, None, 3 * SOON, &tell, &stop), async {
        let go_on = tokio::time::timeout(SOON, held).await.expect("nobody was asked to go").unwrap();
        servers[leader].kill().unwrap();
        go_on.send(()).unwrap();
        // One goes. Nobody makes it anew or counts it, and so the budget stays where the eviction has put it.
        told_of(&mut told, waits_for("PodDisruptionBudget default/shop allows 0 more now")).await;
        // Somebody changes the budget: what its status says is of another one now.
        let change = json!({"spec": {"maxUnavailable": null, "minAvailable": 8}});
        admin.patch(&format!("{BUDGETS}/shop"), &change).await.unwrap();
        let said =
            told_of(&mut told, waits_for("has not yet looked at the PodDisruptionBudget default/shop")).await;
        said.gone
    });
    assert!(matches!(ended, Ended::Drained(_)), "{ended:?}");
    assert!(gone <= 1, "{gone} left while nobody counted them");
    let left = |one: &Passed| one.path.ends_with("/eviction") && one.status == Some(201);
    assert_eq!(api.passed().iter().filter(|one| left(one)).count(), here.len());
    counting.abort();
    let watched = *watched.lock().unwrap();
    assert!(watched.looks > here.len() && watched.fewest >= 8, "{watched:?}");
    assert_eq!(scene.release(&order).await, Released::Uncordoned);
}
