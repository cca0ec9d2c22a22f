use std::{os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;

use super::*;

const LOCAL_SAID: &str = include_str!("recorded-local.json");
const SOUTHBOUND_SAID: &str = include_str!("recorded-southbound.json");

/// A node whose tools are scripts, and whose ovn-controller is a process of that name.
struct Node {
    dir: TempDir,
    tools: Tools,
    _controller: tokio::process::Child,
}

impl Node {
    /// A client that answers locally as recorded, and of the southbound database what `southbound` does.
    async fn new(southbound: &str, appctl: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let program = dir.path().join("ovn-controller");
        copy(Path::new("/bin/sleep"), &program).await;
        let controller =
            tokio::process::Command::new(&program).arg("600").kill_on_drop(true).spawn().unwrap();
        let pid = controller.id().unwrap();
        fs::write(dir.path().join("ovn-controller.pid"), format!("{pid}\n")).unwrap();
        let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        file("local", LOCAL_SAID);
        file("southbound", SOUTHBOUND_SAID);
        let at = dir.path().display();
        let southbound = southbound.replace("RECORDED", &format!("{at}/southbound"));
        let client = format!("case \"$*\" in *OVN_Southbound*) {southbound};; *) cat {at}/local;; esac");
        let tools = Tools {
            client: Some(script(dir.path(), "client", &client).await),
            appctl: Some(script(dir.path(), "appctl", appctl).await),
            controller: Some(program),
            run: dir.path().into(),
            override_file: dir.path().join("override"),
        };
        Self { dir, tools, _controller: controller }
    }

    async fn view(&self) -> OvnView {
        at(&self.tools).await.unwrap().view
    }
}

/// By another process: one that a test beside this forks would have it open for writing, and it could not be run.
async fn copy(from: &Path, to: &Path) {
    let paths = [from, to].map(|path| path.display().to_string());
    assert!(Program::new("/bin/cp").args(paths).run().await.unwrap().status.success());
}

async fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let (written, path) = (dir.join(format!("{name}.sh")), dir.join(name));
    fs::write(&written, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).unwrap();
    copy(&written, &path).await;
    path
}

const WELL: &str = "case \"$*\" in *version) echo 'ovn-controller 23.03.1'; echo 'Open vSwitch Library 3.1.0';; \
                    *connection-status) echo connected;; esac";

#[tokio::test]
async fn three_sources_are_put_together() {
    let node = Node::new("cat RECORDED", WELL).await;
    let seen = at(&node.tools).await.unwrap();
    assert_eq!(seen.view.caught_up(), Ok(2));
    assert_eq!(seen.view.version.as_deref(), Ok("23.03.1"));
    assert_eq!(seen.view.chassis, "n1");
    assert!(seen.controller.unwrap().runs_installed);
    // What lies there now is another file.
    fs::remove_file(node.dir.path().join("ovn-controller")).unwrap();
    copy(Path::new("/bin/sleep"), &node.dir.path().join("ovn-controller")).await;
    assert!(!at(&node.tools).await.unwrap().controller.unwrap().runs_installed);
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_known_and_says_why() {
    let without = |change: fn(&mut Tools)| async move {
        let mut node = Node::new("cat RECORDED", WELL).await;
        change(&mut node.tools);
        node.view().await.caught_up().unwrap_err()
    };
    assert!(without(|it| it.appctl = None).await.contains("ovn-appctl is not installed"));
    assert!(without(|it| it.run = "/nonexistent".into()).await.contains("ovn-controller.pid"));
    for (southbound, appctl, word) in [
        ("echo 'ovsdb-client: failed to connect to \"tcp:x\"' >&2; exit 1", WELL, "failed to connect"),
        ("echo garbage", WELL, "not the JSON that is expected"),
        ("head -c 5000000 /dev/zero", WELL, "answered more than"),
        ("cat RECORDED", "echo '\u{1b}[2J'", "no version of ovn-controller"),
        ("cat RECORDED", "echo 'cannot connect to socket' >&2; exit 2", "cannot connect to socket"),
        (
            "cat RECORDED",
            "case \"$*\" in *version) echo 'ovn-controller 23.03.1';; *) echo perhaps;; esac",
            "perhaps",
        ),
    ] {
        let why = Node::new(southbound, appctl).await.view().await.caught_up().unwrap_err();
        assert!(why.contains(word), "{word}: {why}");
    }
    let mut node = Node::new("cat RECORDED", WELL).await;
    node.tools.client = None;
    assert!(at(&node.tools).await.unwrap_err().what.contains("ovsdb-client is not installed"));
}

#[tokio::test]
async fn what_hangs_is_given_up_in_time() {
    let node = Node::new("sleep 600", "sleep 600").await;
    let begun = std::time::Instant::now();
    let view = node.view().await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(view.version.unwrap_err().contains("had not ended"));
    assert!(view.connection.unwrap_err().contains("had not ended"));
    assert!(view.southbound.unwrap_err().contains("had not ended"));
}

#[tokio::test]
async fn a_name_with_quotes_and_newlines_reaches_the_database_as_it_is_and_people_printable() {
    let node = Node::new("printf '%s' \"$*\" > RECORDED.asked; cat RECORDED", WELL).await;
    let hostile = LOCAL_SAID.replace("\"n1\"", r#""a\"b\n$(reboot)""#);
    fs::write(node.dir.path().join("local"), hostile).unwrap();
    assert_eq!(node.view().await.chassis, "a\"b\\n$(reboot)");
    let asked = fs::read_to_string(node.dir.path().join("southbound.asked")).unwrap();
    assert!(asked.contains(r#"["name","==","a\"b\n$(reboot)"]"#), "{asked}");
    // The file comes before the database.
    fs::write(node.dir.path().join("override"), "other\n").unwrap();
    assert_eq!(node.view().await.chassis, "other");
}

#[tokio::test]
async fn a_node_that_is_no_chassis_says_so() {
    let node = Node::new("cat RECORDED", WELL).await;
    fs::write(node.dir.path().join("local"), LOCAL_SAID.replace("ovn-remote", "x")).unwrap();
    assert!(at(&node.tools).await.unwrap_err().what.contains("no chassis of OVN"));
}
