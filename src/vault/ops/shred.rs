//! Orders to shred: from the commit of the intent on, everything they name answers 410.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Caller, Missing, Unprocessable, Vault, VaultError,
    access::InTenant,
    approvals::{Along, AskedOrder},
    deletions::Touched,
    directory::{Collection, Tenant, damaged, pseudonym},
    holds::bind::told_of,
    minimum::{Frozen, Unkept},
    plan::{Actor, Existing, Plan, entry, object, record_row, retrying},
    refused::Place,
    replies::{Before, Keeping},
    rows::{CollectionRow, Progress, Retained, Scope, ShredRow, State, SubjectRow, TenantRow, Totals, UnitRow, UnitStateRow},
    shredder::actor_of,
};
use crate::{
    authz::{self, AliasRead, Resource, ShredOrder as OrderAction, ShredRead},
    domain::{
        CollectionName, CollectionNo, Gen, RecordKey, ReportId, ShredId, ShredUnit, Slot, SubjectId, TenantName, TenantNo, Timestamp,
        approval::ShredScope, lifecycle::Step, limits,
    },
    vault::{
        audit::{
            Action, Target, Trail,
            commitments::{Commitments, CommittedList, KeyId, Label},
        },
        crypto::{Context, OpenError, Plaintext, RECORD_HEADER_LEN, RecordHeader, Sealed, ShredAnswer, Token, random},
        keys::{ShredTarget, UnitRef},
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// What to shred.
#[derive(Debug, Clone)]
pub enum ShredOrder {
    /// The whole tenant; its name is repeated.
    Tenant {
        /// The tenant's name, again.
        confirm: String,
    },
    /// A collection.
    Collection(CollectionName),
    /// Persons, in all collections.
    Subjects(Vec<SubjectId>),
    /// One record of a collection whose unit is the record.
    Record {
        /// Its collection.
        collection: CollectionName,
        /// Its key.
        key: RecordKey,
    },
}

/// An order as who gave it sees it.
#[derive(Debug, Clone)]
pub struct ShredView {
    /// Its id, which is also its certificate's.
    pub id: ShredId,
    /// Whether it is certified and logged.
    pub done: bool,
    /// Whether a legal hold keeps what it names: that is there as before.
    pub held: bool,
    /// How far it is with a second person; `None` where one was enough.
    pub second: Option<SecondPerson>,
    /// `tenant`, `collection`, `subject`, `record`, or `rest`: all of a tenant but what legal holds are on.
    pub scope: &'static str,
    /// When it was given.
    pub ordered_at: Timestamp,
    /// When it was certified.
    pub done_at: Option<Timestamp>,
    /// Salt of the certificate's commitments, in hexadecimal: in the answer to the order, and until it is done.
    pub salt: Option<String>,
    /// The subjects, behind those that were named their other ids, or the key, in the order of the commitments: in the clear in the
    /// answer to the order itself, pseudonyms in every later one.
    pub targets: Vec<String>,
    /// What it touched, by collection; pseudonyms where the name is gone.
    pub collections: Vec<(String, ShredTotals)>,
    /// What a law keeps of what it names, once it is done: it is for its legal purpose alone, and goes when the minimum ends.
    pub retained: Vec<RetainedView>,
    /// Epochs that carried it out: (old, new).
    pub epochs: Vec<(u64, u64)>,
}

impl ShredView {
    /// `pending`, `done`, `held`, `waiting-for-approval` or `not-approved`.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        state_name(self.done, self.held, self.second)
    }
}

/// The state of an order, as answers give it.
const fn state_name(done: bool, held: bool, second: Option<SecondPerson>) -> &'static str {
    match second {
        Some(SecondPerson::Awaited) => "waiting-for-approval",
        Some(SecondPerson::Missed) => "not-approved",
        Some(SecondPerson::Approved) | None if done => "done",
        Some(SecondPerson::Approved) | None if held => "held",
        Some(SecondPerson::Approved) | None => "pending",
    }
}

/// How far an order that takes two persons is with the second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondPerson {
    /// It waits: what it names is there as before.
    Awaited,
    /// The second one has approved it.
    Approved,
    /// None has: nothing was done.
    Missed,
}

/// What an order left for its legal purpose: records of a collection that the same rule keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedView {
    /// The collection's name, or its pseudonym; `*` for all that are not listed by themselves.
    pub collection: String,
    /// How many.
    pub records: u64,
    /// By which rule; empty where several are taken together.
    pub rule: String,
    /// The law that it cites.
    pub basis: String,
    /// When the last of them ends; `None` while a date is not known.
    pub until: Option<Timestamp>,
}

/// What an order touched in a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShredTotals {
    /// Keys destroyed.
    pub units: u64,
    /// Records deleted because their unit is not the subject, or by the collection's policy.
    pub deleted: u64,
    /// Records kept that name the subject second.
    pub kept: u64,
}

/// What an order names, in the clear: for the commitments, then forgotten.
#[derive(Default, Clone)]
pub(super) struct Named {
    pub(super) collection: Option<String>,
    pub(super) targets: Vec<String>,
    /// How many subjects of the scope, the last ones, are other ids of those that were named.
    pub(super) aliases: u16,
    /// What must still be so when the intent is committed: by it nothing was found that a law keeps.
    pub(super) unmoved: Vec<Check>,
    /// The token of who approved what the order follows from, where that took two persons.
    pub(super) approved_by: Option<[u8; 16]>,
    /// The report of a run of retention that counts what the order goes with.
    pub(super) report: Option<ReportId>,
}

