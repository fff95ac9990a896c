//! A person's shred against everybody else, over real connections: writers of the person and of others, in units,
//! collections and for persons that are new, and readers that stand still in the middle of a large value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lethe::domain::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Client;
use super::h2::Peer;
use super::site::{CRM, Site};

const PART: usize = 65_536;
const WRITERS: u32 = 8;
/// Persons who are shredded one after the other while they are written about, and the collections where they are new.
const HUNTED: u32 = 25;
const HUNTED_IN: u32 = 6;

/// Larger than the buffers of sockets and servers together; `make proof` asks for a GiB.
#[expect(clippy::disallowed_methods, reason = "make proof asks for more so")]
fn size() -> usize {
    if std::env::var_os("LETHE_PROOF").is_some() { 1 << 30 } else { 64 << 20 }
}

/// The byte at a place of every large value.
fn byte_at(at: usize) -> u8 {
    (at / PART % 251).to_le_bytes()[0]
}

async fn put_large(site: &Site, owner: &str, person: &str) {
    let parts = (0..size() / PART).map(|part| Ok::<_, std::io::Error>(Bytes::from(vec![byte_at(part * PART); PART])));
    let request = site.request(Method::PUT, &format!("{CRM}/records/large-{person}"), owner).header("lethe-subject", person);
    let request = request.timeout(Duration::from_mins(10)).body(reqwest::Body::wrap_stream(futures_util::stream::iter(parts)));
    assert_eq!(request.send().await.unwrap().status(), 201, "{person}");
}

/// A download over HTTP/1.1 by hand, which reads when it is told to.
struct Reader {
    socket: TcpStream,
    read: usize,
}

impl Reader {
    /// Asks for a large value, reads its head and a part, and stands still.
    async fn stalled(site: &Site, owner: &str, person: &str) -> Self {
        let mut socket = TcpStream::connect(site.address()).await.unwrap();
        let ask = format!("GET {CRM}/records/large-{person} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\n\r\n");
        socket.write_all(ask.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {}\r\n", size())), "{head}");
        let mut reader = Self { socket, read: 0 };
        let mut part = vec![0; 3 * PART];
        reader.socket.read_exact(&mut part).await.unwrap();
        reader.take(&part);
        reader
    }

    fn take(&mut self, part: &[u8]) {
        for byte in part {
            assert!(*byte == byte_at(self.read), "another byte at {}", self.read);
            self.read += 1;
        }
    }

    /// Reads to the end of the connection or of the value; how many bytes came in all.
    async fn rest(mut self) -> usize {
        let mut part = vec![0; 4 * PART];
        while self.read < size() {
            let reading = tokio::time::timeout(Duration::from_mins(1), self.socket.read(&mut part)).await;
            match reading.expect("neither a byte nor an end for a minute") {
                Ok(0) | Err(_) => break,
                Ok(read) => self.take(&part[..read]),
            }
        }
        self.read
    }
}

/// A download over HTTP/2, which grants no window until it is told to.
struct Peered {
    peer: Peer,
    stream: u32,
}

impl Peered {
    async fn stalled(site: &Site, owner: &str, person: &str) -> Self {
        let mut peer = Peer::connect(&site.address(), 40_000).await;
        let stream = peer.get(&format!("{CRM}/records/large-{person}"), &[("authorization", &format!("Bearer {owner}"))]).await;
        peer.until(|peer| peer.streams[&stream].data_len >= 40_000).await;
        Self { peer, stream }
    }

