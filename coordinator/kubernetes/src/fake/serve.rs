//! Requests: reading, lists in pages, merge-patches.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    World,
    store::{Change, Resource},
};
use crate::api::{Answer, Method, Request};

/// Who asks, as a real server would name it.
const USER: &str = "system:serviceaccount:drydock:coordinator";

/// What a path is about.
pub(super) struct Target {
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) sub: Option<String>,
    /// `spec.nodeName` of the field selector.
    node: Option<String>,
    /// Key and value of the label selector, which here is always one equality.
    label: Option<(String, String)>,
    limit: usize,
    from: usize,
    pub(super) version: String,
    pub(super) dry_run: bool,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let parts = match *parts.first()? {
            "api" if parts.len() > 2 => parts.split_off(2),
            "apis" if parts.len() > 3 => parts.split_off(3),
            _ => return None,
        };
        let (namespace, rest) = match &*parts {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let value = |key: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
        };
        let selector = value("fieldSelector").map(|text| text.replace("%3D", "="));
        let label = value("labelSelector").map(|text| text.replace("%3D", "=").replace("%2F", "/"));
        let label = label.and_then(|text| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())));
        Some(Self {
            resource: Resource::of(rest.first()?)?,
            namespace,
            name: rest.get(1).map(|name| (*name).to_owned()),
            sub: rest.get(2).map(|sub| (*sub).to_owned()),
            node: selector.and_then(|text| text.strip_prefix("spec.nodeName=").map(str::to_owned)),
            label,
            limit: value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX),
            from: value("continue").and_then(|from| from.parse().ok()).unwrap_or(0),
            version: value("resourceVersion").unwrap_or_default(),
            dry_run: value("dryRun").is_some(),
        })
    }

    fn matches(&self, object: &Value) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == namespace.as_str())
            && self.node.as_ref().is_none_or(|node| object["spec"]["nodeName"] == node.as_str())
            && self.label.as_ref().is_none_or(|(k, value)| object["metadata"]["labels"][k] == value.as_str())
    }

    pub(super) fn selects(&self, change: &Change) -> bool {
        change.resource == self.resource && self.matches(&change.object)
    }
}

impl World {
    /// What a path is about, where whoever asks may.
    pub(super) fn target(&self, verb: &str, path: &str) -> Result<Target, Answer> {
        let target = Target::parse(path).ok_or_else(|| plain(404, "404 page not found\n"))?;
        let plural = match &target.sub {
            Some(sub) => format!("{}/{sub}", target.resource.plural()),
            None => target.resource.plural().to_owned(),
        };
        if self.forbidden.iter().any(|(no, what)| *no == verb && *what == plural) {
            return Err(forbidden(verb, &plural, &target));
        }
        Ok(target)
    }

    pub(super) fn serve(&mut self, request: &Request) -> Answer {
        if request.path == "/readyz" {
            return plain(200, "ok");
        }
        let named = Target::parse(&request.path).is_some_and(|target| target.name.is_some());
        let verb = match (request.method, named) {
            (Method::Get, true) => "get",
            (Method::Get, false) => "list",
            (Method::Post, _) => "create",
            (Method::MergePatch, _) => "patch",
            (Method::Delete, _) => "delete",
        };
        let target = match self.target(verb, &request.path) {
            Ok(target) => target,
            Err(answer) => return answer,
        };
        let body: Value =
            request.body.as_ref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null);
        match (request.method, &target.name, target.sub.as_deref()) {
            (Method::Get, Some(_), None) => self.get(&target),
            (Method::Get, None, None) => self.list(&target),
            (Method::MergePatch, Some(_), None) => self.patch(&target, &body),
            (Method::Post, Some(_), Some("eviction")) => self.evict(&target, &body),
            (Method::Delete, Some(_), None) if target.resource == Resource::Pods => {
                self.delete(&target, &body)
            }
            _ => plain(405, "method not allowed\n"),
        }
    }

    fn get(&self, target: &Target) -> Answer {
        let (namespace, name) = named(target);
        match self.store.get(target.resource, namespace, name) {
            Some(object) => json_answer(200, object),
            None => not_found(target),
        }
    }

    fn list(&self, target: &Target) -> Answer {
        let all: Vec<&Value> =
            self.store.all(target.resource).filter(|object| target.matches(object)).collect();
        let page: Vec<&Value> = all.iter().skip(target.from).take(target.limit).copied().collect();
        let mut metadata = json!({"resourceVersion": self.store.version().to_string()});
        let next = target.from.saturating_add(page.len());
        if next < all.len() {
            metadata["continue"] = json!(next.to_string());
        }
        json_answer(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page}))
    }

    fn patch(&mut self, target: &Target, body: &Value) -> Answer {
        let (namespace, name) = named(target);
        let Some(object) = self.store.get(target.resource, namespace, name) else {
            return not_found(target);
        };
        let wanted = &body["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"] {
            let plural = target.resource.plural();
            return status(
                409,
                "Conflict",
                &format!(
                    "Operation cannot be fulfilled on {plural} \"{name}\": the object has been modified; please apply \
                     your changes to the latest version and try again"
                ),
                json!({"name": name, "kind": plural}),
            );
        }
        self.store.change(target.resource, namespace, name, |object| merge(object, body));
        self.get(target)
    }
}

pub(super) fn named(target: &Target) -> (&str, &str) {
    (target.namespace.as_deref().unwrap_or_default(), target.name.as_deref().unwrap_or_default())
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        object.clone_from(patch);
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(object) = object else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A Status of failure.
pub(super) fn status(code: u16, reason: &str, message: &str, details: Value) -> Answer {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code,
    });
    if !reason.is_empty() {
        body["reason"] = json!(reason);
    }
    if !details.is_null() {
        body["details"] = details;
    }
    json_answer(code, &body)
}

pub(super) fn not_found(target: &Target) -> Answer {
    let (_, name) = named(target);
    let plural = target.resource.plural();
    status(404, "NotFound", &format!("{plural} \"{name}\" not found"), json!({"name": name, "kind": plural}))
}

fn forbidden(verb: &str, plural: &str, target: &Target) -> Answer {
    let group = target.resource.group();
    let scope = match &target.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let what = target.name.as_ref().map_or_else(String::new, |name| format!(" \"{name}\""));
    status(
        403,
        "Forbidden",
        &format!(
            "{}{what} is forbidden: User \"{USER}\" cannot {verb} resource \"{plural}\" in API group \"{group}\" {scope}",
            target.resource.plural()
        ),
        json!({"kind": target.resource.plural()}),
    )
}

pub(super) fn expired() -> Answer {
    status(410, "Expired", "too old resource version", Value::Null)
}

pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    let retry = body["details"]["retryAfterSeconds"].as_u64().map(Duration::from_secs);
    Answer {
        status,
        retry_after: retry,
        content_type: "application/json".to_owned(),
        body: body.to_string().into_bytes(),
    }
}

pub(super) fn plain(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        content_type: "text/plain".to_owned(),
        body: body.as_bytes().to_vec(),
    }
}
