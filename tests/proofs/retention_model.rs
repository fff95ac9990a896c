//! Retention in any order of writes, deletions, changes of rules, reports of events, their corrections and withdrawals, steps of the clock,
//! also back, and restarts, held against the rules themselves: none goes before its minimum or its end, and none is there after the first
//! run behind both the end that was written down and that of today.

use std::{collections::BTreeMap, time::Duration};

use lethe::{
    domain::{
        Clock as _, CollectionPolicy, ShredUnit, SubjectId, TenantName, TestClock, Timestamp,
        retention::{EventDate, EventName, Events, Facts, Outlook},
    },
    vault::ops::{Caller, Missing, Precondition, PutRecord, VaultError},
};
use serde_json::json;

use crate::{
    harness::{Open, coll, key, put_of},
    retention::{DAY, due_rows, one_rule, place, policy, run, set},
};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// When a record is looked for, as it was written down.
#[derive(Debug, Clone, Copy)]
enum Written {
    Nothing,
    End(Timestamp),
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
    subject: usize,
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
    /// Its rule waits for a date, which the value should have or somebody is to report.
    Unknown {
        by_event: bool,
    },
}

/// The event of the rules that count from one; their names begin with its first letter.
const LEFT: &str = "left";

/// What was reported of each person.
type Reported = [Events; 3];

/// Whether any rule of any time counts from an event.
fn has_events(today: &CollectionPolicy, was: &Was) -> bool {
    let all = was.iter().map(|(_, policy)| policy).chain([today]);
    all.filter_map(|policy| policy.retention.schedule()).any(|schedule| schedule.has_events())
}

const fn hour(at: Timestamp) -> i64 {
    at.0 / HOUR_MS
}

