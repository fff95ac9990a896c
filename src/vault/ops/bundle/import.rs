//! Importing a tenant: a bundle's frames, in the order that they have, into a tenant that serves nothing until all of them are there.
//!
//! The frames may come in any number of requests. How far the import has come is written in the commits of the records themselves, so what
//! breaks off goes on behind the last frame that is there, and no record is there twice. What lies in the control store, collections,
//! persons, what was reported of them, and holds, is made again where it is there already, which changes nothing. The tenant is in use with
//! one last commit, once the trailer agrees with all that came.
//!
//! A record is here as it was there: with its times, and what is written down of its end. Versions are new, and so is every key. Of whom
//! the bundle tells anything but what an order has left, the person was there: one who is erased by what came before is known anew.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::Fuse};

use super::{
    BundleError, Checker, Frame, Frames, Kind, Part, Progress, Way,
    checker::Counts,
    documents::{CollectionDoc, DueDoc, EventsDoc, GovernedDoc, Header, HoldDoc, JoinedDoc, KeptDoc, LeftBy, PersonDoc, RecordDoc},
};
use crate::{
    authz::TenantImport,
    domain::{
        BundleId, CollectionName, CollectionNo, CustomPairs, RecordKey, Retention, ShredId, SubjectId, TenantName, limits,
        record::{is_custom_name, is_media_type},
        retention::{
            Events, Governed, Kept,
            events::{Joined, Report},
        },
    },
    vault::{
        audit::{Action, Target, Trail},
        ops::{
            Body, Caller, Missing, Precondition, TenantView, Unprocessable, Vault, VaultError,
            access::InTenant,
            aliases::NewAlias,
            blob::{Incoming, Received},
            directory::{Collection, Tenant},
            due::{End, Written},
            foresee::{FORESEEN, Wanted},
            plan::{Carried, Content, Plan, PutFields, entry, object, retrying},
            refused::Place,
            rows::{ApprovalRulesRow, CollectionText, ImportRow, State, TenantRow},
        },
        store::{Commit, Durability, Expect, Space, Urgency, schema},
    },
};

/// Bytes of values that are committed together.
const BATCH_LEN: usize = 1024 * 1024;
/// Bytes of a refused request that are read all the same.
const DRAINED_LEN: usize = 16 * 1024 * 1024;
/// Frames after which it is written down how far the import has come, where nothing else is.
const SAVED_EVERY: u64 = 1_024;

/// How far an import has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportView {
    /// The bundle.
    pub bundle: BundleId,
    /// The number of its next frame, from 0.
    pub next: u64,
    /// The running hash over those before it, in hexadecimal.
    pub chain: String,
    /// Records among them.
    pub records: u64,
}

/// Frames of a bundle that follow each other.
pub struct ImportPart {
    /// Which bundle's.
    pub bundle: BundleId,
    /// The number of the first.
    pub from: u64,
    /// They themselves.
    pub body: Body,
}

impl Vault {
    /// Takes in frames of a bundle; with the last one the tenant is in use. Those that are there already are passed over.
    ///
    /// # Errors
    /// What came whole before is kept. [`Unprocessable::Bundle`], [`Unprocessable::BundleRule`], [`Unprocessable::ImportGap`],
    /// [`Unprocessable::OtherBundle`]; [`Conflict::NotImporting`](super::super::Conflict::NotImporting); [`VaultError::Body`].
    pub async fn import_tenant(&self, caller: &Caller, name: &TenantName, part: ImportPart) -> Result<TenantView, VaultError> {
        let caller = &Caller { purpose: None, ..caller.begin() };
        let ImportPart { bundle, from, body } = part;
        let mut arriving = Arriving { body: body.fuse(), frames: Frames::default(), skip: 0, was_sealed: false };
        let imported = self.import_part(caller, name, (bundle, from), &mut arriving);
        let imported = self.on_record(caller, Place::tenant(name), Action::TenantImport, imported).await;
        if imported.is_err() {
            arriving.drain().await;
        }
        imported
    }

