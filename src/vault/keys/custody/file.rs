//! File custody: two preallocated 4 KiB slots in a file on a path of its own, one for the present
//! component and one for the next. Written with `O_DSYNC`, destroyed by overwriting in place, read
//! back past the page cache. The format stands in `docs/format.md`, "Custody file".

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::{Custody, CustodyError, Description, DestroyReceipt, Held, medium};
use crate::{
    domain::{Clock, Epoch, RootId, StoreId, Timestamp},
    vault::crypto::{hash::sha256, residue},
};

/// The word for this kind.
const KIND: &str = "file";
/// Bytes of a slot.
const SLOT_LEN: usize = 4096;
/// Slots of a file.
const SLOTS: usize = 2;
/// Bytes of a file.
const FILE_LEN: usize = SLOT_LEN * SLOTS;
/// Bytes of a slot under its checksum.
const BODY_LEN: usize = SLOT_LEN - 32;
/// The first bytes of a slot.
const MAGIC: &[u8; 4] = b"LCS1";

/// Custody in a file.
pub struct FileCustody {
    path: PathBuf,
    data: Option<PathBuf>,
    store: StoreId,
    clock: Arc<dyn Clock>,
}

/// What a slot holds.
enum SlotState {
    /// Never used, or cleared of remains.
    Empty,
    /// A component.
    Held(Held),
    /// The place of a destroyed component.
    Destroyed { root_id: RootId, at: Timestamp },
    /// A write that was cut short, or decay.
    Damaged,
}

impl FileCustody {
    /// Makes the file, preallocated and empty; it must not exist.
    ///
    /// # Errors
    /// [`CustodyError::Io`].
    pub fn create(path: &Path, store: StoreId) -> Result<(), CustodyError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::DSYNC | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
        let empty = encode(store, 0, Epoch(0), RootId([0; 16]), Timestamp(0), &[0; 32]);
        for index in 0..SLOTS {
            file.write_all_at(&empty, offset(index))?;
        }
        file.sync_all()?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    /// Opens the file at `path`; `data` is a directory of the store's data, to see whether both share a volume.
    ///
    /// # Errors
    /// [`CustodyError`]: it is missing, not private, or not a custody file of this store.
    pub fn open(path: &Path, data: Option<&Path>, store: StoreId, clock: Arc<dyn Clock>) -> Result<Self, CustodyError> {
        let custody = Self { path: path.to_owned(), data: data.map(Path::to_owned), store, clock };
        residue::leaving_none(|| custody.slots())?;
        Ok(custody)
    }

    /// What custody in the file at `path` is worth to the user `owner`, with the checks of an opening. No slot is read.
    ///
    /// # Errors
    /// [`CustodyError`]: it is missing, not private, or no custody file.
    pub fn examine(path: &Path, data: Option<&Path>, owner: u32) -> Result<Description, CustodyError> {
        describe(path, &private(path, OFlags::RDONLY, owner)?, data)
    }

    /// The file, after checking that nobody else can read or replace it.
    fn file(&self, extra: OFlags) -> Result<File, CustodyError> {
        private(&self.path, OFlags::RDWR | extra, rustix::process::geteuid().as_raw())
    }

    /// Reads both slots past the page cache, or through it where the file system knows no `O_DIRECT`; tells which.
    fn read(&self) -> Result<(Zeroizing<Vec<u8>>, bool), CustodyError> {
        let (file, direct) = match self.file(OFlags::DIRECT) {
            Ok(file) => (file, true),
            Err(CustodyError::Io(_)) => (self.file(OFlags::empty())?, false),
            Err(other) => return Err(other),
        };
        // O_DIRECT wants an aligned buffer: one is cut out of a longer one.
        let mut long = Zeroizing::new(vec![0_u8; FILE_LEN + SLOT_LEN]);
        let start = long.as_ptr().align_offset(SLOT_LEN);
        let aligned = long.get_mut(start..).and_then(|rest| rest.get_mut(..FILE_LEN)).ok_or(CustodyError::Format)?;
        if let Err(error) = file.read_exact_at(aligned, 0) {
            if !(direct && error.kind() == io::ErrorKind::InvalidInput) {
                return Err(error.into());
            }
            self.file(OFlags::empty())?.read_exact_at(aligned, 0)?;
            return Ok((Zeroizing::new(aligned.to_vec()), false));
        }
        Ok((Zeroizing::new(aligned.to_vec()), direct))
    }

