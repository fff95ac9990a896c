//! A write in the making: the preconditions and rows of one data commit. Put, delete, batch and import go
//! through here, so the rules of units, shredded names and returning subjects hold on every path.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::Bytes;

use super::{
    Caller, Conflict, Missing, Precondition, Vault, VaultError,
    deferred::Deferred,
    directory::{Collection, Tenant, damaged},
    due::{End, Moments, Written},
    events::known::Known,
    foresee::{Foreseen, Looked, Wanted},
    minimum,
    names::NameRow,
    restricted::{Changes, Left, Restricted},
    rows::{ControlRow, Scope, Seals, State},
};
use crate::{
    authn::Role,
    domain::{
        CollectionNo, PrincipalId, RecordKey, RecordMeta, ReportId, RequestId, ShredId, ShredUnit, Slot, SubjectId, TenantNo, Timestamp,
        UploadId, Version,
        approval::ShredScope,
        limits,
        retention::{Events, Kept, Law},
    },
    vault::{
        audit::{self, Action, Entry, Outcome, PendingReceipt, PurposeToken, Target, Trail},
        crypto::{Context, Data, EncodedMeta, FLAG_MANIFEST, Key, Manifest, Receipt, Record, RecordHeader, Sealed, Token},
        keys::{LeaseKind, UnitRef},
        store::{Before, Check, Commit, Durability, Expect, Space, StoreError, Tail, Urgency, Write, schema},
    },
};

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

/// What is written under a key.
pub(super) enum Content {
    /// The value itself, to be sealed into the record.
    Inline(Bytes),
    /// A large value whose rows are stored already: the manifest's bytes, and the unit they are sealed under.
    Manifest {
        /// Upload id, salt, commitment, length: see `blob`.
        manifest: Vec<u8>,
        /// The value's length in bytes.
        value_len: u64,
        /// The unit its rows are sealed under.
        unit: UnitRef,
        /// The upload's id.
        upload: UploadId,
        /// SHA-256 of the value.
        digest: Vec<u8>,
    },
}

/// One put.
pub(super) struct PutFields {
    pub(super) key: RecordKey,
    pub(super) content_type: String,
    pub(super) subjects: Vec<SubjectId>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) custom: Vec<(String, String)>,
    pub(super) precondition: Precondition,
    pub(super) new_relationship: bool,
    /// What it brings along from another store; `None` for every other put.
    pub(super) carried: Option<Carried>,
}

/// What a record of another store says that a client's put does not: it was admitted there, and is here as it was there.
#[derive(Clone)]
pub(super) struct Carried {
    pub(super) created_at: Timestamp,
    pub(super) modified_at: Timestamp,
    /// Under which of its collection's rules it was written, which came along before it.
    pub(super) rules_no: u32,
    /// What is written down of its end.
    pub(super) written: Option<Written>,
    /// What a law keeps it for.
    pub(super) kept: Option<Kept>,
    /// Whether the person is erased of whom an order has left it: it is here, too.
    pub(super) is_erased: bool,
    /// What that order remembers of the person's events.
    pub(super) events: Events,
}