impl Known {
    /// What rules say of it; `None` where there are none.
    fn outlook<'a>(&self, policy: &'a CollectionPolicy, reported: &Reported) -> Option<Outlook<'a>> {
        let schedule = policy.retention.schedule()?;
        let category = self.category.filter(|category| policy.categories.iter().any(|known| known == category));
        let (value, events) = (Some(self.value.as_bytes()), &reported[self.subject]);
        Some(schedule.outlook(&Facts { created_at: self.created, modified_at: self.modified, own_end: self.own, category, value, events }))
    }

    /// Its latest minimum and its end, by these rules.
    fn under(&self, policy: &CollectionPolicy, reported: &Reported) -> (Option<Timestamp>, Option<Timestamp>) {
        let put_off = |end: Option<Timestamp>| end.map(|end| self.kept.map_or(end, |kept| end.max(kept)));
        let Some(outlook) = self.outlook(policy, reported) else { return (None, put_off(self.own)) };
        (outlook.minimum.map(|bound| bound.at), put_off(outlook.end.map(|end| end.at)))
    }

    /// The end that a run finds: where rules count from events, also not before the minimum that it was written under.
    fn end(&self, today: &CollectionPolicy, was: &Was, reported: &Reported) -> Option<Timestamp> {
        let end = self.under(today, reported).1?;
        if !has_events(today, was) {
            return Some(end);
        }
        let mut end = end;
        for policy in self.written_under(today, was) {
            let Some(outlook) = self.outlook(policy, reported) else { continue };
            for one in outlook.applied.iter().filter(|one| one.rule.from.reported().is_some() && one.rule.minimum.is_some()) {
                end = end.max(one.minimum_until?);
            }
        }
        Some(end)
    }

    /// The rules that it may have been written under: they may have been changed within a minute before the time that it bears.
    fn written_under<'a>(&self, today: &'a CollectionPolicy, was: &'a Was) -> Vec<&'a CollectionPolicy> {
        let mut rules = Vec::new();
        let earlier = was.iter().skip_while(|(changed, _)| changed.0 < self.modified.0 - MINUTE_MS);
        for (changed, policy) in earlier.map(|(changed, policy)| (changed.0, policy)).chain([(i64::MAX, today)]) {
            rules.push(policy);
            if changed > self.modified.0 {
                break;
            }
        }
        rules
    }

    /// What some rules ask for, and an earlier version did, met or not.
    fn law_of(&self, rules: &[&CollectionPolicy], reported: &Reported) -> Law {
        let mut latest = self.kept;
        for policy in rules {
            let Some(outlook) = self.outlook(policy, reported) else { continue };
            if let Some(waits) = outlook.applied.iter().find(|one| one.from.is_none() && one.rule.minimum.is_some()) {
                return Law::Unknown { by_event: waits.rule.name.as_str().starts_with('l') };
            }
            latest = latest.max(outlook.minimum.map(|bound| bound.at));
        }
        latest.map_or(Law::Met, Law::Until)
    }

    /// What keeps it, whoever wants it gone: the rules of today, those under which it was written, and an earlier version's.
    fn law(&self, today: &CollectionPolicy, was: &Was, reported: &Reported, now: Timestamp) -> Law {
        let rules = [vec![today], self.written_under(today, was)].concat();
        match self.law_of(&rules, reported) {
            Law::Until(until) if until <= now => Law::Met,
            law => law,
        }
    }

    /// Writes down what a report brings forward, for a run that follows it: by the rules that it was written under, not before the report,
    /// nor before their minimum. Whether it does.
    fn follow(&mut self, today: &CollectionPolicy, was: &Was, reported: &Reported) -> bool {
        let Some(from) = reported[self.subject].reports().last().map(|report| report.reported_at) else { return false };
        if !has_events(today, was) {
            return false;
        }
        let rules = self.written_under(today, was);
        let Some(end) = rules.iter().filter_map(|policy| self.under(policy, reported).1).max() else { return false };
        let end = match self.law_of(&rules, reported) {
            Law::Met => end.max(from),
            Law::Until(until) => end.max(from).max(until),
            Law::Unknown { .. } => return false,
        };
        let is_as_early = match self.written {
            Written::Nothing => false,
            Written::End(at) => at <= end,
            Written::Endless { at, .. } => hour(at) * HOUR_MS <= end.0,
        };
        if !is_as_early {
            self.written = Written::End(end);
        }
        !is_as_early
    }

    /// What is known of it when it overwrites another: what ended is made anew, and what keeps the other keeps this one.
    fn in_place_of(mut self, other: Option<&Self>, today: &CollectionPolicy, was: &Was, reported: &Reported) -> Self {
        let (Some(other), now) = (other, self.modified) else { return self };
        let is_over = other.own.is_some_and(|own| own <= now) && other.under(today, reported).1.is_some_and(|end| end <= now);
        if !is_over {
            self.created = other.created;
        }
        if let Law::Until(until) = other.law(today, was, reported, now)
            && self.under(today, reported).0.is_none_or(|minimum| minimum < until)
        {
            self.kept = Some(until);
        }
        self
    }

    /// The end that was written down, or else that of today.
    fn ends(&self, today: &CollectionPolicy, reported: &Reported) -> Option<Timestamp> {
        match self.written {
            Written::End(at) => Some(at),
            Written::Nothing | Written::Endless { .. } => self.under(today, reported).1,
        }
    }

    fn is_looked_for(&self, now: Timestamp) -> bool {
        match self.written {
            Written::Nothing => false,
            Written::End(at) => at <= now,
            Written::Endless { at, .. } => hour(at) <= hour(now),
        }
    }

    /// What a run writes down that looked for it and found that it has not ended.
    fn looked_for(&mut self, end: Option<Timestamp>, now: Timestamp) {
        self.written = match end {
            Some(end) if hour(end) > hour(now) => Written::End(end),
            Some(_) => self.written,
            None => {
                let since = if let Written::Endless { since, .. } = self.written { since } else { now };
                Written::Endless { since, at: now.plus(now.since(since).clamp(DAY, DAY * 32)) }
            }
        };
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
        let subject = usize::try_from(self.below(3)).unwrap();
        let put = PutRecord { expires_at: own, custom, ..put_of(Some(&subject.to_string()), value.as_bytes()) };
        let (created, modified, written) = (now, now, Written::Nothing);
        let known = Known { created, modified, own, category, value, subject, kept: None, promised: None, written };
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
                    let from = self.of(&["created", "modified", "field", LEFT]);
                    let name = if from == LEFT { format!("l{at}") } else { format!("r{at}") };
                    let from = match from {
                        "field" => json!({"field": "/date"}),
                        LEFT => json!({"event": LEFT}),
                        from => json!(from),
                    };
                    let mut rule =
                        json!({"name": name, "from": from, "maximum": format!("{}d", least + self.below(60) + 1), "then": "delete"});
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
            let by_event = told.rule.as_str().starts_with('l');
            assert_eq!(told.until.map_or(Law::Unknown { by_event }, Law::Until), law, "{at}");
            true
        }
        _ => panic!("{at}: {deleted:?} under {law:?}"),
    }
}

