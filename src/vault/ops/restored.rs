//! Data of an older date under today's control store: what must have happened before it is served, and the proof that it has.
//!
//! A start goes through the shred log by itself ([`Vault::open`]), whatever data it finds. What is over by now is destroyed here,
//! before anything is answered: an expiry that has happened already must not be seen to happen again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Destroyed, Vault, VaultError,
    directory::{Collection, Tenant, damaged},
    plan::{Actor, unit_of},
    rows::{Scope, State, UnitStateRow},
};
use crate::{
    authn::Role,
    domain::{CollectionNo, PrincipalId, ShredId, Slot, TenantNo},
    vault::{
        audit::{self, Action, Entry, Outcome, Target, Trail},
        crypto::{Context, Record, RecordHeader, Sealed},
        store::{
            Durability, Row, Space,
            schema::{self, Table},
        },
    },
};

/// What was looked at of a data store, and what opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Certificates that the control store holds; each is a leaf of the public log.
    pub certificates: u64,
    /// Units that they name.
    pub units: u64,
    /// Records, and headers left of them.
    pub records: u64,
    /// Records that a unit named by a certificate seals, or that lie in a tenant or collection that one names. Each was tried.
    pub named: u64,
    /// Of the others, those that were tried: one in so many.
    pub sampled: u64,
    /// Of these, those that opened.
    pub readable: u64,
    /// Those whose key is gone or about to go: without a certificate so far.
    pub shredded: u64,
    /// Those that neither opened nor are shredded: damaged.
    pub damaged: u64,
    /// What contradicts a certificate, by numbers: no name leaves here.
    pub findings: Vec<String>,
}

/// What certificates name.
#[derive(Default)]
struct Named {
    tenants: HashSet<u64>,
    collections: HashSet<(u64, u32)>,
    slots: HashSet<(u64, u64)>,
    /// Tenants that went in part, and the slots that were kept of them.
    rests: HashMap<u64, HashSet<u64>>,
}

impl Named {
    fn holds(&self, tenant: TenantNo, no: CollectionNo, slot: Slot) -> bool {
        self.rests.get(&tenant.0).is_some_and(|kept| !kept.contains(&slot.number()))
            || self.tenants.contains(&tenant.0)
            || self.collections.contains(&(tenant.0, no.0))
            || self.slots.contains(&(tenant.0, slot.number()))
    }
}

/// A collection whose records may be opened, and its tenant.
type Opener = (Arc<Tenant>, Arc<Collection>);

/// What became of an attempt to open a record.
enum Tried {
    Opened,
    Shredded,
    Damaged,
}

