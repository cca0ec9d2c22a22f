//! Has a canary answered, has it failed, what is it waiting for? Pure.

use super::Canary;
use crate::health::{
    objects::{Event, Pod, Terminated},
    pods::{self, Failing},
    root, when,
};

/// How a canary stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    /// It has an address, and has done what it is there for.
    Answered,
    /// It will not.
    Failed(String),
    /// Neither yet.
    Waits,
}

/// How long ago it was made, in seconds. One that does not say is as old as can be: its answer counts for nothing.
pub(super) fn age(pod: &Pod, now: i64) -> i64 {
    when::of(pod.metadata.creation_timestamp.as_ref()).map_or(i64::MAX, |made| now.saturating_sub(made))
}

/// How it stands, by its own status.
pub(super) fn stands(pod: &Pod, canary: &Canary) -> Stands {
    let has_address = !pod.status.pod_ip.is_empty();
    match pod.status.phase.as_str() {
        "Failed" => Stands::Failed(failed(pod, canary)),
        "Succeeded" if has_address => Stands::Answered,
        "Succeeded" => Stands::Failed("it ended well and never had an address".to_owned()),
        _ => {
            let ready = pod.condition("Ready").is_some_and(|ready| ready.status == "True");
            if ready && has_address && !canary.ends() { Stands::Answered } else { Stands::Waits }
        }
    }
}

fn failed(pod: &Pod, canary: &Canary) -> String {
    let ended = pod.status.container_statuses.iter().find_map(|status| status.state.terminated.as_ref());
    let Some(Terminated { exit_code, message, .. }) = ended else {
        let words = [&pod.status.reason, &pod.status.message].map(|word| root::cut(word));
        return words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ");
    };
    let said = root::cut(message.lines().last().unwrap_or_default().trim());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match (&canary.resolve, &*canary.command) {
        (Some(name), []) => format!("it does not resolve {name} (exit code {exit_code}){said}"),
        _ => format!("it ended with exit code {exit_code}{said}"),
    }
}

/// What it waits for, in the words for any pod that does not start.
pub(super) fn in_words(pod: &Pod, events: &[Event], now: i64) -> String {
    // However new it is: it is asked about because it has not answered.
    let Some(seems) = pods::look(pod, i64::MAX) else {
        return format!("it is {}", root::cut(&pod.status.phase));
    };
    let problem = pods::problem(&Failing { pod: pod.clone(), seems }, events, now);
    if problem.next.is_empty() { problem.root } else { format!("{} → {}", problem.root, problem.next) }
}
