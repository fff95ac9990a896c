//! Retention in any order of writes, deletions, changes of rules, steps of the clock, also back, and restarts, held against the rules
//! themselves: none goes before its minimum or its end, and none is there after the first run behind both the end that was written
//! down and that of today. What a rule marks is marked once before; and the reports of all runs together count what was destroyed and
//! marked, each record once.
//!
//! What a law keeps is stated here as an owner would: with each write, and with each change of rules, every record is promised until when
//! it will be there, counted in days by this file alone; and whenever one is gone, by whatever hand, nothing is promised any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{civil::Date, tz::TimeZone};
use lethe::{
    domain::{
        Clock as _, CollectionPolicy, ShredUnit, TenantName, TestClock, Timestamp,
        retention::{Event, Facts, Rule},
    },
    vault::ops::{Caller, Precondition, PutRecord, VaultError},
};
use serde_json::{Value, json};

use crate::{
    harness::{Open, coll, key, put_of},
    reports::counted,
    retention::{DAY, due_rows, one_rule, place, policy, run, set},
};

const HOUR_MS: i64 = 3_600_000;

/// When a record is looked for, as it was written down.
#[derive(Debug, Clone, Copy)]
enum Written {
    Nothing,
    End(Timestamp),
    /// It is marked at the one, and ends at the other.
    Marks {
        at: Timestamp,
        end: Timestamp,
    },
    /// The rules gave it no end since then.
    Endless {
        since: Timestamp,
        at: Timestamp,
    },
}

/// What a minimum has promised of a record.
#[derive(Debug, Clone)]
enum Promise {
    /// Its day is known: until then.
    Until(Timestamp),
    /// Its rule counts so many days from a date that is not there; where the rule has gone since, from that day.
    Undated { days: i64, zone: String, gone_at: Option<Timestamp> },
}

#[derive(Debug)]
struct Known {
    created: Timestamp,
    modified: Timestamp,
    own: Option<Timestamp>,
    category: Option<&'static str>,
    value: String,
    promises: Vec<Promise>,
    written: Written,
}

/// The law over a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    Met,
    Until(Timestamp),
    /// A rule waits for a date.
    Unknown,
}

const fn hour(at: Timestamp) -> i64 {
    at.0 / HOUR_MS
}

fn zone_of(name: &str) -> TimeZone {
    jiff::tz::db().get(name).unwrap()
}

fn day_in(zone: &str, at: Timestamp) -> Date {
    jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned(zone_of(zone)).date()
}

/// The midnight behind the last of so many days from a day on.
fn days_from(day: Date, days: i64, zone: &str) -> Timestamp {
    let behind = day.checked_add(jiff::Span::new().days(days + 1)).unwrap();
    Timestamp(behind.to_zoned(zone_of(zone)).unwrap().timestamp().as_millisecond())
}

impl Promise {
    /// The first moment at which it is kept; `None` while its rule waits.
    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Until(until) => Some(*until),
            Self::Undated { days, zone, gone_at } => gone_at.map(|gone_at| days_from(day_in(zone, gone_at), *days, zone)),
        }
    }
}

/// The end of a record by some rules, and how long before it these mark it.
#[derive(Debug, Clone, Copy)]
struct Ends {
    at: Timestamp,
    marks_for: Duration,
}

impl Ends {
    /// What is written down of it.
    fn written(self, now: Timestamp) -> Written {
        if self.marks_for.is_zero() {
            return Written::End(self.at);
        }
        Written::Marks { at: self.at.less(self.marks_for).max(now), end: self.at }
    }
}

impl Written {
    const fn end(self) -> Option<Timestamp> {
        match self {
            Self::End(end) | Self::Marks { end, .. } => Some(end),
            Self::Nothing | Self::Endless { .. } => None,
        }
    }

    /// The end that it has now, for who looks at it: what was to be marked goes no sooner than was written down, and what had no end
    /// is marked first.
    fn taken(self, found: Ends, now: Timestamp) -> Ends {
        match self {
            Self::Marks { end, .. } => Ends { at: found.at.max(end), ..found },
            Self::Endless { .. } if !found.marks_for.is_zero() => Ends { at: found.at.max(now.plus(found.marks_for)), ..found },
            Self::Endless { .. } | Self::End(_) | Self::Nothing => found,
        }
    }
}

