//! The rows that operations keep in the stores: tokens, numbers and states in the clear, everything that
//! names someone sealed. A version byte, then postcard (its wire format is published with the crate).
//!
//! A [`ControlRow`] directs who is let in, what is destroyed and where a trail goes. It becomes bytes, and bytes become it,
//! through [`Seals`] alone: who writes to the disk makes none and changes none. A [`PlainRow`] directs nothing of that kind.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    domain::{CollectionNo, CollectionPolicy, Gen, Retention, ShredUnit, Slot, TenantNo, Timestamp, policy::SecondarySubjects},
    vault::{keys::UnitRef, store::StoreError},
};

mod aliases;
mod approvals;
mod events;
mod holds;
mod import;
mod kept;
mod lifecycle;
mod reports;
mod seals;
#[cfg(test)]
mod tests;

pub(in crate::vault) use aliases::AliasRow;
pub(in crate::vault) use approvals::{
    ApprovalEnd, ApprovalHow, ApprovalOpenRow, ApprovalRow, ApprovalRulesRow, ApprovalWhatRow, ShortenedRow, ShorteningRow,
};
pub(in crate::vault) use events::{EventQueueRow, EventsDoneRow, EventsRow, LeftEventsRow};
pub(in crate::vault) use holds::{HeldOrderRow, HoldEnd, HoldOnRow, HoldRow, HoldStateRow, HoldThingRow};
pub(in crate::vault) use import::ImportRow;
pub(in crate::vault) use kept::{KeptRecordsRow, KeptUnitRow, LawMarkRow, LeftByLawRow, Retained, RetainedRow, later};
pub(in crate::vault) use lifecycle::{LifeRow, TenantChangeRow, TerminationRow};
pub(in crate::vault) use reports::ReportRow;
pub(in crate::vault) use seals::Seals;

/// The version byte of every row here.
const ROW_VERSION: u8 = 1;

/// A row that is stored with a seal behind it.
pub(in crate::vault) trait ControlRow: Serialize + DeserializeOwned {
    /// Its name in errors.
    const NAME: &'static str;
}

/// A row that is stored as it is.
pub(in crate::vault) trait PlainRow: Serialize + DeserializeOwned {
    /// Its name in errors.
    const NAME: &'static str;

    /// The stored bytes.
    fn to_row(&self) -> Result<Bytes, StoreError> {
        encode(self, Self::NAME).map(Bytes::from)
    }

    /// Reads the stored bytes.
    fn from_row(row: &[u8]) -> Result<Self, StoreError> {
        decode(row, Self::NAME)
    }
}

fn encode(row: &impl Serialize, name: &'static str) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![ROW_VERSION]).map_err(|_| StoreError::Invalid(name))
}

fn decode<R: DeserializeOwned>(row: &[u8], name: &'static str) -> Result<R, StoreError> {
    match row.split_first() {
        Some((&ROW_VERSION, body)) => postcard::from_bytes(body).map_err(|_| StoreError::Damaged(format!("{name} row"))),
        Some((version, _)) => Err(StoreError::Damaged(format!("{name} row of version {version}, this program knows {ROW_VERSION}"))),
        None => Err(StoreError::Damaged(format!("empty {name} row"))),
    }
}

/// Whether a thing can be used. Never goes back from `Shredded`, but for a subject that returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) enum State {
    /// In use.
    Active,
    /// Of a collection: no writes while its shred unit is being changed. Of a tenant: it is being imported, and serves nothing else.
    Frozen,
    /// Ordered to be shredded: nothing is read or written any more.
    Pending([u8; 16]),
    /// Its key is gone.
    Shredded([u8; 16]),
}

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::vault) struct TenantRow {
    pub(in crate::vault) state: State,
    /// Slot of its audit trail's unit in the system tenant's tree.
    pub(in crate::vault) audit_slot: u64,
    pub(in crate::vault) created_at: i64,
    /// Whether a write to an unknown collection makes it.
    pub(in crate::vault) create_on_write: bool,
    /// What takes two persons; nothing does where there is none. Every commit that destroys something checks this row.
    pub(in crate::vault) approvals: Option<ApprovalRulesRow>,
    /// Its name, sealed under its own metadata key.
    pub(in crate::vault) sealed_name: Vec<u8>,
    /// Whether it is suspended or on its way to its end, while it is in use.
    pub(in crate::vault) life: LifeRow,
}

