use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::sys::{http::Endpoint, units::UnitInfo};

fn policy(text: &str) -> Policy {
    Policy::parse(text, Path::new("/etc/drydock/agent.toml")).unwrap()
}

fn refusal(text: &str) -> String {
    Policy::parse(text, Path::new("/etc/drydock/agent.toml")).unwrap_err().to_string()
}

fn unit(name: &str) -> UnitName {
    UnitName::parse(name).unwrap()
}

fn swap(policy: &Policy, path: &str, component: &str) -> Result<BinaryRule, crate::actions::Problem> {
    policy.may_swap(&AbsPath::parse(path).unwrap(), &ComponentName::parse(component).unwrap()).cloned()
}

fn loaded(id: &str, names: &[&str], stops_with: &[&str]) -> UnitInfo {
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    UnitInfo { id: id.into(), names: list(names), stops_with: list(stops_with), ..UnitInfo::default() }
}

#[test]
fn an_empty_policy_allows_nothing() {
    let policy = Policy::default();
    let etcd = ComponentName::parse("etcd").unwrap();
    assert!(swap(&policy, "/usr/bin/etcd", "etcd").is_err());
    assert!(policy.may_touch(&unit("etcd.service")).is_err());
    assert!(policy.version_command("etcd").is_err());
    assert!(policy.signing_keys_for(&etcd).is_err());
    assert!(policy.recipient().is_err());
    assert!(policy.may_ask(&Endpoint::parse("10.0.0.1:80").unwrap()).is_err());
}

#[test]
fn a_refusal_says_which_line_root_would_have_to_add() {
    let problem = swap(&policy(""), "/usr/bin/etcd", "etcd").unwrap_err();
    let next = problem.next.join("\n");
    assert!(next.contains("[binaries.\"/usr/bin/etcd\"]"), "{next}");
    assert!(next.contains("/etc/drydock/agent.toml") && next.contains("root"), "{next}");
}

