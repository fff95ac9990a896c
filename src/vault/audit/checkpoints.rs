//! Heads into the control store and the log; leaves into the log exactly once; what older data has lost.
//!
//! Order of a checkpoint: the data store's mark, synced, which makes all entries before it durable; then, in one commit to
//! the control store, the heads, the mark and the leaf in the outbox; then the leaf into the log; then the outbox is cleared.
//! At start every leaf in the outbox is looked for in the log by its hash, and appended if it is not there. A leaf of heads
//! that the log did not take is brought again before the next checkpoint; one of a certificate, by who issues it.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Audit, AuditError, Entry,
    action::{Action, Role},
    chain::Trail,
    entry::{Outcome, Target},
    heads::{self, Head, HeadRow, ProvenHead},
    leaf::Leaf,
    merkle::{self, Hash},
    tails::LeftChain,
    tlog::LogError,
    writer::Chain,
};
use crate::{
    domain::{CollectionNo, PrincipalId, RequestId, TenantNo, Timestamp, WriterId},
    vault::{
        crypto::{Receipt, random},
        keys::UnitRef,
        store::{Commit, Durability, Space, Store, Urgency, Write, schema},
    },
};

/// Heads of one leaf and one commit.
const HEADS_PER_LEAF: usize = 1_000;
/// Rows read at once.
pub(super) const SCAN_LEN: usize = 1_000;
/// Leaves read at once: the longest has 64 KiB.
const OUTBOX_LEN: usize = 64;
/// Name of the control store's row that holds the number of the last checkpoint.
const MARK: &str = "audit-mark";
/// Name of the control store's row that holds the log's size and root.
const LOG_HEAD: &str = "log-head";

/// Name of the control store's row that holds the size and root which the log's files have on the disk.
pub(super) const LOG_FILED: &str = "log-filed";

/// What of the trails no checkpoint covers: entries that could be cut off unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// How many.
    pub entries: u64,
    /// Age of the oldest; of what is covered by a leaf that the log did not take yet, too.
    pub age: Duration,
}

/// Leaves that are in the log, by their hashes, of which the control store is to be told with [`Audit::clear`].
#[derive(Debug)]
#[must_use = "the control store keeps them until it is told"]
pub struct Logged {
    hashes: Vec<Hash>,
    /// The log's size and root behind them; `None` where they may have been there before.
    head: Option<(u64, Hash)>,
}

/// A chain that has grown since the last checkpoint.
struct Dirty {
    tenant: TenantNo,
    writer: WriterId,
    head: Head,
    since: Timestamp,
    chain: Arc<Chain>,
}

impl Audit {
    /// Writes the heads of all chains that have grown into the control store and the log; how many. One at a time, and none
    /// before every [`LostTail`](super::LostTail) is stated.
    ///
    /// # Errors
    /// [`AuditError`]: heads not covered now are covered by the next checkpoint.
    pub async fn checkpoint(&self) -> Result<u64, AuditError> {
        let covered = self.cover_all().await?;
        self.file_log().await?;
        Ok(covered)
    }

    async fn cover_all(&self) -> Result<u64, AuditError> {
        let mut mark = self.0.mark.lock().await;
        self.bring_again().await?;
        let left = self.left();
        let dirty = self.dirty(&left);
        if dirty.is_empty() {
            self.settle_left().await?;
            return Ok(0);
        }
        if self.0.unstated.load(Ordering::Acquire) > 0 {
            return Ok(0);
        }
        let number = mark.saturating_add(1);
        self.write(vec![put(Space::Index, schema::audit_mark(), number.to_be_bytes().to_vec())]).await?;
        // Whatever becomes of the rest: a number that stands in two data stores would not tell which of them is older.
        *mark = number;
        for chains in dirty.chunks(HEADS_PER_LEAF) {
            self.cover(chains, number).await?;
        }
        self.settle_left().await?;
        let covered = u64::try_from(dirty.len()).unwrap_or(u64::MAX);
        drop(dirty);
        self.drop_idle();
        Ok(covered)
    }

    /// Numbers this start as a checkpoint is numbered, without one: a copy of the data store from before is then told for one, however
    /// little happened since. Not before what older data must go through is written down where the next start finds it.
    ///
    /// # Errors
    /// [`AuditError::Store`].
    pub async fn number_start(&self) -> Result<(), AuditError> {
        let mut mark = self.0.mark.lock().await;
        if self.0.unstated.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        let number = mark.saturating_add(1);
        self.write(vec![put(Space::Index, schema::audit_mark(), number.to_be_bytes().to_vec())]).await?;
        *mark = number;
        self.write(vec![put(Space::Control, schema::setting(MARK), number.to_be_bytes().to_vec())]).await
    }