impl ControlRow for TenantRow {
    const NAME: &'static str = "tenant";
}

/// Whose a tenant's name is, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct TenantNameRow {
    pub(in crate::vault) tenant: u64,
}

impl ControlRow for TenantNameRow {
    const NAME: &'static str = "tenant name";
}

/// A collection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::vault) struct CollectionRow {
    pub(in crate::vault) state: State,
    /// Slot and generation of the collection's own unit.
    pub(in crate::vault) slot: u64,
    pub(in crate::vault) generation: u32,
    pub(in crate::vault) created_at: i64,
    /// Name and policy, sealed under the collection's unit.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for CollectionRow {
    const NAME: &'static str = "collection";
}

/// Whose a collection's name is, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct CollectionNameRow {
    pub(in crate::vault) collection: u32,
}

impl ControlRow for CollectionNameRow {
    const NAME: &'static str = "collection name";
}

/// What is sealed in a [`CollectionRow`]; JSON, so that later policies can add fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::vault) struct CollectionText {
    pub(in crate::vault) name: String,
    pub(in crate::vault) policy: CollectionPolicy,
    #[serde(default)]
    pub(in crate::vault) past: Past,
}

impl CollectionText {
    /// Of a collection that has no past.
    pub(in crate::vault) fn new(name: String, policy: CollectionPolicy) -> Self {
        let past = Past { own_unit: policy.shred_unit == ShredUnit::Collection, ..Past::default() };
        Self { name, policy, past }
    }
}

/// What still counts of a collection's earlier policies: older data may be put back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::vault) struct Past {
    /// Whether the collection's own unit seals its records, or ever did: no person's key protects those.
    pub(in crate::vault) own_unit: bool,
    /// Earlier rules for those who are named second, oldest first, each with the first version at which it held no more.
    pub(in crate::vault) secondary_was: Vec<(u64, SecondarySubjects)>,
    /// Earlier retention, oldest first, each with the first moment at which it held no more, and the categories that the policy declared
    /// by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::vault) retention_was: Vec<(i64, Retention, Vec<String>)>,
    /// The numbers of the rules that came with a bypass, ascending: the minimums of the governance kind of all before them bind no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::vault) bypassed: Vec<u32>,
}

/// An access token. The secret itself is nowhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::vault) struct TokenRow {
    pub(in crate::vault) tenant: u64,
    pub(in crate::vault) principal: [u8; 16],
    pub(in crate::vault) role: u8,
    pub(in crate::vault) kind: u8,
    /// SHA-256 of the secret.
    pub(in crate::vault) secret_hash: [u8; 32],
    pub(in crate::vault) created_at: i64,
    pub(in crate::vault) expires_at: Option<i64>,
    /// Collections and key prefix it is narrowed to, sealed under the tenant's metadata key; empty if not narrowed.
    pub(in crate::vault) sealed_narrowing: Vec<u8>,
    /// Of a counsel's, the token of the counsel whom an owner has brought in at first: its own, or that of whom it has its own from. None
    /// where that was the operator, and for every other role.
    pub(in crate::vault) line: Option<[u8; 16]>,
}

impl ControlRow for TokenRow {
    const NAME: &'static str = "token";
}

/// A subject that was shredded, is being shredded, or came back. Absent for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct SubjectRow {
    pub(in crate::vault) state: State,
}

impl ControlRow for SubjectRow {
    const NAME: &'static str = "subject";
}

/// A unit that is shredded or about to be. Absent for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct UnitStateRow {
    pub(in crate::vault) state: State,
}

impl ControlRow for UnitStateRow {
    const NAME: &'static str = "unit state";
}

/// The unit that seals a subject's records in one collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct UnitRow {
    pub(in crate::vault) slot: u64,
    pub(in crate::vault) generation: u32,
}

impl ControlRow for UnitRow {
    const NAME: &'static str = "unit";
}

impl UnitRow {
    /// The row of a unit.
    pub(in crate::vault) fn of(unit: UnitRef) -> Self {
        Self { slot: unit.slot.number(), generation: unit.generation.0 }
    }