impl Known {
    /// The end by these rules.
    fn ends_under(&self, policy: &CollectionPolicy) -> Option<Ends> {
        let at = self.end(policy)?;
        let marks_for = policy.retention.schedule().map_or(Duration::ZERO, |schedule| {
            let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
            let value = Some(self.value.as_bytes());
            let facts = Facts { created_at: self.created, modified_at: self.modified, own_end: self.own, category, value };
            schedule.outlook(&facts).end.and_then(|end| end.rule).map_or(Duration::ZERO, Rule::marks_for)
        });
        Some(Ends { at, marks_for })
    }

    /// What is written down when it takes the place of another: an end that is brought forward is marked first, or comes when the old one
    /// would have.
    fn written_down(&self, other: Option<&Self>, today: &CollectionPolicy) -> Written {
        let (Some(ends), now) = (self.ends_under(today), self.modified) else { return Written::Nothing };
        let is_there = other.filter(|other| !other.is_over(today, now));
        match is_there {
            Some(other) if !ends.marks_for.is_zero() => {
                let marked = now.plus(ends.marks_for);
                Ends { at: ends.at.max(other.written.end().map_or(marked, |before| before.min(marked))), ..ends }.written(now)
            }
            Some(_) | None => ends.written(now),
        }
    }

    /// Whether its own end has passed, and nothing puts that off: it is not there any more for who writes.
    fn is_over(&self, today: &CollectionPolicy, now: Timestamp) -> bool {
        self.own.is_some_and(|own| own <= now) && self.end(today).is_some_and(|end| end <= now)
    }

    /// The day that stands in its value.
    fn date(&self) -> Option<Date> {
        let value: Value = serde_json::from_str(&self.value).unwrap();
        value["date"].as_str().map(|day| day.parse().unwrap())
    }

    fn is_of(&self, rule: &Rule, policy: &CollectionPolicy) -> bool {
        let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
        rule.categories.is_empty() || category.is_none_or(|category| rule.categories.iter().any(|of| of == category))
    }

    /// What some rules promise of it from now on.
    fn promised_by(&self, policy: &CollectionPolicy) -> Vec<Promise> {
        let Some(schedule) = policy.retention.schedule() else { return Vec::new() };
        let zone = schedule.time_zone.name();
        let rules = schedule.rules.iter().filter(|rule| self.is_of(rule, policy));
        let promises = rules.filter_map(|rule| {
            let period = rule.minimum.as_ref()?.period.to_string();
            let days = period.strip_suffix('d').unwrap().parse().unwrap();
            let day = match rule.from {
                Event::Created => Some(day_in(zone, self.created)),
                Event::Modified => Some(day_in(zone, self.modified)),
                Event::Field(_) => self.date(),
            };
            Some(match day {
                Some(day) => Promise::Until(days_from(day, days, zone)),
                None => Promise::Undated { days, zone: zone.to_owned(), gone_at: None },
            })
        });
        promises.collect()
    }

    /// The latest of its promises that are known.
    fn promised_until(&self) -> Option<Timestamp> {
        self.promises.iter().filter_map(Promise::until).max()
    }

    /// What keeps it, whoever wants it gone.
    fn law(&self, now: Timestamp) -> Law {
        if self.promises.iter().any(|promise| promise.until().is_none()) {
            return Law::Unknown;
        }
        self.promised_until().filter(|until| *until > now).map_or(Law::Met, Law::Until)
    }

    /// Its end by these rules, not before what it is promised.
    fn end(&self, policy: &CollectionPolicy) -> Option<Timestamp> {
        let end = match policy.retention.schedule() {
            None => self.own,
            Some(schedule) => {
                let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
                let value = Some(self.value.as_bytes());
                let facts = Facts { created_at: self.created, modified_at: self.modified, own_end: self.own, category, value };
                schedule.outlook(&facts).end.map(|end| end.at)
            }
        };
        end.map(|end| self.promised_until().map_or(end, |until| end.max(until)))
    }

