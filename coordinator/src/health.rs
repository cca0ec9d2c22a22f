//! `/healthz` for load balancers and people: is this coordinator up, and whom does it obey? Plain HTTP on a
//! port of its own, nothing secret in it, nothing that changes anything.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::rpc::App;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// How long a request may take to come: places are few, and whoever holds one keeps others from asking.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// How long one may take in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, app: Arc<App>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of descriptors, mostly: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&app)));
            // One answer a connection, so that nobody asks the driver in a loop for free.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_WITHIN)
                .keep_alive(false)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(tcp), service);
            let _ = timeout(DEADLINE, connection).await;
            drop(slot);
        });
    }
}

async fn answer(request: Request<Incoming>, app: Arc<App>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => health(&app).await,
        _ => (StatusCode::NOT_FOUND, "only GET /healthz is here\n".to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

/// Well when the driver answers: that is the thread everything waits for.
async fn health(app: &App) -> (StatusCode, String) {
    let asked = app.driver.with(|driver, _| (driver.open_runs(), Vec::new()));
    match timeout(Duration::from_secs(2), asked).await {
        Ok(Ok(runs)) => {
            let epoch = app.sessions.fence().epoch.0;
            (StatusCode::OK, format!("ok epoch={epoch} open_runs={runs}\n"))
        }
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the driver has not answered within 2 s\n".to_string()),
    }
}