    /// The unit it names.
    pub(in crate::vault) fn unit(self, tenant: TenantNo) -> Result<UnitRef, StoreError> {
        let slot = Slot::new(self.slot).ok_or_else(|| StoreError::Damaged("slot over 48 bits".into()))?;
        Ok(UnitRef { tenant, slot, generation: Gen(self.generation) })
    }
}

/// What an order to shred names, by tokens and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) enum Scope {
    /// The whole tenant.
    Tenant,
    /// One collection.
    Collection(u32),
    /// Persons, by subject token.
    Subjects(Vec<[u8; 16]>),
    /// One record whose unit is the record: its collection and its row in the records space.
    Record {
        /// Its collection.
        collection: u32,
        /// Its row.
        row: Vec<u8>,
        /// Every unit it had until then; a later record under the same key has another.
        units: Vec<UnitRow>,
    },
    /// All of a tenant but what legal holds are on, and what laws keep.
    Rest {
        /// The slots of the units that are kept, in order; its secret is kept too.
        kept: Vec<u64>,
        /// The holds that they are kept for; for which laws, its rows of [`LeftByLawRow`] say.
        holds: Vec<[u8; 16]>,
    },
}

impl Scope {
    /// Whether it is a tenant's, whole or in part: all of it answers 410 meanwhile.
    pub(in crate::vault) const fn is_tenants(&self) -> bool {
        matches!(self, Self::Tenant | Self::Rest { .. })
    }

    /// The units that it names itself: those of a record.
    pub(in crate::vault) fn units(&self) -> &[UnitRow] {
        if let Self::Record { units, .. } = self { units } else { &[] }
    }
}

/// A record that was deleted and whose unit is still to be shredded; written with the deletion, so that a crash in
/// between forgets neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct DeferredRow {
    pub(in crate::vault) tenant: u64,
    pub(in crate::vault) scope: Scope,
    pub(in crate::vault) principal: [u8; 16],
    pub(in crate::vault) role: u8,
    pub(in crate::vault) request: [u8; 16],
    /// The report that counts the deletion, where a run of retention made it.
    pub(in crate::vault) report: Option<[u8; 16]>,
}

impl ControlRow for DeferredRow {
    const NAME: &'static str = "deferred shred";
}

/// How far an order to shred has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) enum Progress {
    /// Everything it names answers 410; the keys still exist.
    Pending,
    /// The keys are gone; certificate and log entry are still to be made.
    Erased,
    /// Certified and logged.
    Done,
    /// A legal hold stopped it: what it names is there as before, and it is given again once no hold stands over it.
    Held,
    /// It waits for a second person: what it names is there as before.
    Asked,
    /// No second person has approved it, and nothing was done.
    Dropped,
}

/// An order to shred.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::vault) struct ShredRow {
    pub(in crate::vault) tenant: u64,
    pub(in crate::vault) scope: Scope,
    /// How many of its subjects, the last ones, it does not name: they are other ids of those that it does.
    pub(in crate::vault) aliases: u16,
    /// Subjects this order set to pending, by their place in its scope; others were shredded or pending already.
    pub(in crate::vault) marked: Vec<u16>,
    /// Orders that had set subjects of its scope to pending: this one is done after them.
    pub(in crate::vault) after: Vec<[u8; 16]>,
    pub(in crate::vault) progress: Progress,
    /// Whether its tenant's policy asked for two persons when it was given.
    pub(in crate::vault) two_persons: bool,
    /// The second one's token.
    pub(in crate::vault) approved_by: Option<[u8; 16]>,
    /// Token that ordered it: may poll it even if its tenant is gone.
    pub(in crate::vault) ordered_by: [u8; 16],
    pub(in crate::vault) role: u8,
    pub(in crate::vault) request: [u8; 16],
    pub(in crate::vault) ordered_at: i64,
    pub(in crate::vault) done_at: Option<i64>,
    /// Salt of the certificate's commitments, sealed under the tenant's metadata key until it is issued; empty afterwards.
    pub(in crate::vault) sealed_salt: Vec<u8>,
    /// The commitments to the names, as the certificate gives them; JSON.
    pub(in crate::vault) committed: Vec<u8>,
    /// Seed of the draw of the sample.
    pub(in crate::vault) seed: [u8; 16],
    /// Records that opened before, to be tried again after: their rows' keys, and the headers that name their units.
    pub(in crate::vault) sample: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whom the record of a record's order named when it was given, by subject token: what leads to it from them goes with it.
    pub(in crate::vault) persons: Vec<[u8; 16]>,
    /// What it touched, by collection: at most [`TOTALS_MAX`], the rest, and what lies in no collection, together under number 0.
    pub(in crate::vault) totals: Vec<(u32, Totals)>,
    /// Categories of the data before, from the collections' policies: as many as [`capped`] leaves.
    pub(in crate::vault) categories: Vec<String>,
    /// Epochs that carried it out: (old, new); the first [`EPOCHS_MAX`].
    pub(in crate::vault) epochs: Vec<(u64, u64)>,
    /// The last version given out before its first epoch, which is that of its entry in the shred log: what it deletes goes by the rules
    /// that held then. 0 until keys of it are gone.
    pub(in crate::vault) version: u64,
    /// As of when it is decided what the law keeps of the persons that it names; 0 before anything of that is.
    pub(in crate::vault) decided_at: i64,
    /// Whether all of that is decided. Until then the keys of what a law may keep are lent.
    pub(in crate::vault) is_decided: bool,
    /// Whether it has spared units, for they seal what a law keeps.
    pub(in crate::vault) has_spared: bool,
    /// What it left for its legal purpose, once it is done: at most [`RETAINED_MAX`].
    pub(in crate::vault) retained: Vec<Retained>,
}

