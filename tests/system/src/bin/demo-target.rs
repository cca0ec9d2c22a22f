//! The service that the system tests upgrade: answers `/healthz` and `/version`, and counts its own starts.
//!
//! `demo-target ADDRESS STARTS-FILE`. Its version and how it behaves stand behind its own ELF file, so that
//! two versions are two files with two digests and one build. While a file `ill` lies in its working directory it
//! says that it is ill, whatever its version.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};

use drydock_system_tests::{release, wait};

/// What an honest terminal must never be sent: a title, a cleared screen, a carriage return over the line.
const HOSTILE: &str = "listen failed: \x1b]0;pwned\x07\x1b[2J\x1b[31mred\x1b[0m\rover \u{202e}txet";

fn main() -> ExitCode {
    match serve() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("demo-target: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<std::convert::Infallible> {
    let mut args = std::env::args().skip(1);
    let (address, starts) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let (version, behaviour) = release::trailer(&fs::read("/proc/self/exe")?)
        .ok_or_else(|| io::Error::other("no version stands behind this binary"))?;
    // One write: lines of two processes never mix.
    let mut counted = OpenOptions::new().create(true).append(true).open(starts)?;
    counted.write_all(format!("{version} {}\n", std::process::id()).as_bytes())?;
    match behaviour.as_str() {
        "exits" => return Err(io::Error::other(HOSTILE)),
        "slow" => wait::pause(Duration::from_secs(3)),
        _ => {}
    }
    let listener = TcpListener::bind(address)?;
    loop {
        // A client that goes away is its own affair.
        drop(listener.accept().and_then(|(stream, _)| answer(stream, &version, &behaviour)));
    }
}

fn answer(stream: TcpStream, version: &str, behaviour: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/healthz") if behaviour == "ill" || fs::exists("ill").unwrap_or(false) => {
            ("503 Service Unavailable", "ill".to_owned())
        }
        Some("/healthz") => ("200 OK", "ok".to_owned()),
        Some("/version") if behaviour == "lies" => ("200 OK", "{\"version\":\"0.0.1\"}".to_owned()),
        Some("/version") => ("200 OK", format!("{{\"version\":\"{version}\"}}")),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    reader.into_inner().write_all(text.as_bytes())
}
