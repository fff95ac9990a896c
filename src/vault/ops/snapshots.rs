//! Snapshots of the data store, for `lethe backup` to copy from: who may have one taken, and that it is on the record.

use std::path::PathBuf;

use super::{Caller, Vault, VaultError, plan::entry, plan::object, refused::Place};
use crate::{
    authz::BackupTake,
    domain::{CollectionNo, Epoch, SnapshotId, StoreId, Timestamp},
    vault::{
        audit::{Action, known_log_head, log_head_key},
        crypto::random,
        store::Space,
    },
};

/// A snapshot, and when in the store's life it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotView {
    /// Its id.
    pub id: SnapshotId,
    /// Of which store.
    pub store: StoreId,
    /// Where it lies on the server's machine.
    pub dir: PathBuf,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The epoch of the control store.
    pub epoch: Epoch,
    /// Entries of the public log.
    pub log_size: u64,
    /// How many records there are, as the engine estimates.
    pub records_estimate: u64,
}

impl Vault {
    /// Takes a snapshot of the data store. It is kept while its lease is held, and for two minutes until somebody holds it.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`]; those of the store: a full disk above all.
    pub async fn take_snapshot(&self, caller: &Caller) -> Result<SnapshotView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller) = (self.clone(), asker.clone());
        let taken = self.to_the_end(async move {
            let system = vault.permit_system::<BackupTake>(&caller).await?;
            let id = SnapshotId(random::bytes());
            let entry = entry(&caller, &system, Action::BackupTake, CollectionNo::TENANT, object(id.0));
            vault.read_receipt(&system, entry).await?;
            let taken = vault.inner.store.take_snapshot(id).await?;
            // As of now, behind the files: so nothing in them is of a later epoch or log than what is told.
            let head = vault.inner.store.get(Space::Control, &log_head_key()).await?;
            let log_size = known_log_head(head.as_ref())?.map_or(0, |(size, _)| size);
            let (taken_at, epoch) = (vault.inner.clock.now(), vault.inner.forest.epoch());
            let (dir, records_estimate) = (taken.dir, taken.records_estimate);
            Ok(SnapshotView { id, store: vault.inner.store_id, dir, taken_at, epoch, log_size, records_estimate })
        });
        self.on_record(asker, Place::STORE, Action::BackupTake, taken).await
    }

    /// Lets a snapshot go; one that is not there is gone already.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`]; those of the disk.
    pub async fn release_snapshot(&self, caller: &Caller, id: SnapshotId) -> Result<(), VaultError> {
        let caller = &caller.begin();
        let release = async {
            let system = self.permit_system::<BackupTake>(caller).await?;
            self.inner.store.release_snapshot(id).await?;
            let entry = entry(caller, &system, Action::BackupTake, CollectionNo::TENANT, object(id.0));
            self.read_receipt(&system, entry).await.map(drop)
        };
        self.on_record(caller, Place::STORE, Action::BackupTake, release).await
    }

    /// Lets go the snapshots that nobody copies from any more.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn sweep_snapshots(&self) -> Result<u64, VaultError> {
        Ok(self.inner.store.sweep_snapshots().await?)
    }
}
