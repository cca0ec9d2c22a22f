//! What stands in the sources: the points, and durable writes and effects that stand outside of any.
//!
//! Tokens are enough: what is inside `durable!` or `effect!` is at a point, code for tests is left out, and a call is a
//! name with a parenthesis behind it. A name that others use for something harmless is allowed file by file,
//! with the reason.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};

/// Where the sources are that run on a node or beside the store, below the top of the checkout.
pub(crate) const ROOTS: [&str; 4] = ["agent/src", "coordinator/src", "coordinator/cli/src", "proto/src"];

/// Calls that make something durable, or that write what a later one makes durable.
const WRITES: [&str; 19] = [
    "fallocate",
    "fdatasync",
    "fsync",
    "ftruncate",
    "hard_link",
    "link",
    "linkat",
    "posix_fallocate",
    "rename",
    "renameat",
    "renameat2",
    "set_len",
    "symlink",
    "sync_all",
    "sync_data",
    "unlinkat",
    "write_all",
    "write_all_at",
    "write_at",
];

/// Those of them that are functions and never methods.
const PATHS: [&str; 5] = ["hard_link", "link", "linkat", "rename", "symlink"];

/// The same, but only behind `fs::`.
const OF_FS: [&str; 2] = ["copy", "write"];

/// Methods of systemd that change something.
const METHODS: [&str; 6] =
    ["StartUnit", "StopUnit", "RestartUnit", "ResetFailedUnit", "StartTransientUnit", "Reboot"];

/// Bare calls that are right as they are: the file's path (or a folder's), the call, why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("agent/src/sys/units/systemd.rs", "StartUnit", "the effect stands around its caller, in sys/units.rs"),
    ("agent/src/sys/units/systemd.rs", "StopUnit", "the effect stands around its caller, in sys/units.rs"),
    ("agent/src/sys/units/systemd.rs", "RestartUnit", "the effect stands around its caller, in sys/units.rs"),
    (
        "agent/src/sys/units/systemd.rs",
        "ResetFailedUnit",
        "the effect stands around its caller, in sys/units.rs",
    ),
    (
        "agent/src/sys/units/systemd/transient.rs",
        "StartTransientUnit",
        "the effect stands around its caller, in sys/units/apart.rs",
    ),
    (
        "agent/src/sys/units/systemd/transient.rs",
        "StartUnit",
        "the effect stands around its caller, in sys/units/apart.rs",
    ),
    (
        "agent/src/sys/units/systemd/transient.rs",
        "StopUnit",
        "the effect stands around its caller, in sys/units/apart.rs",
    ),
    ("agent/src/etcd/member.rs", "move_leader", "the effect stands around its caller, in etcd/lead.rs"),
    (
        "coordinator/src/store/sqlite/lock.rs",
        "set_len",
        "who holds the lock is a help for messages, never relied upon",
    ),
    (
        "coordinator/cli/src",
        "*",
        "the operator's own files, on the operator's own machine: each command says what it did",
    ),
];

/// A point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    /// `agent.journal.sync`
    pub(crate) name: String,
    /// `effect!`, or else `durable!`.
    pub(crate) effect: bool,
    /// `agent/src/journal/disk.rs:115`
    pub(crate) at: String,
}

/// A durable write or an effect outside of any point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bare {
    /// What is called.
    pub(crate) call: String,
    /// `agent/src/journal/disk.rs:115`
    pub(crate) at: String,
}

impl fmt::Display for Bare {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {} stands outside of every failpoint: write durable!(\"AREA.WHAT\", …) or effect!(\"AREA.WHAT\", …) \
             of drydock_failpoint around it, with a name of its own, and have a scenario of tests/kill-matrix pass it; \
             what is neither durable nor an effect is allowed in tests/kill-matrix/src/scan.rs, with the reason",
            self.at, self.call
        )
    }
}

/// What stands in all sources.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of their names.
    pub(crate) points: Vec<Point>,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
}

