//! Objects of any kind: do they have a condition, or the values that they should have at a JSONPath?
//!
//! Under which path a kind is found the cluster itself says (its discovery), so that a plan names the kind as people do.
//! A kind that is not there, one that may not be read, and a selector that matches nothing are three different answers,
//! and none of them is clear.
//!
//! Source: Kubernetes, "Kubernetes API concepts" (discovery, lists) and "API conventions: typical status properties";
//! RFC 9535 for JSONPath.

#[cfg(test)]
mod tests;

use std::{borrow::Borrow, fmt};

use drydock_types::Verdict;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::{
    answer::Refusal,
    api::Api,
    drain::ask::{self, Fault},
    health::root::cut,
    objects::null_is_default,
};

/// So many objects that are not as they should be are named.
const MOST_NAMED: usize = 3;

/// Which objects, and what must be so of each.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Empty for the core group.
    pub group: String,
    /// `v1beta2`
    pub version: String,
    /// `Kustomization`
    pub kind: String,
    /// Where; `None` for everywhere, or for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Which of them.
    pub which: Which,
    /// What must be so.
    pub wanted: Wanted,
}

/// Which objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one of this name.
    Name(String),
    /// Those with these labels; empty for all.
    Selector(String),
}

/// What must be so of an object.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// One of `status.conditions`.
    Condition {
        /// `Ready`
        kind: String,
        /// `True`
        status: String,
    },
    /// Each value at a path, of which there must be one.
    Values {
        /// Where.
        path: Path,
        /// What each may be.
        one_of: Vec<Value>,
    },
}

/// A JSONPath (RFC 9535).
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
    parsed: JsonPath,
}

/// A text that is no JSONPath.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no JSONPath: {why}")]
pub struct NotAPath {
    text: String,
    /// What is wrong with it, and where.
    pub why: String,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// When it is none, with the place in it.
    pub fn parse(text: &str) -> Result<Self, NotAPath> {
        let no = |why: String| NotAPath { text: cut(text), why };
        let bare = text.trim().trim_start_matches('{').trim_end_matches('}');
        if !text.starts_with('$') {
            let meant = if bare.starts_with('.') || bare.starts_with('[') {
                bare.to_owned()
            } else {
                format!(".{bare}")
            };
            return Err(no(format!(
                "it begins with $, and has no braces around it as kubectl's: ${}",
                cut(&meant)
            )));
        }
        let parsed = JsonPath::parse(text).map_err(|error| {
            let from = text.get(error.position()..).map(cut).unwrap_or_default();
            // The parser's word for what it has no other word for.
            let why = Some(error.message()).filter(|said| *said != "parser error");
            let why = why.map_or_else(String::new, |said| format!(" ({said})"));
            no(format!("it cannot be read from character {} on{why}: {from}", error.position() + 1))
        })?;
        Ok(Self { text: text.to_owned(), parsed })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Asked {
    fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    fn root(&self) -> String {
        let version = ask::encoded(&self.version);
        match self.group.as_str() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{}/{version}", ask::encoded(group)),
        }
    }

    /// `Kustomization flux-system/apps`
    fn named(&self, name: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }
}

/// What the cluster says of a kind.
#[derive(Debug, Deserialize)]
struct Kinds {
    #[serde(default, deserialize_with = "null_is_default")]
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    /// The plural, or `plural/status`.
    name: String,
    kind: String,
    namespaced: bool,
}

/// A group or version that is not served has no path at all: a server says so in plain text, and not as of an object.
fn is_not_served(fault: &Fault) -> bool {
    fault.is_gone() || matches!(fault, Fault::Refused { refusal: Refusal::Strange { status: 404, .. }, .. })
}

/// Looks at the objects. Changes nothing.
pub async fn look(api: &dyn Api, asked: &Asked) -> Verdict {
    let of = asked.group_version();
    let kinds = match ask::get::<Kinds>(api, &asked.root()).await {
        Ok(kinds) => kinds,
        Err(fault) if is_not_served(&fault) => {
            return Verdict::Refused(format!(
                "the cluster has no API {of}: the CustomResourceDefinition of {} is not installed, or serves another version (kubectl api-resources)",
                asked.kind
            ));
        }
        Err(fault) => return unseen(asked, None, &fault),
    };
    let found = kinds.resources.iter().find(|of| of.kind == asked.kind && !of.name.contains('/'));
    let Some(resource) = found else {
        return Verdict::Refused(format!(
            "the API {of} of the cluster has no kind {} (kubectl api-resources)",
            asked.kind
        ));
    };
    match (resource.namespaced, &asked.namespace, &asked.which) {
        (true, None, Which::Name(_)) => {
            return Verdict::Refused(format!("a {} belongs to a namespace: say which", asked.kind));
        }
        (false, Some(_), _) => {
            return Verdict::Refused(format!(
                "a {} belongs to no namespace: leave `namespace` out",
                asked.kind
            ));
        }
        _ => {}
    }
    let within = asked
        .namespace
        .as_ref()
        .map_or_else(String::new, |namespace| format!("/namespaces/{}", ask::encoded(namespace)));
    let path = format!("{}{within}/{}", asked.root(), resource.name);
    match &asked.which {
        Which::Name(name) => match ask::get::<Value>(api, &format!("{path}/{}", ask::encoded(name))).await {
            Ok(object) => judge(&[object], asked),
            Err(fault) if fault.is_gone() => Verdict::Waiting(format!("there is no {}", asked.named(name))),
            Err(fault) => unseen(asked, Some(resource), &fault),
        },
        Which::Selector(selector) => {
            let query = if selector.is_empty() {
                String::new()
            } else {
                format!("?labelSelector={}", ask::encoded(selector))
            };
            match tally::<Value>(api, &format!("{path}{query}"), asked).await {
                Ok(tally) => tally.verdict(asked),
                Err(fault) => unseen(asked, Some(resource), &fault),
            }
        }
    }
}

/// Judges each object of a list as it comes, and lets it go: of some kinds there are more than memory has room for.
async fn tally<T: DeserializeOwned + Borrow<Value>>(
    api: &dyn Api,
    path: &str,
    asked: &Asked,
) -> Result<Tally, Fault> {
    let mut tally = Tally::default();
    ask::each(api, path, |object: T| tally.take(object.borrow(), asked)).await?;
    Ok(tally)
}

fn unseen(asked: &Asked, resource: Option<&Resource>, fault: &Fault) -> Verdict {
    let kind = &asked.kind;
    if let (Fault::Refused { refusal: Refusal::Forbidden { .. }, .. }, Some(resource)) = (fault, resource) {
        return Verdict::Refused(format!(
            "how any {kind} is cannot be seen: {fault}; grant it by a role of its own: apiGroups [{:?}], resources [{:?}], verbs [get, list]",
            asked.group, resource.name
        ));
    }
    let why = format!("how any {kind} is cannot be seen: {fault}");
    if fault.is_final() { Verdict::Refused(why) } else { Verdict::Unknown(why) }
}

/// Are they as they should be? Nothing at all is not.
#[must_use]
pub fn judge(objects: &[Value], asked: &Asked) -> Verdict {
    let mut tally = Tally::default();
    objects.iter().for_each(|object| tally.take(object, asked));
    tally.verdict(asked)
}

/// What is kept of objects that were judged.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// There was one.
    any: bool,
    /// The first that are not as they should be, in words.
    unlike: Vec<String>,
    /// So many further ones are not.
    more: usize,
}

