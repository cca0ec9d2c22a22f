//! Sending an artifact, with a progress bar on stderr.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use drydock_core::view::ArtifactView;
use drydock_proto::{
    limits::CHUNK_BYTES,
    operator::{AddArtifactRequest, ArtifactHeader},
};
use drydock_types::ArtifactRef;
use futures_util::{Stream, stream};
use tokio::{fs::File, io::AsyncReadExt as _};

use crate::{
    client::Client,
    error::CliError,
    render::{canvas::Line, time, watch},
    screen::Screen,
};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(200);

/// What the reading side and the drawing side share.
#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    /// Why the file could not be read to its end. The stream just ends then.
    broken: Mutex<Option<String>>,
}

/// Uploads the file; the coordinator knows an artifact that it has by its digest.
pub(crate) async fn upload(
    client: &Client,
    path: &Path,
    artifact: &ArtifactRef,
    screen: Screen,
) -> Result<ArtifactView, CliError> {
    let file = File::open(path).await.map_err(|why| CliError::usage(format!("{}: {why}", path.display())))?;
    let shared = Arc::new(Shared::default());
    let header = ArtifactHeader {
        sha256: artifact.sha256.0.to_vec(),
        size: artifact.size,
        signature: artifact.signature.clone(),
    };
    let sending = client.add_artifact(parts(header, file, Arc::clone(&shared)));
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let answer = drawing(sending, &shared, &name, artifact.size, screen).await;
    let broken = shared.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    match broken {
        Some(why) => Err(CliError::failed(format!("reading {}: {why}", path.display()))),
        None => answer,
    }
}

/// The header, then the file in chunks.
fn parts(header: ArtifactHeader, file: File, shared: Arc<Shared>) -> impl Stream<Item = AddArtifactRequest> {
    stream::unfold((Some(header), file, shared), |(header, mut file, shared)| async move {
        if header.is_some() {
            return Some((AddArtifactRequest { header, data: Vec::new() }, (None, file, shared)));
        }
        let mut data = vec![0; CHUNK_BYTES];
        match file.read(&mut data).await {
            Ok(0) => None,
            Ok(n) => {
                data.truncate(n);
                shared.sent.fetch_add(n as u64, Ordering::Relaxed);
                Some((AddArtifactRequest { header: None, data }, (None, file, shared)))
            }
            Err(why) => {
                *shared.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
                None
            }
        }
    })
}

/// Draws the bar until the call has ended.
async fn drawing<T>(
    call: impl Future<Output = Result<T, CliError>>,
    shared: &Shared,
    name: &str,
    size: u64,
    screen: Screen,
) -> Result<T, CliError> {
    let began = Instant::now();
    let mut call = std::pin::pin!(call);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            ended = &mut call => {
                if screen.terminal_stderr {
                    screen.draw_stderr("\r\x1b[K");
                }
                return ended;
            }
            _ = tick.tick(), if screen.terminal_stderr => {
                let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                let line = progress(name, shared.sent.load(Ordering::Relaxed), size, elapsed);
                screen.draw_stderr(&format!("\r{}\x1b[K", line.clip(screen.size().0 - 1).to_text(screen.color_stderr)));
            }
        }
    }
}

/// `etcd  ━━━━━╸──────  12.4 MB of 23.5 MB, about 4 s left`
fn progress(name: &str, sent: u64, size: u64, elapsed_ms: u64) -> Line {
    let percent = (sent.min(size) * 100)
        .checked_div(size)
        .map_or(100, |percent| usize::try_from(percent).unwrap_or(100));
    // An estimate from less than a second says nothing.
    let left = (sent > 0 && sent < size && elapsed_ms >= 1_000)
        .then(|| u128::from(elapsed_ms) * u128::from(size - sent) / u128::from(sent));
    let left =
        left.and_then(|ms| u64::try_from(ms).ok()).map(|ms| format!(", about {} left", time::rough(ms)));
    let end =
        if sent >= size { ", the coordinator verifies it".to_owned() } else { left.unwrap_or_default() };
    let bar = watch::bar(percent, 100, 24);
    Line::of(format!("{}  ", crate::text::clean(name))).join(bar).and(format!(
        "  {} of {}{end}",
        time::bytes(sent),
        time::bytes(size)
    ))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[test]
    fn the_bar_says_how_much_and_how_long() {
        let text = |sent, elapsed| progress("etcd", sent, 20_000_000, elapsed).to_text(false);
        assert_eq!(text(0, 0), "etcd  ────────────────────────  0 B of 20.0 MB");
        assert_eq!(
            text(5_000_000, 3_000),
            "etcd  ━━━━━━╸─────────────────  5.0 MB of 20.0 MB, about 9 s left"
        );
        assert_eq!(
            text(20_000_000, 9_000),
            "etcd  ━━━━━━━━━━━━━━━━━━━━━━━━  20.0 MB of 20.0 MB, the coordinator verifies it"
        );
        assert!(progress("x", 0, 0, 0).to_text(false).starts_with("x  ━━━"));
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_behind_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd");
        let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 7).map(|i| u8::try_from(i % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        let header =
            ArtifactHeader { sha256: vec![1; 32], size: content.len() as u64, signature: "s".into() };
        let shared = Arc::new(Shared::default());
        let sent: Vec<AddArtifactRequest> =
            parts(header.clone(), File::open(&path).await.unwrap(), Arc::clone(&shared)).collect().await;
        assert_eq!(sent[0].header.as_ref(), Some(&header));
        assert!(sent[1..].iter().all(|part| part.header.is_none() && part.data.len() <= CHUNK_BYTES));
        let data: Vec<u8> = sent.into_iter().flat_map(|part| part.data).collect();
        assert_eq!(data, content);
        assert_eq!(shared.sent.load(Ordering::Relaxed), content.len() as u64);
    }
}
