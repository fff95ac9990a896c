//! All that must be known of a store to say what is in it: the rules of today and those before, what was reported of each person, the holds
//! that stand, and what is known of each record.

use std::collections::BTreeMap;

use lethe::domain::{CollectionPolicy, HoldId, Timestamp, hold::HoldScope, retention::Event};

use super::{
    calendar::Day,
    known::{Answered, Drawn, Known, Law, Told},
};
use crate::harness::{coll, key, subject};

/// How many persons there are.
pub(super) const PERSONS: usize = 3;

/// The rules of today and those before.
pub(super) struct Rules {
    pub(super) today: CollectionPolicy,
    /// The oldest first, each with when it held no more.
    was: Vec<(Timestamp, CollectionPolicy)>,
}

/// What a hold is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum On {
    Tenant,
    Record(String),
    Collection,
    /// What lies under the first part of keys.
    Part(&'static str),
    Person(usize),
}

/// A hold that stands.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) id: HoldId,
    pub(super) on: On,
    /// When it ends by itself.
    pub(super) lapses_at: Option<Timestamp>,
}

pub(super) struct Model {
    pub(super) rules: Rules,
    pub(super) records: BTreeMap<String, Known>,
    pub(super) told: [Told; PERSONS],
    pub(super) holds: Vec<Hold>,
}

impl Rules {
    pub(super) const fn new(today: CollectionPolicy) -> Self {
        Self { today, was: Vec::new() }
    }

    /// The number of those of today.
    pub(super) const fn no(&self) -> usize {
        self.was.len()
    }

    /// Those of a number.
    pub(super) fn at(&self, no: usize) -> &CollectionPolicy {
        self.was.get(no).map_or(&self.today, |(_, policy)| policy)
    }

    /// The number of those that held at a moment; at that of a change those before it.
    pub(super) fn until(&self, at: Timestamp) -> usize {
        self.was.iter().position(|(changed, _)| at.0 <= changed.0).unwrap_or(self.was.len())
    }

    /// Those of a number and all behind them; with when they held no more.
    pub(super) fn since(&self, no: usize) -> impl Iterator<Item = (&CollectionPolicy, Option<Timestamp>)> {
        let was = self.was.iter().skip(no).map(|(changed, policy)| (policy, Some(*changed)));
        was.chain([(&self.today, None)])
    }

    /// Whether rules of any time count from what is reported.
    fn have_events(&self) -> bool {
        self.since(0)
            .filter_map(|(policy, _)| policy.retention.schedule())
            .flat_map(|schedule| &schedule.rules)
            .any(|rule| matches!(rule.from, Event::Reported(_)))
    }
}

impl On {
    /// Of several holds over a record that is met under the first one in which it waits: those on the tenant come first, then those on the
    /// record itself, and on whom it is about last.
    const fn rank(&self) -> u8 {
        match self {
            Self::Tenant => 0,
            Self::Record(_) => 1,
            Self::Collection => 2,
            Self::Part(_) => 3,
            Self::Person(_) => 4,
        }
    }

    fn is_over(&self, name: &str, known: &Known) -> bool {
        match self {
            Self::Tenant | Self::Collection => true,
            Self::Record(record) => record == name,
            Self::Part(part) => name.split('/').next() == Some(*part),
            Self::Person(person) => known.drawn.subject == *person,
        }
    }

    pub(super) fn scope(&self) -> HoldScope {
        match self {
            Self::Tenant => HoldScope::Tenant,
            Self::Record(name) => HoldScope::Records(vec![(coll("c"), key(name))]),
            Self::Collection => HoldScope::Collection(coll("c")),
            Self::Part(part) => HoldScope::Prefix(coll("c"), key(part)),
            Self::Person(person) => HoldScope::Subjects(vec![subject(&person.to_string())]),
        }
    }
}

/// Which of some holds is over a record: the one in which it waits.
pub(super) fn hold_over(holds: &[Hold], name: &str, known: &Known) -> Option<HoldId> {
    let over = holds.iter().filter(|hold| hold.on.is_over(name, known));
    over.min_by_key(|hold| (hold.on.rank(), hold.id.0)).map(|hold| hold.id)
}

impl Model {
    pub(super) fn new(today: CollectionPolicy) -> Self {
        Self { rules: Rules::new(today), records: BTreeMap::new(), told: <[Told; PERSONS]>::default(), holds: Vec::new() }
    }

    /// What was reported of whom a record is about.
    pub(super) fn told_of(&self, known: &Known) -> &Told {
        &self.told[known.drawn.subject]
    }

    /// From now on other rules hold: what is there is under these, too, and by those that went it is promised what it was. They change behind
    /// one another, whatever the clock says.
    pub(super) fn change(&mut self, policy: CollectionPolicy, now: Timestamp) {
        let Rules { today, was } = &mut self.rules;
        let are_others = today.retention.schedule().is_some() && policy.categories != today.categories;
        if policy.retention != today.retention || are_others {
            let changed_at = Timestamp(was.last().map_or(now.0, |(changed, _)| now.0.max(changed.0 + 1)));
            was.push((changed_at, today.clone()));
            for known in self.records.values_mut() {
                known.is_promised(&policy, was.len(), changed_at);
            }
        }
        *today = policy;
    }

    /// A run begins: the holds whose time is over have ended, and what waits under one that has ended is looked for again. How many have
    /// ended by themselves.
    pub(super) fn look_after_holds(&mut self, now: Timestamp) -> usize {
        let before = self.holds.len();
        self.holds.retain(|hold| hold.lapses_at.is_none_or(|at| at > now));
        for known in self.records.values_mut() {
            known.waits_under = known.waits_under.filter(|id| self.holds.iter().any(|hold| hold.id == *id));
        }
        before - self.holds.len()
    }

    /// It is reported when a person left, or taken back, and a run follows that. How many end earlier by it; `None` where that was known.
    pub(super) fn report(&mut self, person: usize, day: Option<Day>, now: Timestamp) -> Option<usize> {
        if !self.told[person].report(day, now) {
            return None;
        }
        // The run looks after holds first.
        self.look_after_holds(now);
        let has_events = self.rules.have_events();
        let Self { rules, records, told, .. } = self;
        let of_person = records.values_mut().filter(|known| has_events && known.drawn.subject == person);
        Some(of_person.map(|known| known.follow(rules, &told[person], now)).filter(|is_earlier| *is_earlier).count())
    }

    pub(super) fn law(&self, name: &str, now: Timestamp) -> Option<Law> {
        self.records.get(name).map(|known| known.law(self.told_of(known), now))
    }

    /// Whether a record is there and a hold is over it.
    pub(super) fn is_held(&self, name: &str) -> bool {
        self.records.get(name).is_some_and(|known| hold_over(&self.holds, name, known).is_some())
    }

    /// Whether a record is there and for its legal purpose alone.
    pub(super) fn is_restricted(&self, name: &str, now: Timestamp) -> bool {
        self.records.get(name).is_some_and(|known| known.is_restricted(&self.rules, self.told_of(known), now))
    }

    /// Whether a record is kept by something that its rules of today do not ask for.
    pub(super) fn is_kept_by_others(&self, name: &str, now: Timestamp) -> bool {
        self.records.get(name).is_some_and(|known| {
            let told = self.told_of(known);
            known.law(told, now) != known.of_today(&self.rules).law(told, now)
        })
    }

    /// What is known of one that is written now, and whether it answers what was promised of that whose place it takes.
    pub(super) fn written(&self, name: &str, drawn: Drawn, now: Timestamp) -> (Known, Answered) {
        Known::new(drawn, now).in_place_of(self.records.get(name), self)
    }
}
