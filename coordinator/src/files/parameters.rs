//! A recipe's parameters: declared beside its spec, given by the plan's `with`, filled in before the recipe
//! is read as one.
//!
//! | written in the spec | becomes |
//! |---|---|
//! | `${name}`, and nothing else | the whole value, list and mapping too; its place is where it was given |
//! | `…${name}…` | the text with the value in it; only texts and numbers can be |
//! | `${?name}`, and nothing else | the value, or nothing: its list item or key is dropped, and what that leaves empty |
//!
//! Values are not looked into for parameters again, and what comes out has the limits of a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    decode::decode,
    diagnostic::{Diagnostic, Diagnostics, Place, quoted},
    tree::{Entry, Kind, Node, Scalar},
    words, yaml,
};

/// A parameter as a recipe declares it.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) required: bool,
    pub(super) summary: String,
    pub(super) default: Option<Node>,
    place: Place,
}

/// What is left of a declaration when its default, which may be any value, is taken out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    #[serde(default)]
    required: bool,
    summary: String,
    #[serde(default, rename = "default")]
    _default: Option<serde::de::IgnoredAny>,
}

pub(super) type Parameters = BTreeMap<String, Parameter>;

/// Takes the declarations out of a recipe's tree.
pub(super) fn declared(recipe: &mut Node) -> Result<Parameters, Diagnostics> {
    let Kind::Mapping(entries) = &mut recipe.kind else { return Ok(Parameters::new()) };
    let Some(at) = entries.iter().position(|entry| entry.key == "parameters") else {
        return Ok(Parameters::new());
    };
    let declarations = entries.remove(at).value;
    let Kind::Mapping(declarations) = declarations.kind else {
        let found = Diagnostic::at(&declarations.place, "`parameters` takes a mapping of names");
        return Err(found.note("parameters: {unit: {default: etcd.service, summary: the service}}").into());
    };
    let mut found = Diagnostics::default();
    let mut parameters = Parameters::new();
    for Entry { key, key_place, value } in declarations {
        match declaration(&key, key_place, &value) {
            Ok(parameter) => {
                parameters.insert(key, parameter);
            }
            Err(errors) => found.extend(errors),
        }
    }
    if found.is_empty() { Ok(parameters) } else { Err(found) }
}

fn declaration(name: &str, place: Place, value: &Node) -> Result<Parameter, Diagnostics> {
    if !is_name(name) {
        let found = Diagnostic::at(&place, format!("{} is not a parameter's name", quoted(name)));
        return Err(found.note("a letter, then letters and digits, 64 at most").into());
    }
    let declared: Declared = decode(value)?;
    let default = value.get("default").cloned();
    if declared.required && default.is_some() {
        let message = format!("parameter `{name}` is required and has a default");
        return Err(Diagnostic::at(&place, message).help("leave one of the two out".to_owned()).into());
    }
    Ok(Parameter { required: declared.required, summary: declared.summary, default, place })
}

fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Each `${name}` in the spec is declared, each that may be missing is `${?name}`, each declared one is used.
pub(super) fn check_use(recipe: &Node, parameters: &Parameters) -> Result<(), Diagnostics> {
    let mut found = Diagnostics::default();
    let mut used = BTreeSet::new();
    if let Some(spec) = recipe.get("spec") {
        check_node(spec, parameters, &mut used, &mut found);
    }
    for (name, parameter) in parameters.iter().filter(|(name, _)| !used.contains(*name)) {
        found.push(|| {
            Diagnostic::at(&parameter.place, format!("parameter `{name}` is declared and not used"))
                .note(format!("the spec takes it as ${{{name}}}"))
        });
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// As deep as the tree, which has a limit.
fn check_node(node: &Node, parameters: &Parameters, used: &mut BTreeSet<String>, found: &mut Diagnostics) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| check_node(item, parameters, used, found)),
        Kind::Mapping(entries) => {
            entries.iter().for_each(|entry| check_node(&entry.value, parameters, used, found));
        }
        Kind::Scalar { text, .. } => match pieces(text) {
            Err(why) => found.push(|| Diagnostic::at(&node.place, why)),
            Ok(pieces) => {
                let alone = pieces.len() == 1;
                for piece in pieces {
                    if let Piece::Value { name, optional } = piece {
                        used.insert(name.to_owned());
                        if let Some(problem) = misuse(name, optional, alone, parameters) {
                            found.push(|| problem(&node.place));
                        }
                    }
                }
            }
        },
    }
}

