//! What an approval carries out, in its own commit, in the name of who asked. What stood in the way when it was asked for may be gone by
//! now, and the other way round: so what a law keeps of what an order names is looked for here, as when an order is given at once, and
//! so is a hold over it, which is looked for again in the moment before its keys go.

use super::{Along, Stored, place_of};
use crate::{
    domain::{CollectionNo, HoldId, Retention, ShredId, Timestamp, lifecycle::Grace, limits},
    vault::{
        audit::{Action, Trail},
        crypto::{
            Token,
            hash::{Purpose, of_fields},
        },
        ops::{
            Caller, Conflict, Vault, VaultError,
            directory::{Collection, Tenant},
            minimum::Unkept,
            plan::{entry, object, order_of},
            rows::{
                ApprovalRulesRow, ApprovalWhatRow, CollectionRow, CollectionText, Progress, Scope, ShorteningRow, ShredRow, SubjectRow,
                TenantRow,
            },
            shred::Queued,
        },
        store::{Check, Commit, Durability, Expect, Space, Urgency, schema},
    },
};

/// What is left to do once an approval is committed.
pub(super) enum Then {
    Nothing,
    /// Everything that an order names answers 410 from here on.
    Close(Box<Queued>),
    /// What a hold has stopped is given again.
    SetGoing,
    /// What is there is gone through.
    Shorten,
    /// The same, and what waits for a minimum is looked at.
    Bypass,
}

impl Vault {
    /// Carries out what was asked for, with what goes along.
    pub(super) async fn carry_out_approved(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        stored: &Stored,
        along: Along,
    ) -> Result<Then, VaultError> {
        match &stored.row.what {
            ApprovalWhatRow::Shred(_) => self.carry_shred(caller, tenant, stored, along).await,
            ApprovalWhatRow::ReleaseHold(hold) => {
                let reason = self.open_texts(tenant.no, stored.id, &stored.row).await?.reason.unwrap_or_default();
                self.release_approved(caller, tenant, HoldId(*hold), (stored.asker(), &reason), along).await?;
                Ok(Then::SetGoing)
            }
            ApprovalWhatRow::LoosenPolicy(from, to) => {
                self.carry_policy(caller, tenant, stored, (from, to.as_ref()), along).await?;
                Ok(Then::Nothing)
            }
            ApprovalWhatRow::ShortenRetention(no, rules) => {
                self.carry_shortening(caller, tenant, stored, (CollectionNo(*no), rules), along).await?;
                Ok(Then::Shorten)
            }
            ApprovalWhatRow::BypassGovernance(no, rules) => {
                self.carry_bypass(caller, tenant, stored, (CollectionNo(*no), rules), along).await?;
                Ok(Then::Bypass)
            }
            ApprovalWhatRow::Terminate(grace) => {
                let reason = self.open_texts(tenant.no, stored.id, &stored.row).await?.reason;
                let grace = Grace::parse(grace).map_err(|_| VaultError::Internal("grace of an end".into()))?;
                self.terminate_approved(caller, tenant, (stored.asker(), grace, reason.as_deref()), along).await?;
                Ok(Then::Nothing)
            }
        }
    }

    /// Gives the order, or keeps it back where a legal hold stands over it.
    ///
    /// # Errors
    /// [`VaultError::LegalMinimum`] where a law keeps anything of it, but for what an order about persons leaves by itself.
    async fn carry_shred(&self, caller: &Caller, tenant: &Tenant, stored: &Stored, along: Along) -> Result<Then, VaultError> {
        let carried = self.carry_unkept(caller, tenant, stored, along).await;
        // However that went, no collection is left frozen.
        self.thaw_left().await;
        carried
    }

    async fn carry_unkept(&self, caller: &Caller, tenant: &Tenant, stored: &Stored, mut along: Along) -> Result<Then, VaultError> {
        let id = ShredId(stored.id.0);
        let key = schema::shred_order(id);
        let bytes = self.inner.store.get(Space::Control, &key).await?.ok_or_else(|| VaultError::Internal("asked order".into()))?;
        let row: ShredRow = self.inner.seals.open(&key, &bytes)?;
        along.checks.push(Check { space: Space::Control, key, expect: Expect::Equals(bytes) });
        let (today, _) = self.scope_of_today(tenant, &row).await?;
        if !fault!("x3") {
            self.check_ids(tenant, (&row.scope, &today), &mut along).await?;
        }
        let scope = match row.scope {
            // As they were asked for: the commitments go by their order.
            Scope::Subjects(tokens) => Scope::Subjects(tokens),
            Scope::Tenant | Scope::Rest { .. } | Scope::Collection(_) | Scope::Record { .. } => today,
        };
        let row = ShredRow { scope, progress: Progress::Pending, approved_by: Some(caller.principal.token().0), ..row };
        self.check_law(caller, tenant, &row.scope, &mut along).await?;
        let Unkept { checks, frozen } = self.freeze_unheld(caller, tenant, &row.scope).await?;
        along.checks.extend(checks);
        let (state, still) = self.hold_state(tenant.no).await?;
        along.checks.push(still);
        if state.is_some() && !self.weigh(tenant.no, &row.scope).await?.is_empty() {
            self.keep_back_approved(caller, tenant, id, &row, along).await?;
            return Ok(Then::Nothing);
        }
        let row = self.give(Some(caller), tenant, id, row, along).await?;
        drop(frozen);
        Ok(Then::Close(Box::new(Queued::again(id, row))))
    }

