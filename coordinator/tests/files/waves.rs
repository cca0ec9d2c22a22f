//! Windows, several nodes at once, parts of waves, approvals, checks of a soak.

use drydock_core::{
    plan_file::{Allow, ApprovalBy, Count, Day},
    recipe::{Check, Vantage},
};
use drydock_types::Millis;

use crate::desk::{Desk, PLAN, edit, said, same};

/// The good plan with more lines in its wave.
fn in_wave(lines: &str) -> String {
    edit("          soak: 10s\n", &format!("          soak: 10s\n{lines}"))
}

/// And with more lines in its spec.
fn in_spec(lines: &str) -> String {
    format!("{PLAN}{lines}")
}

#[test]
fn all_that_a_wave_can_say_is_read() {
    let lines = r#"          concurrency: 25%
          split: [1, 10%, "50%"]
          soakChecks:
            - unit: {unit: kubelet.service}
            - health: {probe: {tcp: {address: "127.0.0.1:2379"}}}
            - prometheus: {url: "http://10.0.0.9:9090", query: "up{job=\"etcd\"}", above: 0.5, below: 2}
          approval: {by: somebodyElse, within: 2h}
"#;
    let (bundle, _) = Desk::new().compile(in_wave(lines)).unwrap();
    let wave = &bundle.plan.spec.stages[0].waves[0];
    assert_eq!(wave.concurrency, Count::Percent(25));
    assert_eq!(wave.split, [Count::Nodes(1), Count::Percent(10), Count::Percent(50)]);
    let approval = wave.approval.unwrap();
    assert_eq!((approval.by, approval.within), (ApprovalBy::SomebodyElse, Millis::secs(7200)));
    let Check::Prometheus(check) = &wave.soak_checks[2] else { panic!("{:?}", wave.soak_checks) };
    assert_eq!(check.query, r#"up{job="etcd"}"#);
    assert_eq!((check.above.unwrap().value(), check.below.unwrap().value()), (0.5, 2.0));
    let names: Vec<_> = wave.soak_checks.iter().map(Check::name).collect();
    assert_eq!(names, ["unit", "health", "prometheus"]);
}

#[test]
fn a_window_and_what_may_be_amended_are_read() {
    let lines = r#"  window: {days: [fri, sat], from: "22:00", to: "04:00", timeZone: Europe/Berlin}
  allow: [extend, skip, soak, concurrency, window]
"#;
    let (bundle, _) = Desk::new().compile(in_spec(lines)).unwrap();
    let window = bundle.plan.spec.window.unwrap();
    assert_eq!(window.days, [Day::Fri, Day::Sat]);
    assert_eq!((window.from.to_string(), window.to.to_string()), ("22:00".to_owned(), "04:00".to_owned()));
    assert_eq!(bundle.plan.spec.allow.len(), 5);
    assert_eq!(bundle.plan.spec.allow[4], Allow::Window);
}

#[test]
fn a_time_zone_that_is_none_is_refused_with_the_nearest() {
    same(
        &said(in_spec("  window: {from: \"22:00\", to: \"04:00\", timeZone: Europe/Berln}\n")),
        r#"
error: etcd.yaml:16:50: there is no time zone `Europe/Berln`
   |
16 |   window: {from: "22:00", to: "04:00", timeZone: Europe/Berln}
   |                                                  ^^^^^^^^^^^^ did you mean `Europe/Berlin`?
   = time zones have IANA names: Europe/Berlin, America/New_York, UTC
"#,
    );
    let city = said(in_spec("  window: {from: \"22:00\", to: \"04:00\", timeZone: berlin}\n"));
    assert!(city.contains("did you mean `Europe/Berlin`?"), "{city}");
    let path = said(in_spec("  window: {from: \"22:00\", to: \"04:00\", timeZone: ../../etc/passwd}\n"));
    assert!(path.contains("there is no time zone"), "{path}");
}

#[test]
fn a_time_of_day_that_is_none_and_a_day_that_is_none_are_refused() {
    let time = said(in_spec("  window: {from: \"25:00\", to: \"04:00\", timeZone: UTC}\n"));
    assert!(time.contains("\"25:00\" is no time of day: write it as \"22:00\""), "{time}");
    let day = said(in_spec("  window: {days: [sut], from: \"22:00\", to: \"04:00\", timeZone: UTC}\n"));
    assert!(day.contains("unknown day `sut`") && day.contains("days are: mon, tue, wed"), "{day}");
    let allow = said(in_spec("  allow: [skp]\n"));
    assert!(allow.contains("did you mean `skip`?"), "{allow}");
}

#[test]
fn a_number_of_nodes_is_one_or_more_or_a_share() {
    same(
        &said(in_wave("          concurrency: 0\n")),
        r#"
error: etcd.yaml:16:24: 0 nodes at once let nobody leave service
   |
16 |           concurrency: 0
   |                        ^
"#,
    );
    let share = said(in_wave("          concurrency: 120%\n"));
    assert!(share.contains("is no share: it goes from 1% to 100%"), "{share}");
    let words = said(in_wave("          concurrency: many\n"));
    assert!(words.contains("is no number of nodes: write 3, or \"25%\""), "{words}");
    let split = said(in_wave("          split: [1, 0%]\n"));
    assert!(split.contains("is no share"), "{split}");
}

#[test]
fn parts_have_names_that_no_other_wave_has() {
    let plan = in_wave("          split: [1]\n");
    same(
        &said(format!("{plan}        - {{name: members-2, nodes: {{names: [ctl-9]}}}}\n")),
        r#"
error: etcd.yaml:16:18: wave `members-2` has the name of a part of wave `members`
   |
16 |           split: [1]
   |                  ^ the parts are called members-1 to members-2
"#,
    );
    Desk::new().compile(format!("{plan}        - {{name: members-3, nodes: {{names: [ctl-9]}}}}\n")).unwrap();
}

#[test]
fn checks_of_a_soak_want_a_soak_and_a_bound_and_a_server() {
    let none = edit("          soak: 10s\n", "          soakChecks: [{unit: {unit: kubelet.service}}]\n");
    same(
        &said(none),
        r#"
error: etcd.yaml:15:23: wave `members` does not soak
   |
15 |           soakChecks: [{unit: {unit: kubelet.service}}]
   |                       ^ soakChecks are looked at during the soak: give it a length, as `soak: 5m`
"#,
    );
    let check = |keys: &str| said(in_wave(&format!("          soakChecks: [{{prometheus: {{{keys}}}}}]\n")));
    let unbound = check("url: \"http://x:9090\", query: up");
    assert!(unbound.contains("`prometheus` has no bound"), "{unbound}");
    let crossed = check("url: \"http://x:9090\", query: up, above: 2, below: 1");
    assert!(crossed.contains("no value is above 2 and below 1"), "{crossed}");
    let nowhere = check("url: \"x:9090\", query: up, above: 0");
    assert!(nowhere.contains("is no URL of a Prometheus"), "{nowhere}");
    let text = check("url: \"http://x:9090\", query: up, above: \"0\"");
    assert!(text.contains("`above` takes a number"), "{text}");
}

#[test]
fn an_approval_says_who_and_is_waited_for() {
    let who = said(in_wave("          approval: {by: me}\n"));
    assert!(who.contains("approvers are: anybody, somebodyElse"), "{who}");
    let never = said(in_wave("          approval: {by: anybody, within: 0s}\n"));
    assert!(never.contains("is missed at once"), "{never}");
    let plan = in_wave("          approval: {by: anybody}\n");
    let (bundle, _) = Desk::new().compile(plan).unwrap();
    let approval = bundle.plan.spec.stages[0].waves[0].approval.unwrap();
    assert_eq!(approval.within, Millis::secs(7 * 24 * 3600), "a week when nothing is said");
}

#[test]
fn a_probe_from_another_place_names_an_address_that_is_the_same_from_there() {
    let check = |keys: &str| in_wave(&format!("          soakChecks: [{{health: {{{keys}}}}}]\n"));
    let from = |keys: &str| Desk::new().compile(check(keys)).map(|(bundle, _)| bundle);
    let bundle = from("probe: {tcp: {address: \"{label:ip}:2379\"}}, from: coordinator").unwrap();
    let checks = &bundle.plan.spec.stages[0].waves[0].soak_checks;
    assert!(matches!(&checks[0], Check::Health(health) if health.from == Some(Vantage::Coordinator {})));
    from("probe: {http: {url: \"http://10.0.0.1:8080/\"}}, from: {node: gw-1}").unwrap();
    from("probe: {http: {url: \"http://127.0.0.1:8080/\"}}").unwrap();
    for itself in [
        "http: {url: \"http://127.0.0.1:8080/healthz\"}",
        "tcp: {address: \"localhost:80\"}",
        "tcp: {address: \"[::1]:80\"}",
        "http: {url: \"http://[::1]/healthz\"}",
        "http: {url: \"http://x@127.0.0.1/\"}",
        "http: {url: \"http://127.0.0.1?x\"}",
    ] {
        let said = said(check(&format!("probe: {{{itself}}}, from: coordinator")));
        assert!(said.contains("is whoever asks, and this is asked from elsewhere"), "{said}");
    }
    let nowhere = said(check("probe: {tcp: {address: \"10.0.0.1:1\"}}, from: moon"));
    assert!(nowhere.contains("from"), "{nowhere}");
}