    /// The number of the last checkpoint or start, of those that control knows and of those that the data store knows the higher one.
    pub async fn start_number(&self) -> u64 {
        *self.0.mark.lock().await
    }

    /// The row that keeps a leaf until it is in the log: part of the control commit that the leaf reports.
    #[must_use]
    pub fn outbox(leaf: &[u8]) -> Write {
        put(Space::Control, schema::log_outbox(&merkle::leaf_hash(leaf)), leaf.to_vec())
    }

    /// Appends a leaf whose [`Audit::outbox`] row is committed; its index, once it is durable there. Called once for each leaf:
    /// after an error [`Audit::publish_if_missing`] brings it again, or the next start does.
    ///
    /// # Errors
    /// [`AuditError::Log`] or [`AuditError::Store`].
    pub async fn publish(&self, leaf: &[u8]) -> Result<u64, AuditError> {
        let appended = self.0.log.append(vec![leaf.to_vec()]).await?;
        let logged = Logged { hashes: vec![merkle::leaf_hash(leaf)], head: Some(appended.head) };
        self.clear_outbox(&logged, Vec::new()).await?;
        Ok(appended.first)
    }

    /// [`Audit::publish_epochs`], and `leaves` behind them under the same checkpoint; the log has all of them once this is
    /// answered. [`Audit::clear`] says so in the control store. `unsure` are leaves of which it is not known whether they are in it.
    ///
    /// # Errors
    /// [`AuditError::Log`] or [`AuditError::Store`]: none of the leaves may be taken for logged, and all are unsure.
    pub async fn publish_with_epochs(&self, leaves: Vec<Vec<u8>>, mut unsure: Vec<Vec<u8>>) -> Result<Logged, AuditError> {
        let mut told = self.0.told.lock().await;
        let (mut fresh, again) = self.waiting_epochs(&mut told).await?;
        fresh.extend(leaves);
        unsure.extend(again);
        let hashes = unsure.iter().chain(&fresh).map(|leaf| merkle::leaf_hash(leaf)).collect();
        if !unsure.is_empty() {
            self.0.log.append_missing(unsure).await?;
        }
        let head = if fresh.is_empty() { None } else { Some(self.0.log.append(fresh).await?.head) };
        Ok(Logged { hashes, head })
    }

    /// Says in the control store what is in the log, with `rows` that go with it.
    ///
    /// # Errors
    /// [`AuditError::Log`] or [`AuditError::Store`]: the next start finds the leaves in the log.
    pub async fn clear(&self, logged: &Logged, rows: Vec<Write>) -> Result<(), AuditError> {
        self.clear_outbox(logged, rows).await?;
        self.0.told.lock().await.retain(|hash| !logged.hashes.contains(hash));
        Ok(())
    }

    /// [`Audit::publish`] for a leaf of which it is not known whether it is in the log.
    ///
    /// # Errors
    /// [`AuditError::Log`] or [`AuditError::Store`].
    pub async fn publish_if_missing(&self, leaf: &[u8]) -> Result<u64, AuditError> {
        let index = self.0.log.append_missing(vec![leaf.to_vec()]).await?.first().copied().ok_or(LogError::Closed)?;
        let logged = Logged { hashes: vec![merkle::leaf_hash(leaf)], head: None };
        self.clear_outbox(&logged, Vec::new()).await?;
        Ok(index)
    }

    /// Syncs the files of the log, where leaves came into it since the last time, and says so in the control store.
    ///
    /// # Errors
    /// [`AuditError::Log`] or [`AuditError::Store`]: until the next call the journal alone vouches for those leaves.
    pub async fn file_log(&self) -> Result<(), AuditError> {
        // One after the other, so that the head in control never goes back.
        let _one_at_a_time = self.0.filing.lock().await;
        match self.0.log.file().await? {
            Some(head) => self.tell_filed(head).await,
            None => Ok(()),
        }
    }

    pub(super) async fn tell_filed(&self, (size, root): (u64, Hash)) -> Result<(), AuditError> {
        self.write(vec![put(Space::Control, schema::setting(LOG_FILED), [size.to_be_bytes().as_slice(), &root].concat())]).await?;
        self.0.log.told((size, root));
        Ok(())
    }

