//! What lies in a node's overlay: everything that was written on it since the base root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// Every entry by its path from the node's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk(BTreeMap<PathBuf, Entry>);

/// What of a file would be seen if it were touched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    inode: u64,
    /// In nanoseconds; of a directory not looked at, whose entries are.
    modified: Option<(i64, i64)>,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Directory,
    File([u8; 32]),
    Link(PathBuf),
    /// A file of the base root that was removed, or a device.
    Other(u64),
}

impl Disk {
    /// Reads the upper layer of a node's overlay, whole.
    ///
    /// # Errors
    /// When it cannot be read. A file that goes while it is read is left out.
    pub fn read(upper: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut left = vec![upper.to_path_buf()];
        while let Some(dir) = left.pop() {
            let Ok(children) = fs::read_dir(&dir) else { continue };
            for child in children.flatten() {
                let path = child.path();
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                if meta.is_dir() {
                    left.push(path.clone());
                }
                let Some(entry) = Entry::of(&path, &meta) else { continue };
                let below = path.strip_prefix(upper).unwrap_or(&path).to_path_buf();
                entries.insert(below, entry);
            }
        }
        if entries.is_empty() {
            return Err(Error::Unfit(format!("nothing was ever written below {}", upper.display())));
        }
        Ok(Self(entries))
    }

    /// What came, went, or is another.
    #[must_use]
    pub fn differs(&self, other: &Self) -> BTreeSet<PathBuf> {
        let all = self.0.keys().chain(other.0.keys());
        all.filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.0.len()
    }
}

impl Entry {
    fn of(path: &Path, meta: &fs::Metadata) -> Option<Self> {
        let kind = meta.file_type();
        let content = if kind.is_dir() {
            Content::Directory
        } else if kind.is_symlink() {
            Content::Link(fs::read_link(path).ok()?)
        } else if kind.is_char_device() || kind.is_block_device() {
            Content::Other(meta.rdev())
        } else if kind.is_file() {
            Content::File(Sha256::digest(fs::read(path).ok()?).into())
        } else {
            Content::Other(0)
        };
        let modified = (!kind.is_dir()).then(|| (meta.mtime(), meta.mtime_nsec()));
        Some(Self {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            inode: meta.ino(),
            modified,
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_made_or_removed_is_another() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/a"), "1").unwrap();
        fs::write(dir.path().join("etc/b"), "1").unwrap();
        let before = Disk::read(dir.path()).unwrap();
        assert_eq!(before.entries(), 3);
        assert!(before.differs(&Disk::read(dir.path()).unwrap()).is_empty());
        fs::write(dir.path().join("etc/a"), "2").unwrap();
        fs::remove_file(dir.path().join("etc/b")).unwrap();
        fs::write(dir.path().join("c"), "").unwrap();
        let told: Vec<_> = before.differs(&Disk::read(dir.path()).unwrap()).into_iter().collect();
        assert_eq!(told, ["c", "etc/a", "etc/b"].map(PathBuf::from));
    }
}
