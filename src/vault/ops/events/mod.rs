//! What a backend reports of a person, and that rules count from: the end of a contract, the end of the relationship.
//!
//! ```text
//! report -> control: what was reported of the person, sealed, under the first id; the person at the end of the queue   (one commit)
//! run    -> data:    the person's records are written down anew in the index of what is due                           (follow)
//! record -> end:     by the rules, and by what is known of its first person when it is looked at                      (known)
//! order  -> control: what a law's minimums count from is remembered of a person who is shredded                       (left)
//! ```
//! The reports lie in the control store, so data of any date is told what is known today. They are sealed under the unit that seals the
//! person's ids, of no collection, and go with the person; the first id is sealed with them, for by that they come along to another store.
//! Every commit that destroys, or writes, by what was read of them checks that it is still so: a report comes before it, and counts, or
//! behind it. Which of a report and a record came first, their numbers tell for ever: a write that has looked seals the number of the last
//! report that it has seen, and for one in a collection no rule of which counts from any its version stands, which is drawn from the same
//! counter. The two may be drawn while the other is under way, and be committed in the other order, and nobody could tell: the first rule
//! that counts from events comes when no report is under way ([`Vault::reports_end`]).
//!
//! A person of several ids has one row, under the first: a report by any of them is of all. Who is given another id knows what was
//! reported of either, of the other from then on: what was reported of each stands apart in the row, for records of the one were kept, and
//! not over, while nobody knew that it was the other. An id that is taken away knows what was known of the person until then.

use bytes::Bytes;
use tokio::sync::MutexGuard;

