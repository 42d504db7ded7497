//! `levee run`: the one writer. It opens the dataplane and the desired state, brings the one to the other, and
//! serves the API until it is told to stop.
//!
//! Everything that can refuse is asked before anything is changed.
//! Stopping leaves the dataplane as it is: attached interfaces go on filtering with their last tables.

mod config;
mod handover;
mod privileges;
mod signals;
mod socket;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use tokio::net::UnixListener;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

pub use self::config::{Config, Given};

use self::handover::Handover;
use self::signals::Signals;
use self::socket::{Bound, InUse, Place};
use self::watch::Watcher;
use crate::api::controller::Controller;
use crate::api::error::chain;
use crate::api::server::{self, Limits};
use crate::dataplane::{Dataplane, DataplaneError, KernelTables};
use crate::engine::{Engine, EngineError, MissingLog, Recovery};
use crate::tables::Opened;

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub socket: PathBuf,
    /// Where the desired state is kept.
    pub state_dir: PathBuf,
    /// Where programs and maps are pinned.
    pub bpffs: PathBuf,
    /// Bytes of kernel memory that the prefix tables may take.
    pub max_memory: u64,
    /// The policy that is to be in force.
    pub config: Option<Config>,
}

/// How often the daemon looks whether its socket is there.
const SOCKET_PERIOD: Duration = Duration::from_secs(1);
/// Longest sleep of the expiry task: a clock that was set reaches it no later than that.
const EXPIRY_SLEEP: Duration = Duration::from_secs(30);

/// How long what rests in the tables waits for being given back; less, and a table that changes all day would wait for
/// programs all day.
const SETTLE_SLEEP: Duration = Duration::from_secs(1);

