use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use drydock_types::{AbsPath, EffectId};

use super::*;
use crate::policy::BinaryRule;

const EFFECT: EffectId = EffectId([7; 32]);
const OLD: &[u8] = b"\x7fELF old";
const NEW: &[u8] = b"\x7fELF the new one";

/// A directory whose whole way down is root's (or the tester's) alone: `/tmp` is not.
pub(crate) fn ground() -> tempfile::TempDir {
    let exe = std::env::current_exe().unwrap();
    tempfile::Builder::new().prefix("ground-").tempdir_in(exe.parent().unwrap()).unwrap()
}

struct Yard {
    dir: tempfile::TempDir,
    target: AbsPath,
    artifact: File,
}

fn yard() -> Yard {
    let dir = ground();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::set_permissions(&bin, Permissions::from_mode(0o755)).unwrap();
    let target = bin.join("etcd");
    fs::write(&target, OLD).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o755)).unwrap();
    let artifact = dir.path().join("artifact");
    fs::write(&artifact, NEW).unwrap();
    Yard {
        target: AbsPath::parse(target.to_str().unwrap()).unwrap(),
        artifact: File::open(artifact).unwrap(),
        dir,
    }
}

impl Yard {
    fn path(&self) -> &Path {
        self.target.as_str().as_ref()
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path(), Permissions::from_mode(mode)).unwrap();
    }

    fn place(&self) -> Place {
        Place::open(&self.target, EFFECT).unwrap()
    }

    fn look(&self, rule: &BinaryRule) -> Result<Target, FileError> {
        Place::open(&self.target, EFFECT)?.target(rule)
    }

    fn refusal(&self) -> String {
        let error = self.look(&BinaryRule::default()).unwrap_err();
        assert!(matches!(error, FileError::Refused { .. }), "{error}");
        error.to_string()
    }

    fn swap(&self) -> Result<(), FileError> {
        let place = self.place();
        let target = place.target(&BinaryRule::default())?;
        let staged = place.stage(&target, &self.artifact, Sha256::of(NEW))?;
        place.exchange(&target, &staged)
    }

    fn restore(&self) -> Result<bool, FileError> {
        self.place().restore(Sha256::of(OLD), Sha256::of(NEW))
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.bin())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

mod lock;

const KEPT: &str = ".etcd.drydock-07070707.old";

#[test]
fn an_exchange_puts_the_new_file_there_and_keeps_the_old_inode() {
    let yard = yard();
    let old = fs::metadata(yard.path()).unwrap().ino();
    yard.swap().unwrap();
    assert_eq!(yard.content(), NEW);
    assert_eq!(yard.names(), [KEPT, "etcd"]);
    assert_eq!(yard.place().kept().unwrap().as_str(), yard.bin().join(KEPT).to_str().unwrap());
    let kept = fs::metadata(yard.bin().join(KEPT)).unwrap();
    assert_eq!((kept.ino(), kept.nlink()), (old, 1));
}

#[test]
fn undo_puts_the_old_inode_back_and_twice_does_no_harm() {
    let yard = yard();
    let old = fs::metadata(yard.path()).unwrap().ino();
    assert!(!yard.restore().unwrap(), "nothing was exchanged yet");
    yard.swap().unwrap();
    assert!(yard.restore().unwrap());
    assert_eq!((yard.content(), fs::metadata(yard.path()).unwrap().ino()), (OLD.to_vec(), old));
    assert!(!yard.restore().unwrap());
    assert_eq!(yard.names(), ["etcd"]);
    yard.swap().unwrap();
    assert_eq!(yard.content(), NEW);
}

#[test]
fn undo_brings_a_removed_binary_back() {
    let yard = yard();
    yard.swap().unwrap();
    fs::remove_file(yard.path()).unwrap();
    assert!(yard.restore().unwrap());
    assert_eq!(yard.content(), OLD);
}

#[test]
fn undo_leaves_a_third_file_alone() {
    let yard = yard();
    yard.swap().unwrap();
    fs::write(yard.path(), b"somebody's").unwrap();
    assert!(yard.restore().unwrap_err().to_string().contains("neither"));
    assert_eq!(yard.content(), b"somebody's");
    assert!(yard.names().contains(&KEPT.to_owned()));
}

