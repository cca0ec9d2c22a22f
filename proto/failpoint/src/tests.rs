//! The bare macros here; the armed ones are tried by the kill matrix itself, whose every cell sees its point fire.

use std::io;

fn write(works: bool) -> io::Result<u8> {
    if works { Ok(7) } else { Err(io::ErrorKind::StorageFull.into()) }
}

#[test]
fn a_point_that_is_not_armed_is_the_bare_expression() {
    assert_eq!(crate::durable!("test.write", write(true)).unwrap(), 7);
    let refused: io::Result<u8> = crate::durable!("test.write", write(false));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let converted =
        crate::durable!("test.convert", |error: io::Error| error.kind(), Ok::<u8, io::ErrorKind>(3));
    assert_eq!(converted, Ok(3));
    assert_eq!(crate::effect!("test.effect", 1 + 1), 2);
}

/// A child process of this test's own binary, so that what it reads from its environment is its own.
#[cfg(feature = "failpoints")]
mod armed {
    use std::{fs, io, os::unix::process::ExitStatusExt as _, path::Path, process::Command};

    const CHILD: &str = "DRYDOCK_FAILPOINT_TEST_CHILD";

    /// What a child does: three writes into a file, each at a point.
    #[test]
    fn child() {
        let Some(file) = std::env::var_os(CHILD) else { return };
        let mut said = Vec::new();
        for n in 1..=3 {
            let line = format!("{n}\n");
            let append = || -> io::Result<()> {
                use io::Write as _;
                fs::OpenOptions::new().create(true).append(true).open(&file)?.write_all(line.as_bytes())
            };
            said.push(match crate::durable!("test.append", append()) {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{:?}", error.raw_os_error().unwrap_or(0)),
            });
        }
        fs::write(Path::new(&file).with_extension("said"), said.join(" ")).unwrap();
    }

    fn run(arm: &str) -> (Option<i32>, String, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let (file, armed, log) =
            (dir.path().join("lines"), dir.path().join("armed"), dir.path().join("points"));
        fs::write(&armed, arm).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::armed::child"])
            .env(CHILD, &file)
            .env("DRYDOCK_FAILPOINT_ARM", &armed)
            .env("DRYDOCK_FAILPOINT_LOG", &log)
            .status()
            .unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().replace('\n', " ");
        (status.signal(), read(&file), read(&file.with_extension("said")), read(&log))
    }

    #[test]
    fn a_point_fires_at_its_nth_passing_and_at_no_other() {
        let (signal, lines, said, log) = run("");
        assert_eq!((signal, lines.as_str(), said.as_str()), (None, "1 2 3 ", "ok ok ok"));
        assert_eq!(log, "test.append before test.append after ".repeat(3));
        let (signal, lines, said, log) = run("test.append 2 kill-before");
        assert_eq!((signal, lines.as_str(), said.as_str()), (Some(9), "1 ", ""));
        assert_eq!(log, "test.append before test.append after test.append before test.append fired ");
        let (signal, lines, ..) = run("test.append 2 kill-after");
        assert_eq!((signal, lines.as_str()), (Some(9), "1 2 "));
        let (signal, lines, said, _) = run("test.append 2 enospc");
        assert_eq!((signal, lines.as_str(), said.as_str()), (None, "1 3 ", "ok 28 ok"));
        let (_, lines, said, _) = run("test.append 2 eio");
        assert_eq!((lines.as_str(), said.as_str()), ("1 3 ", "ok 5 ok"));
        let (_, lines, said, _) = run("test.append 2 late-eio");
        assert_eq!((lines.as_str(), said.as_str()), ("1 2 3 ", "ok 5 ok"));
        let (signal, lines, ..) = run("another 1 kill-before");
        assert_eq!((signal, lines.as_str()), (None, "1 2 3 "));
    }
}
