use std::io::Write as _;

use super::*;

/// The beginning of an ELF file for x86_64, then text.
fn binary(dir: &Path, text: &str) -> File {
    let mut head = vec![0u8; 64];
    head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    head[18] = 62;
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(dir.join("etcd")).unwrap();
    file.write_all(&head).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn etcd() -> (ComponentName, Version) {
    (ComponentName::parse("etcd").unwrap(), Version::parse("3.5.16").unwrap())
}

fn nobody() -> Result<String, CliError> {
    Err(CliError::failed("nobody to ask"))
}

#[test]
fn what_a_new_key_signs_verifies_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let new = generate(None).unwrap();
    assert!(new.line.starts_with("RW") && new.public.contains(&new.line));
    let key = open_key(&new.secret, nobody).unwrap();
    let mut file = binary(dir.path(), "etcd 3.5.16");
    let measured = measure(&mut file, "3.5.16").unwrap();
    assert!(measured.names_version);
    let (component, version) = etcd();
    let label = label(&measured, &component, &version, None).unwrap();
    assert_eq!((label.arch.as_str(), label.size), ("x86_64", 75));

    let path = dir.path().join("etcd.minisig");
    local_file::replace(&path, &sign(&mut file, &key, &label).unwrap()).unwrap();
    verify(&path, &mut file, &key, &label).unwrap();
    assert_eq!(read_label(&std::fs::read_to_string(&path).unwrap()).unwrap(), label);

    let other = open_key(&generate(None).unwrap().secret, nobody).unwrap();
    assert!(verify(&path, &mut file, &other, &label).is_err(), "another key");
    file.write_all(b"x").unwrap();
    assert!(verify(&path, &mut file, &key, &label).is_err(), "another file");
}

#[test]
fn a_signature_is_taken_by_the_verifier_that_agents_use_the_words_of() {
    let dir = tempfile::tempdir().unwrap();
    let new = generate(None).unwrap();
    let key = open_key(&new.secret, nobody).unwrap();
    let mut file = binary(dir.path(), "etcd 3.5.16");
    let (component, version) = etcd();
    let label = label(&measure(&mut file, "3.5.16").unwrap(), &component, &version, None).unwrap();
    let text = sign(&mut file, &key, &label).unwrap();
    // `ED`: prehashed, the only form that agents take.
    let public = PublicKey::from_base64(&new.line).unwrap();
    let signature = SignatureBox::from_string(&text).unwrap();
    assert!(signature.is_prehashed());
    file.seek(SeekFrom::Start(0)).unwrap();
    minisign::verify(&public, &signature, &mut file, true, false, false).unwrap();
}

#[test]
fn a_key_with_a_password_opens_with_that_password_only() {
    let new = generate(Some("s3cret".into())).unwrap();
    assert!(open_key(&new.secret, || Ok("s3cret".into())).is_ok());
    assert_eq!(open_key(&new.secret, || Ok("wrong".into())).unwrap_err().exit.code(), 2);
    assert!(open_key(&new.secret, nobody).is_err());
    assert_eq!(open_key("not a key", || Ok(String::new())).unwrap_err().exit.code(), 2);
}

#[test]
fn an_architecture_that_the_file_does_not_have_is_not_signed() {
    let dir = tempfile::tempdir().unwrap();
    let (component, version) = etcd();
    let measured = measure(&mut binary(dir.path(), ""), "3.5.16").unwrap();
    assert!(!measured.names_version);
    let error = label(&measured, &component, &version, Some("aarch64")).unwrap_err();
    assert_eq!(
        (error.exit.code(), error.to_string().as_str()),
        (2, "the file is for x86_64 by its ELF header, not for aarch64")
    );
    assert!(label(&measured, &component, &version, Some("x86_64")).is_ok());

    let script = Measured { arch: None, ..measured };
    assert!(label(&script, &component, &version, None).is_err());
    assert!(label(&script, &component, &version, Some("x86_64")).is_ok());
    assert!(label(&script, &component, &version, Some("x86 64; rm")).is_err());
}

#[test]
fn architectures_are_read_from_the_header_in_either_byte_order() {
    let head = |order: u8, machine: [u8; 2]| {
        let mut head = vec![0u8; 20];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, order]);
        head[18..].copy_from_slice(&machine);
        elf_arch(&head)
    };
    assert_eq!(head(1, [183, 0]).as_deref(), Some("aarch64"));
    assert_eq!(head(2, [0, 22]).as_deref(), Some("s390x"));
    assert_eq!(head(1, [0xff, 0xff]).as_deref(), Some("elf_65535"));
    assert_eq!(elf_arch(b"#!/bin/sh\n"), None);
    assert_eq!(elf_arch(b"\x7fELF\x02\x01"), None, "cut off");
    assert_eq!(elf_arch(b""), None);
}

#[test]
fn a_version_is_found_across_two_reads() {
    let dir = tempfile::tempdir().unwrap();
    let text = "x".repeat((1 << 16) - 64 - 3) + "3.5.16";
    assert!(measure(&mut binary(dir.path(), &text), "3.5.16").unwrap().names_version);
}
