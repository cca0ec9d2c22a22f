//! The agent dies while Open vSwitch holds its flows back, and the reload with it: whoever comes first, the agent of the
//! next start or the reverter's timer, tells the switch its flows again and lets them go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::judge;
use super::site::{self, Scene, Stage};
use super::watch::{self, Watch};
use crate::fleet::agents;
use crate::hypervisor::Target;
use crate::hypervisor::bare::Part;
use crate::hypervisor::observe::Facts;
use crate::hypervisor::trace::{Span, Trace, now};
use crate::scenarios::proofs::Proofs;
use crate::scenarios::{answering, scene};
use crate::wait::until;

const NODES: usize = 2;
/// The change is taken back so long after it was armed.
const WITHIN: Duration = Duration::from_secs(20);
const MENDED: Duration = Duration::from_secs(60);
/// Waits until the switch holds its flows back, and kills the agent and the reload, which nobody ends then.
const KILL: &str = r#"until ovs-vsctl --timeout=1 --no-wait --if-exists get open_vswitch . other_config:flow-restore-wait 2>/dev/null | grep -q true; do :; done
systemctl kill --signal=KILL drydock-agent.service
systemctl kill --signal=KILL openvswitch-switch.service ovs-vswitchd.service
echo killed"#;
/// The agent that runs goes on; no other is started after it.
const GONE: &str = "mkdir -p /run/systemd/system/drydock-agent.service.d
printf '[Unit]\nConditionPathExists=/nowhere\n' >/run/systemd/system/drydock-agent.service.d/gone.conf
systemctl daemon-reload";
const BACK: &str = "rm -r /run/systemd/system/drydock-agent.service.d
systemctl daemon-reload
systemctl start drydock-agent.service";
/// What the killing itself ends and systemd starts anew, beside the daemons.
const KILLED: [&str; 3] =
    ["unit drydock-agent.service", "unit openvswitch-switch.service", "unit ovs-record-hostname.service"];

pub(in crate::scenarios) fn play() -> Result<()> {
    let lab = site::boot(NODES)?;
    let scene = Scene::set(&lab)?;
    let mut proofs = Proofs::default();
    let watch = Watch::begin(&scene.site)?;
    println!("\n-- the agent comes back");
    let back = killed(&scene, 2, false, &mut proofs)?;
    println!("\n-- the agent is gone for good");
    let gone = killed(&scene, 1, true, &mut proofs)?;
    let traces = watch.finish()?;
    for (number, what, span) in [(2, "with the agent back", back), (1, "by the reverter", gone)] {
        let gap = longest(&traces, number, span);
        println!("  n{number}, {what}: the longest gap {} ms", gap.as_millis());
        proofs.check(
            gap < WITHIN + Duration::from_secs(10),
            format!("n{number}: forwarding was back within the limit and ten seconds"),
        );
    }
    proofs.conclude()
}

fn longest(traces: &[Trace], number: usize, span: Span) -> Duration {
    let of_node = traces.iter().filter(|trace| Target::of(number).contains(trace.target()));
    of_node.map(|trace| trace.within(span).longest_gap).max().unwrap_or(Duration::MAX)
}

fn killed(scene: &Scene<'_>, number: usize, for_good: bool, proofs: &mut Proofs) -> Result<Span> {
    let node = scene.lab.node(number);
    scene.exchange_by_hand(node, Part::Openvswitch)?;
    let before = Facts::of(node)?;
    let with = format!("{{within: {}s, witness: {}}}", WITHIN.as_secs(), answering::witnesses(scene.lab));
    let to = Part::Openvswitch.versions().newer;
    let stage = Stage { component: "openvswitch", recipe: "./switchOnly.yaml", with, to, down: false };
    let file = scene.write_plan(&format!("killed-{number}"), &[stage], Some(&format!("n{number}")))?;
    let mut log = scene.fleet.log();
    log.news()?;
    let from = now();
    if for_good {
        node.run(&["sh", "-ec", GONE])?;
    }
    let mut killer = node.spawn(&format!("kill-{number}"), &["sh", "-c", KILL])?;
    scene.begin(&file)?;
    killer.wait(MENDED)?;
    ensure!(killer.printed()?.contains("killed"), "nobody was killed: {}", killer.printed()?);
    let killed = Instant::now();
    if for_good {
        proofs.check(agents::pid(node).is_err(), "no agent runs");
    }
    let may_change = |of: &str| Part::Openvswitch.may_change(of) || KILLED.contains(&of);
    let mut differences = Vec::new();
    let mended = until(
        "the switch to be as before",
        MENDED,
        Duration::from_millis(200),
        || {
            // While a daemon is down nothing can be looked at.
            let Ok(after) = Facts::of(node) else { return Ok(None) };
            differences = before.differences(&after, may_change);
            Ok(differences.is_empty().then_some(()))
        },
        String::new,
    );
    let took = killed.elapsed();
    proofs.check(
        mended.is_ok(),
        format!(
            "flows, groups and ports are as before {:.1} s after the kill: {differences:?}",
            took.as_secs_f32()
        ),
    );
    if for_good {
        proofs.check(agents::pid(node).is_err(), "and still no agent runs");
        node.run(&["sh", "-ec", BACK])?;
    } else {
        agents::wait_back(node)?;
    }
    let followed = watch::follow(scene, &mut log)?;
    let why = scene.show(&["why"])?;
    let run = scene.fleet.run(0)?;
    println!(
        "  run {} is {} ({}); by `why`: exit {}",
        run.number,
        run.status,
        followed.status,
        scene::code(&why)
    );
    if for_good {
        println!("{}", node.run(&["journalctl", "-q", "--no-pager", "-o", "cat", "-u", "drydock-revert*"])?);
        let hold = run.hold.as_ref().context("a node that took a change back holds its run")?;
        let alone = hold.happened.contains("took the change back by itself");
        proofs.check(
            alone,
            format!("the run holds and says that the node took it back alone: {}", hold.happened),
        );
    }
    judge::nothing_left(std::slice::from_ref(node), proofs)?;
    if run.status == "held" {
        ensure!(
            scene::code(&scene.show(&["run", "abort", &run.number.to_string()])?) == 0,
            "the run was not ended"
        );
    }
    Ok(Span { from, until: now() })
}