impl Named {
    /// What who gave the order is told of it: who may not read a person's ids is told those alone that were named.
    fn told_to(mut self, caller: &Caller, tenant: TenantNo, scope: &Scope) -> Self {
        if let Scope::Subjects(tokens) = scope
            && self.aliases > 0
            && authz::decide::<AliasRead>(&caller.principal, &Resource::tenant(tenant)).is_err()
        {
            let named = tokens.len().saturating_sub(usize::from(self.aliases));
            let others = self.targets.len().saturating_sub(named);
            self.targets.truncate(named);
            self.targets.extend(tokens.iter().skip(named).take(others).map(|token| pseudonym("subject", token)));
        }
        self
    }
}

/// Commitments to what an order names, as its certificate gives them.
#[derive(Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) tenant: [u8; 32],
    pub(super) collection: Option<[u8; 32]>,
    pub(super) targets: CommittedList,
    /// Of a tenant's order: its secret is known before it is destroyed, and the salt goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_ids: Option<CommittedList>,
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

/// An order whose intent is durable.
pub(super) struct Queued {
    id: ShredId,
    salt: [u8; 32],
    row: ShredRow,
}

impl Queued {
    /// One whose answer was given before.
    pub(super) const fn again(id: ShredId, row: ShredRow) -> Self {
        Self { id, salt: [0; 32], row }
    }

    /// The order as it was given, however far it has come since.
    fn view(&self, named: Named) -> ShredView {
        ShredView {
            id: self.id,
            done: false,
            held: false,
            second: second_person(&self.row),
            scope: scope_name(&self.row.scope),
            ordered_at: Timestamp(self.row.ordered_at),
            done_at: None,
            salt: Some(hex::encode(self.salt)),
            targets: named.targets,
            collections: Vec::new(),
            retained: Vec::new(),
            epochs: Vec::new(),
        }
    }
}

/// A unit of an order, with its collection.
pub(super) type UnitIn = (CollectionNo, UnitRef);

/// Rows of units read at once.
const UNIT_ROWS: usize = 1_024;

/// How often the fence is tried to be closed behind an intent.
const FENCE_ATTEMPTS: u32 = 100;
const FENCE_PAUSE: Duration = Duration::from_millis(20);

/// An order that was given.
enum Ordered {
    /// By this request, and what it names.
    Now(Box<Queued>, Named),
    /// By this request, and it waits for a second person.
    Asked(Box<Queued>, Named),
    /// By this request, which was sent before with the same idempotency key.
    Again(ShredId),
    /// By an earlier one, of the same that still waits for a second person.
    Before(ShredId),
}

impl Vault {
    /// Orders a shred. Returns once the intent is durable and everything named answers 410, with a view of it as pending; with
    /// `wait`, once it is done or the time is over. An order given before, under the same idempotency key, is seen as it is now. One that
    /// takes two persons by the tenant's policy waits for the second: until then nothing is destroyed, and everything is there.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`Unprocessable`]; nothing is done then.
    pub async fn order_shred(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        order: ShredOrder,
        wait: Option<Duration>,
        idempotency_key: Option<String>,
    ) -> Result<ShredView, VaultError> {
        let caller = &caller.begin();
        let (vault, ordering, name) = (self.clone(), caller.clone(), tenant.clone());
        let order = self.to_the_end(async move { vault.order(&ordering, &name, order, idempotency_key.as_deref()).await });
        let ordered = self.on_record(caller, Place::tenant(tenant), Action::ShredOrder, order).await?;
        let (queued, named) = match ordered {
            Ordered::Now(queued, named) => (queued, named),
            Ordered::Asked(queued, named) => return Ok(queued.view(named)),
            Ordered::Again(id) => {
                // Whose first answer is lost has the salt from this one; it is gone from the certificate on.
                let row = self.shred_row(id).await?.ok_or(VaultError::NotFound(Missing::Shred))?;
                let salt = self.salt_of(id, &row).await?;
                return Ok(ShredView { salt, ..self.shred(caller, tenant, id, wait).await? });
            }
            Ordered::Before(id) => return self.shred(caller, tenant, id, wait).await,
        };
        let Some(wait) = wait else { return Ok(queued.view(named)) };
        let id = queued.id;
        self.inner.shredder.wait(id, wait).await;
        let row = self.shred_row(id).await?.ok_or(VaultError::NotFound(Missing::Shred))?;
        if row.progress == Progress::Held {
            return Err(self.held(caller, id, &row).await?);
        }
        Ok(ShredView { salt: Some(hex::encode(queued.salt)), targets: named.targets, ..self.view(id, &row).await? })
    }

