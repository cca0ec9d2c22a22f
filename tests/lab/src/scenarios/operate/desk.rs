//! The operator's desk: a shell in which commands are typed, and what the screens offered to be typed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::Node;
use crate::exec::Output;
use crate::scenarios::proofs::Proofs;
use crate::scenarios::scene::{self, Scene, code};

/// Commands that only look: typed wherever a screen offers them.
const LOOK: [&str; 9] = [
    "drydock why",
    "drydock run show",
    "drydock run list",
    "drydock run report",
    "drydock run watch",
    "drydock node show",
    "drydock node list",
    "drydock audit verify",
    "systemctl status",
];
/// Goes on until the run ends; it is looked at for a moment, and left by Ctrl-C.
const FOLLOWS: &str = "drydock run watch";
const LEAVE: &str = "timeout --preserve-status -s INT 1";
/// What no shell knows: a command that ended with it was not there to be copied.
const NOT_THERE: [i32; 3] = [2, 126, 127];

/// The desk.
pub(super) struct Desk<'scene, 'lab> {
    pub(super) scene: &'scene Scene<'lab>,
    /// What was offered, by its form, with the screen that offered it first.
    offered: BTreeMap<String, String>,
    /// Every line that was offered.
    lines: BTreeSet<String>,
    /// What was typed as it had been offered, by its form.
    typed: BTreeMap<String, Vec<String>>,
    /// What the last screen offered.
    last: Vec<Offer>,
}

/// A command as it stands on a screen, and on which node it is to be typed, where the screen says so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    line: String,
    on: Option<String>,
}

impl<'scene, 'lab> Desk<'scene, 'lab> {
    pub(super) fn at(scene: &'scene Scene<'lab>) -> Self {
        Self {
            scene,
            offered: BTreeMap::new(),
            lines: BTreeSet::new(),
            typed: BTreeMap::new(),
            last: Vec::new(),
        }
    }

    /// Types a line as `admin`, whatever it offers that only looks as well, and checks its exit code.
    pub(super) fn types(&mut self, line: &str, wanted: i32, proofs: &mut Proofs) -> Result<Output> {
        self.types_as("admin", line, wanted, proofs)
    }

    pub(super) fn types_as(
        &mut self,
        who: &str,
        line: &str,
        wanted: i32,
        proofs: &mut Proofs,
    ) -> Result<Output> {
        let output = self.types_at_once(who, line, wanted, proofs)?;
        self.look(proofs)?;
        Ok(output)
    }

    /// The same, and comes back at once: what follows may be over before anything else was looked at.
    fn types_at_once(&mut self, who: &str, line: &str, wanted: i32, proofs: &mut Proofs) -> Result<Output> {
        if self.lines.contains(line) {
            self.note(line);
        }
        let output = self.enter(who, line)?;
        proofs.exit(&output, wanted, &format!("{who}: `{line}`"));
        self.last = self.read(line, &output);
        Ok(output)
    }

    /// Types what the last screen offers under these words, as it stands there.
    pub(super) fn takes(&mut self, words: &str, wanted: i32, proofs: &mut Proofs) -> Result<Output> {
        let offer = self.offers(words)?;
        self.types(&offer, wanted, proofs)
    }

    /// The same as another operator, and comes back at once.
    pub(super) fn takes_at_once(
        &mut self,
        who: &str,
        words: &str,
        wanted: i32,
        proofs: &mut Proofs,
    ) -> Result<Output> {
        let offer = self.offers(words)?;
        self.types_at_once(who, &offer, wanted, proofs)
    }

    /// What the last screen offers under these words.
    pub(super) fn offers(&self, words: &str) -> Result<String> {
        let lines = || self.last.iter().map(|offer| offer.line.as_str()).collect::<Vec<_>>();
        let offer = self.last.iter().find(|offer| offer.line.starts_with(words));
        offer
            .map(|offer| offer.line.clone())
            .with_context(|| format!("no `{words}` is offered: {:?}", lines()))
    }

    /// Every form of command that some screen offered was typed as it stood.
    pub(super) fn conclude(&self, proofs: &mut Proofs) {
        println!("\nOffered by the screens, and typed as they stood there:");
        for (form, screen) in &self.offered {
            let typed = self.typed.get(form).map_or(0, Vec::len);
            proofs.check(typed > 0, format!("{form}   {typed} times (offered first by `{screen}`)"));
        }
    }

    fn note(&mut self, line: &str) {
        self.typed.entry(self.form(line)).or_default().push(line.to_owned());
    }

