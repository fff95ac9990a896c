//! Legal minimums held against what is ordered: a record that a law keeps is not deleted, not shredded and not overwritten into one
//! that could be, and no run destroys it. What stands over a record is the longest of what all rules asked for under which it has been
//! since it was written, those of today among them, and of what an earlier version of it was kept for. So neither a rule that is made
//! shorter, nor one that comes and goes, nor another date in the value or of an event brings it forward; and a record whose rule waits for
//! its date is kept until that is known.
//!
//! A record says itself under which of its collection's rules it was written: the commit of a write is held to the collection's row, so
//! no clock has a part in that.
//!
//! Minimums of the governance kind bind as the others do, until somebody who may bypasses them for what is there: that comes with rules of
//! the collection, as a change of them, and lifts those of all rules before. So what was decided as of an earlier moment is decided again as
//! it was, and older data follows. What is known of the others is asked for by itself where it has to outlive a bypass ([`firm_over`]): in
//! what is sealed with a record, and with a unit that an order spares.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    Caller, Vault, VaultError,
    collections::AtWork,
    directory::{Collection, Tenant},
    events::quiet::Quiet,
    plan::{Actor, Live, Plan, unit_of},
    restricted::{self, Restricted},
    retention::{Rules, RulesNo, facts, facts_under},
    rows::{LawMarkRow, Scope, ShredRow, State, SubjectRow, UnitRow},
};
use crate::{
    authn::Role,
    domain::{
        CollectionNo, CollectionPolicy, RecordMeta, Retention, ShredId, SubjectId, TenantNo, Timestamp,
        retention::{Events, Governed, Kept, Law, Schedule, Under, events::NO_EVENTS},
    },
    vault::{
        crypto::{Context, Data, Key, OpenedRecord, RECORD_HEADER_LEN, Record, RecordHeader, Sealed, Token, random},
        keys::{KeysError, UnitRef},
        store::{
            Check, Expect, Row, Space, Write,
            schema::{self, KeyRange},
        },
    },
};

/// Records that are read and opened at once: each has up to 100 kB.
pub(super) const AT_ONCE: usize = 64;
/// Records that are looked at, once it is known that something stands: those before are counted, and a few behind.
const COUNTED: u64 = 10_000;

impl Collection {
    /// Its rules of today.
    pub(super) fn rules_now(&self) -> RulesNo {
        RulesNo(self.past.retention_was.len())
    }

    /// Its rules at a moment; at that of a change those before it, whatever came behind it.
    pub(super) fn rules_until(&self, at: Timestamp) -> RulesNo {
        let was = self.past.retention_was.iter().position(|(changed, ..)| at.0 <= *changed);
        was.map_or_else(|| self.rules_now(), RulesNo)
    }

    /// Those under which a record was written.
    pub(super) fn rules_of(&self, meta: &RecordMeta) -> RulesNo {
        RulesNo::of(meta.rules_no).min(self.rules_now())
    }

    /// What some of its rules say.
    pub(super) fn rules_at(&self, no: RulesNo) -> Rules<'_> {
        let was = self.past.retention_was.get(no.0);
        was.map_or((&self.policy.retention, &self.policy.categories), |(_, rules, categories)| (rules, categories))
    }

    /// The rules under which a record has been from its writing on until those of `last`, these first; each of the others with when it
    /// held no more.
    pub(super) fn rules_since(&self, meta: &RecordMeta, last: RulesNo) -> impl Iterator<Item = Since<'_>> {
        let (first, last) = (self.rules_of(meta), last.min(self.rules_now()));
        let end = if fault!("rules-between") {
            first.0.saturating_add(1).min(last.0)
        } else if fault!("rules-last") {
            first.0.min(last.0)
        } else {
            last.0
        };
        let earlier = self.past.retention_was.get(first.0..end).unwrap_or_default().iter().enumerate().rev();
        let earlier = earlier.map(move |(at, (changed, rules, categories))| Since {
            rules: (rules, categories.as_slice()),
            ended_at: Some(Timestamp(*changed)),
            is_bypassed: self.is_bypassed(RulesNo(first.0.saturating_add(at)), last),
        });
        let latest = Since { rules: self.rules_at(last.max(first)), ended_at: None, is_bypassed: false };
        std::iter::once(latest).chain(earlier)
    }

    /// Whether somebody has bypassed the minimums of the governance kind of its rules of a number, by those of `last`.
    pub(super) fn is_bypassed(&self, no: RulesNo, last: RulesNo) -> bool {
        self.past
            .bypassed
            .iter()
            .map(|by| RulesNo::of(*by))
            .any(|by| (no < by || fault!("bypass-behind")) && (by <= last || fault!("bypass-early")))
    }

    /// That of the governance kind which is sealed with a record, unless somebody has bypassed it by the rules of `last`.
    pub(super) fn governed<'a>(&self, meta: &'a RecordMeta, last: RulesNo) -> Option<&'a Governed> {
        meta.governed.as_ref().filter(|governed| !self.is_bypassed(RulesNo::of(governed.rules_no), last))
    }

    /// Whether a bypass would lift anything: rules that hold no more have minimums of the governance kind, and none has lifted them yet.
    pub(super) fn has_to_bypass(&self) -> bool {
        let mut was = self.past.retention_was.iter().enumerate();
        was.any(|(no, (_, rules, _))| {
            rules.schedule().is_some_and(Schedule::has_governance) && !self.is_bypassed(RulesNo(no), self.rules_now())
        })
    }

    /// When the last bypass came that has lifted something of a record, as far as its rules tell.
    pub(super) fn bypassed_at(&self, meta: &RecordMeta) -> Option<Timestamp> {
        let last = self.past.bypassed.iter().map(|by| RulesNo::of(*by)).filter(|by| self.rules_of(meta) < *by).max()?;
        // Its rules came when those before them held no more.
        self.past.retention_was.get(last.0.checked_sub(1)?).map(|(changed, ..)| Timestamp(*changed))
    }

    /// A moment that lies behind every change of its rules so far, `now` or later: what changes or is decided as of then comes behind
    /// those, also where the clock was set back behind one.
    pub(super) fn behind_changes(&self, now: Timestamp) -> Timestamp {
        let last = self.past.retention_was.iter().map(|(changed, ..)| changed.saturating_add(1)).max();
        Timestamp(last.map_or(now.0, |last| last.max(now.0)))
    }

    /// The names of the rules that it has, or had.
    pub(super) fn rules(&self) -> impl Iterator<Item = &str> {
        let all = self.past.retention_was.iter().map(|(_, was, _)| was).chain([&self.policy.retention]);
        all.filter_map(Retention::schedule).flat_map(|schedule| &schedule.rules).map(|rule| rule.name.as_str())
    }
}