impl Tally {
    fn take(&mut self, object: &Value, asked: &Asked) {
        self.any = true;
        match unlike(object, asked) {
            Some(why) if self.unlike.len() < MOST_NAMED => self.unlike.push(why),
            Some(_) => self.more = self.more.saturating_add(1),
            None => {}
        }
    }

    fn verdict(self, asked: &Asked) -> Verdict {
        if !self.any {
            let which = match &asked.which {
                Which::Name(name) => format!("named {name}"),
                Which::Selector(selector) if selector.is_empty() => "at all".to_owned(),
                Which::Selector(selector) => format!("with the labels {}", cut(selector)),
            };
            let place =
                asked.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
            return Verdict::Unknown(format!(
                "there is no {} {which}{place}: nothing is known of them",
                asked.kind
            ));
        }
        if self.unlike.is_empty() {
            return Verdict::Clear;
        }
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        Verdict::Waiting(format!("{}{more}", self.unlike.join("; ")))
    }
}

/// What of an object is not as it should be.
fn unlike(object: &Value, asked: &Asked) -> Option<String> {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().map(cut).unwrap_or_default();
    let name = match text(&metadata["namespace"]) {
        namespace if namespace.is_empty() => format!("{} {}", asked.kind, text(&metadata["name"])),
        namespace => format!("{} {namespace}/{}", asked.kind, text(&metadata["name"])),
    };
    let status = &object["status"];
    let generation = metadata["generation"].as_i64();
    let is_old = |observed: &Value| observed.as_i64().zip(generation).is_some_and(|(seen, now)| seen < now);
    let old = || format!("{name} was changed, and its controller has not looked at it since");
    if is_old(&status["observedGeneration"]) {
        return Some(old());
    }
    match &asked.wanted {
        Wanted::Condition { kind, status: wanted } => {
            let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let Some(condition) = conditions.iter().find(|condition| condition["type"] == kind.as_str())
            else {
                return Some(format!("{name} has no condition {kind}"));
            };
            if is_old(&condition["observedGeneration"]) {
                return Some(old());
            }
            if condition["status"] == wanted.as_str() {
                return None;
            }
            let why = [text(&condition["reason"]), text(&condition["message"])];
            let why: Vec<String> = why.into_iter().filter(|why| !why.is_empty()).collect();
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(": ")) };
            Some(format!("{name} is {kind}={}{why}, and must be {kind}={wanted}", text(&condition["status"])))
        }
        Wanted::Values { path, one_of } => {
            let found = path.parsed.query(object).all();
            if found.is_empty() {
                return Some(format!("{name} has nothing at {path}"));
            }
            let other = found.into_iter().find(|value| !one_of.contains(*value))?;
            let wanted: Vec<String> = one_of.iter().map(plain).collect();
            Some(format!("{name} has {} at {path}, and must have {}", plain(other), wanted.join(" or ")))
        }
    }
}

fn plain(value: &Value) -> String {
    cut(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
