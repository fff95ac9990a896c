//! Certificates: issued after the keys are gone and that was checked, kept in the control store, logged once.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Vault, VaultError,
    deletions::Touched,
    plan::{entry, object},
    rows::{EPOCHS_MAX, Progress, Retained, Scope, ShredRow, State, SubjectRow, listed},
    sample::split_sample,
    shred::Committed,
    shredder::actor_of,
};
use crate::{
    domain::{
        CollectionNo, Epoch, Gen, PrincipalId, ShredId, TenantNo, Timestamp,
        lifecycle::{Step, TenantState},
    },
    vault::{
        audit::{
            Action, Audit, Trail,
            certificate::{
                self, Approval, ApprovalPolicy, Backup, Certificate, CustodyReceipt, EpochChange, Exception, Residual, Totals, Verification,
            },
            commitments::{Commitments, KeyId, Label},
        },
        crypto::random,
        keys::{EpochReport, ShredDone, ShredTarget},
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// A certificate that is committed, and goes into the log.
pub(super) struct Issued {
    id: ShredId,
    note: Bytes,
    /// Whether it was never brought to the log.
    is_fresh: bool,
    ordered_at: i64,
}

impl Vault {
    /// Logs the certificates of orders whose keys are gone, all under one checkpoint with the epochs that ended.
    /// Repeated after a crash, it ends in the same certificates: the first that were committed.
    pub(super) async fn log_certificates(&self, issued: Vec<Issued>) -> Result<(), VaultError> {
        let (mut fresh, mut unsure) = (Vec::new(), Vec::new());
        let orders: Vec<(ShredId, i64)> = issued.iter().map(|issued| (issued.id, issued.ordered_at)).collect();
        for Issued { note, is_fresh, .. } in issued {
            if is_fresh { &mut fresh } else { &mut unsure }.push(note.to_vec());
        }
        let logged = self.inner.audit.publish_with_epochs(fresh, unsure).await?;
        // Should this be lost in a crash, the next start finds the leaves in the log and says so again.
        let pending = orders.iter().map(|(id, _)| Write::Delete { space: Space::Control, key: schema::pending_shred(*id) });
        self.inner.audit.clear(&logged, pending.collect()).await?;
        let now = self.inner.clock.now();
        for (_, ordered_at) in &orders {
            metrics::histogram!("lethe_shred_seconds").record(now.since(Timestamp(*ordered_at)).as_secs_f64());
        }
        Ok(())
    }

    /// The certificate of an order whose keys are gone: the one that was committed before, or a new one.
    pub(super) async fn certify(&self, id: ShredId, row: &ShredRow, reports: &[Arc<EpochReport>]) -> Result<Issued, VaultError> {
        let before = self.inner.store.get(Space::Control, &schema::certificate(id)).await?;
        // One of before a crash or a failure may be in the log or not.
        let is_fresh = before.is_none();
        let note = match before {
            Some(note) => note,
            None => self.issue(id, row, reports).await?,
        };
        // What its deletions were counted by.
        if self.inner.store.get(Space::Index, &schema::shred_deleted(id, CollectionNo::TENANT)).await?.is_some() {
            let counted = [schema::all_shred_deleted(id), schema::all_shred_retained(id)];
            let gone = counted.map(|range| Write::DeleteRange { space: Space::Index, from: range.from, to: range.to });
            self.data(gone.into(), Vec::new(), Durability::Written).await?;
        }
        Ok(Issued { id, note, is_fresh, ordered_at: row.ordered_at })
    }

    async fn issue(&self, id: ShredId, row: &ShredRow, reports: &[Arc<EpochReport>]) -> Result<Bytes, VaultError> {
        let reports = self.all_reports(id, row, reports).await?;
        let slots = self.slots_of(id).await?;
        let touched = self.touched(id, row, &slots).await?;
        // What an end in part leaves for laws is settled with its intent.
        let retained = if matches!(row.scope, Scope::Rest { .. }) { row.retained.clone() } else { self.retained_by(id).await? };
        let mut categories = self.categories_of(row, touched.keys()).await?;
        categories.extend(row.categories.iter().cloned());
        let (unreadable_before, sample) = split_sample(&row.sample);
        let readable_after = self.readable(TenantNo(row.tenant), sample).await?;
        let committed: Committed = serde_json::from_slice(&row.committed).map_err(|_| VaultError::Internal("commitments".into()))?;
        let receipts: Vec<CustodyReceipt> = reports.iter().flat_map(|report| custody_receipts(report)).collect();
        let now = self.inner.clock.now();
        let sum = touched.values().fold(super::rows::Totals::default(), |sum, more| sum.plus(*more));
        let certificate = Certificate {
            id,
            issued_at: now,
            deployment_id: self.inner.store_id,
            system: "lethe".into(),
            tool: concat!("lethe ", env!("CARGO_PKG_VERSION")).into(),
            media: "logical".into(),
            scope: certified(&row.scope),
            action: "erase".into(),
            method: "cryptographic-erase".into(),
            alg: vec!["AES-256-GCM".into(), "XChaCha20-Poly1305".into()],
            strength_bits: 256,
            tenant_commitment: committed.tenant,
            collection_commitment: committed.collection,
            targets: committed.targets,
            key_ids: match committed.key_ids {
                Some(committed) => committed,
                None => Commitments::from_salt(self.salt_for_keys(id, row).await?).commit_all(Label::KeyId, key_ids(row, &slots, &reports)),
            },
            totals: Totals {
                units: sum.units,
                collections: touched.keys().filter(|no| **no != CollectionNo::TENANT).count() as u64,
                records_deleted: sum.deleted,
                records_kept: sum.kept,
            },
            categories_before: categories.into_iter().collect(),
            confidentiality_after: "none".into(),
            epochs: reports.iter().map(|report| EpochChange::of(&report.record)).collect(),
            effective_at: receipts.iter().map(|receipt| receipt.effective_at).max().unwrap_or(now),
            final_at: receipts.iter().map(|receipt| receipt.final_at).max().unwrap_or(now),
            statement: certificate::statement(&receipts),
            copies_destroyed: receipts,
            backups: vec![Backup {
                id: "every copy of the control and data stores".into(),
                contains_wrapped_keys: true,
                unwrap_possible: false,
            }],
            verification: Verification {
                sample_size: sample.len() as u64,
                seed: hex::encode(row.seed),
                readable_before: sample.len() as u64,
                readable_after: u64::from(readable_after),
                unreadable_before: u64::from(unreadable_before),
            },
            holds_checked: true,
            approval: Approval {
                policy: if row.two_persons { ApprovalPolicy::TwoPerson } else { ApprovalPolicy::Single },
                performed_by: PrincipalId(row.ordered_by),
                approved_by: row.approved_by.map(PrincipalId),
            },
            exceptions_retained: exceptions(&retained),
            subprocessors_notified: Vec::new(),
            residual_ciphertext: residual(row, &retained),
            beyond: None,
        };
        let note = certificate.fitted().issue(&self.inner.signer).map_err(|error| VaultError::Internal(format!("certificate: {error}")))?;
        let note = Bytes::from(note);
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        // Who ordered it has the salt: kept here, it would let anyone confirm a guessed name against the public certificate.
        let row = ShredRow {
            progress: Progress::Done,
            done_at: Some(now.0),
            sealed_salt: Vec::new(),
            totals: listed(&touched),
            retained,
            ..row.clone()
        };
        let (checks, mut writes) = self.final_subjects(id, &row).await?;
        writes.extend([
            Write::Put { space: Space::Control, key: schema::certificate(id), value: note.clone() },
            self.inner.seals.put(schema::shred_order(id), &row)?,
            Audit::outbox(&note),
        ]);
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let done = entry(actor_of(&row), &tenant, Action::ShredDone, CollectionNo::TENANT, object(id.0));
        self.commit(Trail::Control, commit, vec![(tenant.audit, done)]).await?;
        if matches!(row.scope, Scope::Rest { .. }) {
            self.inner.directory.forget_all();
            // Holds that have ended meanwhile keep nothing any more: what follows from that does with the next run.
            self.hold_has_ended();
            self.is_due_at(now);
        }
        Ok(note)
    }

    /// The persons that an order marked are shredded now; they were pending until what is deleted was gone too. So was a tenant that
    /// went in part.
    async fn final_subjects(&self, id: ShredId, row: &ShredRow) -> Result<(Vec<Check>, Vec<Write>), VaultError> {
        if matches!(row.scope, Scope::Rest { .. }) {
            let (checks, mut writes) = self.restricted(TenantNo(row.tenant), id).await?;
            if !writes.is_empty() {
                writes.extend(self.changed_by(row, TenantState::Pending, Step::Restrict)?);
            }
            return Ok((checks, writes));
        }
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        let (shredded, seals) = (SubjectRow { state: State::Shredded(id.0) }, &self.inner.seals);
        for token in row.marked() {
            let key = schema::subject_state(TenantNo(row.tenant), token);
            let Some(before) = self.inner.store.get(Space::Control, &key).await? else { continue };
            if seals.open::<SubjectRow>(&key, &before)?.state == State::Pending(id.0) {
                checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(before) });
                writes.push(seals.put(key, &shredded)?);
                // Each id is erased by itself from here on: who begins anew has that one alone.
                let alias = schema::alias(TenantNo(row.tenant), token);
                if self.inner.store.get(Space::Control, &alias).await?.is_some() {
                    writes.push(Write::Delete { space: Space::Control, key: alias });
                }
                writes.extend(self.events_forgotten(TenantNo(row.tenant), token).await?);
            }
        }
        Ok((checks, writes))
    }

    /// What an order touched, by collection: its units, and what it deleted and kept.
    async fn touched(&self, id: ShredId, row: &ShredRow, slots: &HashSet<u64>) -> Result<Touched, VaultError> {
        let mut touched = if row.lists_all() {
            row.totals.iter().map(|(no, totals)| (CollectionNo(*no), *totals)).collect()
        } else {
            self.units_by_collection(row, slots).await?
        };
        for (no, more) in self.deleted_by(id).await? {
            let total = touched.entry(no).or_default();
            *total = total.plus(more);
        }
        Ok(touched)
    }

    /// The reports of all of an order's epochs; those of before a restart are read back.
    async fn all_reports(&self, id: ShredId, row: &ShredRow, reports: &[Arc<EpochReport>]) -> Result<Vec<Arc<EpochReport>>, VaultError> {
        let mut epochs: BTreeSet<u64> = row.epochs.iter().map(|(_, new)| *new).collect();
        if row.epochs.len() >= EPOCHS_MAX {
            let range = schema::slots_of_shred(id);
            let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await?;
            epochs.extend(rows.iter().filter_map(|row| row.key.last_chunk()).map(|epoch| u64::from_be_bytes(*epoch)));
        }
        let mut all = Vec::with_capacity(epochs.len());
        for new in epochs {
            let known = reports.iter().find(|report| report.record.new_epoch.0 == new).cloned();
            let report = match known {
                Some(report) => report,
                None => self
                    .inner
                    .forest
                    .report(Epoch(new))
                    .await?
                    .map(Arc::new)
                    .ok_or_else(|| VaultError::Internal("no record of an epoch".into()))?,
            };
            all.push(report);
        }
        Ok(all)
    }

    /// The salt of the commitments to key ids: the order's, or where that went with its tenant in the meantime a fresh one that
    /// nobody has.
    async fn salt_for_keys(&self, id: ShredId, row: &ShredRow) -> Result<[u8; 32], VaultError> {
        let salt = self.salt_of(id, row).await?.and_then(|salt| hex::decode(salt).ok()).and_then(|salt| salt.try_into().ok());
        Ok(salt.unwrap_or_else(random::bytes))
    }
}

