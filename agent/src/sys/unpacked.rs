//! Programs that unpack themselves: K3s's installed file unpacks an archive into `DATADIR/data/<hash>/` and executes
//! what lies there, so that the executable in memory is never the installed file.
//!
//! Which file unpacked it is told by the directory's name. It is the digest of the archive, and the archive stands
//! under that very name in the file that carries it. So a process whose executable lies in `<hash>/` was unpacked by a
//! file in which `<hash>` stands, and not by one in which another does. Proven is which program it belongs to, not
//! every byte of what was unpacked: that directory is root's.
//!
//! Source in k3s-io/k3s: `cmd/k3s/main.go` (`getAssetAndDir`, `extract`, `stageAndRun`), `scripts/package-cli`
//! (`HASH=$(sha256sum … data.tar.zst)`, the archive's name).

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::Mutex,
};

use drydock_types::AbsPath;
use memchr::memmem::Finder;

use super::process::{Exe, FileId, Seen, digest, file_at};
use crate::policy::BinaryRule;

/// How much of a file is searched at once, in bytes.
const PIECE: usize = 1 << 20;
/// Hex digits of an archive's digest.
const HASH_CHARS: usize = 64;
/// How many answers are remembered.
const REMEMBERED: usize = 16;

/// A process that runs what another program unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The installed program.
    pub program: AbsPath,
    /// The installed program's file, as it lies there now.
    pub installed: Exe,
    /// Where the executable in memory lies.
    pub from: String,
}

static NAMED: Mutex<VecDeque<(Seen, String, bool)>> = Mutex::new(VecDeque::new());

/// The installed program that unpacked what a process has in memory, if one of the policy's did. Reads the program
/// once; later looks are cheap.
#[must_use]
pub fn program_of(pid: u32, binaries: &BTreeMap<AbsPath, BinaryRule>) -> Option<Unpacked> {
    let unpackers = binaries.iter().filter(|(_, rule)| !rule.unpacks_under.is_empty());
    for (program, rule) in unpackers {
        for under in &rule.unpacks_under {
            match look(pid, program, under) {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(pid, %program, %error, "what it unpacked could not be looked at")
                }
            }
        }
    }
    None
}

fn look(pid: u32, program: &AbsPath, under: &AbsPath) -> io::Result<Option<Unpacked>> {
    let link = format!("/proc/{pid}/exe");
    let from = fs::read_link(&link)?;
    // The kernel tells the true path; what is listed may lead there by a link.
    let Ok(under) = fs::canonicalize(under.as_str()) else { return Ok(None) };
    let Ok(inside) = from.strip_prefix(&under) else { return Ok(None) };
    let hash = inside.components().next().and_then(|part| part.as_os_str().to_str());
    let Some(hash) = hash.filter(|it| it.len() == HASH_CHARS && it.bytes().all(|b| b.is_ascii_hexdigit()))
    else {
        return Ok(None);
    };
    // Of one that was removed or exchanged meanwhile the name tells nothing.
    let memory = fs::metadata(&link).map(|meta| FileId::of(&meta))?;
    if file_at(&from.display().to_string()).ok() != Some(memory) {
        return Ok(None);
    }
    let file = File::open(program.as_str())?;
    if !carries(&file, hash)? {
        return Ok(None);
    }
    let installed = Exe { file: FileId::of(&file.metadata()?), sha256: digest(&file)? };
    Ok(Some(Unpacked { program: program.clone(), installed, from: from.display().to_string() }))
}

/// Does the name of the archive stand in the file?
fn carries(file: &File, hash: &str) -> io::Result<bool> {
    let seen = Seen::of(&file.metadata()?);
    let known = |list: &VecDeque<(Seen, String, bool)>| {
        list.iter().find(|(it, name, _)| *it == seen && name == hash).map(|(_, _, answer)| *answer)
    };
    if let Some(answer) = NAMED.lock().ok().and_then(|list| known(&list)) {
        return Ok(answer);
    }
    let answer = stands_in(file, hash.as_bytes())?;
    if Seen::of(&file.metadata()?) == seen
        && let Ok(mut list) = NAMED.lock()
    {
        list.truncate(REMEMBERED - 1);
        list.push_front((seen, hash.to_owned(), answer));
    }
    Ok(answer)
}

fn stands_in(file: &File, what: &[u8]) -> io::Result<bool> {
    let finder = Finder::new(what);
    let mut piece = Vec::with_capacity(PIECE + what.len());
    loop {
        // What may be the beginning of it stays for the next piece.
        let kept = piece.len().min(what.len().saturating_sub(1));
        piece.drain(..piece.len() - kept);
        let read = file.take(PIECE as u64).read_to_end(&mut piece)?;
        if finder.find(&piece).is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
    }
}

/// [`runs`], off the thread that serves the stream: a program that was not seen before is read whole.
pub async fn runs_now(pid: u32, path: &str, binaries: &BTreeMap<AbsPath, BinaryRule>) -> bool {
    let (path, binaries) = (path.to_owned(), binaries.clone());
    tokio::task::spawn_blocking(move || runs(pid, &path, &binaries)).await.unwrap_or(false)
}

