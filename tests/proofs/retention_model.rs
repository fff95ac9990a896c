//! Retention in any order of writes, deletions, changes of rules, steps of the clock, also back, and restarts, held against the rules
//! themselves: none goes before its minimum or its end, and none is there after the first run behind both the end that was written
//! down and that of today. What a rule marks is marked once before; and the reports of all runs together count what was destroyed and
//! marked, each record once.

use std::{collections::BTreeMap, time::Duration};

use lethe::{
    domain::{
        Clock as _, CollectionPolicy, ShredUnit, TenantName, TestClock, Timestamp,
        retention::{Facts, Rule},
    },
    vault::ops::{Caller, Precondition, PutRecord, VaultError},
};
use serde_json::json;

use crate::{
    harness::{Open, coll, key, put_of},
    reports::counted,
    retention::{DAY, due_rows, one_rule, place, policy, run, set},
};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

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

#[derive(Debug)]
struct Known {
    created: Timestamp,
    modified: Timestamp,
    own: Option<Timestamp>,
    category: Option<&'static str>,
    value: String,
    /// Until when the law of an earlier version keeps it.
    kept: Option<Timestamp>,
    /// The minimum that it was stored with: no run comes before it, whatever became of the rules and the clock.
    promised: Option<Timestamp>,
    written: Written,
}

/// Earlier policies, oldest first, each with when it held no more.
type Was = Vec<(Timestamp, CollectionPolicy)>;

/// What was ever written stays under the law of then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    Met,
    Until(Timestamp),
    /// Its rule waits for a date.
    Unknown,
}

