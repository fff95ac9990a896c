//! The composition root: opens the rooms in their order, binds the door, serves, and goes down in the reverse order.
//!
//! Going down: the door closes, open connections finish their requests, then the operations' tasks end, then the
//! engine closes. All of it has one time; what is not done by then is cut, and nothing acknowledged is lost by that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, LogFormat};
use crate::domain::{Clock, SystemClock};
use crate::http::door::{Door, DoorError, DoorOptions};
use crate::http::tls::{Certificate, TlsError};
use crate::http::{self, Api, HttpOptions};
use crate::jobs;
use crate::telemetry::{self, TelemetryError, TelemetryGuard, TelemetryOptions};
use crate::vault::crypto::random;
use crate::vault::ops::{Idle, Vault};

pub mod backup;
pub mod copies;
mod demo;
mod readers;
pub mod recovery;
pub mod rooms;

pub use crate::http::tasks::Tasks;
pub use crate::vault::keys::hygiene;
pub use rooms::{RoomError, Rooms};

/// How to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// Serve although the keys are those of the demonstration.
    pub demo: bool,
}

/// Why a server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A room did not open.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// It cannot be told whether the data store was put back and is not ready.
    #[error(transparent)]
    Backup(#[from] backup::BackupError),
    /// The door did not open.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Logs or traces cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The operating system's signals cannot be had.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// Requests or background work were cut at the end of their time.
    #[error("not everything ended in time; what was acknowledged is stored")]
    CutShort,
    /// No connection is accepted any more, although nobody asked for that.
    #[error("the door failed: no connection is accepted any more")]
    DoorFailed,
}

/// A server at work.
pub struct Server {
    rooms: Rooms,
    url: String,
    certificate: Option<Arc<Certificate>>,
    /// Connections.
    doors: Tasks,
    /// Accepts them; ends only on the way down.
    door: JoinHandle<()>,
    /// The operations' own.
    work: Tasks,
    drain_timeout: Duration,
    telemetry: TelemetryGuard,
    signals: Option<Signals>,
}

/// The signals a server obeys. From the moment they are listened for, none ends the process by itself.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServerError> {
        let listen = |kind| signal(kind).map_err(ServerError::Signals);
        let (terminate, interrupt, hangup) = (SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup());
        Ok(Self { terminate: listen(terminate)?, interrupt: listen(interrupt)?, hangup: listen(hangup)? })
    }
}

/// Starts a server as a process of its own: logs, process hygiene, rooms, door.
///
/// # Errors
/// [`ServerError`]; nothing is served then.
pub async fn start(config: Config, start: Start) -> Result<Server, ServerError> {
    let format = config.log.format == LogFormat::Json;
    let options =
        TelemetryOptions { log_filter: config.log.level.clone(), json: format, otlp_endpoint: config.telemetry.traces_endpoint() };
    // Fails only where the process has a provider already, which is then the one to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let guard = telemetry::install(&options)?;
    // Before anybody can be told that it listens: a signal in between would kill it where it should drain or reload.
    let signals = Signals::listen()?;
    let hygiene = hygiene::apply();
    if !hygiene.no_core_dumps || !hygiene.not_dumpable {
        warn!(no_core_dumps = hygiene.no_core_dumps, not_dumpable = hygiene.not_dumpable, "the process's memory may be dumped");
    }
    info!(lockable_bytes = hygiene.lockable_bytes, "keys are held in locked memory as far as the limit allows");
    let mut server = open(config, start, Arc::new(SystemClock)).await?;
    server.telemetry = guard;
    server.signals = Some(signals);
    Ok(server)
}