#[test]
fn packages_are_changed_only_where_they_are_listed() {
    let package = |name: &str| drydock_types::PackageName::parse(name).unwrap();
    let listed = policy("packages = [\"libvirt*\", \"qemu-utils\"]");
    assert!(listed.may_change_package(&package("libvirt-daemon")).is_ok());
    let problem = listed.may_change_package(&package("qemu-system-x86")).unwrap_err();
    assert!(problem.next.join("\n").contains("packages = [\"qemu-system-x86\"]"), "{problem:?}");
    assert!(policy("").may_change_package(&package("libvirt-daemon")).is_err());
    assert!(refusal("packages = [\"*\"]").contains("packages"));
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_what_is_allowed() {
    let error = refusal("units = [\"etcd.service\"]\nbinarys = {}\n");
    assert!(error.contains("/etc/drydock/agent.toml"), "{error}");
    assert!(error.contains("line 2"), "{error}");
    assert!(error.contains("binaries"), "{error}");
    assert!(refusal("[binaries.\"/usr/bin/x\"]\nallow_suid = true").contains("allow_setuid"));
}

#[test]
fn every_profile_reads_and_the_files_own_words_win() {
    for (name, _) in PROFILES {
        policy(&format!("profiles = [{name:?}]"));
    }
    let merged = policy("profiles = [\"etcd\"]\n[binaries.\"/usr/bin/etcd\"]\nallow_package_owned = true\n");
    assert!(merged.may_touch(&unit("etcd.service")).is_ok());
    assert!(swap(&merged, "/usr/bin/etcd", "etcd").unwrap().allow_package_owned);
    assert!(refusal("profiles = [\"etcdd\"]").contains("there are: drydock-agent, etcd"));
}

#[test]
fn the_agent_is_looked_at_and_has_itself_restarted_where_it_is_listed_and_is_touched_nowhere() {
    let own = unit("drydock-agent.service");
    let listed = policy("profiles = [\"drydock-agent\"]");
    assert!(listed.may_watch(&own).is_ok() && listed.may_restart_agent(&own).is_ok());
    assert!(listed.may_touch(&own).unwrap_err().what.contains("never touched"));
    assert!(swap(&listed, "/usr/bin/drydock-agent", "drydock-agent").is_ok());
    let plain = policy("profiles = [\"etcd\"]");
    assert!(plain.may_watch(&own).is_err());
    let refused = plain.may_restart_agent(&own).unwrap_err();
    assert!(refused.next[0].contains("profiles = [\"drydock-agent\"]"), "{refused:?}");
}

#[test]
fn a_node_is_started_anew_only_where_its_own_policy_says_so() {
    assert!(policy("allow_reboot = true").may_reboot().is_ok());
    let refused = policy("profiles = [\"drydock-agent\"]").may_reboot().unwrap_err();
    assert!(refused.next[0].contains("allow_reboot = true"), "{refused:?}");
}

#[test]
fn a_binary_kept_for_one_component_is_not_exchanged_for_another() {
    let preset = policy("profiles = [\"k3s\"]");
    assert!(swap(&preset, "/usr/local/bin/k3s", "k3s").is_ok());
    assert!(swap(&preset, "/usr/local/bin/k3s", "etcd").unwrap_err().what.contains("for k3s"));
    assert!(swap(&policy("[binaries.\"/usr/bin/x\"]"), "/usr/bin/x", "any").is_ok());
}

#[test]
fn the_k3s_preset_says_where_k3s_unpacks_itself_and_how_its_etcd_is_reached() {
    let preset = policy("profiles = [\"k3s\"]");
    let rule = swap(&preset, "/usr/local/bin/k3s", "k3s").unwrap();
    assert_eq!(rule.unpacks_under[0].as_str(), "/var/lib/rancher/k3s/data");
    assert_eq!(preset.etcd().endpoint, "https://127.0.0.1:2379");
    assert!(preset.etcd().cert_file.unwrap().as_str().ends_with("server/tls/etcd/client.crt"));
    for (command, of) in [("k3s", "k3s.service"), ("k3s-agent", "k3s-agent.service")] {
        assert_eq!(preset.version_command(command).unwrap().unit, Some(unit(of)));
    }
    let images = "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-arm64.tar.zst";
    assert!(swap(&preset, images, "k3s-images").is_ok() && swap(&preset, images, "k3s").is_err());
}

#[test]
fn what_a_file_says_of_etcd_goes_before_a_preset_and_what_it_allows_takes_no_fact_away() {
    let own = policy("profiles = [\"k3s\"]\n[etcd]\nendpoint = \"http://127.0.0.1:2379\"\n");
    assert_eq!((own.etcd().endpoint.as_str(), own.etcd().ca_file), ("http://127.0.0.1:2379", None));
    let own = policy("profiles = [\"k3s\"]\n[binaries.\"/usr/local/bin/k3s\"]\nallow_package_owned = true\n");
    let rule = swap(&own, "/usr/local/bin/k3s", "k3s").unwrap();
    assert!(rule.allow_package_owned && rule.unpacks_under.len() == 1, "{rule:?}");
    let text =
        "profiles = [\"k3s\"]\n[binaries.\"/usr/local/bin/k3s\"]\nunpacks_under = [\"/srv/k3s/data\"]\n";
    let own = policy(text);
    assert_eq!(swap(&own, "/usr/local/bin/k3s", "k3s").unwrap().unpacks_under[0].as_str(), "/srv/k3s/data");
}

/// Hostile input 21.
#[test]
fn units_that_are_flags_shell_or_patterns_cannot_be_listed() {
    for bad in [
        "foo;reboot",
        "--flag",
        "-x.service",
        "a\\u0000.service",
        "a\\n.service",
        "*.service",
        "x@.service",
        "etcd",
    ] {
        assert!(refusal(&format!("units = [\"{bad}\"]")).contains("not a unit"), "{bad}");
    }
}

/// Hostile input 21.
#[test]
fn an_alias_of_an_unlisted_unit_is_refused() {
    let policy = policy("units = [\"alias.service\"]");
    let alias = loaded("sshd.service", &["sshd.service", "alias.service"], &[]);
    let problem = policy.may_touch_unit(&unit("alias.service"), &alias).unwrap_err();
    assert!(problem.what.contains("another name of sshd.service"), "{problem}");
    let own = loaded("alias.service", &["alias.service"], &[]);
    assert_eq!(policy.may_touch_unit(&unit("alias.service"), &own), Ok(()));
}

#[test]
fn an_unlisted_alias_of_a_listed_unit_is_refused_by_its_name() {
    let policy = policy("units = [\"etcd.service\"]");
    let etcd = loaded("etcd.service", &["etcd.service", "kv.service"], &[]);
    assert!(policy.may_touch_unit(&unit("kv.service"), &etcd).is_err());
    assert_eq!(policy.may_touch_unit(&unit("etcd.service"), &etcd), Ok(()));
}

#[test]
fn a_unit_that_systemd_mixed_up_is_refused() {
    let policy = policy("units = [\"etcd.service\", \"other.service\"]");
    let other = loaded("other.service", &["other.service"], &[]);
    assert!(policy.may_touch_unit(&unit("etcd.service"), &other).is_err());
}

/// Hostile input 21.
#[test]
fn a_unit_whose_stop_takes_an_unlisted_one_along_is_refused() {
    let taking = loaded("etcd.service", &["etcd.service"], &["kube-apiserver.service", "etcd.socket"]);
    let problem =
        policy("units = [\"etcd.service\"]").may_touch_unit(&unit("etcd.service"), &taking).unwrap_err();
    assert!(problem.what.contains("kube-apiserver.service"), "{problem}");
    let all = "units = [\"etcd.service\", \"kube-apiserver.service\", \"etcd.socket\"]";
    assert_eq!(policy(all).may_touch_unit(&unit("etcd.service"), &taking), Ok(()));
}

/// Hostile input 21.
#[test]
fn no_policy_opens_the_units_that_are_never_touched() {
    let policy = policy("units = [\"libvirt-guests.service\", \"x.service\", \"drydock-agent.service\"]");
    assert!(policy.may_touch(&unit("libvirt-guests.service")).is_err());
    assert!(policy.may_touch(&unit("drydock-agent.service")).is_err());
    let hidden = loaded("x.service", &["x.service", "libvirt-guests.service"], &[]);
    assert!(policy.may_touch_unit(&unit("x.service"), &hidden).is_err());
    let along = loaded("x.service", &["x.service"], &["libvirt-guests.service"]);
    assert!(policy.may_touch_unit(&unit("x.service"), &along).is_err());
}

#[test]
fn only_loopback_and_listed_targets_may_be_asked() {
    let policy = policy("probe_targets = [\"10.0.0.5:8080\", \"*.example.org:443\", \"[fd00::1]:*\"]");
    for good in
        ["127.0.0.1:1", "[::1]:9", "localhost:80", "10.0.0.5:8080", "a.example.org:443", "[fd00::1]:7"]
    {
        assert_eq!(policy.may_ask(&Endpoint::parse(good).unwrap()), Ok(()), "{good}");
    }
    for bad in [
        "10.0.0.5:8081",
        "169.254.169.254:80",
        "0.0.0.0:80",
        "example.org:443",
        "evilexample.org:443",
        "[fd00::2]:7",
    ] {
        assert!(policy.may_ask(&Endpoint::parse(bad).unwrap()).is_err(), "{bad}");
    }
    for bad in ["10.0.0.5", "*x.org:1", ":80", "a b:1", "http://x:1", "x:99999"] {
        assert!(TargetPattern::try_from(bad.to_string()).is_err(), "{bad}");
    }
}

#[test]
fn a_version_below_the_floor_or_not_comparable_with_it_is_refused() {
    let policy = policy("[version_floor]\netcd = \"3.5.10\"\nk3s = \"1.30.0+k3s1\"\n");
    let may = |component: &str, version: &str| {
        policy.may_install(&ComponentName::parse(component).unwrap(), &Version::parse(version).unwrap())
    };
    assert!(may("etcd", "3.5.9").is_err());
    assert!(may("k3s", "1.30.0+rke2r1").is_err());
    assert_eq!(may("etcd", "3.5.10"), Ok(()));
    assert_eq!(may("other", "0.1"), Ok(()));
}

#[test]
fn a_key_for_one_component_is_not_believed_for_another() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let policy =
        policy(&format!("[[signing_keys]]\nkey = \"{}\"\ncomponents = [\"etcd\"]\n", pair.pk.to_base64()));
    assert_eq!(policy.signing_keys_for(&ComponentName::parse("etcd").unwrap()).unwrap().len(), 1);
    assert!(policy.signing_keys_for(&ComponentName::parse("k3s").unwrap()).is_err());
    assert!(refusal("[[signing_keys]]\nkey = \"hello\"").contains("minisign"));
}