    /// The hashes of the leaves that control keeps for the log.
    pub(super) async fn kept_for_log(store: &dyn Store) -> Result<HashSet<Hash>, AuditError> {
        let mut range = schema::table(schema::Table::LogOutbox);
        let mut kept = HashSet::new();
        loop {
            let rows = store.scan(Space::Control, &range.from, &range.to, OUTBOX_LEN).await?;
            kept.extend(rows.iter().filter_map(|row| row.key.last_chunk::<32>().copied()));
            match rows.last() {
                Some(last) if rows.len() == OUTBOX_LEN => range = range.after(&last.key),
                Some(_) | None => return Ok(kept),
            }
        }
    }

    /// Whether what was brought to the log last is in it.
    #[must_use]
    pub fn is_log_whole(&self) -> bool {
        !self.0.log.has_failed()
    }

    /// Whether it is not for want of space.
    #[must_use]
    pub fn is_log_full(&self) -> bool {
        self.0.log.is_full()
    }

    /// What no checkpoint covers now.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let mut oldest: Option<Timestamp> = self.unlogged().iter().map(|(_, since)| *since).min();
        let mut entries = 0_u64;
        let chains: Vec<_> = self.0.chains().values().cloned().chain(self.left().into_iter().map(|(_, chain)| chain)).collect();
        for chain in &chains {
            let chain = chain.state();
            let uncovered = chain.stored.seq.saturating_sub(chain.covered);
            if uncovered > 0 {
                entries = entries.saturating_add(uncovered);
                oldest = Some(oldest.map_or(chain.uncovered_since, |oldest| oldest.min(chain.uncovered_since)));
            }
        }
        let now = self.0.clock.now();
        Lag { entries, age: oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)) }
    }

    /// Appends the leaves of epochs that have ended: each stands in the outbox since its own commit. How many.
    ///
    /// # Errors
    /// [`AuditError::Log`] or [`AuditError::Store`]: what is not in the log then is appended by the next call, or the next start.
    pub async fn publish_epochs(&self) -> Result<u64, AuditError> {
        // Whoever else appends, appends certificates and heads: an epoch's leaf is in the log only if it is told here.
        let logged = self.publish_with_epochs(Vec::new(), Vec::new()).await?;
        if !logged.hashes.is_empty() {
            self.clear(&logged, Vec::new()).await?;
        }
        Ok(u64::try_from(logged.hashes.len()).unwrap_or(u64::MAX))
    }

    /// The leaves of epochs in the outbox: those that go to the log for the first time, and those that an earlier call failed
    /// with, or was dropped with in the middle, which may be in the log or not.
    async fn waiting_epochs(&self, told: &mut HashSet<Hash>) -> Result<(Vec<Vec<u8>>, Vec<Vec<u8>>), AuditError> {
        let mut range = schema::table(schema::Table::LogOutbox);
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        loop {
            let rows = self.0.store.scan(Space::Control, &range.from, &range.to, OUTBOX_LEN).await?;
            let Some(last) = rows.last() else { return Ok((fresh, again)) };
            range = range.after(&last.key);
            for row in rows.iter().filter(|row| Leaf::is_epoch(&row.value)) {
                let to = if told.insert(merkle::leaf_hash(&row.value)) { &mut fresh } else { &mut again };
                to.push(row.value.to_vec());
            }
            if rows.len() < OUTBOX_LEN {
                return Ok((fresh, again));
            }
        }
    }

    /// What is served at `/log/<path>`; `None` is not found.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub async fn log_resource(&self, path: String) -> Result<Option<Vec<u8>>, AuditError> {
        Ok(self.0.log.read(move |log| log.resource(&path)).await??)
    }

    /// The text of a `.tlog-proof` for a leaf, found by its hash; `None` if it is not in the log.
    ///
    /// # Errors
    /// [`AuditError::Log`].
    pub async fn log_proof(&self, leaf: &[u8]) -> Result<Option<String>, AuditError> {
        let hash = merkle::leaf_hash(leaf);
        let proof = self.0.log.read(move |log| {
            let Some(index) = log.find(&[hash])?.get(&hash).copied() else { return Ok::<_, LogError>(None) };
            log.proof(index)
        });
        Ok(proof.await??.map(|proof| proof.to_text()))
    }

    /// The heads of a tenant's chains at their last checkpoints, with their proofs.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn heads(&self, tenant: TenantNo) -> Result<Vec<ProvenHead>, AuditError> {
        let mut range = schema::table_of_tenant(schema::Table::AuditHead, tenant);
        let mut proven = Vec::new();
        loop {
            let rows = self.0.store.scan(Space::Control, &range.from, &range.to, SCAN_LEN).await?;
            for row in &rows {
                let (_, writer) = head_place(&row.key).ok_or(AuditError::Damaged("audit head"))?;
                let head = HeadRow::parse(&row.value).ok_or(AuditError::Damaged("audit head"))?;
                let leaf = head.leaf.to_text();
                let proof = self.log_proof(leaf.as_bytes()).await?.ok_or(AuditError::Damaged("audit head"))?;
                let HeadRow { head, salt, index, path, .. } = head;
                proven.push(ProvenHead { writer: writer.0, seq: head.seq, hash: head.hash, salt, index, path, leaf, proof });
            }
            match rows.last() {
                Some(last) if rows.len() == SCAN_LEN => range = range.after(&last.key),
                Some(_) | None => return Ok(proven),
            }
        }
    }

    /// States a gap in the tenant's control trail, and in the head's row, so that it is stated once.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn state_gap(&self, unit: UnitRef, lost: &super::LostTail) -> Result<Receipt, AuditError> {
        let key = schema::audit_head(lost.tenant, lost.gap.writer);
        let row = self.0.store.get(Space::Control, &key).await?.ok_or(AuditError::Damaged("audit head"))?;
        let head = HeadRow::parse(&row).ok_or(AuditError::Damaged("audit head"))?;
        let stated = HeadRow { gap_from: lost.gap.from, ..head };
        let entry = Entry {
            tenant: lost.tenant,
            action: Action::AuditGap,
            outcome: Outcome::Allowed,
            principal: PrincipalId([0; 16]),
            role: Role::System,
            request: RequestId(random::bytes()),
            collection: CollectionNo::TENANT,
            target: Target { gap: Some(lost.gap), ..Target::default() },
        };
        let row = put(Space::Control, key, stated.to_row());
        let receipt = self.append_with(Trail::Control, unit, entry, Durability::Synced, vec![row], Urgency::Essential).await?;
        let _before = self.0.unstated.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
        Ok(receipt)
    }

    /// Brings the log up to date with the control store.
    pub(super) async fn drain_outbox(&self) -> Result<(), AuditError> {
        let range = schema::table(schema::Table::LogOutbox);
        loop {
            let rows = self.0.store.scan(Space::Control, &range.from, &range.to, SCAN_LEN).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let leaves: Vec<Vec<u8>> = rows.iter().map(|row| row.value.to_vec()).collect();
            let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
            self.0.log.append_missing(leaves).await?;
            self.clear_outbox(&Logged { hashes, head: None }, Vec::new()).await?;
        }
    }

    /// Every leaf of the log that control does not know of waits in its outbox. If one does not, control is an old copy:
    /// what was revoked or shredded since would come back.
    pub(super) async fn hold_control_against_log(&self, known: Option<(u64, Hash)>) -> Result<(), AuditError> {
        let known = known.map_or(0, |(size, _)| size);
        let (size, beyond) = self.0.log.read(move |log| (log.head().size, log.leaf_hashes(known))).await?;
        for hash in beyond? {
            if self.0.store.get(Space::Control, &schema::log_outbox(&hash)).await?.is_none() {
                return Err(LogError::ControlBehind { size, known }.into());
            }
        }
        Ok(())
    }

    /// Leaves are in the log: says so in the control store, with the log's new head.
    async fn clear_outbox(&self, logged: &Logged, mut writes: Vec<Write>) -> Result<(), AuditError> {
        // One after the other, so that the head in control never goes back.
        let mut last = self.0.clearing.lock().await;
        let (size, root) = match logged.head.filter(|(size, _)| size > &last) {
            Some(head) => head,
            None => self.0.log.read(|log| (log.head().size, log.head().root)).await?,
        };
        writes.extend(logged.hashes.iter().map(|leaf| Write::Delete { space: Space::Control, key: schema::log_outbox(leaf) }));
        writes.push(put(Space::Control, schema::setting(LOG_HEAD), [size.to_be_bytes().as_slice(), &root].concat()));
        self.write(writes).await?;
        *last = size;
        Ok(())
    }

    fn dirty(&self, left: &[LeftChain]) -> Vec<Dirty> {
        let mut dirty = Vec::new();
        let chains = self.0.chains();
        let own = chains.iter().map(|((tenant, _), chain)| (tenant, chain));
        for (tenant, chain) in own.chain(left.iter().map(|(tenant, chain)| (tenant, chain))) {
            let state = chain.state();
            if state.is_dirty() {
                let since = state.uncovered_since;
                dirty.push(Dirty { tenant: *tenant, writer: chain.writer, head: state.stored, since, chain: Arc::clone(chain) });
            }
        }
        dirty.sort_by_key(|chain| (chain.tenant, chain.writer));
        dirty
    }

    /// One leaf and one commit for some heads.
    async fn cover(&self, chains: &[Dirty], mark: u64) -> Result<(), AuditError> {
        let salts: Vec<[u8; 32]> = chains.iter().map(|_| random::bytes()).collect();
        let commitments: Vec<Hash> = chains
            .iter()
            .zip(&salts)
            .map(|(chain, salt)| heads::commitment(salt, &self.0.store_id, chain.tenant, chain.writer, &chain.head))
            .collect();
        let hashes = heads::leaves(&commitments);
        let (nodes, count) = (merkle::Leaves(&hashes), u64::try_from(hashes.len()).unwrap_or(u64::MAX));
        let root = merkle::root(&nodes, count).map_err(|_| AuditError::Damaged("heads"))?;
        let leaf = Leaf::Heads { time: self.0.clock.now(), count, root };
        let mut writes =
            vec![Self::outbox(leaf.to_text().as_bytes()), put(Space::Control, schema::setting(MARK), mark.to_be_bytes().to_vec())];
        for ((index, chain), salt) in (0..).zip(chains).zip(salts) {
            let path = merkle::inclusion_proof(&nodes, index, count).map_err(|_| AuditError::Damaged("heads"))?;
            let row = HeadRow { head: chain.head, gap_from: 0, salt, index, leaf: leaf.clone(), path };
            writes.push(put(Space::Control, schema::audit_head(chain.tenant, chain.writer), row.to_row()));
        }
        self.write(writes).await?;
        for chain in chains {
            let mut state = chain.chain.state();
            state.covered = chain.head.seq;
            // An entry made meanwhile is not older.
            state.uncovered_since = chain.head.time;
        }
        let leaf = leaf.to_text().into_bytes();
        let published = self.publish(&leaf).await;
        if published.is_err() {
            let since = chains.iter().map(|chain| chain.since).min().unwrap_or_else(|| self.0.clock.now());
            self.unlogged().push((leaf, since));
        }
        published.map(drop)
    }

    /// Brings leaves of heads again that the log did not take. While it takes none, no more heads are covered.
    async fn bring_again(&self) -> Result<(), AuditError> {
        let waiting = self.unlogged().clone();
        for (leaf, _) in waiting {
            self.publish_if_missing(&leaf).await?;
            self.unlogged().retain(|(other, _)| *other != leaf);
        }
        Ok(())
    }

    fn unlogged(&self) -> std::sync::MutexGuard<'_, Vec<(Vec<u8>, Timestamp)>> {
        self.0.unlogged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets chains that nobody uses and the control store knows, if there are too many.
    fn drop_idle(&self) {
        let mut chains = self.0.chains();
        if chains.len() > self.0.options.cached_chains {
            chains.retain(|_, chain| Arc::strong_count(chain) > 1 || { chain.state().is_dirty() });
        }
    }

    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<(), AuditError> {
        let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.0.store.commit(commit).await?;
        Ok(())
    }
}

