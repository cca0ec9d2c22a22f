//! What is costly to make and does not change: kept outside the checkout, keyed by what it is
//! made of, and whole or not there at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

const PLACE_VARIABLE: &str = "DRYDOCK_LAB_CACHE";
const DEFAULT_PLACE: &str = "/var/cache/drydock-lab";

/// A directory of finished things.
#[derive(Debug, Clone)]
pub struct Cache {
    place: PathBuf,
}

impl Cache {
    /// Opens the cache at `$DRYDOCK_LAB_CACHE` or its default place, making it if need be.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open() -> Result<Self> {
        let place = std::env::var_os(PLACE_VARIABLE).map_or_else(|| DEFAULT_PLACE.into(), PathBuf::from);
        if !place.is_absolute() {
            return Err(Error::Unfit(format!("{PLACE_VARIABLE} is {place:?}; give an absolute path")));
        }
        fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        Ok(Self { place })
    }

    /// Where the cache is.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The directory called `name` made from `ingredients`; built by `build` into the directory
    /// that it is given if it is not there yet. Two processes that want the same thing wait for
    /// one another.
    ///
    /// # Errors
    /// When building fails; nothing half-made is left under the final name.
    pub fn get(
        &self,
        name: &str,
        ingredients: &[&str],
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let key = format!("{name}-{}", digest(ingredients));
        let finished = self.place.join(&key);
        if finished.is_dir() {
            return Ok(finished);
        }
        let lock_path = self.place.join(format!("{key}.lock"));
        let lock = File::create(&lock_path).map_err(Error::io("create", &lock_path))?;
        lock.lock().map_err(Error::io("lock", &lock_path))?;
        if finished.is_dir() {
            return Ok(finished);
        }
        let half = self.place.join(format!("{key}.part"));
        remove_tree(&half)?; // Left by a process that was killed: we hold the lock.
        fs::create_dir(&half).map_err(Error::io("create", &half))?;
        if let Err(error) = build(&half) {
            // The reason for the failure matters more than what stays behind.
            let _ = remove_tree(&half);
            return Err(error);
        }
        fs::rename(&half, &finished).map_err(Error::io("rename", &half))?;
        // The lock file stays: removing it would let two builders hold two different locks.
        Ok(finished)
    }
}

fn digest(ingredients: &[&str]) -> String {
    let mut hash = Sha256::new();
    for ingredient in ingredients {
        hash.update(ingredient.len().to_le_bytes());
        hash.update(ingredient);
    }
    let bytes = hash.finalize();
    bytes[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes a directory with everything in it; one that is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io("remove", path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_every_ingredient_and_on_where_they_end() {
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["ab", ""]));
    }

    #[test]
    fn a_failed_build_leaves_nothing_and_a_finished_one_is_kept() -> Result<()> {
        let dir = tempfile::tempdir().map_err(Error::io("create", "a directory"))?;
        let cache = Cache { place: dir.path().to_owned() };
        let failed = cache.get("thing", &["1"], |_| Err(Error::Unfit("no".to_owned())));
        assert!(failed.is_err());
        let path = cache.get("thing", &["1"], |half| {
            fs::write(half.join("file"), "x").map_err(Error::io("write", half))
        })?;
        assert!(path.join("file").is_file());
        let again = cache.get("thing", &["1"], |_| Err(Error::Unfit("built twice".to_owned())))?;
        assert_eq!(again, path);
        Ok(())
    }
}
