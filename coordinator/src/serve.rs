//! Everything put together: a directory becomes a coordinator, and a coordinator stops cleanly.

mod perform;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use drydock_proto::{
    agent::{agent_service_server::AgentServiceServer, enroll_service_server::EnrollServiceServer},
    limits::MAX_MESSAGE_BYTES,
    operator::operator_service_server::OperatorServiceServer,
    tls::{Address, Clock, private_file},
};
use drydock_types::InstanceId;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    artifacts::Artifacts,
    backups::Backups,
    clusters::Clusters,
    credentials,
    driver::{
        Driver, Input,
        clock::FleetClock,
        shell::{self, DriverThread},
    },
    fencing::Fencing,
    health,
    link::Sessions,
    moves::{
        Carrier,
        kubernetes_drain::{Bindings, KubernetesDrain},
    },
    observers::{Observers, Places},
    quota::Quotas,
    rpc::{
        App,
        agents::Agents,
        enroll::{Enroll, MAX_REQUEST_BYTES as MAX_ENROLL_BYTES},
        fenced::Fenced,
        operators::Operators,
    },
    store::{RunStore as _, StoreError, registry::Registry, sqlite::SqliteStore},
    trust::{self, Accept, Ca, CaError, RevocationList, SealError, SealingKey, SealingSources, Trust, ca},
};

/// The name of the credential that a first start makes.
pub const ADMIN: &str = "admin";
/// How long agents are told to stay away from a coordinator that stops.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// How long open calls may take to end when the coordinator stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often the write-ahead log is taken into the database, when there is quiet for it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
/// What counts as quiet: nothing changed for so long.
const QUIET: Duration = Duration::from_secs(1);
/// The largest message of an agent: an outcome with a unit's log has some 20 KiB. One agent can have many
/// streams with a message half sent on each.
const MAX_AGENT_MESSAGE_BYTES: usize = 1 << 20;

/// How a coordinator is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Store, CA, artifacts, backups: `/var/lib/drydock`.
    pub state_dir: PathBuf,
    /// Contexts, and the sealing key of a first start: `/etc/drydock`.
    pub config_dir: PathBuf,
    /// Where agents and operators are heard.
    pub listen: SocketAddr,
    /// How they reach it; written into tokens and contexts. The listening address when not set.
    pub advertise: Option<Address>,
    /// Where `/healthz` is answered.
    pub health_listen: Option<SocketAddr>,
    /// A file with the sealing key.
    pub sealing_key_file: Option<PathBuf>,
    /// How long a node's certificate lives.
    pub node_ttl: Duration,
    /// How many nodes may leave service within an hour; `None`: as many as budgets let.
    pub most_disrupted_per_hour: Option<u32>,
}

/// Why a coordinator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The operator's credential.
    #[error(transparent)]
    Context(#[from] credentials::ContextError),
    /// An address that nobody can dial.
    #[error("{what} {address}: {why}")]
    Listen {
        /// What it is for.
        what: &'static str,
        /// Which.
        address: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// A directory.
    #[error("{path}: {why}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Parts of two coordinators.
    #[error(
        "the store in {dir} is of fleet {store}, and the CA beside it of fleet {ca}: one of them was restored \
         or removed alone; bring the two back together"
    )]
    OtherFleet {
        /// Where.
        dir: PathBuf,
        /// The store's.
        store: drydock_types::FleetId,
        /// The CA's.
        ca: drydock_types::FleetId,
    },
    /// Artifacts or backups.
    #[error("{0}")]
    Files(String),
    /// The address to be told to others.
    #[error("{0}; say with --advertise how others reach this coordinator")]
    Advertise(String),
    /// The gRPC server.
    #[error("the gRPC server ended: {0}")]
    Server(#[from] tonic::transport::Error),
    /// The store's disk failed, whoever was writing.
    #[error("the store's disk failed; look at it (dmesg), then start this coordinator again: {0}")]
    Disk(String),
    /// The driver stopped.
    #[error("the driver stopped: {0}")]
    Driver(String),
}

/// What a start has to say.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where it listens, with the port that the system chose where 0 was asked for.
    pub address: SocketAddr,
    /// Where `/healthz` is answered.
    pub health: Option<SocketAddr>,
    /// Where the admin's context was written, on a first start.
    pub admin_context: Option<PathBuf>,
    /// Where the sealing key is.
    pub sealing_key: String,
    /// The fleet.
    pub fleet: String,
    /// The epoch.
    pub epoch: u64,
}

