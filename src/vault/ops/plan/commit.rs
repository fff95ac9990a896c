//! A commit with the audit entries that go with it: of a plan, and of whatever else changes a row. On the word of a caller it is made only
//! while the caller's credential holds.

use std::sync::atomic::Ordering;

use super::{
    super::{Caller, Conflict, Vault, VaultError},
    Plan,
};
use crate::vault::{
    audit::{Entry, PendingReceipt, Trail},
    crypto::Receipt,
    keys::UnitRef,
    store::{Before, Check, Commit, Durability, Expect, Space, StoreError, Tail, Urgency, Write, schema},
};

impl Vault {
    /// Commits a plan: new units and returning subjects to the control store, then the rest to the data store, each with its
    /// audit entries.
    pub(in crate::vault::ops) async fn commit_plan(&self, plan: Plan, urgency: Urgency) -> Result<Vec<Receipt>, VaultError> {
        self.commit_plan_of(None, plan, urgency).await
    }

    /// The same on the word of a caller, whose credential must still hold ([`Vault::commit_for`]).
    pub(in crate::vault::ops) async fn commit_plan_for(
        &self,
        caller: &Caller,
        plan: Plan,
        urgency: Urgency,
    ) -> Result<Vec<Receipt>, VaultError> {
        self.commit_plan_of(Some(caller), plan, urgency).await
    }

    async fn commit_plan_of(&self, caller: Option<&Caller>, mut plan: Plan, urgency: Urgency) -> Result<Vec<Receipt>, VaultError> {
        let emptied = self.settle_kept(&mut plan).await?;
        let Plan { checks, writes, entries, opened, returned, first_due, defers, .. } = plan;
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency };
        let receipts = if opened.is_empty() {
            self.commit_of(caller, Trail::Data, commit, entries).await
        } else {
            let (checks, writes) = opened.into_iter().unzip();
            self.commit_any(caller, Some((Before { checks, writes, tail: None }, returned)), Trail::Data, commit, entries).await
        };
        // Behind the commit, whatever is known of it: who looks before the rows are there finds nothing, and is not told again.
        if defers {
            self.inner.shredder.deferred.store(true, Ordering::Release);
        }
        self.inner.next_due.at(&first_due);
        if receipts.is_ok() {
            self.look_at_emptied(emptied).await;
        }
        receipts
    }

    /// Commits what the store does by itself, or goes on with, with audit entries made in the same commit.
    pub(in crate::vault::ops) async fn commit(
        &self,
        trail: Trail,
        commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        self.commit_of(None, trail, commit, entries).await
    }

    /// The same on the word of a caller. Its credential was looked at when the request began, and a body may have taken its time
    /// since: here it must still hold, in the order of the commits, so that a revocation that is answered is never overtaken.
    ///
    /// # Errors
    /// [`VaultError::Unauthenticated`], on the record as any credential that is refused, if it was revoked or has ended meanwhile;
    /// [`Conflict::ApprovalOver`] where what it approves has waited too long by now.
    pub(in crate::vault::ops) async fn commit_for(
        &self,
        caller: &Caller,
        trail: Trail,
        commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        self.commit_of(Some(caller), trail, commit, entries).await
    }

    /// Either.
    pub(in crate::vault::ops) async fn commit_of(
        &self,
        caller: Option<&Caller>,
        trail: Trail,
        commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        self.commit_any(caller, None, trail, commit, entries).await
    }

    /// The same, behind rows of the control store with entries of their own.
    async fn commit_any(
        &self,
        caller: Option<&Caller>,
        before: Option<(Before, Vec<(UnitRef, Entry)>)>,
        trail: Trail,
        mut commit: Commit,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<Vec<Receipt>, VaultError> {
        if let Some(caller) = caller {
            if caller.principal.has_ended(self.inner.clock.now()) {
                return Err(self.holds_no_more(caller).await?);
            }
            if caller.until.is_some_and(|until| until <= self.inner.clock.now()) {
                return Err(VaultError::Conflict(Conflict::ApprovalOver));
            }
            // The first, so that its failure is told from any other's.
            let token = schema::access_token(caller.principal.token());
            commit.checks.insert(0, Check { space: Space::Control, key: token, expect: Expect::Present });
        }
        let (tail, mut pending) = self.tail_of(trail, entries).await?;
        commit.tail = tail;
        let stored = match before {
            None => self.inner.store.commit(commit).await,
            Some((mut before, entries)) => {
                let (tail, more) = self.tail_of(Trail::Control, entries).await?;
                before.tail = tail;
                pending.extend(more);
                self.inner.store.commit_behind(before, commit).await
            }
        };
        if let (Some(caller), Err(StoreError::Conflict(0))) = (caller, &stored) {
            return Err(self.holds_no_more(caller).await?);
        }
        stored?;
        pending.into_iter().map(|receipt| receipt.settle().map_err(VaultError::from)).collect()
    }

    /// The tail that brings a commit's entries, and what becomes their receipts: entries of one trail that follow each other
    /// share a row, and a receipt.
    async fn tail_of(
        &self,
        trail: Trail,
        entries: Vec<(UnitRef, Entry)>,
    ) -> Result<(Option<Box<dyn Tail>>, Vec<PendingReceipt>), VaultError> {
        let mut tails: Vec<Box<dyn Tail>> = Vec::new();
        let mut pending = Vec::new();
        let mut entries = entries.into_iter().peekable();
        while let Some((unit, first)) = entries.next() {
            let tenant = first.tenant;
            let mut run = vec![first];
            while let Some((_, entry)) = entries.next_if(|(of, entry)| (*of, entry.tenant) == (unit, tenant)) {
                run.push(entry);
            }
            let (tail, receipt) = self.inner.audit.tail_of_run(trail, unit, run).await?;
            tails.push(tail);
            pending.push(receipt);
        }
        let tail = match tails.len() {
            0 | 1 => tails.pop(),
            _ => Some(Box::new(Tails(tails)) as Box<dyn Tail>),
        };
        Ok((tail, pending))
    }
}

/// Several entries in one commit.
struct Tails(Vec<Box<dyn Tail>>);

impl Tail for Tails {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        let mut rows = Vec::with_capacity(self.0.len());
        for made in 0..self.0.len() {
            match self.0.get_mut(made).map(|tail| tail.rows()) {
                Some(Ok(more)) => rows.extend(more),
                Some(Err(error)) => {
                    // Those made so far go back, the last one first.
                    for tail in self.0.iter_mut().take(made).rev() {
                        tail.settled(false);
                    }
                    return Err(error);
                }
                None => {}
            }
        }
        Ok(rows)
    }

    fn settled(&mut self, stored: bool) {
        if stored {
            self.0.iter_mut().for_each(|tail| tail.settled(true));
        } else {
            self.0.iter_mut().rev().for_each(|tail| tail.settled(false));
        }
    }

    fn refused(&mut self, error: &StoreError) {
        self.0.iter_mut().for_each(|tail| tail.refused(error));
    }
}
