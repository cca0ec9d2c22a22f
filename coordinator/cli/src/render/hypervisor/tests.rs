//! What an operator reads of a hypervisor.

use drydock_types::{
    NodeName, PackageName, Sha256, libvirt::GuestProcess, openvswitch::Port, ovn::Southbound,
    packages::StaleProcess,
};

use super::*;
use crate::render::samples::{FILE, NARROW, WIDE};

fn guest_of(name: &str) -> Guest {
    Guest {
        uuid: format!("5f3c0000-0000-4000-8000-{:0>12}", name.len()),
        name: name.to_owned(),
        process: Some(GuestProcess {
            pid: 812,
            started_ticks: 9,
            qemu: Ok("7.2.17".to_owned()),
            replaced: false,
        }),
        state: Some("running (booted)".to_owned()),
        job: Ok(None),
        monitor: Ok(()),
    }
}

fn libvirt_of(guests: Vec<Guest>) -> LibvirtView {
    LibvirtView {
        kind: LibvirtKind::Monolithic,
        version: Ok("9.0.0".to_owned()),
        kill_mode: "process".to_owned(),
        guests_in_its_cgroup: true,
        run_free_bytes: 1 << 30,
        lib_free_bytes: 1 << 30,
        guests: Ok(guests),
        pools: Ok(Vec::new()),
        networks: Ok(Vec::new()),
    }
}

fn bridge_of(error: &str) -> Bridge {
    let port = |error: &str| Port { ofport: 1, error: error.to_owned(), kind: String::new(), bond: None };
    Bridge {
        datapath_type: String::new(),
        fail_mode: "secure".to_owned(),
        controllers: Vec::new(),
        other_config: BTreeMap::new(),
        ports: BTreeMap::from([("br0".to_owned(), port("")), ("vnet0".to_owned(), port(error))]),
        flows: 202,
        flows_digest: Sha256([0; 32]),
        groups: 0,
        groups_digest: Sha256([0; 32]),
        meters: 0,
        meters_digest: Sha256([0; 32]),
        has_address: true,
    }
}

fn view(guests: Vec<Guest>) -> NodeLiveView {
    let stale = |pid, unit: &str| StaleProcess {
        pid,
        command: "virtlogd".to_owned(),
        unit: Some(unit.to_owned()),
        files: vec!["/usr/lib/libvirt.so.0 (deleted)".to_owned()],
    };
    NodeLiveView {
        node: NodeName::parse("hv-07").unwrap(),
        seen_unix_ms: 1,
        libvirt: Ok(libvirt_of(guests)),
        openvswitch: Ok(OpenvswitchView {
            version: Ok("3.1.0".to_owned()),
            db_version: Ok("3.1.0".to_owned()),
            schema: "8.3.1".to_owned(),
            other_config: BTreeMap::new(),
            flow_restore_wait: false,
            dpdk: false,
            bridges: BTreeMap::from([
                ("br0".to_owned(), bridge_of("")),
                ("br-int".to_owned(), bridge_of("could not open network device vnet0")),
            ]),
        }),
        ovn: Ok(OvnView {
            version: Ok("23.03.1".to_owned()),
            connection: Ok("connected".to_owned()),
            chassis: "hv-07".to_owned(),
            bridge: "br-int".to_owned(),
            flows: Ok(141),
            matches_northd: false,
            southbound: Ok(Southbound { wanted: 7, reached: Some(6), northd: None }),
        }),
        packages: Ok(PackagesView {
            manager: "apt".to_owned(),
            at_work: None,
            half_done: vec!["qemu-system-x86: half-configured".to_owned()],
            held: vec![PackageName::parse("libvirt0").unwrap()],
            stale: vec![stale(1, "virtlogd.service"), stale(2, "virtlogd.service"), stale(3, "ssh.service")],
            unread: Vec::new(),
        }),
    }
}

