//! A write in the making: the preconditions and rows of one data commit. Put, delete, batch and import go
//! through here, so the rules of units, shredded names and returning subjects hold on every path.
//!
//! * [`put`], [`delete`]: what a record's coming and going asks.
//! * [`commit`]: the commit itself, with its audit entries.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{
    Caller, Conflict, Precondition, Vault, VaultError,
    directory::{Collection, Tenant, damaged},
    due::Moments,
    events::known::Known,
    minimum,
    restricted::{Changes, Restricted},
    rows::{ControlRow, Seals, State},
};
use crate::{
    authn::Role,
    domain::{
        CollectionNo, PrincipalId, RecordKey, RecordMeta, ReportId, RequestId, ShredId, SubjectId, TenantNo, UploadId, Version,
        retention::{Events, Law},
    },
    vault::{
        audit::{self, Action, Entry, Outcome, Target},
        crypto::{Context, Manifest, OpenedRecord, Record, RecordHeader, Sealed, Token},
        keys::UnitRef,
        store::{Check, Expect, Space, Write, schema},
    },
};

mod commit;
mod delete;
mod put;

pub(super) use put::{Carried, Content, PutFields};

/// Why a plan changes what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Why {
    /// Somebody asks for it.
    #[default]
    Asked,
    /// It only goes on with what was decided before, which no hold stops any more.
    Decided,
    /// Rules have ended what it destroys.
    Rules,
}

/// The preconditions, rows and audit entries of one data commit.
#[derive(Default)]
pub(super) struct Plan {
    checks: Vec<Check>,
    writes: Vec<Write>,
    /// Rows of units that this plan opens: committed to the control store first, so that no restored data can forget a unit.
    pub(super) opened: Vec<(Check, Write)>,
    /// Entries that go with them.
    pub(super) returned: Vec<(UnitRef, Entry)>,
    entries: Vec<(UnitRef, Entry)>,
    /// Units opened or read by this plan, so that one commit opens one unit for a subject.
    pub(super) units: HashMap<(CollectionNo, Token), UnitRef>,
    /// Subjects whose state is already checked.
    pub(super) subjects: HashSet<Token>,
    checked: HashSet<CollectionNo>,
    /// When the first record ends of those that it stores.
    pub(super) first_due: Moments,
    /// Whether it writes down shreds that nobody orders behind it: the shredder is told, once they stand there.
    pub(super) defers: bool,
    /// Whether its tenant has holds, once that was asked: the plan is held to it.
    pub(super) has_holds: Option<bool>,
    why: Why,
    /// Whether what it deletes leaves its keys.
    keeps_keys: bool,
    /// What it changes in the numbers of restricted records of units.
    pub(super) kept_units: Changes,
    /// The report that counts what it destroys: the orders to shred that go with that are its.
    pub(super) report: Option<ReportId>,
}

/// A stored record as a writer sees it.
pub(super) struct Existing {
    pub(super) header: RecordHeader,
    /// `None` where its unit is shredded or being shredded: to a writer it is not there.
    pub(super) live: Option<Live>,
}

/// What a writer needs of a record that is there.
pub(super) struct Live {
    pub(super) meta: RecordMeta,
    /// The upload id of a large value, to be reclaimed.
    pub(super) upload: Option<UploadId>,
    /// Whether its time is over: it lies there, and to whoever asks for it is gone.
    pub(super) expired: bool,
    /// The legal minimum that keeps it.
    pub(super) law: Option<Law>,
    /// The one of those that nobody shortens.
    pub(super) firm: Option<Law>,
    /// Those that keep it until somebody reports what they count from.
    pub(super) unreported: Vec<Law>,
    /// Whether it is kept for its legal purpose alone: to who writes it is gone, too.
    pub(super) restricted: Option<Restricted>,
    /// That what was known of its first person's events is so, where rules count from those.
    pub(super) known: Vec<Check>,
}

impl Live {
    /// A minimum of it that waits for a report, which another version of the record does not wait for.
    fn waits_unlike(&self, collection: &Collection, newer: &RecordMeta, events: &Events) -> Option<Law> {
        if self.unreported.is_empty() {
            return None;
        }
        let waiting = minimum::unreported(collection, newer, events);
        self.unreported.iter().find(|law| !waiting.contains(law)).cloned()
    }

    /// The order to shred that has left it for its legal purpose alone.
    pub(super) fn restricted_by(&self) -> Option<ShredId> {
        self.restricted.as_ref().and_then(|restricted| restricted.by)
    }
}

