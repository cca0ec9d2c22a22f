//! What K3s is on this node. Read-only.
//!
//! Sources in k3s-io/k3s: `pkg/cluster/managed.go` (`assignManagedDriver`: an initialised embedded etcd wins, then what
//! `datastore-endpoint` says, else SQLite), `pkg/etcd/etcd.go` (`DBDir`, `walDir`, `nameFile`), and
//! `pkg/daemons/control/deps/deps.go` (`FillRuntimeCerts`: where the certificates lie).

use std::{
    fs,
    path::{Path, PathBuf},
};

use drydock_types::{
    UnitName,
    probe::{K3sDatastore, K3sView},
    step::{CheckK3s, K3sRole},
};

use super::{api::Api, settings::Settings};
use crate::{
    actions::Problem,
    host::Host,
    sys::{
        blocking,
        bounded::{self, Kind},
        process,
        units::{UnitInfo, Units, printable_line},
    },
};

/// Where K3s keeps everything unless it is told otherwise.
const DATA_DIR: &str = "/var/lib/rancher/k3s";
const OS_RELEASE: &str = "/etc/os-release";
/// Switches that take a part out of a server.
const PARTS: [&str; 3] = ["disable-etcd", "disable-apiserver", "disable-agent"];

/// K3s as its unit has it.
#[derive(Debug, Clone)]
pub struct K3s {
    /// The unit's own name.
    pub id: String,
    /// Its settings.
    pub settings: Settings,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its main process; 0 when there is none.
    pub main_pid: u32,
    kill_mode: String,
}

impl K3s {
    /// Looks at a unit of the policy.
    ///
    /// # Errors
    /// When this host has no K3s as its installer sets it up, with the word for what it is instead.
    pub async fn look(host: &Host, unit: &UnitName) -> Result<Self, Problem> {
        host.policy.may_watch(unit)?;
        let runs_units_itself = matches!(host.units, Units::Supervised(_));
        blocking(move || {
            let os_release = bounded::text(Path::new(OS_RELEASE), Kind::OsRelease).unwrap_or_default();
            is_for_units(&os_release, runs_units_itself || process::systemd_is_here())
        })
        .await?;
        let info = host.units.load(unit).await.map_err(|error| {
            Problem::new(format!("K3s does not run as {unit} here: {error}"))
                .next("name its unit in the plan (`with: {unit: …}`), or leave this node out")
        })?;
        blocking(move || Self::of(&info)).await
    }

    /// Reads what the unit says. Blocks on files.
    ///
    /// # Errors
    /// When the unit does not start K3s, or its settings cannot be read.
    pub fn of(info: &UnitInfo) -> Result<Self, Problem> {
        let settings = Settings::of(info)?;
        let data_dir = settings.get(&["data-dir", "d"], Some("K3S_DATA_DIR"));
        let data_dir = PathBuf::from(data_dir.unwrap_or(DATA_DIR));
        if !data_dir.is_absolute() {
            let dir = printable_line(&data_dir.display().to_string());
            return Err(Problem::new(format!(
                "{}: the data directory {dir:?} is not an absolute path",
                info.id
            ))
            .next("give --data-dir as an absolute path"));
        }
        let (id, kill_mode, main_pid) = (info.id.clone(), info.kill_mode.clone(), info.main_pid);
        Ok(Self { id, settings, data_dir, main_pid, kill_mode })
    }

    /// Everything of it that may leave the node. Blocks on files.
    ///
    /// # Errors
    /// When what must be known of a server cannot be read.
    pub fn view(&self) -> Result<K3sView, Problem> {
        let is_server = self.settings.role == K3sRole::Server;
        let disabled = PARTS.iter().filter(|part| is_server && self.settings.is_on(part, None));
        Ok(K3sView {
            role: self.settings.role,
            datastore: if is_server { Some(self.datastore()?) } else { None },
            disabled: disabled.map(|part| (*part).to_owned()).collect(),
        })
    }