    async fn order(&self, caller: &Caller, tenant: &TenantName, order: ShredOrder, key: Option<&str>) -> Result<Ordered, VaultError> {
        if matches!(&order, ShredOrder::Subjects(subjects) if subjects.len() as u64 > limits::SHRED_SUBJECTS.max) {
            return Err(VaultError::Limit(limits::SHRED_SUBJECTS));
        }
        let ordered = retrying(|| async {
            let keeping = match self.ordered_before(caller, tenant, &order, key).await? {
                Some(Before::Made(made, _)) => match self.ordered_already(caller, ShredId(made.id)).await? {
                    Some(id) => return Ok(Ordered::Again(id)),
                    // What it named went with another order: who sends it again is told so by what is gone.
                    None => None,
                },
                Some(Before::Nothing(keeping)) => Some(keeping),
                None => None,
            };
            let (tenant, scope, named) = match &order {
                ShredOrder::Tenant { confirm } => {
                    // An import that nobody finishes, too.
                    let found: InTenant<OrderAction> = self.in_tenant_or_importing(caller, tenant).await?;
                    if found.tenant.no == TenantNo::SYSTEM {
                        return Err(Unprocessable::SystemTenant.into());
                    }
                    if confirm != tenant.as_str() {
                        return Err(Unprocessable::ConfirmationMissing.into());
                    }
                    (found.tenant, Scope::Tenant, Named::default())
                }
                ShredOrder::Collection(name) => {
                    let found = self.in_collection::<OrderAction>(caller, tenant, name, None).await?;
                    found.collection.in_use()?;
                    let named = Named { collection: Some(name.as_str().to_owned()), ..Named::default() };
                    (found.tenant, Scope::Collection(found.collection.no.0), named)
                }
                ShredOrder::Subjects(subjects) => {
                    let found: InTenant<OrderAction> = self.in_tenant(caller, tenant).await?;
                    let mut named: Vec<SubjectId> = subjects.clone();
                    named.sort_unstable();
                    named.dedup();
                    if named.is_empty() {
                        return Err(Unprocessable::NothingNamed.into());
                    }
                    let (tokens, named) = self.persons_of_order(&found.tenant, named).await?;
                    (found.tenant, Scope::Subjects(tokens), named)
                }
                ShredOrder::Record { collection, key } => {
                    let found = self.in_collection::<OrderAction>(caller, tenant, collection, Some(key)).await?;
                    found.collection.in_use()?;
                    if found.collection.policy.shred_unit != ShredUnit::Record {
                        return Err(Unprocessable::NotARecordUnit.into());
                    }
                    let tokens = self.key_tokens(&found.tenant, found.collection.no, key).await?;
                    let row = record_row(&found.tenant, found.collection.no, &tokens);
                    let stored = self.inner.store.get(Space::Records, &row).await?.ok_or(VaultError::NotFound(Missing::Record))?;
                    // A header that cannot be read names no unit, and need not: control knows every unit that the record had.
                    let header = RecordHeader::parse(&stored).map_err(OpenError::counted).ok();
                    let targets = vec![key.as_str().to_owned()];
                    let mut named = Named { collection: Some(collection.as_str().to_owned()), targets, ..Named::default() };
                    named.unmoved.push(found.collection.check(found.tenant.no));
                    if found.collection.has_law {
                        named.unmoved.extend(self.unkept(caller, &found.tenant, &found.collection, &tokens).await?);
                        let as_read = stored.slice(..stored.len().min(RECORD_HEADER_LEN));
                        named.unmoved.push(Check { space: Space::Records, key: row.clone(), expect: Expect::Prefix(as_read) });
                    }
                    let units = self.units_known_of(found.tenant.no, found.collection.no, &tokens, header.as_ref()).await?;
                    (found.tenant, Scope::Record { collection: found.collection.no.0, row: row.to_vec(), units }, named)
                }
            };
            let told = named.clone().told_to(caller, tenant.no, &scope);
            if tenant.rules().asks_for(level(&scope)) {
                // What would be refused is not asked for; it is looked at again when it is approved.
                Self::unless_kept(self.minimums_over(&tenant, &scope).await?, caller.principal.role())?;
                return match self.ask_shred(caller, &tenant, scope, &named, keeping).await? {
                    AskedOrder::Now(order) => {
                        let NewOrder { id, salt, row } = *order;
                        Ok(Ordered::Asked(Box::new(Queued { id, salt, row }), told))
                    }
                    AskedOrder::Before(id) => Ok(Ordered::Before(id)),
                };
            }
            let queued = self.queue_unkept(caller, &tenant, scope, named, keeping).await;
            // However that went, no collection is left frozen.
            self.thaw_left().await;
            Ok(Ordered::Now(Box::new(queued?), told))
        })
        .await?;
        if let Ordered::Now(queued, _) = &ordered {
            self.close_queued(queued).await?;
        }
        Ok(ordered)
    }

    /// The tokens of an order's persons by all their ids, those that were named first; and all these names.
    async fn persons_of_order(&self, tenant: &Tenant, named: Vec<SubjectId>) -> Result<(Vec<Token>, Named), VaultError> {
        let tokens = self.subject_tokens(tenant, &named).await?;
        let (tokens, others) = self.by_all_ids(tenant.no, &tokens).await?;
        if tokens.len() as u64 > limits::SHRED_SUBJECTS.max {
            return Err(VaultError::Limit(limits::SHRED_SUBJECTS));
        }
        let aliases = u16::try_from(others.len()).map_err(|_| VaultError::Internal("aliases of an order".into()))?;
        let targets = named.into_iter().chain(others.into_iter().flatten()).map(SubjectId::into_string).collect();
        Ok((tokens, Named { targets, aliases, ..Named::default() }))
    }

    /// Orders a shred of which no law keeps anything; what one keeps of persons, their order leaves by itself.
    async fn queue_unkept(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        scope: Scope,
        named: Named,
        keeping: Option<Keeping>,
    ) -> Result<Queued, VaultError> {
        // Of an import that is given up no law keeps the part that has come; the order's commit is held to its still being one.
        let Unkept { checks, frozen } =
            if tenant.is_importing() { Unkept::default() } else { self.freeze_unheld(caller, tenant, &scope).await? };
        let named = Named { unmoved: [named.unmoved, checks].concat(), ..named };
        let queued = self.queue_kept(Some(caller), caller, tenant, scope, named, keeping).await;
        drop(frozen);
        queued
    }

