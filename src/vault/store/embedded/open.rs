//! Making, opening and rebuilding a store: everything that must agree is compared before the first commit.
//!
//! Own rows: `format` be32, `store` 16 bytes, in both databases; in control `state` = sequence be64 | digest 32 of the last
//! control batch; in data `state` = sequence be64 of the control store when last written | count of data batches be64.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rocksdb::{Cache, WriteBatch};

use crate::domain::StoreId;

use super::{
    super::{Database, StoreError, Write},
    database::Rocks,
    error::{OpenError, at},
    group::Pair,
    lock::DirLock,
    mirror::{self, Mirror, State},
    options::{EmbeddedOptions, sync_dir},
};

/// The format of the directory and of both databases.
const FORMAT: u32 = 1;

/// What the data store remembers about itself and about control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataState {
    control_seq: u64,
    batches: u64,
}

impl DataState {
    const EMPTY: Self = Self { control_seq: 0, batches: 0 };

    pub(super) const fn next(self, control_seq: u64) -> Self {
        Self { control_seq, batches: self.batches.saturating_add(1) }
    }
}

/// Where both databases stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct States {
    pub(super) store_id: StoreId,
    pub(super) control: State,
    pub(super) data: DataState,
}

/// Records where control stands, within its batch.
pub(super) fn put_control_state(batch: &mut WriteBatch, state: State) {
    let mut row = state.seq.to_be_bytes().to_vec();
    row.extend_from_slice(&state.digest);
    batch.put("state", row);
}

/// Records where data stands, within its batch.
pub(super) fn put_data_state(batch: &mut WriteBatch, state: DataState) {
    let mut row = state.control_seq.to_be_bytes().to_vec();
    row.extend_from_slice(&state.batches.to_be_bytes());
    batch.put("state", row);
}

fn put_identity(batch: &mut WriteBatch, store_id: StoreId) {
    batch.put("format", FORMAT.to_be_bytes());
    batch.put("store", store_id.0);
}

fn damaged(which: Database) -> impl Fn(StoreError) -> OpenError {
    move |error| OpenError::Damaged { database: which.name(), detail: error.to_string() }
}

fn own_row<const N: usize>(rocks: &Rocks, which: Database, key: &'static str) -> Result<[u8; N], OpenError> {
    let row = rocks.own_row(key).map_err(damaged(which))?;
    let row = row.and_then(|row| row.try_into().ok());
    row.ok_or_else(|| OpenError::Damaged { database: which.name(), detail: format!("its own row {key} is missing or unreadable") })
}

fn check_identity(rocks: &Rocks, which: Database) -> Result<StoreId, OpenError> {
    let format = u32::from_be_bytes(own_row(rocks, which, "format")?);
    if format != FORMAT {
        return Err(OpenError::UnknownFormat { place: which.name().into(), found: format.to_string(), known: FORMAT });
    }
    Ok(StoreId(own_row(rocks, which, "store")?))
}

fn split_state(row: &[u8; 40]) -> State {
    let (seq, digest) = row.split_at(8);
    // Both parts have their lengths by construction.
    State { seq: seq.try_into().map_or(0, u64::from_be_bytes), digest: digest.try_into().unwrap_or([0; 32]) }
}

fn open_control(options: &EmbeddedOptions, cache: &Cache) -> Result<(Rocks, StoreId, State), OpenError> {
    let control = Rocks::open(&options.control_dir(), Database::Control, options, cache, false)?;
    let store_id = check_identity(&control, Database::Control)?;
    let state = split_state(&own_row(&control, Database::Control, "state")?);
    Ok((control, store_id, state))
}

fn data_state(data: &Rocks) -> Result<DataState, OpenError> {
    let row = own_row::<16>(data, Database::Data, "state")?;
    let (seen, batches) = row.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
    Ok(DataState { control_seq: number(seen), batches: number(batches) })
}

/// Opens the data store alone, and reads its store's id.
pub(super) fn open_data(options: &EmbeddedOptions) -> Result<(Rocks, StoreId), OpenError> {
    let cache = Cache::new_lru_cache(1024 * 1024);
    let data = Rocks::open(&options.data_dir(), Database::Data, options, &cache, false)?;
    let store_id = check_identity(&data, Database::Data)?;
    Ok((data, store_id))
}

