//! Is the clock set by another one? Whether it is right, the coordinator compares with its own.

use std::time::Duration;

use drydock_types::findings::{Finding, FindingKind, Weight};

use super::{Seen, finding, with_next};
use crate::sys::exec::{self, Program};

pub(super) async fn look() -> Seen {
    // Its figure is compared with the coordinator's all the same.
    let Some(timedatectl) = exec::find("timedatectl") else {
        let what = "whether the clock is synchronised cannot be seen: timedatectl is not installed";
        let one = finding(FindingKind::Clock, Weight::Warns, what.to_owned());
        return Ok((vec![with_next(one, "look at what sets it: chronyc tracking")], 0));
    };
    let program = Program::new(timedatectl)
        .args(["show", "--property=NTPSynchronized", "--property=NTP"])
        .deadline(Duration::from_secs(3));
    let output = program.run().await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("timedatectl: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok((judge(&said)?.into_iter().collect(), 1))
}

/// `NTPSynchronized=yes` is the kernel's word: whoever sets the clock, chrony too, has told it.
fn judge(said: &str) -> Result<Option<Finding>, String> {
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match value("NTPSynchronized") {
        Some("yes") => Ok(None),
        Some("no") => {
            let (why, next) = match value("NTP") {
                Some("yes") => ("no server has answered", "timedatectl timesync-status; chronyc sources"),
                _ => ("nothing sets it", "timedatectl set-ntp true"),
            };
            let what = format!("the clock is not synchronised: {why}");
            Ok(Some(with_next(finding(FindingKind::Clock, Weight::Warns, what), next)))
        }
        _ => Err("timedatectl does not say whether the clock is synchronised".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_is_told_and_an_answer_without_the_word_is_none() {
        assert_eq!(judge("NTP=yes\nNTPSynchronized=yes\n"), Ok(None));
        let nobody = judge("NTP=no\nNTPSynchronized=no\n").unwrap().unwrap();
        assert_eq!(nobody.what, "the clock is not synchronised: nothing sets it");
        let silent = judge("NTP=yes\nNTPSynchronized=no\n").unwrap().unwrap();
        assert!(silent.what.ends_with("no server has answered"));
        assert!(judge("NTP=yes\n").is_err());
    }
}
