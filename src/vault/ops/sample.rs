//! Records read before a shred and tried again after (CE-11): drawn by a seed that the certificate states.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    Vault, VaultError,
    directory::{Tenant, damaged},
    plan::unit_of,
    rows::{CollectionRow, Scope, State, UnitRow},
};
use crate::{
    domain::{CollectionNo, TenantNo},
    vault::{
        crypto::{Context, OpenError, Record, RecordHeader, Sealed, Token, hash::sha256},
        keys::KeysError,
        store::{
            Row, Space,
            schema::{self, KeyRange},
        },
    },
};

/// Records of a sample.
const SAMPLE: usize = 8;
/// Draws for them; where most of what lies there is deleted or shredded already, a sample is smaller.
const DRAWS: u32 = 64;

/// A record of a sample: its row's key, and the header that stood there. Before them, if there were any: an empty key, and how
/// many rows were met that did not open, be32.
pub(super) type Sampled = (Vec<u8>, Vec<u8>);

/// The index of each subject that was drawn: it is read once, and drawn from often.
type Indexed = BTreeMap<Token, Vec<Row>>;

impl Vault {
    /// Records of an order's scope that open now, drawn by `seed`: draw n begins at SHA-256(seed | be32(n)).
    pub(super) async fn sample(&self, tenant: &Tenant, scope: &Scope, seed: &[u8; 16]) -> Result<Vec<Sampled>, VaultError> {
        let mut sample: Vec<Sampled> = Vec::new();
        let mut unreadable = BTreeSet::new();
        let mut indexed = Indexed::new();
        for draw in 0..DRAWS {
            let dice = sha256(&[seed, &draw.to_be_bytes()]);
            let Some((row, subject)) = self.draw(tenant.no, scope, &dice, &mut indexed).await? else { break };
            if sample.iter().any(|(known, _)| *known == row) || unreadable.contains(&row) {
                continue;
            }
            let Some(stored) = self.inner.store.get(Space::Records, &row).await? else { continue };
            // Read by nobody before, it shows nothing after: it is counted and passed over.
            let Ok(header) = RecordHeader::parse(&stored).map_err(OpenError::counted) else {
                unreadable.insert(row);
                continue;
            };
            let is_covered = match (subject, scope) {
                (Some(subject), _) => self.covers(tenant.no, &subject, &row, &header).await?,
                // Its key may hold a later record by now, under a unit that is not ordered to be shredded.
                (None, Scope::Record { units, .. }) => units.iter().any(|unit| unit.slot == header.slot.number()),
                // What is kept of the tenant opens still, for whom it is kept.
                (None, Scope::Rest { kept, .. }) => kept.binary_search(&header.slot.number()).is_err(),
                (None, _) => true,
            };
            match self.look(tenant.no, &row).await? {
                Look::Opens if is_covered => sample.push((row, header.to_bytes().to_vec())),
                Look::Damaged => drop(unreadable.insert(row)),
                Look::Opens | Look::Gone => {}
            }
            if sample.len() >= SAMPLE {
                break;
            }
        }
        if let (false, Ok(count)) = (unreadable.is_empty(), u32::try_from(unreadable.len())) {
            sample.insert(0, (Vec::new(), count.to_be_bytes().to_vec()));
        }
        Ok(sample)
    }

    /// The row that a draw meets, and the subject it was found by; `None` where there is nothing to draw from.
    async fn draw(
        &self,
        tenant: TenantNo,
        scope: &Scope,
        dice: &[u8; 32],
        indexed: &mut Indexed,
    ) -> Result<Option<(Vec<u8>, Option<Token>)>, VaultError> {
        let (first, token) = dice.split_at(16);
        let token: Token = token.try_into().unwrap_or_default();
        let number = first.first_chunk().map_or(0, |bytes| usize::try_from(u64::from_be_bytes(*bytes)).unwrap_or(usize::MAX));
        match scope {
            Scope::Record { row, .. } => Ok(Some((row.clone(), None))),
            Scope::Collection(no) => {
                let drawn = self.next_row(&schema::records_under(tenant, CollectionNo(*no), &[]), &token).await?;
                Ok(drawn.map(|row| (row, None)))
            }
            Scope::Tenant | Scope::Rest { .. } => {
                let range = schema::table_of_tenant(schema::Table::Collection, tenant);
                let collections = self.inner.store.scan(Space::Control, &range.from, &range.to, DRAWS as usize).await?;
                let Some(chosen) = number.checked_rem(collections.len()).and_then(|at| collections.get(at)) else { return Ok(None) };
                let no = chosen.key.last_chunk().map_or(0, |no| u32::from_be_bytes(*no));
                let mut drawn = self.next_row(&schema::records_under(tenant, CollectionNo(no), &[]), &token).await?;
                if drawn.is_none() {
                    drawn = self.next_row(&schema::records_of_tenant(tenant), &token).await?;
                }
                Ok(drawn.map(|row| (row, None)))
            }
            Scope::Subjects(tokens) => {
                let Some(subject) = number.checked_rem(tokens.len()).and_then(|at| tokens.get(at)) else { return Ok(None) };
                let rows = match indexed.entry(*subject) {
                    Entry::Occupied(rows) => rows.into_mut(),
                    Entry::Vacant(none) => {
                        let range = schema::records_of_subject(tenant, subject);
                        none.insert(self.inner.store.scan(Space::Index, &range.from, &range.to, DRAWS as usize).await?)
                    }
                };
                let [high, low, ..] = token;
                let at = usize::from(u16::from_be_bytes([high, low])).checked_rem(rows.len());
                let parts = at.and_then(|at| rows.get(at)).and_then(|row| schema::subject_record_parts(&row.key));
                // A subject without records is a draw without a find: the next may meet another.
                let row = parts.map_or_else(Vec::new, |(_, no, record)| schema::record(tenant, no, &record).to_vec());
                Ok(Some((row, Some(*subject))))
            }
        }
    }