/// Runs until it is told to stop (see [`signals`]).
///
/// # Errors
/// Whatever keeps the daemon from starting; nothing has changed then.
pub fn run(options: &Options) -> Result<()> {
    let filter = EnvFilter::try_from_env("LEVEE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        // Standard error may be a terminal that has gone: what cannot be told there cannot be complained about there.
        .log_internal_errors(false)
        .init();

    privileges::check()?;
    let mut handover = Handover::new();
    let socket = handover.take(|| Bound::bind(&options.socket), anyhow::Error::is::<InUse>)?;
    let controller = open(options, &mut handover)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let served = runtime.block_on(serve(socket, controller, options));
    // Blocking calls still in progress belong to clients that are gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Opens dataplane and state. Opening pins nothing, so a failure leaves nothing behind.
fn open(options: &Options, handover: &mut Handover) -> Result<Arc<Controller>> {
    let Options { bpffs, state_dir, max_memory, .. } = options;
    let is_busy = |error: &DataplaneError| matches!(error, DataplaneError::Busy { .. });
    let (dataplane, adopted) = handover
        .take(|| Dataplane::open(bpffs), is_busy)
        .with_context(|| format!("cannot open the dataplane in {}", bpffs.display()))?;
    for interface in &adopted {
        info!(
            interface = interface.attached_as,
            program = interface.program_id,
            generation = interface.generation,
            "adopted"
        );
    }
    let dataplane = Arc::new(Mutex::new(dataplane));
    let open = || {
        let tables = KernelTables::new(Arc::clone(&dataplane), *max_memory);
        Engine::open(state_dir, Box::new(tables), SystemTime::now())
    };
    let is_locked = |error: &EngineError| matches!(error, EngineError::Locked { .. });
    let (engine, recovery) = handover
        .take(open, is_locked)
        .with_context(|| format!("cannot open the state in {}", state_dir.display()))?;
    tell(recovery);
    let lost = lost(&recovery);
    let controller = Controller::new(engine, Box::new(dataplane), state_dir).noting(lost);
    let controller = controller.guarded_by(Box::new(crate::guard::look));
    let controller = Arc::new(controller);
    for warning in controller.warnings() {
        warn!("{warning}");
    }
    Ok(controller)
}

fn tell(recovery: Recovery) {
    let Recovery { sets, prefixes, interfaces, expired, .. } = recovery;
    info!(sets, prefixes, interfaces, expired, "read the state");
    if recovery.tables == Opened::Replaced {
        info!("made the tables anew from it");
    }
    if recovery.adopted > 0 && recovery.missing_log == MissingLog::No {
        info!(prefixes = recovery.adopted, "there was no state, so what the tables in use held became one");
    }
    if recovery.truncated_log_bytes > 0 {
        warn!(bytes = recovery.truncated_log_bytes, "cut an unfinished change from the journal");
    }
}

/// What the operator must know of a state of which a part was lost.
fn lost(recovery: &Recovery) -> Option<String> {
    let adopted = match recovery.adopted {
        0 => String::new(),
        count => format!(", with {count} prefixes that only the tables knew of in sets adopted-..."),
    };
    match recovery.missing_log {
        MissingLog::No => None,
        MissingLog::TablesBelieved => Some(format!(
            "the journal's log was lost, so the sets are what the tables in force hold{adopted}; ends and reasons that \
             were given since the last snapshot are lost: look through `levee set list` and `levee block list`"
        )),
        MissingLog::SnapshotBelieved => Some(
            "the journal's log was lost and no tables were in force, so the sets are those of the last snapshot: what \
             was changed since is to be changed again"
                .to_owned(),
        ),
    }
}

async fn serve(socket: Bound, controller: Arc<Controller>, options: &Options) -> Result<()> {
    let listener = UnixListener::from_std(socket.listener()?).context("cannot listen on the socket")?;
    let signals = Signals::listen()?;
    let mut watcher = Watcher::new(Arc::clone(&controller));
    watcher.look(true).await;
    if let Some(config) = options.config.clone() {
        let configured = Arc::clone(&controller);
        let done =
            tokio::task::spawn_blocking(move || configured.configure(&config.file, &config.text)).await;
        if let Err(error) = done.context("putting the configured policy in force panicked")? {
            error!(error = %chain(&error), "the configured policy is not in force, what was before is");
        }
        watcher.look(true).await;
    }
    let watch = tokio::spawn(watcher.run());
    let expiry = tokio::spawn(expire(Arc::clone(&controller)));
    let (renews, renewed) = tokio::sync::mpsc::channel(1);
    let keeper = tokio::spawn(keep(socket, renews));
    let settling = tokio::spawn(settle(Arc::clone(&controller)));
    info!(socket = %options.socket.display(), pid = std::process::id(), "ready");
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "cannot tell the service manager");
    }
    let stop = async {
        info!("stopping on {}", signals.stop().await);
        // A service manager that does not listen changes nothing about stopping.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    };
    server::serve_renewed(listener, renewed, Arc::clone(&controller), Limits::default(), stop).await;
    watch.abort();
    expiry.abort();
    keeper.abort();
    // With it goes the socket.
    let _ = keeper.await;
    settling.abort();
    info!("stopped; what is attached goes on filtering, `levee detach --all` takes it off");
    Ok(())
}

/// Makes the socket again when somebody has removed it: a daemon that nobody finds expires entries and takes no
/// orders.
async fn keep(mut socket: Bound, renews: tokio::sync::mpsc::Sender<UnixListener>) {
    let mut told = Place::Kept;
    loop {
        tokio::time::sleep(SOCKET_PERIOD).await;
        let place = socket.place();
        let renewed = match place {
            Place::Empty => Some(socket.renew().and_then(|listener| Ok(UnixListener::from_std(listener?)?))),
            Place::Kept | Place::Taken => None,
        };
        match renewed {
            Some(Ok(listener)) => {
                warn!("the socket was removed, and is made again");
                if renews.send(listener).await.is_err() {
                    break;
                }
            }
            Some(Err(error)) if told != place => {
                warn!("the socket was removed, and cannot be made again: {error:#}");
            }
            None if told != place && place == Place::Taken => {
                warn!(
                    "something else is in the place of the socket, so nobody finds this process; restart it"
                );
            }
            Some(Err(_)) | None => {}
        }
        told = place;
    }
}

/// Gives back what rests in the tables, and ends twins that nobody uses. Where nothing is to be done, that is one question a
/// second.
async fn settle(controller: Arc<Controller>) {
    loop {
        tokio::time::sleep(SETTLE_SLEEP).await;
        let settled = Arc::clone(&controller);
        if let Err(error) = tokio::task::spawn_blocking(move || settled.settle()).await {
            error!(%error, "giving back what rests in the tables panicked");
        }
        controller.end_idle_twins();
    }
}

/// Removes entries when their time is over.
async fn expire(controller: Arc<Controller>) {
    loop {
        let expired = Arc::clone(&controller);
        let next = tokio::task::spawn_blocking(move || expired.expire()).await;
        let sleep = match next {
            Ok(Ok(next)) => {
                next.map_or(EXPIRY_SLEEP, |next| next.clamp(Duration::from_millis(100), EXPIRY_SLEEP))
            }
            Ok(Err(error)) => {
                error!(error = %chain(&error), "entries whose time is over cannot be removed");
                EXPIRY_SLEEP
            }
            Err(error) => {
                error!(%error, "removing entries whose time is over panicked");
                EXPIRY_SLEEP
            }
        };
        let changed = controller.changed();
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = changed => {}
        }
    }
}
