//! The list of mutants: `tests/simulation/mutants.toml`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// At least so many for each of the twelve rules.
const LEAST_PER_RULE: usize = 3;
const RULES: u8 = 12;

/// A guard that is taken out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// Which it is when it is switched on; 0 is none of them. Given by its place in the list.
    #[serde(skip)]
    pub(crate) number: usize,
    /// What is taken out, in a few words.
    pub(crate) name: String,
    /// The rule (design's numbers, 1 to 12) that no longer holds without it.
    pub(crate) rule: u8,
    /// Where it stands. More than one where the same guard stands twice, one behind the other: with either alone
    /// the rule still holds.
    pub(crate) edit: Vec<Edit>,
}

/// One place of a guard.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// A production source, from the top of the checkout.
    pub(crate) file: String,
    /// The guard as it stands there, exactly once.
    pub(crate) find: String,
    /// What stands there instead while the mutant is switched on.
    pub(crate) replace: String,
    /// What the guard is; an expression when it is not said.
    #[serde(default)]
    pub(crate) kind: Kind,
}

/// What a guard is, and so how its replacement is chosen by the switch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `(if on { replace } else { find })`
    #[default]
    Expression,
    /// `if on { replace } else { find }`
    Statement,
    /// `replace` as it is, with `{on}` in it where the switch is asked: a match arm, a signature. It must mean what
    /// `find` does while the mutant is off.
    Raw,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// Reads the list, and sees that no rule is without its mutants.
pub(crate) fn read(path: &Path) -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let list: List = toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let mut mutants = list.mutant;
    let mut rules: BTreeMap<u8, usize> = (1..=RULES).map(|rule| (rule, 0)).collect();
    for (index, mutant) in mutants.iter_mut().enumerate() {
        mutant.number = index + 1;
        if mutant.edit.is_empty() {
            bail!("mutant `{}` takes nothing out", mutant.name);
        }
        let test = |edit: &&Edit| edit.file.starts_with("tests/") || edit.file.contains("/tests");
        if let Some(edit) = mutant.edit.iter().find(test) {
            bail!("mutant `{}` is in {}: mutants stand in production code only", mutant.name, edit.file);
        }
        match rules.get_mut(&mutant.rule) {
            Some(count) => *count += 1,
            None => bail!("mutant `{}` names rule {}; there are 1 to {RULES}", mutant.name, mutant.rule),
        }
    }
    if let Some((rule, count)) = rules.iter().find(|(_, count)| **count < LEAST_PER_RULE) {
        bail!("rule {rule} has {count} mutants; {LEAST_PER_RULE} are the least");
    }
    Ok(mutants)
}
