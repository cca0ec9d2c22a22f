//! A serde deserializer over the tree, whose errors carry a place.
//!
//! An error takes the place of the innermost part that it passes on its way out. Unknown keys do not end
//! the reading: they are noted and passed over, so that a file with three slips says three.

mod access;
mod error;

use std::cell::RefCell;

use serde::{
    Deserialize,
    de::{self, Visitor},
    forward_to_deserialize_any,
};

use self::{
    access::{Entries, Items, Variant},
    error::Error,
};
use super::{
    diagnostic::{Diagnostic, Diagnostics, Place, quoted},
    tree::{Entry, Kind, Node, Scalar},
    words::{self, Meaning},
};

/// Reads a tree as a value of this type.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(node: &Node) -> Result<T, Diagnostics> {
    let found = RefCell::new(Diagnostics::default());
    let read = T::deserialize(Reader { node, found: &found, at: Slot::default() });
    let mut found = found.into_inner();
    match read {
        Ok(value) if found.is_empty() => return Ok(value),
        Ok(_) | Err(Error::Said) => {}
        Err(error) => found.push(|| error.at(&node.place).into_diagnostic(&node.place)),
    }
    Err(found)
}

/// How the reader came to where it is.
#[derive(Debug, Clone, Copy, Default)]
struct Slot<'a> {
    /// The struct around it, by its Rust name.
    owner: &'a str,
    /// The key that leads here.
    key: Option<&'a str>,
    /// The name of the enum's value whose content this is.
    variant: Option<&'a str>,
}

struct Reader<'a> {
    node: &'a Node,
    found: &'a RefCell<Diagnostics>,
    at: Slot<'a>,
}

impl<'a> Reader<'a> {
    /// ```text
    /// `soak` takes a duration, and this is a list
    /// ```
    fn wrong(&self, wanted: &str) -> Error {
        let place = &self.node.place;
        let subject = match (self.at.key, self.at.variant) {
            (Some(name), _) | (None, Some(name)) => quoted(name),
            (None, None) => "this place".to_owned(),
        };
        let is = self.node.describe();
        if is == "nothing" {
            return Error::place(place, format!("{subject} takes {wanted}, and nothing is given"));
        }
        Error::place(place, format!("{subject} takes {wanted}, and this is {is}"))
    }

    fn entries(&self, wanted: &str) -> Result<&'a [Entry], Error> {
        match &self.node.kind {
            Kind::Mapping(entries) => Ok(entries),
            Kind::Scalar { .. } | Kind::List(_) => Err(self.wrong(wanted)),
        }
    }

    /// What a struct is called here.
    fn word(&self, name: &str) -> String {
        self.at.variant.map_or_else(|| words::of_struct(name), quoted)
    }

    fn structure<'de, V: Visitor<'de>>(
        self,
        name: &'a str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let word = self.word(name);
        let names = matches!(&self.node.kind, Kind::List(_)) && name == "Selector";
        let help = names.then(|| "write {names: […]} or {labels: {…}}".to_owned());
        let entries = self.entries(&format!("a mapping of {}", list(fields))).map_err(|e| e.help(help))?;
        let mut known = Vec::with_capacity(entries.len().min(fields.len()));
        let mut meant = Vec::new();
        for entry in entries {
            if fields.contains(&entry.key.as_str()) {
                known.push(entry);
                continue;
            }
            meant.extend(words::nearest(&entry.key, fields.iter().copied()));
            self.found.borrow_mut().push(|| unknown_key(entry, &word, fields));
        }
        let slot = Slot { owner: name, ..Slot::default() };
        visitor.visit_map(Entries::new(known, self.found, slot)).map_err(|error| match error {
            // The key is there, misspelt, and that has been said.
            Error::Missing(field) if meant.contains(&field) => Error::Said,
            Error::Missing(field) => {
                let message = format!("missing key `{field}` in {word}");
                Error::place(&self.node.place, message).note(has(&word, fields))
            }
            error => error.at(&self.node.place),
        })
    }

    fn integer(&self, low: i128, high: i128) -> Result<i128, Error> {
        match self.node.scalar() {
            Some(Scalar::Integer(Some(value))) if (low..=high).contains(&value) => Ok(value),
            _ => Err(self.wrong(&format!("a whole number from {low} to {high}"))),
        }
    }

    fn text(&self) -> Result<&'a str, Error> {
        let Kind::Scalar { text, .. } = &self.node.kind else { return Err(self.wrong("a text")) };
        let meaning = words::meaning(self.at.owner, self.at.key.unwrap_or_default());
        let help = match (self.node.scalar(), &meaning) {
            (Some(Scalar::Text(text)), _) => return Ok(text),
            (None | Some(Scalar::Nothing), _) => None,
            (Some(Scalar::Integer(_)), Meaning::Duration) => {
                Some(format!("durations have a unit: write {text}s, {text}m or {text}h"))
            }
            (_, Meaning::Version) => Some(format!("versions are strings: write \"{text}\"")),
            (_, _) => Some(format!("write \"{text}\"")),
        };
        let wanted = match meaning {
            Meaning::Version => "a version",
            Meaning::Duration => "a duration",
            Meaning::Text => "a text",
        };
        Err(self.wrong(wanted).help(help))
    }
}

