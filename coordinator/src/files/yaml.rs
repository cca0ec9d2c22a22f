//! From bytes to a tree, within limits.
//!
//! The limits come before anything else looks at the file: its size, how deep it nests, how many nodes it
//! has. What this format does not need is refused outright: anchors and aliases (so that an alias bomb costs
//! nothing), tags, further documents, keys that are not plain text, keys written twice, control characters
//! (the scanner would take a NUL for the file's end). The parser below us is a state machine driven event
//! by event; neither it nor this module recurses while reading.

use std::{collections::BTreeMap, fs, io::Read as _, path::Path, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::{
    diagnostic::{Diagnostic, Place, Source, quoted},
    tree::{Entry, Kind, Node},
};

/// The largest file that is read.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// How deep lists and mappings may nest.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many scalars, lists and mappings a file may have, keys included.
pub(crate) const MAX_NODES: usize = 100_000;

/// Reads a file that is small enough and is text.
pub(crate) fn read(path: &Path) -> Result<Arc<Source>, Diagnostic> {
    let name = path.display().to_string();
    let bad = |message: String| Diagnostic::of_file(&name, message);
    let unreadable = |error: std::io::Error| bad(format!("cannot be read: {error}"));
    // Opening a pipe waits for a writer, so the kind is looked at first.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(bad("is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
    text(&name, bytes)
}

/// Bytes that are to be a plan or recipe.
pub(crate) fn text(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Diagnostic> {
    if bytes.len() > MAX_BYTES {
        return Err(Diagnostic::of_file(name, "is larger than 1 MiB: no plan or recipe is"));
    }
    let source = match String::from_utf8(bytes) {
        Ok(text) => Source::new(name, text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let good = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let source = Source::new(name, good);
            let place = end_of(&source);
            return Err(Diagnostic::at(
                &place,
                format!("is not text: byte 0x{:02x} is not UTF-8", bytes[at]),
            ));
        }
    };
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}'))
            || ('\u{fffe}'..='\u{ffff}').contains(&c)
    };
    if let Some(at) = source.text.find(odd) {
        let c = source.text[at..].chars().next().unwrap_or_default();
        let place = Place { source: source.clone(), ..end_of(&Source::new(name, &source.text[..at])) };
        return Err(Diagnostic::at(
            &place,
            format!("is not text: it holds the control character U+{:04X}", u32::from(c)),
        ));
    }
    Ok(source)
}

/// The place behind the last character.
fn end_of(source: &Arc<Source>) -> Place {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let last = text.rsplit('\n').next().unwrap_or_default();
    let line = text.matches('\n').count() + 1;
    Place { source: source.clone(), line: small(line), column: small(last.chars().count() + 1), length: 1 }
}

/// Lines and columns fit: the file has 1 MiB at most.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The file's one document.
pub(crate) fn parse(source: &Arc<Source>) -> Result<Node, Diagnostic> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let mut builder =
        Builder { source: source.clone(), open: Vec::new(), root: None, nodes: 0, documents: 0 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => return Err(builder.unreadable(&error)),
        }
    }
    builder.root.ok_or_else(|| Diagnostic::of_file(&source.name, "is empty"))
}

/// A list or mapping whose end has not come yet.
enum Open {
    List(Place, Vec<Node>),
    Mapping { place: Place, entries: Vec<Entry>, seen: BTreeMap<String, usize>, key: Option<(String, Place)> },
}

