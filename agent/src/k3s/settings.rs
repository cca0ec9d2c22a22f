//! What a unit tells K3s, merged as K3s merges it. Pure but for the reading of files.
//!
//! Sources in k3s-io/k3s: `install.sh` (`create_systemd_service_file`: which environment files the unit names),
//! `pkg/configfilearg/parser.go` (`findConfigFileFlag`, `dotDFiles`, `readConfigFile`: `K3S_CONFIG_FILE` before
//! `--config` before `/etc/rancher/k3s/config.yaml`; then `FILE.d/*.yaml` by name; the last file's value counts, a key
//! with `+` adds to it; what files say stands before the arguments, so arguments win), `pkg/cli/cmds/server.go` (names
//! of flags and of their environment variables; what a flag says wins over the environment).
//!
//! A running K3s hides its arguments from the process table (`pkg/proctitle`), so the unit is what is read.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use drydock_types::step::K3sRole;

use crate::{
    actions::Problem,
    sys::{
        bounded::{self, Kind},
        units::UnitInfo,
    },
};

/// Where K3s looks for its configuration.
const CONFIG: &str = "/etc/rancher/k3s/config.yaml";
/// Nobody has more drop-in files.
const MAX_FILES: usize = 64;

/// Flags that no word follows: `BoolFlag` and `BoolTFlag` in `pkg/cli/cmds` (server.go, agent.go, log.go, root.go).
const SWITCHES: [&str; 40] = [
    "alsologtostderr",
    "cluster-init",
    "cluster-reset",
    "debug",
    "disable-agent",
    "disable-apiserver",
    "disable-apiserver-lb",
    "disable-cloud-controller",
    "disable-controller-manager",
    "disable-default-registry-endpoint",
    "disable-etcd",
    "disable-helm-controller",
    "disable-kube-proxy",
    "disable-network-policy",
    "disable-scheduler",
    "disable-selinux",
    "docker",
    "embedded-registry",
    "enable-pprof",
    "etcd-disable-snapshots",
    "etcd-expose-metrics",
    "etcd-s3",
    "etcd-s3-insecure",
    "etcd-s3-skip-ssl-verify",
    "etcd-snapshot-compress",
    "flannel-external-ip",
    "flannel-ipv6-masq",
    "h",
    "help",
    "kine-tls",
    "multi-cluster-cidr",
    "no-flannel",
    "prefer-bundled-bin",
    "protect-kernel-defaults",
    "rootless",
    "secrets-encryption",
    "selinux",
    "supervisor-metrics",
    "tls-san-security",
    "with-node-id",
];

/// The settings of one K3s unit. Their values may be secrets: there is no `Debug` of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program that the unit starts.
    pub program: String,
    /// What it is started as.
    pub role: K3sRole,
    /// From the first file to the last argument; of a flag that stands twice the last one counts.
    flags: Vec<(String, String)>,
    environment: BTreeMap<String, String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Settings")
            .field("program", &self.program)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads what the unit names.
    ///
    /// # Errors
    /// When the unit does not start `k3s server` or `k3s agent`, or one of its files cannot be read. No value of a
    /// file is repeated.
    pub fn of(unit: &UnitInfo) -> Result<Self, Problem> {
        let id = &unit.id;
        let (program, rest) = unit.started.exec.split_first().ok_or_else(|| {
            Problem::new(format!("{id} starts no program")).next(format!("systemctl cat {id}"))
        })?;
        let (role, args) = role_of(rest).ok_or_else(|| {
            Problem::new(format!(
                "{id} does not start K3s: its ExecStart is neither `k3s server` nor `k3s agent`"
            ))
            .next(format!("systemctl cat {id}; a unit that starts K3s through a shell is not supported"))
        })?;
        let environment = environment(unit)?;
        let args = flags(id, args)?;
        let config = config_file(&environment, &args);
        let mut all = config_values(&config)?;
        all.extend(args);
        Ok(Self { program: program.clone(), role, flags: all, environment })
    }

    /// The value of a flag by one of its names, or else of its environment variable. An empty one counts as none.
    #[must_use]
    pub fn get(&self, names: &[&str], variable: Option<&str>) -> Option<&str> {
        let flag = self.flags.iter().rev().find(|(name, _)| names.contains(&name.as_str()));
        let value = flag.map(|(_, value)| value.as_str());
        let value = value.or_else(|| self.environment.get(variable?).map(String::as_str));
        value.filter(|value| !value.is_empty())
    }

    /// A switch: `--disable-etcd`, `--disable-etcd=true`, `disable-etcd: true`, or else its environment variable. An
    /// empty variable is off, as in K3s.
    #[must_use]
    pub fn is_on(&self, name: &str, variable: Option<&str>) -> bool {
        let is_true = |value: &str| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
        match self.flags.iter().rev().find(|(it, _)| it == name) {
            Some((_, value)) => value.is_empty() || is_true(value),
            None => variable.and_then(|name| self.environment.get(name)).is_some_and(|value| is_true(value)),
        }
    }
}