impl ControlRow for ShredRow {
    const NAME: &'static str = "shred";
}

/// Collections that an order's row lists.
pub(in crate::vault) const TOTALS_MAX: usize = 256;
/// What an order's row lists of what a law keeps, and the bytes that rules and laws have there at most; the rest stands together under
/// collection 0 and no rule.
const RETAINED_MAX: usize = 64;
const RETAINED_LEN_MAX: usize = 16_384;
/// Epochs that an order's row lists: of more, the rows of its slots tell.
pub(in crate::vault) const EPOCHS_MAX: usize = 1_024;
/// Categories that an order's row lists, and the bytes they have at most.
const CATEGORIES_MAX: usize = 64;
const CATEGORIES_LEN_MAX: usize = 4_096;

/// Totals as an order's row lists them: a row has 100,000 bytes, a tenant any number of collections.
pub(in crate::vault) fn listed(totals: &std::collections::BTreeMap<CollectionNo, Totals>) -> Vec<(u32, Totals)> {
    let in_collections = || totals.iter().filter(|(no, _)| **no != CollectionNo::TENANT);
    let mut listed: Vec<(u32, Totals)> = in_collections().take(TOTALS_MAX).map(|(no, totals)| (no.0, *totals)).collect();
    let of_none = totals.get(&CollectionNo::TENANT);
    let rest: Vec<&Totals> = in_collections().skip(TOTALS_MAX).map(|(_, totals)| totals).chain(of_none).collect();
    if !rest.is_empty() {
        listed.push((CollectionNo::TENANT.0, rest.into_iter().fold(Totals::default(), |sum, more| sum.plus(*more))));
    }
    listed
}

/// Categories as an order's row lists them.
pub(in crate::vault) fn capped(categories: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut room = CATEGORIES_LEN_MAX;
    let fits = |category: &String| match room.checked_sub(category.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    categories.into_iter().take(CATEGORIES_MAX).take_while(fits).collect()
}

impl Totals {
    /// Both together.
    pub(in crate::vault) const fn plus(self, other: Self) -> Self {
        Self {
            units: self.units.saturating_add(other.units),
            deleted: self.deleted.saturating_add(other.deleted),
            kept: self.kept.saturating_add(other.kept),
        }
    }
}

impl ShredRow {
    /// Whether it may be carried out as far as persons go: two, where two were asked for.
    pub(in crate::vault) const fn is_approved(&self) -> bool {
        !self.two_persons || self.approved_by.is_some()
    }

    /// Whether its row lists every collection that it touched; where it may not, they are counted.
    pub(in crate::vault) fn lists_all(&self) -> bool {
        self.totals.len() <= TOTALS_MAX
    }

    /// As of when a law keeps what it keeps of the persons.
    pub(in crate::vault) const fn decided_as_of(&self) -> Timestamp {
        Timestamp(if self.decided_at == 0 { self.ordered_at } else { self.decided_at })
    }

    /// The subjects that this order set to pending.
    pub(in crate::vault) fn marked(&self) -> impl Iterator<Item = &[u8; 16]> {
        let subjects: &[[u8; 16]] = if let Scope::Subjects(subjects) = &self.scope { subjects } else { &[] };
        self.marked.iter().filter_map(|place| subjects.get(usize::from(*place)))
    }

    /// What its entry in the shred log names: its scope, of persons those that it marked. The others were done with by the orders
    /// that marked them, and may have returned before this one's version was given.
    pub(in crate::vault) fn scope_done(&self) -> Scope {
        match &self.scope {
            Scope::Subjects(_) => Scope::Subjects(self.marked().copied().collect()),
            scope @ (Scope::Tenant | Scope::Collection(_) | Scope::Record { .. } | Scope::Rest { .. }) => scope.clone(),
        }
    }
}

/// Slots of the units that an order destroyed in one epoch: at most as many as an epoch has targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ShredSlotsRow {
    pub(in crate::vault) slots: Vec<u64>,
}