    /// [`Self::datastore`], off the thread that serves the stream.
    ///
    /// # Errors
    /// As there.
    pub async fn datastore_now(&self) -> Result<K3sDatastore, Problem> {
        let k3s = self.clone();
        blocking(move || k3s.datastore()).await
    }

    /// Where a server keeps the cluster's state. Blocks on files.
    ///
    /// # Errors
    /// When it is embedded etcd and was never begun, or its member's name cannot be read.
    pub fn datastore(&self) -> Result<K3sDatastore, Problem> {
        let etcd = self.data_dir.join("server/db/etcd");
        if etcd.join("member/wal").is_dir() {
            let file = etcd.join("name");
            let name = bounded::text(&file, Kind::Name).map_err(|error| {
                Problem::new(format!(
                    "the name of K3s's etcd member cannot be read: {}: {error}",
                    file.display()
                ))
                .next("a K3s server writes it there when it starts")
            })?;
            return Ok(K3sDatastore::EmbeddedEtcd { member: name.trim().to_owned() });
        }
        if let Some(endpoint) = self.settings.get(&["datastore-endpoint"], Some("K3S_DATASTORE_ENDPOINT")) {
            return Ok(K3sDatastore::External { kind: scheme(endpoint) });
        }
        let has = |names: &[&str], variable| self.settings.get(names, Some(variable)).is_some();
        let joins = has(&["server", "s"], "K3S_URL")
            && (has(&["token", "t"], "K3S_TOKEN") || has(&["token-file"], "K3S_TOKEN_FILE"));
        if joins || self.settings.is_on("cluster-init", Some("K3S_CLUSTER_INIT")) {
            return Err(Problem::new(format!(
                "{} is to have a member of etcd, and there is none in {}: it has not joined its cluster",
                self.id,
                etcd.display()
            ))
            .next(format!("systemctl status {}; journalctl -u {} -e", self.id, self.id)));
        }
        Ok(K3sDatastore::Sqlite {})
    }

    /// Where the SQLite database of a server lies.
    #[must_use]
    pub fn sqlite(&self) -> PathBuf {
        self.data_dir.join("server/db/state.db")
    }

    /// The server's API on this node.
    ///
    /// # Errors
    /// When this is no server, or its port is none.
    pub fn api(&self) -> Result<Api, Problem> {
        if self.settings.role != K3sRole::Server {
            return Err(Problem::new(format!("{} is a K3s agent: it has no API of its own", self.id)));
        }
        let port = self.settings.get(&["https-listen-port"], None).unwrap_or("6443");
        let port =
            port.parse().map_err(|_| Problem::new(format!("{}: https-listen-port is no port", self.id)))?;
        let bound = self.settings.get(&["bind-address"], None);
        let host = bound.filter(|address| !matches!(*address, "0.0.0.0" | "::")).unwrap_or("127.0.0.1");
        Ok(Api::new(host, port, &self.data_dir.join("server/tls")))
    }