    async fn import_part(
        &self,
        caller: &Caller,
        name: &TenantName,
        (bundle, from): (BundleId, u64),
        arriving: &mut Arriving,
    ) -> Result<TenantView, VaultError> {
        let InTenant { tenant, .. } = self.in_importing::<TenantImport>(caller, name).await?;
        let stored = self.import_row(&tenant).await?;
        if stored.as_ref().is_some_and(|(row, _)| row.bundle != bundle.0) {
            return Err(Unprocessable::OtherBundle.into());
        }
        let next = stored.as_ref().map_or(0, |(row, _)| row.next);
        arriving.skip = next.checked_sub(from).ok_or(Unprocessable::ImportGap { next })?;
        let begun = entry(caller, &tenant, Action::TenantImport, CollectionNo::TENANT, object(bundle.0));
        self.read_receipt(&tenant, begun).await?;
        let mut import = Import::new(self, caller, &tenant, bundle, stored);
        let taken = import.take(arriving).await;
        // Whatever came behind it, what came whole is kept.
        let kept = import.flush().await;
        taken.and(kept)?;
        if import.checker.is_over() {
            import.complete().await?;
        }
        let tenant = self.find_tenant(name).await?.ok_or(VaultError::NotFound(Missing::Tenant))?;
        let view = self.import_view(&tenant).await?;
        Ok(TenantView { import: view, ..TenantView::of(&tenant, self.inner.clock.now()) })
    }

    /// How far a tenant's import has come, if it is, or was, imported.
    pub(in crate::vault::ops) async fn import_view(&self, tenant: &Tenant) -> Result<Option<ImportView>, VaultError> {
        let Some((row, _)) = self.import_row(tenant).await? else { return Ok(None) };
        let records = Counts::from_numbers(&row.counts).records();
        Ok(Some(ImportView { bundle: BundleId(row.bundle), next: row.next, chain: hex::encode(row.chain), records }))
    }

    async fn import_row(&self, tenant: &Tenant) -> Result<Option<(ImportRow, Bytes)>, VaultError> {
        let key = schema::tenant_import(tenant.no);
        let Some(stored) = self.inner.store.get(Space::Index, &key).await? else { return Ok(None) };
        Ok(Some((self.inner.seals.open(&key, &stored)?, stored)))
    }

    /// Commits records, and how far the import has come with them. Returns the stored row that says so.
    async fn carry_once(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: Option<&Collection>,
        batch: &[Carry],
        (row, before): (&ImportRow, Option<&Bytes>),
    ) -> Result<Bytes, VaultError> {
        let mut plan = Plan::default();
        if let Some(collection) = collection.filter(|_| !batch.is_empty()) {
            let wanted: Vec<Wanted<'_>> =
                batch.iter().map(|carry| Wanted { key: &carry.fields.key, subjects: &carry.fields.subjects }).collect();
            let seen = self.foresee(tenant, collection, &wanted).await?;
            for (carry, seen) in batch.iter().zip(seen) {
                self.plan_foreseen(&mut plan, caller, tenant, collection, &carry.fields, &carry.content, seen).await?;
            }
        } else {
            plan.check(Space::Control, schema::tenant(tenant.no), Expect::Equals(tenant.row.clone()));
        }
        let key = schema::tenant_import(tenant.no);
        let stored = self.inner.seals.seal(&key, row)?;
        plan.check(Space::Index, key.clone(), before.map_or(Expect::Absent, |before| Expect::Equals(before.clone())));
        plan.put(Space::Index, key, stored.clone());
        self.commit_plan_for(caller, plan, Urgency::Normal).await?;
        Ok(stored)
    }