#[test]
fn a_secret_key_pasted_as_recipient_is_refused_and_not_repeated() {
    let error = refusal("backup_recipient = \"AGE-SECRET-KEY-1SECRETSECRET\"");
    assert!(error.contains("age1") && !error.contains("SECRETSECRET"), "{error}");
}

#[test]
fn etcd_over_https_needs_a_ca_and_both_halves_of_a_certificate() {
    assert!(refusal("[etcd]\nendpoint = \"https://127.0.0.1:2379\"").contains("ca_file"));
    assert!(refusal("[etcd]\npeers = [\"10.0.0.1:2379\"]").contains("client URL"));
    assert!(refusal("[etcd]\ncert_file = \"/etc/etcd/c.pem\"").contains("key_file"));
    assert_eq!(policy("").etcd().endpoint, "http://127.0.0.1:2379");
}

#[test]
fn a_policy_that_others_may_write_or_own_is_not_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, "").unwrap();
    for mode in [0o666, 0o664, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Policy::load(&path).unwrap_err().to_string();
        assert!(error.contains("others may write it") && error.contains("chmod"), "{error}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Policy::load(&path).is_ok());
    assert!(trusted(&std::fs::metadata(&path).unwrap(), 4242).is_ok() == nix::unistd::geteuid().is_root());
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert!(Policy::load(&path).unwrap_err().to_string().contains("uid 12345"));
    }
}

