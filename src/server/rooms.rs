//! Opens a store's rooms in their order: engine, custody, forest, vault; and makes them once, at `lethe init`.
//!
//! Whoever needs a store goes through here: the server, `init`, `check`, `rotate`. Keys that the whole world
//! has, those of `keys-example`, are refused unless the caller asks for a demonstration.

use std::{
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

use super::{
    demo,
    readers::{Guarded, Readers},
};
pub use crate::vault::keys::{CustodyError, Description};
use crate::{
    config::{AuditReads, Config, ConfigError, ControlCopy, Custody as CustodySettings, SuiteChoice},
    domain::{Clock, Epoch, RootId, StoreId},
    vault::{
        audit::{
            AuditError, journal,
            note::{NoteError, Signer},
            tlog::LogError,
        },
        crypto::{Suite, random},
        keys::{Custody, DestroyReceipt, FileCustody, Forest, ForestOptions, Ground, Held, KeysError, Recovery},
        ops::{Idle, Vault, VaultError, VaultOptions, VaultParts},
        store::{
            StoreError,
            embedded::{CopyPlace, Embedded, EmbeddedOptions, OpenError},
        },
    },
};

/// Why a store was not made or opened.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// Settings that do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or directory cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The engine.
    #[error("{0}")]
    Engine(#[from] OpenError),
    /// A component of custody.
    #[error("{}: {source}", path.display())]
    Custody {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: CustodyError,
    },
    /// The log.
    #[error("{0}")]
    Log(#[from] LogError),
    /// A row of the audit room.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The key forest: custody and the control store do not belong together.
    #[error("{}", told_of_keys(.0))]
    Keys(#[from] KeysError),
    /// The signing key.
    #[error("signing key: {0}")]
    Signer(#[from] NoteError),
    /// The operations.
    #[error("{}", told(.0))]
    Vault(#[from] VaultError),
    /// A copy of the control store that is older than custody.
    #[error(
        "tree-behind-custody: the copy at {} is of epoch {epoch}, and custody has the root of epoch {present}: nothing in the copy opens; find a newer one",
        dir.display()
    )]
    StaleCopy {
        /// Where the copy is.
        dir: PathBuf,
        /// Its epoch.
        epoch: Epoch,
        /// That of custody.
        present: Epoch,
    },
    /// A key of the demonstration, without asking for one.
    #[error("{0} is that of the demonstration, which the whole world has; say --demo to serve it all the same")]
    DemoKeys(&'static str),
}

/// What a start says that finds no room for what it must write: its numbers, what a crash left to do.
const DISK_FULL: &str =
    "disk-full: the disk of the store or of its mirror is full and the reserve is spent; free space on it, then start again";

/// What the operator is told: here, unlike over HTTP, the text of a fault of the service's own.
fn told(error: &VaultError) -> String {
    if let VaultError::Internal(text) | VaultError::Unavailable(text) = error {
        text.clone()
    } else if let VaultError::DiskFull = error {
        DISK_FULL.to_owned()
    } else {
        error.to_string()
    }
}

fn told_of_keys(error: &KeysError) -> String {
    if let KeysError::Store(StoreError::DiskFull) = error { DISK_FULL.to_owned() } else { error.to_string() }
}

/// An open store.
pub struct Rooms {
    /// The operations.
    pub vault: Vault,
    /// The engine.
    pub store: Arc<Embedded>,
    /// The forest, for what is not an operation of a principal: `rotate`.
    pub forest: Forest,
    /// What the start found.
    pub recovery: Recovery,
}

/// Makes a store where `config` says, and gives the operator's token, which is not kept.
///
/// # Errors
/// [`RoomError`]: what was made so far stays, to be removed by hand.
pub async fn make(config: &Config, clock: Arc<dyn Clock>) -> Result<Zeroizing<String>, RoomError> {
    let store_id = StoreId(random::bytes());
    let options = engine(config);
    Embedded::create(&options, store_id)?;
    for CustodySettings::File { path } in &config.custody {
        FileCustody::create(path, store_id).map_err(|source| RoomError::Custody { path: path.clone(), source })?;
    }
    let signer = Signer::make(&format!("lethe/{store_id}"))?;
    write_new(&config.paths.signing_key_file, 0o600, signer.danger_to_text().as_bytes())?;
    write_new(&config.public_key_file(), 0o644, signer.verifier().to_string().as_bytes())?;
    let store = Embedded::open(options, Arc::clone(&clock))?;
    let ground = Ground { store_id, store: store.clone(), custody: custody(config, store_id, &clock)?, clock: Arc::clone(&clock) };
    let forest = Forest::create(ground, forest_options(config)).await?;
    let tasks = TaskTracker::new();
    let parts = VaultParts {
        store_id,
        store: store.clone(),
        forest,
        signer,
        log_signer: read_signer(config)?,
        log_dir: config.log_dir(),
        log_journal: config.log_journal(),
        clock,
        options: vault_options(config),
        tasks: tasks.clone(),
        stop: CancellationToken::new(),
    };
    let token = Vault::create(parts).await?;
    tasks.close();
    tasks.wait().await;
    store.close();
    Ok(token)
}

/// Opens a store. Its background work runs on `tasks` and ends with `stop`.
///
/// # Errors
/// [`RoomError`]; nothing may be served then.
pub async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    stop: CancellationToken,
    demo: bool,
) -> Result<Rooms, RoomError> {
    let (rooms, mut idle) = open_idle(config, clock, (tasks, stop), demo).await?;
    idle.begin().await?;
    Ok(rooms)
}

/// The same, before anything is begun: its data may have to be made ready first.
pub(super) async fn open_idle(
    config: &Config,
    clock: Arc<dyn Clock>,
    work: (TaskTracker, CancellationToken),
    demo: bool,
) -> Result<(Rooms, Idle), RoomError> {
    open_of(config, engine(config), CustodyUse::Whole, clock, work, demo).await
}

/// What an opened store may do with custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CustodyUse {
    /// All: end epochs.
    Whole,
    /// Finish the epoch that a crash cut short, whose pages are there, before anything else; then read.
    Finish,
    /// Read the present root. What would change custody fails.
    ReadOnly,
}

/// The same with an engine of other bounds, or elsewhere. Unless custody may be used as a whole, nothing is to be begun.
pub(super) async fn open_of(
    config: &Config,
    options: EmbeddedOptions,
    may: CustodyUse,
    clock: Arc<dyn Clock>,
    work: (TaskTracker, CancellationToken),
    demo: bool,
) -> Result<(Rooms, Idle), RoomError> {
    let store = Embedded::open(options, Arc::clone(&clock))?;
    open_over(store, config, may, clock, work, demo).await
}

/// The same over an engine that is open: from here on there are keys.
pub(super) async fn open_over(
    store: Arc<Embedded>,
    config: &Config,
    may: CustodyUse,
    clock: Arc<dyn Clock>,
    (tasks, stop): (TaskTracker, CancellationToken),
    demo: bool,
) -> Result<(Rooms, Idle), RoomError> {
    let store_id = store.store_id();
    if !demo && let Some(which) = demo::known(config, store_id) {
        return Err(RoomError::DemoKeys(which));
    }
    let mut custody = custody(config, store_id, &clock)?;
    let may_change = Arc::new(AtomicBool::new(may != CustodyUse::ReadOnly));
    if may != CustodyUse::Whole {
        let kept = |custody| Box::new(Kept { custody, may_change: Arc::clone(&may_change) }) as Box<dyn Custody>;
        custody = custody.into_iter().map(kept).collect();
    }
    let ground = Ground { store_id, store: store.clone(), custody, clock: Arc::clone(&clock) };
    let (forest, recovery) = Forest::open(ground, forest_options(config)).await?;
    may_change.store(may == CustodyUse::Whole, Ordering::Release);
    let parts = VaultParts {
        store_id,
        store: store.clone(),
        forest: forest.clone(),
        signer: read_signer(config)?,
        log_signer: read_signer(config)?,
        log_dir: config.log_dir(),
        log_journal: config.log_journal(),
        clock,
        options: vault_options(config),
        tasks,
        stop,
    };
    let (vault, idle) = Vault::open_idle(parts).await?;
    Ok((Rooms { vault, store, forest, recovery }, idle))
}

/// Writes a new file that is there whole and durable, or not at all. What a crash leaves under another name
/// (`PATH.new`) is removed by the next try.
///
/// # Errors
/// [`RoomError::File`], also if it exists.
pub fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), RoomError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let written = || {
        if let Err(error) = std::fs::remove_file(fresh)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        put_in_place(fresh, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|source| {
        // The failure itself matters more than the file that it leaves.
        drop(std::fs::remove_file(fresh));
        RoomError::File { path: path.to_path_buf(), source }
    })
}

/// Gives a file its name, unless that is taken.
fn put_in_place(fresh: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, fresh, CWD, path, RenameFlags::NOREPLACE) {
        // Network file systems often know no such rename; a second link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(fresh, path)?;
            std::fs::remove_file(fresh)
        }
        renamed => Ok(renamed?),
    }
}

