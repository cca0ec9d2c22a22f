//! What `virsh` says, read strictly. Whoever names a guest chooses much of these texts.

use crate::sys::units::printable_line;

/// The most characters of a guest's name that are kept: what is longer is cut.
const MAX_NAME_CHARS: usize = 64;

/// What the daemon says of itself and the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overview {
    /// Its version, in its own words.
    pub(super) version: Result<String, String>,
    /// UUID and name of each active guest.
    pub(super) active: Result<Vec<(String, String)>, String>,
    /// Pools, and whether each is active.
    pub(super) pools: Result<Vec<(String, bool)>, String>,
    /// Networks, and whether each is active.
    pub(super) networks: Result<Vec<(String, bool)>, String>,
}

/// What the daemon says of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its state; `None` when there is no such guest any more.
    pub(super) state: Option<Result<String, String>>,
    /// A job on it.
    pub(super) job: Result<Option<String>, String>,
    /// Whether its monitor is free.
    pub(super) monitor: Result<(), String>,
}

/// The parts of one answer, by the marks before them; and what went wrong in each.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    out: Vec<(&'a str, Vec<&'a str>)>,
    errors: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> Parts<'a> {
    /// Cut at the marks, each a line of its own on both of virsh's outputs: `MARK` and `error: MARK`. All of them, in
    /// this order, or the answer is not whole.
    ///
    /// # Errors
    /// When one is missing, or a line stands before the first.
    pub(super) fn cut(out: &'a str, errors: &'a str, marks: &'a [String]) -> Result<Self, String> {
        Ok(Self { out: cut(out, "", marks, errors)?, errors: cut(errors, "error: ", marks, errors)? })
    }

    /// The lines of a part, or what virsh said instead.
    pub(super) fn at(&self, mark: usize) -> Result<&[&'a str], String> {
        let (name, errors) = self.errors.get(mark).ok_or("a part of virsh's answer is missing")?;
        if !errors.is_empty() {
            return Err(told(errors));
        }
        match self.out.get(mark) {
            Some((again, lines)) if again == name => Ok(lines),
            _ => Err(format!("virsh's answer to {name} is missing")),
        }
    }

    /// The one line of a part.
    pub(super) fn line(&self, mark: usize) -> Result<&'a str, String> {
        match self.at(mark)? {
            [line] => Ok(line),
            lines => Err(format!("virsh answered {} lines where one was expected", lines.len())),
        }
    }
}

/// What virsh said on its standard error, in one line.
pub(super) fn told(errors: &[&str]) -> String {
    let errors: Vec<_> = errors.iter().map(|line| line.strip_prefix("error: ").unwrap_or(line)).collect();
    printable_line(&errors.join("; "))
}

fn cut<'a>(
    text: &'a str,
    prefix: &str,
    marks: &'a [String],
    errors: &str,
) -> Result<Vec<(&'a str, Vec<&'a str>)>, String> {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::with_capacity(marks.len());
    let mut next = marks.iter().peekable();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mark = line.strip_prefix(prefix);
        if let Some(name) = next.next_if(|name| mark == Some(name.as_str())) {
            parts.push((name, Vec::new()));
        } else if let Some((_, lines)) = parts.last_mut() {
            lines.push(line);
        } else if let Some(first) = marks.first() {
            return Err(format!("virsh said before {first}: {}", printable_line(line)));
        }
    }
    match next.next() {
        None => Ok(parts),
        Some(missing) => {
            let said: Vec<_> = errors.lines().filter(|line| !line.trim().is_empty()).collect();
            let last = said.iter().rev().find(|line| !marks.iter().any(|mark| line.ends_with(mark.as_str())));
            let last = last.map_or_else(String::new, |line| format!(": {}", told(&[line])));
            Err(format!("virsh's answer ends before {missing}{last}"))
        }
    }
}

/// `Running against daemon: 9.0.0`.
pub(super) fn version(lines: &[&str]) -> Result<String, String> {
    let said = lines.iter().find_map(|line| line.strip_prefix("Running against daemon: "));
    let said = said.map(str::trim).filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
    said.map(printable_line).ok_or_else(|| "virsh does not say which daemon it talks to".to_owned())
}

/// `UUID NAME`, a line each.
pub(super) fn active(lines: &[&str]) -> Result<Vec<(String, String)>, String> {
    let each = |line: &&str| {
        let line = line.trim_start();
        let bad = || format!("no UUID in what virsh lists: {}", printable_line(line));
        let (uuid, name) = line.split_once(' ').ok_or_else(bad)?;
        if is_uuid(uuid) { Ok((uuid.to_owned(), short(name))) } else { Err(bad()) }
    };
    lines.iter().map(each).collect()
}

/// 36 characters, lower-case hex in the usual groups.
pub(super) fn is_uuid(text: &str) -> bool {
    let dash = |at| matches!(at, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match byte {
            b'-' => dash(at),
            b'0'..=b'9' | b'a'..=b'f' => !dash(at),
            _ => false,
        })
}

/// A name that somebody chose, printable and short.
pub(super) fn short(name: &str) -> String {
    printable_line(name).chars().take(MAX_NAME_CHARS).collect()
}

/// All names, and which of them are active. A host without that driver has none.
pub(super) fn named(
    all: Result<&[&str], String>,
    active: Result<&[&str], String>,
) -> Result<Vec<(String, bool)>, String> {
    match (all, active) {
        (Ok(all), Ok(active)) => {
            Ok(all.iter().map(|name| (short(name.trim()), active.contains(name))).collect())
        }
        (Err(why), _) if why.contains("is not supported by the connection driver") => Ok(Vec::new()),
        (Err(why), _) | (_, Err(why)) => Err(why),
    }
}

/// A guest's state, by what stands on its line.
pub(super) fn state(line: Result<&str, String>) -> Option<Result<String, String>> {
    const STATES: [&str; 8] =
        ["no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended"];
    match line {
        Ok(line) => {
            let word = line.split_once(" (").map_or(line, |(word, _)| word).trim();
            Some(if STATES.contains(&word) {
                Ok(printable_line(line.trim()))
            } else {
                Err(format!("virsh answers {:?}", printable_line(line)))
            })
        }
        Err(why) if why.contains("failed to get domain") || why.contains("Domain not found") => None,
        Err(why) => Some(Err(why)),
    }
}

/// `Job type: None` is none; otherwise what it is.
pub(super) fn job(lines: Result<&[&str], String>) -> Result<Option<String>, String> {
    let lines = lines?;
    let value = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)).map(str::trim);
    match (value("Job type:"), value("Operation:")) {
        (Some("None"), None) => Ok(None),
        (Some("Bounded" | "Unbounded"), Some(operation)) => Ok(Some(printable_line(operation))),
        (Some(kind), _) if !kind.is_empty() => Ok(Some(format!("a job of type {}", printable_line(kind)))),
        _ => Err("virsh does not say whether there is a job".to_owned()),
    }
}

/// `ok`, or what is said instead.
pub(super) fn monitor(line: Result<&str, String>) -> Result<(), String> {
    match line?.trim() {
        "ok" => Ok(()),
        other => Err(printable_line(other)),
    }
}
