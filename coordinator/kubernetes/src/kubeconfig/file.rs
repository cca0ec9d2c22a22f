//! From a kubeconfig file to credentials.

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube_client::config::{AuthInfo, Cluster, Kubeconfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{
    Authority, Credentials, Endpoint, Identity, KubeconfigError, Secret, User,
    expiry::{self, Validity, rfc3339},
    server,
};

/// A kubeconfig of a hundred clusters has half of it, in bytes.
const MOST_BYTES: u64 = 1 << 20;
/// Said when less than this is left of them, in seconds.
const SOON_S: i64 = 30 * 24 * 3600;

/// What is asked of a kubeconfig.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// Another context than the file's current one.
    pub context: Option<&'a str>,
    /// Endpoints instead of the file's one, the preferred one first.
    pub servers: &'a [String],
    /// Now, in seconds since 1970.
    pub now_unix_s: i64,
}

/// What was read.
#[derive(Debug)]
pub struct Taken {
    /// The context that was taken.
    pub context: String,
    /// What it holds.
    pub credentials: Credentials,
    /// How long they are good, where they say so.
    pub validity: Option<Validity>,
    /// What a person should know, and what keeps nothing back.
    pub warnings: Vec<String>,
}

/// Reads a kubeconfig. Files that it names are read too, relative to where it is, and nothing of the file is needed
/// afterwards.
///
/// # Errors
/// When it is missing, is no kubeconfig, has no such context, or its credentials are bad or of a kind that is refused.
pub fn read(path: &Path, asked: &Asked<'_>) -> Result<Taken, KubeconfigError> {
    let (text, warning) = private_text(path)?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    let config = Kubeconfig::from_yaml(&text).map_err(|why| malformed(path, &why))?;
    let context = context_name(path, &config, asked.context)?;
    let (cluster, user) = parts(&config, &context)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut reader = Reader { context: &context, dir, now: asked.now_unix_s, warnings: &mut warnings };

    let endpoints = reader.endpoints(cluster, asked.servers)?;
    let authority = reader.authority(cluster)?;
    let user = reader.user(user)?;
    let tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
    let credentials = Credentials { endpoints, authority, tls_server_name, user };
    let validity = expiry::of(&credentials);
    reader.judge(&credentials, validity)?;
    Ok(Taken { context, credentials, validity, warnings })
}

/// The file's text, and a warning where others may read it.
fn private_text(path: &Path) -> Result<(String, Option<String>), KubeconfigError> {
    let unreadable = |why| match why {
        why if is_missing(&why) => KubeconfigError::Missing { path: path.to_owned() },
        why => KubeconfigError::Unreadable { path: path.to_owned(), why },
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    let text = String::from_utf8(bounded(path, file)?).map_err(|_| KubeconfigError::Malformed {
        path: path.to_owned(),
        place: "it is not UTF-8".to_owned(),
    })?;
    let who = match mode {
        mode if mode & 0o004 != 0 => "everybody on this machine",
        mode if mode & 0o040 != 0 => "its group",
        _ => return Ok((text, None)),
    };
    let path = path.display();
    let warning = format!("{path} can be read by {who} (mode {mode:03o}); type: chmod 600 {path}");
    Ok((text, Some(warning)))
}

fn is_missing(why: &std::io::Error) -> bool {
    why.kind() == std::io::ErrorKind::NotFound
}

fn bounded(path: &Path, file: File) -> Result<Vec<u8>, KubeconfigError> {
    let mut bytes = Vec::new();
    let unreadable = |why| KubeconfigError::Unreadable { path: path.to_owned(), why };
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(KubeconfigError::TooLarge { path: path.to_owned(), most: MOST_BYTES });
    }
    Ok(bytes)
}

/// The place alone: a message of the parser's may quote the line, and the line may hold a key.
fn malformed(path: &Path, why: &kube_client::config::KubeconfigError) -> KubeconfigError {
    let location = match why {
        kube_client::config::KubeconfigError::Parse(why) => why.location(),
        _ => None,
    };
    let place = match location.filter(|location| location.line() > 0) {
        Some(at) => format!("what stands at line {}, column {} does not fit there", at.line(), at.column()),
        None => "it is not of that form".to_owned(),
    };
    KubeconfigError::Malformed { path: path.to_owned(), place }
}

