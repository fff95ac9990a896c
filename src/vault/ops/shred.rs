//! Orders to shred: from the commit of the intent on, everything they name answers 410.
//!
//! * [`intent`]: the commit that makes an order durable.
//! * [`units`]: the keys that it destroys, and the fence before them.
//! * [`view`]: what is shown of it.

use std::time::Duration;

use bytes::Bytes;

use self::{
    intent::IntentOf,
    view::{scope_name, second_person},
};
use super::{
    Caller, Missing, Unprocessable, Vault, VaultError,
    access::InTenant,
    approvals::{Along, AskedOrder},
    directory::{Collection, Tenant, pseudonym},
    holds::bind::told_of,
    minimum::{Frozen, Unkept},
    plan::{Actor, Existing, Plan, record_row, retrying},
    refused::Place,
    replies::{Before, Keeping},
    rows::{Progress, Scope, ShredRow},
};
use crate::{
    authz::{self, AliasRead, Resource, ShredOrder as OrderAction},
    domain::{
        CollectionName, RecordKey, ReportId, ShredId, ShredUnit, SubjectId, TenantName, TenantNo, Timestamp, approval::ShredScope, limits,
    },
    vault::{
        audit::Action,
        crypto::{OpenError, RECORD_HEADER_LEN, RecordHeader, Token},
        store::{Check, Expect, Space, Write, schema},
    },
};

mod intent;
mod units;
mod view;

pub(super) use intent::{Committed, NewOrder, aimed_at};
pub(super) use units::{UnitIn, targets};
pub use view::{Denied, RetainedView, SecondPerson, ShredTotals, ShredView};

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
            denied: None,
            epochs: Vec::new(),
        }
    }
}

/// An order that was given.
enum Ordered {
    /// By this request, what it names, and whom of the request it leaves out.
    Now(Box<Queued>, Named, Option<Denied>),
    /// By this request, and it waits for a second person.
    Asked(Box<Queued>, Named),
    /// By this request, which was sent before with the same idempotency key; and whom of the request it leaves out.
    Again(ShredId, Option<Denied>),
    /// By an earlier one, of the same that still waits for a second person.
    Before(ShredId),
}

impl Vault {
    /// Orders a shred. Returns once the intent is durable and everything named answers 410, with a view of it as pending; with
    /// `wait`, once it is done or the time is over. An order given before, under the same idempotency key, is seen as it is now. One that
    /// takes two persons by the tenant's policy waits for the second: until then nothing is destroyed, and everything is there. Of several
    /// persons those whom a hold keeps are left out, with an order of their own that is held ([`Denied`]).
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
        let (queued, named, denied) = match ordered {
            Ordered::Now(queued, named, denied) => (queued, named, denied),
            Ordered::Asked(queued, named) => return Ok(queued.view(named)),
            Ordered::Again(id, denied) => {
                // Whose first answer is lost has the salt from this one; it is gone from the certificate on.
                let row = self.shred_row(id).await?.ok_or(VaultError::NotFound(Missing::Shred))?;
                let salt = self.salt_of(id, &row).await?;
                return Ok(ShredView { salt, ..self.shred(caller, tenant, id, wait).await?.denying(denied) });
            }
            Ordered::Before(id) => return self.shred(caller, tenant, id, wait).await,
        };
        let Some(wait) = wait else { return Ok(queued.view(named).denying(denied)) };
        let id = queued.id;
        self.inner.shredder.wait(id, wait).await;
        let row = self.shred_row(id).await?.ok_or(VaultError::NotFound(Missing::Shred))?;
        if row.progress == Progress::Held {
            return Err(self.held(caller, id, &row).await?);
        }
        let view = self.view(id, &row).await?.denying(denied);
        Ok(ShredView { salt: Some(hex::encode(queued.salt)), targets: named.targets, ..view })
    }

    async fn order(&self, caller: &Caller, tenant: &TenantName, order: ShredOrder, key: Option<&str>) -> Result<Ordered, VaultError> {
        if matches!(&order, ShredOrder::Subjects(subjects) if subjects.len() as u64 > limits::SHRED_SUBJECTS.max) {
            return Err(VaultError::Limit(limits::SHRED_SUBJECTS));
        }
        let ordered = retrying(|| async {
            let keeping = match self.ordered_before(caller, tenant, &order, key).await? {
                Some(Before::Made(made, _)) => match self.ordered_already(caller, ShredId(made.id)).await? {
                    Some(id) => return Ok(Ordered::Again(id, self.left_out_of(id, &order).await?)),
                    // What it named went with another order: who sends it again is told so by what is gone.
                    None => None,
                },
                Some(Before::Nothing(keeping)) => Some(keeping),
                None => None,
            };
            let mut denied = None;
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
                    // What two persons approve is carried out as they did, or held.
                    if (!found.tenant.rules().asks_for(ShredScope::Subject) || fault!("part-asked"))
                        && !fault!("part-held")
                        && let Some((free, held)) = self.part_held(caller, &found.tenant, &named).await?
                    {
                        (named, denied) = (free, Some(held));
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
            Ok(Ordered::Now(Box::new(queued?), told, denied))
        })
        .await?;
        if let Ordered::Now(queued, ..) = &ordered {
            self.close_queued(queued).await?;
        }
        Ok(ordered)
    }

    /// Whom an order leaves out of those that its request names, as long as the order for these is held.
    async fn left_out_of(&self, id: ShredId, order: &ShredOrder) -> Result<Option<Denied>, VaultError> {
        let (ShredOrder::Subjects(subjects), Some(row)) = (order, self.shred_row(id).await?) else { return Ok(None) };
        let Scope::Subjects(given) = &row.scope else { return Ok(None) };
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        let mut named: Vec<SubjectId> = subjects.clone();
        named.sort_unstable();
        named.dedup();
        let tokens = match self.subject_tokens(&tenant, &named).await {
            // Nobody is held any more.
            Err(VaultError::Shredded { .. }) => return Ok(None),
            tokens => tokens?,
        };
        let others: Vec<SubjectId> =
            named.into_iter().zip(&tokens).filter(|(_, token)| !given.contains(token)).map(|(subject, _)| subject).collect();
        if others.is_empty() { Ok(None) } else { self.held_part(&tenant, others).await }
    }

    /// The tokens of an order's persons by all their ids, those that were named first; and all these names.
    pub(super) async fn persons_of_order(&self, tenant: &Tenant, named: Vec<SubjectId>) -> Result<(Vec<Token>, Named), VaultError> {
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
}

/// What finds an order by the report of a run of retention whose deletion it goes with.
pub(super) fn of_report(tenant: TenantNo, report: ReportId, order: ShredId) -> Write {
    Write::Put { space: Space::Control, key: schema::report_shred(tenant, report, order), value: Bytes::new() }
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