    /// That no law keeps the record which an order is for, and that no order has left it for the law alone.
    async fn check_law(&self, caller: &Caller, tenant: &Tenant, scope: &Scope, along: &mut Along) -> Result<(), VaultError> {
        let Scope::Record { collection, row, .. } = scope else { return Ok(()) };
        along.checks.extend(self.law_unmoved(tenant, scope).await?);
        let Some(collection) = self.lawful(tenant.no, CollectionNo(*collection)).await? else { return Ok(()) };
        let tokens = schema::record_tokens(row).ok_or_else(|| VaultError::Internal("record row".into()))?;
        self.unkept(caller, tenant, &collection, &tokens).await.map(drop)
    }

    /// That the persons whom an order names have the ids that were asked for, no others and none less: who approves was shown those. An id
    /// that went with its person since is nobody's, and nothing is left to go with it.
    ///
    /// # Errors
    /// [`Conflict::ApprovalOver`].
    async fn check_ids(&self, tenant: &Tenant, (asked, today): (&Scope, &Scope), along: &mut Along) -> Result<(), VaultError> {
        let (Scope::Subjects(asked), Scope::Subjects(today)) = (asked, today) else { return Ok(()) };
        let over = || VaultError::Conflict(Conflict::ApprovalOver);
        if today.iter().any(|token| !asked.contains(token)) {
            return Err(over());
        }
        for lost in asked.iter().filter(|token| !today.contains(token)) {
            let key = schema::subject_state(tenant.no, lost);
            let stored = self.inner.store.get(Space::Control, &key).await?.ok_or_else(over)?;
            let SubjectRow { state } = self.inner.seals.open(&key, &stored)?;
            order_of(state).ok_or_else(over)?;
            along.checks.push(Check { space: Space::Control, key, expect: Expect::Equals(stored) });
        }
        Ok(())
    }

    async fn carry_policy(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        stored: &Stored,
        (from, to): (&ApprovalRulesRow, Option<&ApprovalRulesRow>),
        mut along: Along,
    ) -> Result<(), VaultError> {
        if tenant.approvals.as_ref() != Some(from) {
            // Somebody has made it tighter since.
            return Err(VaultError::Conflict(Conflict::ApprovalOver));
        }
        let key = schema::tenant(tenant.no);
        let row = TenantRow { approvals: to.copied(), ..self.inner.seals.open(&key, &tenant.row)? };
        along.checks.push(tenant.check());
        along.writes.push(self.inner.seals.put(key, &row)?);
        along.entries.push((tenant.audit, entry(stored.asker(), tenant, Action::PolicyWrite, CollectionNo::TENANT, object(stored.id.0))));
        let done = self.commit_along(caller, along).await;
        self.inner.directory.forget_tenant(&tenant.name);
        done
    }

    /// Writes down that a collection's rules hold for what is there now; who goes through it is told behind the commit.
    async fn carry_shortening(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        stored: &Stored,
        (no, rules): (CollectionNo, &[u8; 32]),
        mut along: Along,
    ) -> Result<(), VaultError> {
        let collection = self.shortened_as_asked(tenant, no, rules).await?;
        self.plan_shortening(tenant, stored, (&collection, rules), self.inner.clock.now(), &mut along).await?;
        self.commit_along(caller, along).await.inspect_err(|_| self.inner.directory.forget_tenant(&tenant.name))
    }

    /// The collection of a request, whose rules are those that were asked for.
    ///
    /// # Errors
    /// [`Conflict::ApprovalOver`].
    async fn shortened_as_asked(&self, tenant: &Tenant, no: CollectionNo, rules: &[u8; 32]) -> Result<Collection, VaultError> {
        let collection = self.collection_by_number(tenant.no, no).await?;
        collection.in_use()?;
        let are_asked_for = hash_of(&collection.policy.retention)? == *rules || fault!("bypass-rules");
        if are_asked_for { Ok(collection) } else { Err(VaultError::Conflict(Conflict::ApprovalOver)) }
    }

