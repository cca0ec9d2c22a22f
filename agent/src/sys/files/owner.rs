//! Which package a file belongs to, asked of the package managers that are here.

use drydock_types::AbsPath;

use crate::{
    actions::Problem,
    sys::exec::{self, Program},
};

/// The package that owns the file, as `dpkg: etcd-server`; `None` when no package manager here knows the file.
///
/// # Errors
/// When a package manager is here and cannot be asked: not knowing is not "nobody's".
pub async fn package_of(path: &AbsPath) -> Result<Option<String>, Problem> {
    if let Some(dpkg) = exec::find("dpkg-query") {
        for name in names(path.as_str()) {
            // `-S` takes a pattern: its special characters are quoted.
            let pattern = name.chars().fold(String::new(), |mut quoted, c| {
                if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                    quoted.push('\\');
                }
                quoted.push(c);
                quoted
            });
            let answer = ask(Program::new(&dpkg).args(["-S", "--", &pattern]), path, 1).await?;
            if let Some(line) = answer {
                let package = line.split_once(": ").map_or(line.as_str(), |(package, _)| package);
                return Ok(Some(format!("dpkg: {package}")));
            }
        }
    }
    if let Some(rpm) = exec::find("rpm") {
        let answer = ask(Program::new(rpm).args(["-qf", "--", path.as_str()]), path, 1).await?;
        return Ok(answer.map(|package| format!("rpm: {package}")));
    }
    Ok(None)
}

/// The names under which dpkg may know a file: packages from before the merge of `/bin` into `/usr/bin` list
/// the short one.
fn names(path: &str) -> Vec<&str> {
    let short = path
        .strip_prefix("/usr")
        .filter(|rest| ["/bin/", "/sbin/", "/lib"].iter().any(|dir| rest.starts_with(dir)));
    core::iter::once(path).chain(short).collect()
}

/// The first line of the answer; `None` at the exit code that means "nobody's".
async fn ask(program: Program, path: &AbsPath, nobodys: i32) -> Result<Option<String>, Problem> {
    let unknown = |why: String| {
        Problem::new(format!("it could not be seen whether a package owns {path}: {why}"))
            .next(format!("dpkg -S {path}; rpm -qf {path}"))
    };
    let output = program.run().await.map_err(|error| unknown(error.to_string()))?;
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)),
        Some(code) if code == nobodys => Ok(None),
        _ => Err(unknown(format!("{}; {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn owner(path: &str) -> Option<String> {
        package_of(&AbsPath::parse(path).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_file_of_a_package_is_found_under_its_new_and_its_old_name() {
        if exec::find("dpkg-query").is_none() {
            return;
        }
        assert_eq!(owner("/usr/bin/dpkg-query").await.as_deref(), Some("dpkg: dpkg"));
        // Debian 12 lists /bin/ls; Debian 13 /usr/bin/ls.
        assert_eq!(owner("/usr/bin/ls").await.as_deref(), Some("dpkg: coreutils"));
    }

    #[tokio::test]
    async fn a_pattern_in_a_path_is_no_pattern() {
        assert_eq!(owner("/usr/bin/dpkg-quer*").await, None);
        assert_eq!(owner("/usr/bin/there-is-no-such-file").await, None);
        assert_eq!(owner("/usr/bin/dpkg-quer?").await, None);
    }
}