use self::known::Known;
use super::{
    Caller, Missing, Unprocessable, Vault, VaultError,
    access::InTenant,
    aliases::{Change, Person, free},
    directory::Tenant,
    plan::{entry, retrying, subject_target},
    refused::Place,
    replies::Before,
    rows::{EventQueueRow, EventsRow, UnitRow},
};
use crate::{
    authz::{EventRead, EventReport, EventWithdraw},
    domain::{
        CollectionNo, SubjectId, TenantName, TenantNo, Timestamp, limits,
        retention::{
            EventDate, EventName, Events,
            events::{Joined, Report},
        },
    },
    vault::{
        audit::{Action, Target, Trail},
        crypto::{Context, Plaintext, SubjectEvents, Token},
        keys::{LeaseKind, UnitRef},
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

pub(super) mod follow;
pub(super) mod known;
mod left;
pub(super) mod quiet;

/// What is known of a person's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsView {
    /// The person, by the id that was sent.
    pub subject: SubjectId,
    /// The last report of each event, but those that were taken back.
    pub events: Vec<EventView>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Which.
    pub event: EventName,
    /// When it was, or is to be.
    pub at: EventDate,
    /// When that was reported; if that was of another id, before it was the person's, when the two were joined.
    pub reported_at: Timestamp,
}

impl EventsView {
    fn of(subject: &SubjectId, events: &Events) -> Self {
        let view = |report: &Report| Some(EventView { event: report.event.clone(), at: report.at?, reported_at: report.reported_at });
        Self { subject: subject.clone(), events: events.known().filter_map(view).collect() }
    }
}

/// The row of a person, as it was read, with what is sealed in it.
pub(super) struct Stored {
    key: Bytes,
    /// None of whom nothing was reported.
    row: Option<(Bytes, EventsRow)>,
    /// The id; none where there is no row, and of who is gone.
    subject: Option<SubjectId>,
    events: Events,
}

impl Stored {
    /// That it is still so.
    fn check(&self) -> Check {
        let expect = self.row.as_ref().map_or(Expect::Absent, |(stored, _)| Expect::Equals(stored.clone()));
        Check { space: Space::Control, key: self.key.clone(), expect }
    }
}

impl Vault {
    /// Reports when an event of a person was, or is to be: an earlier report of it counts no more. Its rules count from it as soon as this
    /// returns; what they end is written down by the next run. The audit entry is in the same commit.
    ///
    /// # Errors
    /// [`VaultError::SubjectErased`] if the person was shredded; [`Unprocessable::EventTooFar`]; [`VaultError::Limit`];
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn report_event(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        (subject, event, at): (SubjectId, EventName, EventDate),
        idempotency_key: Option<String>,
    ) -> Result<EventsView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let reported = self.to_the_end(async move {
            retrying(|| async {
                let InTenant { tenant, .. } = vault.in_tenant::<EventReport>(&caller, &name).await?;
                vault.report_once(&caller, &tenant, (&subject, &event, Some(at)), idempotency_key.as_deref()).await
            })
            .await
        });
        self.on_record(asker, Place::tenant(tenant), Action::EventReport, reported).await
    }

    /// Takes back what was reported of an event: rules that count from it wait for it again. What was destroyed stays so.
    ///
    /// # Errors
    /// [`Missing::Event`] where nothing is known of it; those of [`Vault::report_event`].
    pub async fn withdraw_event(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        (subject, event): (SubjectId, EventName),
        idempotency_key: Option<String>,
    ) -> Result<EventsView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let withdrawn = self.to_the_end(async move {
            retrying(|| async {
                let InTenant { tenant, .. } = vault.in_tenant::<EventWithdraw>(&caller, &name).await?;
                vault.report_once(&caller, &tenant, (&subject, &event, None), idempotency_key.as_deref()).await
            })
            .await
        });
        self.on_record(asker, Place::tenant(tenant), Action::EventWithdraw, withdrawn).await
    }

    async fn report_once(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        (subject, event, at): (&SubjectId, &EventName, Option<EventDate>),
        key: Option<&str>,
    ) -> Result<EventsView, VaultError> {
        if at.is_some_and(|at| at.is_too_far(self.inner.clock.now())) {
            return Err(Unprocessable::EventTooFar.into());
        }
        let action = if at.is_some() { Action::EventReport } else { Action::EventWithdraw };
        let date = at.map(EventDate::to_text).unwrap_or_default();
        let parts: [&[u8]; 4] = [b"event", subject.as_str().as_bytes(), event.as_str().as_bytes(), date.as_bytes()];
        let before = self.changed_before(tenant, caller, key, &parts).await?;
        let token = self.token_of(tenant.no, subject).await?;
        let _numbered = self.reports(tenant.no).await?;
        let (person, mut change) = self.plan_reported(caller, tenant, token, false).await?;
        let stored = self.events_stored(tenant.no, &person.first()).await?;
        let mut events = stored.events.clone();
        if matches!(before, Some(Before::Made(..))) {
            self.repeated(caller, tenant, action, CollectionNo::TENANT).await?;
            return Ok(EventsView::of(subject, &events.seen_by(&token)));
        }
        let number = self.inner.forest.lease(LeaseKind::Version).await?;
        if !events.report(event, at, (number, self.inner.clock.now())) {
            if at.is_none() {
                return Err(VaultError::NotFound(Missing::Event));
            }
            // It is known; what could not be followed of it is tried again.
            if let Some((_, row)) = &stored.row
                && self.is_behind(row.number).await?
            {
                self.requeue_numbered(tenant.no, person.first(), row.number).await?;
                self.follow_events_soon();
            }
            self.repeated(caller, tenant, action, CollectionNo::TENANT).await?;
            return Ok(EventsView::of(subject, &events.seen_by(&token)));
        }
        // A mistaken one can always be taken back: of each event but once. What came with other ids has been counted there.
        if at.is_some() && events.reports().len() as u64 > limits::SUBJECT_EVENTS.max {
            return Err(VaultError::Limit(limits::SUBJECT_EVENTS));
        }
        let first = self.first_id(tenant.no, &person, (token, subject)).await?;
        self.plan_events(&mut change, tenant.no, (person.first(), &first), stored, (&events, number)).await?;
        change.entries.push((tenant.audit, entry(caller, tenant, action, CollectionNo::TENANT, subject_target(person.first()))));
        change.keep(self, before.and_then(free), token)?;
        self.commit_change(caller, change).await?;
        self.follow_events_soon();
        Ok(EventsView::of(subject, &events.seen_by(&token)))
    }

    /// The person of an id, of whom something is about to be reported, and a change that is held to who that is, and to nobody shredding the
    /// person; one who was is known anew from here on, where that is said.
    async fn plan_reported(&self, caller: &Caller, tenant: &Tenant, token: Token, anew: bool) -> Result<(Person, Change), VaultError> {
        let person = self.person(tenant.no, token).await?;
        let mut change = Change::of(tenant, [&person]);
        self.plan_alive(&mut change, caller, tenant, token, anew).await?;
        if person.first() != token {
            self.plan_alive(&mut change, caller, tenant, person.first(), anew).await?;
        }
        Ok((person, change))
    }

    /// A person's first id, by the one that was sent.
    async fn first_id(&self, tenant: TenantNo, person: &Person, (token, sent): (Token, &SubjectId)) -> Result<SubjectId, VaultError> {
        if person.first() == token {
            return Ok(sent.clone());
        }
        // Where it is not listed any more, the person is another by now.
        self.listed_id(tenant, &person.first()).await?.ok_or(VaultError::Busy)
    }

    /// Has known of a person what another store knew until now, in the place of what is known here: who is erased here was known anew there.
    /// The person goes to the end of the queue, also where nothing is new: records may have come since that the queue was gone through
    /// without.
    ///
    /// # Errors
    /// Those of [`Vault::report_event`].
    pub(super) async fn carry_events(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        subject: &SubjectId,
        events: &Events,
    ) -> Result<(), VaultError> {
        let token = self.token_of(tenant.no, subject).await?;
        let _numbered = self.reports(tenant.no).await?;
        let (person, mut change) = self.plan_reported(caller, tenant, token, true).await?;
        let stored = self.events_stored(tenant.no, &person.first()).await?;
        let first = self.first_id(tenant.no, &person, (token, subject)).await?;
        let events = &events.clone().elsewhere_until(Some(self.inner.clock.now()));
        let number = self.inner.forest.lease(LeaseKind::Version).await?;
        self.plan_events(&mut change, tenant.no, (person.first(), &first), stored, (events, number)).await?;
        let target = Target { count: u32::try_from(events.count()).ok(), ..subject_target(person.first()) };
        change.entries.push((tenant.audit, entry(caller, tenant, Action::EventReport, CollectionNo::TENANT, target)));
        self.commit_change(caller, change).await?;
        self.follow_events_soon();
        Ok(())
    }

    /// What is known of a person's events, by any id. The audit entry is in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::Shredded`] if the person was; [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn read_events(&self, caller: &Caller, tenant: &TenantName, subject: &SubjectId) -> Result<EventsView, VaultError> {
        let caller = &caller.begin();
        let read = retrying(|| async {
            let InTenant { tenant, .. } = self.in_tenant::<EventRead>(caller, tenant).await?;
            let token = self.token_of(tenant.no, subject).await?;
            self.refuse_shredded_subject(&tenant, &token).await?;
            let Known { events, .. } = self.events_of(tenant.no, token).await?;
            let view = EventsView::of(subject, &events);
            let target = Target { count: u32::try_from(view.events.len()).ok(), ..subject_target(token) };
            self.read_receipt(&tenant, entry(caller, &tenant, Action::EventRead, CollectionNo::TENANT, target)).await?;
            Ok(view)
        });
        self.on_record(caller, Place::tenant(tenant), Action::EventRead, read).await
    }

    /// Plans that a person and another id know what was reported of either from now on, and that the records of both are written down anew. What is
    /// returned is held until that is committed.
    pub(super) async fn plan_events_joined(
        &self,
        change: &mut Change,
        tenant: TenantNo,
        (first, id): (Token, &SubjectId),
        added: Token,
    ) -> Result<Option<MutexGuard<'_, ()>>, VaultError> {
        let numbered = self.reports(tenant).await?;
        let (own, other) = (self.events_stored(tenant, &first).await?, self.events_stored(tenant, &added).await?);
        change.checks.push(other.check());
        if own.row.is_none() && other.row.is_none() {
            change.checks.push(own.check());
            return Ok(None);
        }
        let number = self.inner.forest.lease(LeaseKind::Version).await?;
        let events = own.events.clone().and(&added, &other.events, (number, self.inner.clock.now()));
        self.plan_events(change, tenant, (first, id), own, (&events, number)).await?;
        change.writes.extend(Self::no_events(&other));
        Ok(Some(numbered))
    }

    /// Plans that an id which is taken away knows what was known of the person until then: nobody's records end otherwise by that.
    pub(super) async fn plan_events_parted(
        &self,
        change: &mut Change,
        tenant: TenantNo,
        first: Token,
        (removed, alias): (Token, &SubjectId),
    ) -> Result<Option<MutexGuard<'_, ()>>, VaultError> {
        let numbered = self.reports(tenant).await?;
        let (own, other) = (self.events_stored(tenant, &first).await?, self.events_stored(tenant, &removed).await?);
        change.checks.push(own.check());
        if own.row.is_none() {
            return Ok(None);
        }
        let number = self.inner.forest.lease(LeaseKind::Version).await?;
        self.plan_events(change, tenant, (removed, alias), other, (&own.events.seen_by(&removed), number)).await?;
        Ok(Some(numbered))
    }

    /// What removes what was reported of an id that is erased.
    pub(super) async fn events_forgotten(&self, tenant: TenantNo, token: &Token) -> Result<Vec<Write>, VaultError> {
        let key = schema::events(tenant, token);
        let Some(stored) = self.inner.store.get(Space::Control, &key).await? else { return Ok(Vec::new()) };
        let mut gone = vec![Write::Delete { space: Space::Control, key: key.clone() }];
        // A bent row names no place in the queue; what is left there leads to nobody.
        if let Ok(row) = self.inner.seals.open::<EventsRow>(&key, &stored) {
            gone.push(Write::Delete { space: Space::Control, key: schema::event_queue(row.number) });
        }
        Ok(gone)
    }

    /// The slots of the units that seal what was reported of these ids.
    pub(super) async fn slots_of_events(&self, tenant: TenantNo, tokens: &[Token]) -> Result<Vec<u64>, VaultError> {
        let keys: Vec<Bytes> = tokens.iter().map(|token| schema::events(tenant, token)).collect();
        let rows = self.inner.store.get_many(Space::Control, &keys).await?;
        let known = keys.iter().zip(rows).filter_map(|(key, row)| Some((key, row?)));
        // What does not open has nothing to tell.
        Ok(known.filter_map(|(key, row)| self.inner.seals.open::<EventsRow>(key, &row).ok()).map(|row| row.slot).collect())
    }

    fn no_events(stored: &Stored) -> Vec<Write> {
        let Some((_, row)) = &stored.row else { return Vec::new() };
        let keys = [stored.key.clone(), schema::event_queue(row.number)];
        keys.into_iter().map(|key| Write::Delete { space: Space::Control, key }).collect()
    }

    /// Plans what is known of a person under an id, and the person's place at the end of the queue, by this number. The caller has held
    /// `reporting` since before that was drawn, and holds it until it is committed: so whoever reads the queue meets its numbers in the order
    /// in which they came, and passes over none.
    async fn plan_events(
        &self,
        change: &mut Change,
        tenant: TenantNo,
        (token, id): (Token, &SubjectId),
        stored: Stored,
        (events, number): (&Events, u64),
    ) -> Result<(), VaultError> {
        let unit = self.plan_unit_of_id(change, tenant, &token).await?;
        let plain = Plaintext::<SubjectEvents>::new(encoded_of(id, events)?);
        let (context, suite) = (self.events_context(unit, &token), self.inner.options.suite);
        let sealed = self.with_sole(unit, CollectionNo::TENANT, |key| key.seal(suite, &context, &plain)).await?;
        change.checks.push(stored.check());
        if let Some((_, before)) = &stored.row {
            change.writes.push(Write::Delete { space: Space::Control, key: schema::event_queue(before.number) });
        }
        let UnitRow { slot, generation } = UnitRow::of(unit);
        change.put(self, stored.key, &EventsRow { number, slot, generation, sealed: sealed.into_row().to_vec() })?;
        change.put(self, schema::event_queue(number), &EventQueueRow { tenant: tenant.0, subject: token })
    }

    /// Puts a person whose records cannot be written down anew for now at the end of the queue: the others wait for none.
    async fn requeue(&self, tenant: TenantNo, token: Token, number: u64) -> Result<(), VaultError> {
        let _numbered = self.inner.reporting.lock().await;
        self.requeue_numbered(tenant, token, number).await
    }

    /// The same, of who holds `reporting`.
    async fn requeue_numbered(&self, tenant: TenantNo, token: Token, number: u64) -> Result<(), VaultError> {
        let key = schema::events(tenant, &token);
        let Some(stored) = self.inner.store.get(Space::Control, &key).await? else { return Ok(()) };
        let row: EventsRow = self.inner.seals.open(&key, &stored)?;
        if row.number != number {
            // There was another report.
            return Ok(());
        }
        let number = self.inner.forest.lease(LeaseKind::Version).await?;
        let before = schema::event_queue(row.number);
        let checks = vec![Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(stored) }];
        let writes = vec![
            Write::Delete { space: Space::Control, key: before },
            self.inner.seals.put(key, &EventsRow { number, ..row })?,
            self.inner.seals.put(schema::event_queue(number), &EventQueueRow { tenant: tenant.0, subject: token })?,
        ];
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, Vec::new()).await.map(drop)
    }

    fn events_context(&self, unit: UnitRef, token: &Token) -> Context<SubjectEvents> {
        let sealed_under = [&unit.slot.to_be_bytes()[..], &unit.generation.to_be_bytes()].concat();
        Context::of(&self.inner.store_id, unit.tenant, &[token, &sealed_under])
    }
}