/// The scope of an order, as its certificate gives it.
const fn certified(scope: &Scope) -> certificate::Scope {
    match scope {
        Scope::Tenant => certificate::Scope::Tenant,
        Scope::Collection(_) => certificate::Scope::Collection,
        Scope::Subjects(_) => certificate::Scope::Subject,
        Scope::Record { .. } => certificate::Scope::Record,
        Scope::Rest { .. } => certificate::Scope::Rest,
    }
}

/// Each key that was destroyed, as the commitments take it: by epoch, then by slot.
fn key_ids(row: &ShredRow, slots: &HashSet<u64>, reports: &[Arc<EpochReport>]) -> Vec<Vec<u8>> {
    let id = |done: &ShredDone| {
        // The row tells the generation of what took its place.
        let destroyed = done.generation.map(|generation| Gen(generation.0.saturating_sub(1)));
        match done.target {
            ShredTarget::Unit { tenant, slot } if tenant.0 == row.tenant && slots.contains(&slot.number()) => {
                Some(KeyId::Unit(tenant, slot, destroyed).to_bytes())
            }
            // A tenant's own is committed to with its order, for the salt goes with it.
            ShredTarget::Unit { .. } | ShredTarget::Tenant(_) | ShredTarget::Others(_) => None,
        }
    };
    reports.iter().flat_map(|report| report.record.done.iter().filter_map(id)).collect()
}