    fn slots(&self) -> Result<Vec<SlotState>, CustodyError> {
        let (bytes, _) = self.read()?;
        bytes.chunks_exact(SLOT_LEN).map(|slot| decode(self.store, slot)).collect()
    }

    /// Overwrites a slot in place and reads it back; tells whether past the page cache.
    fn overwrite(&self, index: usize, slot: &[u8]) -> Result<bool, CustodyError> {
        let file = self.file(OFlags::DSYNC)?;
        file.write_all_at(slot, offset(index))?;
        let (bytes, direct) = self.read()?;
        if bytes.chunks_exact(SLOT_LEN).nth(index) == Some(slot) { Ok(direct) } else { Err(CustodyError::ReadBack) }
    }

    fn receipt(&self, at: Timestamp, read_back: Option<bool>) -> Result<DestroyReceipt, CustodyError> {
        let medium = medium::inspect(&self.file(OFlags::empty())?, self.data.as_deref())?;
        let mut evidence = medium.evidence;
        evidence.push(
            match read_back {
                Some(true) => "read-back=device",
                Some(false) => "read-back=page-cache",
                None => "read-back=at-start",
            }
            .to_owned(),
        );
        Ok(DestroyReceipt { kind: self.kind(), effective_at: at, final_at: at, level: medium.level, evidence })
    }
}

impl Custody for FileCustody {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn load(&self) -> Result<Vec<Held>, CustodyError> {
        let slots = self.slots()?;
        Ok(slots.into_iter().filter_map(|slot| if let SlotState::Held(held) = slot { Some(held) } else { None }).collect())
    }

    fn prepare(&self, epoch: Epoch, root_id: RootId, secret: &[u8; 32]) -> Result<(), CustodyError> {
        let free = self.slots()?.iter().position(|slot| !matches!(slot, SlotState::Held(_))).ok_or(CustodyError::Full)?;
        self.overwrite(free, &encode(self.store, 1, epoch, root_id, self.clock.now(), secret)).map(drop)
    }

    fn destroy(&self, root_id: RootId) -> Result<DestroyReceipt, CustodyError> {
        let slots = self.slots()?;
        let held = slots.iter().position(|slot| matches!(slot, SlotState::Held(held) if held.root_id == root_id));
        if held.is_none()
            && let Some(receipt) = self.destroyed(root_id)?
        {
            return Ok(receipt);
        }
        // Not held and not known to be gone: an overwriting that was cut short may have left it in a slot that no longer adds up.
        let damaged = || slots.iter().position(|slot| matches!(slot, SlotState::Damaged));
        let index = held.or_else(damaged).ok_or(CustodyError::Format)?;
        let epoch = if let Some(SlotState::Held(held)) = slots.get(index) { held.epoch } else { Epoch(0) };
        let at = self.clock.now();
        let direct = self.overwrite(index, &encode(self.store, 2, epoch, root_id, at, &[0; 32]))?;
        self.receipt(at, Some(direct))
    }

    fn destroyed(&self, root_id: RootId) -> Result<Option<DestroyReceipt>, CustodyError> {
        let slots = self.slots()?;
        for slot in &slots {
            if let SlotState::Destroyed { root_id: found, at } = slot
                && *found == root_id
            {
                return self.receipt(*at, None).map(Some);
            }
        }
        let is_gone = slots.iter().all(|slot| match slot {
            SlotState::Empty | SlotState::Destroyed { .. } => true,
            SlotState::Held(held) => held.root_id != root_id,
            // Whatever was cut short there may still be readable.
            SlotState::Damaged => false,
        });
        if is_gone { self.receipt(self.clock.now(), None).map(Some) } else { Ok(None) }
    }

