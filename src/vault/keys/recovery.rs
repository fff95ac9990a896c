//! The start: custody and the control store must name the same root.
//!
//! | custody has | root pointer | row | what is done |
//! |---|---|---|---|
//! | {e} | e | [`StartRow::Clean`] | nothing; the caller finishes what is pending or uncertified |
//! | {e, e+1} | e | [`StartRow::Withdrawn`] | e+1 was never used: destroyed |
//! | {e, e+1} | e+1 | [`StartRow::RolledForward`] | mirror brought to e+1, then e destroyed, then service |
//! | {e+1} | e | refused: [`StartError::TreeBehindCustody`] | |
//! | {e} | e+1 | refused: [`StartError::CustodyRollback`] | |
//!
//! "Has" means that every component does. Nothing is destroyed before the present root was seen to open the forest.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Custody, Fence, Forest, ForestOptions, KeysError, StartError,
    cache::Cache,
    custody::{
        composite::{Components, DerivedRoot, RootName, Survey},
        desk::Desk,
    },
    forest::{Inner, MutexGate, State},
    leases::Leases,
    rows::{EpochRecord, RootPtr},
    shred::{Designed, Procedure},
    slab::Slab,
    tree::{MAX_HEIGHT, Shape},
};
use crate::{
    domain::{Clock, Epoch, StoreId, TenantNo},
    vault::{
        crypto::{PageSlots, residue},
        store::{Check, Commit, Durability, Expect, Space, Store, Urgency, Write, schema},
    },
};

/// Which row of the table a start was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartRow {
    /// Custody and the control store agree.
    Clean,
    /// A root that was prepared and never used was destroyed.
    Withdrawn,
    /// The old root of an epoch that was cut short was destroyed: the epoch is done.
    RolledForward,
}

/// What a start found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// The row of the table.
    pub row: StartRow,
    /// The present epoch; its [`Forest::report`] tells what it shredded.
    pub epoch: Epoch,
}

