//! What is known of the events of whom a record is about: of the person that it names first, whose unit seals it.

use std::collections::HashMap;

use super::{Stored, decoded, decoded_of};
use crate::{
    domain::{
        CollectionNo, RecordMeta, ShredId, SubjectId, TenantNo, Timestamp,
        retention::{
            Events, Kept,
            events::{Joined, Report},
        },
    },
    vault::{
        crypto::{Context, LeftEvents, Sealed, SubjectEvents, Token},
        ops::{
            Vault, VaultError,
            directory::{Collection, Tenant, damaged},
            plan::retrying,
            rows::{EventsRow, LeftEventsRow, State, SubjectRow, UnitRow},
        },
        store::{Check, Space, schema},
    },
};

/// What is known of a person's events, and what must still be so when something is done by that.
#[derive(Default)]
pub(in crate::vault::ops) struct Known {
    pub(in crate::vault::ops) events: Events,
    pub(in crate::vault::ops) checks: Vec<Check>,
}

/// What was reported of a person, as it goes along to another store.
pub(in crate::vault::ops) struct Carried {
    /// The first id.
    pub(in crate::vault::ops) subject: SubjectId,
    /// Under that one, and of all since they were joined.
    pub(in crate::vault::ops) reports: Vec<Report>,
    /// Under others, until they were the person's, too: by which, and since when and which number.
    pub(in crate::vault::ops) joined: Vec<(SubjectId, (Timestamp, u64), Vec<Report>)>,
}

impl Vault {
    /// What is known of the events of whom a record is about. Nothing is looked for in a collection no rule of which, or ever one, counts
    /// from any.
    ///
    /// # Errors
    /// [`VaultError::Shredded`] while an order is about to take the person.
    pub(in crate::vault::ops) async fn events_over(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        meta: &RecordMeta,
    ) -> Result<Known, VaultError> {
        if collection.has_events { self.events_about(tenant, meta).await } else { Ok(Known::default()) }
    }

    /// The same, whatever its collection's rules are.
    pub(in crate::vault::ops) async fn events_about(&self, tenant: TenantNo, meta: &RecordMeta) -> Result<Known, VaultError> {
        let Some(first) = meta.subjects.first() else { return Ok(Known::default()) };
        let token = self.token_of(tenant, first).await?;
        match &meta.kept {
            Some(Kept { restricted_by: Some(order), .. }) => {
                // Nothing becomes known of who was shredded.
                Ok(Known { events: self.events_left(tenant, *order, &token, None).await?, checks: Vec::new() })
            }
            Some(_) | None => self.events_of(tenant, token).await,
        }
    }

    /// What is known of a person by what is about one of the ids; nothing of who was shredded.
    pub(in crate::vault::ops) async fn events_of(&self, tenant: TenantNo, token: Token) -> Result<Known, VaultError> {
        let Known { events, checks } = self.events_of_person(tenant, token).await?;
        Ok(Known { events: events.seen_by(&token), checks })
    }

    /// The same by all ids: what is about one of them is told that by its own ([`Events::seen_by`]).
    pub(in crate::vault::ops) async fn events_of_person(&self, tenant: TenantNo, token: Token) -> Result<Known, VaultError> {
        retrying(|| async {
            let person = self.person(tenant, token).await?;
            let stored = self.events_stored(tenant, &person.first()).await?;
            let checks = vec![person.check(), stored.check()];
            Ok(Known { events: stored.events, checks })
        })
        .await
    }

    /// What was reported of the person whose first id has this token, with that id, and the others under which some of it was, as it goes along
    /// to another store; `None` where nothing was, and of who is shredded, or about to be.
    pub(in crate::vault::ops) async fn events_carried(&self, tenant: &Tenant, token: Token) -> Result<Option<Carried>, VaultError> {
        if self.is_subject_shredded(tenant, &token).await? {
            return Ok(None);
        }
        let Stored { subject, events, .. } = self.events_stored(tenant.no, &token).await?;
        let Some(subject) = subject else { return Ok(None) };
        if self.token_of(tenant.no, &subject).await? != token {
            return Err(VaultError::Internal("whose events were reported".into()));
        }
        if events.joined().is_empty() {
            return Ok(Some(Carried { subject, reports: events.reports().to_vec(), joined: Vec::new() }));
        }
        let person = self.person(tenant.no, token).await?;
        let ids: HashMap<Token, SubjectId> = person.tokens().zip(self.ids_of(tenant.no, &person).await?).collect();
        // What came with an id that was taken away since is nobody's own.
        let gone: Vec<Token> = events.joined().iter().map(|one| one.id).filter(|id| !ids.contains_key(id)).collect();
        let events = gone.iter().fold(events, Events::without);
        let named = |one: &Joined| Some((ids.get(&one.id)?.clone(), (one.at, one.no), one.reports.clone()));
        let joined = events.joined().iter().filter_map(named).collect();
        Ok(Some(Carried { subject, reports: events.reports().to_vec(), joined }))
    }

