//! Backups to a bucket that are killed, held up, or meet another one: earlier generations stay whole, nobody waits for the dead for long,
//! and no two write at once.

use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
    time::Duration,
};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    bucket::{Asks, BELOW, Fate, PLACE, Proxy, Seen, Server},
    site::{Site, stderr, until},
};

/// A store with a backup in the bucket, and records since.
async fn lived(server: &Server) -> Site {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("then", "1"), "\"then\"").await, StatusCode::CREATED);
    served.stop();
    Asks::new(&site, &server.url()).back_up(None);
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("now", "2"), "\"now\"").await, StatusCode::CREATED);
    served.stop();
    site
}

/// The same store on another machine, as far as the bucket can tell; its directory.
fn elsewhere(site: &Site) -> String {
    site.keep("elsewhere");
    let settings = site.path("elsewhere/store/lethe.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace(&site.text("store-mirror"), &site.text("elsewhere/store-mirror"))).unwrap();
    site.text("elsewhere/store")
}

/// The lock as somebody else has written it so many times.
fn somebodys(beat: u64) -> Vec<u8> {
    format!(r#"{{"id":"somebody's","beat":{beat}}}"#).into_bytes()
}

/// Begins a backup whose request is held up by a rule.
async fn begun(asks: &Asks<'_>, proxy: &Proxy) -> Child {
    let mut command = asks.command(&["--addr", "http://127.0.0.1:9", "backup", "--to", PLACE, "--dir", "store"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a request is held up", async || proxy.has_stopped()).await;
    child
}

/// From the `nth` request of a kind on, each has this fate.
fn from(nth: usize, is_it: impl Fn(&Seen) -> bool + Send + 'static, fate: Fate) -> impl FnMut(&Seen) -> Fate + Send + 'static {
    let mut met = 0;
    move |seen| {
        met += usize::from(is_it(seen));
        if is_it(seen) && met >= nth { fate } else { Fate::Pass }
    }
}

/// Kills a backup where a rule holds it up; what becomes of the place, and of the next run.
async fn killed(rule: impl FnMut(&Seen) -> Fate + Send + 'static, is_published: bool) {
    let server = Server::start().await;
    let site = lived(&server).await;
    let proxy = Proxy::before(&server, rule);
    let (asks, beside) = (Asks::new(&site, &proxy.url), Asks::new(&site, &server.url()));
    let files = async || server.names(&format!("{BELOW}files/")).await;
    let before = files().await.len();
    let mut child = begun(&asks, &proxy).await;
    until("a file is there", async || files().await.len() > before).await;
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let brought: BTreeSet<String> = files().await.into_iter().collect();
    let generations = if is_published { 2 } else { 1 };
    assert_eq!(server.names(&format!("{BELOW}generations/")).await.len(), generations, "it is one when all of it is there, and not before");
    let verified = beside.verify();
    assert_eq!(verified["findings"], serde_json::json!([]), "{verified}");
    assert!(server.names(BELOW).await.contains(&format!("{BELOW}lock")), "it had no time to give it back");

    // Whoever comes next waits until it is certain that nobody lives who holds the lock; and knows it for its own although it is not told
    // that it has it.
    let mut locks = 0;
    proxy.rule(move |seen| {
        locks += usize::from(seen.is_lock());
        if seen.is_lock() && locks == 2 { Fate::Lost } else { Fate::Pass }
    });
    proxy.seen();
    let again = asks.back_up(None);
    assert_eq!(again["generation"].as_u64(), Some(generations as u64 + 1), "{again}");
    let twice: Vec<Seen> = proxy.seen().into_iter().filter(|seen| seen.is_file() && brought.contains(&seen.name)).collect();
    assert!(twice.is_empty(), "what the killed one brought is not moved again: {twice:?}");
    assert!(!server.names(BELOW).await.contains(&format!("{BELOW}lock")));
    asks.verify();
    let restored = asks.restore(&["--verify"]);
    assert_eq!(restored["generation"], again["generation"]);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "now").await, (StatusCode::OK, "\"now\"".into()));
    served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_while_it_sends_files_is_gone_on_with() {
    killed(from(2, Seen::is_file, Fate::Held), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_before_its_manifest_is_there_is_none() {
    killed(from(1, Seen::is_manifest, Fate::Held), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_behind_its_manifest_is_one() {
    killed(from(1, Seen::is_manifest, Fate::Deaf), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_backups_at_once_the_second_is_refused_and_the_first_ends_well() {
    let server = Server::start().await;
    let site = lived(&server).await;
    let proxy = Proxy::before(&server, from(1, Seen::is_file, Fate::Held));
    let (asks, beside) = (Asks::new(&site, &proxy.url), Asks::new(&site, &server.url()));
    let other = elsewhere(&site);
    let child = begun(&asks, &proxy).await;
    for arguments in [&["backup", "--to", PLACE, "--dir", &other][..], &["backup", "prune", "--from", PLACE, "--keep", "1"]] {
        let told = beside.refused(arguments);
        assert!(told.contains("backup-locked") && told.contains(PLACE), "{arguments:?}: {told}");
    }
    // Who only reads is not kept from it.
    beside.verify();
    proxy.let_on();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("generation 2"));
    beside.ok(&["backup", "prune", "--from", PLACE, "--keep", "1"]);
    beside.verify();
}

/// A machine that slept, or a network that was gone: who held the lock finds that it is another's, and has published nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_stands_still_for_too_long_has_lost_the_lock_and_publishes_nothing() {
    let server = Server::start().await;
    let site = lived(&server).await;
    let other = elsewhere(&site);
    let proxy = Proxy::before(&server, from(1, Seen::is_file, Fate::Held));
    let (asks, beside) = (Asks::new(&site, &proxy.url), Asks::new(&site, &server.url()));
    let child = begun(&asks, &proxy).await;
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    let taken = beside.json(&["--addr", "http://127.0.0.1:9", "backup", "--to", PLACE, "--dir", &other]);
    assert_eq!(taken["generation"].as_u64(), Some(2), "{taken}");
    // In its ignorance it goes on with what it was at.
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    proxy.let_on();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("backup-locked"), "{}", stderr(&output));
    assert_eq!(server.names(&format!("{BELOW}generations/")).await.len(), 2);
    beside.verify();
    proxy.rule(|_| Fate::Pass);
    assert_eq!(asks.back_up(None)["generation"].as_u64(), Some(3));
}

/// The same where a place is about to be made: another store has made it its own meanwhile, whether that is to be said yet or is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_lock_makes_no_place_where_another_store_has_made_one() {
    let (site, other) = (Site::make().await, Site::make().await);
    for is_said in [false, true] {
        let server = Server::start().await;
        // It looks whose the place is without the lock, and under it.
        let proxy = if is_said {
            Proxy::before(&server, from(1, Seen::is_format, Fate::Held))
        } else {
            Proxy::before(&server, from(2, Seen::is_look_whose, Fate::Late))
        };
        let (asks, others) = (Asks::new(&site, &proxy.url), Asks::new(&other, &server.url()));
        let child = begun(&asks, &proxy).await;
        assert_eq!(server.names(BELOW).await, [format!("{BELOW}lock")], "said {is_said}: nobody's yet");
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        assert_eq!(others.back_up(None)["generation"].as_u64(), Some(1), "said {is_said}");
        let (there, format) = (server.names(BELOW).await, server.get(&format!("{BELOW}format")).await);
        proxy.seen();
        kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
        proxy.let_on();
        let output = child.wait_with_output().unwrap();
        let (told, refusal) = (stderr(&output), if is_said { "backup-foreign" } else { "backup-locked" });
        assert!(output.status.code() == Some(1) && told.contains(refusal), "said {is_said}: {told}");
        let written: Vec<Seen> = proxy.seen().into_iter().filter(|seen| seen.method != "GET" && !seen.is_lock()).collect();
        assert!(written.is_empty(), "said {is_said}: {written:?}");
        assert_eq!((server.names(BELOW).await, server.get(&format!("{BELOW}format")).await), (there, format), "said {is_said}");
        others.verify();
        assert_eq!(others.back_up(None)["generation"].as_u64(), Some(2), "said {is_said}: the place is the other's");
    }
}

/// What is gone when all was brought, whoever removed it, is not relied on; nor is an answer that is none of an S3 server.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_whose_files_are_not_all_there_is_not_published() {
    let server = Server::start().await;
    let site = lived(&server).await;
    let files = async || server.names(&format!("{BELOW}files/")).await;
    let before: BTreeSet<String> = files().await.into_iter().collect();
    // It looks twice which generations there are: at the beginning, and when all was brought.
    let proxy = Proxy::before(&server, from(2, |seen| seen.is_list_of("generations"), Fate::Held));
    let asks = Asks::new(&site, &proxy.url);
    let child = begun(&asks, &proxy).await;
    let brought: Vec<String> = files().await.into_iter().filter(|name| !before.contains(name)).collect();
    let one = brought.first().unwrap();
    server.delete(one).await;
    proxy.let_on();
    let output = child.wait_with_output().unwrap();
    let told = stderr(&output);
    assert!(output.status.code() == Some(1) && told.contains("backup-damaged") && told.contains(&one[BELOW.len()..]), "{told}");
    assert_eq!(server.names(&format!("{BELOW}generations/")).await.len(), 1);

    proxy.rule(|seen| if seen.is_file() { Fate::Page(200) } else { Fate::Pass });
    let told = asks.refused(&["--addr", "http://127.0.0.1:9", "backup", "--to", PLACE, "--dir", "store"]);
    assert!(told.contains("s3-endpoint"), "{told}");
    proxy.rule(|_| Fate::Pass);
    assert_eq!(asks.back_up(None)["generation"].as_u64(), Some(2));
    asks.verify();
}

/// It may be the only one that there is by then: it stays if its files are there, and without the lock nobody decides that.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_written_when_the_lock_was_lost_is_judged_under_the_lock() {
    let server = Server::start().await;
    let site = lived(&server).await;
    let (lock, parts) = (format!("{BELOW}lock"), ["files/", "generations/"].map(|part| format!("{BELOW}{part}")));
    for (way, kept) in [("a file is removed", 1), ("all is there", 2), ("the other one stays", 3)] {
        let files: BTreeSet<String> = server.names(&parts[0]).await.into_iter().collect();
        let before = server.names(&parts[1]).await.len();
        let proxy = Proxy::before(&server, from(1, Seen::is_manifest, Fate::Held));
        let mut child = begun(&Asks::new(&site, &proxy.url), &proxy).await;
        server.put(&lock, somebodys(1)).await;
        if way == "a file is removed" {
            let brought = server.names(&parts[0]).await.into_iter().find(|name| !files.contains(name)).unwrap();
            server.delete(&brought).await;
        }
        proxy.let_on();
        until("the manifest is written", async || server.names(&parts[1]).await.len() > before).await;
        if way == "the other one stays" {
            let (mut beat, mut ticks) = (1, tokio::time::interval(Duration::from_secs(1)));
            while child.try_wait().unwrap().is_none() {
                ticks.tick().await;
                beat += 1;
                server.put(&lock, somebodys(beat)).await;
            }
        }
        server.delete(&lock).await;
        let output = child.wait_with_output().unwrap();
        let told = stderr(&output);
        match kept {
            1 => assert!(output.status.code() == Some(1) && told.contains("backup-locked") && !told.contains("left there"), "{told}"),
            2 => assert!(output.status.success(), "{told}"),
            _ => assert!(told.contains("backup-locked") && told.contains("generation 3 was written and is left there"), "{told}"),
        }
        assert_eq!(server.names(&parts[1]).await.len(), kept, "{way}: {told}");
        assert!(!server.names(BELOW).await.contains(&lock), "{way}");
        Asks::new(&site, &server.url()).verify();
    }
}

/// A server that does not take the lock for a while: it is written before anything else is, and what does not answer is not somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_write_the_lock_for_a_while_writes_it_before_it_goes_on() {
    let server = Server::start().await;
    let site = lived(&server).await;
    for comes_back in [true, false] {
        let mut is_held = false;
        let proxy = Proxy::before(&server, move |seen| {
            if seen.is_lock() && is_held {
                return Fate::Refused(503, "SlowDown");
            }
            let is_first = seen.is_file() && !is_held;
            is_held |= is_first;
            if is_first { Fate::Held } else { Fate::Pass }
        });
        let child = begun(&Asks::new(&site, &proxy.url), &proxy).await;
        // Longer than it relies on what it wrote last.
        let waited = tokio::time::timeout(Duration::from_secs(27), std::future::pending::<()>()).await;
        assert!(waited.is_err());
        if comes_back {
            let mut refused = 0;
            proxy.rule(move |seen| {
                refused += usize::from(seen.is_lock());
                if seen.is_lock() && refused < 3 { Fate::Refused(503, "SlowDown") } else { Fate::Pass }
            });
        }
        proxy.let_on();
        let output = child.wait_with_output().unwrap();
        let told = stderr(&output);
        if comes_back {
            assert!(output.status.success(), "{told}");
        } else {
            assert!(output.status.code() == Some(1) && told.contains("s3-busy") && !told.contains("backup-locked"), "{told}");
        }
        assert_eq!(server.names(&format!("{BELOW}generations/")).await.len(), 2);
    }
    Asks::new(&site, &server.url()).verify();
}

/// What could not be removed at once is not removed by who has lost the lock since.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruning_that_lost_the_lock_asks_for_no_removal_again() {
    let server = Server::start().await;
    let site = lived(&server).await;
    server.put(&format!("{BELOW}files/0000"), b"of a run that was cut short".to_vec()).await;
    let is_removal = |seen: &Seen| seen.method == "DELETE" && seen.name.starts_with("eu/one/files/");
    let proxy = Proxy::before(&server, move |seen| if is_removal(seen) { Fate::Refused(503, "SlowDown") } else { Fate::Pass });
    let asks = Asks::new(&site, &proxy.url);
    let mut command = asks.command(&["backup", "prune", "--from", PLACE, "--keep", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a file is to be removed", async || proxy.seen().iter().any(is_removal)).await;
    server.put(&format!("{BELOW}lock"), somebodys(1)).await;
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code() == Some(1) && stderr(&output).contains("backup-locked"), "{}", stderr(&output));
    assert_eq!(server.get(&format!("{BELOW}lock")).await, somebodys(1));
    server.delete(&format!("{BELOW}lock")).await;
    Asks::new(&site, &server.url()).verify();
}

/// The answer to the first try is lost, and before the second one somebody else has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_somebody_elses_by_now_is_not_given_back() {
    let server = Server::start().await;
    let site = lived(&server).await;
    let mut is_given = false;
    let proxy = Proxy::before(&server, move |seen| match (seen.name == "eu/one/lock", is_given) {
        (true, true) => Fate::Held,
        (true, false) if seen.method == "DELETE" => {
            is_given = true;
            Fate::Lost
        }
        _ => Fate::Pass,
    });
    let child = begun(&Asks::new(&site, &proxy.url), &proxy).await;
    let foreign = somebodys(1);
    server.put(&format!("{BELOW}lock"), foreign.clone()).await;
    proxy.let_on();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.get(&format!("{BELOW}lock")).await, foreign);
}

/// Where the server keeps no two from writing at once, somebody else has to; and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_conditional_writes_is_refused_unless_somebody_sees_to_it() {
    let server = Server::start().await;
    let site = Site::make().await;
    let proxy = Proxy::before(&server, |_| Fate::Stripped);
    let asks = Asks::new(&site, &proxy.url);
    let take = ["--addr", "http://127.0.0.1:9", "backup", "--to", PLACE, "--dir", "store"];
    let told = asks.refused(&take);
    assert!(told.contains("s3-unconditional") && told.contains("--s3-unconditional"), "{told}");
    assert_eq!(server.names("").await, [""; 0], "nothing is left there");
    // One that knows half of them, when the lock is new and when somebody who is gone has left it.
    proxy.rule(|_| Fate::Unmatched);
    for is_left in [false, true] {
        if is_left {
            server.put(&format!("{BELOW}lock"), somebodys(1)).await;
        }
        let told = asks.refused(&take);
        assert!(told.contains("s3-unconditional"), "left {is_left}: {told}");
        assert_eq!(server.names("").await, [""; 0], "left {is_left}: nothing is left there");
    }
    // One that says that it does not know them.
    proxy.rule(|seen| if seen.is_conditional { Fate::Refused(501, "NotImplemented") } else { Fate::Pass });
    let told = asks.refused(&take);
    assert!(told.contains("s3-unconditional"), "{told}");
    let alone = [&take[..], &["--s3-unconditional"]].concat();
    asks.ok(&alone);
    asks.ok(&alone);
    assert_eq!(asks.verify()["generations"].as_u64(), Some(2));
    asks.ok(&["backup", "prune", "--from", PLACE, "--keep", "1", "--s3-unconditional"]);
    assert!(!server.names(BELOW).await.contains(&format!("{BELOW}lock")));
    asks.verify();
}
