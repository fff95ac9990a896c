//! What is shown of a hold. Whom it names is told by what is there: a person by a record that names the person, a key by its record. So
//! nothing in a hold outlives what it is about.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{
    super::{
        Caller, Missing, Vault, VaultError,
        access::InTenant,
        directory::{Tenant, pseudonym, unnamed},
        names::{Lookup, Told},
        plan::{Existing, entry, record_row, unit_of},
        refused::Place,
        rows::{CollectionRow, HoldRow, Progress, State},
    },
    bind::knows_holds,
};
use crate::{
    authz::HoldRead,
    domain::{CollectionNo, HoldId, PrincipalId, RecordKey, ShredId, TenantName, TenantNo, Timestamp, hold::HoldText},
    vault::{
        audit::{Action, Target},
        crypto::{RecordHeader, Token},
        keys::KeysError,
        store::{
            Space,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// Records that are counted at most, and rows that are looked at for it.
const COUNTED: u64 = 1_000;
const LOOKS: usize = 5_000;
/// Rows read at once for it.
const ROWS: usize = 64;

/// A hold as who may know of it sees it.
#[derive(Debug, Clone)]
pub struct HoldView {
    /// Its id.
    pub id: HoldId,
    /// `active`, `released` or `lapsed`.
    pub state: &'static str,
    /// What it says of itself.
    pub text: HoldText,
    /// What it is on; `None` in a list, and where it cannot be told for now.
    pub scope: Option<ShownScope>,
    /// Its kind of scope: `tenant`, `subject`, `collection`, `prefix` or `records`.
    pub kind: &'static str,
    /// Whether everybody in the tenant may know of it.
    pub disclosed: bool,
    /// Whether a law enforcement agency asked for it.
    pub law_enforcement: bool,
    /// Who placed it.
    pub placed_by: PrincipalId,
    /// When.
    pub placed_at: Timestamp,
    /// When it ends by itself.
    pub lapses_at: Option<Timestamp>,
    /// Who released it.
    pub released_by: Option<PrincipalId>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Records that are there and that it keeps, and whether there are more than were counted; `None` as above.
    pub covers: Option<(u64, bool)>,
    /// Orders to shred that had destroyed keys of what it is on, and were not done, when it was placed: it came too late for those.
    pub too_late: Vec<ShredId>,
}

/// What a hold is on, by names.
#[derive(Debug, Clone, Default)]
pub struct ShownScope {
    /// Persons.
    pub subjects: Vec<String>,
    /// The collection of a collection's or prefix's hold.
    pub collection: Option<String>,
    /// The prefix.
    pub prefix: Option<String>,
    /// Records: collection and key.
    pub records: Vec<(String, String)>,
}

impl Vault {
    /// One hold, for a counsel or an auditor; for the others if it is disclosed.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn hold(&self, caller: &Caller, tenant: &TenantName, id: HoldId) -> Result<HoldView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let InTenant { tenant, .. } = self.in_tenant_or_importing::<HoldRead>(caller, tenant).await?;
            let row: Option<HoldRow> = self.control_row(&schema::hold(tenant.no, id)).await?;
            let row = row.filter(|row| row.disclosed || knows_holds(caller.principal.role()));
            let row = row.ok_or(VaultError::NotFound(Missing::Hold))?;
            let read = super::hold_entry(caller, &tenant, Action::HoldRead, id, row.disclosed);
            self.read_receipt(&tenant, read).await?;
            self.hold_view(caller, &tenant, id, &row, Vec::new()).await
        };
        self.on_record(caller, Place::tenant(tenant), Action::HoldRead, read).await
    }

    /// The holds that the caller may know of, those that have ended included: at most `limit` behind a cursor.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`super::Unprocessable::Cursor`].
    pub async fn holds_of(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<HoldView>, Option<String>), VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::HoldRead, self.holds_page(caller, tenant, cursor, limit)).await
    }

    async fn holds_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<HoldView>, Option<String>), VaultError> {
        let InTenant { tenant, .. } = self.in_tenant_or_importing::<HoldRead>(caller, tenant).await?;
        let range = schema::table_of_tenant(Table::Hold, tenant.no);
        let mut from = KeyRange { from: self.begin_page(tenant.no, "holds", &range, cursor).await?, to: range.to.clone() };
        let mut views = Vec::new();
        let mut last = None;
        'pages: while let Some(rows) = self.some_rows_of(Space::Control, &mut from, ROWS).await? {
            for row in rows {
                let id = row.key.last_chunk::<16>().map(|id| HoldId(*id)).ok_or_else(|| VaultError::Internal("hold row".into()))?;
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                if !hold.disclosed && !knows_holds(caller.principal.role()) {
                    continue;
                }
                if views.len() == limit {
                    break 'pages;
                }
                views.push(self.told(&tenant, id, &hold).await?);
                last = Some(row.key);
            }
        }
        let is_more = views.len() == limit && self.is_more(caller, last.as_ref(), &range).await?;
        let read = entry(caller, &tenant, Action::HoldRead, CollectionNo::TENANT, Target::default());
        self.read_receipt(&tenant, read).await?;
        let next = self.end_page(tenant.no, "holds", &range, last.filter(|_| is_more)).await?;
        Ok((views, next))
    }

    /// Whether a hold that the caller may know of lies behind the last one of a page.
    async fn is_more(&self, caller: &Caller, last: Option<&Bytes>, range: &KeyRange) -> Result<bool, VaultError> {
        let Some(last) = last else { return Ok(false) };
        let mut rest = range.after(last);
        while let Some(rows) = self.some_rows_of(Space::Control, &mut rest, ROWS).await? {
            for row in rows {
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                if hold.disclosed || knows_holds(caller.principal.role()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// A hold with what it is on, as far as the caller may be told names, and how much that is.
    pub(super) async fn hold_view(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        id: HoldId,
        row: &HoldRow,
        too_late: Vec<ShredId>,
    ) -> Result<HoldView, VaultError> {
        // A hold that was placed is told of, although some record cannot be read for now.
        let later = |error: &VaultError| tracing::warn!(%error, %id, "what a hold is on cannot be shown for now");
        let shown = async {
            let told = self.told_names(caller, tenant).await?;
            self.shown_things(tenant, row.things().collect(), told).await
        };
        let scope = shown.await.inspect_err(later).ok();
        let covers = self.covered(tenant, row).await.inspect_err(later).ok();
        Ok(HoldView { scope, covers, too_late, ..self.told(tenant, id, row).await? })
    }

    /// A hold as a list shows it.
    async fn told(&self, tenant: &Tenant, id: HoldId, row: &HoldRow) -> Result<HoldView, VaultError> {
        let state = match &row.end {
            Some(end) if end.by.is_some() => "released",
            None if row.stands(self.inner.clock.now()) => "active",
            Some(_) | None => "lapsed",
        };
        let kind = match row.things().next() {
            Some(HeldThing::Tenant) | None => "tenant",
            Some(HeldThing::Subject(_)) => "subject",
            Some(HeldThing::Under(_, tokens)) if tokens.is_empty() => "collection",
            Some(HeldThing::Under(..)) => "prefix",
            Some(HeldThing::Record(..)) => "records",
        };
        let ended_at = row.end.as_ref().map(|end| end.at).or(row.lapses_at.filter(|_| state == "lapsed"));
        Ok(HoldView {
            id,
            state,
            text: self.open_hold(tenant, id, row).await?,
            scope: None,
            kind,
            disclosed: row.disclosed,
            law_enforcement: row.lapses_at.is_some(),
            placed_by: PrincipalId(row.placed_by),
            placed_at: Timestamp(row.placed_at),
            lapses_at: row.lapses_at.map(Timestamp),
            released_by: row.end.as_ref().and_then(|end| end.by).map(PrincipalId),
            ended_at: ended_at.map(Timestamp),
            covers: None,
            too_late: Vec::new(),
        })
    }

    /// Things by their names, as records that are there tell them, and as far as those are told.
    pub(in crate::vault::ops) async fn shown_things(
        &self,
        tenant: &Tenant,
        things: Vec<HeldThing>,
        told: Told,
    ) -> Result<ShownScope, VaultError> {
        let mut shown = ShownScope::default();
        let mut lookup = Lookup::new(self, tenant);
        for thing in things {
            match thing {
                HeldThing::Tenant => {}
                HeldThing::Subject(subject) => {
                    let name = if told.records { lookup.subject(subject).await? } else { None };
                    shown.subjects.push(name.unwrap_or_else(|| unnamed("subject", &subject)));
                }
                HeldThing::Under(no, tokens) => {
                    shown.collection = Some(self.told_name_of(tenant, no, told).await?);
                    if !tokens.is_empty() {
                        let prefix = if told.records { self.prefix_of(tenant, no, &tokens).await? } else { unnamed_key(&tokens) };
                        shown.prefix = Some(prefix);
                    }
                }
                HeldThing::Record(no, tokens) => {
                    let key = if told.records { self.key_at(tenant, no, &tokens).await? } else { None };
                    let key = key.map_or_else(|| unnamed_key(&tokens), |key| key.as_str().to_owned());
                    shown.records.push((self.told_name_of(tenant, no, told).await?, key));
                }
            }
        }
        Ok(shown)
    }

    async fn told_name_of(&self, tenant: &Tenant, no: CollectionNo, told: Told) -> Result<String, VaultError> {
        if told.collections { self.name_of(tenant, no).await } else { Ok(unnamed("collection", &no.to_be_bytes())) }
    }

    /// A collection's name, or its pseudonym.
    pub(in crate::vault::ops) async fn name_of(&self, tenant: &Tenant, no: CollectionNo) -> Result<String, VaultError> {
        match self.collection_by_number(tenant.no, no).await {
            Ok(collection) => Ok(collection.name.as_str().to_owned()),
            Err(VaultError::Shredded { .. }) => Ok(pseudonym("collection", &no.to_be_bytes())),
            Err(error) => Err(error),
        }
    }

    /// The key of the record at a place, if it opens.
    pub(in crate::vault::ops) async fn key_at(
        &self,
        tenant: &Tenant,
        no: CollectionNo,
        tokens: &[Token],
    ) -> Result<Option<RecordKey>, VaultError> {
        let collection = match self.collection_by_number(tenant.no, no).await {
            Ok(collection) if collection.in_use().is_ok() => collection,
            Ok(_) | Err(VaultError::Shredded { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.existing(tenant, &collection, tokens, &record_row(tenant, no, tokens)).await {
            // What an order has restricted is named to nobody.
            Ok(Some(Existing { live: Some(live), .. })) => {
                Ok(Some(live).filter(|live| live.restricted_by().is_none()).map(|live| live.meta.key))
            }
            // A hold is shown although a record is bent; who read it has counted it.
            Ok(_) | Err(VaultError::Internal(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A prefix by its tokens.
    async fn prefix_of(&self, tenant: &Tenant, no: CollectionNo, tokens: &[Token]) -> Result<String, VaultError> {
        Ok(self.prefix_at(tenant, no, tokens).await?.unwrap_or_else(|| unnamed_key(tokens)))
    }

    /// The same where it can be told: by the first records under it.
    pub(super) async fn prefix_at(&self, tenant: &Tenant, no: CollectionNo, tokens: &[Token]) -> Result<Option<String>, VaultError> {
        let range = schema::records_under(tenant.no, no, tokens);
        for row in self.inner.store.scan(Space::Records, &range.from, &range.to, ROWS).await? {
            let Some(of) = schema::record_tokens(&row.key) else { continue };
            if let Some(key) = self.key_at(tenant, no, &of).await? {
                return Ok(Some(key.segments().take(tokens.len()).collect::<Vec<_>>().join("/")));
            }
        }
        Ok(None)
    }

    /// How many records there are that a hold keeps; at least so many, where more are there than are counted, or looked at.
    async fn covered(&self, tenant: &Tenant, row: &HoldRow) -> Result<(u64, bool), VaultError> {
        let mut met: HashSet<Bytes> = HashSet::new();
        let mut gone: HashMap<CollectionNo, bool> = HashMap::new();
        let mut looks: usize = 0;
        for thing in row.things() {
            let (space, mut range) = match &thing {
                HeldThing::Tenant => (Space::Records, schema::records_of_tenant(tenant.no)),
                HeldThing::Under(no, tokens) => (Space::Records, schema::records_under(tenant.no, *no, tokens)),
                HeldThing::Subject(subject) => (Space::Index, schema::records_of_subject(tenant.no, subject)),
                HeldThing::Record(no, tokens) => {
                    let from = record_row(tenant, *no, tokens);
                    (Space::Records, KeyRange { to: schema::successor(&from), from })
                }
            };
            while let Some(rows) = self.some_rows_of(space, &mut range, ROWS).await? {
                if looks >= LOOKS {
                    return Ok((met.len() as u64, true));
                }
                looks = looks.saturating_add(rows.len());
                for row in rows {
                    let (key, stored) = match schema::subject_record_parts(&row.key).filter(|_| space == Space::Index) {
                        Some((_, no, tokens)) => {
                            let key = record_row(tenant, no, &tokens);
                            let stored = self.inner.store.get(Space::Records, &key).await?;
                            (key, stored)
                        }
                        None => (row.key, Some(row.value)),
                    };
                    let Some(no) = schema::Parts::new(&key).collection_of_record() else { continue };
                    let is_gone = match gone.get(&no) {
                        Some(known) => *known,
                        None => {
                            let row: Option<CollectionRow> = self.control_row(&schema::collection(tenant.no, no)).await?;
                            *gone.entry(no).or_insert(row.is_none_or(|row| matches!(row.state, State::Shredded(_))))
                        }
                    };
                    if let Some(stored) = stored.filter(|_| !is_gone)
                        && self.is_readable(tenant.no, &stored).await?
                        && met.insert(key)
                        && met.len() as u64 > COUNTED
                    {
                        return Ok((COUNTED, true));
                    }
                }
            }
        }
        Ok((met.len() as u64, false))
    }

    /// Whether a record's key is still there.
    pub(in crate::vault::ops) async fn is_readable(&self, tenant: TenantNo, stored: &[u8]) -> Result<bool, VaultError> {
        let Some(header) = RecordHeader::parse(stored).ok().filter(|header| !header.is_tombstone()) else { return Ok(false) };
        // Whatever an order has closed meanwhile: the hold takes it back.
        match self.inner.forest.load_unit(tenant, header.slot).await {
            Ok(unit) => Ok(unit == unit_of(&header, tenant)),
            Err(KeysError::Shredded | KeysError::Unknown | KeysError::Damaged(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Orders that have destroyed keys of what a hold is on, and are not done.
    pub(super) async fn orders_over(&self, tenant: &Tenant, hold: &HoldRow) -> Result<Vec<ShredId>, VaultError> {
        let mut late = Vec::new();
        for id in self.unfinished().await? {
            let Some(order) = self.shred_row(id).await?.filter(|order| order.tenant == tenant.no.0) else { continue };
            if order.progress == Progress::Pending && order.epochs.is_empty() {
                // It is taken back before its keys go.
                continue;
            }
            if self.is_over(tenant.no, &order.scope, hold).await? {
                late.push(id);
            }
        }
        Ok(late)
    }
}

fn unnamed_key(tokens: &[Token]) -> String {
    unnamed("key", &tokens.last().copied().unwrap_or_default())
}