/// Where a forest lives.
pub struct Ground {
    /// The store's id.
    pub store_id: StoreId,
    /// Its rows.
    pub store: Arc<dyn Store>,
    /// Its custody, all components, always in the same order.
    pub custody: Vec<Box<dyn Custody>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Forest {
    /// Makes the forest of a new store, with the system tenant's keys.
    ///
    /// # Errors
    /// [`StartError::AlreadyInitialised`] if custody or the control store holds a root.
    pub async fn create(ground: Ground, options: ForestOptions) -> Result<Self, KeysError> {
        let store = Arc::clone(&ground.store);
        let desk = Desk::open(Components::new(ground.store_id, ground.custody))?;
        let survey = desk.run(|components| components.survey()).await?;
        let is_empty = survey.whole.is_empty() && survey.partial.is_empty();
        if !is_empty || store.get(Space::Control, &schema::root_ptr()).await?.is_some() {
            return Err(StartError::AlreadyInitialised.into());
        }
        let made = desk
            .run(|components| {
                let made = components.make(Epoch(1));
                components.keep().map(|()| made)
            })
            .await?;
        let top = Shape::tenants(options.tenant_height.clamp(1, MAX_HEIGHT)).top();
        let row = made.top.wrap_page(&ground.store_id, &top, made.name.epoch, &PageSlots::make_random());
        let ptr = RootPtr { name: made.name, commitment: made.commitment, delta_hash: [0; 32], height: top.level.saturating_add(1) };
        let inner = Inner::new(store, ground.store_id, ground.clock, options, Box::new(Designed), desk, ptr.clone(), &made)?;
        let put = |key, value| Write::Put { space: Space::Control, key, value };
        let commit = Commit {
            checks: vec![Check { space: Space::Control, key: schema::root_ptr(), expect: Expect::Absent }],
            writes: vec![put(schema::root_ptr(), ptr.to_row()), put(schema::page(top.tree, top.level, top.index), row.into())],
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Normal,
        };
        inner.store.commit(commit).await?;
        let forest = Self(Arc::new(inner));
        forest.make_tenant(TenantNo::SYSTEM).await?;
        Ok(forest)
    }

    /// Opens the forest of a store, finishing an epoch that a crash cut short.
    ///
    /// # Errors
    /// [`KeysError::Start`] if custody and the control store do not belong together; nothing was changed then.
    pub async fn open(ground: Ground, options: ForestOptions) -> Result<(Self, Recovery), KeysError> {
        Self::open_by(ground, options, Box::new(Designed)).await
    }

    /// [`Forest::open`] with a procedure; only the closure tests have another.
    pub(super) async fn open_by(
        ground: Ground,
        options: ForestOptions,
        procedure: Box<dyn Procedure>,
    ) -> Result<(Self, Recovery), KeysError> {
        let store = Arc::clone(&ground.store);
        let desk = Desk::open(Components::new(ground.store_id, ground.custody))?;
        let survey = desk.run(|components| components.survey()).await?;
        let ptr = store.get(Space::Control, &schema::root_ptr()).await?.map(|row| RootPtr::parse(&row)).transpose()?;
        let row = decide(&survey, ptr.as_ref().map(|ptr| ptr.name))?;
        let ptr = ptr.ok_or(StartError::NotInitialised)?;
        let name = ptr.name;
        let present =
            desk.run(move |components| components.derive(name)).await?.ok_or_else(|| StartError::CustodyMixed(survey.without(name)))?;
        if present.commitment != ptr.commitment {
            return Err(StartError::ForeignRoot.into());
        }
        let inner = Inner::new(store, ground.store_id, ground.clock, options, procedure, desk, ptr, &present)?;
        inner.verify_top(&survey).await?;
        inner.store.sync_mirror().await.map_err(StartError::MirrorMissing)?;
        if row == StartRow::RolledForward {
            // Nobody is served yet: a copy that is read as a whole first, as at every start, has the time for it.
            inner.store.catch_up_copies().await.map_err(StartError::CopyMissing)?;
        }
        if inner.procedure.rolls_forward() {
            inner.desk.run(move |components| components.retain(name)).await?;
        }
        inner.check_newest().await?;
        Ok((Self(Arc::new(inner)), Recovery { row, epoch: name.epoch }))
    }
}

/// The table.
fn decide(survey: &Survey, ptr: Option<RootName>) -> Result<StartRow, StartError> {
    let Survey { whole, partial, components: _ } = survey;
    let others = || whole.iter().chain(partial);
    let Some(ptr) = ptr else {
        return Err(if others().next().is_some() { StartError::TreeBehindCustody } else { StartError::NotInitialised });
    };
    if whole.contains(&ptr) {
        return Ok(match others().map(|name| name.epoch).filter(|epoch| *epoch != ptr.epoch).min() {
            Some(other) if other < ptr.epoch => StartRow::RolledForward,
            Some(_) => StartRow::Withdrawn,
            None => StartRow::Clean,
        });
    }
    if let Some(component) = survey.empty() {
        return Err(StartError::ComponentEmpty(component.to_owned()));
    }
    if partial.contains(&ptr) {
        return Err(StartError::CustodyMixed(survey.without(ptr)));
    }
    match others().map(|name| name.epoch).max() {
        Some(newest) if newest > ptr.epoch => Err(StartError::TreeBehindCustody),
        Some(newest) if newest < ptr.epoch => Err(StartError::CustodyRollback),
        Some(_) => Err(StartError::ForeignRoot),
        None => Err(StartError::CustodyMixed(survey.without(ptr))),
    }
}

impl Inner {
    fn new(
        store: Arc<dyn Store>,
        store_id: StoreId,
        clock: Arc<dyn Clock>,
        options: ForestOptions,
        procedure: Box<dyn Procedure>,
        desk: Desk,
        ptr: RootPtr,
        root: &DerivedRoot,
    ) -> Result<Self, KeysError> {
        // The present top key, the next and the old one.
        let mut tops = Slab::new(3);
        let top = tops.put_key(&root.top).ok_or(KeysError::Damaged("top key"))?;
        let cache = Cache::new(options.cached_keys, options.key_ttl);
        Ok(Self {
            store,
            store_id,
            clock,
            options,
            procedure,
            desk,
            fence: Fence::default(),
            leases: Leases::default(),
            gate: tokio::sync::Mutex::new(()),
            pages: tokio::sync::RwLock::new(()),
            state: Mutex::new(State {
                ptr,
                tops,
                top,
                next: None,
                old: None,
                cache,
                trees: HashMap::new(),
                custody_failure: None,
                custody_is_settled: false,
                checked: Vec::new(),
            }),
            broken: AtomicBool::new(false),
            witness: OnceLock::new(),
        })
    }

    /// The present root opens the top page that the control store holds, and no other root that custody has does.
    async fn verify_top(&self, survey: &Survey) -> Result<(), KeysError> {
        let top = self.tenant_tree().top();
        let row = self.store.get(Space::Control, &schema::page(top.tree, top.level, top.index)).await?;
        let row = row.ok_or(KeysError::Damaged("top page"))?;
        let opened = residue::leaving_none(|| self.top_key()?.unwrap_page(&self.store_id, &top, &row).map_err(KeysError::page));
        opened.map(drop)?;
        let present = self.present();
        for other in survey.whole.iter().copied().filter(|other| *other != present) {
            let Some(root) = self.desk.run(move |components| components.derive(other)).await? else { continue };
            if residue::leaving_none(|| root.top.unwrap_page(&self.store_id, &top, &row).is_ok()) {
                return Err(KeysError::SelfCheck("another root opens the top page"));
            }
        }
        Ok(())
    }

    /// The self-check of the newest epoch, before anything of it is certified. If it fails the others are served all the same:
    /// it is met again, and refuses, where that epoch is to be certified.
    async fn check_newest(&self) -> Result<(), KeysError> {
        let Some(row) = self.store.get(Space::Control, &schema::epoch(self.present().epoch)).await? else { return Ok(()) };
        match self.check_epoch(&EpochRecord::parse(&row)?).await {
            Err(error @ (KeysError::SelfCheck(_) | KeysError::Damaged(_) | KeysError::Unknown)) => {
                tracing::error!(%error, "the newest epoch's self-check does not pass: nothing of it is certified");
                Ok(())
            }
            other => other,
        }
    }

