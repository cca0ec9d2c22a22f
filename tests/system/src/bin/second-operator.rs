//! `second-operator STATE-DIR CONFIG-DIR ADDRESS NAME`: issues an operator by the CA in a coordinator's state
//! directory, and writes the context beside `admin`'s. There is no command that does it yet: this is what an
//! administrator with access to the coordinator's files could do. A program of its own, because labs link no crate
//! of Drydock's.

use std::{fmt::Display, path::Path, process::ExitCode};

use drydock_coordinator::{
    credentials,
    trust::{Ca, SealingKey, SealingSources},
};
use drydock_proto::tls::{Address, Clock};

/// How long its certificate is good for.
const SECONDS: i64 = 3600;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [state, config, address, name] = args.as_slice() else {
        eprintln!("usage: second-operator STATE-DIR CONFIG-DIR ADDRESS NAME");
        return ExitCode::from(2);
    };
    match add(Path::new(state), Path::new(config), address, name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("second-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn add(state_dir: &Path, config_dir: &Path, coordinator: &str, name: &str) -> Result<(), String> {
    fn failed<E: Display>(what: &str) -> impl FnOnce(E) -> String {
        move |error| format!("{what}: {error}")
    }
    let sources = SealingSources::of_process(None, config_dir.to_owned());
    let sealing = SealingKey::find(&sources, false).map_err(failed("the sealing key"))?;
    let ca = Ca::open(&state_dir.join("ca"), &sealing).map_err(failed("the CA"))?;
    let issued = ca.issue_operator(name, SECONDS, Clock::default().now_unix_s());
    let (issued, key) = issued.map_err(failed("the certificate"))?;
    let address = Address::parse(coordinator).map_err(failed("the coordinator's address"))?;
    let context = credentials::Context::new(&address, &ca, &issued, &key);
    credentials::save(config_dir, name, &context).map(drop).map_err(failed("the context"))
}