fn context_name(path: &Path, config: &Kubeconfig, asked: Option<&str>) -> Result<String, KubeconfigError> {
    let known: Vec<String> = config.contexts.iter().map(|context| context.name.clone()).collect();
    let path = path.to_owned();
    if known.is_empty() {
        return Err(KubeconfigError::NoContexts { path });
    }
    let current = config.current_context.as_deref().filter(|name| !name.is_empty());
    match asked.or(current) {
        None => Err(KubeconfigError::NoCurrentContext { path, known }),
        Some(name) if known.iter().any(|other| other == name) => Ok(name.to_owned()),
        Some(name) => Err(KubeconfigError::UnknownContext { path, name: name.to_owned(), known }),
    }
}

fn parts<'a>(config: &'a Kubeconfig, context: &str) -> Result<(&'a Cluster, &'a AuthInfo), KubeconfigError> {
    let dangling = |what, name: &str| KubeconfigError::Dangling {
        context: context.to_owned(),
        what,
        name: if name.is_empty() { "(none)".to_owned() } else { name.to_owned() },
    };
    let entry = config.contexts.iter().find(|entry| entry.name == context);
    let names = entry.and_then(|entry| entry.context.as_ref()).ok_or_else(|| dangling("cluster", ""))?;
    let cluster = config.clusters.iter().find(|cluster| cluster.name == names.cluster);
    let cluster = cluster
        .and_then(|named| named.cluster.as_ref())
        .ok_or_else(|| dangling("cluster", &names.cluster))?;
    let user = names.user.as_deref().unwrap_or_default();
    let named = config.auth_infos.iter().find(|info| info.name == user);
    let info = named.and_then(|named| named.auth_info.as_ref()).ok_or_else(|| dangling("user", user))?;
    Ok((cluster, info))
}