    /// What is known of it when it overwrites another: what ended is made anew, and what was promised of the other is promised of this one,
    /// by the date that this one tells. Whether that is all that was promised: while a rule waits, there must be a date.
    fn in_place_of(mut self, other: Option<&Self>, today: &CollectionPolicy) -> (Self, bool) {
        let now = self.modified;
        if let Some(other) = other.filter(|other| !other.is_over(today, now)) {
            self.created = other.created;
        }
        self.promises = self.promised_by(today);
        let mut is_answered = true;
        for promise in other.iter().flat_map(|other| &other.promises) {
            let until = match (promise, self.date()) {
                (Promise::Undated { days, zone, .. }, Some(day)) => Some(days_from(day, *days, zone)),
                _ => promise.until(),
            };
            is_answered &= until.is_some();
            self.promises.extend(until.filter(|until| *until > now).map(Promise::Until));
        }
        (self, is_answered)
    }

    /// The end that was written down, or when it is marked, or else the end of today.
    fn ends(&self, today: &CollectionPolicy) -> Option<Timestamp> {
        match self.written {
            Written::End(at) | Written::Marks { at, .. } => Some(at),
            Written::Nothing | Written::Endless { .. } => self.end(today),
        }
    }

    fn is_looked_for(&self, now: Timestamp) -> bool {
        match self.written {
            Written::Nothing => false,
            Written::End(at) | Written::Marks { at, .. } => at <= now,
            Written::Endless { at, .. } => hour(at) <= hour(now),
        }
    }

    /// Whether a run destroys it that looks for it now.
    fn is_due(&self, today: &CollectionPolicy, now: Timestamp) -> bool {
        self.is_looked_for(now) && self.ends_under(today).is_some_and(|found| self.written.taken(found, now).at <= now)
    }

    /// What a run writes down that looked for it and found that it has not ended; whether that marks it.
    fn looked_for(&mut self, found: Option<Ends>, now: Timestamp) -> bool {
        let unmarked = matches!(self.written, Written::Marks { .. } | Written::Endless { .. });
        let Some(found) = found else {
            let since = if let Written::Endless { since, .. } = self.written { since } else { now };
            self.written = Written::Endless { since, at: now.plus(now.since(since).clamp(DAY, DAY * 32)) };
            return false;
        };
        let ends = self.written.taken(found, now);
        let is_marked = unmarked && !ends.marks_for.is_zero() && ends.at.less(ends.marks_for) <= now;
        if is_marked {
            self.written = Written::End(ends.at);
        } else if hour(ends.at) > hour(now) || matches!(self.written, Written::Marks { .. }) {
            self.written = ends.written(now);
        }
        is_marked
    }
}

/// The rules of today, and what is known of each record.
struct Model {
    today: CollectionPolicy,
    /// When they last changed.
    changed_at: Timestamp,
    records: BTreeMap<String, Known>,
}

impl Model {
    /// From now on other rules hold: what is there is under these, too, and by those that went it is promised what it was. They change behind
    /// one another, whatever the clock says.
    fn change(&mut self, policy: CollectionPolicy, now: Timestamp) {
        let are_others = self.today.retention.schedule().is_some() && policy.categories != self.today.categories;
        if policy.retention != self.today.retention || are_others {
            self.changed_at = Timestamp(now.0.max(self.changed_at.0 + 1));
            for known in self.records.values_mut() {
                for promise in &mut known.promises {
                    if let Promise::Undated { gone_at: gone_at @ None, .. } = promise {
                        *gone_at = Some(self.changed_at);
                    }
                }
                known.promises.extend(known.promised_by(&policy));
            }
        }
        self.today = policy;
    }

    /// Whether a record is kept by something that its rules of today do not ask for.
    fn is_kept_by_others(&self, name: &str, now: Timestamp) -> bool {
        self.records.get(name).is_some_and(|known| {
            let of_today = Known { promises: known.promised_by(&self.today), value: known.value.clone(), ..*known };
            known.law(now) != of_today.law(now)
        })
    }
}