impl PutFields {
    /// What is sealed with it, but for what a law keeps it for; `created_at` is that of what stood in its place.
    fn meta(
        &self,
        collection: &Collection,
        value_len: u64,
        created_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<RecordMeta, VaultError> {
        let rules_now = u32::try_from(collection.rules_now().0).map_err(|_| VaultError::Internal("number of rules".into()))?;
        let carried = self.carried.as_ref();
        Ok(RecordMeta {
            key: self.key.clone(),
            content_type: self.content_type.clone(),
            subjects: self.subjects.clone(),
            created_at: carried.map(|carried| carried.created_at).or(created_at).unwrap_or(now),
            modified_at: carried.map_or(now, |carried| carried.modified_at),
            expires_at: self.expires_at,
            value_len,
            custom: self.custom.clone(),
            rules_no: carried.map_or(rules_now, |carried| carried.rules_no.min(rules_now)),
            kept: None,
        })
    }

    /// Whom it says to be erased where it is from, if it does.
    pub(super) fn erases(&self) -> Option<&SubjectId> {
        let carried = self.carried.as_ref().filter(|carried| carried.is_erased)?;
        carried.kept.as_ref()?.restricted_by.and(self.subjects.first())
    }

    /// The order to shred of another store that has left the record, and whether its person is erased.
    pub(super) fn left_by(&self) -> Option<Left> {
        let Carried { kept, is_erased, events, .. } = self.carried.as_ref()?;
        let Kept { until, restricted_by, .. } = kept.as_ref()?;
        restricted_by.map(|order| Left { order, until: *until, is_erased: *is_erased, events: events.clone() })
    }
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

    /// Plans a put. Returns the record's new version and whether the key was free.
    pub(super) async fn plan_put(
        &self,
        plan: &mut Plan,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        put: &PutFields,
        content: &Content,
    ) -> Result<(Version, bool), VaultError> {
        plan.hold(tenant, collection)?;
        self.check_expiry(put)?;
        let wanted = Wanted { key: &put.key, subjects: &put.subjects };
        let foreseen = self.foresee(tenant, collection, std::slice::from_ref(&wanted)).await?.pop();
        let foreseen = foreseen.ok_or_else(|| VaultError::Internal("a put is not foreseen".into()))?;
        // The largest of all steps: moved once, and not with every future around it.
        Box::pin(self.plan_foreseen(plan, caller, tenant, collection, put, content, foreseen)).await
    }

    /// The same, where what it looks at was read already.
    pub(super) async fn plan_foreseen(
        &self,
        plan: &mut Plan,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        put: &PutFields,
        content: &Content,
        foreseen: Foreseen,
    ) -> Result<(Version, bool), VaultError> {
        plan.hold(tenant, collection)?;
        if put.carried.is_none() {
            self.check_expiry(put)?;
        }
        let Foreseen { tokens, subjects, row, stored, states, unit: seen } = foreseen;
        let left = put.left_by();
        for (at, (token, state)) in subjects.iter().zip(states).enumerate() {
            match left.as_ref().filter(|_| at == 0) {
                Some(left) => self.plan_left_subject(plan, tenant, *token, state, left).await?,
                None => self.plan_subject(plan, caller, tenant, *token, state, put.new_relationship)?,
            }
        }

        let newer = if let Content::Inline(value) = content { Some(&value[..]) } else { None };
        let existing = self.existing_in(tenant, collection, &tokens, (stored, newer)).await?;
        let present = existing.as_ref().and_then(Existing::version);
        put.precondition.holds(present)?;
        plan.check(Space::Records, row.clone(), existing.as_ref().map_or(Expect::Absent, |record| unchanged(&record.header)));
        if let Some(live) = existing.as_ref().and_then(|record| record.live.as_ref()) {
            // What stood there would be gone.
            self.plan_overwritten(plan, tenant, collection, live, put.subjects.first()).await?;
            self.plan_unheld(plan, caller.into(), tenant, (collection.no, &tokens), &live.meta.subjects).await?;
        } else if let Some(closed) = &existing {
            self.plan_unclosed(plan, tenant, &closed.header).await?;
        }

        let reuse = match content {
            // A record that is about someone else from now on is sealed anew: the first one's shred must not take it along.
            Content::Inline(_) => existing.as_ref().and_then(|record| {
                record.live.as_ref().filter(|live| live.meta.subjects.first() == put.subjects.first()).map(|_| record.header.slot)
            }),
            Content::Manifest { unit, .. } => Some(unit.slot),
        };
        let whose = (subjects.first(), &tokens[..]);
        let unit = self.plan_unit_for(plan, tenant, collection, whose, (&row, content), left.as_ref(), (reuse, seen)).await?;

        let live = existing.as_ref().and_then(|record| record.live.as_ref());
        let now = self.inner.clock.now();
        let version = Version(self.inner.forest.lease(LeaseKind::Version).await?);
        let (value_len, manifest) = match content {
            Content::Inline(value) => (value.len() as u64, false),
            Content::Manifest { value_len, .. } => (*value_len, true),
        };
        let created_at = live.filter(|_| present.is_some()).map(|live| live.meta.created_at);
        let mut meta = put.meta(collection, value_len, created_at, now)?;
        let (known, before) = (self.events_over(tenant.no, collection, &meta).await?, live.and_then(|live| live.law.as_ref()));
        plan.check_all(&known.checks);
        let (end, kept) = match &put.carried {
            Some(carried) => (None, carried.kept.clone()),
            None => super::retention::admit(&collection.policy, &meta, content, now, before, &known.events)?,
        };
        meta.kept = kept;
        if let Some(law) = live.and_then(|live| live.waits_unlike(collection, &meta, &known.events)) {
            return Err(minimum::refusal(law, caller.principal.role(), None));
        }
        let header = RecordHeader {
            suite: self.inner.options.suite,
            flags: if manifest { FLAG_MANIFEST } else { 0 },
            slot: unit.slot,
            generation: unit.generation,
            version,
        };
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
        let meta = EncodedMeta::new(&meta).map_err(|_| VaultError::Limit(limits::METADATA_LEN))?;
        let body: &[u8] = match content {
            Content::Inline(value) => value,
            Content::Manifest { manifest, .. } => manifest,
        };
        // What the trail's tokens stand for: written with the first record of that key under that unit.
        let named = live.is_some()
            && existing.as_ref().is_some_and(|record| (record.header.slot, record.header.generation) == (unit.slot, unit.generation));
        // Of what an order has left, the trail names neither the key nor the person.
        let name = tokens.last().filter(|_| !named && left.is_none());
        let name = name.map(|token| NameRow::new(&self.inner.store_id, collection, unit, token, &put.key, &put.subjects));
        let suite = self.inner.options.suite;
        let seal = |key: &Key<Data>| (key.seal_record(&context, &meta, body), name.as_ref().map(|name| name.seal(key, suite)));
        let (sealed, name) = self.with_data(collection.unit, unit, collection.no, seal).await?;
        plan.put(Space::Records, row, sealed.into_row());
        plan.writes.extend(name);
        if let Content::Manifest { upload, .. } = content {
            plan.check(Space::Index, schema::upload(*upload), Expect::Present);
            plan.delete(Space::Index, schema::upload(*upload));
            plan.put(Space::Index, schema::unit_upload(tenant.no, unit.slot, *upload), collection.no.to_be_bytes().to_vec().into());
        }
        if existing.as_ref().is_some_and(|record| record.live.is_none()) {
            self.plan_index_of_dead(plan, tenant, collection, &tokens, &subjects).await?;
        }
        self.plan_index(plan, tenant, collection, &tokens, live, (&put.subjects, &subjects)).await?;
        self.plan_end(plan, (tenant, collection, &tokens), put, existing.as_ref(), (version, end)).await?;
        if let Some(existing) = &existing {
            self.plan_reclaim(plan, tenant, &existing.header, live)?;
        }
        let purpose = self.purpose_token(caller, tenant.no, collection.no).await?;
        let written = Target { purpose, ..target(&tokens, &header) };
        plan.entry(tenant.audit, entry(caller, tenant, Action::RecordWrite, collection.no, written));
        Ok((version, present.is_none()))
    }

    /// The unit that seals what is put: that of its record as it stands, if it may be used again, or the one that it is to have; of what an
    /// order of another store has left one of its own.
    async fn plan_unit_for(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        (subject, tokens): (Option<&Token>, &[Token]),
        (row, content): (&Bytes, &Content),
        left: Option<&Left>,
        (reuse, seen): (Option<Slot>, Looked),
    ) -> Result<UnitRef, VaultError> {
        let unit = match (left, content) {
            // The one that its rows are sealed under, which was made for it.
            (Some(_), Content::Manifest { unit, .. }) => *unit,
            (Some(left), Content::Inline(_)) => self.plan_left_unit(plan, tenant, collection, subject, tokens, left).await?,
            (None, _) => self.plan_unit(plan, tenant, collection, subject, tokens, reuse, seen).await?,
        };
        if left.is_some() {
            Self::plan_left_there(plan, collection, unit);
        }
        if let Content::Manifest { unit: sealed_under, .. } = content {
            // The rows are sealed already: their unit must still be the record's.
            if unit != *sealed_under {
                return Err(VaultError::Shredded { certificate: None });
            }
            if collection.policy.shred_unit == ShredUnit::Record {
                self.plan_lasting_unit(plan, row, unit).await?;
            }
        }
        Ok(unit)
    }

    /// Writes down when what is put ends; of what comes from another store as it was written down there.
    async fn plan_end(
        &self,
        plan: &mut Plan,
        (tenant, collection, tokens): (&Tenant, &Collection, &[Token]),
        put: &PutFields,
        existing: Option<&Existing>,
        (version, end): (Version, Option<End>),
    ) -> Result<(), VaultError> {
        let of = (tenant.no, collection.no, tokens);
        if let Some(carried) = &put.carried {
            // What an order has left is looked for again in any case, and so is what has an end of its own.
            let ends = put
                .left_by()
                .map(|left| left.until)
                .or(put.expires_at)
                .map(|at| Written::Ends(End { at, by_date: false, marks_for: Duration::ZERO }));
            return self.plan_written(plan, of, existing.is_none(), (version, carried.written.or(ends))).await;
        }
        // What nothing ends now and nothing could end before has no row; where rules were taken away, its day tells.
        let could_end = existing.is_some_and(Existing::could_end);
        let may_end = end.is_some() || collection.has_law || collection.policy.retention.schedule().is_some() || could_end;
        if !may_end {
            return Ok(());
        }
        let end = match (end, existing.filter(|existing| existing.version().is_some())) {
            // Another date, or another category, may bring the end forward: it is marked first.
            (Some(end), Some(existing)) if !end.marks_for.is_zero() => {
                let before = self.end_written_down(of, existing.header.version).await?;
                Some(end.known_since(self.inner.clock.now(), before))
            }
            (end, _) => end,
        };
        self.plan_due(plan, of, existing.is_none(), (version, end)).await
    }

    /// Plans a delete. Where the unit is the record, the order to shred it is written down in the same commit and returned, but by
    /// [`Plan::keeping_keys`].
    pub(super) async fn plan_delete(
        &self,
        plan: &mut Plan,
        actor: impl Into<Actor>,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        precondition: &Precondition,
        purpose: Option<PurposeToken>,
    ) -> Result<Option<Deferred>, VaultError> {
        let actor = actor.into();
        plan.hold(tenant, collection)?;
        let row = record_row(tenant, collection.no, tokens);
        let existing = self.existing(tenant, collection, tokens, &row).await?.ok_or(VaultError::NotFound(Missing::Record))?;
        let present = existing.version();
        let Some(live) = existing.live else { return Err(self.shredded_by(tenant.no, existing.header.slot).await?) };
        precondition.holds(present)?;
        self.plan_deleted(plan, actor, tenant, collection, &live).await?;
        // It would destroy the record's key. What rules end was decided by more than one; the tenant's row holds the plan to its policy.
        let is_shred = collection.policy.shred_unit == ShredUnit::Record && plan.is_asked();
        if is_shred && tenant.rules().asks_for(ShredScope::Record) {
            return Err(VaultError::Conflict(Conflict::ApprovalRequired));
        }
        self.plan_unheld(plan, actor, tenant, (collection.no, tokens), &live.meta.subjects).await?;
        if live.restricted_by().is_some() {
            Self::plan_kept_gone(plan, tenant.no, collection, &existing.header);
        }
        plan.check(Space::Records, row.clone(), unchanged(&existing.header));
        plan.delete(Space::Records, row.clone());
        self.plan_index(plan, tenant, collection, tokens, Some(&live), (&[], &[])).await?;
        self.plan_due(plan, (tenant.no, collection.no, tokens), false, (existing.header.version, None)).await?;
        self.plan_reclaim(plan, tenant, &existing.header, Some(&live))?;
        let deleted = Target { purpose, ..target(tokens, &existing.header) };
        plan.entry(tenant.audit, entry(actor, tenant, Action::RecordDelete, collection.no, deleted));
        if let Some(token) = tokens.last().filter(|_| existing.header.slot == collection.unit.slot) {
            // No one's own key seals this name, so no one's shred would end it: it goes with its record.
            let unit = (existing.header.slot, existing.header.generation);
            plan.delete(Space::Index, schema::trail_name(tenant.no, unit, collection.no, token));
        }
        if collection.policy.shred_unit != ShredUnit::Record || plan.keeps_keys {
            return Ok(None);
        }
        let units = self.units_ever_of(tenant.no, collection.no, tokens, &existing.header).await?;
        let scope = Scope::Record { collection: collection.no.0, row: row.to_vec(), units };
        let deferred = Deferred::of(&self.inner.seals, tenant.no, actor, &row, (scope, plan.report))?;
        plan.put(Space::Index, deferred.row.key.clone(), deferred.row.value.clone());
        Ok(Some(deferred))
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
                let upload =
                    if header.is_manifest() { Some(Manifest::parse(opened.value.expose()).map_err(damaged)?.upload) } else { None };
                let Known { events, checks: known } = match self.events_over(tenant.no, collection, &opened.meta).await {
                    // Whom an order is about to take: a law whose date is not known keeps.
                    Err(VaultError::Shredded { .. }) => Known::default(),
                    known => known?,
                };
                let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
                let now = self.inner.clock.now();
                let expired = super::due::is_over(collection, &opened.meta, value, &events, now);
                let (law, restricted) = minimum::weighed(collection, &opened.meta, (value, newer), &events, now);
                let unreported = minimum::unreported(collection, &opened.meta, &events);
                Some(Live { meta: opened.meta, upload, expired, law, unreported, restricted, known })
            }
            Err(VaultError::Shredded { .. }) => None,
            Err(other) => return Err(other),
        };
        Ok(Some(Existing { header, live }))
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

