//! What is said about a file: what is wrong, in which line, what it may have meant.
//!
//! Everything shown here may come from a hostile file: lines are cut to a window, control characters are
//! replaced, and of many findings the first [`Diagnostics::MOST`] are kept and the rest counted.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

/// A file as it was read: its name for people, and its text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// The line of this number, from 1. YAML breaks lines at `\n`, `\r\n` and `\r`.
    pub(crate) fn line(&self, number: u32) -> &str {
        let mut rest = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        for _ in 1..number {
            let Some(end) = rest.find(['\n', '\r']) else { return "" };
            let skip = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            rest = &rest[end + skip..];
        }
        rest.split(['\n', '\r']).next().unwrap_or_default()
    }
}

/// Where something stands in a file. Lines and columns from 1, in characters.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", plain(&self.source.name), self.line, self.column)
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    file: String,
    place: Option<Place>,
    message: String,
    help: Option<String>,
    notes: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn at(place: &Place, message: impl Into<String>) -> Self {
        Self {
            file: place.source.name.clone(),
            place: Some(place.clone()),
            message: message.into(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// About a file as a whole.
    pub(crate) fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: file.into(), place: None, message: message.into(), help: None, notes: Vec::new() }
    }

    /// Stands beside the caret: what to write instead.
    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// Stands below: what is known here.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1; `None` when it is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.place.as_ref().map(|place| place.line)
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> Option<u32> {
        self.place.as_ref().map(|place| place.column)
    }

    /// What is wrong, without place or help.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead, where it is known.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// What is known here: the keys of the mapping, the other place of a duplicate.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut margin = 1;
        match &self.place {
            None => {
                write!(out, "error: {}: {}", plain(&self.file), plain(&self.message))?;
                if let Some(help) = &self.help {
                    write!(out, "\n  = {}", plain(help))?;
                }
            }
            Some(place) => {
                margin = place.line.to_string().len();
                writeln!(out, "error: {place}: {}", plain(&self.message))?;
                writeln!(out, "{:margin$} |", "")?;
                let (text, before, length) = window(place);
                writeln!(out, "{}", format!("{} | {text}", place.line).trim_end())?;
                write!(out, "{:margin$} | {:before$}{}", "", "", "^".repeat(length))?;
                if let Some(help) = &self.help {
                    write!(out, " {}", plain(help))?;
                }
            }
        }
        self.notes.iter().try_for_each(|note| write!(out, "\n{:margin$} = {}", "", plain(note)))
    }
}

/// As much of a line as fits a screen: the text, how far in the place begins, how long it is there.
fn window(place: &Place) -> (String, usize, usize) {
    const WIDTH: usize = 110;
    let column = place.column.saturating_sub(1) as usize;
    let line = place.source.line(place.line);
    let start = if column + 40 > WIDTH { column - 40 } else { 0 };
    let mut rest = line.chars().skip(start);
    let mut text: String = rest.by_ref().take(WIDTH).map(visible).collect();
    let shown = text.chars().count();
    let mut before = column - start;
    if start > 0 {
        text.insert_str(0, "… ");
        before += 2;
    }
    if rest.next().is_some() {
        text.truncate(text.trim_end().len());
        text.push_str(" …");
    }
    let most = (shown + start).saturating_sub(column).max(1);
    (text, before, (place.length as usize).clamp(1, most))
}

/// What a terminal shows as one cell and does not obey.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn plain(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The text of a file in a message: short, in backquotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("`");
    let mut chars = text.chars();
    out.extend(chars.by_ref().take(60).map(visible));
    out.push_str(if chars.next().is_some() { "…`" } else { "`" });
    out
}

/// Everything that is wrong with a file: at least one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    more: usize,
}

impl Diagnostics {
    /// So many are kept; the rest is counted.
    pub const MOST: usize = 20;

    /// In the order of the file, as far as it was understood.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many were found beyond those that are kept.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The words of a finding are only sought while there is room for it: a hostile file has many.
    pub(crate) fn push(&mut self, finding: impl FnOnce() -> Diagnostic) {
        if self.list.len() < Self::MOST {
            self.list.push(finding());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn extend(&mut self, others: Self) {
        let room = Self::MOST - self.list.len().min(Self::MOST);
        self.more += others.more + others.list.len().saturating_sub(room);
        self.list.extend(others.list.into_iter().take(room));
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self { list: vec![one], more: 0 }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (i, one) in self.list.iter().enumerate() {
            let gap = if i == 0 { "" } else { "\n\n" };
            write!(text, "{gap}{one}")?;
        }
        if self.more > 0 {
            write!(text, "\n\nand {} more", self.more)?;
        }
        out.write_str(&text)
    }
}

impl std::error::Error for Diagnostics {}
