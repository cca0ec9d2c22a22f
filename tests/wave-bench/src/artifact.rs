//! A run that fetches 100 MiB through the real signature and policy, for an agent's highest memory.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    fleet::Fleet,
    process::wait_for,
    wave::{all_done, start_run},
};

/// The artifact's size.
pub(crate) const MIB: u64 = 100;
/// A fetch is given up after this.
const WITHIN: Duration = Duration::from_secs(120);
const VERSION: &str = "2.0.0";

const RECIPE: &str = "apiVersion: drydock/v1
kind: Recipe
metadata:
  name: fetch
  summary: fetches an artifact and changes nothing
spec:
  detect: {}
  stage: [fetchArtifact]
  apply: [nothing]
";

/// The first agent fetches it; the most that it ever held, in KiB.
pub(crate) fn fetch(fleet: &Fleet) -> Result<u64> {
    let file = fleet.path("big");
    write_noise(Path::new(&file)).with_context(|| format!("cannot write {file}"))?;
    let (arch, key) = (std::env::consts::ARCH, fleet.path("signing.key"));
    let sign = [
        "artifact",
        "sign",
        &file,
        "--component",
        "big",
        "--version",
        VERSION,
        "--arch",
        arch,
        "--key",
        &key,
    ];
    fleet.operate(&sign)?;
    let plan = format!(
        "apiVersion: drydock/v1
kind: Plan
metadata: {{name: big}}
spec:
  stages:
    - name: big
      component: big
      recipe: ./fetch.yaml
      to: \"{VERSION}\"
      artifact: {{path: ./big}}
      waves:
        - name: one
          nodes: {{names: [{}]}}
          soak: 0s
",
        crate::fleet::name(1)
    );
    fs::write(fleet.path("fetch.yaml"), RECIPE)?;
    fs::write(fleet.path("big.yaml"), plan)?;
    let run = start_run(fleet, "big.yaml")?;
    let over = || Ok(all_done(fleet, run, 1).ok());
    let ended = wait_for("the artifact's run", WITHIN, Duration::from_millis(200), over);
    // What it lacks is in the error of one more look.
    ended.or_else(|error| all_done(fleet, run, 1).context(error))?;
    let memory = fleet.memory()?;
    Ok(memory.first().context("there is no agent")?.peak_kb)
}

/// Bytes that no compression makes smaller (xorshift64*).
fn write_noise(path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..MIB << 17 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.write_all(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes())?;
    }
    out.flush()
}