    /// Sees that the database that lies there is the one that K3s writes to: a directory that it left long ago may hold
    /// another. Blocks on files.
    ///
    /// # Errors
    /// When K3s does not run, or its main process does not have that file open.
    pub fn has_open(&self, database: &Path) -> Result<(), Problem> {
        let (id, pid, shown) = (&self.id, self.main_pid, database.display());
        if pid == 0 {
            return Err(Problem::new(format!(
                "{id} does not run: whether {shown} is its datastore cannot be seen"
            ))
            .next(format!("systemctl start {id}")));
        }
        let lies = fs::metadata(database)
            .map_err(|error| {
                Problem::new(format!("the K3s datastore {shown} cannot be copied: {error}"))
                    .next(format!("see where {id} keeps it: ls -l /proc/{pid}/fd"))
            })
            .map(|meta| process::FileId::of(&meta))?;
        let open = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| {
            Problem::new(format!(
                "the open files of the main process of {id} ({pid}) cannot be read: {error}"
            ))
            .next("let the agent run as root")
        })?;
        // A file may be closed again before it is looked at.
        let mut open = open.flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
        if open.any(|meta| process::FileId::of(&meta) == lies) {
            return Ok(());
        }
        Err(Problem::new(format!(
            "the main process of {id} ({pid}) does not have {shown} open: it writes to another datastore"
        ))
        .next(format!(
            "see which one: ls -l /proc/{pid}/fd; then systemctl restart {id}, if its settings were changed"
        )))
    }

    /// Is it what a recipe says, and does a restart leave pods alone?
    ///
    /// # Errors
    /// What is not so, with what to do.
    pub fn check(&self, wanted: &CheckK3s) -> Result<(), Problem> {
        let Self { id, settings, .. } = self;
        let (is, role) = (settings.role.as_str(), wanted.role.as_str());
        if is != role {
            return Err(Problem::new(format!("{id} is a K3s {is}, and the recipe is for a K3s {role}"))
                .next(format!("use recipe k3s-{is} for this node")));
        }
        if settings.program != wanted.path.as_str() {
            return Err(Problem::new(format!(
                "{id} starts {}, and the recipe would exchange {}",
                settings.program, wanted.path
            ))
            .next(format!("say in the plan: `with: {{path: {}}}`", settings.program)));
        }
        if self.kill_mode != "process" {
            return Err(Problem::new(format!(
                "{id} has KillMode={}: its restart would kill every pod of this node; K3s's installer sets \
                 KillMode=process",
                self.kill_mode
            ))
            .next(format!(
                "printf '[Service]\\nKillMode=process\\n' > /etc/systemd/system/{id}.d/10-kill-mode.conf (mkdir that \
                 directory first), then systemctl daemon-reload"
            )));
        }
        Ok(())
    }
}

/// The scheme of an address and nothing else of it, for the rest may hold a password.
fn scheme(endpoint: &str) -> String {
    let scheme = endpoint.split_once("://").map(|(scheme, _)| scheme);
    let fine = |text: &&str| text.len() <= 16 && text.chars().all(|c| c.is_ascii_alphanumeric());
    scheme.filter(|text| !text.is_empty()).filter(fine).unwrap_or("of an unknown kind").to_owned()
}