    /// Makes a collection, if it is not there.
    async fn carry_collection(&self, caller: &Caller, tenant: &Tenant, doc: &CollectionDoc) -> Result<(), VaultError> {
        let name = CollectionName::parse(&doc.collection).map_err(Unprocessable::from)?;
        let mut policy = doc.policy.clone();
        if matches!(policy.retention, Retention::Stated(_)) {
            // Of an earlier build, without an effect; a new policy must not have it.
            policy.retention = Retention::UntilDeleted;
        }
        policy.validate().map_err(Unprocessable::from)?;
        let mut text = CollectionText::new(doc.collection.clone(), policy);
        // Whatever the clock of the source said: no rules here have changed later than now, nor one before those that they came behind.
        let (was, now) = (doc.retention_was.iter(), self.inner.clock.now());
        text.past.retention_was = was.map(|was| (was.until.min(now).0, was.retention.clone(), was.categories.clone())).collect();
        if !text.past.retention_was.is_sorted_by_key(|(until, ..)| *until) {
            return Err(BundleError::Form(Kind::Collection).into());
        }
        // Each came behind some rules, and behind the bypass before it.
        let numbers = 1..=text.past.retention_was.len();
        let is_one = |by: &u32| usize::try_from(*by).is_ok_and(|by| numbers.contains(&by));
        if !doc.bypassed.iter().all(is_one) || !doc.bypassed.is_sorted_by(|one, other| one < other) {
            return Err(BundleError::Form(Kind::Collection).into());
        }
        text.past.bypassed.clone_from(&doc.bypassed);
        let len = serde_json::to_vec(&text.past.retention_was).map_or(usize::MAX, |json| json.len());
        if len as u64 > limits::PAST_RETENTION_LEN.max {
            return Err(VaultError::Limit(limits::PAST_RETENTION_LEN));
        }
        retrying(|| async {
            match self.find_collection(tenant.no, &name).await? {
                Some(found) if found.policy == text.policy => Ok(()),
                Some(_) => Err(BundleError::Form(Kind::Collection).into()),
                None => self.make_collection(caller, tenant, text.clone(), None).await.map(drop),
            }
        })
        .await
    }

    /// Gives a person all ids.
    async fn carry_person(&self, caller: &Caller, tenant: &Tenant, doc: &PersonDoc) -> Result<(), VaultError> {
        let parsed = |id: &String| SubjectId::parse(id).map_err(Unprocessable::from);
        let subject = parsed(&doc.subject)?;
        for alias in &doc.aliases {
            let new = NewAlias { subject: subject.clone(), alias: parsed(alias)?, with_records: true, new_relationship: true };
            retrying(|| self.add_to(caller, tenant, &new, None)).await?;
        }
        Ok(())
    }

    /// Has known of a person what was reported there, as of when it was reported.
    async fn carry_reports(&self, caller: &Caller, tenant: &Tenant, doc: EventsDoc) -> Result<(), VaultError> {
        let EventsDoc { subject, reports, joined: others } = doc;
        let subject = SubjectId::parse(&subject).map_err(Unprocessable::from)?;
        if others.len() as u64 > limits::SUBJECT_ALIASES.max {
            return Err(VaultError::Limit(limits::SUBJECT_ALIASES));
        }
        let mut joined = Vec::with_capacity(others.len());
        for JoinedDoc { id, at, no, reports } in others {
            let id = self.token_of(tenant.no, &SubjectId::parse(&id).map_err(Unprocessable::from)?).await?;
            let reports = reported(Kind::Events, reports)?;
            if reports.last_no() >= no {
                return Err(BundleError::Form(Kind::Events).into());
            }
            joined.push(Joined { id, at, no, reports: reports.reports().to_vec() });
        }
        let events = reported(Kind::Events, reports)?.with_joined(joined);
        if events.count() == 0 {
            return Err(BundleError::Form(Kind::Events).into());
        }
        retrying(|| self.carry_events(caller, tenant, &subject, &events)).await
    }
}

/// A record on its way in.
struct Carry {
    fields: PutFields,
    content: Content,
}

/// Frames as they arrive.
struct Arriving {
    /// Asked again at its end, where a refusal reads on.
    body: Fuse<Body>,
    frames: Frames,
    /// So many are there already.
    skip: u64,
    /// Whether the last of those was sealed, and comes opened next.
    was_sealed: bool,
}

impl Arriving {
    /// The next frame that is not there yet; `None` at the end.
    async fn frame(&mut self) -> Result<Option<Frame>, VaultError> {
        loop {
            while let Some(frame) = self.frames.take_frame()? {
                let is_opened = frame.kind == Kind::Opened;
                if self.skip == 0 && !(self.was_sealed && is_opened) {
                    self.was_sealed = false;
                    return Ok(Some(frame));
                }
                if !is_opened {
                    self.skip = self.skip.saturating_sub(1);
                }
                self.was_sealed = frame.kind.is_sealed();
            }
            match self.body.next().await {
                Some(piece) => self.frames.feed(&piece?),
                None if self.frames.is_empty() => return Ok(None),
                None => return Err(BundleError::Cut.into()),
            }
        }
    }

