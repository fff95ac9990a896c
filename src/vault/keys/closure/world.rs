//! A store, its mirror and its custody on disk, seen through wrappers that write down every row and every
//! component, and that crash before, in the middle of and after every write.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::kept::Kept;
use crate::{
    domain::{Clock, Epoch, RootId, TestClock, Timestamp, TreeId},
    vault::{
        crypto::PageId,
        keys::{
            Custody, CustodyError, Description, DestroyReceipt, FileCustody, Ground,
            custody::Held,
            testing::{STORE, engine, temp_dir},
        },
        store::{
            Commit, Committed, Row, Space, Store, StoreError, Write,
            embedded::Embedded,
            schema::{self, KeyRange},
        },
    },
};

pub(super) const COMPONENTS: [&str; 2] = ["custody-a", "custody-b"];

/// The place of a row that is no page.
pub(super) const NO_PAGE: PageId = PageId { tree: TreeId([0xff; 16]), level: 0, index: 0 };

/// A component, as it was when custody was asked to keep it.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) epoch: Epoch,
    pub(super) root_id: RootId,
    pub(super) index: usize,
    pub(super) secret: [u8; 32],
}

/// Everything that was ever written.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// Every row of the control store, with the page it would be; rows of other tables get a place they were never bound to.
    pub(super) rows: Vec<(PageId, Bytes)>,
    /// Every component.
    pub(super) components: Vec<Component>,
}

/// What a crash leaves of a write to the mirror.
#[derive(Debug, Clone, Copy)]
enum Mirror {
    Old,
    Torn,
}

/// Counts the places where a crash can happen, and crashes at one of them.
#[derive(Default)]
struct Faults {
    seen: usize,
    crash_at: Option<usize>,
    is_down: bool,
    mirror: Option<(Mirror, Vec<u8>)>,
}

impl Faults {
    /// Whether this write, which can crash in `variants` ways, crashes now, and how.
    fn meet(&mut self, variants: usize) -> Option<usize> {
        let first = self.seen;
        self.seen += variants;
        let variant = self.crash_at?.checked_sub(first).filter(|variant| *variant < variants)?;
        self.is_down = true;
        Some(variant)
    }
}

#[derive(Clone)]
struct Shared {
    faults: Arc<Mutex<Faults>>,
    record: Arc<Mutex<Record>>,
    kept: Arc<Kept>,
    /// A planted fault: what the next commit writes as it is, and takes away again.
    plant: Arc<Mutex<Option<[u8; 32]>>>,
}

impl Shared {
    fn new(record: Record, plant: Option<[u8; 32]>) -> Self {
        Self {
            faults: Arc::default(),
            record: Arc::new(Mutex::new(record)),
            kept: Arc::new(Kept::new()),
            plant: Arc::new(Mutex::new(plant)),
        }
    }
}

/// The disk of one run.
pub(super) struct World {
    dir: tempfile::TempDir,
    shared: Shared,
    clock: TestClock,
    open: Option<Arc<Embedded>>,
}

impl World {
    pub(super) fn new() -> Self {
        let shared = Shared::new(Record::default(), None);
        let world = Self { dir: temp_dir(), shared, clock: TestClock::at(Timestamp(1_000_000)), open: None };
        Embedded::create(&engine(world.dir.path()), STORE).unwrap();
        for name in COMPONENTS {
            FileCustody::create(&world.dir.path().join(name), STORE).unwrap();
        }
        world
    }

    /// The same disk and the same record once more; this one must be closed.
    pub(super) fn copy(&self) -> Self {
        assert!(self.open.is_none(), "only what is closed can be copied");
        let dir = temp_dir();
        copy_dir(self.dir.path(), dir.path());
        let shared = Shared::new(self.record(), *self.shared.plant.lock().unwrap());
        Self { dir, shared, clock: self.clock.clone(), open: None }
    }