/// Opens rooms and door with the time of `clock`, leaving the process as it is: for tests, of which one process runs many.
///
/// # Errors
/// [`ServerError`]; nothing is served then.
pub async fn open(config: Config, start: Start, clock: Arc<dyn Clock>) -> Result<Server, ServerError> {
    let metrics = telemetry::metrics_handle();
    let (doors, work) = (Tasks::default(), Tasks::default());
    let certificate = certificate(&config)?;
    let tls = certificate.as_ref().map(Certificate::server_config).transpose()?;
    let (rooms, mut idle) = rooms::open_idle(&config, clock, (work.tracker(), work.stop_token()), start.demo).await?;
    info!(epoch = rooms.recovery.epoch.0, row = ?rooms.recovery.row, "store is open");
    let fenced = is_fenced(&config, &rooms).await?;
    if fenced {
        rooms.vault.begin_restoring();
        idle.state_lost().await.map_err(RoomError::from)?;
    } else {
        idle.begin().await.map_err(RoomError::from)?;
    }
    // Behind the fence: without it, older data would now be told for today's.
    rooms.vault.number_start().await.map_err(RoomError::from)?;
    backup::restore::end_ready(&config)?;
    jobs::start(&rooms.vault, &work.tracker(), &work.stop_token());

    let stall_timeout = Duration::from_secs(config.server.stall_timeout_secs);
    let http_options = HttpOptions {
        bodies_len_bytes: usize::try_from(config.server.bodies_len_bytes).unwrap_or(usize::MAX),
        progress_timeout: stall_timeout,
        value_len_bytes: config.limits.value_len_bytes,
        ..HttpOptions::default()
    };
    let api = Api::new(rooms.vault.clone(), http_options, metrics, doors.clone(), random::bytes());
    let drain_timeout = Duration::from_secs(config.server.drain_timeout_secs);
    let door_options = DoorOptions {
        max_connections: config.server.connections_max,
        head_timeout: Duration::from_secs(config.server.header_timeout_secs),
        progress_timeout: stall_timeout,
        farewell_timeout: stall_timeout.min(drain_timeout.mul_f32(0.25)),
    };
    let door = Door::bind(config.server.listen, tls, door_options).await?;
    let url = door.url();
    let door = doors.spawn(door.serve(http::router(&api), doors.clone()));
    if fenced {
        warn!(url, "older data was put back: nothing is served until what is over by now is destroyed");
        work.spawn(lift_fence(rooms.vault.clone(), idle, config.data_dir(), work.stop_token()));
    }
    info!(url, "serving");
    Ok(Server { rooms, url, certificate, doors, door, work, drain_timeout, telemetry: TelemetryGuard::default(), signals: None })
}

/// Whether the data store is an older one that is not ready to be served: one that a restore has put back, or a hand.
async fn is_fenced(config: &Config, rooms: &Rooms) -> Result<bool, backup::BackupError> {
    if backup::restore::is_fenced(config)? {
        return Ok(true);
    }
    let is_older = rooms.vault.found_older_data() && !backup::restore::is_ready(config, rooms.vault.start_number().await)?;
    if is_older {
        warn!("the data store is older than the control store knows it, and no restore has put it back");
        backup::restore::raise_fence(config, rooms.vault.store_id())?;
    }
    Ok(is_older)
}

/// Between attempts to make restored data ready; and where something that is over could not be read.
const FENCE_EVERY: Duration = Duration::from_secs(1);
const FENCE_AGAIN: Duration = Duration::from_mins(1);

/// Destroys what is over of data that was put back, takes up the orders that are not done, and only then lets it be served.
async fn lift_fence(vault: Vault, mut idle: Idle, data: PathBuf, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(FENCE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let done = match vault.replay_retention().await {
            Ok(done) => done,
            Err(error) => {
                error!(%error, "restored data is not ready to be served; tried again");
                continue;
            }
        };
        if done.failed > 0 {
            error!(
                failed = done.failed,
                "restored data stays behind its fence: records that may be over cannot be read, or destroyed; tried again in a minute"
            );
            ticks.reset_after(FENCE_AGAIN);
            continue;
        }
        if let Err(error) = idle.begin().await {
            error!(%error, "orders to shred cannot be taken up: restored data is not served; tried again");
            continue;
        }
        if let Err(error) = backup::restore::take_fence_away(&data) {
            error!(%error, "the fence of restored data stays; tried again");
            continue;
        }
        vault.end_restoring();
        info!(destroyed = done.destroyed, held = done.held, "restored data is served from here on");
        return;
    }
}

