//! Is there room for what is unpacked? dpkg lays each new file beside the old one before it takes that away.

use std::{path::Path, time::Duration};

use super::staged::{Change, Store};
use crate::{
    actions::Problem,
    sys::{
        blocking,
        exec::{self, Program},
        files,
    },
};

/// How long the list of one package's files may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest line of such a list.
const LONGEST_LINE: usize = 64 << 10;
/// What dpkg's database takes for each package, by far.
const PER_PACKAGE: u64 = 1 << 20;

/// Sees that there is.
///
/// # Errors
/// Where there is not, or a file is no package.
pub async fn has(store: &Store, changes: &[Change]) -> Result<(), Problem> {
    let mut needed = Needed::default();
    for kept in changes.iter().filter_map(|change| change.new.as_ref()) {
        let path = store.path(kept);
        let Some(deb) = exec::find("dpkg-deb") else { return Err(Problem::new("dpkg-deb is not installed")) };
        let list = Program::new(deb).args(["-c".to_owned(), path.display().to_string()]).deadline(PATIENCE);
        let failed = |why: String| Problem::new(format!("{}: {why}", path.display())).next("stage it again");
        let output = list
            .run_lines(LONGEST_LINE, |line| {
                needed.add(&String::from_utf8_lossy(line));
                Ok(())
            })
            .await
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(format!("dpkg-deb ended with {}", output.status)));
        }
    }
    needed.database = PER_PACKAGE.saturating_mul(changes.len() as u64);
    blocking(move || needed.is_there()).await
}

/// Bytes by where they go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Needed {
    usr: u64,
    boot: u64,
    database: u64,
}

impl Needed {
    /// `-rw-r--r-- root/root      1234 2024-01-01 00:00 ./usr/bin/x`
    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(size), Some(path)) = (words.nth(2).and_then(|size| size.parse::<u64>().ok()), words.nth(2))
        else {
            return;
        };
        let to = if path.starts_with("./boot/") { &mut self.boot } else { &mut self.usr };
        *to = to.saturating_add(size);
    }

    fn is_there(&self) -> Result<(), Problem> {
        let wanted = [
            ("/usr", self.usr.saturating_add(files::RESERVE_BYTES)),
            ("/var/lib/dpkg", self.database.saturating_add(files::RESERVE_BYTES)),
            ("/boot", self.boot),
        ];
        for (dir, needed) in wanted {
            if needed == 0 || !Path::new(dir).exists() {
                continue;
            }
            let free = files::free_bytes(Path::new(dir)).map_err(|error| {
                Problem::new(format!("how much is free in {dir} cannot be seen: {error}"))
            })?;
            if free < needed {
                return Err(Problem::new(format!(
                    "the packages take up to {needed} bytes in {dir} while they are installed, and {free} are free"
                ))
                .next(format!("free some space: df -h {dir}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_boot_is_counted_apart() {
        let mut needed = Needed::default();
        for line in [
            "drwxr-xr-x root/root         0 2024-01-01 00:00 ./",
            "-rw-r--r-- root/root      1234 2024-01-01 00:00 ./usr/bin/a b",
            "-rw-r--r-- root/root      1000 2024-01-01 00:00 ./boot/vmlinuz-6.1",
            "lrwxrwxrwx root/root         0 2024-01-01 00:00 ./usr/lib/x -> y",
            "nonsense",
        ] {
            needed.add(line);
        }
        assert_eq!(needed, Needed { usr: 1234, boot: 1000, database: 0 });
        assert_eq!(needed.is_there(), Ok(()));
        let full = Needed { usr: u64::MAX / 2, ..needed }.is_there().unwrap_err();
        assert!(full.what.contains("in /usr"), "{full}");
    }
}