    /// Refuses an order for a collection or a tenant of which a law keeps anything. A first look finds what there is, and a second one,
    /// while nothing is written and no event reported, that there is none until what is returned is gone and its checks are committed;
    /// behind that [`Vault::thaw_left`] is called, also where this fails.
    ///
    /// # Errors
    /// [`VaultError::LegalMinimum`].
    pub(super) async fn freeze_unkept(&self, caller: &Caller, tenant: &Tenant, scope: &Scope) -> Result<Unkept<'_>, VaultError> {
        let checks = self.look_unkept(caller, tenant, scope).await?;
        self.freeze_looked(caller, tenant, scope, checks).await
    }

    /// The same of an order that holds keep back: for one that they do, nothing is frozen, and nothing is looked through again.
    pub(super) async fn freeze_unheld(&self, caller: &Caller, tenant: &Tenant, scope: &Scope) -> Result<Unkept<'_>, VaultError> {
        let mut checks = self.look_unkept(caller, tenant, scope).await?;
        if matches!(scope, Scope::Tenant | Scope::Collection(_)) {
            let (state, same) = self.hold_state(tenant.no).await?;
            if state.is_some() && !self.weigh(tenant.no, scope).await?.is_empty() {
                // Who finds none any more, behind this, looks anew.
                checks.push(same);
                return Ok(Unkept { checks, frozen: Frozen::default() });
            }
        }
        self.freeze_looked(caller, tenant, scope, checks).await
    }

    /// The first look, and what the order's commit is held to by it.
    async fn look_unkept(&self, caller: &Caller, tenant: &Tenant, scope: &Scope) -> Result<Vec<Check>, VaultError> {
        if !matches!(scope, Scope::Tenant | Scope::Collection(_)) {
            return Ok(Vec::new());
        }
        let checks = self.law_unmoved(tenant, scope).await?;
        Self::unless_kept(self.minimums_over(tenant, scope).await?, caller.principal.role())?;
        Ok(checks)
    }

    /// The second one.
    async fn freeze_looked(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        scope: &Scope,
        mut checks: Vec<Check>,
    ) -> Result<Unkept<'_>, VaultError> {
        let frozen = self.freeze_lawful(Some(caller), tenant, scope).await?;
        if !frozen.is_empty() {
            if !fault!("x2") {
                Self::unless_kept(self.minimums_over(tenant, scope).await?, caller.principal.role())?;
            }
            if matches!(scope, Scope::Collection(_)) {
                // Its row is another since, and stays that.
                checks.clear();
            }
        }
        Ok(Unkept { checks, frozen })
    }

    /// Refuses an order for a record that a law keeps, or that is there for the law alone. What is returned must still be so when it is
    /// given: what was known of its person.
    pub(super) async fn unkept(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        collection: &Collection,
        tokens: &[Token],
    ) -> Result<Vec<Check>, VaultError> {
        match self.existing(tenant, collection, tokens, &record_row(tenant, collection.no, tokens)).await {
            Ok(Some(Existing { live: Some(live), .. })) => {
                self.plan_deleted(&mut Plan::default(), caller.into(), tenant, collection, &live).await?;
                Ok(live.known)
            }
            // One that cannot be read is kept for nobody, and goes.
            Ok(_) | Err(VaultError::Internal(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What who has given an order that is held is told.
    async fn held(&self, caller: &Caller, id: ShredId, row: &ShredRow) -> Result<VaultError, VaultError> {
        let holds = self.weigh(TenantNo(row.tenant), &row.scope).await?;
        Ok(VaultError::LegalHold { hold: told_of(&holds, caller.principal.role()), order: Some(id) })
    }

    /// An order that was given before under the same idempotency key; `None` where it was held, and withdrawn.
    ///
    /// # Errors
    /// [`VaultError::LegalHold`] if a hold still stands over it.
    async fn ordered_already(&self, caller: &Caller, id: ShredId) -> Result<Option<ShredId>, VaultError> {
        let Some(row) = self.shred_row(id).await? else { return Ok(None) };
        if row.progress == Progress::Held {
            if !self.weigh(TenantNo(row.tenant), &row.scope).await?.is_empty() {
                return Err(self.held(caller, id, &row).await?);
            }
            self.give_held_again(schema::table_of_tenant(schema::Table::HeldOrder, TenantNo(row.tenant))).await?;
        }
        Ok(Some(id))
    }

    /// Whether this token gave this order before, under this key. Asked before anything else: what it names answers 410 since.
    async fn ordered_before(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        order: &ShredOrder,
        key: Option<&str>,
    ) -> Result<Option<Before>, VaultError> {
        let Some(key) = key else { return Ok(None) };
        let Some(found) = self.find_tenant(tenant).await?.filter(|found| found.no == caller.principal.tenant()) else { return Ok(None) };
        let (place, parts): (TenantNo, Vec<&[u8]>) = match order {
            ShredOrder::Tenant { confirm } => (TenantNo::SYSTEM, vec![b"shred-tenant", tenant.as_str().as_bytes(), confirm.as_bytes()]),
            ShredOrder::Collection(name) => (found.no, vec![b"shred-collection", name.as_str().as_bytes()]),
            ShredOrder::Subjects(subjects) => {
                let mut parts: Vec<&[u8]> = vec![b"shred-subjects"];
                parts.extend(subjects.iter().map(|subject| subject.as_str().as_bytes()));
                (found.no, parts)
            }
            ShredOrder::Record { collection, key } => {
                (found.no, vec![b"shred-record", collection.as_str().as_bytes(), key.as_str().as_bytes()])
            }
        };
        self.made_before(place, caller, key, &parts).await.map(Some)
    }

    /// Makes the intent durable and hands the order to the shredder. What follows is [`Vault::close_queued`], not tried again
    /// with the order: the intent stands.
    pub(super) async fn queue_shred(
        &self,
        actor: impl Into<Actor>,
        tenant: &Tenant,
        scope: Scope,
        named: Named,
    ) -> Result<Queued, VaultError> {
        self.queue_kept(None, actor, tenant, scope, named, None).await
    }

    /// The same, which the holds that are checked let through.
    pub(super) async fn queue_held_to(
        &self,
        held: Vec<Check>,
        actor: Actor,
        tenant: &Tenant,
        scope: Scope,
        named: Named,
    ) -> Result<Queued, VaultError> {
        let place = self.inner.shredder.reserve()?;
        let NewOrder { id, salt, row } = self.new_order(actor, tenant, scope, &named).await?;
        let IntentOf { row, mut checks, mut writes } = self.intended(tenant, id, row).await?;
        checks.extend(held);
        writes.push(Write::Put { space: Space::Control, key: schema::tenant_shred_order(tenant.no, id), value: Bytes::new() });
        self.commit_intent(None, tenant, actor, &row, Along { checks, writes, entries: Vec::new() }).await?;
        place.send(id);
        Ok(Queued { id, salt, row })
    }

    async fn queue_kept(
        &self,
        caller: Option<&Caller>,
        actor: impl Into<Actor>,
        tenant: &Tenant,
        scope: Scope,
        named: Named,
        keeping: Option<Keeping>,
    ) -> Result<Queued, VaultError> {
        let actor = actor.into();
        let (state, unmoved) = self.hold_state(tenant.no).await?;
        if state.is_some() {
            let holds = self.weigh(tenant.no, &scope).await?;
            if !holds.is_empty() {
                return Err(self.keep_back(caller, actor, tenant, (scope, named), keeping, (&holds, unmoved)).await?);
            }
        }
        let place = self.inner.shredder.reserve()?;
        let NewOrder { id, salt, row } = self.new_order(actor, tenant, scope, &named).await?;
        let IntentOf { row, mut checks, mut writes } = self.intended(tenant, id, row).await?;
        checks.push(unmoved);
        checks.extend(named.unmoved);
        writes.push(Write::Put { space: Space::Control, key: schema::tenant_shred_order(tenant.no, id), value: Bytes::new() });
        writes.extend(named.report.map(|report| of_report(tenant.no, report, id)));
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id.0, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        self.commit_intent(caller, tenant, actor, &row, Along { checks, writes, entries: Vec::new() }).await?;
        place.send(id);
        Ok(Queued { id, salt, row })
    }

    /// An order as it is given, before it marks anything.
    pub(super) async fn new_order(&self, actor: Actor, tenant: &Tenant, scope: Scope, named: &Named) -> Result<NewOrder, VaultError> {
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

    /// An order with what it marks and samples, and what its intent's commit checks and writes.
    async fn intended(&self, tenant: &Tenant, id: ShredId, row: ShredRow) -> Result<IntentOf, VaultError> {
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

    async fn commit_intent(
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
    pub(super) async fn give(
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

    /// Closes the fence behind a durable intent: from here on everything it names answers 410. The shredder closes it too,
    /// before it does anything else.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if the store could not be read for two seconds; the order stands.
    pub(super) async fn close_queued(&self, queued: &Queued) -> Result<(), VaultError> {
        let mut pause = tokio::time::interval(FENCE_PAUSE);
        for _ in 0..FENCE_ATTEMPTS {
            pause.tick().await;
            match self.close_while_pending(queued).await {
                Err(VaultError::Busy) => {}
                Err(error) => return Err(error),
                Ok(()) => match self.reopen_if_held(queued).await {
                    Err(VaultError::Busy) => {}
                    other => return other,
                },
            }
        }
        Err(VaultError::Busy)
    }

    /// The order may be carried out by now, and who was erased known anew, under other units: those it does not close. While it is not, all
    /// units that were found before are its own.
    async fn close_while_pending(&self, queued: &Queued) -> Result<(), VaultError> {
        let mut units = Vec::new();
        let found = self.list_units(&queued.row, &mut units).await;
        let mut closed = Vec::with_capacity(units.len());
        let told = self.to_close(&queued.row, &units, &mut closed).await;
        let is_pending =
            async || Ok::<_, VaultError>(self.shred_row(queued.id).await?.is_some_and(|row| row.progress == Progress::Pending));
        if is_pending().await? {
            self.close(&queued.row, &closed);
        }
        if matches!(queued.row.scope, Scope::Rest { .. }) && !is_pending().await? {
            // It was carried out meanwhile: what is left of the tenant has its keys, and the tenant is open again.
            self.inner.forest.fence().reopen_tenant(TenantNo(queued.row.tenant));
        }
        found.and(told)
    }

    /// The shredder may have taken the order back before the fence was closed.
    async fn reopen_if_held(&self, queued: &Queued) -> Result<(), VaultError> {
        let is_held = async || Ok::<_, VaultError>(self.shred_row(queued.id).await?.is_some_and(|row| row.progress == Progress::Held));
        if is_held().await? {
            // Not while it is given again.
            let _alone = self.inner.placing.wait().await;
            if is_held().await? {
                self.reopen_fence(&queued.row).await?;
            }
        }
        Ok(())
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
                writes.extend(super::lifecycle::no_end(tenant.no, &row.life));
            }
            Scope::Collection(no) => {
                let key = schema::collection(tenant.no, CollectionNo(*no));
                let old = self.inner.store.get(Space::Control, &key).await?.ok_or(VaultError::NotFound(Missing::Collection))?;
                let row: CollectionRow = seals.open(&key, &old)?;
                // Who gives the order may have frozen it, so that nothing is written that a law would keep.
                if row.state != State::Frozen || !self.inner.freezes.holds((tenant.no, CollectionNo(*no))) {
                    super::directory::in_use(row.state)?;
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

    /// Shows each unit that an order destroys, with its collection; none for a tenant, whole or in part, which is one target by itself.
    ///
    /// # Errors
    /// That of a row which is not as this store wrote it comes last, behind the units that are known all the same.
    pub(super) async fn units_of(&self, order: &ShredRow, mut show: impl FnMut(CollectionNo, UnitRef)) -> Result<(), VaultError> {
        let tenant = TenantNo(order.tenant);
        let mut bent = None;
        match &order.scope {
            Scope::Tenant | Scope::Rest { .. } => {}
            Scope::Collection(no) => {
                let no = CollectionNo(*no);
                if let Some(row) = self.control_row::<CollectionRow>(&schema::collection(tenant, no)).await? {
                    show(no, UnitRow { slot: row.slot, generation: row.generation }.unit(tenant)?);
                }
            }
            Scope::Subjects(_) => {
                for token in order.marked() {
                    let range = schema::units_of_subject(tenant, token);
                    for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
                        let unit = match self.inner.seals.open::<UnitRow>(&row.key, &row.value) {
                            Ok(unit) => unit.unit(tenant)?,
                            Err(error) => {
                                bent = Some(error);
                                continue;
                            }
                        };
                        let no = schema::unit_collection(&row.key).ok_or_else(|| VaultError::Internal("unit row".into()))?;
                        if !self.is_shredded(unit).await? {
                            show(no, unit);
                        }
                    }
                }
            }
            Scope::Record { collection, units: ever, .. } => {
                for unit in ever {
                    let unit = unit.unit(tenant)?;
                    if !self.is_shredded(unit).await? {
                        show(CollectionNo(*collection), unit);
                    }
                }
            }
        }
        bent.map_or(Ok(()), Err)
    }

    pub(super) async fn is_shredded(&self, unit: UnitRef) -> Result<bool, VaultError> {
        let state = self.control_row::<UnitStateRow>(&schema::unit_state(unit.tenant, unit.slot)).await?;
        Ok(state.is_some_and(|row| matches!(row.state, State::Shredded(_))))
    }

    /// The same as a list.
    async fn list_units(&self, row: &ShredRow, units: &mut Vec<UnitIn>) -> Result<(), VaultError> {
        self.units_of(row, |no, unit| units.push((no, unit))).await
    }

    /// From here on no key of the order's targets is lent. Until it is decided what a law keeps of a person, the keys of what it may
    /// keep are: nobody reads by them, for the person is pending ([`Vault::leaving`]). Gives the units that the order destroys.
    ///
    /// # Errors
    /// Those of the store, and, as of [`Vault::units_of`], that of a bent row behind the units that are known, which are closed.
    pub(super) async fn close_fence(&self, row: &ShredRow) -> Result<Vec<UnitIn>, VaultError> {
        let mut units = Vec::new();
        let found = self.list_units(row, &mut units).await;
        let closed = self.close_units(row, &units).await;
        found.and(closed).map(|()| units)
    }

    /// The same, of an order whose units are known.
    pub(super) async fn close_units(&self, row: &ShredRow, units: &[UnitIn]) -> Result<(), VaultError> {
        let mut closed = Vec::with_capacity(units.len());
        let told = self.to_close(row, units, &mut closed).await;
        self.close(row, &closed);
        told
    }

    /// Those of an order's units that it closes as far as it is; also where that cannot be told of all, those of which it can.
    async fn to_close(&self, row: &ShredRow, units: &[UnitIn], closed: &mut Vec<UnitRef>) -> Result<(), VaultError> {
        let is_decided = if fault!("units-open") { row.decided_at != 0 } else { row.is_decided };
        if !matches!(row.scope, Scope::Subjects(_)) || is_decided {
            closed.extend(units.iter().map(|(_, unit)| *unit));
            return Ok(());
        }
        let (reported, mut told) = match self.slots_reported(row, units).await {
            Ok(reported) => (Some(reported), Ok(())),
            Err(error) => (None, Err(error)),
        };
        for (no, unit) in units {
            if reported.is_none() && *no == CollectionNo::TENANT {
                continue;
            }
            match self.decides(*no, *unit, reported.as_deref().unwrap_or_default()).await {
                Ok(true) => {}
                Ok(false) => closed.push(*unit),
                Err(error) => told = told.and(Err(error)),
            }
        }
        told
    }

    /// The slots of those units that seal what was reported of an order's persons.
    async fn slots_reported(&self, row: &ShredRow, units: &[UnitIn]) -> Result<Vec<u64>, VaultError> {
        // They lie in no collection, and most persons have none there.
        if units.iter().all(|(no, _)| *no != CollectionNo::TENANT) {
            return Ok(Vec::new());
        }
        let marked: Vec<Token> = row.marked().copied().collect();
        self.slots_of_events(TenantNo(row.tenant), &marked).await
    }

    /// Whether it is decided by what a person's unit seals what a law keeps: it seals that, or what a law counts from.
    async fn decides(&self, no: CollectionNo, unit: UnitRef, reported: &[u64]) -> Result<bool, VaultError> {
        Ok(if no == CollectionNo::TENANT { reported.contains(&unit.slot.number()) } else { self.may_keep(unit.tenant, no).await? })
    }

    /// Those that are lent until it is decided what a law keeps of the order's persons, but for those that another order is for.
    pub(super) async fn undecided(&self, row: &ShredRow, units: &[UnitIn]) -> Result<Vec<UnitRef>, VaultError> {
        let (reported, mut undecided) = (self.slots_reported(row, units).await?, Vec::new());
        for (no, unit) in units {
            let state = schema::unit_state(TenantNo(row.tenant), unit.slot);
            if self.decides(*no, *unit, &reported).await? && self.inner.store.get(Space::Control, &state).await?.is_none() {
                undecided.push(*unit);
            }
        }
        Ok(undecided)
    }

    fn close(&self, row: &ShredRow, units: &[UnitRef]) {
        let (tenant, fence) = (TenantNo(row.tenant), self.inner.forest.fence());
        // Of one that has gone in part what is left has its keys, and is to be read: the tenant's state keeps everybody out until then.
        let has_gone = matches!(row.scope, Scope::Rest { .. }) && row.progress != Progress::Pending;
        if row.scope.is_tenants() && !has_gone {
            fence.close_tenant(tenant);
        }
        for unit in units {
            fence.close_unit(tenant, unit.slot);
        }
    }

    /// Opens again what an order had closed.
    async fn reopen_fence(&self, row: &ShredRow) -> Result<(), VaultError> {
        let tenant = TenantNo(row.tenant);
        let fence = self.inner.forest.fence();
        self.units_of(row, |_, unit| fence.reopen_unit(tenant, unit.slot)).await
    }

    /// The units that an order destroyed, counted by collection from the rows of units.
    pub(super) async fn units_by_collection(&self, row: &ShredRow, slots: &HashSet<u64>) -> Result<Touched, VaultError> {
        let mut touched = Touched::new();
        for token in row.marked() {
            let mut range = schema::units_of_subject(TenantNo(row.tenant), token);
            loop {
                let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, UNIT_ROWS).await?;
                let Some(last) = rows.last() else { break };
                range = range.after(&last.key);
                for row in rows {
                    let no = schema::unit_collection(&row.key).ok_or_else(|| VaultError::Internal("unit row".into()))?;
                    if slots.contains(&self.inner.seals.open::<UnitRow>(&row.key, &row.value)?.slot) {
                        let total: &mut Totals = touched.entry(no).or_default();
                        total.units = total.units.saturating_add(1);
                    }
                }
            }
        }
        Ok(touched)
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

    /// The salt of an order's commitments; `None` once it is done, or its tenant is gone.
    pub(super) async fn salt_of(&self, id: ShredId, row: &ShredRow) -> Result<Option<String>, VaultError> {
        if row.sealed_salt.is_empty() {
            return Ok(None);
        }
        let tenant = TenantNo(row.tenant);
        let sealed = Sealed::<ShredAnswer>::from_row(row.sealed_salt.clone().into()).map_err(damaged)?;
        let context = Context::<ShredAnswer>::of(&self.inner.store_id, tenant, &[&id.0]);
        match self.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await {
            Ok(salt) => Ok(Some(hex::encode(salt.map_err(damaged)?.expose()))),
            Err(VaultError::Shredded { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The row of an order.
    pub(super) async fn shred_row(&self, id: ShredId) -> Result<Option<ShredRow>, VaultError> {
        self.control_row(&schema::shred_order(id)).await
    }

    /// An order, for its tenant; for the token that gave it also when the tenant is gone.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for everyone else.
    pub async fn shred(&self, caller: &Caller, tenant: &TenantName, id: ShredId, wait: Option<Duration>) -> Result<ShredView, VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::ShredRead, self.read_order(caller, tenant, id, wait)).await
    }

    async fn read_order(&self, caller: &Caller, tenant: &TenantName, id: ShredId, wait: Option<Duration>) -> Result<ShredView, VaultError> {
        let Some(found) = self.find_tenant(tenant).await? else { return Err(self.no_tenant::<ShredRead>(caller).await?) };
        let row = self.shred_row(id).await?.filter(|row| row.tenant == found.no.0);
        let ordered = row.as_ref().is_some_and(|row| row.ordered_by == caller.principal.token().0);
        if !ordered {
            self.in_tenant_or_importing::<ShredRead>(caller, tenant).await?;
        }
        let mut row = row.ok_or(VaultError::NotFound(Missing::Shred))?;
        if let Some(wait) = wait {
            self.inner.shredder.wait(id, wait).await;
            row = self.shred_row(id).await?.ok_or(VaultError::NotFound(Missing::Shred))?;
        }
        let read = entry(caller, &found, Action::ShredRead, CollectionNo::TENANT, object(id.0));
        self.read_receipt(&found, read).await?;
        let view = self.view(id, &row).await?;
        // Who gave an order that a hold has stopped was told that alone, and has no salt from its answer.
        let is_first = ordered && row.progress == Progress::Held && !row.two_persons;
        let salt = if is_first { self.salt_of(id, &row).await? } else { None };
        Ok(ShredView { salt, ..view })
    }

    /// The certificate of an order: a signed note. Needs no access to the tenant, which may be gone.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is none (yet).
    pub async fn certificate(&self, id: ShredId) -> Result<Bytes, VaultError> {
        self.inner.store.get(Space::Control, &schema::certificate(id)).await?.ok_or(VaultError::NotFound(Missing::Shred))
    }

    /// Whether an order is done: its certificate is issued, and in the log.
    pub(super) async fn is_done(&self, id: ShredId, row: &ShredRow) -> Result<bool, VaultError> {
        let pending = self.inner.store.get(Space::Control, &schema::pending_shred(id)).await?;
        Ok(row.progress == Progress::Done && pending.is_none())
    }

    /// An order's state.
    pub(super) async fn order_state(&self, id: ShredId, row: &ShredRow) -> Result<&'static str, VaultError> {
        Ok(state_name(self.is_done(id, row).await?, row.progress == Progress::Held, second_person(row)))
    }

    /// An order as it is now, without its salt: that is in its own answer.
    async fn view(&self, id: ShredId, row: &ShredRow) -> Result<ShredView, VaultError> {
        let mut collections = Vec::with_capacity(row.totals.len());
        for (no, totals) in &row.totals {
            let name = self.name_in_view(row, *no).await?;
            let Totals { units, deleted, kept } = *totals;
            collections.push((name, ShredTotals { units, deleted, kept }));
        }
        let mut retained = Vec::with_capacity(row.retained.len());
        for Retained { collection, rule, basis, records, until } in row.retained.iter().cloned() {
            let collection = self.name_in_view(row, collection).await?;
            retained.push(RetainedView { collection, records, rule, basis, until: until.map(Timestamp) });
        }
        let done = self.is_done(id, row).await?;
        Ok(ShredView {
            id,
            done,
            held: row.progress == Progress::Held,
            second: second_person(row),
            scope: scope_name(&row.scope),
            ordered_at: Timestamp(row.ordered_at),
            done_at: row.done_at.filter(|_| done).map(Timestamp),
            salt: None,
            targets: pseudonyms(&row.scope),
            collections,
            retained,
            epochs: row.epochs.clone(),
        })
    }

    /// What a view of an order calls a collection.
    async fn name_in_view(&self, row: &ShredRow, no: u32) -> Result<String, VaultError> {
        let tenant = TenantNo(row.tenant);
        if row.scope == Scope::Tenant {
            return Ok(pseudonym("tenant", &tenant.to_be_bytes()));
        }
        if no == CollectionNo::TENANT.0 {
            // All that the row does not list, and a person's several ids. No collection has this name.
            return Ok("*".to_owned());
        }
        match self.collection_by_number(tenant, CollectionNo(no)).await {
            Ok(collection) => Ok(collection.name.as_str().to_owned()),
            // The order stands, and is told of, although a row is bent.
            Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => Ok(pseudonym("collection", &no.to_be_bytes())),
            Err(error) => Err(error),
        }
    }
}

/// What an order named, once its answer is given.
fn pseudonyms(scope: &Scope) -> Vec<String> {
    match scope {
        Scope::Tenant | Scope::Rest { .. } | Scope::Collection(_) => Vec::new(),
        Scope::Subjects(tokens) => tokens.iter().map(|token| pseudonym("subject", token)).collect(),
        Scope::Record { row, .. } => row.last_chunk::<16>().map(|token| pseudonym("key", token)).into_iter().collect(),
    }
}

/// How far an order is with its second person.
const fn second_person(row: &ShredRow) -> Option<SecondPerson> {
    if !row.two_persons {
        return None;
    }
    Some(match row.progress {
        Progress::Asked => SecondPerson::Awaited,
        Progress::Dropped => SecondPerson::Missed,
        Progress::Pending | Progress::Erased | Progress::Done | Progress::Held => SecondPerson::Approved,
    })
}

/// What finds an order by the report of a run of retention whose deletion it goes with.
pub(super) fn of_report(tenant: TenantNo, report: ReportId, order: ShredId) -> Write {
    Write::Put { space: Space::Control, key: schema::report_shred(tenant, report, order), value: Bytes::new() }
}

/// What an order is about, for the trail.
pub(super) fn aimed_at(scope: &Scope) -> (CollectionNo, Target) {
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

/// How much an order takes along.
pub(super) const fn level(scope: &Scope) -> ShredScope {
    match scope {
        Scope::Tenant | Scope::Rest { .. } => ShredScope::Tenant,
        Scope::Collection(_) => ShredScope::Collection,
        Scope::Subjects(_) => ShredScope::Subject,
        Scope::Record { .. } => ShredScope::Record,
    }
}

/// An order that marks nothing yet.
pub(super) struct NewOrder {
    pub(super) id: ShredId,
    /// Of its commitments.
    salt: [u8; 32],
    pub(super) row: ShredRow,
}

/// An order, and the commit of its intent.
struct IntentOf {
    row: ShredRow,
    checks: Vec<Check>,
    writes: Vec<Write>,
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

/// A scope as answers and certificates name it.
pub(super) const fn scope_name(scope: &Scope) -> &'static str {
    match scope {
        Scope::Tenant => "tenant",
        Scope::Rest { .. } => "rest",
        Scope::Collection(_) => "collection",
        Scope::Subjects(_) => "subject",
        Scope::Record { .. } => "record",
    }
}

/// The targets of an order that destroys these units, and what they are in each collection.
pub(super) fn targets(row: &ShredRow, units: &[UnitIn]) -> (Vec<ShredTarget>, BTreeMap<CollectionNo, Totals>) {
    let tenant = TenantNo(row.tenant);
    let mut totals: BTreeMap<CollectionNo, Totals> = BTreeMap::new();
    if row.scope.is_tenants() {
        // The one key above all that goes.
        totals.entry(CollectionNo::TENANT).or_default().units = 1;
        let target = if row.scope == Scope::Tenant { ShredTarget::Tenant(tenant) } else { ShredTarget::Others(tenant) };
        return (vec![target], totals);
    }
    for (no, _) in units {
        let total = totals.entry(*no).or_default();
        total.units = total.units.saturating_add(1);
    }
    (units.iter().map(|(_, unit)| ShredTarget::Unit { tenant, slot: unit.slot }).collect(), totals)
}
