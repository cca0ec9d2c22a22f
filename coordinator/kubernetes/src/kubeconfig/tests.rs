use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{
    file::Taken,
    in_cluster::{in_cluster_at, own_pod_at},
    *,
};

/// 2026-06-01.
const NOW: i64 = 1_780_272_000;
const DAY: i64 = 86_400;

/// A certificate that signs itself, with its key, good from and until so many days from `NOW`.
fn pair(from: i64, until: i64) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["coordinator".to_owned()]).unwrap();
    let at = |days: i64| x509_parser::time::ASN1Time::from_timestamp(NOW + days * DAY).unwrap().to_datetime();
    (params.not_before, params.not_after) = (at(from), at(until));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn jwt(from: i64, until: i64) -> String {
    let claims = format!(r#"{{"exp":{},"nbf":{},"sub":"x"}}"#, NOW + until * DAY, NOW + from * DAY);
    format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims))
}

struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Two contexts; `cluster` and `user` are lines of YAML of the current one.
    fn config(&self, cluster: &str, user: &str) -> PathBuf {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: home\npreferences: {{}}\n\
             contexts:\n- name: home\n  context: {{cluster: a, user: u}}\n- name: other\n  context: {{cluster: b, user: v}}\n\
             clusters:\n- name: a\n  cluster:\n    {}\n- name: b\n  cluster: {{server: 'https://b.example:6443'}}\n\
             users:\n- name: u\n  user:\n    {}\n- name: v\n  user: {{token: second-secret}}\n",
            cluster.replace('\n', "\n    "),
            user.replace('\n', "\n    "),
        );
        self.file("config", &text)
    }
}

const SERVER: &str = "server: https://10.0.0.11:6443/";
const TOKEN: &str = "token: first-secret";

fn take(path: &Path) -> Result<Taken, KubeconfigError> {
    read(path, &Asked { now_unix_s: NOW, ..Asked::default() })
}

/// The refusal's text. Whatever else it says, it says nothing that is secret.
fn refused(cluster: &str, user: &str) -> String {
    let scene = Scene::new();
    let error = take(&scene.config(cluster, user)).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret"), "{text}");
    error.to_string()
}

#[test]
fn a_token_and_a_server_are_taken() {
    let scene = Scene::new();
    let taken = take(&scene.config(SERVER, TOKEN)).unwrap();
    assert_eq!(taken.context, "home");
    assert_eq!(taken.credentials.endpoints, endpoints(&["https://10.0.0.11:6443".to_owned()]).unwrap());
    assert_eq!(taken.credentials.user, User::Token(Secret::new("first-secret")));
    assert_eq!(taken.credentials.authority, Authority::System);
    assert!(taken.warnings.is_empty() && taken.validity.is_none(), "{taken:?}");
}

#[test]
fn a_file_of_json_is_taken_too() {
    let scene = Scene::new();
    let text = r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"a","user":"u"}}],
        "clusters":[{"name":"a","cluster":{"server":"https://h"}}],"users":[{"name":"u","user":{"token":"t"}}]}"#;
    assert_eq!(take(&scene.file("config", text)).unwrap().credentials.endpoints[0].as_str(), "https://h");
}

#[test]
fn another_context_is_taken_by_its_name() {
    let scene = Scene::new();
    let path = scene.config(SERVER, TOKEN);
    let taken = read(&path, &Asked { context: Some("other"), ..Asked::default() }).unwrap();
    assert_eq!(taken.credentials.endpoints[0].as_str(), "https://b.example:6443");
    assert_eq!(taken.credentials.user, User::Token(Secret::new("second-secret")));
}

#[test]
fn an_unknown_context_names_those_that_there_are() {
    let scene = Scene::new();
    let path = scene.config(SERVER, TOKEN);
    let error = read(&path, &Asked { context: Some("hone"), ..Asked::default() }).unwrap_err().to_string();
    assert!(error.contains("no context hone") && error.contains("home, other"), "{error}");
    let text = fs::read_to_string(&path).unwrap().replace("current-context: home\n", "");
    let error = take(&scene.file("config", &text)).unwrap_err().to_string();
    assert!(error.contains("--context") && error.contains("home, other"), "{error}");
}

