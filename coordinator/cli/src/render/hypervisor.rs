//! `node show`: a node's guests, bridges and packages as its agent sees them just now. What could not be seen is said; of many
//! only the first are shown, and how many there are.

use std::collections::BTreeMap;

use drydock_core::view::NodeLiveView;
use drydock_types::{
    Verdict,
    libvirt::{Guest, LibvirtKind, LibvirtView, Quiescence},
    openvswitch::{Bridge, OpenvswitchView},
    ovn::OvnView,
    packages::PackagesView,
};

use super::{Canvas, Line, Page, Paint, time};
use crate::text::clean;

/// So many of a kind are shown; `-o json` has all.
const SHOWN: usize = 20;
/// So many names in one line.
const NAMED: usize = 6;

/// What the agent sees just now.
pub(crate) fn live(view: Option<&NodeLiveView>, page: &mut Page, canvas: Canvas) {
    page.gap();
    let Some(view) = view else {
        page.line(Line::painted("  Its agent is silent: what the node is at cannot be seen now", Paint::Dim));
        return;
    };
    page.line(Line::painted("  As its agent sees it just now", Paint::Dim));
    libvirt(&view.libvirt, page, canvas);
    openvswitch(&view.openvswitch, page, canvas);
    ovn(&view.ovn, page, canvas);
    packages(&view.packages, page, canvas);
}

/// A part, or why it could not be seen.
fn seen<'a, T>(name: &str, of: &'a Result<T, String>, page: &mut Page, canvas: Canvas) -> Option<&'a T> {
    match of {
        Ok(of) => Some(of),
        Err(why) => {
            fields(page, &[(name, format!("not seen: {why}"))], canvas);
            None
        }
    }
}

/// All parts have their texts in one column.
fn fields(page: &mut Page, of: &[(&str, String)], canvas: Canvas) {
    for (name, text) in of {
        page.fields(&[(&format!("{name:<14}"), text.clone())], canvas);
    }
}

fn answered(version: &Result<String, String>) -> String {
    version.clone().unwrap_or_else(|why| format!("version not seen: {why}"))
}

/// The first, and how many more there are.
fn more(all: usize, shown: usize, page: &mut Page) {
    if all > shown {
        let text = format!("    … and {} more: drydock node show NODE -o json has all {all}", all - shown);
        page.line(Line::painted(text, Paint::Dim));
    }
}

fn libvirt(of: &Result<LibvirtView, String>, page: &mut Page, canvas: Canvas) {
    let Some(view) = seen("libvirt", of, page, canvas) else { return };
    let kind = match view.kind {
        LibvirtKind::Monolithic => "monolithic",
        LibvirtKind::Modular => "modular",
    };
    let mut told = vec![
        ("libvirt", format!("{}, {kind} ({})", answered(&view.version), view.kind.unit())),
        ("Restart", quiescence(view)),
        ("Host", host(view)),
    ];
    let guests = match &view.guests {
        Ok(guests) => guests.as_slice(),
        Err(why) => {
            told.push(("Guests", format!("not seen: {why}")));
            fields(page, &told, canvas);
            return;
        }
    };
    told.push(("Guests", counted(guests)));
    told.extend(migrations(guests).map(|what| ("Migrations", what)));
    fields(page, &told, canvas);
    if guests.is_empty() {
        return;
    }
    let head = ["guest", "UUID", "pid", "state", "QEMU", "job"].map(|name| Line::painted(name, Paint::Dim));
    let mut rows = vec![head.into()];
    rows.extend(in_order(guests).into_iter().take(SHOWN).map(guest));
    page.table(4, rows, canvas);
    more(guests.len(), SHOWN, page);
}

/// What a restart of the daemon does to guests here, and the room that it needs.
fn host(view: &LibvirtView) -> String {
    let of = match (&view.guests, view.guests_in_its_cgroup) {
        (Ok(guests), _) if guests.is_empty() => "",
        (_, true) => ", guests in the unit's own cgroup",
        (_, false) => ", guests in scopes of their own",
    };
    format!(
        "KillMode={}{of}; {} free on /run, {} on /var/lib/libvirt",
        view.kill_mode,
        time::bytes(view.run_free_bytes),
        time::bytes(view.lib_free_bytes)
    )
}

/// Whoever keeps a restart waiting first.
fn in_order(guests: &[Guest]) -> Vec<&Guest> {
    let mut all: Vec<&Guest> = guests.iter().collect();
    let rests = |guest: &Guest| {
        matches!(guest.job, Ok(None)) && guest.monitor.is_ok() && is_running(guest) && guest.process.is_some()
    };
    all.sort_by(|a, b| rests(a).cmp(&rests(b)).then_with(|| a.name.cmp(&b.name)));
    all
}