/// Reads all sources.
pub(crate) fn all(top: &Path) -> io::Result<Found> {
    let (mut points, mut wrong) = (BTreeMap::<String, Point>::new(), Vec::new());
    let mut used = vec![false; ALLOWED.len()];
    let mut files = Vec::new();
    for root in ROOTS {
        sources(&top.join(root), &mut files)?;
    }
    files.sort();
    for file in files {
        let shown = file.strip_prefix(top).unwrap_or(&file).display().to_string();
        let (there, bare) = one(&shown, &fs::read_to_string(&file)?);
        for point in there {
            if let Some(other) = points.insert(point.name.clone(), point.clone()) {
                wrong.push(format!(
                    "{}: the failpoint {} stands at {} as well",
                    point.at, point.name, other.at
                ));
            }
        }
        for bare in bare {
            let allowed = |(at, call, _): &(&str, &str, &str)| {
                shown.starts_with(at) && (*call == "*" || *call == bare.call)
            };
            match ALLOWED.iter().position(allowed) {
                Some(at) => used[at] = true,
                None => wrong.push(bare.to_string()),
            }
        }
    }
    let idle = ALLOWED.iter().zip(used).filter(|(_, used)| !used);
    wrong.extend(
        idle.map(|((at, call, _), _)| format!("{call} is allowed in {at}, and is not there any more")),
    );
    Ok(Found { points: points.into_values().collect(), wrong })
}

/// The files of a folder that are not for tests.
fn sources(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let for_tests = matches!(name.as_str(), "tests" | "tests.rs" | "conformance" | "conformance.rs");
        if for_tests || name.ends_with("_tests.rs") {
            continue;
        }
        if path.is_dir() {
            sources(&path, files)?;
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// One token that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Sign,
}

#[derive(Debug, Clone, Copy)]
struct Tok<'a> {
    kind: Kind,
    text: &'a str,
    line: usize,
}

fn tokens(source: &str) -> Vec<Tok<'_>> {
    let (mut at, mut line, mut toks) = (0, 1, Vec::new());
    for token in tokenize(source, FrontmatterAllowed::No) {
        let text = &source[at..at + token.len as usize];
        let kind = match token.kind {
            TokenKind::Whitespace | TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => None,
            TokenKind::Ident | TokenKind::RawIdent => Some(Kind::Word),
            TokenKind::Literal { kind: LiteralKind::Str { .. }, .. } => Some(Kind::Text),
            _ => Some(Kind::Sign),
        };
        toks.extend(kind.map(|kind| Tok { kind, text, line }));
        line += text.matches('\n').count();
        at += token.len as usize;
    }
    toks
}