/// Opens both databases and compares what they say of themselves and each other.
pub(super) fn open_pair(options: &EmbeddedOptions, cache: &Cache) -> Result<(Pair, States), OpenError> {
    let (control, store_id, state) = open_control(options, cache)?;
    let (data, data_state) = open_data_of(options, cache, store_id, state)?;
    Ok((Pair { control, data }, States { store_id, control: state, data: data_state }))
}

/// Opens the data store and compares it with the control store.
fn open_data_of(options: &EmbeddedOptions, cache: &Cache, store_id: StoreId, control: State) -> Result<(Rocks, DataState), OpenError> {
    let data = Rocks::open(&options.data_dir(), Database::Data, options, cache, false)?;
    if check_identity(&data, Database::Data)? != store_id {
        return Err(OpenError::Foreign("the data store"));
    }
    let state = data_state(&data)?;
    if state.control_seq > control.seq {
        return Err(OpenError::ControlBehindData { control: control.seq, data: state.control_seq });
    }
    Ok((data, state))
}

/// Opens the mirror and brings it to where control stands, if the last batch did not reach it.
pub(super) fn open_mirror(options: &EmbeddedOptions, states: &States, control: &Rocks) -> Result<Mirror, OpenError> {
    let mut mirror = Mirror::open(&options.mirror_dir, !options.danger_skip_sync)?;
    if mirror.store_id() != states.store_id {
        return Err(OpenError::Foreign("the mirror"));
    }
    let (has, wants) = (mirror.state(), states.control);
    if has.seq > wants.seq {
        return Err(OpenError::ControlBehindMirror { control: wants.seq, mirror: has.seq });
    }
    if has.seq == wants.seq && has.digest != wants.digest {
        return Err(OpenError::MirrorDiverged(wants.seq));
    }
    if has.seq < wants.seq {
        tracing::warn!(mirror = has.seq, control = wants.seq, "store: bringing the mirror up to date");
        mirror.replace(wants, control.rows()).map_err(|error| at(options.mirror_dir.display())(std::io::Error::other(error)))?;
    }
    Ok(mirror)
}

/// Reads the format file, before anything else is touched.
pub(super) fn check_format(options: &EmbeddedOptions) -> Result<(), OpenError> {
    let path = options.format_file();
    let found = match std::fs::read_to_string(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(OpenError::Missing(options.dir.clone())),
        Err(error) => return Err(at(path.display())(error)),
    };
    let found = found.trim();
    if found == FORMAT.to_string() {
        return Ok(());
    }
    Err(OpenError::UnknownFormat { place: path.display().to_string(), found: found.chars().take(32).collect(), known: FORMAT })
}

fn refuse_existing(path: PathBuf) -> Result<(), OpenError> {
    if path.try_exists().map_err(at(path.display()))? { Err(OpenError::Exists(path)) } else { Ok(()) }
}

fn make_database(path: &Path, which: Database, options: &EmbeddedOptions, fill: impl FnOnce(&mut WriteBatch)) -> Result<Rocks, OpenError> {
    let cache = Cache::new_lru_cache(1024 * 1024);
    let rocks = Rocks::open(path, which, options, &cache, true)?;
    let mut batch = WriteBatch::default();
    fill(&mut batch);
    rocks.write(batch, true).map_err(damaged(which))?;
    Ok(rocks)
}

/// Makes an empty store and its mirror. `format` is written last: without it there is no store.
pub(super) fn create(options: &EmbeddedOptions, store_id: StoreId) -> Result<(), OpenError> {
    std::fs::create_dir_all(&options.dir).map_err(at(options.dir.display()))?;
    for path in [options.format_file(), options.control_dir(), options.data_dir()] {
        refuse_existing(path)?;
    }
    let _lock = DirLock::take(&options.dir)?;
    mirror::create(&options.mirror_dir, store_id)?;
    make_database(&options.control_dir(), Database::Control, options, |batch| {
        put_identity(batch, store_id);
        put_control_state(batch, State::EMPTY);
    })?;
    make_database(&options.data_dir(), Database::Data, options, |batch| {
        put_identity(batch, store_id);
        put_data_state(batch, DataState::EMPTY);
    })?;
    let path = options.format_file();
    std::fs::write(&path, format!("{FORMAT}\n")).map_err(at(path.display()))?;
    std::fs::File::open(&path).and_then(|file| file.sync_all()).and_then(|()| sync_dir(&options.dir)).map_err(at(path.display()))
}