#[test]
fn a_missing_policy_says_what_to_create() {
    assert!(
        Policy::load(Path::new("/nonexistent/agent.toml")).unwrap_err().to_string().contains("create it")
    );
}

#[test]
fn a_supervisor_as_root_beside_systemd_needs_a_flag() {
    let plain = policy("[supervisor.services.\"x.service\"]\npath = \"/bin/x\"\n");
    assert!(plain.supervisor_fits(true, true).is_err());
    assert!(plain.supervisor_fits(false, true).is_ok() && plain.supervisor_fits(true, false).is_ok());
    assert!(policy("[supervisor]\nas_root_beside_systemd = true\n").supervisor_fits(true, true).is_ok());
}

#[test]
fn sockets_that_are_expected_are_absolute_paths() {
    let read = |text: &str| Policy::parse(text, Path::new("/etc/drydock/agent.toml"));
    let policy = read("[expect]\nsockets = [\"/run/openvswitch/db.sock\"]\n").unwrap();
    assert_eq!(policy.expect.sockets.first().map(AbsPath::as_str), Some("/run/openvswitch/db.sock"));
    assert!(read("[expect]\nsockets = [\"run/x.sock\"]\n").is_err());
    assert!(read("[expect]\nsocket = []\n").is_err(), "an unknown key");
}
