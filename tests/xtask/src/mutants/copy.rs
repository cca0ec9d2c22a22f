//! A copy of the sources with every mutant in it, each behind its switch.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    SWITCH,
    list::{Edit, Kind, Mutant},
};

/// The crate that everything of ours depends on, and so the place of the switch.
const SWITCHBOARD: &str = "proto/types/src/lib.rs";
const MAIN: &str = "tests/simulation/src/main.rs";

/// Files by their names from the top of the checkout.
type Files = BTreeMap<String, Vec<u8>>;

/// Makes the copy. A file that is there already as it should be is not touched, so that cargo builds only what
/// changed.
pub(super) fn make(root: &Path, into: &Path, mutants: &[Mutant]) -> Result<()> {
    let mut files = sources(root)?;
    plant(&mut files, mutants)?;
    files.iter().try_for_each(|(name, bytes)| write(&into.join(name), bytes))
}

/// What is in the checkout, committed or not, but for what is ignored.
fn sources(root: &Path) -> Result<Files> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot start git")?;
    if !listed.status.success() {
        bail!("git does not list the checkout's files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let mut files = Files::new();
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).context("a file of the checkout has no readable name")?;
        let from = root.join(name);
        // Listed, and deleted in the working tree.
        if from.is_file() {
            let bytes = fs::read(&from).with_context(|| format!("cannot read {name}"))?;
            files.insert(name.to_string(), bytes);
        }
    }
    Ok(files)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let context = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::write(path, bytes).with_context(context)
}

/// Puts the mutants and their switch into the copy.
fn plant(files: &mut Files, mutants: &[Mutant]) -> Result<()> {
    for (mutant, edit) in mutants.iter().flat_map(|mutant| mutant.edit.iter().map(move |edit| (mutant, edit)))
    {
        let context = || format!("mutant `{}`: {}", mutant.name, edit.file);
        change(files, &edit.file, |text| planted(text, mutant, edit)).with_context(context)?;
    }
    change(files, SWITCHBOARD, |text| Ok(format!("{text}{SWITCHES}")))?;
    change(files, MAIN, |text| {
        let (before, rest) = text.split_once("fn main() ").context("it has no `fn main()`")?;
        let (signature, body) = rest.split_once('{').context("its `fn main()` has no body")?;
        let read = format!("std::env::var(\"{SWITCH}\").ok().and_then(|on| on.parse().ok()).unwrap_or(0)");
        Ok(format!("{before}fn main() {signature}{{\n    drydock_types::mutants::set({read});\n{body}"))
    })
}

fn change(files: &mut Files, name: &str, how: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let bytes = files.get_mut(name).with_context(|| format!("there is no {name}"))?;
    let text = std::str::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
    *bytes = how(text).with_context(|| format!("cannot change {name}"))?.into_bytes();
    Ok(())
}

/// The text with the guard and what replaces it, chosen by the switch.
fn planted(text: &str, mutant: &Mutant, edit: &Edit) -> Result<String> {
    let Mutant { number, name, .. } = mutant;
    let Edit { file, find, replace, kind } = edit;
    let find = find.trim();
    let places = text.matches(find).count();
    if places != 1 {
        bail!("mutant `{name}`: its guard stands {places} times in {file}, and must once:\n{find}");
    }
    let on = format!("drydock_types::mutants::on({number})");
    let both = match kind {
        Kind::Expression => format!("(if {on} {{ {replace} }} else {{ {find} }})"),
        Kind::Statement => format!("if {on} {{ {replace} }} else {{ {find} }}"),
        Kind::Raw => replace.replace("{on}", &on),
    };
    Ok(text.replacen(find, &both, 1))
}

const SWITCHES: &str = "
extern crate self as drydock_types;

/// Which mutant is switched on.
pub mod mutants {
    use core::sync::atomic::{AtomicUsize, Ordering};

    static ON: AtomicUsize = AtomicUsize::new(0);

    /// Switches one on, and all others off.
    pub fn set(number: usize) {
        ON.store(number, Ordering::Relaxed);
    }

    /// Is it this one?
    pub fn on(number: usize) -> bool {
        ON.load(Ordering::Relaxed) == number
    }
}
";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn plant(text: &str, find: &str, replace: &str, kind: Kind) -> Result<String> {
        let (file, find, replace) = ("x.rs".to_string(), find.to_string(), replace.to_string());
        let edit = Edit { file, find, replace, kind };
        let mutant = Mutant { number: 7, name: "a guard".to_string(), rule: 1, edit: vec![edit.clone()] };
        planted(text, &mutant, &edit)
    }

    #[test]
    fn a_guard_is_chosen_by_its_switch() {
        let text = plant("if a < b { go() }", "a < b", "true", Kind::Expression).unwrap();
        assert_eq!(text, "if (if drydock_types::mutants::on(7) { true } else { a < b }) { go() }");
        let text = plant("stop(); go();", "stop();", "", Kind::Statement).unwrap();
        assert_eq!(text, "if drydock_types::mutants::on(7) {  } else { stop(); } go();");
        let text =
            plant("Ok(it) => it,", "Ok(it) => it,", "Ok(_) if {on} => 0, Ok(it) => it,", Kind::Raw).unwrap();
        assert_eq!(text, "Ok(_) if drydock_types::mutants::on(7) => 0, Ok(it) => it,");
    }

    #[test]
    fn a_guard_that_is_gone_or_stands_twice_is_an_error() {
        assert!(
            plant("go()", "a < b", "true", Kind::Expression).unwrap_err().to_string().contains("0 times")
        );
        assert!(
            plant("a < b; a < b", "a < b", "true", Kind::Expression)
                .unwrap_err()
                .to_string()
                .contains("2 times")
        );
    }

    #[test]
    fn every_guard_of_the_list_stands_in_the_sources_of_now() {
        let root = crate::cargo::root().unwrap();
        let mutants = super::super::list::read(&root.join("tests/simulation/mutants.toml")).unwrap();
        let mut files = sources(&root).unwrap();
        super::plant(&mut files, &mutants).unwrap();
    }
}
