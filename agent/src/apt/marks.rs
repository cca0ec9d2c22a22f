//! Holds, and the marks of what apt had installed for another package's sake: as they were, behind a change.

use std::{collections::BTreeSet, time::Duration};

use drydock_failpoint::effect;

use super::{database::Database, root::Root, staged::Change};
use crate::{actions::Problem, sys::units::printable_line};

/// How long setting them may take, beside the time that apt waits for locks.
const PATIENCE: Duration = Duration::from_secs(90);

/// The names of what apt had installed for another package's sake, as apt says them.
///
/// # Errors
/// When apt does not say.
pub async fn automatic(root: &Root) -> Result<BTreeSet<String>, Problem> {
    let said = run(root, &["showauto".to_owned()]).await?;
    Ok(said.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Is this package among them?
#[must_use]
pub fn is_automatic(marked: &BTreeSet<String>, change: &Change) -> bool {
    marked.contains(change.name.as_str()) || marked.contains(&qualified(change))
}

/// Sets holds and marks as the changes say, and sees that the holds are set: changing a package on hold takes its hold
/// away, and a package that is given as a file counts as asked for by name.
///
/// # Errors
/// When they cannot be set, or are not there afterwards.
pub async fn put_back(root: &Root, changes: &[Change]) -> Result<(), Problem> {
    let there = || changes.iter().filter(|change| change.to.is_some());
    let names = |wanted: &dyn Fn(&&Change) -> bool| there().filter(wanted).map(qualified).collect::<Vec<_>>();
    let work = [
        ("auto", names(&|change| change.auto)),
        ("manual", names(&|change| !change.auto)),
        ("hold", names(&|change| change.held)),
    ];
    for (verb, names) in work {
        if !names.is_empty() {
            let args: Vec<String> = std::iter::once(verb.to_owned()).chain(names).collect();
            effect!("agent.packages.mark", run(root, &args).await)?;
        }
    }
    let database = Database::look_in(root).await?;
    let lost = there().filter(|change| change.held).find(|change| {
        !database.named(&change.name).any(|known| known.architecture == change.architecture && known.held)
    });
    match lost {
        None => Ok(()),
        Some(change) => Err(Problem::new(format!("{} was on hold and is not any more", qualified(change)))
            .next(format!("apt-mark hold {}", qualified(change)))),
    }
}

/// `NAME:ARCH`; of what is for every architecture its name alone.
fn qualified(change: &Change) -> String {
    match change.architecture.as_str() {
        "all" => change.name.to_string(),
        architecture => format!("{}:{architecture}", change.name),
    }
}

async fn run(root: &Root, args: &[String]) -> Result<String, Problem> {
    let failed = |why: String| {
        Problem::new(format!("apt-mark {}: {why}", args.join(" ")))
            .next(format!("apt-mark {}", args.join(" ")))
    };
    let output = root.apt_mark(args, PATIENCE)?.run().await.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(printable_line(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default())))
}
