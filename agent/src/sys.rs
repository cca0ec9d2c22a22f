//! The only place that talks to systemd, to the file system's sharp edges and to other processes.

pub mod boot;
pub mod bounded;
pub mod exec;
pub mod files;
pub mod http;
pub mod network;
pub mod packages;
pub mod ping;
pub mod process;
pub mod stale;
pub mod still;
pub mod units;
pub mod unpacked;

use crate::actions::Problem;

/// Work on files, off the thread that serves the stream.
///
/// # Errors
/// Its own.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Problem::new(format!("file work did not end properly: {error}"))),
    }
}
