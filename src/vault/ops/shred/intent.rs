//! The intent of an order: its row, the commitments to what it names, the states that it sets to pending, and the one commit that makes all
//! of it durable. Whoever gives an order comes through here, also one that was held or has waited for a second person.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Caller, Missing, Vault, VaultError,
        approvals::Along,
        directory::Tenant,
        plan::{Actor, Existing, entry},
        rows::{CollectionRow, Progress, Scope, ShredRow, State, SubjectRow, TenantRow, UnitStateRow},
        shredder::actor_of,
    },
    Named,
};
use crate::{
    domain::{CollectionNo, Gen, ShredId, Slot, lifecycle::Step},
    vault::{
        audit::{
            Action, Target, Trail,
            commitments::{Commitments, CommittedList, KeyId, Label},
        },
        crypto::{Context, Plaintext, ShredAnswer, Token, random},
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// Commitments to what an order names, as its certificate gives them.
#[derive(Serialize, Deserialize)]
pub(in crate::vault::ops) struct Committed {
    pub(in crate::vault::ops) tenant: [u8; 32],
    pub(in crate::vault::ops) collection: Option<[u8; 32]>,
    pub(in crate::vault::ops) targets: CommittedList,
    /// Of a tenant's order: its secret is known before it is destroyed, and the salt goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::vault::ops) key_ids: Option<CommittedList>,
}

impl Committed {
    fn of(commitments: &Commitments, tenant: &Tenant, scope: &Scope, named: &Named) -> Self {
        // The secret of a tenant that is in use was never replaced.
        let secret = KeyId::Tenant(tenant.no, Gen(0)).to_bytes();
        Self {
            key_ids: (*scope == Scope::Tenant).then(|| commitments.commit_all(Label::KeyId, [secret])),
            tenant: commitments.commit(Label::Tenant, 0, tenant.name.as_str().as_bytes()),
            collection: named.collection.as_ref().map(|name| commitments.commit(Label::Collection, 0, name.as_bytes())),
            targets: commitments.commit_all(Label::Target, &named.targets),
        }
    }
}

/// An order that marks nothing yet.
pub(in crate::vault::ops) struct NewOrder {
    pub(in crate::vault::ops) id: ShredId,
    /// Of its commitments.
    pub(super) salt: [u8; 32],
    pub(in crate::vault::ops) row: ShredRow,
}

/// An order, and the commit of its intent.
pub(super) struct IntentOf {
    pub(super) row: ShredRow,
    pub(super) checks: Vec<Check>,
    pub(super) writes: Vec<Write>,
}

/// What an intent's commit holds, and what it means for the order.
#[derive(Default)]
struct Intent {
    checks: Vec<Check>,
    writes: Vec<Write>,
    /// Places of the subjects that were not shredded or pending already.
    marked: Vec<u16>,
    /// Orders that had set the others to pending.
    after: Vec<[u8; 16]>,
}

impl Vault {
    /// An order as it is given, before it marks anything.
    pub(in crate::vault::ops) async fn new_order(
        &self,
        actor: Actor,
        tenant: &Tenant,
        scope: Scope,
        named: &Named,
    ) -> Result<NewOrder, VaultError> {
        let id = ShredId(random::bytes());
        let (committed, salt, sealed_salt) = self.commit_names(tenant, id, &scope, named).await?;
        let row = ShredRow {
            tenant: tenant.no.0,
            scope,
            aliases: named.aliases,
            marked: Vec::new(),
            after: Vec::new(),
            progress: Progress::Pending,
            two_persons: named.approved_by.is_some(),
            approved_by: named.approved_by,
            ordered_by: actor.principal.0,
            role: actor.role.code(),
            request: actor.request.0,
            ordered_at: self.inner.clock.now().0,
            done_at: None,
            sealed_salt,
            committed,
            seed: random::bytes(),
            sample: Vec::new(),
            persons: Vec::new(),
            totals: Vec::new(),
            categories: Vec::new(),
            epochs: Vec::new(),
            version: 0,
            decided_at: 0,
            is_decided: false,
            has_spared: false,
            retained: Vec::new(),
        };
        Ok(NewOrder { id, salt, row })
    }

    /// The commitments to what an order names, their salt, and the salt sealed for later answers.
    async fn commit_names(
        &self,
        tenant: &Tenant,
        id: ShredId,
        scope: &Scope,
        named: &Named,
    ) -> Result<(Vec<u8>, [u8; 32], Vec<u8>), VaultError> {
        let commitments = Commitments::make();
        let committed = Committed::of(&commitments, tenant, scope, named);
        let committed = serde_json::to_vec(&committed).map_err(|_| VaultError::Internal("commitments".into()))?;
        let salt = *commitments.danger_salt();
        let context = Context::<ShredAnswer>::of(&self.inner.store_id, tenant.no, &[&id.0]);
        let plain = Plaintext::<ShredAnswer>::new(salt.to_vec());
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(tenant.no, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok((committed, salt, sealed.into_row().to_vec()))
    }

    /// An order with what it marks and samples, and what its intent's commit checks and writes.
    pub(super) async fn intended(&self, tenant: &Tenant, id: ShredId, row: ShredRow) -> Result<IntentOf, VaultError> {
        if matches!(row.scope, Scope::Tenant | Scope::Rest { .. }) {
            // Up to 36 MB of its keys are held; the epoch would overwrite them at once, with every other read behind it.
            let (forest, no) = (self.inner.forest.clone(), tenant.no);
            drop(self.inner.tasks.spawn(async move { forest.forget_tenant(no).await }));
        }
        let sample = self.sample(tenant, &row.scope, &row.seed).await?;
        let Intent { mut checks, mut writes, marked, after } = self.intent(tenant, &row.scope, id).await?;
        let persons = self.persons_of(tenant, &row.scope).await?;
        let row = ShredRow { marked, after, sample, persons, ..row };
        // The row of a unit that does not hold would keep the order from ever being carried out.
        self.units_of(&row, |_, _| ()).await?;
        checks.push(tenant.check());
        writes.extend(self.changed_by(&row, tenant.stands(self.inner.clock.now()), Step::Shred)?);
        writes.push(self.inner.seals.put(schema::shred_order(id), &row)?);
        writes.push(Write::Put { space: Space::Control, key: schema::pending_shred(id), value: Bytes::new() });
        Ok(IntentOf { row, checks, writes })
    }

    /// Whom the record names that an order for one is about; nobody, where it does not open.
    async fn persons_of(&self, tenant: &Tenant, scope: &Scope) -> Result<Vec<Token>, VaultError> {
        let Scope::Record { collection, row, .. } = scope else { return Ok(Vec::new()) };
        let tokens = schema::record_tokens(row).ok_or_else(|| VaultError::Internal("record row".into()))?;
        let opened = async {
            let collection = self.collection_by_number(tenant.no, CollectionNo(*collection)).await?;
            self.existing(tenant, &collection, &tokens, row).await
        };
        match opened.await {
            Ok(Some(Existing { live: Some(live), .. })) => self.subject_tokens(tenant, &live.meta.subjects).await,
            Ok(_) | Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The states an order sets to pending: what every later commit checks.
    async fn intent(&self, tenant: &Tenant, scope: &Scope, id: ShredId) -> Result<Intent, VaultError> {
        let Intent { mut checks, mut writes, mut marked, mut after } = Intent::default();
        let (pending, seals) = (State::Pending(id.0), &self.inner.seals);
        let mut swap = |key: Bytes, old: Option<Bytes>, new: Bytes| {
            checks.push(Check { space: Space::Control, key: key.clone(), expect: old.map_or(Expect::Absent, Expect::Equals) });
            writes.push(Write::Put { space: Space::Control, key, value: new });
        };
        match scope {
            Scope::Tenant | Scope::Rest { .. } => {
                let key = schema::tenant(tenant.no);
                let row = TenantRow { state: pending, ..seals.open(&key, &tenant.row)? };
                let new = seals.seal(&key, &row)?;
                swap(key, Some(tenant.row.clone()), new);
                writes.extend(super::super::lifecycle::no_end(tenant.no, &row.life));
            }
            Scope::Collection(no) => {
                let key = schema::collection(tenant.no, CollectionNo(*no));
                let old = self.inner.store.get(Space::Control, &key).await?.ok_or(VaultError::NotFound(Missing::Collection))?;
                let row: CollectionRow = seals.open(&key, &old)?;
                // Who gives the order may have frozen it, so that nothing is written that a law would keep.
                if row.state != State::Frozen || !self.inner.freezes.holds((tenant.no, CollectionNo(*no))) {
                    super::super::directory::in_use(row.state)?;
                }
                let new = seals.seal(&key, &CollectionRow { state: pending, ..row })?;
                swap(key, Some(old), new);
            }
            Scope::Subjects(tokens) => {
                for (place, token) in (0..).zip(tokens) {
                    let key = schema::subject_state(tenant.no, token);
                    let old = self.inner.store.get(Space::Control, &key).await?;
                    let state = match &old {
                        None => State::Active,
                        Some(row) => seals.open::<SubjectRow>(&key, row)?.state,
                    };
                    match state {
                        State::Active => {
                            let new = seals.seal(&key, &SubjectRow { state: pending })?;
                            swap(key, old, new);
                            marked.push(place);
                        }
                        State::Pending(other) if !after.contains(&other) => after.push(other),
                        State::Pending(_) | State::Shredded(_) => {}
                        State::Frozen => return Err(VaultError::Busy),
                    }
                }
            }
            Scope::Record { .. } => {
                for unit in scope.units() {
                    let unit = unit.unit(tenant.no)?;
                    let key = schema::unit_state(tenant.no, unit.slot);
                    if self.control_row::<UnitStateRow>(&key).await?.is_none() {
                        let new = seals.seal(&key, &UnitStateRow { state: pending })?;
                        swap(key, None, new);
                    }
                }
            }
        }
        if let Scope::Subjects(tokens) = scope {
            // Who was given another id meanwhile is named by all of them, or by none.
            checks.extend(self.have_no_others(tenant.no, tokens).await?);
        }
        Ok(Intent { checks, writes, marked, after })
    }

    pub(super) async fn commit_intent(
        &self,
        caller: Option<&Caller>,
        tenant: &Tenant,
        actor: Actor,
        row: &ShredRow,
        Along { checks, writes, mut entries }: Along,
    ) -> Result<(), VaultError> {
        let (collection, target) = aimed_at(&row.scope);
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let ordered = entry(actor, tenant, Action::ShredOrder, collection, target);
        entries.push((tenant.audit, ordered));
        let done = self.commit_of(caller, Trail::Control, commit, entries).await;
        self.inner.directory.forget_all();
        done.map(drop)
    }

    /// Gives an order that was held, or that a second person approves, as it was given before; its row as it is now. `caller` is who
    /// gives it now, if somebody does.
    pub(in crate::vault::ops) async fn give(
        &self,
        caller: Option<&Caller>,
        tenant: &Tenant,
        id: ShredId,
        row: ShredRow,
        mut along: Along,
    ) -> Result<ShredRow, VaultError> {
        let place = self.inner.shredder.reserve()?;
        let IntentOf { row, checks, writes } = self.intended(tenant, id, row).await?;
        along.checks.extend(checks);
        along.writes.extend(writes);
        self.commit_intent(caller, tenant, actor_of(&row), &row, along).await?;
        place.send(id);
        Ok(row)
    }
}

/// What an order is about, for the trail.
pub(in crate::vault::ops) fn aimed_at(scope: &Scope) -> (CollectionNo, Target) {
    match scope {
        Scope::Tenant | Scope::Rest { .. } => (CollectionNo::TENANT, Target::default()),
        Scope::Collection(no) => (CollectionNo(*no), Target::default()),
        // The trail names the first, and says how many there were.
        Scope::Subjects(tokens) => {
            let (subject, count) = (tokens.first().copied(), u32::try_from(tokens.len()).ok());
            (CollectionNo::TENANT, Target { subject, count, ..Target::default() })
        }
        Scope::Record { collection, row, units } => {
            // The first is the one that seals it now.
            let unit = units.first().and_then(|unit| Some((Slot::new(unit.slot)?, Gen(unit.generation))));
            (CollectionNo(*collection), Target { record: row.last_chunk::<16>().copied(), unit, ..Target::default() })
        }
    }
}