impl Existing {
    /// Its version, as a precondition meets it; none where nobody can read it any more.
    pub(super) fn version(&self) -> Option<Version> {
        self.live.as_ref().filter(|live| !live.expired && live.restricted.is_none()).map(|_| self.header.version)
    }

    /// Whether a version that stood there may have had an end, whatever the rules.
    fn could_end(&self) -> bool {
        match &self.live {
            Some(live) => live.meta.expires_at.is_some(),
            // Nobody can say; of a tombstone the row is gone.
            None => !self.header.is_tombstone(),
        }
    }
}

impl Plan {
    /// A plan that goes on with what was decided before.
    pub(super) fn decided() -> Self {
        Self { why: Why::Decided, ..Self::default() }
    }

    /// The same plan, for older data: what it deletes leaves its keys. They are there today, so nobody has destroyed them, and they may
    /// seal what has taken its place since, in the data store that this one is put in the place of.
    pub(super) fn keeping_keys(self) -> Self {
        Self { keeps_keys: true, ..self }
    }

    /// A plan that destroys what rules have ended.
    pub(super) fn by_rule() -> Self {
        Self { why: Why::Rules, ..Self::default() }
    }

    /// Whether it is one that goes on with what was decided before.
    pub(super) const fn is_decided(&self) -> bool {
        matches!(self.why, Why::Decided)
    }

    /// Whether somebody asks for what it does, and neither rules nor what was decided before.
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.why, Why::Asked)
    }

    /// Adds a row to the control store, before everything else.
    pub(super) fn open<R: ControlRow>(&mut self, seals: &Seals, key: Bytes, before: Expect, row: &R) -> Result<(), VaultError> {
        let before = Check { space: Space::Control, key: key.clone(), expect: before };
        self.opened.push((before, seals.put(key, row)?));
        Ok(())
    }

    /// Whether it adds that row to the control store.
    pub(super) fn opens(&self, key: &[u8]) -> bool {
        self.opened.iter().any(|(before, _)| before.key == *key)
    }

    /// Adds a precondition.
    pub(super) fn check(&mut self, space: Space, key: Bytes, expect: Expect) {
        self.checks.push(Check { space, key, expect });
    }

    /// Adds preconditions.
    pub(super) fn check_all(&mut self, checks: &[Check]) {
        self.checks.extend_from_slice(checks);
    }

    /// Adds a row.
    pub(super) fn put(&mut self, space: Space, key: Bytes, value: Bytes) {
        self.writes.push(Write::Put { space, key, value });
    }

    /// Removes a row.
    pub(super) fn delete(&mut self, space: Space, key: Bytes) {
        self.writes.push(Write::Delete { space, key });
    }

    /// Whether it writes that row.
    pub(super) fn puts(&self, space: Space, key: &[u8]) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::Put { space: put, key: row, .. } if *put == space && row == key))
    }

    /// Adds the audit entry of a change.
    pub(super) fn entry(&mut self, trail: UnitRef, entry: Entry) {
        self.entries.push((trail, entry));
    }

    /// Holds the tenant and the collection to the state they were read in.
    pub(super) fn hold(&mut self, tenant: &Tenant, collection: &Collection) -> Result<(), VaultError> {
        tenant.in_use()?;
        collection.in_use()?;
        if self.checked.is_empty() {
            self.checks.push(tenant.check());
        }
        if self.checked.insert(collection.no) {
            self.checks.push(collection.check(tenant.no));
        }
        Ok(())
    }
}

/// The unit that a record's header names.
pub(super) fn unit_of(header: &RecordHeader, tenant: TenantNo) -> UnitRef {
    UnitRef { tenant, slot: header.slot, generation: header.generation }
}

/// The check that a record is still the one that was read.
pub(super) fn unchanged(header: &RecordHeader) -> Expect {
    Expect::Prefix(Bytes::copy_from_slice(&header.to_bytes()))
}

/// The row of a record, from its key's tokens.
pub(super) fn record_row(tenant: &Tenant, collection: CollectionNo, tokens: &[Token]) -> Bytes {
    schema::record(tenant.no, collection, tokens)
}

impl Vault {
    /// The tokens of a key's segments.
    pub(super) async fn key_tokens(&self, tenant: &Tenant, collection: CollectionNo, key: &RecordKey) -> Result<Vec<Token>, VaultError> {
        self.with_tenant(tenant.no, |secret| secret.derive_names(collection).key_tokens(key)).await
    }