/// Rules that a record is under, or was.
pub(super) struct Since<'a> {
    pub(super) rules: Rules<'a>,
    /// When they held no more; `None` of the latest.
    pub(super) ended_at: Option<Timestamp>,
    /// Whether somebody has bypassed those of their minimums that are of the governance kind.
    pub(super) is_bypassed: bool,
}

/// Which minimums are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that bind.
    Binding,
    /// Those of them that nobody shortens.
    Firm,
    /// Those that would bind, had nobody bypassed any.
    Unbypassed,
}

impl Which {
    /// Whether those of the governance kind are left out, of rules that somebody has bypassed, or has not.
    const fn leaves_out(self, is_bypassed: bool) -> bool {
        match self {
            Self::Binding => is_bypassed,
            Self::Firm => true,
            Self::Unbypassed => false,
        }
    }
}

/// The legal minimum over a record, met or not, by all the rules from those under which it was written to those of `last`, and by what is
/// known of its person. A `newer` value, which is to take its place, tells the dates that it does not.
pub(super) fn law_over(
    collection: &Collection,
    last: RulesNo,
    meta: &RecordMeta,
    of: (Option<&[u8]>, Option<&[u8]>),
    events: &Events,
) -> Option<Law> {
    law_of(Which::Binding, collection, last, meta, of, events)
}

/// The same of those alone that nobody shortens.
pub(super) fn firm_over(
    collection: &Collection,
    last: RulesNo,
    meta: &RecordMeta,
    of: (Option<&[u8]>, Option<&[u8]>),
    events: &Events,
) -> Option<Law> {
    law_of(Which::Firm, collection, last, meta, of, events)
}

/// The same had nobody bypassed any.
pub(super) fn law_unbypassed(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events) -> Option<Law> {
    law_of(Which::Unbypassed, collection, collection.rules_now(), meta, (value, None), events)
}

fn law_of(
    which: Which,
    collection: &Collection,
    last: RulesNo,
    meta: &RecordMeta,
    of: (Option<&[u8]>, Option<&[u8]>),
    events: &Events,
) -> Option<Law> {
    if !collection.has_law {
        return None;
    }
    let governed = match which {
        Which::Binding => collection.governed(meta, last),
        Which::Firm => None,
        Which::Unbypassed => meta.governed.as_ref(),
    };
    law_by(which, collection.rules_since(meta, last), (meta, governed), of, events)
}

/// The same if those of today were changed at a moment, but for what the rules behind them ask for.
pub(super) fn law_until(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events, at: Timestamp) -> Option<Law> {
    let last = collection.rules_now();
    let ended = collection.rules_since(meta, last).map(|since| Since { ended_at: since.ended_at.or(Some(at)), ..since });
    law_by(Which::Binding, ended, (meta, collection.governed(meta, last)), (value, None), events)
}