/// The ids of a person in the order of the index.
fn in_order(person: &Person) -> Vec<Token> {
    let mut tokens: Vec<Token> = person.tokens().collect();
    tokens.sort_unstable();
    tokens
}

/// One report, as it is sealed: which, when it was, when that was reported, and its number.
type Told = (String, Option<String>, i64, u64);

/// What came with another id, as it is sealed: by which token, since when and which number, and what was reported of it by then.
type ToldJoined = (Token, i64, u64, Vec<Told>);

fn told(reports: &[Report]) -> Vec<Told> {
    let told = |report: &Report| (report.event.as_str().to_owned(), report.at.map(EventDate::to_text), report.reported_at.0, report.no);
    reports.iter().map(told).collect()
}

/// Reports as they are sealed: a JSON list of `[event, date or null, time of the report, number]`.
fn encoded(events: &Events) -> Result<Vec<u8>, VaultError> {
    serde_json::to_vec(&told(events.reports())).map_err(|_| VaultError::Internal("events".into()))
}

/// The same with whose they are, until when they were made in another store, and what came with other ids:
/// `[id, list, time or null, [[token, time, number, list], ..]]`.
fn encoded_of(subject: &SubjectId, events: &Events) -> Result<Vec<u8>, VaultError> {
    let elsewhere = events.elsewhere().map(|until| until.0);
    let joined: Vec<ToldJoined> = events.joined().iter().map(|one| (one.id, one.at.0, one.no, told(&one.reports))).collect();
    serde_json::to_vec(&(subject.as_str(), told(events.reports()), elsewhere, joined)).map_err(|_| VaultError::Internal("events".into()))
}