/// Behind the closing half of the bracket at `open`.
fn behind(toks: &[Tok<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, tok) in toks.iter().enumerate().skip(open) {
        match tok.text {
            "(" | "[" | "{" if tok.kind == Kind::Sign => depth += 1,
            ")" | "]" | "}" if tok.kind == Kind::Sign => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    toks.len()
}

/// Behind the item that begins here: its body's brace or its semicolon.
fn behind_item(toks: &[Tok<'_>], mut at: usize) -> usize {
    while at < toks.len() {
        match toks[at].text {
            ";" => return at + 1,
            "{" => return behind(toks, at),
            "(" | "[" => at = behind(toks, at),
            _ => at += 1,
        }
    }
    at
}

fn reads(toks: &[Tok<'_>], at: usize, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(i, word)| toks.get(at + i).is_some_and(|tok| tok.text == *word))
}

/// One file's points and bare calls.
pub(crate) fn one(shown: &str, source: &str) -> (Vec<Point>, Vec<Bare>) {
    let toks = tokens(source);
    let (mut points, mut bare) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < toks.len() {
        let tok = toks[at];
        let place = || format!("{shown}:{}", tok.line);
        if reads(&toks, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = behind_item(&toks, at + 7);
            continue;
        }
        let is_macro = tok.kind == Kind::Word
            && matches!(tok.text, "durable" | "effect")
            && reads(&toks, at + 1, &["!", "("]);
        if is_macro {
            let name = toks.get(at + 3).filter(|tok| tok.kind == Kind::Text);
            let name = name.map_or_else(String::new, |tok| tok.text.trim_matches('"').to_owned());
            points.push(Point { name, effect: tok.text == "effect", at: place() });
            at = behind(&toks, at + 2);
            continue;
        }
        if is_bare(&toks, at) {
            bare.push(Bare { call: tok.text.trim_matches('"').to_owned(), at: place() });
        }
        at += 1;
    }
    (points, bare)
}

fn is_bare(toks: &[Tok<'_>], at: usize) -> bool {
    let tok = toks[at];
    let before = |n: usize| at.checked_sub(n).and_then(|at| toks.get(at)).map_or("", |tok| tok.text);
    if tok.kind == Kind::Text {
        return METHODS.contains(&tok.text.trim_matches('"'));
    }
    if tok.kind != Kind::Word || before(1) == "fn" || !reads(toks, at + 1, &["("]) {
        return false;
    }
    let of_fs = before(1) == ":" && before(2) == ":" && before(3) == "fs";
    let transaction = tok.text == "commit" && before(1) == "." && reads(toks, at + 1, &["(", ")"]);
    // A method of one of these names is somebody's own: the function behind it is found where it is called.
    let method = before(1) == ".";
    (WRITES.contains(&tok.text) && !(method && PATHS.contains(&tok.text)))
        || transaction
        || (tok.text == "move_leader" && before(1) == ".")
        || (of_fs && OF_FS.contains(&tok.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(source: &str) -> Vec<String> {
        one("x.rs", source).1.into_iter().map(|bare| format!("{} {}", bare.call, bare.at)).collect()
    }

    #[test]
    fn a_durable_write_outside_of_a_point_is_found_where_it_stands() {
        assert_eq!(calls("fn f() {\n file.sync_all()?;\n}"), ["sync_all x.rs:2"]);
        assert_eq!(calls("std::fs::rename(a, b)"), ["rename x.rs:1"]);
        assert_eq!(calls("fs::write(a, b); sink.write(b)"), ["write x.rs:1"]);
        assert_eq!(calls("tx.commit()?; store.commit(&changes)?;"), ["commit x.rs:1"]);
        assert_eq!(calls("manager.call(\"RestartUnit\", &(id))"), ["RestartUnit x.rs:1"]);
        assert_eq!(calls("select! { _ = async { file.set_len(0) } => {} }"), ["set_len x.rs:1"]);
    }

    #[test]
    fn the_sources_are_read_to_their_last_file_and_nothing_in_them_is_bare() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let found = all(top).unwrap();
        assert!(found.wrong.is_empty(), "{:#?}", found.wrong);
        for name in ["agent.journal.sync", "coordinator.store.commit", "private-file.rename"] {
            assert!(found.points.iter().any(|point| point.name == name), "{name}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        for harmless in [
            "// file.sync_all()",
            "/* std::fs::rename(a, b) */",
            "let text = \"file.sync_all()\";",
            "let text = r#\"tx.commit()\"#;",
            "fn rename(from: &Path) {}",
            "self.rename(REVERTED, LAST)?;",
            "#[serde(rename = \"x\")] struct S;",
            "#[cfg(test)] mod tests { fn f() { file.sync_all(); } }",
            "#[cfg(test)] #[allow(unused)] fn f(a: [u8; 2]) -> io::Result<()> { file.sync_all() }",
            "durable!(\"a.b\", file.sync_all())",
            "effect!(\"a.b\", { local.move_leader(x).await })",
        ] {
            assert_eq!(calls(harmless), [""; 0], "{harmless}");
        }
        assert_eq!(calls("#[cfg(test)] mod tests; fn f() { file.sync_all(); }").len(), 1);
    }

    #[test]
    fn points_are_listed_with_their_kind() {
        let (points, bare) = one(
            "x.rs",
            "fn f() { durable!(\"a.b\", |e| e, file.sync_all())?;\n effect!(\"c.d\", x.run().await); }",
        );
        assert!(bare.is_empty(), "{bare:?}");
        let listed: Vec<_> = points.iter().map(|p| (p.name.as_str(), p.effect, p.at.as_str())).collect();
        assert_eq!(listed, [("a.b", false, "x.rs:1"), ("c.d", true, "x.rs:2")]);
    }
}
