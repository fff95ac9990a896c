//! What is asked of the store after each kill, and more of it at the end of a campaign.

use std::{collections::BTreeMap, fs, time::Duration};

use lethe::domain::{Clock as _, SystemClock};
use reqwest::Method;

use super::{
    load::{ACME, Batches, COLLECTIONS, EVEN, Order, Ordered, Repeatable, Revoked, SAME, Token, Writer, pair},
    model::{Fate, State, number, parse, value},
};
use crate::{
    client::{Client, Request},
    site::{Server, Site, succeeded},
};

/// How long what was under way at the kill may take to be finished.
const DEADLINE: Duration = Duration::from_mins(1);

/// The server after a kill, and who asks.
pub(super) struct After<'a> {
    pub(super) client: Client,
    pub(super) owner: &'a str,
}

/// What became of what was under way.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub(super) done: usize,
    pub(super) not_done: usize,
}

impl Fates {
    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Kept => {}
            Fate::Done => self.done += 1,
            Fate::NotDone => self.not_done += 1,
        }
    }
}

impl After<'_> {
    async fn get(&self, path: &str, token: &str) -> crate::client::Answer {
        let until = SystemClock.monotonic() + DEADLINE;
        loop {
            let answer = self.client.get(path, token).await.unwrap_or_else(|_| panic!("GET {path}: no answer after a start"));
            if answer.status != 503 {
                return answer;
            }
            assert!(SystemClock.monotonic() < until, "GET {path}: {}", answer.text());
        }
    }

    async fn state(&self, path: &str) -> State {
        let answer = self.get(&format!("{COLLECTIONS}/{path}"), self.owner).await;
        match answer.status {
            200 => Some(number(path, &answer.bytes)),
            // A deleted record of unit "record" is shredded, too.
            404 => None,
            410 if path.starts_with("notes/") => None,
            _ => panic!("GET {path}: {} {}", answer.status, answer.text()),
        }
    }

    /// Every record holds what was acknowledged, or what was tried after it.
    pub(super) async fn writer(&self, writer: &mut Writer, fates: &mut Fates) {
        if let Some(answered) = writer.answered.take() {
            assert_eq!(Some(self.repeat(&answered).await), answered.etag, "{}: answered twice under one idempotency key", answered.path);
        }
        for cell in &mut writer.cells {
            let state = self.state(&cell.path).await;
            fates.count(cell.found(state));
        }
        if let Some(asked) = writer.asked.take() {
            let first = self.repeat(&asked).await;
            assert_eq!(self.repeat(&asked).await, first, "{}: written twice under one idempotency key", asked.path);
            let cell = writer.cells.iter_mut().find(|cell| cell.path == asked.path).unwrap();
            cell.acknowledged(Some(asked.number));
            cell.found(self.state(&asked.path).await);
        }
    }

    /// The same request again under its idempotency key; the entity tag it is answered with.
    async fn repeat(&self, again: &Repeatable) -> String {
        let path = format!("{COLLECTIONS}/{}", again.path);
        let headers = [("lethe-subject", again.subject.as_str()), ("idempotency-key", again.key.as_str())];
        let request = Request { method: Method::PUT, path: &path, token: self.owner, headers: &headers, body: again.body.clone() };
        let answer = self.client.send(request).await.unwrap();
        assert!(matches!(answer.status, 201 | 204), "repeated PUT {path}: {} {}", answer.status, answer.text());
        answer.headers["etag"].to_str().unwrap().to_owned()
    }

    /// All of a batch or nothing of it.
    pub(super) async fn batches(&self, batches: &mut Batches, fates: &mut Fates) {
        let mut numbers = Vec::new();
        for path in SAME {
            numbers.push(self.state(path).await.unwrap_or(0));
        }
        let there = numbers[0];
        assert!(numbers.iter().all(|number| *number == there), "a torn batch: {numbers:?}");
        let fourth = self.state(EVEN).await;
        let expected = there.is_multiple_of(2).then_some(there).filter(|number| *number > 0);
        assert_eq!(fourth, expected, "batch {there} is torn at its fourth record");
        let last = batches.acknowledged + u64::from(batches.tried);
        assert!((batches.acknowledged..=last).contains(&there), "{} was acknowledged, {there} is there", batches.acknowledged);
        for number in batches.first.max(1)..=last {
            for path in pair(number) {
                assert_eq!(self.state(&path).await.is_some(), number <= there, "batch {number} of {there} is torn at {path}");
            }
        }
        if batches.tried {
            fates.count(if there == last { Fate::Done } else { Fate::NotDone });
        }
        *batches = Batches { acknowledged: there, tried: false, first: there + 1 };
    }

    /// A token works until its revocation is acknowledged, and never after.
    pub(super) async fn token(&self, token: &mut Token) {
        let answer = self.get(&format!("{COLLECTIONS}/people/records?limit=1"), &token.text).await;
        let works = match answer.status {
            200 => true,
            // Refused credentials by the hundred are braked.
            401 | 429 => false,
            _ => panic!("a list: {} {}", answer.status, answer.text()),
        };
        match token.revoked {
            Revoked::No => assert!(works, "token {} was never revoked", token.id),
            Revoked::Yes => assert!(!works, "token {} was revoked", token.id),
            Revoked::Tried => token.revoked = if works { Revoked::No } else { Revoked::Yes },
        }
    }

    /// What was ordered is gone, what was not is there, and nothing is in between.
    pub(super) async fn order(&self, order: &mut Order, notes: &mut BTreeMap<String, Vec<u8>>, fates: &mut Fates) {
        if order.ordered == Ordered::Tried {
            let carried_out = match order.records.iter().find(|(path, _)| !path.contains("/files/")) {
                Some((path, _)) => matches!(self.get(path, &order.token).await.status, 404 | 410),
                None => true,
            };
            fates.count(if carried_out { Fate::Done } else { Fate::NotDone });
            order.ordered = if carried_out { Ordered::Pending } else { Ordered::No };
        }
        if order.ordered == Ordered::Pending {
            self.finished(order).await;
        }
        for (path, value) in &order.records {
            let answer = self.get(path, &order.token).await;
            match order.ordered {
                Ordered::No => assert!(answer.status == 200 && answer.bytes == *value, "{path}: {} without a shred", answer.status),
                // Where the collection is the unit, a person's records are deleted.
                Ordered::Tried | Ordered::Pending | Ordered::Done if path.contains("/files/") => {
                    assert_eq!(answer.status, 404, "{path}: {}", answer.text());
                }
                Ordered::Tried | Ordered::Pending | Ordered::Done => {
                    assert_eq!(answer.status, 410, "{path} after its shred: {}", answer.text());
                }
            }
        }
        if let Some(path) = &order.certificate {
            let note = self.get(path, "").await.expect(200, path);
            let kept = notes.entry(path.rsplit('/').next().unwrap().to_owned()).or_insert_with(|| note.bytes.clone());
            assert!(*kept == note.bytes, "{path} is another certificate now");
        }
    }

    /// Waits for an order that was under way at the kill.
    async fn finished(&self, order: &mut Order) {
        let until = SystemClock.monotonic() + DEADLINE;
        if let Some(id) = &order.id {
            let path = format!("{}/shreds/{id}", order.tenant);
            loop {
                let headers = [("prefer", "wait=10")];
                let request = Request { method: Method::GET, path: &path, token: &order.token, headers: &headers, body: Vec::new() };
                let answer = self.client.send(request).await.unwrap();
                if answer.status == 200 {
                    order.certificate = Some(answer.json()["certificate"].as_str().unwrap().to_owned());
                    break;
                }
                assert!(matches!(answer.status, 202 | 503), "{path}: {} {}", answer.status, answer.text());
                assert!(SystemClock.monotonic() < until, "{path} is still pending");
            }
        } else {
            // Its id died with its answer: what it deletes tells that it went on.
            for (path, _) in &order.records {
                while self.get(path, &order.token).await.status == 200 {
                    assert!(SystemClock.monotonic() < until, "{path} is still there, and the person's other records are shredded");
                }
            }
        }
        order.ordered = Ordered::Done;
    }

    /// Reads on in the trail; each change that was acknowledged is in it, as done.
    pub(super) async fn trail(&self, cursor: &mut Option<String>, told: &[(String, &'static str)]) -> usize {
        let mut entries = BTreeMap::new();
        loop {
            let after = cursor.as_ref().map_or(String::new(), |cursor| format!("&after={cursor}"));
            let page = self.get(&format!("{ACME}/audit?limit=1000{after}"), self.owner).await.expect(200, "the trail").json();
            for entry in page["data"].as_array().unwrap() {
                let text = |name: &str| entry[name].as_str().unwrap().to_owned();
                entries.insert((text("request"), text("action")), text("outcome"));
            }
            *cursor = Some(page["next"].as_str().unwrap().to_owned());
            if page["next_cursor"].is_null() {
                break;
            }
        }
        for (request, action) in told {
            let entry = entries.get(&(request.clone(), (*action).to_owned()));
            assert_eq!(entry.map(String::as_str), Some("allowed"), "the trail lacks {action} of request {request}, which was acknowledged");
        }
        entries.len()
    }
}

impl After<'_> {
    /// Every chain of a start that is over is covered to its end by a checkpoint: that of the next start, where it was killed.
    pub(super) async fn covered(&self) {
        let (mut ends, mut after) = (BTreeMap::new(), String::new());
        loop {
            let page = self.get(&format!("{ACME}/audit?limit=1000{after}"), self.owner).await.expect(200, "the trail").json();
            for entry in page["data"].as_array().unwrap() {
                let end = ends.entry(entry["writer"].as_u64().unwrap()).or_insert(0);
                *end = entry["seq"].as_u64().unwrap().max(*end);
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            after = format!("&after={next}");
        }
        // Two chains for each start; the last one is at work.
        let now = ends.keys().max().unwrap() >> 1;
        ends.retain(|writer, _| writer >> 1 != now);
        assert!(!ends.is_empty());
        let until = SystemClock.monotonic() + DEADLINE;
        loop {
            let page = self.get(&format!("{ACME}/audit?limit=1&heads=true"), self.owner).await.expect(200, "the heads").json();
            let heads = page["heads"]["proven"].as_array().unwrap().iter();
            let heads: BTreeMap<u64, u64> = heads.map(|head| (head["writer"].as_u64().unwrap(), head["seq"].as_u64().unwrap())).collect();
            let open: Vec<_> = ends.iter().filter(|(writer, end)| heads.get(writer) != Some(end)).collect();
            if open.is_empty() {
                return;
            }
            assert!(SystemClock.monotonic() < until, "no checkpoint covers these chains to their ends: {open:?}");
        }
    }
}

/// The trail against the log, the log against itself, and every certificate in it: with the program, offline.
pub(super) fn evidence(site: &Site, server: &Server, owner: &str, notes: &BTreeMap<String, Vec<u8>>) {
    let key = site.path("store/signing.pub");
    succeeded(server.lethe(owner).args(["audit", "verify", "--tenant", "acme", "--key"]).arg(&key));
    let copy = site.path("log-copy");
    succeeded(server.lethe("").args(["log", "fetch"]).arg(&copy));
    let mut verify = server.lethe("");
    verify.args(["log", "verify"]).arg(&copy).arg("--key").arg(&key);
    for (id, note) in notes {
        let file = site.path(&format!("note-{id}"));
        fs::write(&file, note).unwrap();
        verify.arg("--certificate").arg(file);
    }
    succeeded(&mut verify);
}

/// Nothing that was ever written may change what a value says of itself.
#[test]
fn a_torn_value_is_told_from_a_whole_one() {
    let whole = value("people/records/x", 7, 4_000);
    assert_eq!(parse("people/records/x", &whole), Ok(7));
    let spliced = [&value("people/records/x", 8, 4_000)[..2_000], &whole[2_000..]].concat();
    for torn in [&whole[..whole.len() - 1], &spliced] {
        assert!(parse("people/records/x", torn).is_err());
    }
    assert!(parse("people/records/y", &whole).is_err());
}