    /// Removes from the subject index what the rows of those whom a record is to name still say of one that stood there and that nobody
    /// can read any more, before they are written anew. What others' rows say of it, goes when it is reclaimed.
    async fn plan_index_of_dead(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
        subjects: &[Token],
    ) -> Result<(), VaultError> {
        for token in subjects {
            let row = self.inner.store.get(Space::Index, &schema::subject_record(tenant.no, token, collection.no, tokens)).await?;
            plan.delete(Space::Index, schema::secondary_record(tenant.no, token, collection.no, tokens));
            for other in row.iter().flat_map(|row| schema::named_besides(row)) {
                plan.delete(Space::Index, schema::subject_record(tenant.no, &other, collection.no, tokens));
                plan.delete(Space::Index, schema::secondary_record(tenant.no, &other, collection.no, tokens));
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

    /// Commits a plan: new units and returning subjects to the control store, then the rest to the data store, each with its
    /// audit entries.
    pub(super) async fn commit_plan(&self, plan: Plan, urgency: Urgency) -> Result<Vec<Receipt>, VaultError> {
        self.commit_plan_of(None, plan, urgency).await
    }

    /// The same on the word of a caller, whose credential must still hold ([`Vault::commit_for`]).
    pub(super) async fn commit_plan_for(&self, caller: &Caller, plan: Plan, urgency: Urgency) -> Result<Vec<Receipt>, VaultError> {
        self.commit_plan_of(Some(caller), plan, urgency).await
    }

    async fn commit_plan_of(&self, caller: Option<&Caller>, mut plan: Plan, urgency: Urgency) -> Result<Vec<Receipt>, VaultError> {
        let emptied = self.settle_kept(&mut plan).await?;
        let Plan { checks, writes, entries, opened, returned, first_due, defers, .. } = plan;
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency };
        let receipts = if opened.is_empty() {
            self.commit_of(caller, Trail::Data, commit, entries).await
        } else {
            let (checks, writes) = opened.into_iter().unzip();
            self.commit_any(caller, Some((Before { checks, writes, tail: None }, returned)), Trail::Data, commit, entries).await
        };
        // Behind the commit, whatever is known of it: who looks before the rows are there finds nothing, and is not told again.
        if defers {
            self.inner.shredder.deferred.store(true, Ordering::Release);
        }
        self.inner.next_due.at(&first_due);
        if receipts.is_ok() {
            self.look_at_emptied(emptied).await;
        }
        receipts
    }

    /// Commits what the store does by itself, or goes on with, with audit entries made in the same commit.
    pub(super) async fn commit(&self, trail: Trail, commit: Commit, entries: Vec<(UnitRef, Entry)>) -> Result<Vec<Receipt>, VaultError> {
        self.commit_of(None, trail, commit, entries).await
    }

    /// The same on the word of a caller. Its credential was looked at when the request began, and a body may have taken its time
    /// since: here it must still hold, in the order of the commits, so that a revocation that is answered is never overtaken.
    ///
    /// # Errors
    /// [`VaultError::Unauthenticated`], on the record as any credential that is refused, if it was revoked or has ended meanwhile;
    /// [`Conflict::ApprovalOver`] where what it approves has waited too long by now.
    pub(super) async fn commit_for(
        &self,
        caller: &Caller,
        trail: Trail,
        commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        self.commit_of(Some(caller), trail, commit, entries).await
    }

    /// Either.
    pub(super) async fn commit_of(
        &self,
        caller: Option<&Caller>,
        trail: Trail,
        commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        self.commit_any(caller, None, trail, commit, entries).await
    }

    /// The same, behind rows of the control store with entries of their own.
    async fn commit_any(
        &self,
        caller: Option<&Caller>,
        before: Option<(Before, Vec<(UnitRef, Entry)>)>,
        trail: Trail,
        mut commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        if let Some(caller) = caller {
            if caller.principal.has_ended(self.inner.clock.now()) {
                return Err(self.holds_no_more(caller).await?);
            }
            if caller.until.is_some_and(|until| until <= self.inner.clock.now()) {
                return Err(VaultError::Conflict(Conflict::ApprovalOver));
            }
            // The first, so that its failure is told from any other's.
            let token = schema::access_token(caller.principal.token());
            commit.checks.insert(0, Check { space: Space::Control, key: token, expect: Expect::Present });
        }
        let (tail, mut pending) = self.tail_of(trail, entries).await?;
        commit.tail = tail;
        let stored = match before {
            None => self.inner.store.commit(commit).await,
            Some((mut before, entries)) => {
                let (tail, more) = self.tail_of(Trail::Control, entries).await?;
                before.tail = tail;
                pending.extend(more);
                self.inner.store.commit_behind(before, commit).await
            }
        };
        if let (Some(caller), Err(StoreError::Conflict(0))) = (caller, &stored) {
            return Err(self.holds_no_more(caller).await?);
        }
        stored?;
        pending.into_iter().map(|receipt| receipt.settle().map_err(VaultError::from)).collect()
    }

    /// The tail that brings a commit's entries, and what becomes their receipts: entries of one trail that follow each other
    /// share a row, and a receipt.
    async fn tail_of(
        &self,
        trail: Trail,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<(Option<Box<dyn Tail>>, Vec<PendingReceipt>), VaultError> {
        let mut tails: Vec<Box<dyn Tail>> = Vec::new();
        let mut pending = Vec::new();
        let mut entries = entries.into_iter().peekable();
        while let Some((unit, first)) = entries.next() {
            let tenant = first.tenant;
            let mut run = vec![first];
            while let Some((_, entry)) = entries.next_if(|(of, entry)| (*of, entry.tenant) == (unit, tenant)) {
                run.push(entry);
            }
            let (tail, receipt) = self.inner.audit.tail_of_run(trail, unit, run).await?;
            tails.push(tail);
            pending.push(receipt);
        }
        let tail = match tails.len() {
            0 | 1 => tails.pop(),
            _ => Some(Box::new(Tails(tails)) as Box<dyn Tail>),
        };
        Ok((tail, pending))
    }
}

/// Several entries in one commit.
struct Tails(Vec<Box<dyn Tail>>);

impl Tail for Tails {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        let mut rows = Vec::with_capacity(self.0.len());
        for made in 0..self.0.len() {
            match self.0.get_mut(made).map(|tail| tail.rows()) {
                Some(Ok(more)) => rows.extend(more),
                Some(Err(error)) => {
                    // Those made so far go back, the last one first.
                    for tail in self.0.iter_mut().take(made).rev() {
                        tail.settled(false);
                    }
                    return Err(error);
                }
                None => {}
            }
        }
        Ok(rows)
    }

    fn settled(&mut self, stored: bool) {
        if stored {
            self.0.iter_mut().for_each(|tail| tail.settled(true));
        } else {
            self.0.iter_mut().rev().for_each(|tail| tail.settled(false));
        }
    }

    fn refused(&mut self, error: &StoreError) {
        self.0.iter_mut().for_each(|tail| tail.refused(error));
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