    /// Types whatever the last screen offers that only looks, once each.
    fn look(&mut self, proofs: &mut Proofs) -> Result<()> {
        let before = self.last.clone();
        for Offer { line, on } in &before {
            let known = self.typed.get(&self.form(line)).is_some_and(|typed| typed.contains(line));
            if known || !LOOK.iter().any(|look| line.starts_with(look)) {
                continue;
            }
            self.note(line);
            let output = match on {
                Some(node) => self.enter_on(node, line)?,
                None if line.starts_with(FOLLOWS) => self.enter("admin", &format!("{LEAVE} {line}"))?,
                None => self.enter("admin", line)?,
            };
            // A screen of its own, whose offers are to be typed too when the story comes to them.
            self.read(line, &output);
            let is = code(&output);
            proofs.check(
                !NOT_THERE.contains(&is),
                format!("`{line}` can be typed as it stands (exit code {is})"),
            );
        }
        Ok(())
    }

    fn enter(&self, who: &str, line: &str) -> Result<Output> {
        println!("\n{who}$ {line}");
        let output = self.scene.fleet.shell(who, line, scene::RUN)?;
        print(&output);
        Ok(output)
    }

    fn enter_on(&self, node: &str, line: &str) -> Result<Output> {
        println!("\nroot@{node}# {line}");
        let node = self.node(node)?;
        let output = node.exec(&["sh", "-c", &format!("SYSTEMD_PAGER= {line}")])?;
        print(&output);
        Ok(output)
    }

    pub(super) fn node(&self, name: &str) -> Result<&'lab Node> {
        let found = self.scene.lab.nodes().iter().find(|node| node.name() == name);
        found.with_context(|| format!("no node {name}"))
    }

    /// What a screen offers. The first one that offers a form is remembered.
    fn read(&mut self, screen: &str, output: &Output) -> Vec<Offer> {
        let text = format!("{}\n{}", output.text(), output.error_text());
        let offers = offers(&text);
        for offer in &offers {
            let form = self.form(&offer.line);
            self.lines.insert(offer.line.clone());
            self.offered.entry(form).or_insert_with(|| screen.to_owned());
        }
        offers
    }

    /// The same for the same command about another run, node or digest.
    fn form(&self, line: &str) -> String {
        let nodes: Vec<String> = self.scene.lab.nodes().iter().map(Node::name).collect();
        let word = |word: &str| match word {
            digest if digest.len() == 8 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                "DIGEST".to_owned()
            }
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => "RUN".to_owned(),
            node if nodes.iter().any(|name| name == node) => "NODE".to_owned(),
            other => other.to_owned(),
        };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

fn print(output: &Output) {
    for text in [output.text(), output.error_text()].iter().filter(|text| !text.is_empty()) {
        println!("{text}");
    }
    println!("[exit {}]", code(output));
}

/// Commands stand in a column of their own: two spaces or the line's beginning before them, two spaces or its end
/// behind. `type it on NODE:` beside one says where.
fn offers(text: &str) -> Vec<Offer> {
    let mut found = Vec::new();
    for line in text.lines() {
        let columns: Vec<&str> =
            line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        for (at, column) in columns.iter().enumerate() {
            let command =
                column.strip_prefix("hint: ").or_else(|| column.strip_prefix("→ ")).unwrap_or(column);
            if !["drydock ", "systemctl "].iter().any(|program| command.starts_with(program)) {
                continue;
            }
            let beside = columns.get(at + 1).and_then(|text| text.strip_prefix("type it on "));
            let on = beside.and_then(|text| text.split(':').next()).map(str::to_owned);
            let offer = Offer { line: command.to_owned(), on };
            if !found.contains(&offer) {
                found.push(offer);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_column_of_its_own_is_offered_and_prose_is_not() {
        let screen = "Run 2 is running; drydock run show lists them\n\n  You can       systemctl status drydock-agent   \
                      type it on n2: does its agent run?\n                drydock run pause 2   hand out nothing new\n\
                      Next:  drydock why 2\n  hint: drydock node list\n";
        let lines: Vec<_> = offers(screen).into_iter().map(|offer| (offer.line, offer.on)).collect();
        let want = [
            ("systemctl status drydock-agent", Some("n2")),
            ("drydock run pause 2", None),
            ("drydock why 2", None),
            ("drydock node list", None),
        ];
        assert_eq!(lines, want.map(|(line, on)| (line.to_owned(), on.map(str::to_owned))));
    }
}
