//! What is shown of an order, and to whom: for its tenant, and for the token that gave it also when the tenant is gone. The certificate is
//! for everyone who has its id.

use std::time::Duration;

use bytes::Bytes;

use super::super::{
    Caller, Missing, Vault, VaultError,
    directory::{damaged, pseudonym},
    plan::{entry, object},
    refused::Place,
    rows::{Progress, Retained, Scope, ShredRow, Totals},
};
use crate::{
    authz::ShredRead,
    domain::{CollectionNo, ShredId, TenantName, TenantNo, Timestamp},
    vault::{
        audit::Action,
        crypto::{Context, Sealed, ShredAnswer},
        store::{Space, schema},
    },
};

/// An order as who gave it sees it.
#[derive(Debug, Clone)]
pub struct ShredView {
    /// Its id, which is also its certificate's.
    pub id: ShredId,
    /// Whether it is certified and logged.
    pub done: bool,
    /// Whether a legal obligation keeps what it names, a hold or what a law came to keep meanwhile: that is there as before.
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
    /// What of it a legal obligation denies: a law, or a hold.
    pub denied: Option<Denied>,
    /// Epochs that carried it out: (old, new).
    pub epochs: Vec<(u64, u64)>,
}

impl ShredView {
    /// `pending`, `done`, `held`, `waiting-for-approval` or `not-approved`.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        state_name(self.done, self.held, self.second)
    }

    /// The same, of a request of which others are denied.
    pub(super) fn denying(self, denied: Option<Denied>) -> Self {
        Self { denied: denied.or(self.denied), ..self }
    }
}

/// What of a request to shred a legal obligation denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Whether the rest of it is carried out.
    pub in_part: bool,
    /// The order for those whom holds keep, of a request for several persons: it is held.
    pub order: Option<ShredId>,
    /// These, as they were named.
    pub targets: Vec<String>,
}

impl Denied {
    /// What an order itself tells.
    fn of(row: &ShredRow, is_done: bool) -> Option<Self> {
        let is_held = row.progress == Progress::Held;
        let in_part = matches!(row.scope, Scope::Rest { .. }) || (is_done && !row.retained.is_empty());
        (is_held || in_part).then(|| Self { in_part: !is_held, order: None, targets: Vec::new() })
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

impl Vault {
    /// The salt of an order's commitments; `None` once it is done, or its tenant is gone.
    pub(in crate::vault::ops) async fn salt_of(&self, id: ShredId, row: &ShredRow) -> Result<Option<String>, VaultError> {
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
    pub(in crate::vault::ops) async fn shred_row(&self, id: ShredId) -> Result<Option<ShredRow>, VaultError> {
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
    pub(in crate::vault::ops) async fn is_done(&self, id: ShredId, row: &ShredRow) -> Result<bool, VaultError> {
        let pending = self.inner.store.get(Space::Control, &schema::pending_shred(id)).await?;
        Ok(row.progress == Progress::Done && pending.is_none())
    }

    /// An order's state.
    pub(in crate::vault::ops) async fn order_state(&self, id: ShredId, row: &ShredRow) -> Result<&'static str, VaultError> {
        Ok(state_name(self.is_done(id, row).await?, row.progress == Progress::Held, second_person(row)))
    }

    /// An order as it is now, without its salt: that is in its own answer.
    pub(super) async fn view(&self, id: ShredId, row: &ShredRow) -> Result<ShredView, VaultError> {
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
            denied: Denied::of(row, done),
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
pub(super) const fn second_person(row: &ShredRow) -> Option<SecondPerson> {
    if !row.two_persons {
        return None;
    }
    Some(match row.progress {
        Progress::Asked => SecondPerson::Awaited,
        Progress::Dropped => SecondPerson::Missed,
        Progress::Pending | Progress::Erased | Progress::Done | Progress::Held => SecondPerson::Approved,
    })
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