    /// The tokens of subjects.
    pub(super) async fn subject_tokens(&self, tenant: &Tenant, subjects: &[SubjectId]) -> Result<Vec<Token>, VaultError> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        self.with_tenant(tenant.no, |secret| {
            let index = secret.derive_subject_index();
            subjects.iter().map(|subject| index.subject_token(subject)).collect()
        })
        .await
    }

    /// Plans a check of a batch: the record is there with one of the versions, or absent. Who learns that has read, so the
    /// entry of a read goes with it.
    pub(super) async fn plan_check(
        &self,
        plan: &mut Plan,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        key: &RecordKey,
        precondition: &Precondition,
    ) -> Result<(), VaultError> {
        plan.hold(tenant, collection)?;
        let tokens = self.key_tokens(tenant, collection.no, key).await?;
        let row = record_row(tenant, collection.no, &tokens);
        let existing = self.existing(tenant, collection, &tokens, &row).await?;
        let mut version = existing.as_ref().and_then(Existing::version);
        if let Some(live) = existing.as_ref().and_then(|record| record.live.as_ref()).filter(|_| collection.has_law)
            && self.leaving(tenant, collection, &live.meta).await?.is_some()
        {
            // Its key is there until it is decided what a law keeps; to who asks it is gone.
            version = None;
        }
        if let Some(live) = existing.as_ref().and_then(|record| record.live.as_ref())
            && self.is_hidden_by_end(tenant, (collection.no, &tokens), &live.meta.subjects).await?
        {
            version = None;
        }
        precondition.holds(version).map_err(|_| VaultError::Conflict(Conflict::CheckFailed))?;
        let purpose = self.purpose_token(caller, tenant.no, collection.no).await?;
        let read = match &existing {
            Some(record) => target(&tokens, &record.header),
            None => Target { record: tokens.last().copied(), ..Target::default() },
        };
        plan.entry(tenant.audit, entry(caller, tenant, Action::RecordRead, collection.no, Target { purpose, ..read }));
        plan.check(Space::Records, row, existing.map_or(Expect::Absent, |record| unchanged(&record.header)));
        Ok(())
    }

    /// Reads what stands under a key, as a writer needs it.
    pub(super) async fn existing(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        row: &[u8],
    ) -> Result<Option<Existing>, VaultError> {
        let stored = self.inner.store.get(Space::Records, row).await?;
        self.existing_in(tenant, collection, tokens, (stored, None)).await
    }

    /// The same, of what was read there. A `newer` value, which is to take its place, tells dates that it does not, and until when a law
    /// keeps it by those.
    async fn existing_in(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        (stored, newer): (Option<Bytes>, Option<&[u8]>),
    ) -> Result<Option<Existing>, VaultError> {
        let Some(stored) = stored else { return Ok(None) };
        let header = RecordHeader::parse(&stored).map_err(damaged)?;
        if header.is_tombstone() {
            return Ok(Some(Existing { header, live: None }));
        }
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, &header);
        let opened =
            self.with_data(collection.unit, unit_of(&header, tenant.no), collection.no, |key| key.open_record(&context, &sealed)).await;
        let live = match opened {
            Ok(opened) => {
                let opened = opened.map_err(damaged)?;
                let known = match self.events_over(tenant.no, collection, &opened.meta).await {
                    // Whom an order is about to take: a law whose date is not known keeps.
                    Err(VaultError::Shredded { .. }) => Known::default(),
                    known => known?,
                };
                Some(self.live_of(collection, &header, (opened, newer), known)?)
            }
            Err(VaultError::Shredded { .. }) => None,
            Err(other) => return Err(other),
        };
        Ok(Some(Existing { header, live }))
    }

    /// What a writer needs of a record that was opened, and of whose first person this is known.
    ///
    /// # Errors
    /// [`VaultError::Internal`] for a manifest that is none.
    pub(super) fn live_of(
        &self,
        collection: &Collection,
        header: &RecordHeader,
        (opened, newer): (OpenedRecord, Option<&[u8]>),
        Known { events, checks: known }: Known,
    ) -> Result<Live, VaultError> {
        let upload = if header.is_manifest() { Some(Manifest::parse(opened.value.expose()).map_err(damaged)?.upload) } else { None };
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let now = self.inner.clock.now();
        let expired = super::due::is_over(collection, &opened.meta, value, &events, now);
        let (law, firm, restricted) = minimum::weighed(collection, &opened.meta, (value, newer), &events, now);
        let unreported = minimum::unreported(collection, &opened.meta, &events);
        Ok(Live { meta: opened.meta, upload, expired, law, firm, unreported, restricted, known })
    }

    /// Moves the subject index from what stood under the key to what will.
    async fn plan_index(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        live: Option<&Live>,
        (named, subjects): (&[SubjectId], &[Token]),
    ) -> Result<(), VaultError> {
        let before = match live {
            // Most records are written again about those whom they were about before.
            Some(live) if live.meta.subjects == named => subjects.to_vec(),
            Some(live) => self.subject_tokens(tenant, &live.meta.subjects).await?,
            None => Vec::new(),
        };
        let mut after: Vec<Token> = Vec::with_capacity(subjects.len());
        for token in subjects {
            if !after.contains(token) {
                after.push(*token);
            }
        }
        if before == after {
            return Ok(());
        }
        for token in before.iter().filter(|token| !after.contains(token)) {
            plan.delete(Space::Index, schema::subject_record(tenant.no, token, collection.no, tokens));
        }
        // Of the first one too: a record that was here before, and could not be read, may have named it second.
        for token in &before {
            plan.delete(Space::Index, schema::secondary_record(tenant.no, token, collection.no, tokens));
        }
        for (position, token) in after.iter().enumerate() {
            // By the first one's row the others' are found, once nobody can read the record any more.
            let besides = if position == 0 { schema::subjects_besides(after.get(1..).unwrap_or_default()) } else { Bytes::new() };
            plan.put(Space::Index, schema::subject_record(tenant.no, token, collection.no, tokens), besides);
            if position > 0 {
                plan.put(Space::Index, schema::secondary_record(tenant.no, token, collection.no, tokens), Bytes::new());
            }
        }
        Ok(())
    }

    /// Marks the rows of a replaced large value for removal.
    fn plan_reclaim(&self, plan: &mut Plan, tenant: &Tenant, header: &RecordHeader, live: Option<&Live>) -> Result<(), VaultError> {
        if let Some(upload) = live.and_then(|live| live.upload) {
            plan.writes.push(self.upload_row(upload, tenant.no, true)?);
            plan.delete(Space::Index, schema::unit_upload(tenant.no, header.slot, upload));
        }
        Ok(())
    }
}