/// Reports when a person left, or takes that back; the model is told what the store is, and what follows.
async fn report(
    open: &Open,
    (owner, acme): (&Caller, &TenantName),
    (today, was, reported): (&CollectionPolicy, &Was, &mut Reported),
    (person, at): (usize, Option<EventDate>),
    now: Timestamp,
    model: &mut BTreeMap<String, Known>,
) -> usize {
    let (subject, event) = (SubjectId::parse(&person.to_string()).unwrap(), EventName::parse(LEFT).unwrap());
    let is_new = reported[person].report(&event, at, now);
    match at {
        Some(at) => drop(open.vault.report_event(owner, acme, (subject, event, at), None).await.unwrap()),
        None => match open.vault.withdraw_event(owner, acme, (subject, event), None).await {
            Ok(view) => assert!(is_new && view.events.is_empty()),
            Err(error) => assert!(!is_new && matches!(error, VaultError::NotFound(Missing::Event)), "{error:?}"),
        },
    }
    let mut brought_forward = 0;
    for known in model.values_mut().filter(|known| is_new && known.subject == person) {
        brought_forward += usize::from(known.follow(today, was, reported));
    }
    brought_forward
}

/// Under a rule that ends everything, and once all is reported, what was ever written down goes.
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

/// Runs, and holds what is there then against what is known of it. How many went, and how many had no end.
async fn run_and_hold(
    (open, clock): (&Open, &TestClock),
    (owner, acme): (&Caller, &TenantName),
    (today, was, reported): (&CollectionPolicy, &Was, &Reported),
    model: &mut BTreeMap<String, Known>,
    at: &str,
) -> (usize, usize) {
    run(open, clock).await;
    let (now, mut endless) = (clock.now(), 0);
    let mut gone = Vec::new();
    for (name, known) in model.iter_mut() {
        let end = known.end(today, was, reported);
        let is_due = known.is_looked_for(now) && end.is_some_and(|end| end <= now);
        let is_there = open.vault.explain_retention(owner, acme, &coll("c"), &key(name)).await.is_ok();
        if is_there {
            assert!(!is_due, "{at}: {name} outlives its end: {known:?}");
            if known.is_looked_for(now) {
                known.looked_for(end, now);
                endless += usize::from(end.is_none());
            }
        } else {
            assert!(is_due && known.promised.is_none_or(|promised| promised <= now), "{at}: {name} died early: {known:?}");
            gone.push(name.clone());
        }
    }
    model.retain(|name, _| !gone.contains(name));
    (gone.len(), endless)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_nothing_dies_early_and_nothing_outlives_its_end_by_more_than_a_run() {
    let (mut stored, mut destroyed, mut endless, mut refused, mut carried) = (0, 0, 0, 0, 0);
    let (mut reports, mut brought_forward, mut waited) = (0, 0, 0);
    for seed in 0..20_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let (acme, mut owner, token) = open.tenant(&place, "acme").await;
        let mut draw = Draw(seed);
        let mut today = draw.policy();
        set(&open, &owner, &acme, today.clone()).await;
        let mut model: BTreeMap<String, Known> = BTreeMap::new();
        let (mut was, mut reported) = (Was::new(), Reported::default());
        for step in 0..160 {
            let name = format!("k{}", draw.below(12));
            let at = format!("seed {seed}, step {step}");
            match draw.below(14) {
                0..5 => {
                    let now = clock.now();
                    let (put, drawn) = draw.put(now);
                    let own = drawn.own;
                    let put = open.vault.put_record(&owner, &acme, &coll("c"), key(&name), put).await;
                    let before = model.get(&name).map(|known| known.law(&today, &was, &reported, now));
                    let mut known = drawn.in_place_of(model.get(&name), &today, &was, &reported);
                    // What is kept until somebody reports something is kept for that.
                    let is_kept_back = before == Some(Law::Unknown { by_event: true })
                        && !matches!(known.law(&today, &was, &reported, now), Law::Unknown { .. });
                    match put {
                        Ok(_) => {
                            assert!(!is_kept_back, "{at}: {known:?}");
                            assert!(known.kept.is_none_or(|kept| own.is_none_or(|own| own >= kept)), "{at}: {known:?}");
                            carried += usize::from(known.kept.is_some());
                            let end = known.under(&today, &reported).1;
                            assert!(end.is_none_or(|end| end > now), "{at}: stored, and over already");
                            known.promised = known.kept.max(known.under(&today, &reported).0);
                            known.written = end.map_or(Written::Nothing, Written::End);
                            model.insert(name, known);
                            stored += 1;
                        }
                        Err(VaultError::Unprocessable(_)) => {}
                        Err(VaultError::LegalMinimum { .. }) => {
                            assert!(is_kept_back, "{at}: {known:?}");
                            waited += 1;
                        }
                        Err(error) => panic!("{at}: {error:?}"),
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
                    let law = model.get(&name).map(|known| known.law(&today, &was, &reported, clock.now()));
                    let deleted = open.vault.delete_record(&owner, &acme, &coll("c"), key(&name), Precondition::None, None).await;
                    if is_refused(&deleted, law, &at) {
                        refused += 1;
                    } else {
                        model.remove(&name);
                    }
                }
                8 => clock.go_back(Duration::from_millis(draw.below(3 * 3_600_000))),
                9..11 => {
                    // When the person left, some weeks ago or ahead; or the person comes back.
                    let (person, now) = (usize::try_from(draw.below(3)).unwrap(), clock.now());
                    let day = Timestamp(now.0 + i64::try_from(draw.below(60)).unwrap() * 86_400_000 - 40 * 86_400_000);
                    let date = (draw.below(4) > 0).then(|| EventDate::parse(&day.to_rfc3339()[..10]).unwrap());
                    report(&open, &owner, &acme, (&mut reported, person), date, now).await;
                    for known in model.values_mut().filter(|known| known.subject == person) {
                        let before = known.written;
                        known.follow(&today, &was, &reported);
                        brought_forward +=
                            usize::from(!matches!((before, known.written), (Written::End(before), Written::End(after)) if before == after));
                    }
                    reports += 1;
                    let (gone, had_none) = run_and_hold((&open, &clock), (&owner, &acme), (&today, &was, &reported), &mut model, &at).await;
                    (destroyed, endless) = (destroyed + gone, endless + had_none);
                }
                _ => {
                    // To the very moment of an end, or the one before, as often as anywhere.
                    let near = model.get(&name).and_then(|known| known.ends(&today, &reported)).filter(|_| draw.below(2) == 0);
                    let near = near.map(|at| Timestamp(at.0 - i64::try_from(draw.below(2)).unwrap()));
                    match near.filter(|at| *at > clock.now()) {
                        Some(at) => clock.advance(at.since(clock.now())),
                        None => clock.advance(Duration::from_millis(draw.below(3 * 86_400_000))),
                    }
                    let (gone, had_none) = run_and_hold((&open, &clock), (&owner, &acme), (&today, &was, &reported), &mut model, &at).await;
                    (destroyed, endless) = (destroyed + gone, endless + had_none);
                }
            }
        }
        let long_ago = EventDate::parse("1999-01-01").unwrap();
        for person in 0..3 {
            let told = (&today, &was, &mut reported);
            report(&open, (&owner, &acme), told, (person, Some(long_ago)), clock.now(), &mut model).await;
        }
        run_and_hold((&open, &clock), (&owner, &acme), (&today, &was, &reported), &mut model, &format!("seed {seed}")).await;
        assert_all_that_ends_goes(&open, &owner, &acme, &clock, &model, seed).await;
        assert_eq!(open.vault.check().await.unwrap().findings, Vec::<String>::new(), "seed {seed}");
        open.close().await;
    }
    assert!(stored > 300 && destroyed > 100 && endless > 20, "{stored} stored, {destroyed} destroyed, {endless} times no end");
    assert!(refused > 20 && carried > 5, "{refused} deletions refused by a law, {carried} times one outlived the value that it was for");
    assert!(reports > 200 && brought_forward > 50, "{reports} reports, {brought_forward} ends brought forward");
    assert!(waited > 0, "{waited} times one was kept for what nobody had reported");
}