    fn scrub(&self) -> Result<(), CustodyError> {
        for (index, slot) in self.slots()?.iter().enumerate() {
            if matches!(slot, SlotState::Damaged) {
                self.overwrite(index, &encode(self.store, 0, Epoch(0), RootId([0; 16]), self.clock.now(), &[0; 32]))?;
            }
        }
        Ok(())
    }

    fn describe(&self) -> Result<Description, CustodyError> {
        describe(&self.path, &self.file(OFlags::empty())?, self.data.as_deref())
    }
}

/// Opens a file that `owner` alone can read or replace.
fn private(path: &Path, flags: OFlags, owner: u32) -> Result<File, CustodyError> {
    let file = File::from(rustix::fs::open(path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(CustodyError::Exposed("it must be a regular file"));
    }
    if meta.uid() != owner {
        return Err(CustodyError::Exposed("the server's user must own it"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(CustodyError::Exposed("its mode must be 0600"));
    }
    if meta.nlink() != 1 {
        return Err(CustodyError::Exposed("it must have one link"));
    }
    if meta.len() != FILE_LEN as u64 {
        return Err(CustodyError::Format);
    }
    Ok(file)
}

fn describe(path: &Path, file: &File, data: Option<&Path>) -> Result<Description, CustodyError> {
    let medium = medium::inspect(file, data)?;
    Ok(Description { kind: KIND, place: path.display().to_string(), level: medium.level, evidence: medium.evidence })
}

fn offset(index: usize) -> u64 {
    if index == 0 { 0 } else { SLOT_LEN as u64 }
}

/// A slot's bytes: `"LCS1" | state u8 | zeros3 | store_id16 | epoch be64 | root_id16 | at be64 | secret32 | zeros | SHA-256`.
fn encode(store: StoreId, state: u8, epoch: Epoch, root_id: RootId, at: Timestamp, secret: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut slot = Zeroizing::new(Vec::with_capacity(SLOT_LEN));
    slot.extend_from_slice(MAGIC);
    slot.extend_from_slice(&[state, 0, 0, 0]);
    slot.extend_from_slice(&store.0);
    slot.extend_from_slice(&epoch.to_be_bytes());
    slot.extend_from_slice(&root_id.0);
    slot.extend_from_slice(&at.0.to_be_bytes());
    slot.extend_from_slice(secret);
    slot.resize(BODY_LEN, 0);
    let sum = sha256(&[&slot]);
    slot.extend_from_slice(&sum);
    slot
}

fn decode(store: StoreId, slot: &[u8]) -> Result<SlotState, CustodyError> {
    let Some((body, sum)) = slot.split_at_checked(BODY_LEN) else { return Err(CustodyError::Format) };
    if sha256(&[body]) != sum {
        return Ok(SlotState::Damaged);
    }
    let mut fields = Fields(body);
    if &fields.take::<4>()? != MAGIC {
        return Err(CustodyError::Format);
    }
    let [state, _, _, _] = fields.take::<4>()?;
    if StoreId(fields.take()?) != store {
        return Err(CustodyError::Foreign);
    }
    let epoch = Epoch(u64::from_be_bytes(fields.take()?));
    let root_id = RootId(fields.take()?);
    let at = Timestamp(i64::from_be_bytes(fields.take()?));
    match state {
        0 => Ok(SlotState::Empty),
        1 => {
            let mut secret = Box::new(Zeroizing::new([0; 32]));
            secret.copy_from_slice(&Zeroizing::new(fields.take::<32>()?)[..]);
            Ok(SlotState::Held(Held { epoch, root_id, secret }))
        }
        2 => Ok(SlotState::Destroyed { root_id, at }),
        _ => Err(CustodyError::Format),
    }
}

/// Takes fixed fields off the front of a slot.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CustodyError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(CustodyError::Format)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests;