#[test]
fn a_missing_file_says_where_one_may_be() {
    let error = take(Path::new("/nowhere/kubeconfig")).unwrap_err();
    assert!(matches!(error, KubeconfigError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("--kubeconfig FILE"), "{error}");
}

#[test]
fn what_cannot_be_read_says_what_the_system_said() {
    // A directory: root may read whatever has a mode.
    let scene = Scene::new();
    let error = take(scene.dir.path()).unwrap_err();
    assert!(matches!(error, KubeconfigError::Unreadable { .. }), "{error:?}");
}

#[test]
fn a_file_that_others_can_read_is_taken_with_a_warning() {
    let scene = Scene::new();
    let path = scene.config(SERVER, TOKEN);
    for (mode, who) in [(0o644, "everybody on this machine"), (0o640, "its group")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = take(&path).unwrap().warnings;
        assert!(warnings[0].contains(who) && warnings[0].contains("chmod 600"), "{warnings:?}");
    }
}

#[test]
fn what_is_no_yaml_says_where_and_shows_nothing_of_the_line() {
    let scene = Scene::new();
    for text in [
        "users:\n- name: u\n  user: {token: 'top-secret\ncontexts: [",
        "users:\n- name: u\n  user:\n    token: [top-secret]\n",
        "users: top-secret",
        "top-secret",
        "\u{0}\u{1}",
    ] {
        let error = take(&scene.file("config", text)).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, KubeconfigError::Malformed { .. }), "{text}: {error:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let error = take(&scene.file("config", "a: b\nusers: 5\n")).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn yaml_that_is_something_else_is_no_kubeconfig() {
    let scene = Scene::new();
    for text in ["", "kind: Deployment\nmetadata: {name: web}\n"] {
        let error = take(&scene.file("config", text)).unwrap_err();
        assert!(matches!(error, KubeconfigError::NoContexts { .. }), "{error:?}");
    }
    let large = "#".repeat((1 << 20) + 1);
    let error = take(&scene.file("config", &large)).unwrap_err();
    assert!(matches!(error, KubeconfigError::TooLarge { .. }), "{error:?}");
}

#[test]
fn a_context_that_points_nowhere_says_at_what() {
    let scene = Scene::new();
    let text = "contexts:\n- name: c\n  context: {cluster: gone, user: u}\n";
    let path = scene.file("config", text);
    let error = read(&path, &Asked { context: Some("c"), ..Asked::default() }).unwrap_err().to_string();
    assert!(error.contains("the cluster gone"), "{error}");
}

#[test]
fn tls_that_is_not_verified_is_refused() {
    let text = refused(&format!("{SERVER}\ninsecure-skip-tls-verify: true"), TOKEN);
    assert!(
        text.contains("insecure-skip-tls-verify") && text.contains("certificate-authority-data"),
        "{text}"
    );
}

#[test]
fn programs_that_make_credentials_are_refused_by_name() {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [secret]}";
    let text = refused(SERVER, exec);
    assert!(text.contains("the program aws") && text.contains("ServiceAccount"), "{text}");
    let text = refused(SERVER, "auth-provider: {name: oidc, config: {id-token: secret}}");
    assert!(text.contains("the auth-provider oidc"), "{text}");
}

#[test]
fn what_would_change_who_we_are_is_refused_rather_than_passed_over() {
    for (user, key) in [("as: root", "impersonation"), ("username: u\npassword: secret", "passwords")] {
        let text = refused(SERVER, &format!("{user}\n{TOKEN}").replace("first-secret", "t"));
        assert!(text.contains(key), "{text}");
    }
    let text = refused(&format!("{SERVER}\nproxy-url: http://proxy:3128"), TOKEN);
    assert!(text.contains("proxy-url") && text.contains("--server"), "{text}");
}

#[test]
fn a_token_that_is_none_is_refused() {
    assert!(refused(SERVER, "token: ''").contains("empty"));
    assert!(refused(SERVER, "token: 'a secret in two words'").contains("not one line"));
    assert!(refused(SERVER, "{}").contains("neither a token nor a client certificate"));
    let text = refused(SERVER, "token: 'a\u{e4}'");
    assert!(text.contains("printable"), "{text}");
}

#[test]
fn a_tokens_end_is_read_where_it_is_a_jwt() {
    let scene = Scene::new();
    let with = |token: &str| take(&scene.config(SERVER, &format!("token: {token}")));
    let error = with(&jwt(-2, -1)).unwrap_err().to_string();
    assert!(error.contains("the token") && error.contains("expired at 2026-05-31T00:00:00Z"), "{error}");
    let taken = with(&jwt(-1, 5)).unwrap();
    assert!(taken.warnings[0].contains("expires at 2026-06-06"), "{:?}", taken.warnings);
    assert!(with(&jwt(-1, 100)).unwrap().warnings.is_empty());
    // Three parts are not yet a JWT.
    assert!(with("a.b.c").unwrap().validity.is_none());
}

