//! `drydock-agent`: see the library's documentation. Here only the parts are put together.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::IsTerminal as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use drydock_agent::{
    actions::Problem,
    apt::{
        install::{self, Installer},
        root::Root,
    },
    artifacts::{ArtifactStore, Limits},
    backups::Backups,
    executor::{AtHost, Executor},
    host::{Ending, Host},
    identity::{self, Identity},
    journal::{FileDisk, Journal},
    link::{Heard, Link, Outbox, Pace},
    policy::Policy,
    remote::remote,
    revert::reverter::{self, Start},
    settings::{Cli, Command, Enrol, LogFormat, Packages, Revert, Settings},
    sys::units::Units,
};
use drydock_types::JournalId;
use nix::fcntl::{Flock, FlockArg};
use ring::rand::{SecureRandom as _, SystemRandom};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Blocking calls at once: fsync, hashing, file copies. More would only cost memory.
const BLOCKING_THREADS: usize = 4;
/// What those need is little; the default of 2 MiB is not.
const STACK_BYTES: usize = 512 << 10;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = log(&cli.settings).and_then(|()| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).thread_stack_size(STACK_BYTES);
        let runtime = runtime.build().context("cannot start the runtime")?;
        runtime.block_on(async {
            match cli.command.unwrap_or(Command::Run) {
                Command::Run => run(&cli.settings).await,
                Command::Enrol(enrol) => enter(&cli.settings, &enrol).await,
                Command::Revert(what) => revert(&cli.settings, &what).await,
                Command::Packages(what) => packages(&cli.settings, &what).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = told_once(&error);
            notify(&[NotifyState::Status(&format!("failed: {text}"))]);
            eprintln!("drydock-agent: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes; a cause whose words an outer error already holds is not said twice.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        said if said.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

async fn enter(settings: &Settings, enrol: &Enrol) -> anyhow::Result<()> {
    let dir = settings.state_dir()?;
    make(&dir)?;
    let identity = identity::enrol(&enrol.token()?, enrol.name.clone(), &dir).await?;
    eprintln!(
        "This node is {} of fleet {}; its coordinator is {}. Start the agent: systemctl enable --now drydock-agent",
        identity.node_name(),
        identity.fleet(),
        identity.coordinator()
    );
    Ok(())
}

async fn revert(settings: &Settings, what: &Revert) -> anyhow::Result<()> {
    let dir = settings.state_dir()?;
    let said = match what {
        Revert { now: true, effect, .. } => reverter::run(&dir, effect.map_or(Start::Now, Start::Of)).await,
        Revert { at_boot: true, .. } => reverter::run(&dir, Start::AtBoot).await,
        Revert { keep: true, .. } => reverter::keep(&dir),
        Revert { .. } => reverter::show(&dir),
    };
    println!("{}", said?);
    Ok(())
}

async fn packages(settings: &Settings, what: &Packages) -> anyhow::Result<()> {
    let (dir, root) = (settings.state_dir()?, Root::here());
    let Some(effect) = what.effect else {
        println!("{}", install::settle(&root, &dir)?);
        return Ok(());
    };
    // A node that is shut down waits for dpkg: whoever stops this is heard, and it goes on to its end.
    let _heard = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let done = Installer::new(&root, &dir).run(effect, what.way).await?;
    done.failed.map_or(Ok(()), |failed| {
        let problem = Problem::from(failed);
        problem.log.iter().for_each(|line| eprintln!("{line}"));
        Err(problem.into())
    })
}

async fn run(settings: &Settings) -> anyhow::Result<()> {
    let dir = settings.state_dir()?;
    make(&dir)?;
    let _lock = only_one(&dir)?;
    // An installation that the power cut ended has left services held still.
    if let Err(problem) = install::settle(&Root::here(), &dir) {
        tracing::error!(%problem, "services may still be held still (/usr/sbin/policy-rc.d)");
    }
    let policy = Arc::new(Policy::load(&settings.policy()?)?);
    let identity = Identity::load(&dir)?;
    let journal = open_journal(&dir.join("journal"), &identity).await?;
    Backups::in_state(&dir).sweep_at_start(journal.open_section());
    let (sender, remote) = remote();
    let host = Arc::new(Host {
        units: Units::of(&policy)?,
        policy,
        artifacts: ArtifactStore::new(dir.join("artifacts"), Limits::default()),
        remote,
        state_dir: dir,
        ending: Ending::default(),
    });
    let ending = host.ending.clone();
    let signer = Arc::new(identity.clone());
    let (outbox, workshop) = (Arc::new(Outbox::new(signer.clone())), Arc::new(AtHost(host)));
    let node = identity.node_name().clone();
    tracing::info!(%node, coordinator = %identity.coordinator(), journal = %journal.id(), "starting");
    let executor = Arc::new(Executor::new(node, journal, workshop.clone(), outbox.clone()));
    let (status, said) = watch::channel(String::from("not connected yet"));
    let (dialer, pace) = (Arc::new(identity), Pace::default());
    let link = Link {
        dialer,
        executor: executor.clone(),
        eyes: workshop,
        outbox,
        signer,
        remote: sender,
        pace,
        status,
        heard: Heard::default(),
        start_id: random_id()?.to_vec(),
    };
    serve(&executor, link, said, settings.stop_within, &ending).await
}

/// Until it is told to stop, or must.
async fn serve(
    executor: &Executor,
    link: Link,
    mut status: watch::Receiver<String>,
    stop_within: Duration,
    ending: &Ending,
) -> anyhow::Result<()> {
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let work = async {
        // What the journal holds open goes on beside the link: a coordinator that asks is answered.
        let recovered = async {
            match executor.recover().await {
                Ok(Some(outcome)) => {
                    tracing::info!(effect = %outcome.effect, result = outcome.result.word(), "carried on and ended");
                    std::future::pending().await
                }
                Ok(None) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! { biased; error = recovered => error, error = link.run() => error }
    };
    let stopped = async {
        told(&mut signals).await;
        executor.close();
        notify(&[NotifyState::Stopping, NotifyState::Status("stopping: waiting for the section at work")]);
        tokio::select! {
            ended = timeout(stop_within, executor.idle()) => if ended.is_err() {
                tracing::warn!("stopping in the middle of a section: the next start carries it on");
            },
            () = ending.expected() => tracing::info!("stopping as the section at work wants it"),
            () = told(&mut signals) => tracing::warn!("told twice to stop: the next start carries the section on"),
        }
    };
    notify(&[NotifyState::Ready, NotifyState::Status("started")]);
    tokio::select! {
        error = work => bail!(error),
        () = stopped => Ok(()),
        () = tell(&mut status) => bail!("the link ended by itself"),
        () = watchdog(executor) => bail!("the watchdog ended by itself"),
    }
}

/// systemd's STATUS follows the link's state.
async fn tell(status: &mut watch::Receiver<String>) {
    while status.changed().await.is_ok() {
        let text = status.borrow_and_update().clone();
        notify(&[NotifyState::Status(&text)]);
    }
}

/// Says that we live, twice as often as asked, as long as the executor's journal can be had: a disk on which
/// nothing ends any more is not life.
async fn watchdog(executor: &Executor) {
    let Some(within) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let half = within / 2;
    let mut beat = interval(half);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if timeout(half, executor.memory()).await.is_ok() {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

async fn told(signals: &mut (Signal, Signal)) {
    tokio::select! { _ = signals.0.recv() => {}, _ = signals.1.recv() => {} }
}

async fn open_journal(dir: &Path, identity: &Identity) -> anyhow::Result<Journal> {
    // The clock may be wrong after a start; it is at least as late as the journal's last write.
    let written = std::fs::metadata(dir.join("journal")).and_then(|meta| meta.modified());
    let written = written.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    if let Some(at) = written.and_then(|at| i64::try_from(at.as_secs()).ok()) {
        identity.clock().raise(at);
    }
    let id = random_id()?;
    let disk =
        FileDisk::open(dir).with_context(|| format!("cannot open the journal in {}", dir.display()))?;
    Ok(Journal::open(Box::new(disk), || JournalId(id)).await?)
}

fn random_id() -> anyhow::Result<[u8; 16]> {
    let mut id = [0; 16];
    if SystemRandom::new().fill(&mut id).is_err() {
        bail!("the system gives no random numbers");
    }
    Ok(id)
}

fn make(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make the state directory {}", dir.display()))
}

/// Two agents over one journal would each undo the other.
fn only_one(dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = dir.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        anyhow::anyhow!("another agent runs over {} ({errno}); stop it first", dir.display())
    })
}

/// To stderr; with systemd's journal behind it, which has its own clock, without times.
fn log(settings: &Settings) -> anyhow::Result<()> {
    let filter: Targets = settings.log.parse().with_context(|| format!("--log {}", settings.log))?;
    let (terminal, journald) =
        (std::io::stderr().is_terminal(), std::env::var_os("JOURNAL_STREAM").is_some());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let lines = match settings.log_format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text if journald => lines.without_time().boxed(),
        LogFormat::Text => lines.boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}

/// Without systemd nobody listens; that is no error.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