fn law_by<'a>(
    which: Which,
    since: impl Iterator<Item = Since<'a>>,
    (meta, governed): (&'a RecordMeta, Option<&Governed>),
    (value, newer): (Option<&'a [u8]>, Option<&[u8]>),
    events: &'a Events,
) -> Option<Law> {
    let asking = since.filter_map(|Since { rules: (rules, categories), ended_at, is_bypassed }| {
        if is_bypassed && which == Which::Binding && fault!("bypass-firm") {
            return None;
        }
        let rules = rules.schedule().filter(|schedule| schedule.has_minimum())?;
        let without_governance = which.leaves_out(is_bypassed);
        Some(Under { rules, facts: facts_under(categories, meta, value, events), ended_at, without_governance })
    });
    let asked = Law::over(asking, newer);
    let sealed = meta.kept.as_ref().map(Kept::law).into_iter().chain(governed.map(Governed::law));
    asked.into_iter().chain(sealed).reduce(Law::later)
}

/// The legal minimum that keeps a record now.
pub(super) fn standing(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events, now: Timestamp) -> Option<Law> {
    standing_under(collection.rules_now(), collection, meta, value, events, now)
}

/// The same at an earlier moment, by the rules until then.
pub(super) fn standing_at(collection: &Collection, meta: &RecordMeta, value: Option<&[u8]>, events: &Events, at: Timestamp) -> Option<Law> {
    standing_under(collection.rules_until(at), collection, meta, value, events, at)
}

fn standing_under(
    last: RulesNo,
    collection: &Collection,
    meta: &RecordMeta,
    value: Option<&[u8]>,
    events: &Events,
    at: Timestamp,
) -> Option<Law> {
    law_over(collection, last, meta, (value, None), events).filter(|law| law.stands(at))
}

/// What of the law over a record nobody shortens, by the rules until those by which that was found.
fn firm_of(
    law: &Law,
    collection: &Collection,
    last: RulesNo,
    meta: &RecordMeta,
    of: (Option<&[u8]>, Option<&[u8]>),
    events: &Events,
) -> Option<Law> {
    if law.is_firm() { Some(law.clone()) } else { firm_over(collection, last, meta, of, events) }
}

/// The minimums of today's rules that wait over a record until somebody reports what they count from. What takes its place is to wait for
/// the same, by its own category and persons: that it is to be kept for something else cannot be sealed with it, for there is no moment to
/// seal.
pub(super) fn unreported(collection: &Collection, meta: &RecordMeta, events: &Events) -> Vec<Law> {
    let Some(schedule) = collection.policy.retention.schedule().filter(|_| collection.has_events) else { return Vec::new() };
    let category = facts(&collection.policy, meta, None, events).category;
    let rules = schedule.rules.iter().filter(|rule| rule.is_for(category) && rule.minimum.is_some());
    let waiting = rules.filter(|rule| rule.from.reported().is_some_and(|event| events.date(event).is_none()));
    waiting.map(Law::waiting).collect()
}

/// What a law, what of it nobody shortens, and the restricted state say of a record; the law by the dates that a `newer` value tells, if one
/// is to take its place.
pub(super) fn weighed(
    collection: &Collection,
    meta: &RecordMeta,
    (value, newer): (Option<&[u8]>, Option<&[u8]>),
    events: &Events,
    now: Timestamp,
) -> (Option<Law>, Option<Law>, Option<Restricted>) {
    let (last, of) = (collection.rules_now(), (value, newer));
    let law = law_over(collection, last, meta, of, events).filter(|law| law.stands(now));
    let firm = law.as_ref().and_then(|law| firm_of(law, collection, last, meta, of, events)).filter(|law| law.stands(now));
    (law, firm, restricted::restricted(collection, meta, value, events, now))
}

/// Whether a role may know of rules: those that read a collection's policy.
const fn knows_rules(role: Role) -> bool {
    matches!(role, Role::Owner | Role::Writer | Role::Reader | Role::Auditor | Role::Counsel | Role::Governor)
}

/// What is told to who meets a minimum.
pub(super) fn refusal(law: Law, role: Role, records: Option<u64>) -> VaultError {
    VaultError::LegalMinimum { law: knows_rules(role).then(|| Box::new(law)), records }
}

/// What was found in a row that was opened.
enum Weighed {
    /// What keeps it, what of that nobody shortens, and whom it names first.
    Kept(Law, Option<Law>, Option<SubjectId>),
    /// What is known of its person decides.
    Opened(Box<OpenedRecord>),
}

/// Minimums that stand over records of a collection or a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Minimums {
    /// The one that stands longest, of those that were looked at.
    pub(super) law: Law,
    /// How many records there are under one: as many at least.
    pub(super) records: u64,
}

/// A look for minimums, over however many collections.
#[derive(Default)]
struct Look {
    found: Option<Minimums>,
    /// Records that were opened for it.
    looked_at: u64,
}

impl Look {
    fn add(&mut self, law: Law) {
        let known = self.found.take();
        self.found = Some(match known {
            Some(Minimums { law: known, records }) => Minimums { law: known.later(law), records: records.saturating_add(1) },
            None => Minimums { law, records: 1 },
        });
    }