/// `server` or `agent` is the first word that is no flag; what stands behind it are K3s's own flags.
fn role_of(args: &[String]) -> Option<(K3sRole, &[String])> {
    let at = args.iter().position(|arg| !arg.starts_with('-'))?;
    let role = match args[at].as_str() {
        "server" => K3sRole::Server,
        "agent" => K3sRole::Agent,
        _ => return None,
    };
    Some((role, &args[at + 1..]))
}

/// `--name=value`, `--name value`, `--switch`. What K3s would read otherwise than this does is refused: a variable, whose
/// value systemd puts there at the start, and a bare word, behind which K3s reads no more flags. No value is repeated.
fn flags(id: &str, args: &[String]) -> Result<Vec<(String, String)>, Problem> {
    if args.iter().any(|arg| arg.replace("$$", "").contains('$')) {
        return Err(Problem::new(format!(
            "{id} starts K3s with a variable in its ExecStart: what K3s is told cannot be seen"
        ))
        .next(format!(
            "systemctl cat {id}; write the flags out, or put them into /etc/rancher/k3s/config.yaml"
        )));
    }
    let mut found = Vec::new();
    let mut rest = args.iter().peekable();
    while let Some(arg) = rest.next() {
        let name = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty());
        let Some(name) = name else {
            let behind = found.last().map_or_else(String::new, |(name, _)| format!(" behind --{name}"));
            return Err(Problem::new(format!(
                "{id} starts K3s with a word{behind} that belongs to no flag: K3s reads no flag after it"
            ))
            .next(format!("systemctl cat {id}; remove that word, or write it as --flag=value")));
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None if SWITCHES.contains(&name) => (name, String::new()),
            None => (name, rest.next_if(|next| !next.starts_with('-')).cloned().unwrap_or_default()),
        };
        found.push((name.to_owned(), value.replace("$$", "$")));
    }
    Ok(found)
}

/// What the unit's `Environment=` says and then each `EnvironmentFile=`, later ones over earlier ones
/// (systemd.exec(5)). One may be a pattern there, of whatever files are there at the start: that is refused.
fn environment(unit: &UnitInfo) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = unit.started.environment.iter().filter_map(|pair| pair.split_once('='));
    let mut all: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (path, may_be_missing) in &unit.started.environment_files {
        if path.contains(['*', '?', '[']) {
            let id = &unit.id;
            return Err(Problem::new(format!(
                "{id} has a pattern in its EnvironmentFile=, {path}: what K3s is told cannot be seen"
            ))
            .next(format!("systemctl cat {id}; name each file in an EnvironmentFile= of its own")));
        }
        match read(Path::new(path)) {
            Ok(text) => all.extend(environment_file(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound && *may_be_missing => {}
            Err(error) => return Err(unreadable(Path::new(path), &error.to_string())),
        }
    }
    Ok(all)
}

/// The lines of an `EnvironmentFile=`: `NAME=VALUE`, comments with `#` or `;`, values in quotes.
fn environment_file(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", "");
    let lines = joined.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()))).collect()
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return if quote == '"' {
                inner.replace("\\\"", "\"").replace("\\\\", "\\")
            } else {
                inner.to_owned()
            };
        }
    }
    value.to_owned()
}