/// Does the process run what lies at the path: the file itself, or what that file unpacks?
#[must_use]
pub fn runs(pid: u32, path: &str, binaries: &BTreeMap<AbsPath, BinaryRule>) -> bool {
    let Ok(disk) = file_at(path) else { return false };
    let memory = fs::metadata(Path::new("/proc").join(pid.to_string()).join("exe"));
    memory.is_ok_and(|meta| FileId::of(&meta) == disk)
        || program_of(pid, binaries)
            .is_some_and(|it| it.program.as_str() == path && it.installed.file == disk)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        os::unix::fs::{PermissionsExt as _, symlink},
        process::{Child, Command, Stdio},
    };

    use drydock_types::Sha256;

    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    /// A program that carries an archive of this name, and a data directory where several were unpacked.
    struct Ground {
        dir: tempfile::TempDir,
        binaries: BTreeMap<AbsPath, BinaryRule>,
        program: AbsPath,
    }

    fn absolute(path: &Path) -> AbsPath {
        AbsPath::parse(path.to_str().unwrap()).unwrap()
    }

    impl Ground {
        fn new(carried: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            for hash in [OLD, NEW, "current"] {
                let bin = data.join(hash).join("bin");
                fs::create_dir_all(&bin).unwrap();
                fs::copy("/bin/sleep", bin.join("k3s")).unwrap();
            }
            let program = absolute(&dir.path().join("k3s"));
            let rule = BinaryRule { unpacks_under: vec![absolute(&data)], ..BinaryRule::default() };
            let ground = Self { dir, binaries: BTreeMap::from([(program.clone(), rule)]), program };
            ground.install(carried);
            ground
        }

        fn install(&self, carried: &str) {
            // The name lies across the border of two pieces.
            let mut bytes = vec![b'x'; PIECE - 20];
            bytes.extend(format!("build/data/{carried}.tar.zst").into_bytes());
            bytes.extend(vec![b'y'; 1000]);
            let new = self.dir.path().join("new");
            fs::write(&new, bytes).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(new, self.program.as_str()).unwrap();
        }

        fn start(&self, hash: &str) -> Running {
            let exe = self.dir.path().join("data").join(hash).join("bin/k3s");
            Running(Command::new(exe).arg("600").stdin(Stdio::null()).spawn().unwrap())
        }
    }

    struct Running(Child);

    impl Running {
        fn pid(&self) -> u32 {
            self.0.id()
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn what_a_program_unpacked_is_known_as_that_programs() {
        let ground = Ground::new(OLD);
        let running = ground.start(OLD);
        let found = program_of(running.pid(), &ground.binaries).unwrap();
        assert_eq!(found.installed.sha256, Sha256::of(&fs::read(ground.program.as_str()).unwrap()));
        assert!(found.from.ends_with(&format!("{OLD}/bin/k3s")), "{}", found.from);
        assert!(runs(running.pid(), ground.program.as_str(), &ground.binaries));
    }

    #[test]
    fn after_an_exchange_the_old_process_is_not_the_new_programs() {
        let ground = Ground::new(OLD);
        let (old, new) = (ground.start(OLD), ground.start(NEW));
        assert!(runs(old.pid(), ground.program.as_str(), &ground.binaries));
        ground.install(NEW);
        assert_eq!(program_of(old.pid(), &ground.binaries), None);
        assert!(!runs(old.pid(), ground.program.as_str(), &ground.binaries));
        assert!(runs(new.pid(), ground.program.as_str(), &ground.binaries));
    }

    #[test]
    fn what_lies_in_no_directory_of_an_archive_or_was_removed_is_nobodys() {
        let ground = Ground::new(OLD);
        let elsewhere = ground.start("current");
        assert_eq!(program_of(elsewhere.pid(), &ground.binaries), None);
        let removed = ground.start(OLD);
        fs::remove_file(ground.dir.path().join("data").join(OLD).join("bin/k3s")).unwrap();
        assert_eq!(program_of(removed.pid(), &ground.binaries), None);
        assert_eq!(program_of(std::process::id(), &ground.binaries), None);
        assert_eq!(program_of(u32::MAX, &ground.binaries), None);
    }

    #[test]
    fn a_data_directory_behind_a_link_is_found() {
        let mut ground = Ground::new(OLD);
        let link = ground.dir.path().join("link");
        symlink(ground.dir.path().join("data"), &link).unwrap();
        ground.binaries.values_mut().for_each(|rule| rule.unpacks_under = vec![absolute(&link)]);
        let running = ground.start(OLD);
        assert!(program_of(running.pid(), &ground.binaries).is_some());
    }

    #[test]
    fn a_program_that_is_started_itself_needs_no_archive() {
        let dir = tempfile::tempdir().unwrap();
        let path = absolute(&dir.path().join("x"));
        fs::copy("/bin/sleep", path.as_str()).unwrap();
        let running = Running(Command::new(path.as_str()).arg("600").spawn().unwrap());
        assert!(runs(running.pid(), path.as_str(), &BTreeMap::new()));
        assert!(!runs(running.pid(), "/bin/sleep", &BTreeMap::new()));
    }
}