/// What all judgements of one context need.
struct Reader<'a> {
    context: &'a str,
    dir: &'a Path,
    now: i64,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn context(&self) -> String {
        self.context.to_owned()
    }

    fn not_done(&self, what: &'static str, instead: &'static str) -> KubeconfigError {
        KubeconfigError::NotDone { context: self.context(), what, instead }
    }

    fn endpoints(&self, cluster: &Cluster, servers: &[String]) -> Result<Vec<Endpoint>, KubeconfigError> {
        if cluster.insecure_skip_tls_verify == Some(true) {
            return Err(KubeconfigError::Insecure { context: self.context() });
        }
        if given(cluster.proxy_url.as_ref()).is_some() {
            let instead = "name an endpoint that the coordinator reaches directly with --server";
            return Err(self.not_done("proxy-url", instead));
        }
        if !servers.is_empty() {
            return server::endpoints(servers);
        }
        let server = given(cluster.server.as_ref());
        let server = server.ok_or_else(|| KubeconfigError::NoServer { context: self.context() })?;
        Ok(vec![Endpoint::parse(server)?])
    }

    fn authority(&self, cluster: &Cluster) -> Result<Authority, KubeconfigError> {
        let what = "the certificate authority";
        let data = given(cluster.certificate_authority_data.as_ref()).map(String::as_str);
        let Some(pem) = self.material(what, data, cluster.certificate_authority.as_ref())? else {
            return Ok(Authority::System);
        };
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(Authority::Pem(pem)),
            Ok(_) => Err(self.bad(what, "there is no certificate in it")),
            // The parser's own words repeat what stands there, as numbers; and that may be a key.
            Err(_) => Err(self.bad(what, "it is no PEM of certificates")),
        }
    }

    fn user(&mut self, info: &AuthInfo) -> Result<User, KubeconfigError> {
        self.refuse_what_is_not_done(info)?;
        let data = given(info.client_certificate_data.as_ref()).map(String::as_str);
        let certificate = self.material("the client certificate", data, info.client_certificate.as_ref())?;
        let data = info.client_key_data.as_ref().map(secrecy_text).filter(|data| !data.is_empty());
        let key = self.material("the client key", data, info.client_key.as_ref())?;
        let token = self.token(info)?;
        let half = |there, missing| KubeconfigError::Half { context: self.context(), there, missing };
        match (certificate, key, token) {
            (Some(certificate), Some(key), token) => {
                if token.is_some() {
                    let both = "has a client certificate and a token; the certificate is used, as servers do";
                    self.warnings.push(format!("the user of the context {} {both}", self.context));
                }
                PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|_| self.bad("the client key", "it is no private key in PEM"))?;
                Ok(User::Certificate(Identity { certificate, key: Secret::new(key) }))
            }
            (Some(_), None, _) => Err(half("a client certificate", "its key")),
            (None, Some(_), _) => Err(half("a client key", "its certificate")),
            (None, None, Some(token)) => Ok(User::Token(Secret::new(token))),
            (None, None, None) => Err(KubeconfigError::NoCredentials { context: self.context() }),
        }
    }

    fn refuse_what_is_not_done(&self, info: &AuthInfo) -> Result<(), KubeconfigError> {
        let plugin = match (&info.exec, &info.auth_provider) {
            (Some(exec), _) => {
                Some(format!("the program {}", exec.command.as_deref().unwrap_or("(unnamed)")))
            }
            (None, Some(provider)) => Some(format!("the auth-provider {}", provider.name)),
            (None, None) => None,
        };
        if let Some(plugin) = plugin {
            return Err(KubeconfigError::Plugin { context: self.context(), plugin });
        }
        if given(info.impersonate.as_ref()).is_some() || info.impersonate_groups.is_some() {
            let instead = "what it does would stand under another name in the cluster's audit log; use a user with \
                           the rights of its own";
            return Err(self.not_done("as (impersonation)", instead));
        }
        if info.username.is_some() || info.password.is_some() {
            let instead =
                "Kubernetes itself has not known passwords since 1.19; use a ServiceAccount's token";
            return Err(self.not_done("username and password", instead));
        }
        Ok(())
    }

    fn token(&mut self, info: &AuthInfo) -> Result<Option<String>, KubeconfigError> {
        let inline = info.token.as_ref().map(|token| secrecy_text(token).to_owned());
        let token = match (inline, given(info.token_file.as_ref())) {
            (Some(token), _) => token,
            (None, Some(file)) => {
                let text = self.file(&self.dir.join(file))?;
                self.warnings.push(format!(
                    "the token in {file} was copied: when it is renewed there, add the cluster again with --replace"
                ));
                text
            }
            (None, None) => return Ok(None),
        };
        let token = token.trim();
        let what = match token {
            "" => "empty",
            token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "not one line of printable characters"
            }
            token => return Ok(Some(token.to_owned())),
        };
        Err(KubeconfigError::BadToken { context: self.context(), what })
    }

    /// PEM, from base64 in the file or from another file. What is in the file goes first, as everywhere.
    fn material(
        &self,
        what: &'static str,
        data: Option<&str>,
        file: Option<&String>,
    ) -> Result<Option<String>, KubeconfigError> {
        match (data, given(file)) {
            (Some(data), _) => {
                let bytes = STANDARD.decode(data.trim()).map_err(|_| self.bad(what, "it is not base64"))?;
                String::from_utf8(bytes).map(Some).map_err(|_| self.bad(what, "it is not PEM"))
            }
            (None, Some(file)) => self.file(&self.dir.join(file)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn file(&self, path: &Path) -> Result<String, KubeconfigError> {
        let unreadable = |why| KubeconfigError::Unreadable { path: path.to_owned(), why };
        let bytes = bounded(path, File::open(path).map_err(unreadable)?)?;
        String::from_utf8(bytes).map_err(|_| self.bad("a file", &format!("{} is not text", path.display())))
    }

    fn bad(&self, what: &'static str, why: &str) -> KubeconfigError {
        KubeconfigError::BadMaterial { context: self.context(), what, why: why.to_owned() }
    }

    /// Good now, and for how long.
    fn judge(
        &mut self,
        credentials: &Credentials,
        validity: Option<Validity>,
    ) -> Result<(), KubeconfigError> {
        let what = match &credentials.user {
            User::Certificate(identity) => {
                let what = "the client certificate";
                expiry::of_certificate(&identity.certificate).map_err(|why| self.bad(what, &why))?;
                what
            }
            User::Token(_) | User::TokenFile(_) => "the token",
        };
        let Some(validity) = validity else { return Ok(()) };
        let (from, until) = (rfc3339(validity.from_unix_s), rfc3339(validity.until_unix_s));
        if self.now < validity.from_unix_s {
            return Err(KubeconfigError::NotYetValid { context: self.context(), what, at: from });
        }
        if self.now > validity.until_unix_s {
            return Err(KubeconfigError::Expired { context: self.context(), what, at: until });
        }
        if validity.until_unix_s - self.now < SOON_S {
            self.warnings.push(format!("{what} of the context {} expires at {until}", self.context));
        }
        Ok(())
    }
}

/// An empty text is none, as kubectl has it.
fn given(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

fn secrecy_text(secret: &secrecy::SecretString) -> &str {
    secrecy::ExposeSecret::expose_secret(secret)
}