    /// Whether enough was looked at to refuse.
    const fn is_enough(&self) -> bool {
        self.found.is_some() && self.looked_at >= COUNTED
    }
}

/// A record of a person that a law keeps.
pub(super) struct KeptRecord {
    pub(super) header: RecordHeader,
    /// The last token of its key.
    pub(super) token: Token,
    pub(super) law: Law,
    /// What of that nobody shortens, met or not.
    pub(super) firm: Option<Law>,
}

/// That no law keeps anything of what an order is for, and until the order's commit none comes to.
#[derive(Default)]
pub(super) struct Unkept<'a> {
    /// What the commit is held to.
    pub(super) checks: Vec<Check>,
    /// Behind it [`Vault::thaw_left`] is called.
    pub(super) frozen: Frozen<'a>,
}

/// Collections that are frozen as long as this is there. No event is reported meanwhile of anybody in their tenant, for a law may count from
/// that.
#[derive(Default)]
pub(super) struct Frozen<'a> {
    collections: Vec<AtWork<'a>>,
    _unreported: Option<Quiet<'a>>,
}

impl Frozen<'_> {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }
}

impl Vault {
    /// Holds a plan that deletes a record on purpose to no law keeping it, and to nobody's shred being about to decide on it.
    ///
    /// # Errors
    /// [`VaultError::LegalMinimum`]; [`VaultError::Shredded`] of what an order has restricted, or is about to.
    pub(super) async fn plan_deleted(
        &self,
        plan: &mut Plan,
        actor: Actor,
        tenant: &Tenant,
        collection: &Collection,
        live: &Live,
    ) -> Result<(), VaultError> {
        if !plan.is_asked() {
            return Ok(());
        }
        if let Some(order) = live.restricted_by() {
            return Err(VaultError::Shredded { certificate: Some(order) });
        }
        if collection.has_law {
            self.plan_undecided(plan, tenant, live.meta.subjects.first()).await?;
        }
        plan.check_all(&live.known);
        match &live.law {
            Some(law) => Err(refusal(law.clone(), actor.role, None)),
            None => Ok(()),
        }
    }

    /// Holds a plan that overwrites a record to nobody's shred being about to decide on it. What a law keeps may be corrected; what
    /// is restricted may not.
    ///
    /// # Errors
    /// [`VaultError::Restricted`]; [`VaultError::Shredded`].
    pub(super) async fn plan_overwritten(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        live: &Live,
        by: Option<&SubjectId>,
    ) -> Result<(), VaultError> {
        if live.restricted.is_some() {
            return Err(VaultError::Restricted);
        }
        plan.check_all(&live.known);
        // The state of whom it is about from now on is held to anyway.
        let before = live.meta.subjects.first();
        if collection.has_law && before != by { self.plan_undecided(plan, tenant, before).await } else { Ok(()) }
    }

    /// Holds the first person that a record is about to the state that is read here: an order to shred decides what the law keeps of
    /// the person's records when nothing changes them any more.
    async fn plan_undecided(&self, plan: &mut Plan, tenant: &Tenant, subject: Option<&SubjectId>) -> Result<(), VaultError> {
        let Some(subject) = subject else { return Ok(()) };
        let tokens = self.subject_tokens(tenant, std::slice::from_ref(subject)).await?;
        let Some(token) = tokens.first().filter(|token| !plan.subjects.contains(*token)) else { return Ok(()) };
        let key = schema::subject_state(tenant.no, token);
        let row = self.inner.store.get(Space::Control, &key).await?;
        if let Some(row) = &row
            && let State::Pending(order) = self.inner.seals.open::<SubjectRow>(&key, row)?.state
        {
            return Err(VaultError::Shredded { certificate: Some(ShredId(order)) });
        }
        plan.check(Space::Control, key, row.map_or(Expect::Absent, Expect::Equals));
        Ok(())
    }

    /// Whether a law keeps anything of what an order of a collection, a record or a tenant would destroy; a person's order keeps by
    /// itself what a law keeps, and that of all of a tenant but what holds are on is the end of the tenant, which none holds up.
    pub(super) async fn minimums_over(&self, tenant: &Tenant, scope: &Scope) -> Result<Option<Minimums>, VaultError> {
        match scope {
            Scope::Tenant => self.minimums_in_tenant(tenant).await,
            Scope::Collection(no) => {
                let mut look = Look::default();
                self.look_in(tenant, CollectionNo(*no), &mut look).await?;
                Ok(look.found)
            }
            Scope::Record { collection, row, .. } => {
                let Some(collection) = self.lawful(tenant.no, CollectionNo(*collection)).await? else { return Ok(None) };
                let Some(value) = self.inner.store.get(Space::Records, row).await? else { return Ok(None) };
                let (rows, now) = (vec![Row { key: Bytes::copy_from_slice(row), value }], self.inner.clock.now());
                let laws = self.laws_of(tenant.no, &collection, rows, (collection.rules_now(), now)).await?;
                Ok(laws.into_iter().next().map(|law| Minimums { law, records: 1 }))
            }
            Scope::Subjects(_) | Scope::Rest { .. } => Ok(None),
        }
    }