    /// Answers the server's pings until it may go on, then grants all and reads until the stream ends; its bytes, and whether
    /// it ended well.
    async fn rest(mut self, race: Arc<Race>) -> (usize, bool) {
        while !race.resumed.load(Ordering::SeqCst) {
            drop(tokio::time::timeout(Duration::from_millis(100), self.peer.until(|peer| peer.closed)).await);
            assert!(!self.peer.closed, "a reader that stands still was hung up on");
        }
        for stream in [0, self.stream] {
            self.peer.grant(stream, (1 << 31) - 70_000).await;
        }
        loop {
            let stream = self.peer.streams[&self.stream].clone();
            if stream.ended || stream.reset || self.peer.closed {
                return (stream.data_len, stream.ended && !stream.reset);
            }
            let next = stream.data_len + 1;
            self.peer
                .until(|peer| {
                    peer.streams[&self.stream].data_len >= next || peer.streams[&self.stream].reset || peer.streams[&self.stream].ended
                })
                .await;
        }
    }
}

/// How the person's shred stands: writers look before and after each request.
#[derive(Default)]
struct Race {
    ordered: AtomicBool,
    done: AtomicBool,
    stop: AtomicBool,
    acknowledged: AtomicU32,
    /// Whoever stood still may read on.
    resumed: AtomicBool,
    /// The number of the person who is shredded next: one race is won by luck.
    hunted: AtomicU32,
}

/// A record that was acknowledged.
struct Written {
    path: String,
    value: String,
    of_target: bool,
}

struct Writer {
    site: Arc<Site>,
    client: Client,
    owner: String,
    race: Arc<Race>,
    number: u32,
    written: Vec<Written>,
}

impl Writer {
    /// Every kind of write, over and over; what was acknowledged.
    async fn run(mut self) -> Vec<Written> {
        let writer = self.number;
        for round in 0_u32.. {
            if self.race.stop.load(Ordering::SeqCst) {
                break;
            }
            self.put("crm", &format!("{writer}/{round}/target"), "target").await;
            self.put("crm", &format!("{writer}/{round}/bystander"), "bystander").await;
            self.put("crm", &format!("{writer}/{round}/new"), &format!("new-{writer}-{round}")).await;
            // A unit of its own for each record, of a person that has others.
            self.put("notes", &format!("{writer}-{round}-target"), "target").await;
            self.put("notes", &format!("{writer}-{round}-bystander"), "bystander").await;
            self.batch(round).await;
            let hunted = self.race.hunted.load(Ordering::SeqCst);
            self.put("crm", &format!("{writer}/{round}/hunted"), &format!("hunted-{hunted}")).await;
            self.put("notes", &format!("{writer}-{round}-hunted"), &format!("hunted-{hunted}")).await;
            self.put(&format!("h-{}", (writer + round) % HUNTED_IN), &format!("{writer}-{round}"), &format!("hunted-{hunted}")).await;
            if round.is_multiple_of(4) {
                let collection = format!("c-{writer}-{round}");
                let path = format!("/v1/tenants/acme/collections/{collection}");
                let (status, told) = self.send(Method::PUT, &path, "x", r#"{"shred_unit": "subject"}"#.into()).await;
                assert!(status == 201 || status == 503, "a new collection: {status} {told}");
                if status == 201 {
                    self.put(&collection, "target", "target").await;
                    self.put(&collection, "bystander", "bystander").await;
                }
            }
        }
        self.written
    }

    async fn send(&self, method: Method, path: &str, person: &str, body: String) -> (u16, String) {
        let request = self.client.request(method, format!("{}{path}", self.site.server.url())).bearer_auth(&self.owner);
        let request = request.header("content-type", "application/json").header("lethe-subject", person).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A write is acknowledged and reads, or its person is being shredded, or it is to be tried again: nothing else.
    async fn put(&mut self, collection: &str, key: &str, person: &str) {
        let (path, value) = (format!("/v1/tenants/acme/collections/{collection}/records/{key}"), format!("{key} of {person}"));
        let late = self.race.done.load(Ordering::SeqCst);
        let (status, told) = self.send(Method::PUT, &path, person, value.clone()).await;
        let of_target = person == "target" || person.starts_with("hunted");
        let ordered = self.race.ordered.load(Ordering::SeqCst);
        match status {
            201 => {
                assert!(!(person == "target" && late), "{path}: written after the shred was done");
                self.acknowledged(Written { path, value, of_target }).await;
            }
            410 => assert!(of_target && ordered, "{path}: {told}"),
            503 => {}
            other => panic!("{path}: {other} {told}"),
        }
    }

    async fn batch(&mut self, round: u32) {
        let number = self.number;
        let key = |person: &str| format!("{number}-{round}-batch-{person}");
        // Half of the batches name the target, and go with it.
        let persons = if round.is_multiple_of(2) { vec!["bystander", "target"] } else { vec!["bystander"] };
        let put = |person: &&str| json!({"op": "put", "collection": "crm", "key": key(person), "value": key(person), "content_type": "text/plain", "subjects": [person]});
        let ops: Vec<_> = persons.iter().map(put).collect();
        let late = self.race.done.load(Ordering::SeqCst);
        let (status, told) = self.send(Method::POST, "/v1/tenants/acme/batch", "x", json!({ "ops": ops }).to_string()).await;
        let ordered = self.race.ordered.load(Ordering::SeqCst);
        match status {
            200 => {
                assert!(!late || persons.len() == 1, "a batch of the target after the shred was done");
                for person in persons {
                    let written =
                        Written { path: format!("{CRM}/records/{}", key(person)), value: key(person), of_target: person == "target" };
                    self.acknowledged(written).await;
                }
            }
            410 => assert!(persons.len() == 2 && ordered, "a batch: {told}"),
            503 => {}
            other => panic!("a batch: {other} {told}"),
        }
    }

    async fn acknowledged(&mut self, written: Written) {
        let (status, read) = self.send(Method::GET, &written.path, "x", String::new()).await;
        let ordered = written.of_target && self.race.ordered.load(Ordering::SeqCst);
        assert!((status == 200 && read == written.value) || (ordered && status == 410), "{}: {status} {read}", written.path);
        self.race.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.written.push(written);
    }
}

/// Waits until so many more writes are acknowledged.
async fn writes(race: &Race, more: u32, tasks: &[tokio::task::JoinHandle<Vec<Written>>]) {
    let goal = race.acknowledged.load(Ordering::SeqCst) + more;
    let waits = async {
        while race.acknowledged.load(Ordering::SeqCst) < goal && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), waits).await.expect("the writers stand still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shred_waits_for_no_reader_and_leaves_no_write_behind() {
    // A reader may stand still for as long as this machine takes.
    let site = Arc::new(Site::open_with("stall_timeout_secs = 600\n").await);
    let owner = site.acme().await;
    site.collection("acme", "notes", &owner, "record").await;
    for number in 0..HUNTED_IN {
        site.collection("acme", &format!("h-{number}"), &owner, "subject").await;
    }
    let (race, tracker) = (Arc::new(Race::default()), tokio_util::task::TaskTracker::new());
    let mut readers = Vec::new();
    for person in ["target", "bystander"] {
        put_large(&site, &owner, person).await;
        let peered = Peered::stalled(&site, &owner, person).await;
        readers.push((Reader::stalled(&site, &owner, person).await, tracker.spawn(peered.rest(race.clone()))));
    }

    let mut tasks = Vec::new();
    for number in 0..WRITERS {
        let client = reqwest::Client::builder().timeout(Duration::from_mins(1));
        // Half of them over HTTP/2.
        let client = Client::of(if number % 2 == 0 { client.http2_prior_knowledge() } else { client });
        let writer = Writer { site: site.clone(), client, owner: owner.clone(), race: race.clone(), number, written: Vec::new() };
        tasks.push(tracker.spawn(writer.run()));
    }
    writes(&race, 100, &tasks).await;
    race.ordered.store(true, Ordering::SeqCst);
    let began = SystemClock.monotonic();
    let order = site.shred("acme", &owner, json!({"scope": "subject", "subject": "target"})).await;
    assert_eq!(order.status, 200, "the shred waits for its readers");
    race.done.store(true, Ordering::SeqCst);
    let took = SystemClock.monotonic().saturating_sub(began);
    for number in 0..HUNTED {
        writes(&race, 15, &tasks).await;
        let order = site.shred("acme", &owner, json!({"scope": "subject", "subject": format!("hunted-{number}")})).await;
        assert_eq!(order.status, 200, "hunted-{number}");
        race.hunted.store(number + 1, Ordering::SeqCst);
    }
    writes(&race, 30, &tasks).await;
    // Who is written about to the end goes after the end.
    race.stop.store(true, Ordering::SeqCst);
    let (mut target, mut others, mut all) = (0, 0, Vec::new());
    for task in tasks {
        all.append(&mut task.await.unwrap());
    }
    let last = json!({"scope": "subject", "subject": format!("hunted-{HUNTED}")});
    assert_eq!(site.shred("acme", &owner, last).await.status, 200);
    for Written { path, value, of_target } in all {
        let read = site.get(&path, &owner).await;
        if of_target {
            assert_eq!(read.status, 410, "{path} after the shred");
            target += 1;
        } else {
            assert!(read.status == 200 && read.bytes == value.as_bytes(), "{path}: {}", read.status);
            others += 1;
        }
    }
    assert!(target > 10 && others > 50, "{target} {others}");

    race.resumed.store(true, Ordering::SeqCst);
    let [(target_1, target_2), (bystander_1, bystander_2)]: [_; 2] = readers.try_into().ok().unwrap();
    let (sent, (sent_2, well_2)) = (target_1.rest().await, target_2.await.unwrap());
    assert!(sent < size() / 2, "HTTP/1.1: the target's stream went on for {sent} bytes");
    assert!(sent_2 < size() / 2 && !well_2, "HTTP/2: the target's stream went on for {sent_2} bytes");
    assert_eq!(bystander_1.rest().await, size());
    assert_eq!(bystander_2.await.unwrap(), (size(), true));
    for person in ["target", "bystander"] {
        let read = site.request(Method::HEAD, &format!("{CRM}/records/large-{person}"), &owner).send().await.unwrap();
        assert_eq!(read.status(), if person == "target" { 410 } else { 200 });
    }
    println!(
        "races: {} MiB; the shred took {} ms among {target} writes of the target and {others} others; its readers got {sent} and {sent_2} bytes",
        size() >> 20,
        took.as_millis()
    );
}