/// Who an entry names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor {
    pub(super) principal: PrincipalId,
    pub(super) role: Role,
    pub(super) request: RequestId,
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        Self { principal: caller.principal.id(), role: caller.principal.role(), request: caller.request }
    }
}

/// A role as the trail names it.
fn audited_role(role: Role) -> audit::Role {
    match role {
        Role::Operator => audit::Role::Operator,
        Role::Owner => audit::Role::Owner,
        Role::Writer => audit::Role::Writer,
        Role::Reader => audit::Role::Reader,
        Role::Auditor => audit::Role::Auditor,
        Role::Eraser => audit::Role::Eraser,
        Role::Job => audit::Role::Job,
        Role::Counsel => audit::Role::Counsel,
        Role::Governor => audit::Role::Governor,
    }
}

/// An entry of what someone did.
pub(super) fn entry(actor: impl Into<Actor>, tenant: &Tenant, action: Action, collection: CollectionNo, target: Target) -> Entry {
    let Actor { principal, role, request } = actor.into();
    Entry { tenant: tenant.no, action, outcome: Outcome::Allowed, principal, role: audited_role(role), request, collection, target }
}

/// The target of an entry about a record: the last token of its key, unit and version.
pub(super) fn target(tokens: &[Token], header: &RecordHeader) -> Target {
    Target {
        record: tokens.last().copied(),
        unit: Some((header.slot, header.generation)),
        version: Some(header.version),
        ..Target::default()
    }
}

/// The target of an entry about a key that holds no record, or about a prefix.
pub(super) fn named(token: Token) -> Target {
    Target { record: Some(token), ..Target::default() }
}

/// The target of an entry about a person.
pub(super) fn subject_target(token: Token) -> Target {
    Target { subject: Some(token), ..Target::default() }
}

/// The target of an entry about a token, an order or a certificate.
pub(super) fn object(id: [u8; 16]) -> Target {
    Target { object: Some(id), ..Target::default() }
}

/// Repeats what met another writer's commit.
pub(super) async fn retrying<T, F: Future<Output = Result<T, VaultError>>>(mut attempt: impl FnMut() -> F) -> Result<T, VaultError> {
    let mut last = VaultError::Busy;
    for _ in 0..super::ATTEMPTS {
        match attempt().await {
            Err(VaultError::Busy) => last = VaultError::Busy,
            other => return other,
        }
    }
    Err(last)
}

/// The certificate's id of a state, if it has one.
pub(super) fn order_of(state: State) -> Option<ShredId> {
    match state {
        State::Pending(order) | State::Shredded(order) => Some(ShredId(order)),
        State::Active | State::Frozen => None,
    }
}