    /// The first row at or behind a token, and around the end.
    async fn next_row(&self, range: &KeyRange, token: &Token) -> Result<Option<Vec<u8>>, VaultError> {
        let from = [range.from.as_ref(), token].concat();
        let mut found = self.inner.store.scan(Space::Records, &from, &range.to, 1).await?;
        if found.is_empty() {
            found = self.inner.store.scan(Space::Records, &range.from, &range.to, 1).await?;
        }
        Ok(found.pop().map(|row| row.key.to_vec()))
    }

    /// Whether a record's unit is one of the subject's: its index may name records that other units seal.
    async fn covers(&self, tenant: TenantNo, subject: &Token, row: &[u8], header: &RecordHeader) -> Result<bool, VaultError> {
        let (Some(no), Some(record)) = (collection_of(row), row.last_chunk::<16>()) else { return Ok(false) };
        let of_record = schema::record_unit_of_subject(tenant, subject, no, record, header.slot);
        if self.control_row::<UnitRow>(&of_record).await?.is_some() {
            return Ok(true);
        }
        let unit = self.control_row::<UnitRow>(&schema::unit(tenant, subject, no)).await?;
        Ok(unit.is_some_and(|unit| unit.slot == header.slot.number()))
    }

    /// How many records of a sample open with today's keys: their units, where something else stands under the key by now.
    pub(super) async fn readable(&self, tenant: TenantNo, sample: &[Sampled]) -> Result<u32, VaultError> {
        let mut readable: u32 = 0;
        for (row, header) in sample {
            let header = RecordHeader::parse(header).map_err(damaged)?;
            let stored = self.inner.store.get(Space::Records, row).await?;
            let is_same = stored.is_some_and(|stored| stored.starts_with(&header.to_bytes()));
            let opens = if is_same { self.look(tenant, row).await? == Look::Opens } else { self.unit_opens(tenant, row, &header).await? };
            readable = readable.saturating_add(u32::from(opens));
        }
        Ok(readable)
    }

    /// Whether the keys that sealed a record are still there, whatever stands in its place.
    async fn unit_opens(&self, tenant: TenantNo, row: &[u8], header: &RecordHeader) -> Result<bool, VaultError> {
        let Some(no) = collection_of(row) else { return Ok(false) };
        let collection = self.control_row::<CollectionRow>(&schema::collection(tenant, no)).await?;
        if !collection.is_some_and(|row| matches!(row.state, State::Active | State::Frozen)) {
            return Ok(false);
        }
        match self.is_current(unit_of(header, tenant)).await {
            Ok(is_current) => Ok(is_current),
            Err(VaultError::Shredded { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a record opens with today's keys.
    async fn look(&self, tenant: TenantNo, row: &[u8]) -> Result<Look, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Records, row).await? else { return Ok(Look::Gone) };
        let Ok(header) = RecordHeader::parse(&stored) else { return Ok(Look::Damaged) };
        let (Some(no), Some(tokens), false) = (collection_of(row), schema::record_tokens(row), header.is_tombstone()) else {
            return Ok(Look::Gone);
        };
        let collection = match self.collection_by_number(tenant, no).await {
            // Who gives the order may have frozen it.
            Ok(collection) if matches!(collection.state, State::Active | State::Frozen) => collection,
            Ok(_) | Err(VaultError::Shredded { .. }) => return Ok(Look::Gone),
            // Nobody reads a record of a collection whose row is bent, and none keeps a person from being forgotten.
            Err(VaultError::Internal(_)) => return Ok(Look::Damaged),
            Err(error) => return Err(error),
        };
        let Ok(sealed) = Sealed::<Record>::from_row(stored) else { return Ok(Look::Damaged) };
        let context = Context::<Record>::record(&self.inner.store_id, tenant, no, &tokens, &header);
        let unit = unit_of(&header, tenant);
        if matches!(self.inner.forest.load_unit(unit.tenant, unit.slot).await, Err(KeysError::Unknown)) {
            return Ok(Look::Damaged);
        }
        match self.with_data(collection.unit, unit, no, |key| key.open_meta(&context, &sealed).map_err(OpenError::counted)).await {
            Ok(Ok(_)) => Ok(Look::Opens),
            Ok(Err(_)) => Ok(Look::Damaged),
            Err(VaultError::Shredded { .. }) => Ok(Look::Gone),
            Err(error) => Err(error),
        }
    }
}

/// What a look at a row found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It opens.
    Opens,
    /// It is not there, or shredded.
    Gone,
    /// It is there and does not open: bent.
    Damaged,
}

/// How many rows a draw met that did not open, and the sample.
pub(super) fn split_sample(sample: &[Sampled]) -> (u32, &[Sampled]) {
    match sample.split_first() {
        Some(((row, count), rest)) if row.is_empty() => (count.first_chunk().map_or(0, |count| u32::from_be_bytes(*count)), rest),
        Some(_) | None => (0, sample),
    }
}

/// The collection of a record's row.
fn collection_of(row: &[u8]) -> Option<CollectionNo> {
    row.get(8..12)?.try_into().ok().map(|no| CollectionNo(u32::from_be_bytes(no)))
}
