//! `kill -9` of the whole server while writers, batches, readers, revocations and shreds are at work: everything that
//! was acknowledged stands, nothing is half done, and what was shredded stays so.

mod load;
mod model;
mod verify;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    client::Client,
    random::{Random, seed, setting},
    site::{Server, Site, lethe, succeeded},
};
use load::{ACME, Batches, COLLECTIONS, Field, Hands, Order, Token, Writer};
use model::Cell;
use verify::{After, Fates, evidence};

/// Kills of `make test`.
const KILLS: u64 = 20;
/// A life takes seconds; on a slow machine with a build beside it, a minute.
const PATIENCE: Duration = Duration::from_mins(5);
/// Kills of one store.
const KILLS_OF_ONE_STORE: u64 = 50;
/// Evidence is verified as a whole after every so many kills.
const EVIDENCE_EVERY: u64 = 10;

/// A store, and what must be true of it.
struct World {
    site: Site,
    owner: String,
    random: Random,
    writers: Vec<Writer>,
    batches: Batches,
    tokens: Vec<Token>,
    orders: Vec<Order>,
    next_order: u64,
    notes: BTreeMap<String, Vec<u8>>,
    trail: Option<String>,
    told: Vec<(String, &'static str)>,
    count: Count,
}

#[derive(Debug, Default)]
struct Count {
    kills: u64,
    kills_of_starts: u64,
    changes: usize,
    orders: usize,
    certificates: usize,
    entries: usize,
    under_way: Fates,
    slowest_start: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    let mut random = seed("kill -9");
    let kills = setting("LETHE_KILLS").unwrap_or(KILLS);
    let mut left = kills;
    while left > 0 {
        let of_this = left.min(KILLS_OF_ONE_STORE);
        let count = campaign(random.fork(), of_this).await;
        println!("{count:?}");
        left -= of_this;
    }
}

async fn campaign(mut random: Random, kills: u64) -> Count {
    let site = Site::make("[store]\nreserve_len_bytes = 1048576\n");
    let server = site.start();
    let owner = make_acme(&server, &site).await;
    server.kill();
    let mut world = World::new(site, owner, random.fork());
    while world.count.kills < kills {
        while world.count.kills + 1 < kills && world.random.once_in(5) {
            world.kill_a_start().await;
        }
        let server = world.site.start();
        world.verify(&server, false).await;
        world.live(server).await;
    }
    let server = world.site.start();
    world.verify(&server, true).await;
    evidence(&world.site, &server, &world.owner, &world.notes);
    server.stop();
    succeeded(lethe().args(["check", "--dir"]).arg(world.site.path("store")));
    world.count.certificates = world.notes.len();
    std::mem::take(&mut world.count)
}

/// Tenant acme with a collection of each kind; its owner's token.
async fn make_acme(server: &Server, site: &Site) -> String {
    let client = Client::new(&server.url);
    let made = client.json(Method::POST, "/v1/tenants", &site.operator(), &[], &json!({"tenant": "acme"})).await.unwrap();
    let owner = made.expect(201, "acme").json()["token"].as_str().unwrap().to_owned();
    for (collection, unit) in [("people", "subject"), ("files", "collection"), ("notes", "record")] {
        let path = format!("{COLLECTIONS}/{collection}");
        client.json(Method::PUT, &path, &owner, &[], &json!({ "shred_unit": unit })).await.unwrap().expect(201, &path);
    }
    owner
}

impl World {
    fn new(site: Site, owner: String, random: Random) -> Self {
        let writers = [("people", 8, 400), ("people", 8, 3_000), ("files", 8, 400), ("notes", 6, 400), ("people", 3, 600_000)];
        let writer = |(number, (collection, cells, len_end)): (usize, (&str, usize, usize))| {
            let subject = format!("w{number}");
            let cell = |at| Cell::new(format!("{collection}/records/w{number}/{at}"), &subject, len_end);
            Writer { cells: (0..cells).map(cell).collect(), next: 1, asked: None, answered: None }
        };
        Self {
            site,
            owner,
            random,
            writers: writers.into_iter().enumerate().map(writer).collect(),
            batches: Batches::default(),
            tokens: Vec::new(),
            orders: Vec::new(),
            next_order: 0,
            notes: BTreeMap::new(),
            trail: None,
            told: Vec::new(),
            count: Count::default(),
        }
    }

    /// Kills a server before, or just after, it listens.
    async fn kill_a_start(&mut self) {
        let mut child = self.site.spawn();
        let most = self.count.slowest_start.max(Duration::from_millis(200));
        pause(most * u32::try_from(self.random.below(1_000)).unwrap() / 1_000).await;
        child.kill().unwrap();
        child.wait().unwrap();
        self.count.kills += 1;
        self.count.kills_of_starts += 1;
    }

