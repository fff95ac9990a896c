//! Reading a tenant's trail: both spaces and all writers, merged in the order of their time.
//!
//! Process starts follow each other, so the order is: start, then time, then trail. A cursor holds a place in both
//! chains of one start; entries that come later are never skipped.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Audit, AuditError, Entry,
    chain::{self, ChainHash, Trail},
    runs,
};
use crate::{
    domain::{CollectionNo, TenantNo, Timestamp, WriterId},
    vault::{
        crypto::{Data, Key, Sealed},
        keys::UnitRef,
        store::{Row, schema},
    },
};

/// Rows read at once.
const ROWS: usize = 64;

/// One entry as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailEntry {
    /// Whose chain; [`Trail::of`] tells the trail.
    pub writer: WriterId,
    /// Its number in it, from 1.
    pub seq: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What it says.
    pub entry: Entry,
    /// Its encoding, which the chain hashes.
    pub bytes: Vec<u8>,
    /// The chain's value after it.
    pub hash: ChainHash,
}

impl TrailEntry {
    /// One line of an export: the readable view, and what [`verify`](super::verify) takes.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = self.entry.to_json(self.time);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("writer".into(), self.writer.0.into());
            fields.insert("seq".into(), self.seq.into());
            fields.insert("entry".into(), hex::encode(&self.bytes).into());
            fields.insert("hash".into(), hex::encode(self.hash).into());
        }
        json
    }
}

/// A page of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailPage {
    /// In order.
    pub entries: Vec<TrailEntry>,
    /// Where the next page begins; the same as before where nothing was read.
    pub next: String,
    /// Whether there may be more now.
    pub more: bool,
}

/// The next numbers to read of a process start's two chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    start: u64,
    control: u64,
    data: u64,
}

impl Cursor {
    const FIRST: Self = Self { start: 0, control: 1, data: 1 };

    const fn of_start(start: u64) -> Self {
        Self { start, ..Self::FIRST }
    }

    fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode([self.start, self.control, self.data].map(u64::to_be_bytes).as_flattened())
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let ([start, control, data], []) = bytes.as_chunks::<8>() else { return None };
        Some(Self { start: u64::from_be_bytes(*start), control: u64::from_be_bytes(*control), data: u64::from_be_bytes(*data) })
    }

    const fn seq(self, trail: Trail) -> u64 {
        match trail {
            Trail::Control => self.control,
            Trail::Data => self.data,
        }
    }
}

impl Audit {
    /// At most `limit` entries of a tenant's trail behind a cursor. `unit` is the tenant's audit unit.
    ///
    /// # Errors
    /// [`AuditError::Cursor`], [`AuditError::Lend`] after the audit unit's shred, [`AuditError::Open`] for a damaged row.
    pub async fn read(&self, tenant: TenantNo, unit: UnitRef, after: Option<&str>, limit: usize) -> Result<TrailPage, AuditError> {
        let mut cursor = after.map_or(Some(Cursor::FIRST), Cursor::parse).ok_or(AuditError::Cursor)?;
        let mut entries = Vec::new();
        loop {
            let wanted = limit.saturating_sub(entries.len());
            if wanted == 0 {
                return Ok(TrailPage { entries, next: cursor.to_text(), more: true });
            }
            let read = self.read_start(tenant, unit, &mut cursor, wanted).await?;
            let is_full = read.len() == wanted;
            entries.extend(read);
            if !is_full {
                match self.next_start(tenant, cursor.start).await? {
                    Some(start) => cursor = Cursor::of_start(start),
                    None => return Ok(TrailPage { entries, next: cursor.to_text(), more: false }),
                }
            }
        }
    }

