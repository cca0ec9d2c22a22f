//! A file as a tree whose every part knows its place.

use super::diagnostic::Place;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Text, number, true, false or nothing: see [`Node::scalar`].
    Scalar { text: String, quoted: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping. Keys are unique.
    Mapping(Vec<Entry>),
}

/// `key: value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

/// What a scalar means in the core schema of YAML 1.2. (`yes`, `on` and `012` are not what they were in 1.1.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'a> {
    Nothing,
    Bool(bool),
    /// `None`: beyond 128 bits.
    Integer(Option<i128>),
    Float(f64),
    Text(&'a str),
}

impl Node {
    pub(crate) const fn empty_mapping(place: Place) -> Self {
        Self { place, kind: Kind::Mapping(Vec::new()) }
    }

    /// The value behind a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// A mapping's entries; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            Kind::Scalar { .. } | Kind::List(_) => &[],
        }
    }

    /// A list's items; none for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Scalar { .. } | Kind::Mapping(_) => &[],
        }
    }

    /// The place of what these keys lead to, or as far towards it as the file goes. `#3` is the fourth item.
    pub(crate) fn place_of(&self, path: &[At<'_>]) -> &Place {
        let mut node = self;
        for step in path {
            let next = match step {
                At::Key(key) => node.get(key),
                At::Item(index) => node.items().get(*index),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        &node.place
    }

    /// What a scalar means; `None` for a list or mapping.
    pub(crate) fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.kind {
            Kind::Scalar { text, quoted: true } => Some(Scalar::Text(text)),
            Kind::Scalar { text, quoted: false } => Some(core_schema(text)),
            Kind::List(_) | Kind::Mapping(_) => None,
        }
    }

    /// The value in a message: ``the text `x` ``, `the number 3.5`, `a list`.
    pub(crate) fn describe(&self) -> String {
        use super::diagnostic::quoted;
        match (self.scalar(), &self.kind) {
            (Some(Scalar::Nothing), _) => "nothing".to_owned(),
            (Some(Scalar::Bool(value)), _) => value.to_string(),
            (Some(Scalar::Text(text)), _) => format!("the text {}", quoted(text)),
            (Some(Scalar::Integer(_) | Scalar::Float(_)), Kind::Scalar { text, .. }) => {
                format!("the number {}", quoted(text).trim_matches('`'))
            }
            (_, Kind::List(_)) => "a list".to_owned(),
            (_, _) => "a mapping".to_owned(),
        }
    }
}

/// One step of a path through a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    Key(&'a str),
    Item(usize),
}

/// Section 10.3.2 of YAML 1.2.2.
fn core_schema(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Nothing,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    let digits = |text: &str, fine: fn(&char) -> bool| !text.is_empty() && text.chars().all(|c| fine(&c));
    if let Some(octal) = text.strip_prefix("0o").filter(|rest| digits(rest, |c| c.is_digit(8))) {
        return Scalar::Integer(i128::from_str_radix(octal, 8).ok());
    }
    if let Some(hex) = text.strip_prefix("0x").filter(|rest| digits(rest, char::is_ascii_hexdigit)) {
        return Scalar::Integer(i128::from_str_radix(hex, 16).ok());
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits(unsigned, char::is_ascii_digit) {
        return Scalar::Integer(text.parse().ok());
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Scalar::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    // What Rust reads beyond the schema (`inf`, `nan`) has letters other than one `e`.
    let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    match text.parse() {
        Ok(value) if number => Scalar::Float(value),
        _ => Scalar::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        for text in
            ["yes", "no", "on", "off", "1_000", "0b1", "1.2.3", "1e", "inf", "nan", "e3", ".", "-", "0x"]
        {
            assert_eq!(core_schema(text), Scalar::Text(text), "{text}");
        }
        assert_eq!(core_schema("012"), Scalar::Integer(Some(12)));
        assert_eq!(core_schema("0o14"), Scalar::Integer(Some(12)));
        assert_eq!(core_schema("0xC"), Scalar::Integer(Some(12)));
        assert_eq!(core_schema("-7"), Scalar::Integer(Some(-7)));
        assert_eq!(core_schema("1e3"), Scalar::Float(1000.0));
        assert_eq!(core_schema("3.5"), Scalar::Float(3.5));
        assert_eq!(core_schema(".5"), Scalar::Float(0.5));
        assert_eq!(core_schema("-.inf"), Scalar::Float(f64::NEG_INFINITY));
        assert_eq!(core_schema(&"9".repeat(50)), Scalar::Integer(None));
        assert_eq!(core_schema("~"), Scalar::Nothing);
    }
}
