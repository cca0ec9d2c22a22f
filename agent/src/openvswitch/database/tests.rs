use super::*;

/// What Open vSwitch 3.1.0 answered to [`ASK`]: two bridges, a bond, a controller, a port without a device.
const RECORDED: &str = include_str!("recorded.json");

#[test]
fn a_recorded_answer_is_read_whole() {
    let database = Database::parse(RECORDED).unwrap();
    assert_eq!(database.schema, "8.3.1");
    assert_eq!(database.bridges.keys().collect::<Vec<_>>(), ["br-int", "br0"]);
    let br0 = &database.bridges["br0"];
    assert_eq!((br0.datapath_type.as_str(), br0.fail_mode.as_str()), ("netdev", "secure"));
    assert_eq!(br0.controllers, ["tcp:127.0.0.1:9"]);
    assert_eq!(br0.other_config["x"], "a\"b");
    let port = |name: &str| br0.ports[name].clone();
    assert_eq!(port("v1"), Port { ofport: 1, error: String::new(), kind: String::new(), bond: None });
    assert_eq!((port("br0").ofport, port("br0").kind.as_str()), (65534, "internal"));
    assert_eq!(port("d1").bond.as_deref(), Some("bond0"));
    assert_eq!(port("gone").ofport, -1);
    assert_eq!(port("gone").error, "could not open network device gone (No such device)");
    assert!(!database.flow_restore_wait() && !database.dpdk());
    assert_eq!(database.controlled(), ["br-int", "br0"]);
}

#[test]
fn what_is_set_is_seen() {
    let with = |from: &str, to: &str| {
        assert!(RECORDED.contains(from), "{from}");
        Database::parse(&RECORDED.replacen(from, to, 1))
    };
    assert!(with("\"vlan-limit\",\"0\"", "\"flow-restore-wait\",\"true\"").unwrap().flow_restore_wait());
    assert!(with("\"vlan-limit\",\"0\"", "\"dpdk-init\",\"try\"").unwrap().dpdk());
    assert!(with("]]],false]]", "]]],true]]").unwrap().dpdk());
    assert!(with("2,[\"set\",[]],\"\"", "2,[\"set\",[]],\"dpdkvhostuserclient\"").unwrap().dpdk());
    let other = with("\"hostname\",\"ovsn1\"", "\"ovn-bridge\",\"br9\"").unwrap();
    assert_eq!(other.controlled(), ["br0"], "OVN's bridge is another one");
}

#[test]
fn an_answer_of_another_form_is_no_answer() {
    let lines: Vec<&str> = RECORDED.lines().collect();
    for bad in ["", "{}", "[]", lines[0], &lines[..4].join("\n"), &RECORDED[..RECORDED.len() / 2]] {
        assert!(Database::parse(bad).is_err(), "{bad:.80}");
    }
    // No row of the whole switch: that is a database that was just made, not a switch without bridges.
    let empty = "{\"headings\":[\"db_version\"],\"data\":[]}";
    let empty = [&[empty], &lines[1..]].concat().join("\n");
    assert!(Database::parse(&empty).unwrap_err().contains("0 rows"));
    let missing = RECORDED.replace("\"name\",\"datapath_type\"", "\"nome\",\"datapath_type\"");
    assert!(Database::parse(&missing).unwrap_err().contains("no column name"));
}

#[test]
fn a_bridge_that_cannot_be_named_safely_is_refused() {
    for name in ["br 0", "-br0", "br\\n0", "br\\\"0", "tcp:1.2.3.4", "", "br\\u202e", &"x".repeat(256)] {
        let said = RECORDED.replacen("[[\"br-int\"", &format!("[[\"{name}\""), 1);
        assert!(Database::parse(&said).unwrap_err().contains("a bridge is called"), "{name}");
    }
    // A port's name is only shown.
    let said = RECORDED.replacen("\"v2\",2", "\"v\\u001b\\n2\",2", 1);
    let database = Database::parse(&said).unwrap();
    assert!(database.bridges["br0"].ports.contains_key("v\\u{1b}\\n2"));
}

#[test]
fn ports_whose_names_are_long_quoted_or_broken_over_lines_are_each_there() {
    let ports = |of: &[String]| {
        let mut said = RECORDED.to_owned();
        for (known, name) in ["v1", "v2"].into_iter().zip(of) {
            let name = serde_json::to_string(name).unwrap();
            let (from, to) = (format!("\"{known}\",{}", &known[1..]), format!("{name},{}", &known[1..]));
            assert!(said.contains(&from), "{from}");
            said = said.replacen(&from, &to, 1);
        }
        Database::parse(&said).unwrap().bridges["br0"].ports.clone()
    };
    let count = Database::parse(RECORDED).unwrap().bridges["br0"].ports.len();
    for (one, other) in [
        ("a\"b".to_owned(), "a'b".to_owned()),
        ("a\nb".to_owned(), "a\\nb".to_owned()),
        ("$(reboot)".to_owned(), "`reboot`".to_owned()),
        ("a ".to_owned(), "a".to_owned()),
        (format!("{}1", "x".repeat(254)), format!("{}2", "x".repeat(254))),
        (format!("{}1", "\u{202e}".repeat(84)), format!("{}2", "\u{202e}".repeat(84))),
        (format!("{}1", "y".repeat(5000)), format!("{}2", "y".repeat(5000))),
    ] {
        let seen = ports(&[one.clone(), other.clone()]);
        assert_eq!(seen.len(), count, "{one:?} and {other:?} are two: {:?}", seen.keys());
        let shown = |name: &String| !name.contains(['\n', '\u{202e}']) && name.chars().count() < 1000;
        assert!(seen.keys().all(shown), "{:?}", seen.keys());
    }
}
