//! Who holds keys beside the server: a rehearsal. No root is destroyed while another process may hold what it opens.
//!
//! `keys.lock` in the store's directory is locked shared by whoever reads the root and only looks, and alone from the making of a root
//! to the destruction of the one before. Who finds it held leaves `keys.wanted` and tries again; whoever only looks ends then, keys first.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{
    config::Config,
    domain::{Epoch, RootId},
    vault::keys::{Custody, CustodyError, Description, DestroyReceipt, Held},
};

/// How often one who only looks asks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The readers of a store's root.
#[derive(Debug)]
pub(super) struct Readers {
    lock: PathBuf,
    wanted: PathBuf,
    /// The lock, while this process makes or destroys roots.
    alone: Mutex<Option<File>>,
}

/// Held by one who only looks, as long as it may hold a key.
#[derive(Debug)]
pub(super) struct Reading(#[expect(dead_code, reason = "held until dropped")] File);

impl Readers {
    pub(super) fn of(config: &Config) -> Self {
        Self { lock: config.dir.join("keys.lock"), wanted: config.dir.join("keys.wanted"), alone: Mutex::default() }
    }

    fn file(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.lock)
    }

    /// Begins to look; waits while a root is being made or destroyed.
    pub(super) fn begin(&self) -> io::Result<Reading> {
        let file = self.file()?;
        flock(&file, FlockOperation::LockShared)?;
        // Of an earlier time: who still wants it says so again.
        self.is_not_wanted()?;
        Ok(Reading(file))
    }

    /// Resolves when somebody cannot end an epoch because of who looks.
    pub(super) async fn wanted(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        while !self.wanted.exists() {
            ticks.tick().await;
        }
    }

    fn is_not_wanted(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.wanted) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<File>> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that nobody looks, until [`Readers::let_on`].
    fn keep_out(&self) -> Result<(), CustodyError> {
        let mut held = self.held();
        if held.is_none() {
            *held = Some(self.lock_alone()?);
        }
        Ok(())
    }

    /// Whoever wants to look may.
    fn let_on(&self) {
        drop(self.held().take());
    }

    fn lock_alone(&self) -> Result<File, CustodyError> {
        let file = self.file().map_err(|error| CustodyError::Io(error.to_string()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.is_not_wanted().map_err(|error| CustodyError::Io(error.to_string()))?;
                Ok(file)
            }
            Err(Errno::WOULDBLOCK) => {
                File::create(&self.wanted).map_err(|error| CustodyError::Io(error.to_string()))?;
                Err(CustodyError::Io("a rehearsal holds keys; it was told to end".into()))
            }
            Err(error) => Err(CustodyError::Io(error.to_string())),
        }
    }
}

/// A component whose roots are made and destroyed while nobody looks. Each epoch ends with reading back what is held.
pub(super) struct Guarded {
    pub(super) inner: Box<dyn Custody>,
    pub(super) readers: Arc<Readers>,
}

impl Custody for Guarded {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn load(&self) -> Result<Vec<Held>, CustodyError> {
        self.readers.let_on();
        self.inner.load()
    }

    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError> {
        self.readers.keep_out()?;
        self.inner.prepare(epoch, root_id, secret)
    }

    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError> {
        self.readers.keep_out()?;
        self.inner.destroy(root_id)
    }

    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError> {
        self.inner.destroyed(root_id)
    }

    fn scrub(&self) -> Result<(), CustodyError> {
        self.readers.let_on();
        self.inner.scrub()
    }

    fn describe(&self) -> Result<Description, CustodyError> {
        self.inner.describe()
    }
}
