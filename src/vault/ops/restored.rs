//! Data of an older date under today's control store: what must have happened before it is served, and the proof that it has.
//!
//! A start goes through the shred log by itself ([`Vault::open_idle`]), whatever data it finds. What is over by now is destroyed here,
//! before anything is answered: an expiry that has happened already must not be seen to happen again.
//!
//! Until the data is in its place nothing is done that would outlive its being given up: no key is destroyed, no order carried out, no
//! gap stated. What may be done without data is done: a hold whose time is over ends, a request that nobody has approved in time is over, a
//! number that was leased stays given.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Destroyed, Vault, VaultError,
    directory::{Collection, Tenant, damaged},
    holds::bind::things_over,
    plan::{Actor, Existing, Live, record_row, unit_of},
    rows::{Scope, ShredRow, State, UnitStateRow},
};
use crate::{
    authn::Role,
    domain::{CollectionNo, PrincipalId, ShredId, Slot, TenantNo, Version, policy::SecondarySubjects},
    vault::{
        audit::{self, Action, Entry, Outcome, Target, Trail},
        crypto::{Context, Record, RecordHeader, Sealed, Token},
        keys::{KeysError, UnitRef},
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
    /// Those whose key is gone, or closed to go: without a certificate so far.
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
        // Orders that are held were not looked at meanwhile.
        self.hold_has_ended();
        self.is_due_at(self.inner.clock.now());
    }

    /// Whether this start has found the data store older than the control store knows it: a copy was put back, by whatever means.
    #[must_use]
    pub fn found_older_data(&self) -> bool {
        self.inner.audit.is_data_older()
    }

    /// From here on, data of before this start is told for older data by every start that finds it. Older data of today must be behind
    /// its fence by then.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn number_start(&self) -> Result<(), VaultError> {
        Ok(self.inner.audit.number_start().await?)
    }

    /// The number of the last checkpoint or start.
    pub async fn start_number(&self) -> u64 {
        self.inner.audit.start_number().await
    }

    /// Destroys what is over by now of older data that was put back; its record in the operator's trail is durable when this
    /// returns. The data is ready only if nothing has failed. What was deleted with an order is deleted again by every start. No key is destroyed by either ([`Plan::keeping_keys`]).
    ///
    /// [`Plan::keeping_keys`]: super::plan::Plan::keeping_keys
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done, and the next attempt goes on.
    pub async fn replay_retention(&self) -> Result<Destroyed, VaultError> {
        let request = Self::make_request_id();
        let actor = Actor { principal: PrincipalId([0; 16]), role: Role::Job, request };
        let done = self.destroy_all_due(actor).await?;
        if done.failed > 0 && done.destroyed == 0 {
            // It is not ready, and nothing was done.
            return Ok(done);
        }
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

    /// Holds the data store against every certificate: tries to open each record that one names, looks for what its order deleted, and
    /// tries of the others one in `step`.
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
            // Whoever is to cut this off has a turn, however fast the reads are.
            tokio::task::yield_now().await;
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
                    // Of a tenant that is gone nothing tells how it would be opened; that its key is there would be too much.
                    None if is_named && self.has_key(unit_of(&header, tenant)).await? => Tried::Opened,
                    None => Tried::Shredded,
                };
                proof.count(is_named, &tried, || format!("tenant {tenant}, collection {no}, unit {}", header.slot));
            }
        }
        self.prove_deletions(&mut proof).await?;
        Ok(proof)
    }

    /// Whether a unit's key is there.
    pub(super) async fn has_key(&self, unit: UnitRef) -> Result<bool, VaultError> {
        match self.inner.forest.load_unit(unit.tenant, unit.slot).await {
            Ok(present) => Ok(present == unit),
            Err(KeysError::Shredded | KeysError::Unknown | KeysError::Damaged(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What orders for persons deleted, and did not shred: by the index, whatever of it opens, names one of them in the place by which it
    /// went, and is older than its order. What the order itself left of it for a law is newer.
    async fn prove_deletions(&self, proof: &mut Proof) -> Result<(), VaultError> {
        let mut range = schema::table(Table::Certificate);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for id in rows.iter().filter_map(|row| row.key.last_chunk::<16>()).map(|id| ShredId(*id)) {
                let Some(order) = self.shred_row(id).await? else { continue };
                if let Scope::Rest { holds, .. } = &order.scope {
                    self.prove_rest(id, TenantNo(order.tenant), holds, proof).await?;
                }
                for subject in order.marked() {
                    self.prove_deletions_of(id, &order, subject, proof).await?;
                }
            }
        }
        Ok(())
    }

    async fn prove_deletions_of(&self, id: ShredId, order: &ShredRow, subject: &Token, proof: &mut Proof) -> Result<(), VaultError> {
        let (no, as_of) = (TenantNo(order.tenant), Version(order.version));
        let mut range = schema::records_of_subject(no, subject);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                let Some((_, collection, tokens)) = schema::subject_record_parts(&row.key) else { continue };
                let Some((tenant, collection)) = self.in_use_at(no, collection).await? else { continue };
                let found = self.existing(&tenant, &collection, &tokens, &record_row(&tenant, collection.no, &tokens)).await;
                let (header, live) = match found {
                    Ok(Some(Existing { header, live: Some(live) })) => (header, live),
                    // What does not open is counted where all records are gone through.
                    Ok(_) | Err(VaultError::Internal(_)) => continue,
                    Err(error) => return Err(error),
                };
                let place = self.subject_tokens(&tenant, &live.meta.subjects).await?.iter().position(|named| named == subject);
                let went = place == Some(0) || (place.is_some() && collection.secondary_at(as_of) == SecondarySubjects::Delete);
                if went && header.version <= as_of && !self.was_let_be((&tenant, &collection), &tokens, &live, order).await? {
                    let collection = collection.no;
                    proof.findings.push(format!("tenant {no}, collection {collection}: a record that the order {id} deleted is there"));
                }
            }
        }
        Ok(())
    }

    /// Whether an order let a record be that another had left for its legal purpose alone before, for its law still stood then.
    async fn was_let_be(
        &self,
        (tenant, collection): (&Tenant, &Collection),
        tokens: &[Token],
        live: &Live,
        order: &ShredRow,
    ) -> Result<bool, VaultError> {
        let row = record_row(tenant, collection.no, tokens);
        Ok(live.restricted_by().is_some() && self.law_then(tenant.no, collection, row, order.decided_as_of()).await?.is_some())
    }

    /// The same of the last order that ended a tenant in part: whatever opens under a key that stayed is one of what its holds were on, or
    /// of what it has left for laws.
    async fn prove_rest(&self, id: ShredId, no: TenantNo, holds: &[[u8; 16]], proof: &mut Proof) -> Result<(), VaultError> {
        let mut on = self.things_under(no, holds).await?;
        on.extend(self.left_by_law(no, id).await?.on);
        let mut range = schema::records_of_tenant(no);
        while let Some(rows) = self.some_rows(Space::Records, &mut range).await? {
            tokio::task::yield_now().await;
            for row in rows {
                let (Some((_, collection)), Some(tokens)) = (schema::record_place(&row.key), schema::record_tokens(&row.key)) else {
                    continue;
                };
                let Some((tenant, collection)) = self.in_use_at(no, collection).await? else { continue };
                if tenant.life.rest != Some(id.0) {
                    return Ok(());
                }
                let live = match self.existing(&tenant, &collection, &tokens, &row.key).await {
                    Ok(Some(Existing { live: Some(live), .. })) => live,
                    // What does not open is counted where all records are gone through.
                    Ok(_) | Err(VaultError::Internal(_)) => continue,
                    Err(error) => return Err(error),
                };
                let subjects = self.subject_tokens(&tenant, &live.meta.subjects).await?;
                if !things_over(collection.no, &tokens, &subjects).iter().any(|thing| on.contains(thing)) {
                    let collection = collection.no;
                    proof.findings.push(format!("tenant {no}, collection {collection}: a record that the order {id} deleted is there"));
                }
            }
        }
        Ok(())
    }

    /// What all certificates name; each unit's own state must say so, too.
    async fn named_by_certificates(&self, proof: &mut Proof) -> Result<Named, VaultError> {
        let mut named = Named::default();
        let mut range = schema::table(Table::Certificate);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            tokio::task::yield_now().await;
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
                    Scope::Rest { kept, .. } => {
                        // Each keeps less than those before it.
                        let kept: HashSet<u64> = kept.iter().copied().collect();
                        let both = |known: &mut HashSet<u64>| known.retain(|slot| kept.contains(slot));
                        named.rests.entry(order.tenant).and_modify(both).or_insert_with(|| kept.clone());
                    }
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

    /// A collection whose records may be opened; `None` where its tenant is shredded or about to be.
    async fn in_use_at(&self, tenant: TenantNo, no: CollectionNo) -> Result<Option<Opener>, VaultError> {
        let found = async {
            let tenant = self.tenant_unmarked(tenant).await?;
            tenant.in_use_or_importing()?;
            // One that is about to be shredded may be taken back: as long as its keys are lent, it counts as what it is.
            let collection = self.collection_unmarked(tenant.no, no).await?;
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