type Problem<'a> = Box<dyn FnOnce(&Place) -> Diagnostic + 'a>;

fn misuse<'a>(name: &'a str, optional: bool, alone: bool, parameters: &'a Parameters) -> Option<Problem<'a>> {
    let Some(parameter) = parameters.get(name) else {
        return Some(Box::new(move |place| {
            Diagnostic::at(place, format!("parameter {} is not declared", quoted(name)))
                .help(words::suggestion(name, parameters.keys().map(String::as_str)))
                .note("parameters are declared beside the recipe's spec, under `parameters:`")
        }));
    };
    let may_be_missing = !parameter.required && parameter.default.is_none();
    if optional && !alone {
        return Some(Box::new(move |place| {
            Diagnostic::at(place, format!("${{?{name}}} stands within a text, where nothing can be dropped"))
        }));
    }
    if may_be_missing && !optional {
        return Some(Box::new(move |place| {
            Diagnostic::at(place, format!("parameter `{name}` may be missing here"))
                .help(format!("write ${{?{name}}}, or give it a default"))
        }));
    }
    None
}

/// What the plan gives, by name, and where it stands.
pub(super) struct Given<'a> {
    /// The entries under `with`.
    pub(super) with: &'a [Entry],
    /// Where to show what is missing.
    pub(super) place: &'a Place,
    /// The recipe's name in the plan.
    pub(super) recipe: &'a str,
}

/// The recipe with every parameter filled in.
pub(super) fn fill(recipe: &Node, parameters: &Parameters, given: &Given<'_>) -> Result<Node, Diagnostics> {
    let values = values(parameters, given)?;
    let mut filling = Filling { values, nodes: 0, bytes: 0 };
    let Kind::Mapping(entries) = &recipe.kind else { return Ok(recipe.clone()) };
    let mut filled = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut entry = entry.clone();
        if entry.key == "spec" {
            let place = entry.value.place.clone();
            entry.value = filling.node(&entry.value)?.unwrap_or_else(|| Node::empty_mapping(place));
        }
        filled.push(entry);
    }
    Ok(Node { place: recipe.place.clone(), kind: Kind::Mapping(filled) })
}

/// Each parameter's value: the plan's, or its default.
fn values<'a>(
    parameters: &'a Parameters,
    given: &Given<'a>,
) -> Result<BTreeMap<&'a str, &'a Node>, Diagnostics> {
    let mut found = Diagnostics::default();
    let mut values: BTreeMap<&str, &Node> = BTreeMap::new();
    for (name, parameter) in parameters {
        values.extend(parameter.default.as_ref().map(|default| (name.as_str(), default)));
    }
    for Entry { key, key_place, value } in given.with {
        if parameters.contains_key(key) {
            values.insert(key, value);
        } else {
            found.push(|| unknown(key, key_place, parameters, given.recipe));
        }
    }
    let missing: Vec<_> =
        parameters.iter().filter(|(name, p)| p.required && !values.contains_key(name.as_str())).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("recipe {} needs {}", quoted(given.recipe), names.join(", "));
        let first = Diagnostic::at(given.place, message).help("give it under `with:`".to_owned());
        let full = missing.iter().fold(first, |d, (name, p)| d.note(format!("{name}: {}", p.summary)));
        found.push(|| full);
    }
    if found.is_empty() { Ok(values) } else { Err(found) }
}

fn unknown(key: &str, place: &Place, parameters: &Parameters, recipe: &str) -> Diagnostic {
    let names: Vec<_> = parameters.keys().map(String::as_str).collect();
    let takes = if names.is_empty() { "no parameters".to_owned() } else { names.join(", ") };
    Diagnostic::at(place, format!("unknown parameter {} of recipe {}", quoted(key), quoted(recipe)))
        .help(words::suggestion(key, names.iter().copied()))
        .note(format!("{} takes: {takes}", quoted(recipe)))
}

struct Filling<'a> {
    values: BTreeMap<&'a str, &'a Node>,
    nodes: usize,
    bytes: usize,
}