#[test]
fn undo_refuses_a_kept_file_that_was_changed() {
    let yard = yard();
    yard.swap().unwrap();
    fs::write(yard.bin().join(KEPT), b"poison").unwrap();
    assert!(yard.restore().unwrap_err().to_string().contains("nothing was changed"));
    assert_eq!(yard.content(), NEW);
}

#[test]
fn a_crash_behind_the_exchange_is_told_by_digest_and_undone() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    assert_eq!(place.digest().unwrap(), Some(Sha256::of(OLD)), "before the exchange: the old one");
    // The crash: exchanged, and not one step further.
    let new = yard.bin().join(".etcd.drydock-07070707.new");
    let (mid, path) = (yard.bin().join("mid"), yard.path());
    fs::rename(path, &mid).unwrap();
    fs::rename(&new, path).unwrap();
    fs::rename(&mid, &new).unwrap();
    assert_eq!(yard.place().digest().unwrap(), Some(Sha256::of(NEW)));
    assert!(yard.restore().unwrap());
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

#[test]
fn a_crash_before_the_exchange_leaves_what_a_second_attempt_takes_over() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    fs::write(yard.bin().join(".etcd.drydock-07070707.new"), b"half").unwrap();
    yard.swap().unwrap();
    assert_eq!((yard.content(), yard.names()), (NEW.to_vec(), vec![KEPT.to_owned(), "etcd".to_owned()]));
}

/// Hostile input 20.
#[test]
fn a_file_swapped_in_between_check_and_exchange_is_put_back_and_the_exchange_fails() {
    for kind in ["file", "symlink", "hard link", "directory"] {
        let yard = yard();
        let place = yard.place();
        let target = place.target(&BinaryRule::default()).unwrap();
        let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
        let other = yard.dir.path().join("other");
        fs::write(&other, b"other").unwrap();
        fs::remove_file(yard.path()).unwrap();
        match kind {
            "file" => fs::write(yard.path(), OLD).unwrap(),
            "symlink" => symlink(&other, yard.path()).unwrap(),
            "hard link" => fs::hard_link(&other, yard.path()).unwrap(),
            _ => fs::create_dir(yard.path()).unwrap(),
        }
        let there = fs::symlink_metadata(yard.path()).unwrap().ino();
        let error = place.exchange(&target, &staged).unwrap_err();
        assert!(error.to_string().contains("changed by somebody else"), "{kind}: {error}");
        assert_eq!(fs::symlink_metadata(yard.path()).unwrap().ino(), there, "{kind}");
        assert_eq!(fs::read(&other).unwrap(), b"other", "{kind}");
        assert_eq!(yard.names(), [KEPT, "etcd"], "{kind}");
    }
}

#[test]
fn content_written_into_the_target_between_check_and_exchange_is_noticed() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    fs::write(yard.path(), b"written in place, longer").unwrap();
    assert!(place.exchange(&target, &staged).is_err());
    assert_eq!(yard.content(), b"written in place, longer");
}

/// Hostile input 20.
#[test]
fn a_target_replaced_before_the_old_one_is_kept_is_noticed() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    fs::remove_file(yard.path()).unwrap();
    fs::write(yard.path(), OLD).unwrap();
    assert!(place.stage(&target, &yard.artifact, Sha256::of(NEW)).is_err());
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

#[test]
fn a_directory_renamed_after_the_check_takes_the_exchange_along() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    fs::rename(yard.bin(), yard.dir.path().join("moved")).unwrap();
    fs::create_dir(yard.bin()).unwrap();
    fs::write(yard.path(), b"decoy").unwrap();
    place.exchange(&target, &staged).unwrap();
    assert_eq!(yard.content(), b"decoy");
    assert_eq!(fs::read(yard.dir.path().join("moved/etcd")).unwrap(), NEW);
}

#[test]
fn an_artifact_of_other_bytes_is_refused_and_leaves_nothing() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    let error = place.stage(&target, &yard.artifact, Sha256::of(b"else")).unwrap_err();
    assert!(error.to_string().contains("was expected"), "{error}");
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