impl ControlRow for ShredSlotsRow {
    const NAME: &'static str = "shred slots";
}

/// What an order touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct Totals {
    /// Keys destroyed.
    pub(in crate::vault) units: u64,
    /// Records deleted because their unit is the collection, or by the collection's policy.
    pub(in crate::vault) deleted: u64,
    /// Records kept that name the subject second.
    pub(in crate::vault) kept: u64,
}

/// How far an order has come with what it deletes: everything before this place is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct PositionRow {
    /// Which of the subjects that it marked; of an end in part, which of its stages.
    pub(in crate::vault) subject: u16,
    /// Whether those that name it second are being looked at.
    pub(in crate::vault) second: bool,
    /// The key in the index of subjects, or in what the stage goes through, to go on from; empty is the beginning.
    pub(in crate::vault) after: Vec<u8>,
}

impl ControlRow for PositionRow {
    const NAME: &'static str = "shred position";
}

/// Which entry of the shred log a data store has looked at: it directs what is deleted again, so nobody else moves it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ReclaimedRow {
    /// The entry's key, with its tag.
    pub(in crate::vault) up_to: Vec<u8>,
}

impl ControlRow for ReclaimedRow {
    const NAME: &'static str = "reclaimed";
}

/// What an order has deleted and kept so far in a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct DeletedRow {
    pub(in crate::vault) deleted: u64,
    pub(in crate::vault) kept: u64,
}

impl ControlRow for DeletedRow {
    const NAME: &'static str = "shred deletions";
}

/// One order in the shred log: applied again to older data before it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ShredLogRow {
    pub(in crate::vault) tenant: u64,
    pub(in crate::vault) order: [u8; 16],
    pub(in crate::vault) scope: Scope,
    /// The last version given out before its order's first epoch: what older data holds up to it is deleted again, what came later stays.
    pub(in crate::vault) version: u64,
}

impl ControlRow for ShredLogRow {
    const NAME: &'static str = "shred log";
}

/// A reply kept for an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ReplyRow {
    /// HMAC of the request under the tenant's key for it.
    pub(in crate::vault) request: [u8; 32],
    pub(in crate::vault) expires_at: i64,
    /// The reply: versions and whether each was created, nothing that names anyone.
    pub(in crate::vault) results: Vec<(u64, bool)>,
}

impl PlainRow for ReplyRow {
    const NAME: &'static str = "idempotency reply";
}

/// What was made under an idempotency key by a change of the control store: a token, an order, a collection, or nothing
/// that has an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct MadeRow {
    /// HMAC of the request under the key for it.
    pub(in crate::vault) request: [u8; 32],
    pub(in crate::vault) expires_at: i64,
    /// Id of the token or order; zeros where there is none.
    pub(in crate::vault) id: [u8; 16],
    /// Whether the collection was new.
    pub(in crate::vault) created: bool,
}

impl ControlRow for MadeRow {
    const NAME: &'static str = "idempotency key of control";
}

/// An upload that is under way, or whose rows are to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct UploadRow {
    pub(in crate::vault) tenant: u64,
    /// Last progress of a live upload, or when its rows were replaced.
    pub(in crate::vault) heartbeat_at: i64,
    /// Replaced: its rows go once no download can need them.
    pub(in crate::vault) replaced: bool,
}

impl PlainRow for UploadRow {
    const NAME: &'static str = "upload";
}
