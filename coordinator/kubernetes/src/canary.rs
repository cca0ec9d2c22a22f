//! A pod of our own on a Node: made, started, answering, and gone again. It is what finds a broken sandbox, a missing
//! network socket, a DNS that does not answer from there: nothing that a kubelet says of itself does.
//!
//! | module | what lives there |
//! |---|---|
//! | `pod` | the pod as it is made |
//! | `judge` | pure: has it answered, has it failed, what is it waiting for |
//!
//! It is bound to its Node by name, past the scheduler, so that a cordon does not keep it off. Its name has a digest of all
//! that is asked, so that whoever asks the same twice finds the one that is there, and nobody takes the answer of another
//! one for its own. A look has less time than an image may take: what has not answered is left there for the next look,
//! until its own time is over. It asks for nothing, runs as nobody, and ends by itself where nobody takes it away; one that
//! was left behind is taken away by the next one of its fleet.

mod judge;
mod pod;
#[cfg(test)]
mod tests;

use std::time::Duration;

use drydock_types::{FleetId, RunId, Verdict};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use self::judge::Stands;
use crate::{
    answer::Refusal,
    api::{Api, Method, Request},
    drain::ask::{self, Fault, WITHIN},
    health::{
        objects::{Event, Pod},
        when,
    },
    objects::{Change, Meta, Uid},
    rights::CANARY_NAMESPACE,
};

/// The label of every canary, with its fleet.
pub const LABEL: &str = "drydock/canary";
/// How much longer than its kubelet lets a canary run it may still be there, in seconds: images are pulled before that
/// time begins, and whoever made it takes it away after it.
const LEFT_AFTER_S: i64 = 600;
/// How long one may run that does not say it: of another version of Drydock, in seconds.
const UNSAID_S: i64 = 300;
/// How long a look waits for its canary before it leaves it to the next one. A look is not believed after 30 s.
pub const LOOKS_FOR: Duration = Duration::from_secs(18);

/// When a canary flies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the node leaves service.
    Before,
    /// After its change.
    After,
    /// While it, or another one, is watched.
    Soak,
}

impl When {
    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Soak => "soak",
        }
    }
}

/// A canary.
#[derive(Debug, Clone)]
pub struct Canary {
    /// Whose.
    pub fleet: FleetId,
    /// Of which run.
    pub run: RunId,
    /// On which Node.
    pub node: String,
    /// Which Node of that name: when it goes, the canary goes with it.
    pub node_uid: Uid,
    /// When.
    pub when: When,
    /// The node whose look it is, where that is another one: each look has a canary of its own.
    pub asked_by: Option<String>,
    /// What it runs.
    pub image: String,
    /// What it does instead of its image's own doing.
    pub command: Vec<String>,
    /// A name that it must resolve.
    pub resolve: Option<String>,
    /// How long it may take from being made to its answer.
    pub within: Duration,
}

/// Is it a canary, of whatever fleet? Drains pass it over: it goes by itself.
#[must_use]
pub fn is_ours(meta: &Meta) -> bool {
    meta.namespace == CANARY_NAMESPACE && meta.labels.contains_key(LABEL)
}

/// Has whoever made it gone away? Then nothing but the next canary ends it: a finished pod stays.
#[must_use]
pub fn is_left_behind(pod: &Pod, now_unix_s: i64) -> bool {
    let made = when::of(pod.metadata.creation_timestamp.as_ref());
    let most = pod.spec.active_deadline_seconds.unwrap_or(UNSAID_S).saturating_add(LEFT_AFTER_S);
    made.is_some_and(|made| now_unix_s.saturating_sub(made) > most)
}

fn pods() -> String {
    format!("/api/v1/namespaces/{CANARY_NAMESPACE}/pods")
}

fn path(name: &str) -> String {
    format!("{}/{}", pods(), ask::encoded(name))
}

/// Would the cluster take it? Nothing is made.
pub async fn rehearse(api: &dyn Api, canary: &Canary) -> Verdict {
    // What a dry run brings is no object: it has no version, for nothing was stored.
    match ask::ask(api, creation(canary, "?dryRun=All")).await {
        Ok(_) => Verdict::Clear,
        Err(fault) if is_there_already(&fault) => Verdict::Clear,
        Err(fault) => not_made(&fault),
    }
}

/// Flies it, for as long as a look may take. `now` is the coordinator's clock, in seconds since 1970.
pub async fn fly(api: &dyn Api, canary: &Canary, now_unix_s: impl Fn() -> i64 + Sync) -> Verdict {
    fly_until(api, canary, now_unix_s, Instant::now() + LOOKS_FOR).await
}

