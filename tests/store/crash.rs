//! A child process writes and is killed with SIGKILL, again and again on one store.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use lethe::{
    domain::{Clock as _, SystemClock},
    vault::store::{
        Check, Commit, Durability, Expect, Space, Store as _, StoreError, Tail, Urgency, Write,
        embedded::{Embedded, mirror},
    },
};

use super::{create, open, options, put};

const DIR: &str = "LETHE_TEST_STORE";
const WRITERS: u8 = 8;
const KILLS: u32 = 40;

/// An audit chain: rows numbered without a gap, in the committer's order.
struct Link {
    next: Arc<Mutex<u64>>,
    space: Space,
}

impl Tail for Link {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        let mut next = self.next.lock().unwrap();
        let row = put(self.space, next.to_be_bytes().to_vec(), "entry");
        *next += 1;
        Ok(vec![row])
    }

    fn settled(&mut self, stored: bool) {
        assert!(stored, "no write fails in this test");
    }
}

/// Where a writer's rows and its chain lie: half of them in either database.
fn spaces(writer: u8) -> (Space, Space) {
    if writer.is_multiple_of(2) { (Space::Control, Space::ControlAudit) } else { (Space::Records, Space::DataAudit) }
}

async fn number(store: &Embedded, space: Space, key: [u8; 2]) -> u64 {
    let row = store.get(space, &key).await.unwrap();
    row.map_or(0, |row| u64::from_be_bytes(row.as_ref().try_into().unwrap()))
}

async fn count(store: &Embedded, space: Space, prefix: &[u8]) -> u64 {
    let end = [prefix, &[0xff; 16]].concat();
    let rows = store.scan(space, prefix, &end, usize::MAX).await.unwrap();
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row.key[prefix.len()..], (n as u64).to_be_bytes(), "a gap in {space:?} {prefix:?}");
    }
    rows.len() as u64
}

/// Each commit of a writer sets two rows to its number, adds a row to its log, and takes a place in the chain.
async fn write(store: &Embedded, writer: u8, chain: Arc<Mutex<u64>>) {
    let (space, audit) = spaces(writer);
    for n in number(store, space, [writer, b'a']).await.. {
        let expect = if n == 0 { Expect::Absent } else { Expect::Equals(n.to_be_bytes().to_vec().into()) };
        let next = (n + 1).to_be_bytes().to_vec();
        let log = [&[writer, b'l'], n.to_be_bytes().as_slice()].concat();
        let commit = Commit {
            checks: vec![Check { space, key: vec![writer, b'a'].into(), expect }],
            writes: vec![
                put(space, vec![writer, b'a'], next.clone()),
                put(space, log, vec![0; 2_000]),
                put(space, vec![writer, b'b'], next),
            ],
            tail: Some(Box::new(Link { next: Arc::clone(&chain), space: audit })),
            // What is only written must outlive the process too.
            durability: if writer % 4 == 1 { Durability::Written } else { Durability::Synced },
            urgency: Urgency::Normal,
        };
        store.commit(commit).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {writer} {}", n + 1).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the test below"]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "the parent names the store to the child so")]
    let dir = std::env::var(DIR).expect("run by the test below only");
    let store = open(&options(&Path::new(&dir).join("store"), &Path::new(&dir).join("mirror")));
    let control = Arc::new(Mutex::new(count(&store, Space::ControlAudit, &[]).await));
    let data = Arc::new(Mutex::new(count(&store, Space::DataAudit, &[]).await));
    let chain = |writer| Arc::clone(if spaces(writer).1 == Space::ControlAudit { &control } else { &data });
    join_all((0..WRITERS).map(|writer| write(&store, writer, chain(writer)))).await;
}

/// Starts the child, kills it after so many answers, and returns the last answer of each writer.
fn killed_after(dir: &Path, answers: usize) -> BTreeMap<u8, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = BTreeMap::new();
    let mut seen = 0;
    // What was answered before the kill may still be in the pipe, so it is read to its end.
    for line in lines.by_ref() {
        let Some((_, ack)) = line.split_once("ack ") else { continue };
        // The kill may cut the last line.
        let Some((writer, n)) = ack.split_once(' ').and_then(|(writer, n)| Some((writer.parse().ok()?, n.parse::<u64>().ok()?))) else {
            continue;
        };
        let last = acknowledged.entry(writer).or_insert(0);
        *last = n.max(*last);
        seen += 1;
        if seen == answers {
            child.kill().unwrap();
        }
    }
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success() && seen >= answers, "the child ended by itself: {}", String::from_utf8_lossy(&output.stderr));
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_no_answered_commit_and_tears_none() {
    let dir = tempfile::TempDir::new().unwrap();
    let options = options(&dir.path().join("store"), &dir.path().join("mirror"));
    create(&options).close();
    let mut seed = u64::try_from(SystemClock.now().0).unwrap();
    println!("seed {seed}");
    let mut total = 0;
    for kill in 0..KILLS {
        // A linear congruential generator: all that is needed is that each run differs.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let acknowledged = killed_after(dir.path(), usize::try_from(1 + (seed >> 33) % 400).unwrap());
        let store = open(&options);
        for writer in 0..WRITERS {
            let (space, _) = spaces(writer);
            let (a, b) = (number(&store, space, [writer, b'a']).await, number(&store, space, [writer, b'b']).await);
            assert_eq!(a, b, "kill {kill}: a torn commit of writer {writer}");
            assert_eq!(count(&store, space, &[writer, b'l']).await, a, "kill {kill}: writer {writer}");
            let answered = acknowledged.get(&writer).copied().unwrap_or(0);
            assert!(a >= answered, "kill {kill}: writer {writer} was answered {answered}, {a} is there");
        }
        for (space, audit) in [spaces(0), spaces(1)] {
            let mut commits = 0;
            for writer in (0..WRITERS).filter(|writer| spaces(*writer).0 == space) {
                commits += number(&store, space, [writer, b'a']).await;
            }
            assert_eq!(count(&store, audit, &[]).await, commits, "kill {kill}: the chain of {audit:?}");
            total = commits;
        }
        assert_eq!(store.sync_mirror().await, Ok(()));
        for space in [Space::Control, Space::ControlAudit] {
            let rows = store.scan(space, &[], &[0xff; 32], usize::MAX).await.unwrap();
            let mirrored = mirror::restore(&options.mirror_dir).unwrap().rows;
            let mirrored = mirrored.into_iter().filter(|((at, _), _)| *at == space).map(|((_, key), value)| (key, value));
            assert!(mirrored.eq(rows.into_iter().map(|row| (row.key, row.value))), "kill {kill}: the mirror of {space:?}");
        }
        store.close();
    }
    println!("{KILLS} kills, {total} commits to the data store");
}