    /// What writes down that a collection's rules hold for what is there from a moment on, or the first one behind that which is free.
    async fn plan_shortening(
        &self,
        tenant: &Tenant,
        stored: &Stored,
        (collection, rules): (&Collection, &[u8; 32]),
        from: Timestamp,
        along: &mut Along,
    ) -> Result<(), VaultError> {
        // Each has a moment of its own, whatever the clock says.
        let earlier = schema::shortenings_of(tenant.no, collection.no);
        let rows = self.inner.store.scan(Space::Control, &earlier.from, &earlier.to, usize::MAX).await?;
        let last = rows.last().and_then(|row| schema::shortening_parts(&row.key)).map_or(0, |(.., at)| at);
        let at = super::unsigned(from.0).max(last.saturating_add(1));
        let key = schema::shortening(tenant.no, collection.no, at);
        let is_free = Check { space: Space::Control, key: key.clone(), expect: Expect::Absent };
        // The tenant's, too: a suspension that is answered is overtaken by no approval.
        if !fault!("carry-check") {
            along.checks.push(tenant.check());
        }
        along.checks.extend([collection.check(tenant.no), is_free]);
        along.writes.push(self.inner.seals.put(key, &ShorteningRow { approval: stored.id.0, rules: *rules })?);
        let shortened = entry(stored.asker(), tenant, Action::RetentionShorten, collection.no, object(stored.id.0));
        along.entries.push((tenant.audit, shortened));
        Ok(())
    }

    /// The same, and lifts the minimums of the governance kind of all rules until then: the rules of today come once more, with a number of
    /// their own, which says so. What is decided as of an earlier moment, or in older data, goes by those before it, under which all of these
    /// still bind.
    async fn carry_bypass(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        stored: &Stored,
        (no, rules): (CollectionNo, &[u8; 32]),
        mut along: Along,
    ) -> Result<(), VaultError> {
        let collection = self.shortened_as_asked(tenant, no, rules).await?;
        let changed_at = collection.behind_changes(self.inner.clock.now());
        let (policy, mut past) = (collection.policy.clone(), collection.past.clone());
        past.retention_was.push((changed_at.0, policy.retention.clone(), policy.categories.clone()));
        let len = serde_json::to_vec(&past.retention_was).map_or(usize::MAX, |json| json.len());
        if len as u64 > limits::PAST_RETENTION_LEN.max {
            return Err(VaultError::Limit(limits::PAST_RETENTION_LEN));
        }
        let number = u32::try_from(past.retention_was.len()).map_err(|_| VaultError::Internal("number of rules".into()))?;
        past.bypassed.push(number);
        let text = CollectionText { name: collection.name.as_str().to_owned(), policy, past };
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        let sealed = self.seal_collection(collection.unit, no, &text).await?;
        let key = schema::collection(tenant.no, no);
        let row = CollectionRow { sealed, ..self.inner.seals.open(&key, &collection.row)? };
        // Behind the change: it is by the rules that it came with that what is there ends.
        let from = Timestamp(changed_at.0.saturating_add(1));
        self.plan_shortening(tenant, stored, (&collection, rules), from, &mut along).await?;
        along.writes.push(self.inner.seals.put(key, &row)?);
        let bypassed = entry(caller, tenant, Action::RetentionBypass, no, object(stored.id.0));
        along.entries.push((tenant.audit, bypassed));
        let done = self.commit_along(caller, along).await;
        self.inner.directory.forget_collection(tenant.no, &collection.name);
        done.inspect_err(|_| self.inner.directory.forget_tenant(&tenant.name))
    }

    /// Commits what goes along with nothing else, on the word of a caller.
    pub(super) async fn commit_along(&self, caller: &Caller, Along { checks, writes, entries }: Along) -> Result<(), VaultError> {
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit_for(caller, Trail::Control, commit, entries).await.map(drop)
    }
}

/// What an order names, whatever units a record has by then, and by whichever of their ids persons were named.
pub(super) fn encoded(scope: &Scope) -> Result<Vec<u8>, VaultError> {
    let scope = match scope {
        Scope::Record { collection, row, .. } => Scope::Record { collection: *collection, row: row.clone(), units: Vec::new() },
        Scope::Subjects(tokens) => {
            let mut tokens = tokens.clone();
            tokens.sort_unstable();
            Scope::Subjects(tokens)
        }
        scope @ (Scope::Tenant | Scope::Rest { .. } | Scope::Collection(_)) => scope.clone(),
    };
    postcard::to_allocvec(&scope).map_err(|_| VaultError::Internal("scope".into()))
}

/// Where a request for an order's approval is open: one for each scope.
pub(super) fn shred_place(scope: &Scope) -> Result<Token, VaultError> {
    Ok(place_of(&[b"shred", &encoded(scope)?]))
}

/// The hash of a collection's retention, as a shortening names it.
pub(in crate::vault::ops) fn hash_of(retention: &Retention) -> Result<[u8; 32], VaultError> {
    let text = serde_json::to_vec(retention).map_err(|_| VaultError::Internal("retention".into()))?;
    Ok(of_fields(Purpose::Approval, &[b"retention", &text]))
}