/// The same, for as long as the look has left: it is waited for until then.
pub async fn fly_until(
    api: &dyn Api,
    canary: &Canary,
    now_unix_s: impl Fn() -> i64 + Sync,
    until: Instant,
) -> Verdict {
    let name = canary.name();
    let there = match take_away_what_was_left(api, canary, &name, now_unix_s()).await {
        Ok(there) => there,
        Err(fault) => return not_seen(&fault),
    };
    let pod = match there {
        Some(pod) => pod,
        None => match ask::read(api, creation(canary, "")).await {
            Ok(pod) => pod,
            // A look that was not believed has made it, or its answer was lost.
            Err(fault) if is_there_already(&fault) => match ask::get::<Pod>(api, &path(&name)).await {
                Ok(pod) => pod,
                Err(fault) => return not_seen(&fault),
            },
            Err(fault) => return not_made(&fault),
        },
    };
    if !canary.is_it(&pod.metadata) {
        return Verdict::Refused(format!(
            "a pod of the canary's name is there that is not this canary: kubectl -n {CANARY_NAMESPACE} delete pod {name}"
        ));
    }
    if pod.metadata.is_going() {
        // An earlier one, that was told to go and has not gone: what makes a new one may not take one away.
        return match gone(api, pod, until).await {
            Gone::Yes => Verdict::Waiting(format!(
                "an earlier canary on {} is gone; a new one comes next",
                canary.node
            )),
            Gone::No => stays(canary),
        };
    }
    let (pod, stands) = until_it_stands(api, canary, pod, until).await;
    let (age, within) = (judge::age(&pod, now_unix_s()), whole_seconds(canary.within));
    match stands {
        // What an earlier look left there tells of that time: the node may have been broken since.
        Stands::Answered if age > within => match delete(api, &pod).await {
            Ok(()) => Verdict::Waiting(format!(
                "the canary on {} was made {} ago, and an answer counts for {}: it is taken away, and a new one comes next",
                canary.node,
                when::age(age),
                when::age(within)
            )),
            Err(fault) => not_seen(&fault),
        },
        Stands::Answered => match taken_away(api, &name, until).await {
            Ok(Gone::Yes) => Verdict::Clear,
            Ok(Gone::No) => stays(canary),
            Err(fault) => not_seen(&fault),
        },
        Stands::Failed(why) => fails(api, canary, &pod, Some(why), now_unix_s()).await,
        Stands::Waits if age > within => fails(api, canary, &pod, None, now_unix_s()).await,
        Stands::Waits => {
            let why = judge::in_words(&pod, &events(api, &pod).await, now_unix_s());
            Verdict::Waiting(format!(
                "the canary on {} has not answered yet ({}): {why}",
                canary.node,
                when::age(age)
            ))
        }
    }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn stays(canary: &Canary) -> Verdict {
    Verdict::Waiting(format!(
        "the canary on {} was told to end and is still there: kubectl -n {CANARY_NAMESPACE} describe pod {}",
        canary.node,
        canary.name()
    ))
}

/// It has failed: with what the cluster says of it, and it is taken away.
async fn fails(api: &dyn Api, canary: &Canary, pod: &Pod, why: Option<String>, now: i64) -> Verdict {
    let why = match why {
        Some(why) => why,
        None => judge::in_words(pod, &events(api, pod).await, now),
    };
    let within = when::age(whole_seconds(canary.within));
    // What cannot be taken away now is by the next look.
    drop(delete(api, pod).await);
    Verdict::Waiting(format!("the canary on {} did not answer within {within}: {why}", canary.node))
}

/// Canaries of this fleet that nobody waits for any more: on this Node all but the one that is meant, elsewhere those
/// that are too old. Brings the one that is meant.
async fn take_away_what_was_left(
    api: &dyn Api,
    canary: &Canary,
    name: &str,
    now: i64,
) -> Result<Option<Pod>, Fault> {
    let selector = ask::encoded(&format!("{LABEL}={}", canary.fleet));
    let (all, _) = ask::list::<Pod>(api, &format!("{}?labelSelector={selector}", pods())).await?;
    let mut meant = None;
    for pod in all {
        if pod.metadata.name == name {
            meant = Some(pod);
            continue;
        }
        // Of this run there can be others beside it: recipe, stage and wave may each ask for some.
        let of_another_run = pod.spec.node_name == canary.node && !canary.is_of_its_run(&pod.metadata);
        if !pod.metadata.is_going() && (of_another_run || is_left_behind(&pod, now)) {
            delete(api, &pod).await?;
        }
    }
    Ok(meant)
}

fn creation(canary: &Canary, query: &str) -> Request {
    let body = Some(pod::json(canary).to_string().into_bytes());
    Request { method: Method::Post, path: format!("{}{query}", pods()), body, within: WITHIN }
}

fn is_there_already(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused { refusal: Refusal::Conflict { .. }, .. })
}

fn not_made(fault: &Fault) -> Verdict {
    let made =
        "kubectl apply -f deploy/kubernetes/canary.yaml makes the namespace and grants what is needed in it";
    let why = format!("the canary's pod cannot be made: {fault}");
    match fault {
        Fault::Refused { refusal: Refusal::Gone { .. } | Refusal::Forbidden { .. }, .. } => {
            Verdict::Refused(format!("{why}; {made}"))
        }
        fault if fault.is_final() => Verdict::Refused(why),
        _ => Verdict::Unknown(why),
    }
}

fn not_seen(fault: &Fault) -> Verdict {
    match fault.is_final() {
        true => not_made(fault),
        false => Verdict::Unknown(format!("the canary cannot be seen: {fault}")),
    }
}

