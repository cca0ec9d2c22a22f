//! What is shipped has no failpoint in it: none of the names is in the file.

use std::path::PathBuf;

use crate::points;

/// Names that are there and must not be; the same search finds all of them in the program that has them.
pub(crate) fn names_in(files: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let there: Vec<_> = names_of(&bytes).collect();
        match there.is_empty() {
            true => println!("{}: no failpoint in it", file.display()),
            false => wrong.push(format!("{} has failpoints in it: {there:?}", file.display())),
        }
    }
    // A search that finds nothing anywhere would prove nothing.
    for program in ["drydock-agent", "drydock"] {
        let path = drydock_system_tests::binaries::path(program);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let side = if program == "drydock" { "coordinator." } else { "agent." };
        let found = names_of(&bytes).filter(|name| name.starts_with(side)).count();
        let wanted = points::ALL.iter().filter(|point| point.name.starts_with(side)).count();
        if found != wanted {
            wrong.push(format!(
                "{} is built without its failpoints ({found} of {wanted} are in it): run it as cargo kill-matrix",
                path.display()
            ));
        }
    }
    wrong
}

fn names_of(bytes: &[u8]) -> impl Iterator<Item = &'static str> + '_ {
    // `private-file.sync` and its like are words that might stand there for another reason; these are not.
    let ours = points::ALL.iter().map(|point| point.name).filter(|name| name.matches('.').count() == 2);
    ours.filter(|name| memchr::memmem::find(bytes, name.as_bytes()).is_some())
}