/// The key of certificates and checkpoints.
pub(super) fn read_signer(config: &Config) -> Result<Signer, RoomError> {
    let path = &config.paths.signing_key_file;
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| RoomError::File { path: path.clone(), source })?;
    Ok(Signer::parse(&text)?)
}

/// The components of custody, in the order of the settings.
pub(super) fn custody(config: &Config, store_id: StoreId, clock: &Arc<dyn Clock>) -> Result<Vec<Box<dyn Custody>>, RoomError> {
    let (data, readers) = (config.data_dir(), Arc::new(Readers::of(config)));
    let open = |settings: &CustodySettings| -> Result<Box<dyn Custody>, RoomError> {
        let CustodySettings::File { path } = settings;
        match FileCustody::open(path, Some(&data), store_id, Arc::clone(clock)) {
            Ok(custody) => Ok(Box::new(Guarded { inner: Box::new(custody), readers: Arc::clone(&readers) })),
            Err(source) => Err(RoomError::Custody { path: path.clone(), source }),
        }
    };
    config.custody.iter().map(open).collect()
}

/// A component that is only read, but for as long as it may be changed.
struct Kept {
    custody: Box<dyn Custody>,
    may_change: Arc<AtomicBool>,
}

impl Kept {
    fn changed(&self) -> Result<&dyn Custody, CustodyError> {
        if self.may_change.load(Ordering::Acquire) { Ok(self.custody.as_ref()) } else { Err(CustodyError::Io(ONLY_READ.into())) }
    }
}