    /// Everybody works until the server is killed.
    async fn live(&mut self, server: Server) {
        let gone = self.orders.iter().filter(|order| order.tenant == ACME && order.ordered == load::Ordered::Done);
        let gone = gone.flat_map(|order| order.records.iter().map(|(path, _)| path.clone())).collect();
        let paths = self.writers.iter().flat_map(|writer| writer.cells.iter().map(|cell| cell.path.clone())).collect();
        let field = Field { acks: watch::Sender::new(0), killed: AtomicBool::new(false), gone: Mutex::new(gone), paths };
        let field = Arc::new(field);
        let client = Client::new(&server.url);
        let operator = self.site.operator();
        let mut hands = || Hands {
            client: client.clone(),
            owner: self.owner.clone(),
            operator: operator.clone(),
            random: self.random.fork(),
            field: Arc::clone(&field),
            told: Vec::new(),
        };
        let tasks = tokio_util::task::TaskTracker::new();
        let writers: Vec<_> = self.writers.drain(..).map(|writer| tasks.spawn(writer.work(hands()))).collect();
        let batches = tasks.spawn(std::mem::take(&mut self.batches).work(hands()));
        let readers: Vec<_> = (0..2).map(|_| tasks.spawn(load::read(hands()))).collect();
        let revoker = tasks.spawn(load::revoke(Vec::new(), hands()));
        let shredders: Vec<_> = (0..2).map(|at| tasks.spawn(load::shred(self.next_order + at * 100_000, hands()))).collect();

        let acks = 1 + self.random.below(250);
        let mut all: Vec<_> = writers.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        all.push(batches.abort_handle());
        all.extend(readers.iter().map(tokio::task::JoinHandle::abort_handle));
        all.push(revoker.abort_handle());
        all.extend(shredders.iter().map(tokio::task::JoinHandle::abort_handle));
        let mut heard = field.acks.subscribe();
        let enough = async {
            // Nobody ends while the server lives: who does has been told something wrong, and is asked below what it was.
            while *heard.borrow_and_update() < acks && !all.iter().any(tokio::task::AbortHandle::is_finished) {
                // A reader that ends does not tell; so every second all are looked at again.
                let _ = tokio::time::timeout(Duration::from_secs(1), heard.changed()).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, enough).await;
        assert!(in_time.is_ok(), "{} of {acks} answers in {PATIENCE:?}", *field.acks.borrow());
        if self.random.once_in(2) {
            pause(Duration::from_micros(self.random.below(30_000) as u64)).await;
        }
        field.killed.store(true, Ordering::SeqCst);
        server.kill();
        self.count.kills += 1;

        for ended in futures_util::future::join_all(writers).await {
            let (writer, hands) = ended.unwrap();
            self.writers.push(writer);
            self.told.extend(hands.told);
        }
        let (ended, hands) = batches.await.unwrap();
        self.batches = ended;
        self.told.extend(hands.told);
        for reader in readers {
            reader.await.unwrap();
        }
        let (tokens, hands) = revoker.await.unwrap();
        self.tokens.extend(tokens);
        self.told.extend(hands.told);
        for shredder in shredders {
            let (orders, hands) = shredder.await.unwrap();
            self.orders.extend(orders);
            self.told.extend(hands.told);
        }
        self.next_order += 1_000;
        self.count.changes += *field.acks.borrow();
    }

    /// Holds the store against what is known of it; of old orders and tokens some only, unless it is the end.
    async fn verify(&mut self, server: &Server, end: bool) {
        self.count.slowest_start = self.count.slowest_start.max(server.took);
        let after = After { client: Client::new(&server.url), owner: &self.owner };
        let fates = &mut self.count.under_way;
        for writer in &mut self.writers {
            after.writer(writer, fates).await;
        }
        after.batches(&mut self.batches, fates).await;
        let recent = |at: usize, len: usize| at + 12 >= len;
        let len = self.tokens.len();
        for (at, token) in self.tokens.iter_mut().enumerate() {
            if end || recent(at, len) || token.revoked == load::Revoked::Tried || self.random.once_in(20) {
                after.token(token).await;
            }
        }
        let len = self.orders.len();
        for (at, order) in self.orders.iter_mut().enumerate() {
            let unsettled = matches!(order.ordered, load::Ordered::Tried | load::Ordered::Pending);
            if end || recent(at, len) || unsettled || self.random.once_in(20) {
                after.order(order, &mut self.notes, fates).await;
            }
        }
        self.count.orders = len;
        self.count.entries += after.trail(&mut self.trail, &self.told).await;
        self.told.clear();
        if self.count.kills % EVIDENCE_EVERY == EVIDENCE_EVERY - 1 {
            evidence(&self.site, server, &self.owner, &self.notes);
        }
        if end {
            after.covered().await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {} kills; the servers' log ends:\n{}", self.count.kills, self.site.log_tail());
        }
    }
}

/// The moment of a kill is chance, not synchronisation.
async fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a random moment is what this test tries")]
    tokio::time::sleep(time).await;
}