/// What a rebuilt control store or mirror holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Rows taken over.
    pub rows: usize,
    /// The number of the last control batch.
    pub control_seq: u64,
    /// Where the old one lies now, if there was one.
    pub moved_to: Option<PathBuf>,
}

/// Rebuilds the control store from its mirror. The old one is moved aside, not removed.
pub(super) fn rebuild_control(options: &EmbeddedOptions) -> Result<Rebuilt, OpenError> {
    check_format(options)?;
    let _lock = DirLock::take(&options.dir)?;
    let restored = mirror::restore(&options.mirror_dir)?;
    let fresh = options.dir.join("control.new");
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(fresh.display())(error)),
        Ok(()) | Err(_) => {}
    }
    let rocks = make_database(&fresh, Database::Control, options, |batch| put_identity(batch, restored.store_id))?;
    let fill = || {
        let mut batch = WriteBatch::default();
        for ((space, key), value) in &restored.rows {
            rocks.put_write(&mut batch, &Write::Put { space: *space, key: key.clone(), value: value.clone() })?;
            if batch.size_in_bytes() > 4 * 1024 * 1024 {
                rocks.write(std::mem::take(&mut batch), false)?;
            }
        }
        put_control_state(&mut batch, State { seq: restored.seq, digest: restored.digest });
        rocks.write(batch, true)?;
        rocks.flush(true)
    };
    fill().map_err(damaged(Database::Control))?;
    drop(rocks);
    let moved_to = move_aside(&options.control_dir())?;
    std::fs::rename(&fresh, options.control_dir()).and_then(|()| sync_dir(&options.dir)).map_err(at(options.dir.display()))?;
    Ok(Rebuilt { rows: restored.rows.len(), control_seq: restored.seq, moved_to })
}

/// Where the parts of a store stand, by control batches; `None` for one that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The control store.
    pub control: Option<u64>,
    /// Its mirror.
    pub mirror: Option<u64>,
    /// What the data store has seen of control.
    pub data: Option<u64>,
}

/// Looks how far each part is, offline.
pub(super) fn standing(options: &EmbeddedOptions) -> Result<Standing, OpenError> {
    check_format(options)?;
    let _lock = DirLock::take(&options.dir)?;
    let cache = Cache::new_lru_cache(1024 * 1024);
    let data = Rocks::open(&options.data_dir(), Database::Data, options, &cache, false);
    Ok(Standing {
        control: open_control(options, &cache).ok().map(|(_, _, state)| state.seq),
        mirror: mirror::state(&options.mirror_dir).ok().map(|state| state.seq),
        data: data.and_then(|data| data_state(&data)).ok().map(|state| state.control_seq),
    })
}

/// Moves a file or directory out of the way, to the first free name `X.replaced-N`.
///
/// # Errors
/// [`OpenError`], of the disk: it is where it was.
pub fn move_aside(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    if !dir.try_exists().map_err(at(dir.display()))? {
        return Ok(None);
    }
    for number in 1_u32.. {
        let mut target = dir.as_os_str().to_owned();
        target.push(format!(".replaced-{number}"));
        let target = PathBuf::from(target);
        if !target.try_exists().map_err(at(target.display()))? {
            std::fs::rename(dir, &target).map_err(at(target.display()))?;
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// Makes the mirror anew from the control store, where its disk is lost. A mirror that is there is moved aside. The data store may be
/// lost as well: it comes back under the mirror.
pub(super) fn rebuild_mirror(options: &EmbeddedOptions) -> Result<Rebuilt, OpenError> {
    check_format(options)?;
    let _lock = DirLock::take(&options.dir)?;
    let cache = Cache::new_lru_cache(8 * 1024 * 1024);
    let (control, store_id, state) = open_control(options, &cache)?;
    match open_data_of(options, &cache, store_id, state) {
        Ok(_) | Err(OpenError::DatabaseMissing { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut rows = 0_usize;
    let counted = control.rows().inspect(|_| rows = rows.saturating_add(1));
    let moved_to = mirror::recreate(&options.mirror_dir, store_id, state, counted)?;
    Ok(Rebuilt { rows, control_seq: state.seq, moved_to })
}