const ONLY_READ: &str = "custody is only read here: start the server once, which finishes what a crash cut short";

impl Custody for Kept {
    fn kind(&self) -> &'static str {
        self.custody.kind()
    }

    fn load(&self) -> Result<Vec<Held>, CustodyError> {
        self.custody.load()
    }

    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError> {
        self.changed()?.prepare(epoch, root_id, secret)
    }

    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError> {
        self.changed()?.destroy(root_id)
    }

    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError> {
        self.custody.destroyed(root_id)
    }

    fn scrub(&self) -> Result<(), CustodyError> {
        // What is left to overwrite is left to the next start.
        self.changed().map_or(Ok(()), Custody::scrub)
    }

    fn describe(&self) -> Result<Description, CustodyError> {
        self.custody.describe()
    }
}

/// What each component of custody is worth, held against the user who owns the store directory. Reads no secret.
#[must_use]
pub fn examine_custody(config: &Config) -> Vec<(&Path, Result<Description, CustodyError>)> {
    let examine = |path: &Path| {
        let owner = std::fs::metadata(&config.dir)?.uid();
        FileCustody::examine(path, Some(&config.data_dir()), owner)
    };
    config.custody.iter().map(|CustodySettings::File { path }| (path.as_path(), examine(path))).collect()
}

/// Where a further copy of the control store lies.
fn place(ControlCopy { dir, confirm }: &ControlCopy) -> CopyPlace {
    CopyPlace { dir: dir.clone(), confirm: *confirm }
}

/// Where the engine's parts lie, and its bounds.
pub(super) fn engine(config: &Config) -> EmbeddedOptions {
    EmbeddedOptions {
        block_cache_bytes: usize::try_from(config.cache.blocks_len_bytes).unwrap_or(usize::MAX),
        reserve_bytes: config.store.reserve_len_bytes,
        queue_len: config.store.commit_queue_len,
        asking_threads: config.worker_threads(),
        copies: config.control.copies.iter().map(place).collect(),
        companion: Some(journal::follow::follow),
        ..EmbeddedOptions::new(&config.dir, &config.paths.mirror_dir)
    }
}

fn forest_options(config: &Config) -> ForestOptions {
    ForestOptions {
        cached_keys: usize::try_from(config.cache.keys_max).unwrap_or(usize::MAX),
        key_ttl: config.keys_ttl(),
        ..ForestOptions::default()
    }
}

fn vault_options(config: &Config) -> VaultOptions {
    let suite = match config.sealing.suite {
        SuiteChoice::Auto => Suite::preferred(),
        SuiteChoice::Aes256Gcm => Suite::Aes256Gcm,
        SuiteChoice::XChaCha20Poly1305 => Suite::XChaCha20Poly1305,
    };
    VaultOptions {
        value_len_bytes: config.limits.value_len_bytes,
        durable_reads: config.audit.reads == AuditReads::Durable,
        suite,
        ..VaultOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_engine_knows_how_many_threads_ask_it() {
        let text = "[server]\nworker_threads = 3\n[paths]\nmirror_dir = \"../m\"\n[[custody]]\nkind = \"file\"\npath = \"../c/root\"\n";
        assert_eq!(engine(&Config::parse(text, Path::new("/srv/s")).unwrap()).asking_threads, 3);
    }

    #[test]
    fn a_new_file_is_whole_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_new(&path, 0o600, b"first").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = write_new(&path, 0o600, b"second").unwrap_err();
        assert!(matches!(&refused, RoomError::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_a_crash_left_beside_a_new_file_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(dir.path().join("secret.new"), "hal").unwrap();
        write_new(&path, 0o600, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// The name is given last: whoever sees the file under it sees all of it, at any moment.
    #[test]
    fn a_new_file_is_never_seen_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let bytes = vec![7; 8 << 20];
        let looked = std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                loop {
                    if let Ok(found) = std::fs::metadata(&path) {
                        return found.len();
                    }
                }
            });
            write_new(&path, 0o600, &bytes).unwrap();
            looker.join().unwrap()
        });
        assert_eq!(looked, 8 << 20);
    }
}