const fn hour(at: Timestamp) -> i64 {
    at.0 / HOUR_MS
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
        let at = self.under(policy).1?;
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
        self.own.is_some_and(|own| own <= now) && self.under(today).1.is_some_and(|end| end <= now)
    }

    /// Its latest minimum and its end, by these rules.
    fn under(&self, policy: &CollectionPolicy) -> (Option<Timestamp>, Option<Timestamp>) {
        let put_off = |end: Option<Timestamp>| end.map(|end| self.kept.map_or(end, |kept| end.max(kept)));
        let Some(schedule) = policy.retention.schedule() else { return (None, put_off(self.own)) };
        let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
        let value = Some(self.value.as_bytes());
        let facts = Facts { created_at: self.created, modified_at: self.modified, own_end: self.own, category, value };
        let outlook = schedule.outlook(&facts);
        (outlook.minimum.map(|bound| bound.at), put_off(outlook.end.map(|end| end.at)))
    }

    /// What keeps it, whoever wants it gone: the rules of today, those under which it was written, and an earlier version's.
    fn law(&self, today: &CollectionPolicy, was: &Was, now: Timestamp) -> Law {
        let mut rules = vec![today];
        // What it was written under may have been changed within a minute before the time that it bears.
        let earlier = was.iter().skip_while(|(changed, _)| changed.0 < self.modified.0 - MINUTE_MS);
        for (changed, policy) in earlier.map(|(changed, policy)| (changed.0, policy)).chain([(i64::MAX, today)]) {
            rules.push(policy);
            if changed > self.modified.0 {
                break;
            }
        }
        let mut latest = self.kept;
        for policy in rules {
            let Some(schedule) = policy.retention.schedule() else { continue };
            let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
            let value = Some(self.value.as_bytes());
            let facts = Facts { created_at: self.created, modified_at: self.modified, own_end: self.own, category, value };
            let outlook = schedule.outlook(&facts);
            if outlook.applied.iter().any(|one| one.from.is_none() && one.rule.minimum.is_some()) {
                return Law::Unknown;
            }
            latest = latest.max(outlook.minimum.map(|bound| bound.at));
        }
        latest.filter(|until| *until > now).map_or(Law::Met, Law::Until)
    }

    /// What is known of it when it overwrites another: what ended is made anew, and what keeps the other keeps this one.
    fn in_place_of(mut self, other: Option<&Self>, today: &CollectionPolicy, was: &Was) -> Self {
        let (Some(other), now) = (other, self.modified) else { return self };
        if !other.is_over(today, now) {
            self.created = other.created;
        }
        if let Law::Until(until) = other.law(today, was, now)
            && self.under(today).0.is_none_or(|minimum| minimum < until)
        {
            self.kept = Some(until);
        }
        self
    }

    /// The end that was written down, or when it is marked, or else the end of today.
    fn ends(&self, today: &CollectionPolicy) -> Option<Timestamp> {
        match self.written {
            Written::End(at) | Written::Marks { at, .. } => Some(at),
            Written::Nothing | Written::Endless { .. } => self.under(today).1,
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
        let known = Known { created: now, modified: now, own, category, value, kept: None, promised: None, written: Written::Nothing };
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

/// Under a rule that ends everything, what was ever written down goes.
async fn assert_all_that_ends_goes(
    open: &Open,
    owner: &Caller,
    acme: &TenantName,
    clock: &TestClock,
    model: &BTreeMap<String, Known>,
    seed: u64,
) {
    set(open, owner, acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    for _ in 0..20 {
        clock.advance(DAY * 20);
        run(open, clock).await;
    }
    assert!(due_rows(open).await.is_empty(), "seed {seed}");
    for (name, known) in model {
        let is_there = open.vault.explain_retention(owner, acme, &coll("c"), &key(name)).await.is_ok();
        assert_eq!(is_there, matches!(known.written, Written::Nothing), "seed {seed}: {name}: {known:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_nothing_dies_early_and_nothing_outlives_its_end_by_more_than_a_run() {
    let (mut stored, mut destroyed, mut endless, mut refused, mut carried, mut marked) = (0, 0, 0, 0, 0, 0);
    for seed in 0..20_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let (acme, mut owner, token) = open.tenant(&place, "acme").await;
        let mut draw = Draw(seed);
        let mut today = draw.policy();
        set(&open, &owner, &acme, today.clone()).await;
        let mut model: BTreeMap<String, Known> = BTreeMap::new();
        let mut was = Was::new();
        let (mut marks, mut gone_by_run) = (0, 0);
        for step in 0..160 {
            let name = format!("k{}", draw.below(12));
            match draw.below(12) {
                0..5 => {
                    let now = clock.now();
                    let (put, drawn) = draw.put(now);
                    let own = drawn.own;
                    let put = open.vault.put_record(&owner, &acme, &coll("c"), key(&name), put).await;
                    let mut known = drawn.in_place_of(model.get(&name), &today, &was);
                    match put {
                        Ok(_) => {
                            assert!(known.kept.is_none_or(|kept| own.is_none_or(|own| own >= kept)), "seed {seed}, step {step}: {known:?}");
                            carried += usize::from(known.kept.is_some());
                            let end = known.under(&today).1;
                            assert!(end.is_none_or(|end| end > now), "seed {seed}, step {step}: stored, and over already");
                            known.promised = known.kept.max(known.under(&today).0);
                            known.written = known.written_down(model.get(&name), &today);
                            model.insert(name, known);
                            stored += 1;
                        }
                        Err(VaultError::Unprocessable(_)) => {}
                        Err(error) => panic!("seed {seed}, step {step}: {error:?}"),
                    }
                }
                5 => {
                    let drawn = draw.policy();
                    let are_others = today.retention.schedule().is_some() && drawn.categories != today.categories;
                    if drawn.retention != today.retention || are_others {
                        was.push((clock.now(), today));
                    }
                    today = drawn;
                    set(&open, &owner, &acme, today.clone()).await;
                }
                6 if step % 3 == 0 => {
                    open.close().await;
                    open = place.open().await;
                    owner = open.caller(&token).await;
                }
                7 => {
                    let law = model.get(&name).map(|known| known.law(&today, &was, clock.now()));
                    let deleted = open.vault.delete_record(&owner, &acme, &coll("c"), key(&name), Precondition::None, None).await;
                    if is_refused(&deleted, law, &format!("seed {seed}, step {step}")) {
                        refused += 1;
                    } else {
                        model.remove(&name);
                    }
                }
                8 => clock.go_back(Duration::from_millis(draw.below(3 * 3_600_000))),
                _ => {
                    // To the very moment of an end, or the one before, as often as anywhere.
                    let near = model.get(&name).and_then(|known| known.ends(&today)).filter(|_| draw.below(2) == 0);
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
                    for (name, known) in &mut model {
                        let found = known.ends_under(&today);
                        let is_due = known.is_due(&today, now);
                        let is_there = open.vault.explain_retention(&owner, &acme, &coll("c"), &key(name)).await.is_ok();
                        if is_there {
                            assert!(!is_due, "seed {seed}, step {step}: {name} outlives its end: {known:?}");
                            // Twice, as the runs.
                            for _ in 0..2 {
                                if known.is_looked_for(now) {
                                    marks += u64::from(known.looked_for(found, now));
                                    endless += usize::from(found.is_none());
                                }
                            }
                        } else {
                            assert!(
                                is_due && known.promised.is_none_or(|promised| promised <= now),
                                "seed {seed}, step {step}: {name} died early: {known:?}"
                            );
                            gone.push(name.clone());
                        }
                    }
                    destroyed += gone.len();
                    gone_by_run += gone.len() as u64;
                    model.retain(|name, _| !gone.contains(name));
                }
            }
        }
        assert_eq!(counted(&open, &owner, &acme).await, [gone_by_run, 0, marks, 0], "seed {seed}: what the reports count");
        marked += marks;
        assert_all_that_ends_goes(&open, &owner, &acme, &clock, &model, seed).await;
        open.close().await;
    }
    assert!(stored > 300 && destroyed > 100 && endless > 20, "{stored} stored, {destroyed} destroyed, {endless} times no end");
    assert!(marked > 50, "{marked} marks");
    assert!(refused > 20 && carried > 5, "{refused} deletions refused by a law, {carried} times one outlived the value that it was for");
}
