//! The real coordinator and the real agent, killed before and after each durable write and each effect, and with a
//! disk that fails at each write: `cargo kill-matrix`.
//!
//! The list of points comes from the sources ([`points`]); which of them a scenario passes, and how often, from
//! running it once with nothing armed. Every passing is then a row of cells: the process is killed there and
//! started again, or the write is refused; the run must end right, and what took place is counted where it took
//! place: by the service itself, by the kernel, by etcd, in the backups' directory.
//!
//! | module | what lives here |
//! |---|---|
//! | [`points`] | the points in the sources, and those that no scenario passes |
//! | [`cell`] | a passing and what happens there |
//! | [`scenario`] | what is done meanwhile, and what is right afterwards: one file each |
//! | [`rig`] | a coordinator and a node that can be armed |
//! | [`toy`], [`etcd`] | the target: a service manager, and three real members |
//! | [`witness`] | what the kernel saw of the exchange |
//! | [`matrix`] | all cells, on several fleets at once |

mod cell;
mod etcd;
mod matrix;
mod points;
mod rig;
#[cfg(test)]
mod scan;
mod scenario;
mod shipped;
mod toy;
mod witness;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use self::matrix::Total;

#[derive(Debug, Parser)]
#[command(name = "kill-matrix")]
struct Args {
    /// Only this scenario
    #[arg(long)]
    scenario: Option<String>,
    /// Only cells whose text has this in it
    #[arg(long)]
    only: Option<String>,
    /// Fail a write at every passing, and not only at the first and the last of each point
    #[arg(long)]
    all: bool,
    /// Fleets at once
    #[arg(long, default_value_t = 6)]
    workers: usize,
    /// Programs that are built without failpoints: none of the points' names may be in them
    #[arg(long, value_name = "FILE")]
    shipped: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut total = Total::default();
    println!("{} points in the sources:", points::ALL.len());
    for point in points::ALL {
        println!("   {:7} {:32} {}", if point.effect { "effect" } else { "write" }, point.name, point.at);
    }
    total.wrong.extend(shipped::names_in(&args.shipped));
    let whole = args.scenario.is_none() && args.only.is_none();
    for named in scenario::ALL {
        if args.scenario.as_ref().is_none_or(|name| name == named.name) {
            matrix::run(named, &args, &mut total);
        }
    }
    if whole && !total.left_out {
        total.wrong.extend(points::not_accounted_for(&total.passed));
    }
    for wrong in &total.wrong {
        println!("WRONG: {wrong}");
    }
    println!("kill-matrix: points={} cells={} ok={}", total.passed.len(), total.cells, total.ok);
    // Nothing done is nothing proven.
    let good = total.cells > 0 && total.ok == total.cells && total.wrong.is_empty();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