fn is_running(guest: &Guest) -> bool {
    guest.state.as_deref().is_some_and(|state| state == "running" || state.starts_with("running ("))
}

fn guest(guest: &Guest) -> Vec<Line> {
    let state = guest.state.as_deref().unwrap_or("not known to libvirt");
    let qemu = match &guest.process {
        None => Line::painted("no process", Paint::Warn),
        Some(process) => {
            let version = process.qemu.clone().unwrap_or_else(|why| format!("? ({why})"));
            let replaced = if process.replaced { ", not installed any more" } else { "" };
            Line::of(format!("{version}{replaced}"))
        }
    };
    let mut job = match &guest.job {
        Ok(None) => "none".to_owned(),
        Ok(Some(job)) => job.clone(),
        Err(why) => format!("not seen: {why}"),
    };
    if let Err(why) = &guest.monitor {
        job.push_str(&format!("; its monitor does not answer: {why}"));
    }
    let paint = if is_running(guest) { Paint::Plain } else { Paint::Warn };
    let name = if guest.uuid.is_empty() { guest.told() } else { guest.name.clone() };
    // Tells apart guests of one name; `-o json` has it whole.
    let uuid: String = guest.uuid.chars().take(8).collect();
    let pid = guest.process.as_ref().map_or_else(|| "-".to_owned(), |process| process.pid.to_string());
    vec![
        Line::painted(clean(&name), Paint::Bold),
        Line::painted(clean(&uuid), Paint::Dim),
        Line::of(pid),
        Line::painted(state, paint),
        qemu,
        Line::of(job),
    ]
}

/// `1000: 998 running, 2 paused (user); QEMU 7.2.17 (990), 7.2.13 (10)`
fn counted(guests: &[Guest]) -> String {
    if guests.is_empty() {
        return "none".to_owned();
    }
    let tally = |of: &dyn Fn(&Guest) -> String| {
        let mut by: BTreeMap<String, usize> = BTreeMap::new();
        guests.iter().for_each(|guest| *by.entry(of(guest)).or_default() += 1);
        let mut all: Vec<_> = by.into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    };
    let states = tally(&|guest| match is_running(guest) {
        true => "running".to_owned(),
        false => guest.state.clone().unwrap_or_else(|| "not known to libvirt".to_owned()),
    });
    let qemu = tally(&|guest| match &guest.process {
        Some(process) => process.qemu.clone().unwrap_or_else(|_| "of an unknown version".to_owned()),
        None => "without a process".to_owned(),
    });
    let states: Vec<String> =
        states.into_iter().take(NAMED).map(|(of, count)| format!("{count} {of}")).collect();
    let qemu: Vec<String> =
        qemu.into_iter().take(NAMED).map(|(of, count)| format!("{of} ({count})")).collect();
    format!("{}: {}; QEMU {}", guests.len(), states.join(", "), qemu.join(", "))
}

fn migrations(guests: &[Guest]) -> Option<String> {
    let job = |guest: &&Guest| guest.job.as_ref().is_ok_and(|job| job.as_deref().is_some_and(migrates));
    let state = |guest: &&Guest| guest.state.as_deref().is_some_and(migrates);
    let moving: Vec<&str> =
        guests.iter().filter(|guest| job(guest) || state(guest)).map(|guest| guest.name.as_str()).collect();
    (!moving.is_empty()).then(|| named(&moving))
}

fn migrates(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("migrati") || text.contains("post-copy")
}

fn named(names: &[&str]) -> String {
    let mut all: Vec<String> = names.iter().take(NAMED).map(|name| clean(name).into_owned()).collect();
    if names.len() > NAMED {
        all.push(format!("{} more", names.len() - NAMED));
    }
    all.join(", ")
}

fn quiescence(view: &LibvirtView) -> String {
    if matches!(&view.guests, Ok(guests) if guests.is_empty()) {
        return "drained: no guest is here".to_owned();
    }
    match view.quiescent(Quiescence::RestartSafe) {
        Verdict::Clear => "restart-safe: nothing is under way at any guest".to_owned(),
        Verdict::Waiting(why) => format!("not now: {why}"),
        Verdict::Refused(why) => format!("refused: {why}"),
        Verdict::Unknown(why) => format!("not known: {why}"),
    }
}

