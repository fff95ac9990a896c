//! Records read before a shred and tried again after (CE-11): drawn by a seed that the certificate states.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use bytes::Bytes;
use futures_util::future::try_join_all;

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

/// What draws are made from, read once for all of them.
enum From {
    /// The rows of the order's scope.
    Rows,
    /// A tenant's collections.
    Collections(Vec<CollectionNo>),
    /// Subjects, and the index of each that was drawn.
    Subjects(Vec<Token>, BTreeMap<Token, Vec<Row>>),
}

/// What a draw met.
enum Met {
    /// A record of the order that opens, with its header.
    Opens(Vec<u8>),
    /// One that does not open: bent.
    Damaged,
    /// None of the order's.
    Nothing,
}

impl Vault {
    /// Records of an order's scope that open now, drawn by `seed`: draw n begins at SHA-256(seed | be32(n)).
    pub(super) async fn sample(&self, tenant: &Tenant, scope: &Scope, seed: &[u8; 16]) -> Result<Vec<Sampled>, VaultError> {
        let mut sample: Vec<Sampled> = Vec::new();
        let mut unreadable = BTreeSet::new();
        let mut from = self.drawn_from(tenant.no, scope).await?;
        let mut draws = 0..DRAWS;
        while sample.len() < SAMPLE && !draws.is_empty() {
            // No more than are wanting, all at once: they lie in files that nobody may have read.
            let dice: Vec<_> =
                draws.by_ref().take(SAMPLE.saturating_sub(sample.len())).map(|draw| sha256(&[seed, &draw.to_be_bytes()])).collect();
            self.read_indexes(tenant.no, &dice, &mut from).await?;
            let drawn = try_join_all(dice.iter().map(|dice| self.draw(tenant.no, scope, dice, &from))).await?;
            let mut seen: BTreeSet<_> = sample.iter().map(|(row, _)| row.clone()).chain(unreadable.iter().cloned()).collect();
            let is_over = drawn.iter().any(Option::is_none);
            let new: Vec<_> = drawn.into_iter().map_while(|drawn| drawn).filter(|(row, _)| seen.insert(row.clone())).collect();
            let looks = try_join_all(new.iter().map(|(row, subject)| self.meet(tenant.no, scope, row, subject.as_ref()))).await?;
            for ((row, _), met) in new.into_iter().zip(looks) {
                match met {
                    Met::Opens(header) => sample.push((row, header)),
                    Met::Damaged => drop(unreadable.insert(row)),
                    Met::Nothing => {}
                }
            }
            if is_over {
                break;
            }
        }
        if let (false, Ok(count)) = (unreadable.is_empty(), u32::try_from(unreadable.len())) {
            sample.insert(0, (Vec::new(), count.to_be_bytes().to_vec()));
        }
        Ok(sample)
    }