struct Builder {
    source: Arc<Source>,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder {
    fn place(&self, span: Span) -> Place {
        let (start, end) = (span.start, span.end);
        let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
        Place {
            source: self.source.clone(),
            line: small(start.line()),
            column: small(start.col() + 1),
            length: small(length.max(1)),
        }
    }

    fn unreadable(&self, error: &ScanError) -> Diagnostic {
        let mark = *error.marker();
        let place = self.place(Span::new(mark, mark));
        match error.info() {
            "while parsing node, found unknown anchor" => return alias(&place),
            "recursion limit exceeded" => return too_deep(&place),
            why if why.contains("tab") => {
                if let Some(tab) = self.first_tab() {
                    return Diagnostic::at(&tab, "is not YAML: a line is indented with a tab")
                        .help("indent with spaces".to_owned());
                }
            }
            _ => {}
        }
        let found = Diagnostic::at(&place, format!("is not YAML: {}", error.info()));
        match self.open.last() {
            Some(Open::List(at, _) | Open::Mapping { place: at, .. }) if error.info().contains("flow") => {
                braces(found, at).note(format!("what is not closed begins at {at}"))
            }
            _ => braces(found, &place),
        }
    }

    /// The scanner tells where the text before the tab began, which helps nobody.
    fn first_tab(&self) -> Option<Place> {
        for (line, text) in (1..).zip(self.source.text.lines()) {
            let indent: Vec<char> = text.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
            if let Some(column) = indent.iter().position(|c| *c == '\t') {
                return Some(Place {
                    source: self.source.clone(),
                    line,
                    column: small(column + 1),
                    length: 1,
                });
            }
        }
        None
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let place = self.place(span);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let found = Diagnostic::at(&place, "a second document begins here");
                    return Err(found
                        .note("a file holds one plan or one recipe; `---` may stand before it, not after"));
                }
                Ok(())
            }
            Event::Alias(_) => Err(alias(&place)),
            Event::Scalar(text, style, anchor, tag) => {
                self.admit(&place, anchor, tag.is_some())?;
                self.scalar(text.into_owned(), style, place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.admit(&place, anchor, tag.is_some())?;
                self.begin(Open::List(Place { length: 1, ..place.clone() }, Vec::new()), &place)
            }
            Event::MappingStart(anchor, tag) => {
                self.admit(&place, anchor, tag.is_some())?;
                let own = Place { length: 1, ..place.clone() };
                let open =
                    Open::Mapping { place: own, entries: Vec::new(), seen: BTreeMap::new(), key: None };
                self.begin(open, &place)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close();
                Ok(())
            }
        }
    }

    /// What is refused of any node, and the count.
    fn admit(&mut self, place: &Place, anchor: usize, tagged: bool) -> Result<(), Diagnostic> {
        if anchor > 0 {
            return Err(alias(place));
        }
        if tagged {
            let found = Diagnostic::at(place, "tags are not taken here");
            return Err(found.note(
                "write the value without its `!tag`; a text that looks like a number is put in quotes",
            ));
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::at(
                place,
                format!("has more than {MAX_NODES} values: no plan or recipe does"),
            ));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, place: &Place) -> Result<(), Diagnostic> {
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep(place));
        }
        if let Some(Open::Mapping { key: None, .. }) = self.open.last() {
            let found = Diagnostic::at(place, "a key is a plain text, not a list or mapping");
            return Err(braces(found, place));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, mut place: Place) -> Result<(), Diagnostic> {
        let quoted_style = style != ScalarStyle::Plain;
        if !quoted_style {
            place.length = small(text.chars().count().max(1));
        }
        let Some(Open::Mapping { key: slot @ None, entries, seen, .. }) = self.open.last_mut() else {
            // A value left out stands nowhere: its key is the place to look at.
            if let (true, false, Some(Open::Mapping { key: Some((_, at)), .. })) =
                (text.is_empty(), quoted_style, self.open.last())
            {
                place = at.clone();
            }
            self.attach(Node { place, kind: Kind::Scalar { text, quoted: quoted_style } });
            return Ok(());
        };
        if text.is_empty() {
            return Err(Diagnostic::at(&place, "a key is missing before the `:`"));
        }
        if let Some(first) = seen.get(&text) {
            let first = &entries[*first].key_place;
            return Err(Diagnostic::at(&place, format!("the key {} stands here twice", quoted(&text)))
                .note(format!("first at {first}")));
        }
        seen.insert(text.clone(), entries.len());
        *slot = Some((text, place));
        Ok(())
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::List(place, items)) => self.attach(Node { place, kind: Kind::List(items) }),
            Some(Open::Mapping { mut place, entries, .. }) => {
                // A mapping without braces begins where its first key does: mark the whole key.
                if let Some(first) = entries.first().map(|entry| &entry.key_place)
                    && (first.line, first.column) == (place.line, place.column)
                {
                    place.length = first.length;
                }
                self.attach(Node { place, kind: Kind::Mapping(entries) })
            }
            None => {}
        }
    }

    fn attach(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => {
                if let Some((key, key_place)) = key.take() {
                    entries.push(Entry { key, key_place, value: node });
                }
            }
        }
    }
}

/// `{unit: ${unit}}` is the likeliest way to get there in a recipe.
fn braces(found: Diagnostic, place: &Place) -> Diagnostic {
    if place.source.line(place.line).contains("${") {
        return found.note("${name} stands in quotes within [ ] and { }");
    }
    found
}

fn alias(place: &Place) -> Diagnostic {
    Diagnostic::at(place, "anchors (&) and aliases (*) are not taken here")
        .note("write the value out; a text that begins with & or * is put in quotes")
}

fn too_deep(place: &Place) -> Diagnostic {
    Diagnostic::at(place, format!("nests deeper than {MAX_DEPTH} levels: no plan or recipe does"))
}