/// Is this a host on which K3s runs as a unit that can be restarted?
fn is_for_units(os_release: &str, systemd: bool) -> Result<(), Problem> {
    let id = os_release.lines().find_map(|line| line.strip_prefix("ID="));
    if id.map(|id| id.trim_matches(['"', '\''])) == Some("talos") {
        return Err(Problem::new(
            "this is Talos Linux: Kubernetes is part of its image here, and there is no K3s",
        )
        .next("upgrade Talos by its own means, and leave this node out of the stage"));
    }
    if !systemd {
        return Err(Problem::new(
            "there is no systemd on this node: K3s's service is not systemd's (OpenRC, perhaps)",
        )
        .next("leave this node out of the stage"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use drydock_types::AbsPath;

    use super::*;
    use crate::sys::units::Started;

    struct Node(tempfile::TempDir);

    impl Node {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("config.yaml"), "").unwrap();
            Self(dir)
        }

        fn k3s(&self, more: &[&str]) -> K3s {
            let dir = self.0.path().display();
            let fixed = ["/usr/local/bin/k3s", "server", "--config", &format!("{dir}/config.yaml")]
                .map(str::to_owned);
            let data = ["--data-dir".to_owned(), dir.to_string()];
            let exec_start = fixed.into_iter().chain(data).chain(more.iter().map(|arg| (*arg).to_owned()));
            let info = UnitInfo {
                id: "k3s.service".into(),
                kill_mode: "process".into(),
                started: Started { exec: exec_start.collect(), ..Started::default() },
                ..UnitInfo::default()
            };
            K3s::of(&info).unwrap()
        }

        fn etcd(&self) {
            fs::create_dir_all(self.0.path().join("server/db/etcd/member/wal")).unwrap();
            fs::write(self.0.path().join("server/db/etcd/name"), "k3s-1-0badcafe").unwrap();
        }
    }

    fn wanted() -> CheckK3s {
        CheckK3s {
            unit: UnitName::parse("k3s.service").unwrap(),
            path: AbsPath::parse("/usr/local/bin/k3s").unwrap(),
            role: K3sRole::Server,
        }
    }

    #[test]
    fn the_datastore_is_the_one_that_k3s_would_choose() {
        let node = Node::new();
        let of = |more: &[&str]| node.k3s(more).datastore();
        assert_eq!(of(&[]).unwrap(), K3sDatastore::Sqlite {});
        let external = |kind: &str| K3sDatastore::External { kind: kind.into() };
        assert_eq!(
            of(&["--datastore-endpoint", "mysql://root:hunter2@tcp(db:3306)/k3s"]).unwrap(),
            external("mysql")
        );
        assert_eq!(of(&["--datastore-endpoint=postgres://u:p@db/k3s"]).unwrap(), external("postgres"));
        assert_eq!(of(&["--datastore-endpoint=https://etcd-1:2379"]).unwrap(), external("https"));
        assert_eq!(
            of(&["--datastore-endpoint=root:hunter2@tcp(db)"]).unwrap(),
            external("of an unknown kind")
        );
        for joins in [["--cluster-init"].as_slice(), &["--server", "https://a:6443", "--token", "hunter2"]] {
            let problem = of(joins).unwrap_err();
            assert!(
                problem.what.contains("has not joined") && !problem.what.contains("hunter2"),
                "{problem}"
            );
        }
        node.etcd();
        let embedded = K3sDatastore::EmbeddedEtcd { member: "k3s-1-0badcafe".into() };
        for more in [[].as_slice(), &["--cluster-init"], &["--datastore-endpoint", "mysql://x"]] {
            assert_eq!(of(more).unwrap(), embedded, "what is initialised wins: {more:?}");
        }
    }

    #[test]
    fn the_data_directory_and_cluster_init_are_taken_from_the_environment_too() {
        let node = Node::new();
        let dir = node.0.path().display().to_string();
        let seen = |more: &[&str], environment: &[&str]| {
            let exec = ["/usr/local/bin/k3s", "server"].iter().chain(more).map(|arg| (*arg).to_owned());
            let config = format!("K3S_CONFIG_FILE={dir}/config.yaml");
            let environment = environment.iter().map(|pair| (*pair).to_owned()).chain([config]);
            let started =
                Started { exec: exec.collect(), environment: environment.collect(), ..Started::default() };
            K3s::of(&UnitInfo { id: "k3s.service".into(), started, ..UnitInfo::default() })
        };
        let of = |more: &[&str], environment: &[&str]| seen(more, environment).unwrap();
        let variable = format!("K3S_DATA_DIR={dir}");
        assert_eq!(of(&[], &[&variable]).data_dir, node.0.path());
        assert_eq!(of(&[], &[]).data_dir, Path::new(DATA_DIR));
        assert_eq!(of(&["--data-dir=/srv"], &[&variable]).data_dir, Path::new("/srv"), "a flag wins");
        let problem = of(&[], &[&variable, "K3S_CLUSTER_INIT=true"]).datastore().unwrap_err();
        assert!(problem.what.contains("has not joined"), "{problem}");
        let sqlite = of(&[], &[&variable, "K3S_CLUSTER_INIT=false"]).datastore().unwrap();
        assert_eq!(sqlite, K3sDatastore::Sqlite {});
        fs::write(node.0.path().join("config.yaml"), "data-dir: /file\n").unwrap();
        assert_eq!(of(&[], &[&variable]).data_dir, Path::new("/file"), "the file wins");
        let problem = seen(&["--data-dir=srv/k3s"], &[]).unwrap_err();
        assert!(problem.what.contains("\"srv/k3s\" is not an absolute path"), "{problem}");
    }

    #[test]
    fn a_database_counts_only_where_the_main_process_has_it_open() {
        let node = Node::new();
        let path = node.0.path().join("state.db");
        fs::write(&path, "x").unwrap();
        let k3s = |main_pid| K3s { main_pid, ..node.k3s(&[]) };
        let me = std::process::id();
        let file = fs::File::open(&path).unwrap();
        k3s(me).has_open(&path).unwrap();
        assert!(k3s(0).has_open(&path).unwrap_err().what.contains("does not run"));
        drop(file);
        let problem = k3s(me).has_open(&path).unwrap_err();
        assert!(problem.what.contains("another datastore"), "{problem}");
        let _left = fs::File::open(&path).unwrap();
        fs::rename(&path, node.0.path().join("moved")).unwrap();
        fs::write(&path, "stale").unwrap();
        assert!(k3s(me).has_open(&path).is_err(), "another file of the same name");
    }

    #[test]
    fn what_leaves_the_node_holds_no_secret() {
        let node = Node::new();
        let k3s = node.k3s(&["--token=hunter2", "--datastore-endpoint", "mysql://root:hunter2@tcp(db)/k3s"]);
        let view = serde_json::to_string(&k3s.view().unwrap()).unwrap();
        assert!(view.contains("\"mysql\"") && !view.contains("hunter2") && !view.contains("db"), "{view}");
        assert!(!format!("{k3s:?}").contains("hunter2"));
    }

    #[test]
    fn a_unit_whose_restart_kills_pods_is_refused_with_the_drop_in_to_write() {
        let node = Node::new();
        node.k3s(&[]).check(&wanted()).unwrap();
        let k3s = K3s { kill_mode: "control-group".into(), ..node.k3s(&[]) };
        let problem = k3s.check(&wanted()).unwrap_err();
        assert!(
            problem.what.contains("KillMode=control-group") && problem.what.contains("every pod"),
            "{problem}"
        );
        assert!(problem.next[0].contains("KillMode=process") && problem.next[0].contains("k3s.service.d"));
    }

    #[test]
    fn another_role_and_another_program_are_refused_with_what_to_write() {
        let k3s = Node::new().k3s(&[]);
        let problem = k3s.check(&CheckK3s { role: K3sRole::Agent, ..wanted() }).unwrap_err();
        assert!(problem.next[0].contains("k3s-server"), "{problem:?}");
        let path = AbsPath::parse("/opt/k3s").unwrap();
        let problem = k3s.check(&CheckK3s { path, ..wanted() }).unwrap_err();
        assert!(problem.next[0].contains("path: /usr/local/bin/k3s"), "{problem:?}");
    }

    #[test]
    fn a_host_that_is_none_of_this_is_refused_with_its_word() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n";
        is_for_units(debian, true).unwrap();
        assert!(is_for_units(debian, false).unwrap_err().what.contains("no systemd"));
        for talos in ["ID=talos\n", "NAME=\"Talos\"\nID=\"talos\"\n"] {
            assert!(is_for_units(talos, true).unwrap_err().what.contains("Talos"));
        }
        is_for_units("ID_LIKE=talos\nID=mine\n", true).unwrap();
    }

    #[test]
    fn the_api_is_asked_where_the_server_listens() {
        let node = Node::new();
        let at = |more: &[&str]| node.k3s(more).api().unwrap().to_string();
        assert_eq!(at(&[]), "https://127.0.0.1:6443");
        assert_eq!(at(&["--https-listen-port=7443", "--bind-address=0.0.0.0"]), "https://127.0.0.1:7443");
        assert_eq!(at(&["--bind-address", "10.0.0.7"]), "https://10.0.0.7:6443");
        assert!(node.k3s(&["--https-listen-port", "x"]).api().is_err());
    }

    #[test]
    fn a_member_without_a_name_and_split_roles_are_told() {
        let node = Node::new();
        node.etcd();
        let view = node.k3s(&["--disable-etcd", "--disable-agent=false"]).view().unwrap();
        assert_eq!(view.disabled, ["disable-etcd"]);
        let name = node.0.path().join("server/db/etcd/name");
        fs::write(&name, vec![b'x'; 8 << 10]).unwrap();
        let problem = node.k3s(&[]).view().unwrap_err();
        assert!(problem.what.contains("name") && problem.what.contains("over 4096 bytes"), "{problem}");
        fs::remove_file(&name).unwrap();
        assert!(node.k3s(&[]).view().unwrap_err().what.contains("name"));
    }
}