    /// Up to `limit` entries of one process start, from its two chains; moves the cursor behind them.
    async fn read_start(&self, tenant: TenantNo, unit: UnitRef, cursor: &mut Cursor, limit: usize) -> Result<Vec<TrailEntry>, AuditError> {
        let mut merged = Vec::new();
        for trail in [Trail::Control, Trail::Data] {
            let (writer, wanted) = (trail.writer(cursor.start), cursor.seq(trail));
            let end = schema::audit_chain(tenant, writer).to;
            let (mut next, mut found) = (wanted, 0_usize);
            while found < limit {
                let asked = ROWS.min(limit.saturating_sub(found));
                let rows = self.0.store.scan(trail.space(), &schema::audit(tenant, writer, next), &end, asked).await?;
                let Some((_, _, last)) = rows.last().and_then(|row| place(&row.key)) else { break };
                self.load(unit).await?;
                let before = merged.len();
                // The first row may begin before what is wanted.
                merged.extend(self.open_rows(tenant, unit, &rows)?.into_iter().filter(|entry| entry.seq >= wanted));
                found = found.saturating_add(merged.len().saturating_sub(before));
                next = last.saturating_add(1);
                if rows.len() < asked {
                    break;
                }
            }
        }
        merged.sort_by_key(|entry| (entry.time, Trail::of(entry.writer), entry.seq));
        merged.truncate(limit);
        for entry in &merged {
            let next = entry.seq.saturating_add(1);
            match Trail::of(entry.writer) {
                Trail::Control => cursor.control = next,
                Trail::Data => cursor.data = next,
            }
        }
        Ok(merged)
    }

    pub(super) fn open_rows(&self, tenant: TenantNo, unit: UnitRef, rows: &[Row]) -> Result<Vec<TrailEntry>, AuditError> {
        let mut entries = Vec::new();
        self.0.forest.lend_unit(unit, |key| {
            let key = key.derive_sole(CollectionNo::TENANT);
            rows.iter().try_for_each(|row| self.open_row(tenant, &key, row, &mut entries))
        })??;
        Ok(entries)
    }

    fn open_row(&self, tenant: TenantNo, key: &Key<Data>, row: &Row, entries: &mut Vec<TrailEntry>) -> Result<(), AuditError> {
        let (_, writer, last) = place(&row.key).ok_or(AuditError::Damaged("audit key"))?;
        let opened = key.open(&self.0.context(tenant, writer, last), &Sealed::from_row(row.value.clone())?)?;
        let (mut hash, run) = runs::parse(opened.expose()).ok_or(AuditError::Damaged("audit entry"))?;
        let first = last.checked_sub(run.len() as u64).ok_or(AuditError::Damaged("audit entry"))?.saturating_add(1);
        for (seq, bytes) in (first..).zip(run) {
            let (entry, time) = Entry::decode(tenant, bytes)?;
            hash = chain::next(&hash, bytes);
            entries.push(TrailEntry { writer, seq, time, entry, hash, bytes: bytes.to_vec() });
        }
        Ok(())
    }

    /// The next process start behind `start` that wrote to a tenant's trail.
    async fn next_start(&self, tenant: TenantNo, start: u64) -> Result<Option<u64>, AuditError> {
        let Some(next) = start.checked_add(1).filter(|next| *next < 1 << 63) else { return Ok(None) };
        let mut found: Option<u64> = None;
        for trail in [Trail::Control, Trail::Data] {
            let from = schema::audit(tenant, Trail::Control.writer(next), 0);
            let rows = self.0.store.scan(trail.space(), &from, &schema::audit_of_tenant(tenant).to, 1).await?;
            if let Some(row) = rows.first() {
                let (_, writer, _) = place(&row.key).ok_or(AuditError::Damaged("audit key"))?;
                let start = writer.0 >> 1;
                found = Some(found.map_or(start, |found| found.min(start)));
            }
        }
        Ok(found)
    }
}

/// Tenant, writer and number of a row's key.
pub(super) fn place(key: &[u8]) -> Option<(TenantNo, WriterId, u64)> {
    let ([tenant, writer, seq], []) = key.as_chunks::<8>() else { return None };
    Some((TenantNo(u64::from_be_bytes(*tenant)), WriterId(u64::from_be_bytes(*writer)), u64::from_be_bytes(*seq)))
}
