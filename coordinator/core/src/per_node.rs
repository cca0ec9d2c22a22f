//! `{node}` and `{label:KEY}` in a recipe's texts: what differs from node to node, filled in for each.
//!
//! Labels come from operators, never from agents, so what a node is told to touch does not depend on its
//! own word. A placeholder that a node has no label for is an error of the plan, before anything is done.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};

use drydock_types::{Label, NodeName};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What can be filled in for one node.
#[derive(Debug, Clone, Copy)]
pub struct Variables<'a> {
    /// Its name.
    pub node: &'a NodeName,
    /// Its labels.
    pub labels: &'a BTreeMap<Label, Label>,
}

/// The same value with every placeholder in its texts filled in.
///
/// # Errors
/// A placeholder that is unknown, a label that the node lacks, or a result that is not what it must be.
pub fn fill<T: Clone + Serialize + DeserializeOwned>(
    value: &T,
    variables: Variables<'_>,
) -> Result<T, String> {
    let mut json = serde_json::to_value(value).map_err(|error| error.to_string())?;
    if !has_placeholder(&json) {
        return Ok(value.clone());
    }
    walk(&mut json, variables)?;
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// The check whose queries are full of braces of their own, and which is about no single node.
const PROMETHEUS: &str = "prometheus";

fn has_placeholder(json: &Value) -> bool {
    match json {
        Value::String(text) => text.contains('{'),
        Value::Array(items) => items.iter().any(has_placeholder),
        Value::Object(fields) => {
            fields.iter().any(|(key, field)| key != PROMETHEUS && has_placeholder(field))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The labels that a value's placeholders name.
#[must_use]
pub fn labels_named<T: Serialize>(value: &T, of: &BTreeMap<Label, Label>) -> BTreeMap<Label, Label> {
    let text = serde_json::to_string(value).unwrap_or_default();
    let named = of.iter().filter(|(key, _)| text.contains(&format!("{{label:{key}}}")));
    named.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn walk(json: &mut Value, variables: Variables<'_>) -> Result<(), String> {
    match json {
        Value::String(text) if text.contains('{') => *text = filled(text, variables)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| walk(item, variables))?,
        Value::Object(fields) => {
            let mut ours = fields.iter_mut().filter(|(key, _)| key.as_str() != PROMETHEUS);
            ours.try_for_each(|(_, field)| walk(field, variables))?;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn filled(text: &str, variables: Variables<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) =
            behind.split_once('}').ok_or_else(|| format!("`{text}` opens a brace and does not close it"))?;
        out.push_str(before);
        out.push_str(&value_of(name, variables)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(name: &str, variables: Variables<'_>) -> Result<String, String> {
    if name == "node" {
        return Ok(variables.node.to_string());
    }
    let key = name.strip_prefix("label:").and_then(|key| Label::parse(key).ok());
    let key =
        key.ok_or_else(|| format!("`{{{name}}}` is no placeholder; there are {{node}} and {{label:KEY}}"))?;
    let value = variables.labels.get(&key).map(ToString::to_string);
    value.ok_or_else(|| {
        let node = variables.node;
        format!("{node} has no label `{key}`; give it one: drydock node label {node} {key}=…")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn labels() -> BTreeMap<Label, Label> {
        BTreeMap::from([(Label::parse("port").unwrap(), Label::parse("8081").unwrap())])
    }

    #[test]
    fn a_query_for_prometheus_keeps_its_braces() {
        let (node, labels) = (NodeName::parse("web-1").unwrap(), labels());
        let value = serde_json::json!([{"prometheus": {"query": "up{job=\"x\"}"}}, "{node}"]);
        let filled = fill(&value, Variables { node: &node, labels: &labels }).unwrap();
        assert_eq!(filled, serde_json::json!([{"prometheus": {"query": "up{job=\"x\"}"}}, "web-1"]));
    }

    fn try_fill(text: &str) -> Result<String, String> {
        let (node, labels) = (NodeName::parse("web-1").unwrap(), labels());
        let filled = fill(&vec![text.to_string()], Variables { node: &node, labels: &labels })?;
        Ok(filled[0].clone())
    }

    #[test]
    fn names_and_labels_are_filled_in() {
        assert_eq!(try_fill("/srv/{node}/http:{label:port}/x"), Ok("/srv/web-1/http:8081/x".to_string()));
        assert_eq!(try_fill("plain"), Ok("plain".to_string()));
    }

    #[test]
    fn what_cannot_be_filled_in_is_an_error_and_says_the_cure() {
        assert!(try_fill("{label:zone}").unwrap_err().contains("drydock node label web-1 zone="));
        assert!(try_fill("{nod}").unwrap_err().contains("{node} and {label:KEY}"));
        assert!(try_fill("{node").unwrap_err().contains("does not close"));
    }
}