/// Hostile input 20.
#[test]
fn a_symlink_at_the_target_or_on_the_way_is_refused() {
    let yard = yard();
    let real = yard.bin().join("real");
    fs::rename(yard.path(), &real).unwrap();
    symlink(&real, yard.path()).unwrap();
    assert!(yard.refusal().contains("is a symlink"));

    let way = yard.dir.path().join("way");
    symlink(yard.bin(), &way).unwrap();
    let through = AbsPath::parse(way.join("real").to_str().unwrap()).unwrap();
    let error = Place::open(&through, EFFECT).unwrap_err().to_string();
    assert!(error.contains("symlink"), "{error}");
}

#[test]
fn a_directory_or_a_fifo_as_target_is_refused() {
    let yard = yard();
    fs::remove_file(yard.path()).unwrap();
    fs::create_dir(yard.path()).unwrap();
    assert!(yard.refusal().contains("not a regular file"));
    fs::remove_dir(yard.path()).unwrap();
    nix::unistd::mkfifo(yard.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(yard.refusal().contains("not a regular file"));
}

/// Hostile input 20.
#[test]
fn a_parent_that_others_may_write_is_refused_sticky_or_not() {
    for mode in [0o777, 0o1777, 0o775, 0o757] {
        let yard = yard();
        fs::set_permissions(yard.bin(), Permissions::from_mode(mode)).unwrap();
        assert!(yard.refusal().contains("writable by others"), "{mode:o}");
    }
    let yard = yard();
    fs::set_permissions(yard.dir.path(), Permissions::from_mode(0o733)).unwrap();
    assert!(yard.refusal().contains("writable by others"), "a grandparent");
}

#[test]
fn a_file_or_parent_of_somebody_else_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let yard = yard();
    std::os::unix::fs::chown(yard.path(), Some(4242), None).unwrap();
    assert!(yard.refusal().contains("uid 4242"));
    std::os::unix::fs::chown(yard.path(), Some(0), None).unwrap();
    std::os::unix::fs::chown(yard.bin(), Some(4242), None).unwrap();
    assert!(yard.refusal().contains("uid 4242"));
}

#[test]
fn a_target_that_others_may_write_is_refused() {
    let yard = yard();
    yard.mode(0o775);
    assert!(yard.refusal().contains("writable by others"));
}

/// Hostile input 20.
#[test]
fn setuid_and_setgid_are_refused_unless_the_policy_says_so() {
    let yard = yard();
    for mode in [0o4755, 0o2755] {
        yard.mode(mode);
        assert!(yard.refusal().contains("setuid"), "{mode:o}");
    }
    assert!(yard.look(&BinaryRule { allow_setuid: true, ..BinaryRule::default() }).is_ok());
}

/// Hostile input 20.
#[test]
fn a_file_with_other_names_is_refused_unless_they_are_the_agents_or_the_policy_says_so() {
    let yard = yard();
    fs::hard_link(yard.path(), yard.bin().join(KEPT)).unwrap();
    assert!(yard.look(&BinaryRule::default()).is_ok(), "our own kept name");
    fs::hard_link(yard.path(), yard.dir.path().join("elsewhere")).unwrap();
    assert!(yard.refusal().contains("3 names"));
    assert!(yard.look(&BinaryRule { allow_hard_links: true, ..BinaryRule::default() }).is_ok());
}

#[test]
fn what_is_not_there_or_not_executable_is_refused() {
    let yard = yard();
    yard.mode(0o644);
    assert!(yard.refusal().contains("not executable"));
    fs::remove_file(yard.path()).unwrap();
    assert!(yard.look(&BinaryRule::default()).unwrap_err().to_string().contains("etcd: open it"));
    assert_eq!(yard.place().digest().unwrap(), None);
}