impl Filling<'_> {
    /// `None`: dropped. As deep as the tree, which has a limit.
    fn node(&mut self, node: &Node) -> Result<Option<Node>, Diagnostics> {
        let place = node.place.clone();
        let kind = match &node.kind {
            Kind::Scalar { text, quoted } => return self.scalar(node, text, *quoted),
            Kind::List(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for item in items {
                    filled.extend(self.node(item)?);
                }
                if filled.is_empty() && !items.is_empty() {
                    return Ok(None);
                }
                Kind::List(filled)
            }
            Kind::Mapping(entries) => {
                let mut filled = Vec::with_capacity(entries.len());
                for entry in entries {
                    let value = self.node(&entry.value)?;
                    filled.extend(value.map(|value| Entry { value, ..entry_head(entry) }));
                }
                if filled.is_empty() && !entries.is_empty() {
                    return Ok(None);
                }
                Kind::Mapping(filled)
            }
        };
        self.count(1, 0, &place)?;
        Ok(Some(Node { place, kind }))
    }

    fn scalar(&mut self, node: &Node, text: &str, quoted_style: bool) -> Result<Option<Node>, Diagnostics> {
        let pieces = pieces(text).map_err(|why| Diagnostic::at(&node.place, why))?;
        if let [Piece::Value { name, .. }] = pieces[..] {
            let Some(value) = self.values.get(name).copied() else { return Ok(None) };
            let (nodes, bytes) = size(value);
            self.count(nodes, bytes, &node.place)?;
            return Ok(Some(value.clone()));
        }
        let mut place = node.place.clone();
        let mut filled = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Value { name, .. } => {
                    let Some(value) = self.values.get(name).copied() else { continue };
                    let text = within_text(name, value, &node.place)?;
                    self.count(0, text.len(), &node.place)?;
                    filled.push_str(text);
                    // What a plan gave is the likelier fault.
                    if !Arc::ptr_eq(&value.place.source, &node.place.source) {
                        place = value.place.clone();
                    }
                }
            }
        }
        self.count(1, 0, &place)?;
        Ok(Some(Node { place, kind: Kind::Scalar { text: filled, quoted: quoted_style } }))
    }

    fn count(&mut self, nodes: usize, bytes: usize, place: &Place) -> Result<(), Diagnostics> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > yaml::MAX_NODES || self.bytes > yaml::MAX_BYTES {
            let message = "the recipe outgrows the limits of a file when its parameters are filled in";
            return Err(Diagnostic::at(place, message).into());
        }
        Ok(())
    }
}

fn entry_head(entry: &Entry) -> Entry {
    let key_place = entry.key_place.clone();
    let value = Node::empty_mapping(key_place.clone());
    Entry { key: entry.key.clone(), key_place, value }
}

fn within_text<'a>(name: &str, value: &'a Node, used: &Place) -> Result<&'a str, Diagnostics> {
    match (&value.kind, value.scalar()) {
        (Kind::Scalar { text, .. }, Some(scalar)) if scalar != Scalar::Nothing => Ok(text),
        _ => {
            let message =
                format!("parameter `{name}` stands within a text, and this is {}", value.describe());
            Err(Diagnostic::at(&value.place, message).note(format!("the text stands at {used}")).into())
        }
    }
}

/// How many nodes and bytes of text a value has.
fn size(node: &Node) -> (usize, usize) {
    let add = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
    match &node.kind {
        Kind::Scalar { text, .. } => (1, text.len()),
        Kind::List(items) => items.iter().map(size).fold((1, 0), add),
        Kind::Mapping(entries) => {
            entries.iter().map(|e| add((1, e.key.len()), size(&e.value))).fold((1, 0), add)
        }
    }
}

/// Part of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Value { name: &'a str, optional: bool },
}

/// A scalar's parts.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("${") {
        let (before, value) = rest.split_at(begin);
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let end = value.find('}').ok_or_else(|| "`${` has no `}`".to_owned())?;
        let inner = &value[2..end];
        let (name, optional) = inner.strip_prefix('?').map_or((inner, false), |name| (name, true));
        if !is_name(name) {
            return Err(format!("{} is not a parameter", quoted(&value[..=end])));
        }
        pieces.push(Piece::Value { name, optional });
        rest = &value[end + 1..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_falls_into_its_pieces() {
        let value = |name| Piece::Value { name, optional: false };
        assert_eq!(pieces("${unit}"), Ok(vec![value("unit")]));
        assert_eq!(
            pieces("a${b}c${d}"),
            Ok(vec![Piece::Text("a"), value("b"), Piece::Text("c"), value("d")])
        );
        assert_eq!(pieces(""), Ok(vec![Piece::Text("")]));
        assert_eq!(pieces("$5 {x}"), Ok(vec![Piece::Text("$5 {x}")]));
        assert_eq!(pieces("${?x}"), Ok(vec![Piece::Value { name: "x", optional: true }]));
        for bad in ["${", "${}", "${a b}", "${a", "x${?}", "${${a}}"] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }
}