/// Runs a coordinator until `stop` resolves, then stops cleanly: no new section is handed out, agents are
/// told to come back. `started` is called once it listens.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(
    settings: Settings,
    stop: impl Future<Output = ()> + Send,
    started: impl FnOnce(&Started),
) -> Result<(), ServeError> {
    let listener = bind("listening on", settings.listen).await?;
    let address = listener.local_addr().map_err(|why| listen_error("listening on", settings.listen, why))?;
    let health_listener = match settings.health_listen {
        Some(at) => Some(bind("answering /healthz on", at).await?),
        None => None,
    };
    let advertise = advertise(&settings, address)?;
    let opened = open(&settings, &advertise)?;
    let sealing_key = opened.sealing.origin().to_string();
    let (app, thread, looks) =
        start_driver(&settings, opened.store, opened.sealing, &opened.ca, &opened.trust, advertise)?;
    app.publish_nodes().await.map_err(|status| ServeError::Driver(status.message().to_string()))?;
    let accept = Accept::new(&opened.ca, names(&app.advertise), Arc::clone(&opened.trust))?;
    let health = health_listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let mut tasks = vec![looks, tokio::spawn(checkpoints(app.registry.clone(), app.driver.changes()))];
    tasks.extend(health_listener.map(|listener| tokio::spawn(health::serve(listener, Arc::clone(&app)))));
    started(&Started {
        address,
        health,
        admin_context: opened.admin_context,
        sealing_key,
        fleet: opened.ca.fleet().to_string(),
        epoch: app.sessions.fence().epoch.0,
    });
    let mut died = Box::pin(driver_ends(thread));
    let ended = serve_until(&app, accept, listener, stop, &mut died).await;
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        let _ = task.await;
    }
    drop(app);
    // The driver ends when nobody is left to talk to it, and closes the store.
    if ended.is_ok() && tokio::time::timeout(STOP_WITHIN, died).await.is_err() {
        tracing::warn!("the store was not closed in time; the next start reads it all the same");
    }
    ended
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|why| listen_error(what, address, why))
}

fn listen_error(what: &'static str, address: SocketAddr, why: std::io::Error) -> ServeError {
    ServeError::Listen { what, address: address.to_string(), why }
}

/// An unspecified address is nobody's: it cannot be told to others.
fn advertise(settings: &Settings, address: SocketAddr) -> Result<Address, ServeError> {
    let bad = |error: drydock_types::Invalid| ServeError::Advertise(error.to_string());
    match &settings.advertise {
        Some(advertise) => Ok(advertise.clone()),
        None if address.ip().is_unspecified() => {
            Address::parse(&format!("127.0.0.1:{}", address.port())).map_err(bad)
        }
        None => Address::parse(&address.to_string()).map_err(bad),
    }
}

/// The names that a browser or curl judges the coordinator's certificate by.
fn names(advertise: &Address) -> Vec<String> {
    let host = advertise.as_str().rsplit_once(':').map_or(advertise.as_str(), |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_string();
    let mut names = vec![host, "localhost".to_string(), "127.0.0.1".to_string()];
    names.sort();
    names.dedup();
    names
}

struct Opened {
    store: SqliteStore,
    ca: Arc<Ca>,
    trust: Arc<Trust>,
    admin_context: Option<PathBuf>,
    sealing: SealingKey,
}

fn make_dir(path: &Path) -> Result<(), ServeError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|why| ServeError::Directory { path: path.to_owned(), why })
}

