//! What windows and waves must keep beyond their form: zones that exist, parts with names of their own, checks that
//! can be judged.

use drydock_core::{
    observe::{self, Observer},
    plan_file::{PlanFile, StageSpec},
    recipe::{Check, PrometheusCheck},
    window,
};
use drydock_types::Label;

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place, quoted},
    rules::Places,
    tree::At,
    words,
};
use crate::checks::{health, kubernetes, prometheus};

/// More parts of a wave than this are a mistake.
const MAX_PARTS: usize = 100;

/// The window's zone is one that this build knows.
pub(super) fn window(plan: &PlanFile, places: &Places<'_>, found: &mut Diagnostics) {
    let Some(window) = plan.spec.window.as_ref().filter(|window| !window::knows_zone(&window.time_zone))
    else {
        return;
    };
    found.push(|| {
        let zones = window::zones();
        let place = places.at(&[At::Key("window"), At::Key("timeZone")]);
        Diagnostic::at(place, format!("there is no time zone {}", quoted(&window.time_zone)))
            .help(nearest_zone(&window.time_zone, &zones))
            .note("time zones have IANA names: Europe/Berlin, America/New_York, UTC")
    });
}

/// A slip of the fingers, or the city alone.
fn nearest_zone(text: &str, zones: &[String]) -> Option<String> {
    let names = || zones.iter().map(String::as_str);
    let city = |zone: &&str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text));
    let full = names().find(city).or_else(|| {
        let cities: Vec<&str> = names().filter_map(|zone| zone.rsplit('/').next()).collect();
        let city = words::nearest(text, cities)?;
        names().find(|zone| zone.rsplit('/').next() == Some(city))
    });
    words::suggestion(text, names()).or_else(|| full.map(|zone| format!("did you mean `{zone}`?")))
}

/// All rules of one wave that its nodes do not concern.
pub(super) fn wave(i: usize, j: usize, stage: &StageSpec, places: &Places<'_>, found: &mut Diagnostics) {
    let wave = &stage.waves[j];
    let at = |path: &[At<'_>]| places.wave(i, j, path);
    parts(i, j, stage, places, found);
    if !wave.soak_checks.is_empty() && wave.soak.0 == 0 {
        found.push(|| {
            Diagnostic::at(at(&[At::Key("soakChecks")]), format!("wave `{}` does not soak", wave.name))
                .help("soakChecks are looked at during the soak: give it a length, as `soak: 5m`".to_owned())
        });
    }
    for (k, check) in wave.soak_checks.iter().enumerate() {
        check_rules(check, at(&[At::Key("soakChecks"), At::Item(k)]), found);
    }
    if wave.approval.is_some_and(|approval| approval.within.0 == 0) {
        let place = at(&[At::Key("approval"), At::Key("within")]);
        found.push(|| Diagnostic::at(place, "an approval that is waited for 0s is missed at once"));
    }
}

/// Parts of a wave are waves with names of their own.
fn parts(i: usize, j: usize, stage: &StageSpec, places: &Places<'_>, found: &mut Diagnostics) {
    let wave = &stage.waves[j];
    if wave.split.is_empty() {
        return;
    }
    let place = places.wave(i, j, &[At::Key("split")]);
    if wave.split.len() > MAX_PARTS {
        return found.push(|| Diagnostic::at(place, format!("a wave has no more than {MAX_PARTS} parts")));
    }
    let last = wave.split.len() + 1;
    if Label::parse(&format!("{}-{last}", wave.name)).is_err() {
        found.push(|| {
            Diagnostic::at(place, format!("wave `{}` has a name that is too long for its parts", wave.name))
                .help(format!("they are called NAME-1 to NAME-{last}"))
        });
    }
    let part = |other: &Label| (1..=last).any(|number| other.as_str() == format!("{}-{number}", wave.name));
    if let Some(other) = stage.waves.iter().map(|other| &other.name).find(|other| part(other)) {
        found.push(|| {
            Diagnostic::at(place, format!("wave `{other}` has the name of a part of wave `{}`", wave.name))
                .help(format!("the parts are called {0}-1 to {0}-{last}", wave.name))
        });
    }
}

/// What a check must keep beyond its form, in a plan as in a recipe.
pub(super) fn check_rules(check: &Check, place: &Place, found: &mut Diagnostics) {
    if let Check::Health(check) = check
        && let Some(own) = health::names_the_asker(check)
    {
        found.push(|| {
            Diagnostic::at(place, format!("{} {}", quoted(&own), health::NAMES_THE_ASKER))
                .help("name the node's address, as `{label:ip}`, or leave `from` out".to_owned())
        });
    }
    kubernetes_rules(check, place, found);
    let Check::Prometheus(PrometheusCheck { url, above, below, .. }) = check else { return };
    if let Err(why) = prometheus::is_url(url) {
        found.push(|| Diagnostic::at(place, why).help("http://10.0.0.9:9090".to_owned()));
    }
    match (above, below) {
        (None, None) => found.push(|| {
            Diagnostic::at(place, "`prometheus` has no bound")
                .help("say what the value must be: `above: 0.99`, `below: 5`, or both".to_owned())
        }),
        (Some(above), Some(below)) if above.value() >= below.value() => {
            found.push(|| Diagnostic::at(place, format!("no value is above {above} and below {below}")))
        }
        _ => {}
    }
}

/// What an observer must keep beyond its form, in a plan as in a recipe.
pub(super) fn observer_rules(of: &Observer, place: &Place, found: &mut Diagnostics) {
    if let Err((what, help)) = of.is_one() {
        found.push(|| Diagnostic::at(place, what).help(help.to_owned()));
    }
}

/// There are only so many of them, with those that stand before them.
pub(super) fn observed(observers: &[Observer], before: usize, place: &Place, found: &mut Diagnostics) {
    let all = observers.len() + before;
    if !observers.is_empty() && all > observe::MOST {
        let most = observe::MOST;
        found.push(|| {
            let message = format!("{all} observers of one node's change; there are {most} at most");
            Diagnostic::at(place, message)
                .help("one `reach` asks several: to: [{ping: {address: 10.0.0.7}}, …]".to_owned())
        });
    }
}

/// What checks of a Kubernetes cluster must keep beyond their form.
fn kubernetes_rules(check: &Check, place: &Place, found: &mut Diagnostics) {
    let mut wrong = |what: String, help: &str| {
        found.push(|| Diagnostic::at(place, what).help(help.to_owned()));
    };
    match check {
        Check::KubernetesCondition(check) => {
            if let Err((what, help)) = kubernetes::condition::is_one(check) {
                wrong(what, help);
            }
        }
        Check::NodeCanary(check) if check.image.trim().is_empty() => {
            wrong("`nodeCanary` has no image".to_owned(), "image: registry.k8s.io/pause:3.10");
        }
        Check::NodeCanary(check) if check.resolve.is_some() && !check.command.is_empty() => wrong(
            "`nodeCanary` has a command and a name to resolve".to_owned(),
            "leave one of them out: a command may resolve whatever it wants to",
        ),
        Check::NodeCanary(check) if !(10_000..=600_000).contains(&check.within.0) => {
            wrong(
                format!("a canary has between 10s and 10m for its answer, not {}", check.within),
                "within: 2m",
            );
        }
        _ => {}
    }
}