    /// What an order's commit is held to if a law keeps nothing of what it is for, which is looked for behind this: the rules of its
    /// collection, and the record as it is; of a tenant which collections have minimums.
    pub(super) async fn law_unmoved(&self, tenant: &Tenant, scope: &Scope) -> Result<Vec<Check>, VaultError> {
        match scope {
            Scope::Tenant if fault!("law-unmoved-tenant") => Ok(Vec::new()),
            Scope::Collection(_) | Scope::Record { .. } if fault!("law-unmoved") => Ok(Vec::new()),
            Scope::Tenant => Ok(vec![self.as_it_is(schema::law_mark(tenant.no)).await?]),
            Scope::Collection(no) => Ok(vec![self.as_it_is(schema::collection(tenant.no, CollectionNo(*no))).await?]),
            Scope::Record { collection, row, .. } => {
                let no = CollectionNo(*collection);
                let rules = self.as_it_is(schema::collection(tenant.no, no)).await?;
                let stored = self.inner.store.get(Space::Records, row).await?;
                let expect = stored.map_or(Expect::Absent, |stored| Expect::Prefix(stored.slice(..stored.len().min(RECORD_HEADER_LEN))));
                let mut unmoved = vec![rules, Check { space: Space::Records, key: Bytes::copy_from_slice(row), expect }];
                unmoved.extend(self.known_of_record(tenant, no, row).await?);
                Ok(unmoved)
            }
            Scope::Subjects(_) | Scope::Rest { .. } => Ok(Vec::new()),
        }
    }

