//! Which version a service answers: the service itself; a package's database only where the service runs that very file.

mod package;

use std::time::Duration;

use drydock_types::{UnitName, Version, probe::VersionView, step::VersionSource};

use crate::{
    actions::Problem,
    etcd::{EtcdAccess, member::Member},
    host::Host,
    k3s::K3s,
    policy::VersionCommand,
    sys::{
        exec::Program,
        http::{self, HttpUrl},
        unpacked,
    },
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// May this be asked at all?
///
/// # Errors
/// When it is no address, none that the policy lists, or no command of the policy.
pub fn allowed(host: &Host, source: &VersionSource) -> Result<(), Problem> {
    match source {
        VersionSource::Http { url, .. } => host.policy.may_ask(&parse(url)?.endpoint),
        VersionSource::Command { name } => host.policy.version_command(name).map(drop),
        VersionSource::Etcd {} => Ok(()),
        VersionSource::K3s { unit } | VersionSource::Package { unit, .. } => host.policy.may_watch(unit),
    }
}

/// Asks once.
///
/// # Errors
/// When it may not be asked, does not answer, or answers no version.
pub async fn look(host: &Host, source: &VersionSource) -> Result<VersionView, Problem> {
    allowed(host, source)?;
    match source {
        VersionSource::Http { url, pointer } => over_http(&parse(url)?, pointer.as_deref()).await,
        VersionSource::Command { name } => by_command(host, host.policy.version_command(name)?).await,
        VersionSource::Etcd {} => of_etcd(host).await,
        VersionSource::K3s { unit } => of_k3s(host, unit).await,
        VersionSource::Package { name, unit, path } => package::look(host, name, unit, path).await,
    }
}

fn parse(url: &str) -> Result<HttpUrl, Problem> {
    HttpUrl::parse(url).map_err(|error| Problem::new(error.to_string()).next("correct the recipe"))
}

async fn over_http(url: &HttpUrl, pointer: Option<&str>) -> Result<VersionView, Problem> {
    let problem = |why: String| Problem::new(format!("no version from {url}: {why}"));
    let (status, body) = http::get(url, PATIENCE).await.map_err(|error| problem(error.to_string()))?;
    if status != 200 {
        return Err(problem(format!("it answers {status}")));
    }
    let text = http::text_at(&body, pointer).map_err(problem)?;
    let version = Version::parse(&text).map_err(|error| problem(error.to_string()))?;
    Ok(VersionView { version, source: url.to_string() })
}

async fn by_command(host: &Host, command: &VersionCommand) -> Result<VersionView, Problem> {
    let source = format!("{} {}", command.path, command.args.join(" ")).trim_end().to_owned();
    if let Some(unit) = &command.unit {
        // What lies on disk may be newer than what runs: its version is not the service's.
        let info = host.units.load(unit).await.map_err(|error| Problem::new(error.to_string()))?;
        let binaries = &host.policy.binaries;
        if info.main_pid == 0 || !unpacked::runs_now(info.main_pid, command.path.as_str(), binaries).await {
            return Err(Problem::new(format!(
                "{} does not run {} (as it lies there now), so what that says of its version says nothing of the service",
                info.id, command.path
            ))
            .next(format!("systemctl status {}", info.id)));
        }
    }
    let program = Program::new(command.path.as_str()).args(command.args.iter()).deadline(PATIENCE);
    let program = program.confined(command.allow_network).map_err(|error| Problem::new(error.to_string()))?;
    let output = program.run().await.map_err(|error| Problem::new(error.to_string()))?;
    if !output.status.success() {
        return Err(Problem::new(format!("{source} ended with {}", output.status)));
    }
    let found = first_version(&output.stdout).or_else(|| first_version(&output.stderr));
    let version =
        found.ok_or_else(|| Problem::new(format!("{source} printed nothing that looks like a version")))?;
    Ok(VersionView { version, source })
}

async fn of_k3s(host: &Host, unit: &UnitName) -> Result<VersionView, Problem> {
    let api = K3s::look(host, unit).await?.api()?;
    let version = api.version().await?;
    Ok(VersionView { version, source: format!("{api}/version") })
}

async fn of_etcd(host: &Host) -> Result<VersionView, Problem> {
    let access = EtcdAccess::of(&host.policy);
    let ask = async { Member::dial(&access, &access.endpoint, PATIENCE).await?.status(PATIENCE).await };
    let (status, _) = ask.await.map_err(|error| Problem::new(error.to_string()))?;
    Ok(VersionView { version: status.version, source: format!("etcd member {}", status.member) })
}

/// The first word that has numbers with a dot in between: `etcd Version: 3.5.16`, `nginx/1.24.0`,
/// `k3s version v1.33.4+k3s1 (…)`.
fn first_version(output: &[u8]) -> Option<Version> {
    let text = String::from_utf8_lossy(output);
    let between = |c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '"' | '\'' | '=' | '/' | '[' | ']')
    };
    text.split(between)
        .map(|word| word.trim_matches(['.', ':']))
        .filter(|word| word.contains('.'))
        .find_map(|word| Version::parse(word).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_of_an_output_is_found() {
        for (output, version) in [
            ("etcd Version: 3.5.16\nGit SHA: f20bbad\nGo Version: go1.22.7\n", "3.5.16"),
            ("k3s version v1.33.4+k3s1 (abcdef12)\ngo version go1.24.5\n", "1.33.4+k3s1"),
            ("nginx version: nginx/1.24.0\n", "1.24.0"),
            ("node_exporter, version 1.8.2 (branch: HEAD)\n", "1.8.2"),
            ("Version 2.1.0.\n", "2.1.0"),
            ("{\"version\":\"v1.2.3-rc.1\"}", "1.2.3-rc.1"),
        ] {
            assert_eq!(
                first_version(output.as_bytes()).map(|it| it.to_string()).as_deref(),
                Some(version),
                "{output}"
            );
        }
        assert_eq!(first_version(b"usage: x [flags] go1.2\xff"), None);
    }
}
