//! Certificates: issued after the keys are gone and that was checked, kept in the control store, logged once.

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    Vault, VaultError,
    plan::{entry, object},
    rows::{Progress, RowCodec, Scope, ShredRow},
    shred::Committed,
    shredder::actor_of,
};
use crate::{
    domain::{CollectionNo, Epoch, PrincipalId, ShredId, TenantNo, Timestamp},
    vault::{
        audit::{
            Action, Audit, Trail,
            certificate::{
                self, Approval, ApprovalPolicy, Backup, Certificate, CustodyReceipt, EpochChange, Residual, Totals, Verification,
            },
            commitments::{Commitments, Label},
        },
        crypto::random,
        keys::{EpochReport, ShredTarget},
        store::{Commit, Durability, Space, Urgency, Write, schema},
    },
};

impl Vault {
    /// Certifies an order whose keys are gone, and logs the certificate. Repeated after a crash, it ends in the same
    /// certificate: the first one that was committed.
    pub(super) async fn certify(&self, id: ShredId, row: &ShredRow, reports: &[EpochReport]) -> Result<(), VaultError> {
        match self.inner.store.get(Space::Control, &schema::certificate(id)).await? {
            // Issued before a crash or a failure, after which the leaf may be in the log or not.
            Some(note) => self.inner.audit.publish_if_missing(&note).await?,
            None => self.inner.audit.publish(&self.issue(id, row, reports).await?).await?,
        };
        // Should this be lost in a crash, the next start finds the leaf in the log and says so again.
        let done = Commit {
            checks: Vec::new(),
            writes: vec![Write::Delete { space: Space::Control, key: schema::pending_shred(id) }],
            tail: None,
            durability: Durability::Written,
            urgency: Urgency::Essential,
        };
        self.commit(Trail::Control, done, Vec::new()).await?;
        metrics::histogram!("lethe_shred_seconds").record(self.inner.clock.now().since(Timestamp(row.ordered_at)).as_secs_f64());
        Ok(())
    }