#[test]
fn mode_owner_and_attributes_are_taken_over() {
    let yard = yard();
    yard.mode(0o750);
    let xattr =
        |name: &str| rustix::fs::setxattr(yard.path(), name, b"x", rustix::fs::XattrFlags::empty()).is_ok();
    let had = xattr("user.drydock.test");
    // cap_net_bind_service+ep, as setcap writes it.
    let caps = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(yard.path(), None, Some(4242)).unwrap();
        rustix::fs::setxattr(yard.path(), "security.capability", &caps, rustix::fs::XattrFlags::empty())
            .unwrap();
    }
    let before = fs::metadata(yard.path()).unwrap();
    yard.swap().unwrap();
    let after = fs::metadata(yard.path()).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
    let mut value = vec![0u8; 64];
    if had {
        let length = rustix::fs::getxattr(yard.path(), "user.drydock.test", value.as_mut_slice()).unwrap();
        assert_eq!(&value[..length], b"x");
    }
    if root {
        let length = rustix::fs::getxattr(yard.path(), "security.capability", value.as_mut_slice()).unwrap();
        assert_eq!(&value[..length], caps);
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "change times must differ, and the kernel's clock for them is coarse"
)]
fn only_the_newest_kept_file_of_earlier_effects_stays() {
    let yard = yard();
    let names = [".etcd.drydock-00000001.old", ".etcd.drydock-00000002.old", ".etcd.drydock-00000003.new"];
    for name in names {
        fs::write(yard.bin().join(name), name).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for strange in [".etcd.drydock-zzzzzzzz.old", ".etcd.drydock-00000001.bak", ".other.drydock-00000001.old"]
    {
        fs::write(yard.bin().join(strange), "").unwrap();
    }
    yard.swap().unwrap();
    let names = yard.names();
    assert!(!names.contains(&".etcd.drydock-00000001.old".to_owned()), "{names:?}");
    assert!(names.contains(&".etcd.drydock-00000002.old".to_owned()), "{names:?}");
    assert!(!names.contains(&".etcd.drydock-00000003.new".to_owned()), "{names:?}");
    assert_eq!(names.len(), 6, "{names:?}");
}

#[test]
fn space_for_both_copies_and_the_reserve_is_demanded() {
    let path = Path::new("/usr/bin/etcd");
    let copies = 10 << 20;
    assert!(place::enough(path, copies + RESERVE_BYTES, Some(3), copies).is_ok());
    let error = place::enough(path, copies + RESERVE_BYTES - 1, None, copies).unwrap_err().to_string();
    assert!(error.contains("/usr/bin has 73 MiB free, and 74 MiB are needed"), "{error}");
    assert!(place::enough(path, u64::MAX, Some(2), copies).unwrap_err().to_string().contains("inodes"));
    assert!(place::enough(path, u64::MAX - 1, None, u64::MAX).is_err(), "no wrapping");
}

/// A small file system that is gone with the test.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount(&self.0);
    }
}

#[test]
fn a_file_system_that_is_too_small_is_refused_and_unchanged() {
    let yard = yard();
    let small = yard.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let flags = nix::mount::MsFlags::empty();
    if nix::mount::mount(Some("none"), &small, Some("tmpfs"), flags, Some("size=1m,mode=755")).is_err() {
        return; // Not root: the seam above has the case.
    }
    let _small = Small(small.clone());
    let target = small.join("etcd");
    fs::copy(yard.path(), &target).unwrap();
    let place = Place::open(&AbsPath::parse(target.to_str().unwrap()).unwrap(), EFFECT).unwrap();
    let opened = place.target(&BinaryRule::default()).unwrap();
    let error = place.stage(&opened, &yard.artifact, Sha256::of(NEW)).unwrap_err().to_string();
    assert!(error.contains("needed"), "{error}");
    assert_eq!(fs::read_dir(&small).unwrap().count(), 1);
}

fn program(machine: u16, class: u8) -> tempfile::NamedTempFile {
    let mut head = [0u8; 64];
    head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), head).unwrap();
    file
}

#[test]
fn only_a_program_for_this_machine_is_taken() {
    let host = std::env::consts::ARCH;
    let check = |file: &Path, arch: &str| {
        elf::check(&File::open(file).unwrap(), file, arch).map_err(|e| e.to_string())
    };
    let me = std::env::current_exe().unwrap();
    assert_eq!(check(&me, host), Ok(()));
    assert!(check(&me, "mips").unwrap_err().contains("labelled for mips"));
    let (other, number) = if host == "x86_64" { ("aarch64", 183) } else { ("x86_64", 62) };
    assert!(check(program(number, 2).path(), host).unwrap_err().contains(other));
    assert!(check(program(62, 1).path(), host).is_err(), "x32 is not x86_64");
    assert!(check(program(9999, 2).path(), host).unwrap_err().contains("9999"));
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), "#!/bin/sh\nexit 0 # long enough\n").unwrap();
    assert!(check(script.path(), host).unwrap_err().contains("not an ELF"));
    fs::write(script.path(), "\x7fELF").unwrap();
    assert!(check(script.path(), host).unwrap_err().contains("not an ELF"));
}