fn told(view: Option<&NodeLiveView>, canvas: Canvas) -> String {
    let mut page = Page::default();
    live(view, &mut page, canvas);
    page.to_text(canvas)
}

#[test]
fn guests_bridges_and_packages_are_told_with_what_is_not_well() {
    let mut moving = guest_of("billing-2");
    moving.job = Ok(Some("Outgoing migration".to_owned()));
    let mut old = guest_of("db-primary");
    old.process.as_mut().unwrap().qemu = Ok("7.2.13".to_owned());
    old.process.as_mut().unwrap().replaced = true;
    let text = told(Some(&view(vec![guest_of("web-1"), old, moving])), FILE);
    for want in [
        "9.0.0, monolithic (libvirtd.service)",
        "KillMode=process, guests in the unit's own cgroup; 1.0 GB free on /run, 1.0 GB on /var/lib/libvirt",
        "5f3c0000   812   running (booted)",
        "not now: guest billing-2",
        "3: 3 running; QEMU 7.2.17 (2), 7.2.13 (1)",
        "Migrations",
        "7.2.13, not installed any more",
        "Outgoing migration",
        "secure",
        "could not open network device vnet0",
        "carries an address of the host",
        "23.03.1, chassis hv-07, connected, the southbound database asks for 7, chassis hv-07 is at 6",
        "1: qemu-system-x86: half-configured",
        "1: libvirt0",
        "3 processes run what is not installed any more: ssh.service (1), virtlogd.service (2)",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    let at = |name: &str| lines.iter().position(|line| line.trim_start().starts_with(name)).unwrap();
    assert!(at("billing-2") < at("db-primary"), "whoever keeps a restart waiting first:\n{text}");
}

#[test]
fn a_thousand_guests_are_the_first_twenty_and_a_count() {
    let mut guests: Vec<Guest> = (0..1000).map(|i| guest_of(&format!("vm-{i:04}"))).collect();
    guests[900].state = Some("paused (user)".to_owned());
    let text = told(Some(&view(guests)), WIDE);
    assert!(text.lines().count() < 60, "{}", text.lines().count());
    assert!(text.contains("1000: 999 running, 1 paused (user)"), "{text}");
    assert!(text.contains("vm-0900") && text.contains("vm-0018") && !text.contains("vm-0019"), "{text}");
    assert!(text.contains("… and 980 more: drydock node show NODE -o json has all 1000"), "{text}");
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut of = view(Vec::new());
    assert!(told(Some(&of), FILE).contains("drained: no guest is here"));
    of.openvswitch = Err("ovs-vsctl is not installed".to_owned());
    of.ovn = Err("hv-07's agent did not answer within 15000 ms".to_owned());
    of.packages = Err("whether a package manager is at work cannot be seen".to_owned());
    if let Ok(libvirt) = &mut of.libvirt {
        libvirt.version = Err("virsh: the daemon hangs".to_owned());
        libvirt.guests = Err("virsh: the daemon hangs".to_owned());
    }
    let text = told(Some(&of), FILE);
    for want in [
        "version not seen: virsh: the daemon hangs",
        "Restart          not known",
        "not seen: ovs-vsctl is not installed",
        "not seen: hv-07's agent did not answer",
        "not seen: whether a package manager",
    ] {
        assert!(
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .contains(&want.split_whitespace().collect::<Vec<_>>().join(" ")),
            "{want}\n{text}"
        );
    }
    assert!(told(None, FILE).contains("Its agent is silent"));
}

#[test]
fn names_from_outside_steer_no_terminal_and_a_narrow_one_is_kept_to() {
    let mut of = view(vec![guest_of("evil\u{1b}[2Jvm")]);
    if let Ok(switch) = &mut of.openvswitch {
        switch.bridges.insert("br\u{1b}]0;x".to_owned(), bridge_of(""));
    }
    let text = told(Some(&of), NARROW);
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("evil\\x1b[2Jvm"), "{text}");
}