/// An empty directory becomes a coordinator's: CA (sealed), store, admin's credential.
fn open(settings: &Settings, advertise: &Address) -> Result<Opened, ServeError> {
    make_dir(&settings.state_dir)?;
    make_dir(&settings.config_dir)?;
    let store = SqliteStore::open_or_create(&settings.state_dir.join("drydock.db"))?;
    let fleet = store.load()?.fleet;
    let ca_dir = settings.state_dir.join("ca");
    let first = !Ca::is_in(&ca_dir);
    let sources = SealingSources::of_process(settings.sealing_key_file.clone(), settings.config_dir.clone());
    let sealing = SealingKey::find(&sources, first)?;
    let clock = Arc::new(Clock::default());
    let now = clock.now_unix_s();
    let ca = if first {
        make_dir(&ca_dir)?;
        Ca::create(&ca_dir, fleet, &sealing, now)?
    } else {
        Ca::open(&ca_dir, &sealing)?
    };
    if ca.fleet() != fleet {
        // A run's effects would be derived for one fleet and its agents believed by another.
        return Err(ServeError::OtherFleet { dir: settings.state_dir.clone(), store: fleet, ca: ca.fleet() });
    }
    let ca = Arc::new(ca);
    // A crash right behind the CA's making leaves it without an admin: made whenever there is none.
    let admin_context = make_admin(settings, advertise, &ca, now)?;
    let revoked = store.registry()?.revoked()?;
    let trust = Trust::new(ca.fleet(), RevocationList::new(revoked), clock);
    Ok(Opened { store, ca, trust, admin_context, sealing })
}

fn make_admin(
    settings: &Settings,
    advertise: &Address,
    ca: &Ca,
    now: i64,
) -> Result<Option<PathBuf>, ServeError> {
    let marker = settings.state_dir.join("ca").join("admin-issued");
    if marker.exists() {
        return Ok(None);
    }
    let (issued, key) = ca.issue_operator(ADMIN, ca::OPERATOR_TTL_S, now)?;
    let context = credentials::Context::new(advertise, ca, &issued, &key);
    let path = credentials::save(&settings.config_dir, ADMIN, &context)?;
    let serial = format!("{:?}\n", issued.serial);
    private_file::write(&marker, serial.as_bytes()).map_err(credentials::ContextError::from)?;
    Ok(Some(path))
}

fn start_driver(
    settings: &Settings,
    mut store: SqliteStore,
    sealing: SealingKey,
    ca: &Arc<Ca>,
    trust: &Arc<Trust>,
    advertise: Address,
) -> Result<(Arc<App>, DriverThread, JoinHandle<()>), ServeError> {
    let files = |error: &dyn std::fmt::Display| ServeError::Files(error.to_string());
    let registry = store.registry()?;
    let artifacts = Artifacts::open(&settings.state_dir.join("artifacts"), registry.clone())
        .map_err(|error| files(&error))?;
    let backups = Backups::open(&settings.state_dir.join("backups"), registry.clone())
        .map_err(|error| files(&error))?;
    let clusters = Arc::new(Clusters::new(registry.clone(), sealing));
    let fence = store.take_over(InstanceId(trust::seal::random()?))?;
    let clock = FleetClock::from(store.load()?.clock_ms);
    let sessions = Sessions::new(fence);
    let (mut driver, first) = Driver::open(store, fence, clock.now())?;
    driver.limit_departures(settings.most_disrupted_per_hour);
    // What the driver decides before there is a handle to answer it with waits in this channel.
    let drains = KubernetesDrain::new(Arc::clone(&clusters) as Arc<dyn Bindings>, sessions.clone());
    let carrier: Arc<dyn Carrier> = Arc::new(drains);
    let observers = Observers::new(Arc::clone(&clusters) as Arc<dyn Places>, Arc::new(sessions.clone()));
    let (perform, orders) = perform::performer(sessions.clone(), Arc::clone(&carrier), observers);
    let anchored = sessions.clone();
    let anchor = move |head| anchored.anchor(head);
    let (handle, thread) = shell::start(driver, first, clock, perform, anchor)
        .map_err(|why| ServeError::Driver(format!("its thread did not start: {why}")))?;
    let looks = tokio::spawn(orders.carried_out(sessions.clone(), handle.clone()));
    let node_ttl_s = i64::try_from(settings.node_ttl.as_secs()).unwrap_or(ca::NODE_TTL_S);
    let (ca, trust) = (Arc::clone(ca), Arc::clone(trust));
    let stopping = tokio::sync::watch::Sender::new(false);
    let (quotas, publishing) = (Quotas::default(), tokio::sync::Mutex::default());
    let app = App {
        driver: handle,
        carrier,
        fencing: Arc::new(Fencing::new(sessions.fence())),
        sessions,
        registry,
        artifacts,
        backups,
        clusters,
        ca,
        trust,
        advertise,
        node_ttl_s,
        quotas,
        publishing,
        stopping,
    };
    Ok((Arc::new(app), thread, looks))
}

