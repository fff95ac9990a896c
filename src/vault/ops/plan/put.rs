//! Planning a put: what is written under a key, whoever it comes from, the unit that seals it, and what stood there before.

use std::time::Duration;

use bytes::Bytes;

use super::{
    super::{
        Caller, Precondition, Vault, VaultError,
        directory::{Collection, Tenant},
        due::{End, Written},
        foresee::{Foreseen, Looked, Wanted},
        minimum,
        names::NameRow,
        restricted::Left,
        retention::{self, KeptOn, LawBefore},
    },
    Existing, Plan, entry, target, unchanged,
};
use crate::{
    domain::{
        RecordKey, RecordMeta, ShredUnit, Slot, SubjectId, Timestamp, UploadId, Version, limits,
        retention::{Events, Governed, Kept},
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Data, EncodedMeta, FLAG_MANIFEST, Key, Record, RecordHeader, Token},
        keys::{LeaseKind, UnitRef},
        store::{Expect, Space, schema},
    },
};

/// What is written under a key.
pub(in crate::vault::ops) enum Content {
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
pub(in crate::vault::ops) struct PutFields {
    pub(in crate::vault::ops) key: RecordKey,
    pub(in crate::vault::ops) content_type: String,
    pub(in crate::vault::ops) subjects: Vec<SubjectId>,
    pub(in crate::vault::ops) expires_at: Option<Timestamp>,
    pub(in crate::vault::ops) custom: Vec<(String, String)>,
    pub(in crate::vault::ops) precondition: Precondition,
    pub(in crate::vault::ops) new_relationship: bool,
    /// What it brings along from another store; `None` for every other put.
    pub(in crate::vault::ops) carried: Option<Carried>,
}

/// What a record of another store says that a client's put does not: it was admitted there, and is here as it was there.
#[derive(Clone)]
pub(in crate::vault::ops) struct Carried {
    pub(in crate::vault::ops) created_at: Timestamp,
    pub(in crate::vault::ops) modified_at: Timestamp,
    /// Under which of its collection's rules it was written, which came along before it.
    pub(in crate::vault::ops) rules_no: u32,
    /// Up to which number its write has seen what was reported, which comes along behind it.
    pub(in crate::vault::ops) reports_no: u64,
    /// What is written down of its end.
    pub(in crate::vault::ops) written: Option<Written>,
    /// What a law keeps it for.
    pub(in crate::vault::ops) kept: Option<Kept>,
    /// The same until somebody bypasses it.
    pub(in crate::vault::ops) governed: Option<Governed>,
    /// Whether the person is erased of whom an order has left it: it is here, too.
    pub(in crate::vault::ops) is_erased: bool,
    /// What that order remembers of the person's events.
    pub(in crate::vault::ops) events: Events,
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
        let rules_now = collection.rules_now().stored()?;
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
            reports_no: carried.map(|carried| carried.reports_no),
            kept: None,
            governed: None,
        })
    }

    /// Whom it says to be erased where it is from, if it does.
    pub(in crate::vault::ops) fn erases(&self) -> Option<&SubjectId> {
        let carried = self.carried.as_ref().filter(|carried| carried.is_erased)?;
        carried.kept.as_ref()?.restricted_by.and(self.subjects.first())
    }

    /// The order to shred of another store that has left the record, and whether its person is erased.
    pub(in crate::vault::ops) fn left_by(&self) -> Option<Left> {
        let Carried { kept, governed, is_erased, events, .. } = self.carried.as_ref()?;
        let Kept { until: firm_until, restricted_by, .. } = kept.as_ref()?;
        let (until, rules_no) = governed.as_ref().map_or((*firm_until, 0), |governed| (governed.until.max(*firm_until), governed.rules_no));
        let is_erased = *is_erased;
        restricted_by.map(|order| Left { order, until, firm_until: *firm_until, rules_no, is_erased, events: events.clone() })
    }
}

impl Vault {
    /// Plans a put. Returns the record's new version and whether the key was free.
    pub(in crate::vault::ops) async fn plan_put(
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
    pub(in crate::vault::ops) async fn plan_foreseen(
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
        let known = self.events_over(tenant.no, collection, &meta).await?;
        let before = live.map_or_else(LawBefore::default, |live| LawBefore { law: live.law.as_ref(), firm: live.firm.as_ref() });
        plan.check_all(&known.checks);
        if collection.has_events && put.carried.is_none() && !fault!("reports-no") {
            // The commit is held to it. Elsewhere the version says as much, for it is numbered with the reports.
            meta.reports_no = Some(known.events.last_no());
        }
        let (end, KeptOn { kept, governed }) = match &put.carried {
            Some(carried) => (None, KeptOn { kept: carried.kept.clone(), governed: carried.governed.clone() }),
            None => retention::admit(&collection.policy, &meta, content, now, before, &known.events)?,
        };
        (meta.kept, meta.governed) = (kept, governed);
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
}
