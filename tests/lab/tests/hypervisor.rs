//! Hypervisors as the lab has them, without anything of Drydock's: what is upgraded by hand, and what loses flows.
//! Needs root. `cargo test -p drydock-lab --test hypervisor -- --ignored --nocapture --test-threads=1`

use std::time::{Duration, Instant};

use drydock_lab::hypervisor::archive::{Archive, Flavour};
use drydock_lab::hypervisor::bare::Part;
use drydock_lab::hypervisor::observe::{Facts, Pinger};
use drydock_lab::hypervisor::{Hypervisors, boot};
use drydock_lab::{Lab, Result};

fn up(nodes: usize) -> Result<Lab> {
    let started = Instant::now();
    let lab = boot(nodes, false)?;
    println!("{nodes} nodes up: {} ms", started.elapsed().as_millis());
    Ok(lab)
}

#[test]
#[ignore = "boots nodes: needs root"]
fn guests_and_flows_stay_when_each_part_is_upgraded_by_hand_and_taken_back() -> Result<()> {
    let lab = up(2)?;
    let started = Instant::now();
    let site = Hypervisors::start(&lab)?;
    println!("everybody answers: {} ms", started.elapsed().as_millis());
    let boots = [site.guest_boot(1)?, site.guest_boot(2)?];
    assert_ne!(boots[0], boots[1]);
    assert_eq!(site.guest_boot_seen_by(lab.node(1), 2)?, boots[1], "not seen by another node");

    let archive = Archive::serve(&site)?;
    archive.offer(lab.node(2), Flavour::Newer)?;
    let stock = Facts::of(lab.node(2))?;
    assert!(stock.flows("br0")? > 200 && stock.flows("br-int")? > 100, "{stock:?}");
    for part in Part::ALL {
        let old = part.installed(&stock)?;
        for (packages, said) in [(part.newer(), part.versions().said), (old, stock.get(part.says())?)] {
            let cost = part.change(&site, 2, &packages)?;
            assert_eq!(cost.after.get(part.says())?, said, "{packages:?}");
            assert_ne!(cost.after.get(part.runs())?, cost.before.get(part.runs())?, "{packages:?}");
            println!("{part:?} to {said}:");
            for seen in &cost.seen {
                println!("  {seen}");
                assert!(seen.received * 2 > seen.sent, "{seen}");
            }
            assert!(cost.longest_gap() < Duration::from_secs(10));
        }
    }
    assert_eq!([site.guest_boot(1)?, site.guest_boot(2)?], boots, "a guest booted anew");
    Ok(())
}

/// Does something to Open vSwitch that ends with 0, and gives what is left of 200 flows and who answers.
fn lose(site: &Hypervisors<'_>, number: usize, words: &[&str]) -> Result<(usize, Option<usize>)> {
    let node = site.lab().node(number);
    let before = Facts::of(node)?;
    let pingers = Pinger::of_node(site, "loss", number)?;
    let output = node.exec(words)?;
    assert!(output.status.success(), "{words:?}: {}", output.error_text());
    // As long as an answer may take to come back.
    let after = Facts::of(node)?;
    for pinger in pingers {
        let seen = pinger.finish()?;
        println!("  {seen}");
        assert!(seen.received < seen.sent, "{words:?}: {seen}");
    }
    let guest = format!("guest guest{number}");
    assert_eq!(after.get(&guest)?, before.get(&guest)?);
    println!("{words:?}: flows of br0 {} before, {:?} after", before.flows("br0")?, after.flows("br0").ok());
    Ok((before.flows("br0")?, after.flows("br0").ok()))
}

#[test]
#[ignore = "boots nodes: needs root"]
fn the_obvious_commands_lose_every_flow_and_end_with_0() -> Result<()> {
    let lab = up(3)?;
    let site = Hypervisors::start(&lab)?;
    let (before, after) = lose(&site, 1, &["systemctl", "restart", "openvswitch-switch.service"])?;
    assert!(before > 200);
    assert_eq!(after, Some(0), "a restart keeps flows");
    let (_, after) = lose(&site, 2, &["systemctl", "reload", "ovs-vswitchd.service"])?;
    assert_eq!(after.unwrap_or(0), 0, "a reload of the daemon alone keeps flows");
    // And the good one too, where one flow names a meter: it saves none, and replays all flows or nothing.
    let meter = "ovs-ofctl -O OpenFlow13 add-meter br0 meter=1,kbps,band=type=drop,rate=1000 && \
                 ovs-ofctl -O OpenFlow13 add-flow br0 priority=200,ip,nw_dst=198.51.100.253,actions=meter:1,NORMAL";
    lab.node(3).run(&["sh", "-c", meter])?;
    let (_, after) = lose(&site, 3, &["systemctl", "reload", "openvswitch-switch.service"])?;
    assert_eq!(after, Some(0), "a reload keeps flows that name a meter");
    Ok(())
}

#[test]
#[ignore = "boots nodes: needs root"]
fn the_archive_has_what_scenarios_want_to_go_wrong() -> Result<()> {
    let lab = up(1)?;
    let site = Hypervisors::start(&lab)?;
    let (node, archive) = (lab.node(1), Archive::serve(&site)?);
    let newer = Part::Openvswitch.newer();
    let before = Facts::of(node)?;
    let policy = |flavour: Flavour| -> Result<String> {
        archive.offer(node, flavour)?;
        node.run(&["apt-cache", "show", &newer[1]])
    };
    let digest = |shown: &str| shown.lines().find(|line| line.starts_with("SHA256: ")).map(str::to_owned);
    let (one, other) = (digest(&policy(Flavour::Newer)?), digest(&policy(Flavour::Changed)?));
    assert!(one.is_some() && one != other, "{one:?}, {other:?}: the same version is the same bytes");

    archive.offer(node, Flavour::Removing)?;
    let mut words = vec!["apt-get", "-s", "-q", "install"];
    words.extend(newer.iter().map(String::as_str));
    let simulated = node.run(&words)?;
    assert!(simulated.lines().any(|line| line.starts_with("Remv ovn-host ")), "{simulated}");

    archive.offer(node, Flavour::Stock)?;
    assert!(!node.exec(&words)?.status.success(), "there is a higher version in the stock archive");

    archive.offer(node, Flavour::Broken)?;
    let failed = drydock_lab::hypervisor::bare::install(node, &newer).map_err(|error| error.to_string());
    assert!(failed.as_ref().is_err_and(|said| said.contains("dpkg returned an error code")), "{failed:?}");
    let state = node.run(&["dpkg-query", "-W", "-f", "${Status}", "openvswitch-switch"])?;
    assert_eq!(state, "install ok half-configured");
    // And back by hand, with nothing else touched.
    drydock_lab::hypervisor::bare::install(node, &Part::Openvswitch.installed(&before)?)?;
    let after = Facts::of(node)?;
    // The files were exchanged twice, under daemons that run what they ran.
    let exchanged = ["running ovs-vswitchd", "running ovsdb-server"];
    assert_eq!(before.differences(&after, |of| exchanged.contains(&of)), Vec::<String>::new());
    for of in exchanged {
        assert_eq!(after.get(of)?, format!("{} (deleted)", before.get(of)?));
    }
    Ok(())
}