    /// Reads on and forgets, within bounds: who is still sending when the refusal comes would find a broken connection instead of it.
    async fn drain(&mut self) {
        let mut left = DRAINED_LEN;
        while let Some(Ok(piece)) = self.body.next().await {
            let Some(rest) = left.checked_sub(piece.len()) else { return };
            left = rest;
        }
    }

    /// The next frame, where one must come.
    async fn needed(&mut self) -> Result<Frame, VaultError> {
        Ok(self.frame().await?.ok_or(BundleError::Cut)?)
    }
}

/// The parts of a large value, as their frames arrive.
struct Parts<'a> {
    checker: &'a mut Checker,
    arriving: &'a mut Arriving,
    is_gone: bool,
}

impl Incoming for Parts<'_> {
    async fn part(&mut self) -> Result<Option<Bytes>, VaultError> {
        while self.checker.is_within() {
            let frame = self.arriving.needed().await?;
            let part = self.checker.take(&frame)?;
            if let Part::Value(part) = part {
                return Ok(Some(part));
            }
            // What is sealed comes opened next.
            if !matches!(part, Part::Sealed(_)) {
                self.is_gone = true;
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// An import under way.
struct Import {
    vault: Vault,
    caller: Caller,
    /// As if it were in use, which it is to nobody else.
    tenant: Arc<Tenant>,
    bundle: BundleId,
    create_on_write: bool,
    /// What is to take two persons, once the tenant is there.
    approvals: Option<ApprovalRulesRow>,
    checker: Checker,
    /// How far all is there, or in the batch.
    whole: Progress,
    /// How far that is written down, and the row that says so.
    saved: Progress,
    row: Option<Bytes>,
    /// Records of one collection, to be committed together.
    batch: Vec<Carry>,
    batch_len: usize,
    keys: HashSet<RecordKey>,
    collection: Option<Arc<Collection>>,
}

impl Import {
    fn new(vault: &Vault, caller: &Caller, tenant: &Tenant, bundle: BundleId, stored: Option<(ImportRow, Bytes)>) -> Self {
        let (saved, create_on_write, approvals, row) = match stored {
            None => (Progress::default(), false, None, None),
            Some((ImportRow { bundle: _, next, chain, rank, counts, create_on_write, approvals }, row)) => {
                (Progress { next, chain, rank, counts: Counts::from_numbers(&counts) }, create_on_write, approvals, Some(row))
            }
        };
        Self {
            vault: vault.clone(),
            caller: caller.clone(),
            tenant: Arc::new(Tenant { state: State::Active, ..tenant.clone() }),
            bundle,
            create_on_write,
            approvals,
            checker: Checker::new(Way::Wire, saved.clone()),
            whole: saved.clone(),
            saved,
            row,
            batch: Vec::new(),
            batch_len: 0,
            keys: HashSet::new(),
            collection: None,
        }
    }

    /// Takes in all frames that arrive.
    async fn take(&mut self, arriving: &mut Arriving) -> Result<(), VaultError> {
        while let Some(frame) = arriving.frame().await? {
            let part = self.checker.take(&frame)?;
            self.take_part(part, arriving).await.map_err(|error| in_frame(frame.kind, error))?;
            if !self.checker.is_within() {
                self.whole = self.checker.progress().clone();
            }
            if self.whole.next.saturating_sub(self.saved.next) >= SAVED_EVERY {
                self.flush().await?;
            }
        }
        // Half a record, or a sealed frame without what is in it, is not taken in.
        if self.checker.is_within() { Err(BundleError::Cut.into()) } else { Ok(()) }
    }

    async fn take_part(&mut self, part: Part, arriving: &mut Arriving) -> Result<(), VaultError> {
        match part {
            Part::Header(header) => self.begin(&header),
            Part::Collection(doc) => {
                let (vault, caller, tenant) = self.handles();
                self.vault.to_the_end(async move { vault.carry_collection(&caller, &tenant, &doc).await }).await
            }
            Part::Record(doc) => self.record(doc, arriving).await,
            Part::Person(doc) => {
                self.flush().await?;
                let (vault, caller, tenant) = self.handles();
                self.vault.to_the_end(async move { vault.carry_person(&caller, &tenant, &doc).await }).await
            }
            Part::Events(doc) => self.events(doc).await,
            Part::Hold(doc) => self.hold(doc).await,
            // What is sealed comes opened next; a part of a value is taken with its record.
            Part::Value(_) | Part::Gone | Part::Sealed(_) => Ok(()),
            // Evidence of the other store: it stays in the bundle.
            Part::Grant(_) | Part::Certificate(_) | Part::Head(_) | Part::Entry(_) | Part::Trailer(_) => Ok(()),
        }
    }

    fn handles(&self) -> (Vault, Caller, Arc<Tenant>) {
        (self.vault.clone(), self.caller.clone(), self.tenant.clone())
    }

    fn begin(&mut self, header: &Header) -> Result<(), VaultError> {
        if header.bundle.parse::<BundleId>() != Ok(self.bundle) {
            return Err(BundleError::Form(Kind::Header).into());
        }
        self.create_on_write = header.create_collections_on_write;
        if let Some(rules) = header.approvals {
            let is_known = u64::from(rules.window.days()) <= limits::APPROVAL_WINDOW.max;
            self.approvals = ApprovalRulesRow::of(rules, 0).filter(|_| is_known);
            if self.approvals.is_none() {
                return Err(BundleError::Form(Kind::Header).into());
            }
        }
        Ok(())
    }

    /// Behind all records, so that a run which goes by the reports at once meets them all.
    async fn events(&mut self, doc: EventsDoc) -> Result<(), VaultError> {
        if !self.batch.is_empty() {
            self.flush().await?;
        }
        let (vault, caller, tenant) = self.handles();
        self.vault.to_the_end(async move { vault.carry_reports(&caller, &tenant, doc).await }).await
    }

    async fn hold(&mut self, doc: HoldDoc) -> Result<(), VaultError> {
        self.flush().await?;
        let (vault, caller, tenant) = self.handles();
        self.vault.to_the_end(async move { vault.carry_hold(&caller, &tenant, &doc).await }).await
    }

    /// Takes in a record with its value.
    async fn record(&mut self, doc: RecordDoc, arriving: &mut Arriving) -> Result<(), VaultError> {
        let (len, max) = (doc.value_len, self.vault.inner.options.value_len_bytes);
        if len > max {
            return Err(VaultError::Limit(limits::Limit { max, ..limits::VALUE_LEN }));
        }
        self.enter(&doc.collection).await?;
        let fields = fields_of(doc)?;
        if len > limits::INLINE_VALUE_LEN.max {
            return self.large(fields, arriving).await;
        }
        let mut value = BytesMut::with_capacity(usize::try_from(len).unwrap_or(0));
        while self.checker.is_within() {
            let frame = arriving.needed().await?;
            let part = self.checker.take(&frame)?;
            if let Part::Value(part) = part {
                value.extend_from_slice(&part);
            } else if !matches!(part, Part::Sealed(_)) {
                return Ok(());
            }
            // What is sealed comes opened next.
        }
        let is_full = self.batch.len() >= FORESEEN || self.batch_len.saturating_add(value.len()) > BATCH_LEN;
        // Whom a record of the batch erases is known anew by one behind it.
        let erases = |carry: &Carry| carry.fields.erases().is_some_and(|first| fields.subjects.contains(first));
        let returns = fields.erases().is_none() && self.batch.iter().any(erases);
        if is_full || returns || self.keys.contains(&fields.key) {
            self.flush().await?;
        }
        self.batch_len = self.batch_len.saturating_add(value.len());
        self.keys.insert(fields.key.clone());
        self.batch.push(Carry { fields, content: Content::Inline(value.freeze()) });
        Ok(())
    }

    /// Takes in a record with a large value, in a commit of its own.
    async fn large(&mut self, fields: PutFields, arriving: &mut Arriving) -> Result<(), VaultError> {
        self.flush().await?;
        let Some(collection) = self.collection.clone() else { return Err(VaultError::NotFound(Missing::Collection)) };
        let mut parts = Parts { checker: &mut self.checker, arriving, is_gone: false };
        let received = self.vault.receive_large(&self.caller, &self.tenant, &collection, &fields, &mut parts).await?;
        let is_gone = parts.is_gone;
        let Received { content, id, live: _live } = received;
        if is_gone {
            self.vault.drop_upload(id).await;
            return Ok(());
        }
        self.whole = self.checker.progress().clone();
        self.batch.push(Carry { fields, content });
        let kept = self.flush().await;
        if kept.is_err() {
            self.vault.drop_upload(id).await;
        }
        kept
    }

    /// Goes on in a collection.
    async fn enter(&mut self, name: &str) -> Result<(), VaultError> {
        if self.collection.as_ref().is_some_and(|known| known.name.as_str() == name) {
            return Ok(());
        }
        self.flush().await?;
        let name = CollectionName::parse(name).map_err(Unprocessable::from)?;
        let found = self.vault.find_collection(self.tenant.no, &name).await?;
        // The bundle has told of it before.
        self.collection = Some(found.ok_or(BundleError::Order(Kind::Record))?);
        Ok(())
    }

    /// Commits the batch, and how far the import has come with it.
    async fn flush(&mut self) -> Result<(), VaultError> {
        if self.batch.is_empty() && self.whole.next == self.saved.next {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.batch_len = 0;
        self.keys.clear();
        let Progress { next, chain, rank, counts } = &self.whole;
        let row = ImportRow {
            bundle: self.bundle.0,
            next: *next,
            chain: *chain,
            rank: *rank,
            counts: counts.to_numbers(),
            create_on_write: self.create_on_write,
            approvals: self.approvals,
        };
        let ((vault, caller, tenant), collection, before) = (self.handles(), self.collection.clone(), self.row.clone());
        let carried = async move {
            let said = (&row, before.as_ref());
            retrying(|| vault.carry_once(&caller, &tenant, collection.as_deref(), &batch, said)).await
        };
        match self.vault.to_the_end(carried).await {
            Ok(row) => {
                self.row = Some(row);
                self.saved = self.whole.clone();
                Ok(())
            }
            Err(error) => {
                // What was in the batch is not there: nothing may say that it is.
                self.whole = self.saved.clone();
                Err(error)
            }
        }
    }

    /// The tenant is in use from here on.
    async fn complete(&self) -> Result<(), VaultError> {
        let (vault, caller, tenant) = self.handles();
        let count = u32::try_from(self.whole.counts.records()).ok();
        let target = Target { object: Some(self.bundle.0), count, ..Target::default() };
        // From now on: whoever is to be a second person here has a token that is made from now on.
        let since = self.vault.inner.clock.now().0;
        let (create_on_write, approvals) = (self.create_on_write, self.approvals.map(|rules| ApprovalRulesRow { since, ..rules }));
        let completed = async move {
            let (key, seals) = (schema::tenant(tenant.no), &vault.inner.seals);
            let row = TenantRow { state: State::Active, create_on_write, approvals, ..seals.open(&key, &tenant.row)? };
            let commit = Commit {
                checks: vec![tenant.check()],
                writes: vec![seals.put(key, &row)?],
                tail: None,
                durability: Durability::Synced,
                urgency: Urgency::Normal,
            };
            let mut entries = vec![(tenant.audit, entry(&caller, &tenant, Action::TenantImport, CollectionNo::TENANT, target))];
            if approvals.is_some() {
                entries.push((tenant.audit, entry(&caller, &tenant, Action::PolicyWrite, CollectionNo::TENANT, Target::default())));
            }
            let committed = vault.commit_for(&caller, Trail::Control, commit, entries).await;
            vault.inner.directory.forget_tenant(&tenant.name);
            committed?;
            // What is due has waited for this.
            vault.is_due_at(vault.inner.clock.now());
            Ok(())
        };
        self.vault.to_the_end(completed).await
    }
}

/// What a record says besides its value.
fn fields_of(doc: RecordDoc) -> Result<PutFields, VaultError> {
    let RecordDoc {
        collection: _,
        key,
        content_type,
        subjects,
        created_at,
        modified_at,
        expires_at,
        custom,
        value_len: _,
        rules_no,
        reports_no,
        due,
        kept,
        governed,
    } = doc;
    let CustomPairs(custom) = custom;
    if subjects.len() as u64 > limits::SUBJECTS_PER_RECORD.max {
        return Err(VaultError::Limit(limits::SUBJECTS_PER_RECORD));
    }
    if content_type.len() as u64 > limits::CONTENT_TYPE_LEN.max {
        return Err(VaultError::Limit(limits::CONTENT_TYPE_LEN));
    }
    if !is_media_type(&content_type) || !custom.iter().all(|(name, _)| is_custom_name(name)) {
        return Err(BundleError::Form(Kind::Record).into());
    }
    let written = due.map(|due| match due {
        DueDoc::Ends { at, marks_at, by_date } => {
            Written::Ends(End { at, by_date, marks_for: marks_at.map_or(Duration::ZERO, |marked| at.since(marked)) })
        }
        DueDoc::Endless { since } => Written::Endless(since),
    });
    let (kept, is_erased, events) = match kept.map(kept_of).transpose()? {
        None => (None, false, Events::default()),
        Some((kept, is_erased, events)) => (Some(kept), is_erased, events),
    };
    let governed = governed.map(governed_of).transpose()?;
    let carried = Carried { created_at, modified_at, rules_no, reports_no, written, kept, governed, is_erased, events };
    Ok(PutFields {
        key: RecordKey::parse(&key).map_err(Unprocessable::from)?,
        content_type,
        subjects: subjects.iter().map(|id| SubjectId::parse(id)).collect::<Result<_, _>>().map_err(Unprocessable::from)?,
        expires_at,
        custom,
        precondition: Precondition::None,
        new_relationship: true,
        carried: Some(carried),
    })
}

/// What a law keeps a record for; whether its person is erased where it is from, and what the order that has left it remembers.
fn kept_of(doc: KeptDoc) -> Result<(Kept, bool, Events), VaultError> {
    let malformed = || VaultError::from(BundleError::Form(Kind::Record));
    let KeptDoc { rule, basis, until, left_by } = doc;
    if basis.len() as u64 > limits::BASIS_LEN.max {
        return Err(malformed());
    }
    let (restricted_by, is_erased, events) = match left_by {
        None => (None, false, Events::default()),
        Some(LeftBy { order, is_erased, as_of, reports }) => {
            let order = order.parse::<ShredId>().map_err(|_| malformed())?;
            (Some(order), is_erased, reported(Kind::Record, reports)?.or_at(as_of))
        }
    };
    // Zeros stand for none.
    if restricted_by == Some(ShredId([0; 16])) {
        return Err(malformed());
    }
    Ok((Kept { rule, basis, until, restricted_by }, is_erased, events))
}

/// The same until somebody bypasses it.
fn governed_of(doc: GovernedDoc) -> Result<Governed, VaultError> {
    let GovernedDoc { rule, basis, until, rules_no } = doc;
    if basis.len() as u64 > limits::BASIS_LEN.max {
        return Err(BundleError::Form(Kind::Record).into());
    }
    Ok(Governed { rule, basis, until, rules_no })
}

/// What some reports say. Their times are as they were, also where the clock of the source was ahead: the times of records are so, too. So
/// are their numbers: which of two reports stood when a record was written must not be told otherwise here.
fn reported(kind: Kind, reports: Vec<Report>) -> Result<Events, VaultError> {
    // Of all ids of a person together: what came with one stays where that is taken away.
    let most = limits::SUBJECT_EVENTS.max.saturating_mul(limits::SUBJECT_ALIASES.max.saturating_add(1));
    if reports.len() as u64 > most {
        return Err(VaultError::Limit(limits::SUBJECT_EVENTS));
    }
    if !reports.is_sorted_by(|one, next| one.reported_at <= next.reported_at && one.no <= next.no) {
        return Err(BundleError::Form(kind).into());
    }
    Ok(Events::of(reports))
}

/// A rule that something in a bundle breaks, with the kind of frame that it is in.
fn in_frame(kind: Kind, error: VaultError) -> VaultError {
    if let VaultError::Unprocessable(rule) = error {
        let is_told = matches!(rule, Unprocessable::Bundle(_));
        if is_told { rule.into() } else { Unprocessable::BundleRule { kind, source: Box::new(rule) }.into() }
    } else {
        error
    }
}