/// The key of the control store's row with the log's head.
#[must_use]
pub fn log_head_key() -> Bytes {
    schema::setting(LOG_HEAD)
}

/// The log's size and root as the control store knows them, from its row.
///
/// # Errors
/// [`AuditError::Damaged`].
pub fn known_log_head(row: Option<&Bytes>) -> Result<Option<(u64, Hash)>, AuditError> {
    let Some(row) = row else { return Ok(None) };
    let (size, root) = row.split_first_chunk::<8>().ok_or(AuditError::Damaged(LOG_HEAD))?;
    Ok(Some((u64::from_be_bytes(*size), root.try_into().map_err(|_| AuditError::Damaged(LOG_HEAD))?)))
}

/// The number of the last checkpoint that the control store knows.
pub(super) async fn control_mark(store: &dyn Store) -> Result<u64, AuditError> {
    number(store.get(Space::Control, &schema::setting(MARK)).await?)
}

/// The number of the last checkpoint that the data store knows.
pub(super) async fn data_mark(store: &dyn Store) -> Result<u64, AuditError> {
    number(store.get(Space::Index, &schema::audit_mark()).await?)
}

pub(super) fn put(space: Space, key: Bytes, value: impl Into<Bytes>) -> Write {
    Write::Put { space, key, value: value.into() }
}

pub(super) fn number(row: Option<Bytes>) -> Result<u64, AuditError> {
    row.map_or(Ok(0), |row| row.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| AuditError::Damaged("mark")))
}

/// Tenant and writer of a head's key, behind the table's tag.
pub(super) fn head_place(key: &[u8]) -> Option<(TenantNo, WriterId)> {
    let ([tenant, writer], []) = key.get(1..)?.as_chunks::<8>() else { return None };
    Some((TenantNo(u64::from_be_bytes(*tenant)), WriterId(u64::from_be_bytes(*writer))))
}