fn config_file(environment: &BTreeMap<String, String>, args: &[(String, String)]) -> PathBuf {
    let named = environment.get("K3S_CONFIG_FILE").filter(|path| !path.is_empty());
    // The first one counts here, as in K3s.
    let flag = || args.iter().find(|(name, _)| name == "config" || name == "c").map(|(_, path)| path);
    PathBuf::from(named.or_else(flag).map_or(CONFIG, String::as_str))
}

/// The values of the configuration file and its drop-ins, as flags.
fn config_values(file: &Path) -> Result<Vec<(String, String)>, Problem> {
    if file.starts_with("http:/") || file.starts_with("https:/") {
        return Err(Problem::new("K3s takes its configuration from a web address, which is not looked at")
            .next("put it into a file on the node: --config, or /etc/rancher/k3s/config.yaml"));
    }
    let mut merged: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in config_files(file)? {
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&path, &error.to_string())),
        };
        for (key, values) in yaml(&path, &text)? {
            match key.strip_suffix('+') {
                Some(key) => merged.entry(key.to_owned()).or_default().extend(values),
                None => drop(merged.insert(key, values)),
            }
        }
    }
    let each = |(key, values): (String, Vec<String>)| {
        values.into_iter().map(move |value| (key.clone(), value)).collect::<Vec<_>>()
    };
    Ok(merged.into_iter().flat_map(each).collect())
}

/// The file, and the `.yaml` and `.yml` files of `FILE.d` by name.
fn config_files(file: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut dir = file.as_os_str().to_owned();
    dir.push(".d");
    let dir = PathBuf::from(dir);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![file.to_owned()]),
        Err(error) => return Err(unreadable(&dir, &error.to_string())),
    };
    let is_yaml = |path: &PathBuf| {
        let kind = path.extension().map(|kind| kind.to_ascii_lowercase());
        kind.is_some_and(|kind| kind == "yaml" || kind == "yml") && !path.is_dir()
    };
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_yaml).collect();
    if found.len() > MAX_FILES {
        return Err(unreadable(&dir, &format!("it has more than {MAX_FILES} files")));
    }
    found.sort();
    found.insert(0, file.to_owned());
    Ok(found)
}

/// A flat mapping of texts, numbers, switches, and lists of them.
fn yaml(path: &Path, text: &str) -> Result<Vec<(String, Vec<String>)>, Problem> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // The parser's own words may quote a line, and a line may hold a token: they are not repeated.
    let values: Option<BTreeMap<String, serde_json::Value>> =
        serde_saphyr::from_str(text).map_err(|_| unreadable(path, "it is not YAML of keys and values"))?;
    let plain = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let each = |(key, value)| match value {
        serde_json::Value::Array(list) => (key, list.into_iter().map(plain).collect()),
        value => (key, vec![plain(value)]),
    };
    Ok(values.unwrap_or_default().into_iter().map(each).collect())
}