fn unknown_key(entry: &Entry, word: &str, fields: &[&'static str]) -> Diagnostic {
    Diagnostic::at(&entry.key_place, format!("unknown key {} in {word}", quoted(&entry.key)))
        .help(words::suggestion(&entry.key, fields.iter().copied()))
        .note(has(word, fields))
}

fn has(word: &str, fields: &[&str]) -> String {
    if fields.is_empty() {
        format!("{word} has no keys")
    } else {
        format!("{word} has: {}", fields.join(", "))
    }
}

fn list(fields: &[&str]) -> String {
    if fields.is_empty() { "nothing".to_owned() } else { fields.join(", ") }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.integer(i128::from(<$type>::MIN), i128::from(<$type>::MAX))?;
            let value = <$type>::try_from(value).map_err(|_| self.wrong("a whole number"))?;
            visitor.$visit(value).map_err(|error: Error| error.at(&self.node.place))
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let place = &self.node.place;
        let value = match (&self.node.kind, self.node.scalar()) {
            (Kind::List(_), _) => return self.deserialize_seq(visitor),
            (Kind::Mapping(_), _) | (_, None) => return self.deserialize_map(visitor),
            (_, Some(Scalar::Nothing)) => visitor.visit_unit(),
            (_, Some(Scalar::Bool(value))) => visitor.visit_bool(value),
            (_, Some(Scalar::Text(text))) => visitor.visit_str(text),
            (_, Some(Scalar::Float(value))) if value.is_finite() => visitor.visit_f64(value),
            (_, Some(Scalar::Float(_) | Scalar::Integer(None))) => Err(self.wrong("a number of 64 bits")),
            (_, Some(Scalar::Integer(Some(value)))) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(self.wrong("a number of 64 bits")),
            },
        };
        value.map_err(|error: Error| error.at(place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.scalar() {
            Some(Scalar::Bool(value)) => visitor.visit_bool(value),
            _ => Err(self.wrong("true or false")),
        }
    }

    integers!(deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64);

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.scalar() {
            Some(Scalar::Float(_) | Scalar::Integer(_)) => self.deserialize_any(visitor),
            _ => Err(self.wrong("a number")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?).map_err(|error: Error| error.at(&self.node.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.scalar() {
            Some(Scalar::Nothing) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Kind::List(items) = &self.node.kind else {
            let help =
                matches!(self.node.kind, Kind::Mapping(_)).then(|| "each item begins with `- `".to_owned());
            return Err(self.wrong("a list").help(help));
        };
        visitor.visit_seq(Items::new(items, self.found, self.at)).map_err(|error| error.at(&self.node.place))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.entries("a mapping")?.iter().collect();
        let slot = Slot { owner: self.at.key.unwrap_or_default(), ..Slot::default() };
        visitor.visit_map(Entries::new(entries, self.found, slot)).map_err(|error| error.at(&self.node.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.structure(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (one, many) = words::of_enum(name);
        let (variant, place, content) = match (&self.node.kind, self.node.entries()) {
            (Kind::Mapping(_), [only]) => (&only.key, &only.key_place, Some(&only.value)),
            (Kind::Mapping(_), [_, second, ..]) => {
                let message = format!("{} belongs to no {one}", quoted(&second.key));
                let found = Error::place(&second.key_place, message);
                return Err(found.note(format!("one {one} is one key; its own keys are indented below it")));
            }
            (Kind::Scalar { .. }, _) => match self.node.scalar() {
                Some(Scalar::Text(_)) => (self.plain_name(), &self.node.place, None),
                _ => {
                    return Err(self
                        .wrong(&format!("a {one}"))
                        .note(format!("{many}: {}", variants.join(", "))));
                }
            },
            _ => {
                return Err(self.wrong(&format!("a {one}")).note(format!("{many}: {}", variants.join(", "))));
            }
        };
        if !variants.contains(&variant.as_str()) {
            let found = Error::place(place, format!("unknown {one} {}", quoted(variant)));
            let found = found.help(words::suggestion(variant, variants.iter().copied()));
            return Err(found.note(format!("{many}: {}", variants.join(", "))));
        }
        visitor
            .visit_enum(Variant { name: variant, place, content, found: self.found })
            .map_err(|error| error.at(place))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct identifier i128 u128
    }
}

impl<'a> Reader<'a> {
    fn plain_name(&self) -> &'a String {
        static NONE: String = String::new();
        match &self.node.kind {
            Kind::Scalar { text, .. } => text,
            Kind::List(_) | Kind::Mapping(_) => &NONE,
        }
    }
}

/// Where an error that knows no better place is shown.
fn or_here(place: Option<Place>, here: &Place) -> Place {
    place.unwrap_or_else(|| here.clone())
}