    async fn issue(&self, id: ShredId, row: &ShredRow, reports: &[EpochReport]) -> Result<Bytes, VaultError> {
        let reports = self.all_reports(row, reports).await?;
        let readable_after = self.readable(TenantNo(row.tenant), &row.sample).await?;
        let committed: Committed = serde_json::from_slice(&row.committed).map_err(|_| VaultError::Internal("commitments".into()))?;
        let receipts: Vec<CustodyReceipt> = reports.iter().flat_map(custody_receipts).collect();
        let now = self.inner.clock.now();
        let sum = |count: fn(&super::rows::Totals) -> u64| row.totals.iter().map(|(_, totals)| count(totals)).fold(0, u64::saturating_add);
        let certificate = Certificate {
            id,
            issued_at: now,
            deployment_id: self.inner.store_id,
            system: "lethe".into(),
            tool: concat!("lethe ", env!("CARGO_PKG_VERSION")).into(),
            media: "logical".into(),
            scope: match row.scope {
                Scope::Tenant => certificate::Scope::Tenant,
                Scope::Collection(_) => certificate::Scope::Collection,
                Scope::Subjects(_) => certificate::Scope::Subject,
                Scope::Record { .. } => certificate::Scope::Record,
            },
            action: "erase".into(),
            method: "cryptographic-erase".into(),
            alg: vec!["AES-256-GCM".into(), "XChaCha20-Poly1305".into()],
            strength_bits: 256,
            tenant_commitment: committed.tenant,
            collection_commitment: committed.collection,
            targets: committed.targets,
            key_ids: Commitments::from_salt(self.salt_for_keys(id, row).await?)
                .commit_all(Label::KeyId, key_ids(row, &self.slots_of(id).await?, &reports)),
            totals: Totals {
                units: sum(|totals| totals.units),
                collections: row.totals.iter().filter(|(no, _)| *no != CollectionNo::TENANT.0).count() as u64,
                records_deleted: sum(|totals| totals.deleted),
                records_kept: sum(|totals| totals.kept),
            },
            categories_before: row.categories.clone(),
            confidentiality_after: "none".into(),
            epochs: reports.iter().map(epoch_change).collect(),
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
                sample_size: row.sample.len() as u64,
                seed: hex::encode(row.seed),
                readable_before: row.sample.len() as u64,
                readable_after: u64::from(readable_after),
            },
            holds_checked: false,
            approval: Approval { policy: ApprovalPolicy::Single, performed_by: PrincipalId(row.ordered_by), approved_by: None },
            exceptions_retained: Vec::new(),
            subprocessors_notified: Vec::new(),
            residual_ciphertext: vec![
                Residual { location: "data store".into(), removal_by: None },
                Residual { location: "copies of the data store in other hands".into(), removal_by: None },
            ],
        };
        let note = certificate.issue(&self.inner.signer).map_err(|error| VaultError::Internal(format!("certificate: {error}")))?;
        let note = Bytes::from(note);
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        // Who ordered it has the salt: kept here, it would let anyone confirm a guessed name against the public certificate.
        let row = ShredRow { progress: Progress::Done, done_at: Some(now.0), sealed_salt: Vec::new(), ..row.clone() };
        let commit = Commit {
            checks: Vec::new(),
            writes: vec![
                Write::Put { space: Space::Control, key: schema::certificate(id), value: note.clone() },
                Write::Put { space: Space::Control, key: schema::shred_order(id), value: row.to_row()? },
                Audit::outbox(&note),
            ],
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Essential,
        };
        let done = entry(actor_of(&row), &tenant, Action::ShredDone, CollectionNo::TENANT, object(id.0));
        self.commit(Trail::Control, commit, vec![(tenant.audit, done)]).await?;
        Ok(note)
    }

    /// The reports of all of an order's epochs; those of before a restart are read back.
    async fn all_reports(&self, row: &ShredRow, reports: &[EpochReport]) -> Result<Vec<EpochReport>, VaultError> {
        let mut all = Vec::with_capacity(row.epochs.len());
        for (_, new) in &row.epochs {
            let known = reports.iter().find(|report| report.record.new_epoch.0 == *new).cloned();
            let report = match known {
                Some(report) => report,
                None => self.inner.forest.report(Epoch(*new)).await?.ok_or_else(|| VaultError::Internal("no record of an epoch".into()))?,
            };
            all.push(report);
        }
        Ok(all)
    }

    /// The salt of the commitments to key ids: the order's, or a fresh one where that went with its tenant.
    async fn salt_for_keys(&self, id: ShredId, row: &ShredRow) -> Result<[u8; 32], VaultError> {
        let salt = self.salt_of(id, row).await?.and_then(|salt| hex::decode(salt).ok()).and_then(|salt| salt.try_into().ok());
        Ok(salt.unwrap_or_else(random::bytes))
    }
}

/// Slot and generation of each key that was destroyed, as the commitments take them.
fn key_ids(row: &ShredRow, slots: &HashSet<u64>, reports: &[EpochReport]) -> Vec<Vec<u8>> {
    let own = |done: &&crate::vault::keys::ShredDone| match done.target {
        ShredTarget::Tenant(tenant) => tenant.0 == row.tenant && row.scope == Scope::Tenant,
        ShredTarget::Unit { tenant, slot } => tenant.0 == row.tenant && slots.contains(&slot.number()),
    };
    let id = |done: &crate::vault::keys::ShredDone| {
        let generation = done.generation.map_or([0; 4], crate::domain::Gen::to_be_bytes);
        match done.target {
            ShredTarget::Tenant(tenant) => [&tenant.to_be_bytes()[..], &generation].concat(),
            ShredTarget::Unit { tenant, slot } => [&tenant.to_be_bytes()[..], &slot.to_be_bytes(), &generation].concat(),
        }
    };
    reports.iter().flat_map(|report| report.record.done.iter().filter(own).map(id)).collect()
}

fn epoch_change(report: &EpochReport) -> EpochChange {
    let record = &report.record;
    EpochChange {
        old: record.old_epoch,
        new: record.new_epoch,
        old_root_commitment: record.old_commitment,
        new_root_commitment: record.new_commitment,
        root_page_hash: record.root_page_hash,
        delta_hash: record.delta_hash,
    }
}

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