fn wrong() -> VaultError {
    VaultError::Internal("stored events".into())
}

fn decoded(bytes: &[u8]) -> Result<Events, VaultError> {
    Ok(Events::of(read(serde_json::from_slice(bytes).map_err(|_| wrong())?)?))
}

fn decoded_of(bytes: &[u8]) -> Result<(SubjectId, Events), VaultError> {
    type Sealed = (String, Vec<Told>, Option<i64>, Vec<ToldJoined>);
    let (subject, all, elsewhere, others): Sealed = serde_json::from_slice(bytes).map_err(|_| wrong())?;
    let mut joined = Vec::with_capacity(others.len());
    for (id, at, no, all) in others {
        joined.push(Joined { id, at: Timestamp(at), no, reports: read(all)? });
    }
    let events = Events::of(read(all)?).with_joined(joined).elsewhere_until(elsewhere.map(Timestamp));
    Ok((SubjectId::parse(&subject).map_err(|_| wrong())?, events))
}

fn read(all: Vec<Told>) -> Result<Vec<Report>, VaultError> {
    let mut reports = Vec::with_capacity(all.len());
    for (event, at, reported_at, no) in all {
        let event = EventName::parse(&event).ok_or_else(wrong)?;
        let at = at.map(|at| EventDate::parse(&at).ok_or_else(wrong)).transpose()?;
        reports.push(Report { event, at, reported_at: Timestamp(reported_at), no });
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_sealed_with_whose_they_are_in_the_order_in_which_they_were_made() {
        let report = |event: &str, at: Option<&str>, (no, reported_at)| Report {
            event: EventName::parse(event).unwrap(),
            at: at.map(|at| EventDate::parse(at).unwrap()),
            reported_at: Timestamp(reported_at),
            no,
        };
        let events = vec![report("end", Some("2026-01-31"), (21, 1)), report("end", None, (22, 1))];
        let events = Events::of([events, vec![report("other", Some("2020-01-01"), (40, 2))]].concat());
        let subject = SubjectId::parse("7").unwrap();
        let sealed = encoded_of(&subject, &events).unwrap();
        let list = r#"[["end","2026-01-31",1,21],["end",null,1,22],["other","2020-01-01",2,40]]"#;
        assert_eq!(String::from_utf8(sealed.clone()).unwrap(), format!(r#"["7",{list},null,[]]"#));
        assert_eq!(decoded_of(&sealed).unwrap(), (subject.clone(), events.clone()));
        let came = events.clone().elsewhere_until(Some(Timestamp(3)));
        let sealed = encoded_of(&subject, &came).unwrap();
        assert_eq!(String::from_utf8(sealed.clone()).unwrap(), format!(r#"["7",{list},3,[]]"#));
        assert_eq!(decoded_of(&sealed).unwrap(), (subject.clone(), came));
        let joined = Events::of(vec![report("end", None, (30, 4))]).and(&[7; 16], &events, (50, Timestamp(5)));
        let sealed = encoded_of(&subject, &joined).unwrap();
        let token = ["7"; 16].join(",");
        assert_eq!(String::from_utf8(sealed.clone()).unwrap(), format!(r#"["7",[["end",null,4,30]],null,[[[{token}],5,50,{list}]]]"#));
        assert_eq!(decoded_of(&sealed).unwrap(), (subject, joined));
        assert_eq!(decoded(list.as_bytes()).unwrap(), events);
        assert_eq!(decoded(&encoded(&Events::default()).unwrap()).unwrap(), Events::default());
        let bent_joined = r#"["7",[],null,[[[7],5,50,[]]]]"#;
        let bent_report = r#"["7",[["No Name",null,1,1]],null,[]]"#;
        let (no_date, no_number) = (r#"["7",[["end","soon",1,1]],null,[]]"#, r#"["7",[["end",null,1]],null,[]]"#);
        for bent in [list, r#"["",[],null,[]]"#, r#"["7",[],null]"#, bent_report, bent_joined, no_date, no_number] {
            assert!(decoded_of(bent.as_bytes()).is_err(), "{bent}");
        }
    }
}
