//! Over real sockets of this machine, in namespaces of nobody; what the policy refuses is refused before any is opened.

use drydock_types::Millis;

use super::*;

fn watch_of(id: &str, target: ReachTarget) -> ReachWatch {
    ReachWatch {
        id: id.to_owned(),
        target,
        every: Millis(20),
        answer_within: Millis(500),
        keep: Millis(1_000),
    }
}

fn tcp(address: &str) -> ReachTarget {
    ReachTarget::Tcp { address: address.to_owned() }
}

#[tokio::test]
async fn what_the_policy_does_not_list_is_refused_with_the_line_to_add() {
    let mut bench = crate::actions::swap_binary::tests::bench_with("[\"600\"]", "");
    let mut policy = (*bench.host.policy).clone();
    policy.watch_targets = vec!["10.0.0.0/24:22".to_owned().try_into().unwrap()];
    bench.host.policy = policy.into();
    let refused = async |target| look(&bench.host, &watch_of("policy", target)).await.unwrap_err();
    let unlisted = refused(tcp("10.0.1.7:22")).await;
    assert!(unlisted.next[0].contains("watch_targets = [\"10.0.1.7:22\"]"), "{unlisted:?}");
    let ping = refused(ReachTarget::Ping { address: "10.0.0.7".into() }).await;
    assert!(ping.next[0].contains("watch_targets = [\"10.0.0.7\"]"), "a port is no ping: {ping:?}");
    let name = refused(ReachTarget::Http { url: "http://db.example.org/".into() }).await;
    assert!(name.what.contains("only addresses"), "{name:?}");
    assert!(refused(tcp("db.example.org:22")).await.what.contains("is not an address with a port"));
    assert!(!all().contains_key("policy"));
}

#[tokio::test]
async fn addresses_that_mean_another_machine_to_everybody_are_never_watched() {
    let mut bench = crate::actions::swap_binary::tests::bench_with("[\"600\"]", "");
    let mut policy = (*bench.host.policy).clone();
    let everything = ["0.0.0.0/0", "::/0"].map(|net| net.to_owned().try_into().unwrap());
    policy.watch_targets = everything.to_vec();
    bench.host.policy = policy.into();
    for address in [
        "127.0.0.1:1",
        "[::1]:1",
        "169.254.169.254:80",
        "[fe80::1]:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "0.0.0.0:1",
        "[::]:1",
        "255.255.255.255:1",
        "[::ffff:127.0.0.1]:1",
        "[::ffff:169.254.169.254]:80",
    ] {
        let problem = look(&bench.host, &watch_of("never", tcp(address))).await.unwrap_err();
        assert!(problem.what.contains("never are"), "{address}: {problem:?}");
    }
}

#[test]
fn a_watch_has_bounds() {
    let good = watch_of("x", tcp("10.0.0.7:22"));
    assert!(bounded(&good).is_ok());
    assert!(bounded(&ReachWatch { keep: Millis(0), ..good.clone() }).is_ok(), "nothing is to be kept");
    for bad in [
        ReachWatch { every: Millis(19), ..good.clone() },
        ReachWatch { answer_within: Millis(60_000), ..good.clone() },
        ReachWatch { keep: Millis(999), ..good.clone() },
        ReachWatch { id: String::new(), ..good.clone() },
        ReachWatch { id: "x".repeat(201), ..good },
    ] {
        assert!(bounded(&bad).is_err(), "{bad:?}");
    }
}

/// Looks again until it is as wanted; the test's own limit ends it.
async fn until(watch: &ReachWatch, wanted: impl Fn(&ReachView) -> bool) -> ReachView {
    let target = Target::read(&watch.target).unwrap();
    loop {
        let view = kept(watch, &target).unwrap().view();
        if wanted(&view) {
            return view;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_watch_goes_on_between_looks_and_counts_a_gap_while_it_lasts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let watch = watch_of("gap", tcp(&address.to_string()));
    until(&watch, |view| view.answered >= 3).await;
    drop(listener);
    let lasting = until(&watch, |view| view.longest_ms >= 60).await;
    assert!(lasting.answered < lasting.asked, "{lasting:?}");
    let again = tokio::net::TcpListener::bind(address).await.unwrap();
    let before = until(&watch, |view| view.answered > lasting.answered).await;
    let after = until(&watch, |view| view.answered > before.answered + 3).await;
    assert!(after.for_ms >= lasting.for_ms && after.longest_ms >= lasting.longest_ms, "{after:?}");
    drop(again);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_to_be_kept_no_longer_ends_at_once_and_one_that_never_was_does_not_begin() {
    let watch = watch_of("let-go", tcp("127.0.0.1:1"));
    let target = Target::read(&watch.target).unwrap();
    let let_go = ReachWatch { keep: Millis(0), ..watch.clone() };
    assert_eq!(ended(&let_go), ReachView::default());
    assert!(!all().contains_key("let-go"), "it is only asked whether it might begin");
    let first = kept(&watch, &target).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let other = ReachWatch { every: Millis(21), ..let_go.clone() };
    assert_eq!(ended(&other), ReachView::default());
    assert!(all().contains_key("let-go"), "another one of its name does not end it");
    assert!(ended(&let_go).for_ms >= 500);
    assert!(!all().contains_key("let-go"));
    // One of the same name may begin, and the end of the first one's time is not its own.
    kept(&ReachWatch { keep: Millis(5_000), ..watch.clone() }, &target).unwrap();
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    assert!(all().contains_key("let-go"));
    assert_eq!(std::sync::Arc::strong_count(&first), 1, "nobody asks for the first one any more");
    ended(&let_go);
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_asks_for_ends_and_begins_anew() {
    let watch = watch_of("ends", tcp("127.0.0.1:1"));
    let target = Target::read(&watch.target).unwrap();
    kept(&watch, &target).unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(kept(&watch, &target).unwrap().view().for_ms >= 800);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(all().contains_key("ends"), "each look prolongs it");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!all().contains_key("ends"));
    assert!(kept(&watch, &target).unwrap().view().for_ms < 100);
}

#[tokio::test]
async fn one_name_is_one_watch() {
    let watch = watch_of("name", tcp("127.0.0.1:1"));
    kept(&watch, &Target::read(&watch.target).unwrap()).unwrap();
    let other = watch_of("name", tcp("127.0.0.1:2"));
    assert!(kept(&other, &Target::read(&other.target).unwrap()).unwrap_err().what.contains("another watch"));
}