fn openvswitch(of: &Result<OpenvswitchView, String>, page: &mut Page, canvas: Canvas) {
    let Some(view) = seen("Open vSwitch", of, page, canvas) else { return };
    let mut what = answered(&view.version);
    if view.db_version != view.version {
        what.push_str(&format!(", its database server {}", answered(&view.db_version)));
    }
    if view.flow_restore_wait {
        what.push_str("; it holds its flows back (flow-restore-wait)");
    }
    if view.dpdk {
        what.push_str("; DPDK");
    }
    fields(page, &[("Open vSwitch", what), ("Bridges", view.bridges.len().to_string())], canvas);
    if view.bridges.is_empty() {
        return;
    }
    let head =
        ["bridge", "datapath", "fail mode", "ports", "flows", ""].map(|name| Line::painted(name, Paint::Dim));
    let mut rows = vec![head.into()];
    rows.extend(view.bridges.iter().take(SHOWN).map(|(name, of)| bridge(name, of)));
    page.table(4, rows, canvas);
    more(view.bridges.len(), SHOWN, page);
}

fn bridge(name: &str, of: &Bridge) -> Vec<Line> {
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let wrong: Vec<String> = of
        .ports
        .iter()
        .filter(|(_, port)| !port.error.is_empty())
        .map(|(name, port)| format!("{}: {}", clean(name), port.error))
        .collect();
    let mut notes = Vec::new();
    if of.has_address {
        notes.push("carries an address of the host".to_owned());
    }
    if !of.controllers.is_empty() {
        notes.push(time::count(of.controllers.len(), "controller", "controllers"));
    }
    notes.extend(wrong.iter().take(NAMED).cloned());
    if wrong.len() > NAMED {
        notes.push(format!("{} more ports have an error", wrong.len() - NAMED));
    }
    vec![
        Line::painted(clean(name), Paint::Bold),
        Line::of(or(&of.datapath_type, "system")),
        Line::of(or(&of.fail_mode, "not set")),
        Line::of(of.ports.len().to_string()),
        Line::of(of.flows.to_string()),
        Line::painted(notes.join("; "), if wrong.is_empty() { Paint::Plain } else { Paint::Warn }),
    ]
}

fn ovn(of: &Result<OvnView, String>, page: &mut Page, canvas: Canvas) {
    let Some(view) = seen("ovn-controller", of, page, canvas) else { return };
    let connection = match &view.connection {
        Ok(word) => word.clone(),
        Err(why) => format!("its connection not seen: {why}"),
    };
    let caught_up = match view.caught_up() {
        Ok(generation) => format!("caught up ({generation})"),
        Err(why) => clean(&why).into_owned(),
    };
    let text = format!("{}, chassis {}, {connection}, {caught_up}", answered(&view.version), view.chassis);
    fields(page, &[("ovn-controller", text)], canvas);
}

fn packages(of: &Result<PackagesView, String>, page: &mut Page, canvas: Canvas) {
    let Some(view) = seen("Packages", of, page, canvas) else { return };
    let none = |names: &[&str]| {
        if names.is_empty() { "none".to_owned() } else { format!("{}: {}", names.len(), named(names)) }
    };
    let held: Vec<&str> = view.held.iter().map(|name| name.as_str()).collect();
    let half: Vec<&str> = view.half_done.iter().map(String::as_str).collect();
    let mut told = vec![("On hold", none(&held)), ("Half-way", none(&half))];
    if let Some(who) = &view.at_work {
        told.insert(0, ("Packages", format!("{who} is at work")));
    }
    told.push(("Replaced", stale(view)));
    if let Some(first) = view.unread.first() {
        let what = time::count(view.unread.len(), "process", "processes");
        told.push(("Not seen", format!("{what} may not be looked at: {}", clean(first))));
    }
    fields(page, &told, canvas);
}

/// Processes that run what is not installed any more, by unit.
fn stale(view: &PackagesView) -> String {
    if view.stale.is_empty() {
        return "no process runs what is not installed any more".to_owned();
    }
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for process in &view.stale {
        *by.entry(process.unit.as_deref().unwrap_or("no unit")).or_default() += 1;
    }
    let units = by.len();
    let mut told: Vec<String> =
        by.iter().take(NAMED).map(|(unit, count)| format!("{} ({count})", clean(unit))).collect();
    if units > NAMED {
        told.push(format!("{} more units", units - NAMED));
    }
    let what = time::count(view.stale.len(), "process runs", "processes run");
    format!("{what} what is not installed any more: {}", told.join(", "))
}

#[cfg(test)]
mod tests;
