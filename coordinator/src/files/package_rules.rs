//! What is installed must have been fetched: a node finds what it has staged by what was asked for.

use drydock_types::{Step, packages::Packages};

use super::{
    diagnostic::{Diagnostic, Diagnostics},
    recipe_rules::place,
    recipes::Filled,
};

/// Each `installPackages` has a `stagePackages` before it that asks for the same.
pub(super) fn staged(filled: &Filled, found: &mut Diagnostics) {
    let spec = &filled.recipe.spec;
    for (i, step) in spec.apply.iter().enumerate() {
        let Step::InstallPackages(wanted) = step else { continue };
        let before = spec.stage.iter().chain(&spec.protect).chain(&spec.apply[..i]);
        let fetched: Vec<&Packages> = before
            .filter_map(|step| match step {
                Step::StagePackages(fetched) => Some(fetched),
                _ => None,
            })
            .collect();
        if fetched.iter().any(|it| it.as_staged() == wanted.as_staged()) {
            continue;
        }
        found.push(|| {
            let at = place(filled, "apply", Some(i));
            let message = "`installPackages` asks for what no `stagePackages` has fetched";
            match fetched.first() {
                None => Diagnostic::at(at, message)
                    .help("put stagePackages under stage, with the same words".to_owned()),
                Some(other) => Diagnostic::at(at, message)
                    .help(format!("write the same in both: {}", differing(other, wanted).join(", ")))
                    .note("a node finds what it has staged by what was asked for; only `within` and `repair` may differ"),
            }
        });
    }
}

/// The keys in which they differ.
fn differing(one: &Packages, other: &Packages) -> Vec<&'static str> {
    let Packages { source, packages, along, remove, release, held, repair: _, old_versions, within: _ } = one;
    let keys = [
        ("source", *source != other.source),
        ("packages", *packages != other.packages),
        ("along", *along != other.along),
        ("remove", *remove != other.remove),
        ("release", *release != other.release),
        ("held", *held != other.held),
        ("oldVersions", *old_versions != other.old_versions),
    ];
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}