/// Draws below a bound, always the same for a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn of<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::try_from(self.below(among.len() as u64)).unwrap()]
    }

    /// What is put, and what is to be known of it when nothing was there before.
    fn put(&mut self, now: Timestamp) -> (PutRecord, Known) {
        let date = Timestamp(now.0 + i64::try_from(self.below(40)).unwrap() * 86_400_000 - 20 * 86_400_000).to_rfc3339();
        let value = if self.below(3) == 0 { "{}".to_owned() } else { json!({"date": date[..10]}).to_string() };
        let own = (self.below(3) == 0).then(|| now.plus(Duration::from_millis(1 + self.below(40 * 86_400_000))));
        let category = self.of(&[None, None, Some("x"), Some("y")]);
        let custom = category.map(|category| ("category".to_owned(), category.to_owned())).into_iter().collect();
        let subject = self.below(3).to_string();
        let put = PutRecord { expires_at: own, custom, ..put_of(Some(&subject), value.as_bytes()) };
        let known = Known { created: now, modified: now, own, category, value, promises: Vec::new(), written: Written::Nothing };
        (put, known)
    }

    fn policy(&mut self) -> CollectionPolicy {
        loop {
            if self.below(6) == 0 {
                return CollectionPolicy::default();
            }
            let categories = self.of(&[&[][..], &["x"], &["x", "y"]]);
            let count = 1 + self.below(3);
            let rules: Vec<_> = (0..count.max(categories.len() as u64))
                .map(|at| {
                    let least = self.below(20) + 1;
                    let from = self.of(&["created", "modified", "field"]);
                    let from = if from == "field" { json!({"field": "/date"}) } else { json!(from) };
                    let mut rule = json!({"name": format!("r{at}"), "from": from, "maximum": format!("{}d", least + self.below(60) + 1), "then": "delete"});
                    if self.below(2) == 0 {
                        rule["mark"] = json!(format!("{}d", self.below(20) + 1));
                    }
                    if self.below(2) == 0 {
                        rule["minimum"] = json!({"period": format!("{least}d"), "basis": "law"});
                    }
                    if let Some(category) = categories.get(usize::try_from(at).unwrap()) {
                        rule["categories"] = json!([category]);
                    }
                    rule
                })
                .collect();
            let zone = self.of(&["UTC", "America/Los_Angeles", "America/St_Johns", "Pacific/Apia"]);
            let drawn = policy(ShredUnit::Subject, zone, &json!(rules));
            let drawn = CollectionPolicy { categories: categories.iter().map(|name| (*name).to_owned()).collect(), ..drawn };
            if drawn.validate().is_ok() {
                return drawn;
            }
        }
    }
}

/// Whether a law has refused a deletion, as it must what it keeps, and nothing else.
fn is_refused(deleted: &Result<(), VaultError>, law: Option<Law>, at: &str) -> bool {
    match (deleted, law) {
        (Ok(()), Some(Law::Met)) | (Err(VaultError::NotFound(_)), None) => false,
        (Err(VaultError::LegalMinimum { law: Some(told), .. }), Some(law)) => {
            assert_eq!(told.until.map_or(Law::Unknown, Law::Until), law, "{at}");
            true
        }
        _ => panic!("{at}: {deleted:?} under {law:?}"),
    }
}