    /// What stands in a row that was drawn.
    async fn meet(&self, tenant: TenantNo, scope: &Scope, row: &[u8], subject: Option<&Token>) -> Result<Met, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Records, row).await? else { return Ok(Met::Nothing) };
        // Read by nobody before, it shows nothing after: it is counted and passed over.
        let Ok(header) = RecordHeader::parse(&stored).map_err(OpenError::counted) else { return Ok(Met::Damaged) };
        let is_covered = match (subject, scope) {
            (Some(subject), _) => self.covers(tenant, subject, row, &header).await?,
            // Its key may hold a later record by now, under a unit that is not ordered to be shredded.
            (None, Scope::Record { units, .. }) => units.iter().any(|unit| unit.slot == header.slot.number()),
            // What is kept of the tenant opens still, for whom it is kept.
            (None, Scope::Rest { kept, .. }) => kept.binary_search(&header.slot.number()).is_err(),
            (None, _) => true,
        };
        Ok(match self.look(tenant, row, stored).await? {
            Look::Opens if is_covered => Met::Opens(header.to_bytes().to_vec()),
            Look::Damaged => Met::Damaged,
            Look::Opens | Look::Gone => Met::Nothing,
        })
    }

    /// What all draws of an order draw from.
    async fn drawn_from(&self, tenant: TenantNo, scope: &Scope) -> Result<From, VaultError> {
        Ok(match scope {
            Scope::Record { .. } | Scope::Collection(_) => From::Rows,
            Scope::Tenant | Scope::Rest { .. } => {
                let range = schema::table_of_tenant(schema::Table::Collection, tenant);
                let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, DRAWS as usize).await?;
                From::Collections(
                    rows.iter().map(|row| CollectionNo(row.key.last_chunk().map_or(0, |no| u32::from_be_bytes(*no)))).collect(),
                )
            }
            Scope::Subjects(tokens) => From::Subjects(tokens.clone(), BTreeMap::new()),
        })
    }

    /// Reads the index of each subject that some draws meet.
    async fn read_indexes(&self, tenant: TenantNo, dice: &[[u8; 32]], from: &mut From) -> Result<(), VaultError> {
        let From::Subjects(tokens, indexed) = from else { return Ok(()) };
        for subject in dice.iter().filter_map(|dice| chosen(dice, tokens)) {
            if let Entry::Vacant(none) = indexed.entry(*subject) {
                let range = schema::records_of_subject(tenant, subject);
                none.insert(self.inner.store.scan(Space::Index, &range.from, &range.to, DRAWS as usize).await?);
            }
        }
        Ok(())
    }

    /// The row that a draw meets, and the subject it was found by; `None` where there is nothing to draw from.
    async fn draw(
        &self,
        tenant: TenantNo,
        scope: &Scope,
        dice: &[u8; 32],
        from: &From,
    ) -> Result<Option<(Vec<u8>, Option<Token>)>, VaultError> {
        let token: Token = dice.last_chunk().copied().unwrap_or_default();
        let drawn = match (scope, from) {
            (Scope::Record { row, .. }, _) => Some(row.clone()),
            (Scope::Collection(no), _) => self.next_row(&schema::records_under(tenant, CollectionNo(*no), &[]), &token).await?,
            (_, From::Collections(collections)) => {
                let Some(no) = chosen(dice, collections) else { return Ok(None) };
                let drawn = self.next_row(&schema::records_under(tenant, *no, &[]), &token).await?;
                match drawn {
                    Some(row) => Some(row),
                    None => self.next_row(&schema::records_of_tenant(tenant), &token).await?,
                }
            }
            (_, From::Subjects(tokens, indexed)) => {
                let Some(subject) = chosen(dice, tokens) else { return Ok(None) };
                let rows = indexed.get(subject).map_or(&[][..], Vec::as_slice);
                let [high, low, ..] = token;
                let at = usize::from(u16::from_be_bytes([high, low])).checked_rem(rows.len());
                let parts = at.and_then(|at| rows.get(at)).and_then(|row| schema::subject_record_parts(&row.key));
                // A subject without records is a draw without a find: the next may meet another.
                let row = parts.map_or_else(Vec::new, |(_, no, record)| schema::record(tenant, no, &record).to_vec());
                return Ok(Some((row, Some(*subject))));
            }
            (_, From::Rows) => None,
        };
        Ok(drawn.map(|row| (row, None)))
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
            let opens = match stored {
                Some(stored) if stored.starts_with(&header.to_bytes()) => self.look(tenant, row, stored).await? == Look::Opens,
                Some(_) | None => self.unit_opens(tenant, row, &header).await?,
            };
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
    async fn look(&self, tenant: TenantNo, row: &[u8], stored: Bytes) -> Result<Look, VaultError> {
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

/// What the first half of a draw's dice chooses.
fn chosen<'a, T>(dice: &[u8; 32], from: &'a [T]) -> Option<&'a T> {
    let number = dice.first_chunk().map_or(0, |bytes| usize::try_from(u64::from_be_bytes(*bytes)).unwrap_or(usize::MAX));
    from.get(number.checked_rem(from.len())?)
}

/// The collection of a record's row.
fn collection_of(row: &[u8]) -> Option<CollectionNo> {
    row.get(8..12)?.try_into().ok().map(|no| CollectionNo(u32::from_be_bytes(no)))
}
