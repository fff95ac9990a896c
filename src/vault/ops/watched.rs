//! Values on their way out, against orders that delete rather than shred. The key of what a law may keep of a person, or of a whole
//! collection, is lent on, so no fence ends their streams: before each part leaves, the states of the persons are asked whose orders
//! delete the record.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Vault, VaultError,
    deletions::leaves_for,
    directory::{Collection, Tenant},
    rows::{State, SubjectRow},
};
use crate::{
    domain::RecordMeta,
    vault::store::{Space, schema},
};

/// A person whose order would delete a record: the key of the row of the person's state, what stands there when the record is read, and
/// whether the record names the person first.
type Person = (Bytes, Option<Bytes>, bool);

/// The persons whose orders would delete a record that is being sent; nobody, where their keys go with them.
#[derive(Default)]
pub(super) struct Watched(Option<(Arc<Collection>, Vec<Person>)>);

impl Vault {
    /// Whom a record is watched for while it is sent.
    pub(super) async fn watched(&self, tenant: &Tenant, collection: &Arc<Collection>, meta: &RecordMeta) -> Result<Watched, VaultError> {
        let (first, others) = leaves_for(collection);
        if !first && !others {
            return Ok(Watched::default());
        }
        let mut persons = Vec::with_capacity(meta.subjects.len());
        for (position, token) in self.subject_tokens(tenant, &meta.subjects).await?.iter().enumerate() {
            let is_first = position == 0;
            let is_watched = if is_first { first } else { others };
            if is_watched {
                let key = schema::subject_state(tenant.no, token);
                let stands = self.inner.store.get(Space::Control, &key).await?;
                persons.push((key, stands, is_first));
            }
        }
        Ok(Watched(Some((Arc::clone(collection), persons))))
    }

    /// Refuses another part of a value once an order deletes its record.
    ///
    /// # Errors
    /// [`VaultError::Shredded`].
    pub(super) async fn still_sent(&self, watched: &Watched) -> Result<(), VaultError> {
        let Some((collection, persons)) = &watched.0 else { return Ok(()) };
        for (key, stood, is_first) in persons {
            let Some(stands) = self.inner.store.get(Space::Control, key).await? else { continue };
            let SubjectRow { state } = self.inner.seals.open(key, &stands)?;
            if let Some(order) = self.leaves_by(collection, state, *is_first).await? {
                return Err(VaultError::Shredded { certificate: Some(order) });
            }
            // Shredded and known anew between two parts: what is sent was the old one's.
            if *is_first && state == State::Active && stood.as_ref() != Some(&stands) {
                return Err(VaultError::Shredded { certificate: None });
            }
        }
        Ok(())
    }
}