/// Under a rule that ends everything, what was ever written down goes, and not before what was promised.
async fn assert_all_that_ends_goes(open: &Open, owner: &Caller, acme: &TenantName, clock: &TestClock, mut model: Model, seed: u64) {
    let last = policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"));
    model.change(last.clone(), clock.now());
    set(open, owner, acme, last).await;
    let mut gone = BTreeSet::new();
    for _ in 0..20 {
        clock.advance(DAY * 20);
        run(open, clock).await;
        for (name, known) in &model.records {
            if open.vault.explain_retention(owner, acme, &coll("c"), &key(name)).await.is_err() && gone.insert(name) {
                assert_eq!(known.law(clock.now()), Law::Met, "seed {seed}: {name} died early: {known:?}");
            }
        }
    }
    assert!(due_rows(open).await.is_empty(), "seed {seed}");
    for (name, known) in &model.records {
        assert_eq!(!gone.contains(name), matches!(known.written, Written::Nothing), "seed {seed}: {name}: {known:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_nothing_dies_early_and_nothing_outlives_its_end_by_more_than_a_run() {
    let (mut stored, mut destroyed, mut endless, mut marked) = (0, 0, 0, 0);
    let (mut refused, mut by_others, mut carried) = (0, 0, 0);
    for seed in 0..20_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let (acme, mut owner, token) = open.tenant(&place, "acme").await;
        let mut draw = Draw(seed);
        let today = draw.policy();
        set(&open, &owner, &acme, today.clone()).await;
        let mut model = Model { today, changed_at: Timestamp(i64::MIN), records: BTreeMap::new() };
        let (mut marks, mut gone_by_run) = (0, 0);
        for step in 0..160 {
            let at = format!("seed {seed}, step {step}");
            let name = format!("k{}", draw.below(12));
            match draw.below(12) {
                0..5 => {
                    let now = clock.now();
                    let (put, drawn) = draw.put(now);
                    let put = open.vault.put_record(&owner, &acme, &coll("c"), key(&name), put).await;
                    let (mut known, is_answered) = drawn.in_place_of(model.records.get(&name), &model.today);
                    match put {
                        Ok(_) => {
                            assert!(is_answered, "{at}: a date that a law waits for is not there: {known:?}");
                            let promised = known.promised_until();
                            assert!(known.own.is_none_or(|own| promised.is_none_or(|until| own >= until)), "{at}: {known:?}");
                            carried += usize::from(promised > known.promised_by(&model.today).iter().filter_map(Promise::until).max());
                            let end = known.end(&model.today);
                            assert!(end.is_none_or(|end| end > now), "{at}: stored, and over already");
                            known.written = known.written_down(model.records.get(&name), &model.today);
                            model.records.insert(name, known);
                            stored += 1;
                        }
                        Err(VaultError::Unprocessable(_)) => {}
                        Err(error) => panic!("{at}: {error:?}"),
                    }
                }
                5 => {
                    let drawn = draw.policy();
                    model.change(drawn.clone(), clock.now());
                    set(&open, &owner, &acme, drawn).await;
                }
                6 if step % 3 == 0 => {
                    open.close().await;
                    open = place.open().await;
                    owner = open.caller(&token).await;
                }
                7 => {
                    let now = clock.now();
                    let law = model.records.get(&name).map(|known| known.law(now));
                    let deleted = open.vault.delete_record(&owner, &acme, &coll("c"), key(&name), Precondition::None, None).await;
                    if is_refused(&deleted, law, &at) {
                        refused += 1;
                        by_others += usize::from(model.is_kept_by_others(&name, now));
                    } else {
                        model.records.remove(&name);
                    }
                }
                8 => clock.go_back(Duration::from_millis(draw.below(3 * 3_600_000))),
                _ => {
                    // To the very moment of an end, or the one before, as often as anywhere.
                    let near = model.records.get(&name).and_then(|known| known.ends(&model.today)).filter(|_| draw.below(2) == 0);
                    let near = near.map(|at| Timestamp(at.0 - i64::try_from(draw.below(2)).unwrap()));
                    match near.filter(|at| *at > clock.now()) {
                        Some(at) => clock.advance(at.since(clock.now())),
                        None => clock.advance(Duration::from_millis(draw.below(3 * 86_400_000))),
                    }
                    // What the first one writes down for now may lie behind it; the second one has seen all.
                    run(&open, &clock).await;
                    run(&open, &clock).await;
                    let now = clock.now();
                    let mut gone = Vec::new();
                    for (name, known) in &mut model.records {
                        let found = known.ends_under(&model.today);
                        let is_due = known.is_due(&model.today, now);
                        let is_there = open.vault.explain_retention(&owner, &acme, &coll("c"), &key(name)).await.is_ok();
                        if is_there {
                            assert!(!is_due, "{at}: {name} outlives its end: {known:?}");
                            // Twice, as the runs.
                            for _ in 0..2 {
                                if known.is_looked_for(now) {
                                    marks += u64::from(known.looked_for(found, now));
                                    endless += usize::from(found.is_none());
                                }
                            }
                        } else {
                            assert!(is_due && known.law(now) == Law::Met, "{at}: {name} died early: {known:?}");
                            gone.push(name.clone());
                        }
                    }
                    destroyed += gone.len();
                    gone_by_run += gone.len() as u64;
                    model.records.retain(|name, _| !gone.contains(name));
                }
            }
        }
        assert_eq!(counted(&open, &owner, &acme).await, [gone_by_run, 0, marks, 0], "seed {seed}: what the reports count");
        marked += marks;
        assert_all_that_ends_goes(&open, &owner, &acme, &clock, model, seed).await;
        open.close().await;
    }
    assert!(stored > 300 && destroyed > 100 && endless > 20, "{stored} stored, {destroyed} destroyed, {endless} times no end");
    assert!(marked > 50, "{marked} marks");
    let told = format!("{refused} deletions refused by a law, {by_others} by others than today's, {carried} times one outlived its value");
    assert!(refused > 20 && by_others > 10 && carried > 5, "{told}");
}
