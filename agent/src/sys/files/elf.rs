//! Whether a file is a program for this machine, from the first bytes of its ELF header.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use super::FileError;

/// Rust's word, `e_machine`, class (1: 32 bit, 2: 64 bit), byte order (1: little, 2: big).
const MACHINES: [(&str, u16, u8, u8); 8] = [
    ("x86_64", 62, 2, 1),
    ("aarch64", 183, 2, 1),
    ("riscv64", 243, 2, 1),
    ("powerpc64", 21, 2, 1),
    ("s390x", 22, 2, 2),
    ("loongarch64", 258, 2, 1),
    ("arm", 40, 1, 1),
    ("x86", 3, 1, 1),
];

/// Checks that the file is a program for `arch` (Rust's word, as an artifact's label has it) and that this
/// machine is of that kind.
///
/// # Errors
/// When it is no ELF file, or one for another machine than this, or than its label says.
pub fn check(file: &File, path: &Path, arch: &str) -> Result<(), FileError> {
    let host = std::env::consts::ARCH;
    let shown = path.display();
    if arch != host {
        return Err(FileError::refused(
            format!("the artifact is labelled for {arch}, and this machine is {host}"),
            format!("sign and add the build for {host}"),
        ));
    }
    let mut head = [0u8; 20];
    let not_elf = || {
        FileError::refused(
            format!("{shown} is not an ELF program"),
            "sign the program itself, not an archive or a script",
        )
    };
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(not_elf()),
        Err(error) => return Err(FileError::io("read its first bytes", path)(error)),
    }
    if head[..4] != *b"\x7fELF" {
        return Err(not_elf());
    }
    let machine = [head[18], head[19]];
    let machine = if head[5] == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    let found = MACHINES
        .iter()
        .find(|(_, number, class, order)| (*number, *class, *order) == (machine, head[4], head[5]));
    match found {
        Some((name, ..)) if *name == host => Ok(()),
        Some((name, ..)) => Err(FileError::refused(
            format!("{shown} is a program for {name}, and this machine is {host}"),
            "the label is wrong: sign the right build",
        )),
        None => Err(FileError::refused(
            format!("{shown} is a program for a machine of ELF number {machine}, and this one is {host}"),
            "the label is wrong: sign the right build",
        )),
    }
}