#[test]
fn a_client_certificate_is_judged_by_its_dates() {
    let with = |from: i64, until: i64| {
        let (scene, (certificate, key)) = (Scene::new(), pair(from, until));
        let (certificate, key) = (STANDARD.encode(certificate), STANDARD.encode(key));
        let user = format!("client-certificate-data: {certificate}\nclient-key-data: {key}");
        take(&scene.config(SERVER, &user))
    };
    let taken = with(-1, 300).unwrap();
    assert!(matches!(taken.credentials.user, User::Certificate(_)) && taken.warnings.is_empty());
    assert_eq!(taken.validity.unwrap().until_unix_s, NOW + 300 * DAY);
    let error = with(-400, -35).unwrap_err();
    assert!(matches!(error, KubeconfigError::Expired { .. }), "{error:?}");
    assert!(error.to_string().contains("the client certificate") && error.to_string().contains("2026-04-27"));
    let error = with(1, 300).unwrap_err();
    assert!(matches!(error, KubeconfigError::NotYetValid { .. }), "{error:?}");
    assert!(error.to_string().contains("clock"), "{error}");
    assert!(with(-300, 10).unwrap().warnings[0].contains("2026-06-11"));
}

#[test]
fn files_are_found_beside_the_kubeconfig() {
    let scene = Scene::new();
    let (certificate, key) = pair(-1, 300);
    fs::create_dir(scene.dir.path().join("pki")).unwrap();
    scene.file("pki/ca.crt", &certificate);
    scene.file("pki/user.crt", &certificate);
    scene.file("pki/user.key", &key);
    let cluster = format!("{SERVER}\ncertificate-authority: pki/ca.crt");
    let user = "client-certificate: pki/user.crt\nclient-key: ./pki/user.key";
    let taken = take(&scene.config(&cluster, user)).unwrap();
    assert_eq!(taken.credentials.authority, Authority::Pem(certificate.clone()));
    assert_eq!(taken.credentials.user, User::Certificate(Identity { certificate, key: Secret::new(key) }));

    let taken = take(&scene.config(&cluster, "client-certificate: pki/gone.crt")).unwrap_err();
    assert!(taken.to_string().contains("pki/gone.crt"), "{taken}");
    scene.file("token", "from-a-file\n");
    let taken = take(&scene.config(SERVER, "tokenFile: token")).unwrap();
    assert_eq!(taken.credentials.user, User::Token(Secret::new("from-a-file")));
    assert!(taken.warnings[0].contains("was copied"), "{:?}", taken.warnings);
}

#[test]
fn half_an_identity_and_material_that_is_none_are_refused() {
    let (certificate, key) = pair(-1, 300);
    let (certificate, key) = (STANDARD.encode(certificate), STANDARD.encode(key));
    assert!(refused(SERVER, &format!("client-certificate-data: {certificate}")).contains("not its key"));
    assert!(refused(SERVER, &format!("client-key-data: {key}")).contains("not its certificate"));
    let user = format!("client-certificate-data: {key}\nclient-key-data: {key}");
    assert!(refused(SERVER, &user).contains("the client certificate"), "a key in the certificate's place");
    let user = format!("client-certificate-data: {certificate}\nclient-key-data: {certificate}");
    assert!(refused(SERVER, &user).contains("no private key"));
    let text = refused(&format!("{SERVER}\ncertificate-authority-data: '*secret*'"), TOKEN);
    assert!(text.contains("the certificate authority") && text.contains("not base64"), "{text}");
    let text =
        refused(&format!("{SERVER}\ncertificate-authority-data: {}", STANDARD.encode("secret")), TOKEN);
    assert!(text.contains("no certificate in it"), "{text}");
}