fn read(path: &Path) -> io::Result<String> {
    bounded::text(path, Kind::Settings)
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem::new(format!("K3s's settings in {} cannot be read: {why}", path.display()))
        .next("correct the file: what K3s is told there must be known before it is restarted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::units::Started;

    fn unit(args: &[&str]) -> UnitInfo {
        let exec_start = core::iter::once("/usr/local/bin/k3s").chain(args.iter().copied());
        UnitInfo {
            id: "k3s.service".into(),
            started: Started { exec: exec_start.map(str::to_owned).collect(), ..Started::default() },
            ..UnitInfo::default()
        }
    }

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> String {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path.display().to_string()
        }
    }

    #[test]
    fn arguments_are_read_in_every_form_that_k3s_takes() {
        let dir = Dir::new();
        let config = dir.write("none/config.yaml", "");
        for args in [
            ["--data-dir", "/srv/k3s"].as_slice(),
            &["--data-dir=/srv/k3s"],
            &["-d", "/srv/k3s"],
            &["-d=/srv/k3s"],
            &["--cluster-init", "--data-dir", "/first", "--data-dir=/srv/k3s"],
        ] {
            let args = [["server", "--config", &config].as_slice(), args].concat();
            let settings = Settings::of(&unit(&args)).unwrap();
            assert_eq!(settings.get(&["data-dir", "d"], None), Some("/srv/k3s"), "{args:?}");
            assert_eq!(settings.role, K3sRole::Server);
        }
    }

    #[test]
    fn files_are_merged_by_name_and_arguments_win() {
        let dir = Dir::new();
        let config = dir.write("config.yaml", "data-dir: /one\nhttps-listen-port: 7443\nnode-label: [a=b]\n");
        dir.write("config.yaml.d/20-b.yaml", "data-dir: /three\n");
        dir.write("config.yaml.d/10-a.yml", "data-dir: /two\ndisable-etcd: true\nnode-label+: [c=d]\n");
        dir.write("config.yaml.d/99-ignored.txt", "data-dir: /four\n");
        let settings = Settings::of(&unit(&["server", "-c", &config])).unwrap();
        assert_eq!(settings.get(&["data-dir"], None), Some("/three"));
        assert_eq!(settings.get(&["https-listen-port"], None), Some("7443"));
        assert!(settings.is_on("disable-etcd", None) && !settings.is_on("disable-apiserver", None));
        let labels: Vec<_> = settings.flags.iter().filter(|(name, _)| name == "node-label").collect();
        assert_eq!(labels.len(), 2, "a key with + adds");
        let settings = Settings::of(&unit(&["server", "-c", &config, "--data-dir=/mine"])).unwrap();
        assert_eq!(settings.get(&["data-dir"], None), Some("/mine"));
    }

    #[test]
    fn drop_ins_count_where_there_is_no_file_beside_them() {
        let dir = Dir::new();
        dir.write("config.yaml.d/a.yaml", "data-dir: /one\n");
        let config = dir.0.path().join("config.yaml").display().to_string();
        let settings = Settings::of(&unit(&["server", "--config", &config])).unwrap();
        assert_eq!(settings.get(&["data-dir"], None), Some("/one"));
    }

    #[test]
    fn the_environment_is_read_from_the_units_files_and_flags_win_over_it() {
        let dir = Dir::new();
        let config = dir.write("mine.yaml", "");
        let defaults = dir.write("k3s", "K3S_DATASTORE_ENDPOINT=mysql://old\n# a comment=1\n");
        let installed =
            dir.write("k3s.service.env", "K3S_TOKEN='a b'\nK3S_DATASTORE_ENDPOINT=\"mysql://new\"\n");
        let mut unit = unit(&["server"]);
        unit.started.environment = vec![format!("K3S_CONFIG_FILE={config}")];
        unit.started.environment_files = vec![
            (defaults, true),
            (dir.0.path().join("missing").display().to_string(), true),
            (installed, true),
        ];
        let endpoint = |unit: &UnitInfo| {
            let settings = Settings::of(unit).unwrap();
            settings.get(&["datastore-endpoint"], Some("K3S_DATASTORE_ENDPOINT")).map(str::to_owned)
        };
        assert_eq!(endpoint(&unit).as_deref(), Some("mysql://new"));
        assert_eq!(Settings::of(&unit).unwrap().get(&["token"], Some("K3S_TOKEN")), Some("a b"));
        dir.write("mine.yaml", "datastore-endpoint: postgres://file\n");
        assert_eq!(endpoint(&unit).as_deref(), Some("postgres://file"), "a file counts as flags");
        unit.started.environment_files.push((dir.0.path().join("missing").display().to_string(), false));
        assert!(Settings::of(&unit).is_err(), "a file that must be there is not");
    }

    #[test]
    fn an_environment_file_that_is_a_pattern_is_refused_and_not_taken_for_one_that_is_missing() {
        let dir = Dir::new();
        let config = dir.write("mine.yaml", "");
        dir.write("k3s.env", "K3S_DATASTORE_ENDPOINT=mysql://elsewhere\n");
        for pattern in ["*.env", "k3?.env", "k[0-9]s.env"] {
            let mut unit = unit(&["server", "--config", &config]);
            let path = dir.0.path().join(pattern).display().to_string();
            unit.started.environment_files = vec![(path.clone(), true)];
            let problem = Settings::of(&unit).unwrap_err();
            assert!(problem.what.contains(&path) && problem.what.contains("a pattern"), "{problem}");
            assert!(problem.next[0].contains("systemctl cat k3s.service"), "{problem:?}");
        }
    }

    #[test]
    fn a_variable_in_exec_start_is_refused_and_a_doubled_dollar_is_none() {
        let dir = Dir::new();
        let config = dir.write("mine.yaml", "");
        for args in [["$K3S_OPTS"].as_slice(), &["--data-dir=${DATA}"], &["--data-dir", "/srv/$$$NAME"]] {
            let args = [["server", "--config", &config].as_slice(), args].concat();
            let problem = Settings::of(&unit(&args)).unwrap_err();
            assert!(problem.what.contains("variable in its ExecStart"), "{args:?}: {problem}");
            assert!(problem.next[0].contains("systemctl cat k3s.service"), "{problem:?}");
        }
        let settings = Settings::of(&unit(&["server", "--config", &config, "--data-dir=/srv/$$1"])).unwrap();
        assert_eq!(settings.get(&["data-dir"], None), Some("/srv/$1"));
    }

    #[test]
    fn a_word_that_no_flag_takes_is_refused_and_not_repeated() {
        let dir = Dir::new();
        let config = dir.write("mine.yaml", "");
        for args in [
            ["hunter2", "--data-dir", "/srv"].as_slice(),
            &["--cluster-init", "hunter2", "--data-dir", "/srv"],
            &["--token=a", "hunter2"],
            &["--data-dir", "/srv", "hunter2"],
            &["--", "--data-dir", "/srv"],
        ] {
            let args = [["server", "--config", &config].as_slice(), args].concat();
            let problem = Settings::of(&unit(&args)).unwrap_err();
            assert!(problem.what.contains("belongs to no flag"), "{args:?}: {problem}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }

    #[test]
    fn a_switch_is_on_by_its_variable_where_no_flag_says_otherwise() {
        let dir = Dir::new();
        let config = dir.write("mine.yaml", "");
        let is_on = |value: &str, args: &[&str]| {
            let mut unit = unit(&[["server", "--config", &config].as_slice(), args].concat());
            unit.started.environment = vec![format!("K3S_CLUSTER_INIT={value}")];
            Settings::of(&unit).unwrap().is_on("cluster-init", Some("K3S_CLUSTER_INIT"))
        };
        assert!(is_on("true", &[]) && is_on("1", &[]) && is_on("false", &["--cluster-init"]));
        assert!(!is_on("false", &[]) && !is_on("", &[]) && !is_on("true", &["--cluster-init=false"]));
    }

    #[test]
    fn what_does_not_start_k3s_is_refused_by_name() {
        for args in [["-c", "k3s server"].as_slice(), &["kubectl", "get"], &[]] {
            let problem = Settings::of(&unit(args)).unwrap_err();
            assert!(problem.what.contains("k3s.service") && problem.what.contains("k3s server"), "{problem}");
        }
        let problem = Settings::of(&UnitInfo { id: "x.service".into(), ..UnitInfo::default() }).unwrap_err();
        assert!(problem.what.contains("starts no program"), "{problem}");
    }

    #[test]
    fn a_file_that_is_no_yaml_is_refused_without_a_word_of_what_stands_in_it() {
        let dir = Dir::new();
        let config = dir.write("config.yaml", "token: \"hidden\n  - [\n");
        let problem = Settings::of(&unit(&["server", "--config", &config])).unwrap_err();
        assert!(
            problem.what.contains("config.yaml") && !format!("{problem:?}").contains("hidden"),
            "{problem}"
        );
        let config = dir.write("config.yaml", "token: hidden\n");
        let settings = Settings::of(&unit(&["server", "--config", &config])).unwrap();
        assert!(!format!("{settings:?}").contains("hidden"));
        dir.write("config.yaml.d/large.yaml", &"#".repeat((1 << 20) + 1));
        let problem = Settings::of(&unit(&["server", "--config", &config])).unwrap_err();
        assert!(
            problem.what.contains("large.yaml") && problem.what.contains("over 1048576 bytes"),
            "{problem}"
        );
        let web = Settings::of(&unit(&["server", "--config", "https://x/config.yaml"])).unwrap_err();
        assert!(web.what.contains("web address"), "{web}");
    }
}
