//! What a new file takes over from the one whose place it takes: owner, mode, extended attributes.

use std::{fs::File, os::unix::fs::MetadataExt as _, path::Path};

use nix::{
    sys::stat::{Mode, fchmod},
    unistd::{Gid, Uid, fchown},
};
use rustix::{
    fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr},
    io::Errno,
};

use super::FileError;

/// Attributes that sign the *content* of a file: on another content they are wrong.
const OF_THE_CONTENT: [&[u8]; 2] = [b"security.ima", b"security.evm"];
/// The kernel's own limit for names and for one value, in bytes.
const LIMIT: usize = 64 << 10;

/// Copies them. In this order: a change of owner takes capabilities and setuid away.
pub(super) fn copy(from: &File, to: &File, path: &Path) -> Result<(), FileError> {
    let meta = from.metadata().map_err(FileError::io("look at it", path))?;
    fchown(to, Some(Uid::from_raw(meta.uid())), Some(Gid::from_raw(meta.gid())))
        .map_err(FileError::io("give it the old one's owner", path))?;
    fchmod(to, Mode::from_bits_truncate(meta.mode() & 0o7777))
        .map_err(FileError::io("give it the old one's mode", path))?;
    let mut names = vec![0u8; LIMIT];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        // A file system without attributes.
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(FileError::io("list the old one's attributes", path)(error)),
    };
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !OF_THE_CONTENT.contains(&name) {
            copy_one(from, to, name, path)?;
        }
    }
    Ok(())
}

fn copy_one(from: &File, to: &File, name: &[u8], path: &Path) -> Result<(), FileError> {
    let wanted = read(from, name).map_err(FileError::io("read an attribute of the old one", path))?;
    // A new file has the directory's default label already; setting it again may need a right.
    if read(to, name).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    fsetxattr(to, name, &wanted, XattrFlags::empty()).map_err(|error| {
        let shown = String::from_utf8_lossy(name);
        FileError::refused(
            format!(
                "{}: the old one's attribute {shown} cannot be given to the new one: {error}",
                path.display()
            ),
            format!("getfattr -d -m - {}", path.display()),
        )
    })
}

fn read(file: &File, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; LIMIT];
    let length = fgetxattr(file, name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}