/// Where ciphertext lies that is not destroyed with its key, or not yet.
fn residual(row: &ShredRow, retained: &[Retained]) -> Vec<Residual> {
    let mut all = vec![
        // The job that removes it works only while the server runs and the disk takes writes: no date can be promised.
        Residual { location: "data store, removed in the background".into(), removal_by: None },
        Residual { location: "copies of the data store in other hands".into(), removal_by: None },
    ];
    if row.has_spared {
        // One key seals what the law keeps and what was only deleted beside it, in every copy that was made before.
        let ends: Option<Vec<i64>> = retained.iter().map(|one| one.until).collect();
        let removal_by = ends.and_then(|ends| ends.into_iter().max()).map(Timestamp);
        let location = "earlier copies of the data store: what was deleted beside what a law keeps, readable with its key until that goes";
        all.push(Residual { location: location.into(), removal_by });
    }
    all
}

/// What the law keeps, as a certificate gives it: by the law that is cited, the one that lasts longest first.
fn exceptions(retained: &[Retained]) -> Vec<Exception> {
    let mut by_law: BTreeMap<&str, i64> = BTreeMap::new();
    for Retained { basis, until, .. } in retained {
        let known = by_law.entry(basis.as_str()).or_insert(i64::MIN);
        *known = (*known).max(until.unwrap_or(END_UNKNOWN));
    }
    let mut all: Vec<Exception> =
        by_law.into_iter().map(|(basis, until)| Exception { basis: basis.to_owned(), until: Timestamp(until) }).collect();
    all.sort_by_key(|exception| std::cmp::Reverse(exception.until));
    all.truncate(EXCEPTIONS);
    all
}

/// Exceptions that a certificate lists: it must fit a leaf of the log, and a basis has 512 bytes.
const EXCEPTIONS: usize = 16;
/// What stands for an end that is not known: the last day of the calendar, 9999-12-31T00:00:00Z.
const END_UNKNOWN: i64 = 253_402_214_400_000;

fn custody_receipts(report: &EpochReport) -> Vec<CustodyReceipt> {
    let receipt = |receipt: &crate::vault::keys::DestroyReceipt| CustodyReceipt {
        epoch: report.record.old_epoch,
        kind: receipt.kind.to_owned(),
        level: receipt.level.as_str().to_owned(),
        effective_at: receipt.effective_at,
        final_at: receipt.final_at,
        evidence: receipt.evidence.join(" "),
    };
    report.receipts.iter().map(receipt).collect()
}