    /// Puts a part of another, closed disk in the place of this one's.
    pub(super) fn replace(&self, part: &str, other: &Self) {
        let (from, to) = (other.path(part), self.path(part));
        if from.is_dir() {
            fs::remove_dir_all(&to).unwrap();
            fs::create_dir(&to).unwrap();
            copy_dir(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }

    pub(super) fn record(&self) -> Record {
        self.shared.record.lock().unwrap().clone()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts what a process starts with; it will crash at place `crash_at`.
    pub(super) fn start(&mut self, crash_at: Option<usize>) -> Result<Ground, String> {
        *self.shared.faults.lock().unwrap() = Faults { crash_at, ..Faults::default() };
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        self.keep();
        // A torn end is cut off, and written over.
        let mirror = self.path("mirror").join("mirror.log");
        self.shared.kept.copy("mirror.log", &fs::read(&mirror).unwrap_or_default());
        let store = Embedded::open(engine(self.dir.path()), Arc::clone(&clock)).map_err(|error| error.to_string())?;
        self.open = Some(Arc::clone(&store));
        self.keep();
        let store = Arc::new(Watched { inner: store, dir: self.dir.path().to_path_buf(), mirror, shared: self.shared.clone() });
        let mut custody: Vec<Box<dyn Custody>> = Vec::new();
        for (index, name) in COMPONENTS.iter().enumerate() {
            let path = self.path(name);
            let inner = FileCustody::open(&path, None, STORE, Arc::clone(&clock)).map_err(|error| error.to_string())?;
            custody.push(Box::new(WatchedCustody { inner, path, index, shared: self.shared.clone() }));
        }
        Ok(Ground { store_id: STORE, store, custody, clock })
    }

    fn keep(&self) {
        look(&self.shared.kept, self.dir.path());
    }

    /// Shows every file that there ever was, by name.
    pub(super) fn each_file(&self, show: impl FnMut(&str, &[u8])) {
        self.shared.kept.each(show);
    }

    /// Plants what the first commit of every copy will write as it is.
    pub(super) fn plant(&self, key: [u8; 32]) {
        *self.shared.plant.lock().unwrap() = Some(key);
    }

    /// Whether the crash that was asked for has happened.
    pub(super) fn is_down(&self) -> bool {
        self.shared.faults.lock().unwrap().is_down
    }

    /// Places met since the last start.
    pub(super) fn places(&self) -> usize {
        self.shared.faults.lock().unwrap().seen
    }

    /// Ends the process: closes the store, then leaves the mirror as the crash would have.
    pub(super) fn stop(&mut self) {
        self.keep();
        if let Some(store) = self.open.take() {
            store.close();
        }
        self.keep();
        if let Some((left, old)) = self.shared.faults.lock().unwrap().mirror.take() {
            let path = self.path("mirror").join("mirror.log");
            let new = fs::read(&path).unwrap();
            self.shared.kept.copy("mirror.log", &new);
            fs::write(&path, mix(left, &old, new)).unwrap();
        }
        for name in COMPONENTS {
            self.shared.kept.copy(name, &fs::read(self.path(name)).unwrap_or_default());
        }
    }

    /// The bytes of each custody component now.
    pub(super) fn custody_bytes(&self) -> Vec<Vec<u8>> {
        COMPONENTS.iter().map(|name| fs::read(self.path(name)).unwrap()).collect()
    }
}

/// Keeps what is new in the store and the mirror.
fn look(kept: &Kept, dir: &Path) {
    for part in ["store", "mirror"] {
        kept.look(&dir.join(part));
    }
}

/// The mirror after a crash: without the last frame, or with half of it.
fn mix(left: Mirror, old: &[u8], mut new: Vec<u8>) -> Vec<u8> {
    match left {
        Mirror::Old => old.to_vec(),
        Mirror::Torn => {
            let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
            let end = new.len() - new.iter().rev().take_while(|byte| **byte == 0).count();
            new.truncate(same + end.saturating_sub(same) / 2);
            new
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

struct Watched {
    inner: Arc<Embedded>,
    dir: PathBuf,
    mirror: PathBuf,
    shared: Shared,
}

fn crashed() -> StoreError {
    StoreError::Io("crashed".to_owned())
}

impl Watched {
    fn up(&self) -> Result<(), StoreError> {
        if self.shared.faults.lock().unwrap().is_down { Err(crashed()) } else { Ok(()) }
    }

    /// The planted fault: bytes as they are, in a row that does not stay.
    fn plant(&self, commit: &mut Commit) {
        if let Some(raw) = self.shared.plant.lock().unwrap().take() {
            let key = schema::setting("planted");
            commit.writes.push(Write::Put { space: Space::Control, key: key.clone(), value: Bytes::copy_from_slice(&raw) });
            commit.writes.push(Write::Delete { space: Space::Control, key });
        }
    }

    /// Writes down every row of a commit that is about to be made.
    fn watch(&self, commit: &Commit) {
        let mut record = self.shared.record.lock().unwrap();
        for write in &commit.writes {
            if let Write::Put { space: Space::Control, key, value } = write {
                record.rows.push((page_of(key), value.clone()));
            }
        }
    }
}

/// The page that a row of this key would be.
fn page_of(key: &[u8]) -> PageId {
    let page = schema::Parts::of(schema::Table::Page, key)
        .and_then(|mut parts| Some(PageId { tree: TreeId(parts.bytes()?), level: parts.u8()?, index: parts.u64()? }));
    page.unwrap_or(NO_PAGE)
}

#[async_trait]
impl Store for Watched {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.up()?;
        self.inner.get(space, key).await
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.up()?;
        self.inner.scan(space, from, to, limit).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        self.up()?;
        // Before; in control but not in the mirror; in control and half in the mirror; in both, unanswered.
        let variant = self.shared.faults.lock().unwrap().meet(4);
        if variant == Some(0) {
            return Err(crashed());
        }
        let old_mirror = if matches!(variant, Some(1 | 2)) { fs::read(&self.mirror).unwrap() } else { Vec::new() };
        self.plant(&mut commit);
        self.watch(&commit);
        let done = self.inner.commit(commit).await;
        look(&self.shared.kept, &self.dir);
        match variant {
            None => done,
            Some(1) => {
                self.shared.faults.lock().unwrap().mirror = Some((Mirror::Old, old_mirror));
                Err(crashed())
            }
            Some(2) => {
                self.shared.faults.lock().unwrap().mirror = Some((Mirror::Torn, old_mirror));
                Err(crashed())
            }
            Some(_) => Err(crashed()),
        }
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        self.up()?;
        let variant = self.shared.faults.lock().unwrap().meet(2);
        if variant == Some(0) {
            return Err(crashed());
        }
        let done = self.inner.sync_mirror().await;
        look(&self.shared.kept, &self.dir);
        if variant.is_some() { Err(crashed()) } else { done }
    }

    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        look(&self.shared.kept, &self.dir);
        let done = self.inner.compact(space, ranges).await;
        look(&self.shared.kept, &self.dir);
        done
    }
}

struct WatchedCustody {
    inner: FileCustody,
    path: PathBuf,
    index: usize,
    shared: Shared,
}

impl WatchedCustody {
    fn up(&self) -> Result<(), CustodyError> {
        if self.shared.faults.lock().unwrap().is_down { Err(CustodyError::Io("crashed".to_owned())) } else { Ok(()) }
    }

    /// Does a write. A crash leaves the file as before, with the first or the second half of each slot written, or as after.
    fn write<T>(&self, write: impl FnOnce(&FileCustody) -> Result<T, CustodyError>) -> Result<T, CustodyError> {
        self.up()?;
        let old = fs::read(&self.path).unwrap();
        let done = write(&self.inner);
        let new = fs::read(&self.path).unwrap();
        if old == new {
            return done;
        }
        self.shared.kept.copy(COMPONENTS[self.index], &new);
        let Some(variant) = self.shared.faults.lock().unwrap().meet(4) else { return done };
        let half = |at: usize| (at / 2_048).is_multiple_of(2);
        let pick = |at: usize| match variant {
            0 => false,
            1 => half(at),
            2 => !half(at),
            _ => true,
        };
        let left: Vec<u8> = old.iter().zip(&new).enumerate().map(|(at, (old, new))| if pick(at) { *new } else { *old }).collect();
        self.shared.kept.copy(COMPONENTS[self.index], &left);
        fs::write(&self.path, left).unwrap();
        Err(CustodyError::Io("crashed".to_owned()))
    }
}

impl Custody for WatchedCustody {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn load(&self) -> Result<Vec<Held>, CustodyError> {
        self.up()?;
        self.inner.load()
    }

    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError> {
        let component = Component { epoch, root_id, index: self.index, secret: *secret };
        self.shared.record.lock().unwrap().components.push(component);
        self.write(|custody| custody.prepare(epoch, root_id, secret))
    }

    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError> {
        self.write(|custody| custody.destroy(root_id))
    }

    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError> {
        self.up()?;
        self.inner.destroyed(root_id)
    }

    fn scrub(&self) -> Result<(), CustodyError> {
        self.write(Custody::scrub)
    }

    fn describe(&self) -> Result<Description, CustodyError> {
        self.inner.describe()
    }
}

/// Components by root: only a root all of whose components are at hand can be derived.
pub(super) fn by_root(components: &[Component]) -> HashMap<(Epoch, RootId), Vec<&Component>> {
    let mut roots: HashMap<_, Vec<&Component>> = HashMap::new();
    for component in components {
        roots.entry((component.epoch, component.root_id)).or_default().push(component);
    }
    for components in roots.values_mut() {
        components.sort_by_key(|component| component.index);
    }
    roots.retain(|_, components| components.len() == COMPONENTS.len());
    roots
}
