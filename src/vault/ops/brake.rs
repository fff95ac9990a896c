//! The brake on refused credentials. Anyone who can connect can have one recorded, so what they can write is bounded: a
//! bucket of [`limits::REFUSED_CREDENTIALS`] that fills within a minute. What comes beyond it is not recorded one by one but
//! counted, and the next entry carries the number; a valid credential never comes by here.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Vault, VaultError};
use crate::{
    domain::{CollectionNo, PrincipalId, RequestId, TenantNo, limits},
    vault::{
        audit::{self, Entry, Outcome, Reason, Target, Trail},
        crypto::Receipt,
        store::Durability,
    },
};

/// Within which an empty bucket is full again.
const WINDOW: Duration = Duration::from_mins(1);

/// The bucket, one for all: who has no credential has no name to keep apart.
#[derive(Default)]
pub(super) struct Brake(Mutex<Bucket>);

#[derive(Default)]
struct Bucket {
    /// When it is full again, on the monotonic clock.
    full_at: Duration,
    /// Refusals since the last entry that have none of their own.
    unrecorded: u32,
}

impl Brake {
    /// Room for an entry: how many refusals before it have none of their own.
    ///
    /// # Errors
    /// [`VaultError::Braked`] where there is none; the refusal is counted.
    fn take(&self, now: Duration) -> Result<u32, VaultError> {
        let mut bucket = self.bucket();
        let step = WINDOW.checked_div(u32::try_from(limits::REFUSED_CREDENTIALS.max).unwrap_or(u32::MAX)).unwrap_or(WINDOW);
        let full_at = bucket.full_at.max(now).saturating_add(step);
        let wait = full_at.saturating_sub(now.saturating_add(WINDOW));
        if wait.is_zero() {
            bucket.full_at = full_at;
            Ok(std::mem::take(&mut bucket.unrecorded))
        } else {
            bucket.unrecorded = bucket.unrecorded.saturating_add(1);
            Err(VaultError::Braked { retry_after: wait })
        }
    }

    /// What was counted since the last entry.
    fn take_counted(&self) -> u32 {
        std::mem::take(&mut self.bucket().unrecorded)
    }

    /// Takes back refusals whose entry could not be written.
    fn put_back(&self, refusals: u32) {
        let mut bucket = self.bucket();
        bucket.unrecorded = bucket.unrecorded.saturating_add(refusals);
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault {
    /// Records a request without a usable credential.
    ///
    /// # Errors
    /// [`VaultError::Braked`] where there are too many; [`VaultError::DiskFull`] and the like if it cannot be recorded: it
    /// may not use the reserve.
    pub async fn refuse_credential(&self, presented: PrincipalId, request: RequestId) -> Result<Receipt, VaultError> {
        let before = self.inner.brake.take(self.inner.clock.monotonic()).inspect_err(|_| told("braked"))?;
        let vault = self.clone();
        // To its end: a client that hangs up must not take the count along.
        let written = self.to_the_end(async move { vault.record_refusal(presented, request, before).await }).await;
        told(if written.is_ok() { "recorded" } else { "failed" });
        written
    }

    /// Records what was counted since the last entry, if anything was: the end of a flood is on the record too. How many.
    ///
    /// # Errors
    /// Those of the store; they stay counted then.
    pub async fn record_braked(&self) -> Result<u32, VaultError> {
        let refusals = self.inner.brake.take_counted();
        if let Some(before) = refusals.checked_sub(1) {
            self.record_refusal(PrincipalId([0; 16]), Self::make_request_id(), before).await?;
        }
        Ok(refusals)
    }

    async fn record_refusal(&self, presented: PrincipalId, request: RequestId, before: u32) -> Result<Receipt, VaultError> {
        let written = self.write_refusal(presented, request, before).await;
        written.inspect_err(|_| self.inner.brake.put_back(before.saturating_add(1)))
    }

    async fn write_refusal(&self, presented: PrincipalId, request: RequestId, before: u32) -> Result<Receipt, VaultError> {
        let system = self.tenant_by_number(TenantNo::SYSTEM).await?;
        let denied = Entry {
            tenant: TenantNo::SYSTEM,
            action: audit::Action::AuthDenied,
            outcome: Outcome::Denied(Reason::Unauthenticated),
            principal: presented,
            role: audit::Role::None,
            request,
            collection: CollectionNo::TENANT,
            target: Target { count: (before > 0).then_some(before), ..Target::default() },
        };
        Ok(self.inner.audit.append_if_room(Trail::Data, system.audit, denied, Durability::Written).await?)
    }
}

fn told(outcome: &'static str) {
    metrics::counter!("lethe_refused_credentials_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Entries that fit in, one after the other at the same time.
    fn fit(brake: &Brake, now: Duration) -> u64 {
        (0..10_000).take_while(|_| brake.take(now).is_ok()).count() as u64
    }

    #[test]
    fn so_many_fit_at_once_and_so_many_in_each_minute() {
        let brake = Brake::default();
        let max = limits::REFUSED_CREDENTIALS.max;
        assert_eq!(fit(&brake, Duration::ZERO), max);
        assert_eq!(fit(&brake, WINDOW / 2), max / 2);
        assert_eq!(fit(&brake, WINDOW * 100), max, "it never holds more");
        let per_second: u64 = (1..=60).map(|second| fit(&brake, WINDOW * 100 + SECOND * second)).sum();
        assert_eq!(per_second, max);
    }

    #[test]
    fn what_does_not_fit_is_counted_once() {
        let brake = Brake::default();
        let max = fit(&brake, Duration::ZERO);
        let Err(VaultError::Braked { retry_after }) = brake.take(Duration::ZERO) else { panic!("{max} and one more fit") };
        assert_eq!(brake.take(retry_after).unwrap(), 2, "the two that were refused");
        brake.put_back(3);
        assert_eq!(brake.take(retry_after * 2).unwrap(), 3);
        assert_eq!(brake.take(WINDOW * 2).unwrap(), 0);
    }
}