    /// What a law counts from over a record: of whom an order is about to take, what that remembers.
    pub(in crate::vault::ops) async fn events_by_law(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        meta: &RecordMeta,
    ) -> Result<Events, VaultError> {
        match self.events_over(tenant, collection, meta).await {
            Err(VaultError::Shredded { .. }) => {}
            known => return known.map(|known| known.events),
        }
        let Some(first) = meta.subjects.first() else { return Ok(Events::default()) };
        let token = self.token_of(tenant, first).await?;
        match self.control_row::<SubjectRow>(&schema::subject_state(tenant, &token)).await?.map(|row| row.state) {
            Some(State::Pending(order)) => self.events_left(tenant, ShredId(order), &token, None).await,
            // It was taken back, or has gone, in between.
            Some(State::Active | State::Frozen | State::Shredded(_)) | None => Err(VaultError::Busy),
        }
    }

    /// What an order to shred the first person of a record knows, as of its moment; of what another has left before, as of that.
    pub(in crate::vault::ops) async fn events_of_order(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        meta: &RecordMeta,
        (order, first, at): (ShredId, &Token, Timestamp),
    ) -> Result<Events, VaultError> {
        if !collection.has_events {
            return Ok(Events::default());
        }
        let left = match meta.kept.as_ref().and_then(|kept| kept.restricted_by) {
            Some(earlier) if earlier != order => self.events_left(tenant, earlier, first, None).await,
            Some(_) | None => self.events_left(tenant, order, first, Some(at)).await,
        };
        match left {
            // A bent row keeps nobody from being forgotten.
            Err(VaultError::Internal(_)) => Ok(Events::default().or_at(at)),
            left => left,
        }
    }

    /// What an order to shred remembers of a person; what it does not know was when it was decided, `at`, what a law keeps.
    async fn events_left(&self, tenant: TenantNo, order: ShredId, token: &Token, at: Option<Timestamp>) -> Result<Events, VaultError> {
        let key = schema::left_events(tenant, order, token);
        let Some(LeftEventsRow { otherwise, sealed }) = self.control_row(&key).await? else {
            let decided = match at {
                Some(at) => Some(at),
                None => self.shred_row(order).await?.map(|row| row.decided_as_of()),
            };
            return Ok(decided.map_or_else(Events::default, |at| Events::default().or_at(at)));
        };
        let sealed = Sealed::<LeftEvents>::from_row(sealed.into()).map_err(damaged)?;
        let context = self.left_context(tenant, order, token);
        let opened = self.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(damaged)?;
        Ok(decoded(opened.expose())?.or_at(Timestamp(otherwise)))
    }

    /// The row under an id, and what is sealed in it.
    pub(super) async fn events_stored(&self, tenant: TenantNo, token: &Token) -> Result<Stored, VaultError> {
        let key = schema::events(tenant, token);
        let Some(stored) = self.inner.store.get(Space::Control, &key).await? else {
            return Ok(Stored { key, row: None, subject: None, events: Events::default() });
        };
        let row: EventsRow = self.inner.seals.open(&key, &stored)?;
        let unit = UnitRow { slot: row.slot, generation: row.generation }.unit(tenant)?;
        let sealed = Sealed::<SubjectEvents>::from_row(row.sealed.clone().into()).map_err(damaged)?;
        let context = self.events_context(unit, token);
        let (subject, events) = match self.with_sole(unit, CollectionNo::TENANT, |key| key.open(&context, &sealed)).await {
            Ok(opened) => {
                let (subject, events) = decoded_of(opened.map_err(damaged)?.expose())?;
                (Some(subject), events)
            }
            Err(closed @ VaultError::Shredded { .. }) => {
                if self.has_key(unit).await? {
                    // An order is about to take it: nothing is known until that is decided.
                    return Err(closed);
                }
                // It went with the person.
                (None, Events::default())
            }
            Err(error) => return Err(error),
        };
        Ok(Stored { key, row: Some((stored, row)), subject, events })
    }

    pub(super) fn left_context(&self, tenant: TenantNo, order: ShredId, token: &Token) -> Context<LeftEvents> {
        Context::of(&self.inner.store_id, tenant, &[&order.0, token])
    }
}