    /// The table of the start, for an epoch that was cut short while the process lived.
    pub(super) async fn heal(&self, _gate: &MutexGate<'_>) -> Result<(), KeysError> {
        if self.whole().is_ok() {
            return Ok(());
        }
        // Comes behind every commit that is on its way. A store whose write has failed refuses this: what it holds is known at
        // the next start alone, and until then neither root may go.
        self.store.sync_mirror().await.map_err(|_| KeysError::Restart)?;
        self.store.confirm_copies().await.map_err(|_| KeysError::Restart)?;
        let row = self.store.get(Space::Control, &schema::root_ptr()).await?.ok_or(KeysError::Restart)?;
        let ptr = RootPtr::parse(&row)?;
        let name = ptr.name;
        let survey = self.desk.run(|components| components.survey()).await?;
        decide(&survey, Some(name))?;
        let root = self.desk.run(move |components| components.derive(name)).await?.ok_or(KeysError::Restart)?;
        if root.commitment != ptr.commitment {
            return Err(StartError::ForeignRoot.into());
        }
        self.adopt(ptr, &root).await?;
        self.verify_top(&survey).await?;
        self.desk.run(move |components| components.retain(name)).await?;
        self.broken.store(false, Ordering::Release);
        tracing::warn!(epoch = name.epoch.0, "an epoch that was cut short is finished, or was withdrawn");
        Ok(())
    }

    /// Goes over to the root that the store names; every key in memory is wiped.
    async fn adopt(&self, ptr: RootPtr, root: &DerivedRoot) -> Result<(), KeysError> {
        let _pages = self.pages.write().await;
        let mut state = self.state();
        for place in [state.next.take().map(|(_, _, place)| place), state.old.take()].into_iter().flatten() {
            state.tops.release(place);
        }
        let top = state.tops.put_key(&root.top).ok_or(KeysError::Damaged("top key"))?;
        let before = std::mem::replace(&mut state.top, top);
        state.tops.release(before);
        state.ptr = ptr;
        state.trees.clear();
        state.cache.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RootId;

    fn name(epoch: u64) -> RootName {
        RootName { epoch: Epoch(epoch), root_id: RootId([u8::try_from(epoch).unwrap(); 16]) }
    }

    /// Two components, `a` and `b`: both hold `whole`, `a` the first of `partial` and `b` the rest; and an empty one besides.
    fn has(whole: &[u64], partial: &[u64], empty: &[&str]) -> Survey {
        let names = |epochs: &[u64]| epochs.iter().copied().map(name).collect::<Vec<_>>();
        let (first, rest) = partial.split_at(partial.len().min(1));
        let mut components = vec![("a".to_owned(), names(&[whole, first].concat())), ("b".to_owned(), names(&[whole, rest].concat()))];
        components.retain(|(_, held)| empty.is_empty() || !held.is_empty());
        components.extend(empty.iter().map(|name| ((*name).to_owned(), Vec::new())));
        Survey { whole: names(whole), partial: names(partial), components }
    }

    #[test]
    fn every_row_of_the_table_is_decided_as_designed() {
        let cases = [
            (has(&[5], &[], &[]), Some(5), Ok(StartRow::Clean)),
            (has(&[5, 6], &[], &[]), Some(5), Ok(StartRow::Withdrawn)),
            (has(&[5], &[6], &[]), Some(5), Ok(StartRow::Withdrawn)),
            (has(&[5, 6], &[], &[]), Some(6), Ok(StartRow::RolledForward)),
            (has(&[6], &[5], &[]), Some(6), Ok(StartRow::RolledForward)),
            (has(&[6], &[], &[]), Some(5), Err(StartError::TreeBehindCustody)),
            (has(&[6], &[], &[]), None, Err(StartError::TreeBehindCustody)),
            (has(&[5], &[], &[]), Some(6), Err(StartError::CustodyRollback)),
            (has(&[], &[5, 6], &[]), Some(6), Err(StartError::CustodyMixed("a".into()))),
            (has(&[], &[5, 6], &[]), Some(5), Err(StartError::CustodyMixed("b".into()))),
            (has(&[], &[6], &["file"]), Some(6), Err(StartError::ComponentEmpty("file".into()))),
            (has(&[], &[], &["file"]), Some(6), Err(StartError::ComponentEmpty("file".into()))),
            (has(&[], &[], &["file"]), None, Err(StartError::NotInitialised)),
        ];
        for (survey, ptr, want) in cases {
            assert_eq!(decide(&survey, ptr.map(name)), want, "{survey:?} {ptr:?}");
        }
        let foreign = RootName { epoch: Epoch(5), root_id: RootId([99; 16]) };
        assert_eq!(decide(&has(&[5], &[], &[]), Some(foreign)), Err(StartError::ForeignRoot));
    }
}