    /// That what is known of the person of a record stays as it is now, where a law may count from that.
    async fn known_of_record(&self, tenant: &Tenant, no: CollectionNo, row: &[u8]) -> Result<Vec<Check>, VaultError> {
        let Some(collection) = self.lawful(tenant.no, no).await?.filter(|collection| collection.has_events) else { return Ok(Vec::new()) };
        let tokens = schema::record_tokens(row).ok_or_else(|| VaultError::Internal("record row".into()))?;
        match self.existing(tenant, &collection, &tokens, row).await {
            Ok(existing) => Ok(existing.and_then(|record| record.live).map(|live| live.known).unwrap_or_default()),
            // One that cannot be read is kept for nobody.
            Err(VaultError::Internal(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// That a row of the control store stays as it is now.
    async fn as_it_is(&self, key: Bytes) -> Result<Check, VaultError> {
        let stored = self.inner.store.get(Space::Control, &key).await?;
        Ok(Check { space: Space::Control, key, expect: stored.map_or(Expect::Absent, Expect::Equals) })
    }

    /// What goes with a commit that makes a collection, or gives one its first rules with minimums: who is about to destroy its tenant
    /// has looked for none in it. Nothing, where the policy has none.
    pub(super) fn law_mark_of(&self, tenant: TenantNo, policy: &CollectionPolicy) -> Result<Option<Write>, VaultError> {
        if !policy.retention.schedule().is_some_and(Schedule::has_minimum) {
            return Ok(None);
        }
        Ok(Some(self.inner.seals.put(schema::law_mark(tenant), &LawMarkRow { mark: random::bytes() })?))
    }

    /// Freezes the collections of an order's scope in which a law may keep something: until what is returned is gone, and
    /// [`Vault::thaw_left`] was called, nothing is written to them, and no event of the tenant's persons is reported. Of a tenant those that there are.
    pub(super) async fn freeze_lawful(&self, caller: Option<&Caller>, tenant: &Tenant, scope: &Scope) -> Result<Frozen<'_>, VaultError> {
        let all = match scope {
            Scope::Tenant => self.collections_in(tenant.no).await?,
            Scope::Collection(no) => vec![CollectionNo(*no)],
            Scope::Subjects(_) | Scope::Record { .. } | Scope::Rest { .. } => Vec::new(),
        };
        let (mut collections, mut counts_from_events) = (Vec::new(), false);
        for no in all {
            if let Some(collection) = self.lawful(tenant.no, no).await? {
                counts_from_events |= collection.has_events;
                collections.push(self.freeze(caller, tenant, &collection).await?);
            }
        }
        let unreported = if counts_from_events { Some(self.report_nothing(tenant.no).await) } else { None };
        Ok(Frozen { collections, _unreported: unreported })
    }

    /// The minimums that stand in a tenant. Opens every record of the collections that have rules with minimums until it meets one,
    /// and some more to count them.
    pub(super) async fn minimums_in_tenant(&self, tenant: &Tenant) -> Result<Option<Minimums>, VaultError> {
        let mut look = Look::default();
        for no in self.collections_in(tenant.no).await? {
            self.look_in(tenant, no, &mut look).await?;
            if look.is_enough() {
                break;
            }
        }
        Ok(look.found)
    }

    /// The collections that there are in a tenant, and were.
    pub(super) async fn collections_in(&self, tenant: TenantNo) -> Result<Vec<CollectionNo>, VaultError> {
        let mut all = Vec::new();
        let mut range = schema::table_of_tenant(schema::Table::Collection, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            let number = |row: &Row| {
                let mut parts = schema::Parts::of(schema::Table::Collection, &row.key)?;
                parts.tenant()?;
                parts.collection()
            };
            all.extend(rows.iter().filter_map(number));
        }
        Ok(all)
    }

    /// Looks for minimums in a collection.
    async fn look_in(&self, tenant: &Tenant, no: CollectionNo, look: &mut Look) -> Result<(), VaultError> {
        let Some(collection) = self.lawful(tenant.no, no).await? else { return Ok(()) };
        let now = self.inner.clock.now();
        let mut range = schema::records_under(tenant.no, no, &[]);
        while let Some(rows) = self.some_rows_of(Space::Records, &mut range, AT_ONCE).await? {
            look.looked_at = look.looked_at.saturating_add(rows.len() as u64);
            let laws = self.laws_of(tenant.no, &collection, rows, (collection.rules_now(), now)).await?;
            for law in laws {
                look.add(law);
            }
            if look.is_enough() {
                break;
            }
        }
        Ok(())
    }

    /// As of when an order about persons is decided that is decided now: behind every change of rules in the collections where they have
    /// something, whatever the clock says by now. Decided again later, it goes by the same rules.
    pub(super) async fn decides_as_of(&self, order: &ShredRow) -> Result<Timestamp, VaultError> {
        let tenant = TenantNo(order.tenant);
        let mut collections = BTreeSet::new();
        let mut ranges: Vec<KeyRange> = order.marked().map(|subject| schema::records_of_subject(tenant, subject)).collect();
        // One look for each collection of a person.
        while !ranges.is_empty() {
            let found = self.inner.store.scan_each(Space::Index, &ranges, 2).await?;
            let rest = |(range, rows): (KeyRange, Vec<Row>)| {
                let is_last = rows.len() < 2;
                let first = rows.into_iter().next()?;
                let Some((subject, no, _)) = schema::subject_record_parts(&first.key) else { return Some(range.after(&first.key)) };
                collections.insert(no);
                if is_last {
                    return None;
                }
                Some(KeyRange { from: schema::records_of_subject_in(tenant, &subject, no).to, ..range })
            };
            ranges = ranges.into_iter().zip(found).filter_map(rest).collect();
        }
        let mut at = self.inner.clock.now();
        for no in collections {
            if let Some(collection) = self.lawful(tenant, no).await?.filter(|_| !fault!("behind")) {
                at = collection.behind_changes(at);
            }
        }
        Ok(at)
    }

    /// The law that kept the record of a row at an earlier moment, by the rules until then, if one did.
    pub(super) async fn law_then(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        row: Bytes,
        at: Timestamp,
    ) -> Result<Option<Law>, VaultError> {
        let Some(value) = self.inner.store.get(Space::Records, &row).await? else { return Ok(None) };
        let rows = vec![Row { key: row, value }];
        let laws = self.laws_of(tenant, collection, rows, (collection.rules_until(at), at)).await?;
        Ok(laws.into_iter().next())
    }

    /// What keeps those of some records that a law keeps at a moment, by the rules until then. One that does not open is kept by nothing.
    async fn laws_of(
        &self,
        tenant: TenantNo,
        collection: &Collection,
        rows: Vec<Row>,
        (then, at): (RulesNo, Timestamp),
    ) -> Result<Vec<Law>, VaultError> {
        let mut closed: Vec<(RecordHeader, Context<Record>, Sealed<Record>)> = Vec::with_capacity(rows.len());
        let mut units: Vec<UnitRef> = Vec::with_capacity(rows.len());
        for row in rows {
            let (Ok(header), Some(tokens)) = (RecordHeader::parse(&row.value), schema::record_tokens(&row.key)) else { continue };
            let Ok(sealed) = Sealed::<Record>::from_row(row.value) else { continue };
            let context = Context::<Record>::record(&self.inner.store_id, tenant, collection.no, &tokens, &header);
            units.push(unit_of(&header, tenant));
            closed.push((header, context, sealed));
        }
        let open = |place: usize, key: &Key<Data>| {
            let (header, context, sealed) = closed.get(place)?;
            let record = key.open_record(context, sealed).ok()?;
            if collection.has_events {
                // It is asked what is known of its person, once the key is given back.
                return Some(Weighed::Opened(Box::new(record)));
            }
            let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
            standing_under(then, collection, &record.meta, value, &NO_EVENTS, at).map(|law| Weighed::Kept(law, None, None))
        };
        let mut laws = Vec::new();
        let found = self.with_data_each(collection.unit, &units, collection.no, open).await;
        for ((header, ..), found) in closed.iter().zip(found) {
            match found {
                Ok(Some(Weighed::Kept(law, ..))) => laws.push(law),
                Ok(Some(Weighed::Opened(record))) => {
                    let events = self.events_by_law(tenant, collection, &record.meta).await?;
                    let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
                    laws.extend(standing_under(then, collection, &record.meta, value, &events, at));
                }
                Ok(None) | Err(VaultError::Shredded { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(laws)
    }

    /// The refusal of an order over what a law keeps.
    ///
    /// # Errors
    /// [`VaultError::LegalMinimum`].
    pub(super) fn unless_kept(found: Option<Minimums>, role: Role) -> Result<(), VaultError> {
        found.map_or(Ok(()), |Minimums { law, records }| Err(refusal(law, role, Some(records))))
    }

    /// Those of some records that name a person first and that a law keeps as of the moment of an order, by what the order remembers of the
    /// person. `rows` are of the index, of one collection.
    ///
    /// # Errors
    /// [`VaultError::Busy`] where the key of one is not lent that is there, and that no other order is for: nobody can say then whether a
    /// law keeps it.
    pub(super) async fn kept_among(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        subject: &Token,
        (order, at): (ShredId, Timestamp),
        rows: &[Row],
    ) -> Result<Vec<KeptRecord>, VaultError> {
        let places: Vec<Vec<Token>> =
            rows.iter().filter_map(|row| schema::subject_record_parts(&row.key)).map(|(_, _, tokens)| tokens).collect();
        let keys: Vec<Bytes> = places.iter().map(|tokens| schema::record(tenant.no, collection.no, tokens)).collect();
        let stored = self.inner.store.get_many(Space::Records, &keys).await?;
        let mut closed: Vec<(Token, RecordHeader, Context<Record>, Sealed<Record>)> = Vec::with_capacity(rows.len());
        let mut units: Vec<UnitRef> = Vec::with_capacity(rows.len());
        for (tokens, stored) in places.iter().zip(stored) {
            let (Some(stored), Some(token)) = (stored, tokens.last()) else { continue };
            let Ok(header) = RecordHeader::parse(&stored) else { continue };
            let Ok(sealed) = Sealed::<Record>::from_row(stored) else { continue };
            if header.is_tombstone() {
                continue;
            }
            let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, &header);
            units.push(unit_of(&header, tenant.no));
            closed.push((*token, header, context, sealed));
        }
        let last = collection.rules_until(at);
        let open = |place: usize, key: &Key<Data>| {
            let (_, header, context, sealed) = closed.get(place)?;
            // One that is bent nobody reads, and the law has nothing left to keep.
            let record = key.open_record(context, sealed).ok()?;
            if collection.has_events {
                // It is asked what is known of its person, once the key is given back.
                return Some(Weighed::Opened(Box::new(record)));
            }
            let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
            let law = standing_at(collection, &record.meta, value, &NO_EVENTS, at)?;
            let firm = firm_of(&law, collection, last, &record.meta, (value, None), &NO_EVENTS);
            Some(Weighed::Kept(law, firm, record.meta.subjects.first().cloned()))
        };
        let opened = self.with_data_each(collection.unit, &units, collection.no, open).await;
        let mut kept = Vec::new();
        for ((token, header, ..), opened) in closed.into_iter().zip(opened) {
            let (law, firm, first) = match opened {
                Ok(Some(Weighed::Kept(law, firm, first))) => (law, firm, first),
                Ok(Some(Weighed::Opened(record))) => {
                    let events = self.events_of_order(tenant.no, collection, &record.meta, (order, subject, at)).await?;
                    let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
                    let Some(law) = standing_at(collection, &record.meta, value, &events, at) else { continue };
                    let firm = firm_of(&law, collection, last, &record.meta, (value, None), &events);
                    (law, firm, record.meta.subjects.first().cloned())
                }
                Ok(None) | Err(VaultError::Internal(_)) => continue,
                Err(VaultError::Shredded { .. }) => {
                    self.unless_withheld(collection.no, subject, &token, unit_of(&header, tenant.no)).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // It may name the person, and not first: another's unit seals it then.
            if self.subject_tokens(tenant, first.as_slice()).await?.first() == Some(subject) {
                kept.push(KeptRecord { header, token, law, firm });
            }
        }
        Ok(kept)
    }

    /// That a unit whose key is not lent is none of a person's, is gone, or is another order's to destroy.
    ///
    /// # Errors
    /// [`VaultError::Busy`].
    async fn unless_withheld(&self, no: CollectionNo, subject: &Token, token: &Token, unit: UnitRef) -> Result<(), VaultError> {
        let rows = [schema::unit(unit.tenant, subject, no), schema::record_unit_of_subject(unit.tenant, subject, no, token, unit.slot)];
        let mut is_persons = false;
        for key in rows {
            let Some(stored) = self.inner.store.get(Space::Control, &key).await? else { continue };
            is_persons |= self.inner.seals.open::<UnitRow>(&key, &stored).is_ok_and(|row| row == UnitRow::of(unit));
        }
        if !is_persons || self.inner.store.get(Space::Control, &schema::unit_state(unit.tenant, unit.slot)).await?.is_some() {
            return Ok(());
        }
        match self.inner.forest.load_unit(unit.tenant, unit.slot).await {
            Ok(current) if current == unit => Err(VaultError::Busy),
            Ok(_) | Err(KeysError::Shredded) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{CollectionName, CollectionPolicy, Gen, Slot},
        vault::ops::rows::Past,
    };

    fn rules(name: &str) -> Retention {
        let rule = json!({"name": name, "from": "created", "maximum": "1y", "then": "delete"});
        serde_json::from_value(json!({"time_zone": "UTC", "rules": [rule]})).unwrap()
    }

    fn written_under(rules_no: u32) -> RecordMeta {
        RecordMeta {
            key: crate::domain::RecordKey::parse("k").unwrap(),
            content_type: String::new(),
            subjects: Vec::new(),
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            expires_at: None,
            value_len: 0,
            custom: Vec::new(),
            rules_no,
            reports_no: None,
            kept: None,
            governed: None,
        }
    }

    #[test]
    fn a_record_is_under_all_rules_from_those_of_its_writing_on() {
        let was: Vec<(i64, Retention, Vec<String>)> =
            [(1_000, "a"), (1_030, "b"), (2_000, "c")].into_iter().map(|(at, name)| (at, rules(name), Vec::new())).collect();
        let collection = Collection {
            no: CollectionNo(1),
            name: CollectionName::parse("c").unwrap(),
            state: State::Active,
            unit: UnitRef { tenant: TenantNo(1), slot: Slot::new(0).unwrap(), generation: Gen(0) },
            policy: CollectionPolicy { retention: rules("today"), ..CollectionPolicy::default() },
            past: Past { retention_was: was, ..Past::default() },
            has_law: true,
            has_events: false,
            created_at: Timestamp(0),
            row: Bytes::new(),
        };
        let named = |(rules, _): Rules<'_>| rules.schedule().unwrap().rules[0].name.as_str().to_owned();
        for (at, until) in [(999, "a"), (1_000, "a"), (1_001, "b"), (1_050, "c"), (2_001, "today")] {
            assert_eq!(named(collection.rules_at(collection.rules_until(Timestamp(at)))), until, "at {at}");
        }
        let since = |rules_no, last| {
            let meta = written_under(rules_no);
            let since = collection.rules_since(&meta, RulesNo(last));
            since.map(|since| (named(since.rules), since.ended_at.map(|at| at.0))).collect::<Vec<_>>()
        };
        let told = |all: &[(&str, Option<i64>)]| all.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect::<Vec<_>>();
        let all = told(&[("today", None), ("c", Some(2_000)), ("b", Some(1_030)), ("a", Some(1_000))]);
        assert_eq!(since(0, 3), all);
        assert_eq!(since(0, usize::MAX), all);
        assert_eq!(since(1, 2), told(&[("c", None), ("b", Some(1_030))]));
        assert_eq!(since(3, 3), told(&[("today", None)]));
        // What was written behind a moment was under the rules of its writing alone; a number that no rules have is that of today.
        assert_eq!(since(2, 0), told(&[("c", None)]));
        assert_eq!(since(u32::MAX, 3), told(&[("today", None)]));
        assert_eq!(collection.rules().collect::<Vec<_>>(), ["a", "b", "c", "today"]);
        assert_eq!(
            (collection.behind_changes(Timestamp(1_500)), collection.behind_changes(Timestamp(9_000))),
            (Timestamp(2_001), Timestamp(9_000))
        );
        // HOLD-4: those with number 2 came with a bypass, so those of 0 and 1 are bypassed; not so as of an earlier one.
        let collection = Collection { past: Past { bypassed: vec![2], ..collection.past }, ..collection };
        let bypassed = |rules_no, last| {
            let meta = written_under(rules_no);
            collection.rules_since(&meta, RulesNo(last)).map(|since| since.is_bypassed).collect::<Vec<_>>()
        };
        assert_eq!(bypassed(0, 3), [false, false, true, true]);
        assert_eq!(bypassed(0, 2), [false, true, true]);
        assert_eq!(bypassed(0, 1), [false, false]);
        assert_eq!(bypassed(2, 3), [false, false]);
        let at = |rules_no| collection.bypassed_at(&written_under(rules_no)).map(|at| at.0);
        assert_eq!((at(0), at(1), at(2)), (Some(1_030), Some(1_030), None), "when those before them held no more");
    }
}
