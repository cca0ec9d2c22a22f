//! Bounds that both sides keep. Everything that a peer can make grow has one.

use core::time::Duration;

/// The largest message on any stream or call.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// The size of a chunk of an artifact or a backup.
pub const CHUNK_BYTES: usize = 64 << 10;
/// The largest artifact.
pub const MAX_ARTIFACT_BYTES: u64 = 4 << 30;
/// The largest backup of one section.
pub const MAX_BACKUP_BYTES: u64 = 16 << 30;
/// How many backups' bytes one agent may hold at the coordinator.
pub const BACKUP_QUOTA_BYTES: u64 = 64 << 30;
/// Effects in one Ask or Forget.
pub const MAX_EFFECTS_PER_MESSAGE: usize = 1024;
/// The longest outcome, in bytes as it is signed. An agent bounds what it writes well below.
pub const MAX_OUTCOME_BYTES: usize = 256 << 10;
/// Lines of what to do next beside one error.
pub const MAX_NEXT: usize = 8;
/// Entries in any list of Hello.
pub const MAX_HELLO_ENTRIES: usize = 256;
/// Messages waiting to be sent on one stream; a slower peer is disconnected rather than buffered for.
pub const STREAM_QUEUE: usize = 256;
/// How often a ping is sent on a connection that is idle.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(45);
/// How long a ping may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A section not begun within this time of receipt lapses (rule 7).
pub const LAPSE: Duration = Duration::from_secs(5);
/// The deadline of a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