fn certificate(config: &Config) -> Result<Option<Arc<Certificate>>, TlsError> {
    match (&config.server.tls_cert_file, &config.server.tls_key_file) {
        (Some(chain), Some(key)) => Certificate::load(chain, key).map(Some),
        (None, _) | (_, None) => Ok(None),
    }
}

/// What a start loads before it opens the store, each by the function that the start itself calls, and what there is to say
/// of it. Nothing is kept.
pub fn examine(config: &Config) -> [(&'static str, Result<String, ServerError>); 3] {
    let tls = || -> Result<String, ServerError> {
        let Some(certificate) = certificate(config)? else { return Ok("none: plain HTTP, on loopback only".into()) };
        certificate.server_config()?;
        Ok("certificate chain and private key belong together".into())
    };
    let key = || -> Result<String, ServerError> { Ok(format!("of {}", rooms::read_signer(config)?.verifier().name())) };
    let log = telemetry::check_filter(&config.log.level).map(|()| config.log.level.clone());
    [("TLS", tls()), ("signing key", key()), ("log", log.map_err(ServerError::from))]
}

impl Server {
    /// Where it answers, with the real port.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The rooms behind the door.
    #[must_use]
    pub const fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Serves until SIGTERM or SIGINT, reading the certificate again at each SIGHUP; then goes down.
    ///
    /// # Errors
    /// [`ServerError::CutShort`], [`ServerError::Signals`]; [`ServerError::DoorFailed`] if it had to go down by itself.
    pub async fn wait(mut self) -> Result<(), ServerError> {
        let mut signals = match self.signals.take() {
            Some(signals) => signals,
            None => Signals::listen()?,
        };
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => self.reload_certificate(),
                ended = &mut self.door => {
                    error!(panicked = ended.is_err(), "the door failed");
                    let _ = self.stop().await;
                    return Err(ServerError::DoorFailed);
                }
            }
        }
        self.stop().await
    }

    /// Reads the certificate again; the old one stays if that fails.
    pub fn reload_certificate(&self) {
        match self.certificate.as_ref().map(|certificate| certificate.reload()) {
            None => info!("no certificate to reload: this is plain HTTP"),
            Some(Ok(())) => info!("certificate reloaded"),
            Some(Err(error)) => error!(%error, "certificate not reloaded; the old one stays"),
        }
    }

    /// Goes down, within `server.drain_timeout_secs` and the time the engine takes to close.
    ///
    /// # Errors
    /// [`ServerError::CutShort`].
    pub async fn stop(self) -> Result<(), ServerError> {
        info!("going down");
        // One time for all of it: connections have most, the operations' own tasks the rest.
        let started = Instant::now();
        let requests = self.doors.drain(self.drain_timeout.mul_f32(0.75)).await;
        let work = self.work.drain(self.drain_timeout.saturating_sub(started.elapsed())).await;
        let store = Arc::clone(&self.rooms.store);
        // A thread of its own: closing blocks until what waits is synced.
        let (closed, wait) = tokio::sync::oneshot::channel();
        let closer = std::thread::spawn(move || {
            store.close();
            let _ = closed.send(());
        });
        let _ = wait.await;
        drop(closer);
        drop(self.telemetry);
        if requests && work { Ok(()) } else { Err(ServerError::CutShort) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_door_that_fails_ends_the_server() {
        let top = tempfile::tempdir().unwrap();
        for part in ["store", "mirror", "custody"] {
            std::fs::create_dir(top.path().join(part)).unwrap();
        }
        let text = "[server]\nlisten = \"127.0.0.1:0\"\n[paths]\nmirror_dir = \"../mirror\"\n[store]\nreserve_len_bytes = 1048576\n\
            [[custody]]\nkind = \"file\"\npath = \"../custody/root\"\n";
        let config = Config::parse(text, &top.path().join("store")).unwrap();
        rooms::make(&config, Arc::new(SystemClock)).await.unwrap();
        let server = open(config, Start::default(), Arc::new(SystemClock)).await.unwrap();
        server.door.abort();
        let ended = tokio::time::timeout(Duration::from_mins(1), server.wait()).await.expect("it does not go on without a door");
        assert!(matches!(ended, Err(ServerError::DoorFailed)), "{ended:?}");
    }
}