impl Vault {
    /// Whether older data was put back and is not ready to be served.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.inner.restoring.load(Ordering::Acquire)
    }

    /// Nothing is to be served from here on, until [`Vault::end_restoring`].
    pub fn begin_restoring(&self) {
        self.inner.restoring.store(true, Ordering::Release);
    }

    /// The data is as it would be today.
    pub fn end_restoring(&self) {
        self.inner.restoring.store(false, Ordering::Release);
    }

    /// Destroys what is over by now of older data that was put back; its record in the operator's trail is durable when this
    /// returns. What was deleted with an order is deleted again by every start.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done, and the next attempt goes on.
    pub async fn replay_retention(&self) -> Result<Destroyed, VaultError> {
        let request = Self::make_request_id();
        let actor = Actor { principal: PrincipalId([0; 16]), role: Role::Job, request };
        let done = self.destroy_all_due(actor).await?;
        let system = self.tenant_by_number(TenantNo::SYSTEM).await?;
        let entry = Entry {
            tenant: TenantNo::SYSTEM,
            action: Action::BackupRestore,
            outcome: Outcome::Allowed,
            principal: PrincipalId([0; 16]),
            role: audit::Role::System,
            request,
            collection: CollectionNo::TENANT,
            target: Target { count: Some(u32::try_from(done.destroyed).unwrap_or(u32::MAX)), ..Target::default() },
        };
        self.inner.audit.append(Trail::Control, system.audit, entry, Durability::Synced).await?;
        Ok(done)
    }

    /// Holds the data store against every certificate: tries to open each record that one names, and of the others one in `step`.
    ///
    /// # Errors
    /// The engine's; what contradicts a certificate is in the proof.
    pub async fn prove_shreds(&self, step: u64) -> Result<Proof, VaultError> {
        let mut proof = Proof::default();
        let named = self.named_by_certificates(&mut proof).await?;
        let mut known: Option<((TenantNo, CollectionNo), Option<Opener>)> = None;
        let mut others: u64 = 0;
        let mut range = schema::prefix(&[]);
        while let Some(rows) = self.some_rows(Space::Records, &mut range).await? {
            for row in rows {
                proof.records = proof.records.saturating_add(1);
                let Some((tenant, no)) = schema::record_place(&row.key) else {
                    proof.damaged = proof.damaged.saturating_add(1);
                    continue;
                };
                let Ok(header) = RecordHeader::parse(&row.value) else {
                    proof.damaged = proof.damaged.saturating_add(1);
                    continue;
                };
                if header.is_tombstone() {
                    continue;
                }
                let is_named = named.holds(tenant, no, header.slot);
                others = others.saturating_add(u64::from(!is_named));
                if !is_named && others.checked_rem(step.max(1)) != Some(0) {
                    continue;
                }
                if known.as_ref().is_none_or(|(at, _)| *at != (tenant, no)) {
                    known = Some(((tenant, no), self.in_use_at(tenant, no).await?));
                }
                let tried = match known.as_ref().and_then(|(_, found)| found.as_ref()) {
                    Some((tenant, collection)) => self.try_to_open(tenant, collection, &header, row).await?,
                    None => Tried::Shredded,
                };
                proof.count(is_named, &tried, || format!("tenant {tenant}, collection {no}, unit {}", header.slot));
            }
        }
        Ok(proof)
    }

    /// What all certificates name; each unit's own state must say so, too.
    async fn named_by_certificates(&self, proof: &mut Proof) -> Result<Named, VaultError> {
        let mut named = Named::default();
        let mut range = schema::table(Table::Certificate);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                proof.certificates = proof.certificates.saturating_add(1);
                let id = row.key.last_chunk::<16>().map(|id| ShredId(*id)).ok_or_else(|| VaultError::Internal("certificate row".into()))?;
                let Some(order) = self.shred_row(id).await? else {
                    proof.findings.push(format!("certificate {id}: its order is not there"));
                    continue;
                };
                match &order.scope {
                    Scope::Tenant => drop(named.tenants.insert(order.tenant)),
                    Scope::Collection(no) => drop(named.collections.insert((order.tenant, *no))),
                    Scope::Rest { kept } => drop(named.rests.insert(order.tenant, kept.iter().copied().collect())),
                    Scope::Subjects(_) | Scope::Record { .. } => {}
                }
                for slot in self.slots_of(id).await? {
                    proof.units = proof.units.saturating_add(1);
                    named.slots.insert((order.tenant, slot));
                    let known = Slot::new(slot).map(|slot| schema::unit_state(TenantNo(order.tenant), slot));
                    let state: Option<UnitStateRow> = match &known {
                        Some(key) => self.control_row(key).await?,
                        None => None,
                    };
                    // Units of a tenant that is gone as a whole have no state of their own.
                    let is_dead = matches!(state, Some(UnitStateRow { state: State::Shredded(_) }));
                    if !is_dead
                        && matches!(order.scope, Scope::Subjects(_) | Scope::Record { .. })
                        && !named.tenants.contains(&order.tenant)
                    {
                        proof.findings.push(format!("certificate {id}: unit {slot} is not marked as shredded"));
                    }
                }
            }
        }
        Ok(named)
    }

    /// A collection whose records may be opened; `None` where it, or its tenant, is shredded or about to be.
    async fn in_use_at(&self, tenant: TenantNo, no: CollectionNo) -> Result<Option<Opener>, VaultError> {
        let found = async {
            let tenant = self.tenant_by_number(tenant).await?;
            tenant.in_use()?;
            let collection = self.collection_by_number(tenant.no, no).await?;
            Ok((Arc::new(tenant), Arc::new(collection)))
        };
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(error @ (VaultError::Unavailable(_) | VaultError::DiskFull)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn try_to_open(&self, tenant: &Tenant, collection: &Collection, header: &RecordHeader, row: Row) -> Result<Tried, VaultError> {
        let Some(tokens) = schema::record_tokens(&row.key) else { return Ok(Tried::Damaged) };
        let Ok(sealed) = Sealed::<Record>::from_row(row.value).map_err(damaged) else { return Ok(Tried::Damaged) };
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, header);
        let unit = unit_of(header, tenant.no);
        let opened = self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed).is_ok()).await;
        match opened {
            Ok(true) => Ok(Tried::Opened),
            Ok(false) => Ok(Tried::Damaged),
            Err(VaultError::Shredded { .. }) => Ok(Tried::Shredded),
            Err(error @ (VaultError::Unavailable(_) | VaultError::DiskFull | VaultError::Busy)) => Err(error),
            Err(_) => Ok(Tried::Damaged),
        }
    }
}

impl Proof {
    fn count(&mut self, is_named: bool, tried: &Tried, place: impl FnOnce() -> String) {
        if is_named {
            self.named = self.named.saturating_add(1);
            if matches!(tried, Tried::Opened) {
                self.findings.push(format!("{}: a record opens although a certificate names its unit", place()));
            }
            return;
        }
        self.sampled = self.sampled.saturating_add(1);
        let count = match tried {
            Tried::Opened => &mut self.readable,
            Tried::Shredded => &mut self.shredded,
            Tried::Damaged => &mut self.damaged,
        };
        *count = count.saturating_add(1);
    }
}