/// Takes a pod away, and no other one of its name.
async fn delete(api: &dyn Api, pod: &Pod) -> Result<(), Fault> {
    let body =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.metadata.uid}});
    let request = Request {
        method: Method::Delete,
        path: path(&pod.metadata.name),
        body: Some(body.to_string().into_bytes()),
        within: WITHIN,
    };
    match ask::ask(api, request).await {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_gone() => Ok(()),
        Err(fault) => Err(fault),
    }
}

enum Gone {
    Yes,
    No,
}

async fn taken_away(api: &dyn Api, name: &str, until: Instant) -> Result<Gone, Fault> {
    let pod = match ask::get::<Pod>(api, &path(name)).await {
        Ok(pod) => pod,
        Err(fault) if fault.is_gone() => return Ok(Gone::Yes),
        Err(fault) => return Err(fault),
    };
    delete(api, &pod).await?;
    Ok(gone(api, pod, until).await)
}

/// Waits until a pod is gone, or the time is over.
async fn gone(api: &dyn Api, pod: Pod, until: Instant) -> Gone {
    let uid = pod.metadata.uid.clone();
    let is_gone = |seen: &Seen| match seen {
        Seen::Gone => true,
        Seen::Pod(pod) => pod.metadata.uid != uid,
    };
    match watched(api, pod, until, is_gone).await {
        Some(_) => Gone::Yes,
        None => Gone::No,
    }
}

/// Waits until a canary has answered or failed, or the time is over.
async fn until_it_stands(api: &dyn Api, canary: &Canary, pod: Pod, until: Instant) -> (Pod, Stands) {
    let stands = |seen: &Seen| match seen {
        Seen::Gone => true,
        Seen::Pod(pod) => !matches!(judge::stands(pod, canary), Stands::Waits),
    };
    let last = pod.clone();
    match watched(api, pod, until, stands).await {
        Some(Seen::Pod(pod)) => {
            let stands = judge::stands(&pod, canary);
            (*pod, stands)
        }
        Some(Seen::Gone) => (last, Stands::Failed("somebody took it away".to_owned())),
        None => {
            // The last that was seen of it may say more than the first.
            let pod = ask::get::<Pod>(api, &path(&last.metadata.name)).await.unwrap_or(last);
            let stands = judge::stands(&pod, canary);
            (pod, stands)
        }
    }
}

enum Seen {
    Pod(Box<Pod>),
    Gone,
}

/// Watches one pod until `is` is so of it. `None`: it was not in time.
async fn watched(api: &dyn Api, pod: Pod, until: Instant, is: impl Fn(&Seen) -> bool) -> Option<Seen> {
    let name = pod.metadata.name.clone();
    let mut now = Seen::Pod(Box::new(pod));
    loop {
        if is(&now) {
            return Some(now);
        }
        let Seen::Pod(pod) = &now else { return None };
        let from = pod.metadata.resource_version.clone();
        match timeout_at(until, next(api, &name, &from, &is)).await {
            Ok(Some(seen)) => return Some(seen),
            Ok(None) => {}
            Err(_) => return None,
        }
        // The watch broke, or its version is too old: read again, and go on from there.
        now = match timeout_at(until, ask::get::<Pod>(api, &path(&name))).await {
            Ok(Ok(pod)) => Seen::Pod(Box::new(pod)),
            Ok(Err(fault)) if fault.is_gone() => Seen::Gone,
            Ok(Err(_)) => {
                tokio::time::sleep_until((Instant::now() + Duration::from_millis(500)).min(until)).await;
                now
            }
            Err(_) => return None,
        };
        if Instant::now() >= until {
            return is(&now).then_some(now);
        }
    }
}

/// The first change by which `is` is so; `None` where the watch ended.
async fn next(api: &dyn Api, name: &str, from: &str, is: &impl Fn(&Seen) -> bool) -> Option<Seen> {
    let selector = ask::encoded(&format!("metadata.name={name}"));
    let path = format!("{}?fieldSelector={selector}&watch=1&resourceVersion={}", pods(), ask::encoded(from));
    let mut lines = api.watch(path, LOOKS_FOR).await.ok()?.ok()?;
    while let Some(Ok(line)) = lines.next().await {
        let seen = match serde_json::from_slice::<Change<Pod>>(&line) {
            Ok(Change::Added(pod) | Change::Modified(pod)) => Seen::Pod(Box::new(pod)),
            Ok(Change::Deleted(_)) => Seen::Gone,
            Ok(Change::Bookmark(_)) => continue,
            Ok(Change::Error(_)) | Err(_) => return None,
        };
        if is(&seen) {
            return Some(seen);
        }
    }
    None
}

/// What the cluster says of one pod. Where it does not, its own status has to do.
async fn events(api: &dyn Api, pod: &Pod) -> Vec<Event> {
    let selector = ask::encoded(&format!("involvedObject.uid={}", pod.metadata.uid));
    let path = format!("/api/v1/namespaces/{CANARY_NAMESPACE}/events?fieldSelector={selector}");
    ask::list::<Event>(api, &path).await.map(|(events, _)| events).unwrap_or_default()
}
