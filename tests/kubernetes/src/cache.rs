//! What is slow to make and does not change: kept outside of the checkout, keyed by what it is made of, and whole or
//! not there at all. The place is the lab's.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

const PLACE_VARIABLE: &str = "DRYDOCK_LAB_CACHE";

/// A directory of finished things.
#[derive(Debug, Clone)]
pub struct Cache {
    place: PathBuf,
}

impl Cache {
    /// At `$DRYDOCK_LAB_CACHE`; else `/var/cache/drydock-lab` as root, and `drydock-lab` in the user's own cache
    /// directory for anybody else.
    ///
    /// # Errors
    /// When there is no such place, or it cannot be made.
    pub fn open() -> Result<Self> {
        let place = match env::var_os(PLACE_VARIABLE).map(PathBuf::from) {
            Some(place) => place,
            None if Uid::effective().is_root() => "/var/cache/drydock-lab".into(),
            None => own_cache()?.join("drydock-lab"),
        };
        if !place.is_absolute() {
            return Err(Error::Unfit(format!("{PLACE_VARIABLE} is {place:?}; give an absolute path")));
        }
        Self::at(place)
    }

    /// At a directory, made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn at(place: PathBuf) -> Result<Self> {
        fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        Ok(Self { place })
    }

    /// Where `name` made from `ingredients` is, or would be.
    #[must_use]
    pub fn finished(&self, name: &str, ingredients: &[&[u8]]) -> PathBuf {
        self.place.join(format!("{name}-{}", digest(ingredients)))
    }

    /// The directory called `name` made from `ingredients`; made by `build` in the directory that it is given if it
    /// is not there yet. Two processes that want the same thing wait for one another.
    ///
    /// # Errors
    /// When building fails; nothing half-made is left under the final name.
    pub fn get(
        &self,
        name: &str,
        ingredients: &[&[u8]],
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let finished = self.finished(name, ingredients);
        if finished.is_dir() {
            return Ok(finished);
        }
        let beside = |end: &str| {
            let mut path = finished.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        // The lock file stays: removing it would let two builders hold two different locks.
        let lock_path = beside(".lock");
        let lock = File::create(&lock_path).map_err(Error::io("create", &lock_path))?;
        lock.lock().map_err(Error::io("lock", &lock_path))?;
        if finished.is_dir() {
            return Ok(finished);
        }
        let half = beside(".part");
        remove_tree(&half)?; // Left by a process that was killed: we hold the lock.
        fs::create_dir(&half).map_err(Error::io("create", &half))?;
        if let Err(error) = build(&half) {
            // The reason for the failure matters more than what stays behind.
            drop(remove_tree(&half));
            return Err(error);
        }
        fs::rename(&half, &finished).map_err(Error::io("rename", &half))?;
        Ok(finished)
    }
}

fn own_cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).ok_or_else(|| {
        Error::Unfit(format!("no place for a cache: set HOME, XDG_CACHE_HOME or {PLACE_VARIABLE}"))
    })
}

fn digest(ingredients: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for ingredient in ingredients {
        hash.update(ingredient.len().to_le_bytes());
        hash.update(ingredient);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_every_ingredient_and_on_where_they_end() {
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
    }

    #[test]
    fn a_failed_build_leaves_nothing_and_a_finished_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let build = |half: &Path| fs::write(half.join("file"), "x").map_err(Error::io("write", half));
        cache
            .get("thing", &[b"1"], |half| build(half).and_then(|()| Err(Error::Unfit("no".into()))))
            .unwrap_err();
        assert!(!cache.finished("thing", &[b"1"]).exists());
        let path = cache.get("thing", &[b"1"], build).unwrap();
        assert!(path.join("file").is_file());
        let again = cache.get("thing", &[b"1"], |_| Err(Error::Unfit("built twice".into()))).unwrap();
        assert_eq!(again, path);
    }

    #[test]
    fn what_a_killed_builder_left_is_not_taken_for_finished() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let mut left = cache.finished("thing", &[]).into_os_string();
        left.push(".part");
        fs::create_dir_all(Path::new(&left).join("old")).unwrap();
        let path =
            cache.get("thing", &[], |half| fs::write(half.join("new"), "").map_err(Error::io("write", half)));
        let path = path.unwrap();
        assert!(path.join("new").exists() && !path.join("old").exists());
    }
}