#[test]
fn servers_that_are_named_replace_the_files_one_in_their_order() {
    let scene = Scene::new();
    let path = scene.config(SERVER, TOKEN);
    let servers = ["https://b:6443".to_owned(), "https://a:6443/k8s/clusters/c-1/".to_owned()];
    let taken = read(&path, &Asked { servers: &servers, ..Asked::default() }).unwrap();
    let urls: Vec<&str> = taken.credentials.endpoints.iter().map(Endpoint::as_str).collect();
    assert_eq!(urls, ["https://b:6443", "https://a:6443/k8s/clusters/c-1"]);
    let twice = ["https://b:6443".to_owned(), "https://b:6443/".to_owned()];
    let error = read(&path, &Asked { servers: &twice, ..Asked::default() }).unwrap_err();
    assert!(error.to_string().contains("named twice"), "{error}");
}

#[test]
fn urls_that_are_none_or_weaker_are_refused() {
    for (url, why) in [
        ("http://10.0.0.11:8080", "plain http"),
        ("10.0.0.11:6443", "https://"),
        ("https://user:secret@host:6443", "a user in it"),
        ("https://host:6443?x=1", "a query"),
        ("https://host:6443#x", "a fragment"),
        ("https://host:0", "port"),
        ("https://host:", "port"),
        ("https://ho st", "URL"),
        ("https://", "URL"),
        ("", "URL"),
    ] {
        let error = Endpoint::parse(url).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
    }
    assert_eq!(Endpoint::parse("https://[fd00::1]:6443").unwrap().as_str(), "https://[fd00::1]:6443");
    assert!(refused("{}", TOKEN).contains("--server"), "no server at all");
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let scene = Scene::new();
    let (certificate, key) = pair(-1, 300);
    let (certificate, key64) = (STANDARD.encode(certificate), STANDARD.encode(&key));
    let user = format!("client-certificate-data: {certificate}\nclient-key-data: {key64}");
    for user in [user.as_str(), TOKEN] {
        let taken = take(&scene.config(SERVER, user)).unwrap();
        let shown = format!("{taken:?} {:#?}", taken.credentials);
        assert!(!shown.contains("secret") && !shown.contains("PRIVATE KEY") && !shown.contains(&key[30..60]));
        let sealed = serde_json::to_vec(&taken.credentials).unwrap();
        let opened: Credentials = serde_json::from_slice(&sealed).unwrap();
        assert_eq!(opened, taken.credentials);
    }
}

#[test]
fn a_pod_uses_its_own_files_and_names_what_it_lacks() {
    let scene = Scene::new();
    let env = |name: &str| match name {
        "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
        "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
        _ => None,
    };
    let error = in_cluster_at(scene.dir.path(), env, &[]).unwrap_err().to_string();
    assert!(error.contains("token") && error.contains("--kubeconfig"), "{error}");
    scene.file("token", "t");
    let error = in_cluster_at(scene.dir.path(), env, &[]).unwrap_err().to_string();
    assert!(error.contains("ca.crt"), "{error}");
    scene.file("ca.crt", "c");
    let credentials = in_cluster_at(scene.dir.path(), env, &[]).unwrap();
    assert_eq!(credentials.endpoints[0].as_str(), "https://[fd00::1]:443");
    assert_eq!(credentials.user, User::TokenFile(scene.dir.path().join("token")));
    let error = in_cluster_at(scene.dir.path(), |_| None, &[]).unwrap_err().to_string();
    assert!(error.contains("KUBERNETES_SERVICE_HOST"), "{error}");
    let servers = ["https://a:6443".to_owned()];
    let credentials = in_cluster_at(scene.dir.path(), |_| None, &servers).unwrap();
    assert_eq!(credentials.endpoints[0].as_str(), "https://a:6443");
}

#[test]
fn which_pod_this_is_is_said_by_the_downward_api_or_by_the_hosts_name_and_no_pod_is_none() {
    let scene = Scene::new();
    let host = |name: &str| (name == "HOSTNAME").then(|| "coordinator-0".to_owned());
    assert_eq!(own_pod_at(scene.dir.path(), host), None, "a host's name alone is no pod");
    scene.file("namespace", "drydock\n");
    let own = own_pod_at(scene.dir.path(), host).unwrap();
    assert_eq!((own.name.to_string().as_str(), &own.uid), ("drydock/coordinator-0", &None));
    let said = |name: &str| match name {
        "POD_NAME" => Some("c-1".to_owned()),
        "POD_NAMESPACE" => Some("ops".to_owned()),
        "POD_UID" => Some("u-1".to_owned()),
        other => host(other),
    };
    let own = own_pod_at(scene.dir.path(), said).unwrap();
    assert_eq!((own.name.to_string().as_str(), own.uid.as_deref()), ("ops/c-1", Some("u-1")));
}