async fn serve_until(
    app: &Arc<App>,
    accept: Accept,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
    died: &mut (impl Future<Output = String> + Unpin),
) -> Result<(), ServeError> {
    let mut stopped = app.stopping.subscribe();
    let agents = AgentServiceServer::new(Agents(Arc::clone(app)))
        .max_decoding_message_size(MAX_AGENT_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let operators = OperatorServiceServer::new(Operators(Arc::clone(app)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = trust::server()
        .add_service(agents)
        .add_service(
            EnrollServiceServer::new(Enroll::new(Arc::clone(app)))
                .max_decoding_message_size(MAX_ENROLL_BYTES),
        )
        .add_service(Fenced::over(operators, Arc::clone(&app.fencing)))
        .serve_with_incoming_shutdown(accept.incoming(listener), async move {
            let _ = stopped.wait_for(|stopping| *stopping).await;
        });
    let mut server = tokio::spawn(server);
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => {}
        why = &mut *died => return Err(ServeError::Driver(why)),
        // One that can write nothing any more would look well and refuse everything.
        why = app.registry.disk_failed() => return Err(ServeError::Disk(why)),
        ended = &mut server => return match ended {
            Ok(ended) => Ok(ended?),
            Err(error) => Err(ServeError::Driver(error.to_string())),
        },
    }
    tracing::info!("stopping: nothing further is handed out");
    let taken = async {
        app.driver.tell_surely(Input::Stopping).await?;
        // An answer to this means that Stopping was taken.
        app.driver.with(|_, _| ((), Vec::new())).await
    };
    // A driver that hangs on its disk hands nothing out either, and nobody can be sent to any more.
    let _ = tokio::time::timeout(STOP_WITHIN, taken).await;
    app.sessions.send_away("the coordinator is stopping", COME_BACK_AFTER);
    app.stopping.send_replace(true);
    if tokio::time::timeout(STOP_WITHIN, &mut server).await.is_err() {
        // Followers hold their streams open for as long as we let them.
        server.abort();
    }
    Ok(())
}

/// Takes what the WAL holds into the database while nothing happens, so that no commit has to.
async fn checkpoints(registry: Registry, mut changes: tokio::sync::watch::Receiver<u64>) {
    loop {
        tokio::time::sleep(CHECKPOINT_EVERY).await;
        while let Ok(changed) = tokio::time::timeout(QUIET, changes.changed()).await {
            if changed.is_err() {
                return;
            }
        }
        let registry = registry.clone();
        match tokio::task::spawn_blocking(move || registry.checkpoint()).await {
            Ok(Ok(done)) => tracing::debug!(pages = done.pages, moved = done.moved, "checkpointed the store"),
            // Nothing is lost by it; a commit will say so if the disk is really ill.
            Ok(Err(error)) => tracing::warn!(%error, "the store could not be checkpointed"),
            Err(_) => return,
        }
    }
}

/// Resolves when the driver's thread has ended, with the reason.
async fn driver_ends(thread: DriverThread) -> String {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(Ok(()))) => "nobody was left to talk to it".to_string(),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) | Err(_) => "it panicked; the log says where".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path) -> Settings {
        Settings {
            state_dir: dir.join("state"),
            config_dir: dir.join("config"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            health_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            sealing_key_file: None,
            node_ttl: Duration::from_secs(3600),
            most_disrupted_per_hour: None,
        }
    }

    async fn epoch_of_one_start(settings: Settings) -> Result<u64, ServeError> {
        let mut epoch = 0;
        run(settings, std::future::ready(()), |started| epoch = started.epoch).await.map(|()| epoch)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_coordinator_that_has_stopped_has_let_go_of_its_store() {
        let dir = tempfile::tempdir().unwrap();
        for epoch in 1..=3 {
            assert_eq!(epoch_of_one_start(settings(dir.path())).await.unwrap(), epoch);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_beside_the_authority_of_another_fleet_is_not_started_on() {
        let dir = tempfile::tempdir().unwrap();
        epoch_of_one_start(settings(dir.path())).await.unwrap();
        for name in ["drydock.db", "drydock.db-wal", "drydock.db-shm"] {
            let _ = std::fs::remove_file(dir.path().join("state").join(name));
        }
        let refused = epoch_of_one_start(settings(dir.path())).await;
        assert!(matches!(refused, Err(ServeError::OtherFleet { .. })), "{refused:?}");
    }
}
