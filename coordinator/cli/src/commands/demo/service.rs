//! The demo's service: a small real HTTP server. Its version stands behind the program in its own file, as
//! a build would have put it inside.
//!
//! On SIGTERM it first says that it is not well, goes on serving for a moment so that whoever asked before
//! is served, then ends: what a service must do to be taken away without anybody noticing.

use std::{
    convert::Infallible,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use drydock_types::Version;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::error::{CliError, Exit};

/// What stands before the version.
const MARK: &str = "\ndrydock demo service, version ";
/// The trailer is never longer.
const MAX_TRAILER: u64 = 128;
/// How long it serves on after it has said that it is going.
const GRACE: Duration = Duration::from_millis(250);
/// How long an answer of it may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// What makes a copy of this program a version of the service.
pub(super) fn trailer(version: &Version) -> String {
    format!("{MARK}{version}\n")
}

/// The version behind the program that is running.
fn own_version() -> Option<Version> {
    let mut exe = File::open("/proc/self/exe").ok()?;
    let length = exe.metadata().ok()?.len();
    exe.seek(SeekFrom::Start(length.saturating_sub(MAX_TRAILER))).ok()?;
    let mut end = Vec::new();
    exe.read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let (_, version) = end.rsplit_once(MARK)?;
    Version::parse(version.trim_end()).ok()
}

pub(crate) async fn run(args: ServiceArgs) -> Result<Exit, CliError> {
    let failed = |why: std::io::Error| CliError::failed(format!("{}: {why}", args.listen));
    let version = own_version().ok_or_else(|| CliError::failed("this file has no version behind it"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let (well, text) = (Arc::new(AtomicBool::new(true)), Arc::new(version.to_string()));
    println!("web {text} serves on {}", args.listen);
    let mut connections = tokio::task::JoinSet::new();
    let leave = tokio::time::sleep(Duration::MAX);
    tokio::pin!(leave);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(failed)?;
                let (well, text) = (Arc::clone(&well), Arc::clone(&text));
                connections.spawn(async move {
                    let answer = service_fn(move |request| answer(request, Arc::clone(&well), Arc::clone(&text)));
                    // A peer that goes away in between is no concern of ours.
                    let _ = hyper::server::conn::http1::Builder::new().keep_alive(false)
                        .serve_connection(TokioIo::new(stream), answer).await;
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = terminate.recv() => {
                well.store(false, Ordering::Release);
                leave.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
            () = &mut leave => break,
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    Ok(Exit::Done)
}

async fn answer(
    request: Request<Incoming>,
    well: Arc<AtomicBool>,
    version: Arc<String>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match request.uri().path() {
        "/healthz" if well.load(Ordering::Acquire) => (StatusCode::OK, "ok".to_owned()),
        "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, "going".to_owned()),
        "/version" => (StatusCode::OK, version.to_string()),
        "/" => (StatusCode::OK, format!("web {version}")),
        _ => (StatusCode::NOT_FOUND, "there are /, /version and /healthz".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

/// GETs a path once, on a connection of its own.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, String), String> {
    let ask = async {
        let stream = TcpStream::connect(address).await.map_err(|why| why.to_string())?;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|why| why.to_string())?;
        let driving = tokio::spawn(connection);
        let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new());
        let response = send
            .send_request(request.map_err(|why| why.to_string())?)
            .await
            .map_err(|why| why.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 4096).collect().await.map_err(|why| why.to_string())?;
        driving.abort();
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    timeout(ANSWER_WITHIN, ask)
        .await
        .map_err(|_| format!("no answer within {} ms", ANSWER_WITHIN.as_millis()))?
}

/// Does it answer 200?
pub(super) async fn answers(address: SocketAddr, path: &str) -> bool {
    get(address, path).await.is_ok_and(|(status, _)| status == StatusCode::OK)
}
