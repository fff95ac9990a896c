//! What puts are going to look at, read for many of them at once: one use of the tenant's secret, one read of each space. A plan
//! holds all of it to what was read, as it does what it reads itself.

use bytes::Bytes;

use super::{
    Vault, VaultError,
    directory::{Collection, Tenant},
    plan::record_row,
};
use crate::{
    domain::{RecordKey, ShredUnit, SubjectId},
    vault::{
        crypto::Token,
        store::{Space, schema},
    },
};

/// Puts that are looked at together: their rows, of up to 100 kB, are in memory until they are planned.
pub(super) const FORESEEN: usize = 64;

/// What a put asks for.
pub(super) struct Wanted<'a> {
    pub(super) key: &'a RecordKey,
    pub(super) subjects: &'a [SubjectId],
}

/// A row that was looked at, or is still to be.
pub(super) enum Looked {
    Not,
    Found(Option<Bytes>),
}

/// What there is of it.
pub(super) struct Foreseen {
    /// The tokens of the key's segments.
    pub(super) tokens: Vec<Token>,
    /// The tokens of the subjects.
    pub(super) subjects: Vec<Token>,
    /// The record's place, and what lies there.
    pub(super) row: Bytes,
    pub(super) stored: Option<Bytes>,
    /// Rows of the states of the subjects.
    pub(super) states: Vec<Option<Bytes>>,
    /// The row of the first subject's unit, where that unit seals the record.
    pub(super) unit: Looked,
}

impl Vault {
    /// Looks for all of them, at most [`FORESEEN`], in one collection.
    pub(super) async fn foresee(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<Foreseen>, VaultError> {
        let tokens: Vec<(Vec<Token>, Vec<Token>)> = self
            .with_tenant(tenant.no, |secret| {
                let (names, index) = (secret.derive_names(collection.no), secret.derive_subject_index());
                let of = |put: &Wanted<'_>| {
                    (names.key_tokens(put.key), put.subjects.iter().map(|subject| index.subject_token(subject)).collect())
                };
                wanted.iter().map(of).collect()
            })
            .await?;
        let by_subject = collection.policy.shred_unit == ShredUnit::Subject;
        let mut asked = Vec::with_capacity(tokens.len().saturating_mul(2));
        for (_, subjects) in &tokens {
            asked.extend(subjects.iter().map(|token| schema::subject_state(tenant.no, token)));
            asked.extend(subjects.first().filter(|_| by_subject).map(|token| schema::unit(tenant.no, token, collection.no)));
        }
        let records: Vec<Bytes> = tokens.iter().map(|(tokens, _)| record_row(tenant, collection.no, tokens)).collect();
        let mut control = self.inner.store.get_many(Space::Control, &asked).await?.into_iter();
        let stored = self.inner.store.get_many(Space::Records, &records).await?;
        let all = tokens.into_iter().zip(records).zip(stored);
        Ok(all
            .map(|(((tokens, subjects), row), stored)| {
                let states = control.by_ref().take(subjects.len()).collect();
                let looked = if by_subject && !subjects.is_empty() { control.next() } else { None };
                let unit = looked.map_or(Looked::Not, Looked::Found);
                Foreseen { tokens, subjects, row, stored, states, unit }
            })
            .collect())
    }
}
