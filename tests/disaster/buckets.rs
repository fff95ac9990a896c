//! Backups in a bucket: taken, listed, verified, pruned, rehearsed and put back as those in a directory are; what is damaged or missing
//! there is found, and what the server does not give is named.

use std::{collections::BTreeSet, fs};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    backups::{files, long},
    bucket::{ALL, Asks, BELOW, Fate, PLACE, Proxy, READ, Seen, Server},
    site::Site,
};

fn number(told: &Value, name: &str) -> u64 {
    told[name].as_u64().unwrap_or_else(|| panic!("no {name}: {told}"))
}

/// Files of the data store that were sent, and their bytes.
fn sent(seen: &[Seen]) -> (u64, u64) {
    let files: Vec<&Seen> = seen.iter().filter(|seen| seen.is_file()).collect();
    (files.len() as u64, files.iter().map(|seen| seen.len as u64).sum())
}

/// The server makes each signature itself, with AWS's own library, and holds it against ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_a_bucket_comes_back_under_todays_control() {
    let (site, server) = (Site::make().await, Server::start().await);
    let keys = server.user("backup", ALL).await;
    server.enforce(true).await;
    let proxy = Proxy::before(&server, |_| Fate::Pass);
    let asks = Asks { keys, ..Asks::new(&site, &proxy.url) };
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), &long("a-value-canary")).await, StatusCode::CREATED);
    }
    let first = asks.back_up(Some(&served));
    assert_eq!((number(&first, "generation"), number(&first, "copied_bytes")), (1, number(&first, "bytes")), "{first}");
    assert_eq!(sent(&proxy.seen()), (number(&first, "copied_files"), number(&first, "copied_bytes")));
    assert!(fs::read_dir(site.path("store/snapshots")).unwrap().next().is_none(), "the snapshot is let go");

    // Only what is new is moved.
    site.shredded(&served, "1").await;
    assert_eq!(site.put_about(&served, "c", ("late", "3"), "\"later\"").await, StatusCode::CREATED);
    let second = asks.back_up(Some(&served));
    let moved = (number(&second, "copied_files"), number(&second, "copied_bytes"));
    assert_eq!(sent(&proxy.seen()), moved);
    assert!(moved.0 < number(&second, "files") && number(&second, "generation") == 2, "{second}");
    served.stop();
    asks.back_up(None);
    proxy.seen();
    let still = asks.back_up(None);
    assert!(number(&still, "copied_bytes") < 40_000, "the engine's own small files: {still}");
    assert_eq!(sent(&proxy.seen()), (number(&still, "copied_files"), number(&still, "copied_bytes")));

    let verified = asks.verify();
    assert_eq!((number(&verified, "generations"), &verified["findings"]), (4, &json!([])), "{verified}");
    let listed = asks.ok(&["--format", "json", "backup", "list", "--from", PLACE]);
    let numbers: Vec<u64> = listed.lines().map(|line| number(&serde_json::from_str(line).unwrap(), "generation")).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);

    // What the bucket's owner sees.
    server.enforce(false).await;
    for name in server.names("").await {
        let part = name.strip_prefix(BELOW).unwrap_or_else(|| panic!("{name} lies beside the place"));
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_known = part == "format"
            || part.strip_prefix("files/").is_some_and(is_digest)
            || part.strip_prefix("generations/").and_then(|name| name.strip_suffix(".json")).is_some_and(|name| name.len() == 8);
        assert!(is_known, "{name}: the lock is given back, and there is nothing else");
        let bytes = server.get(&name).await;
        assert!(!bytes.windows(14).any(|window| window == b"a-value-canary"), "{name} holds what was stored, as it was given");
    }
    server.enforce(true).await;

    fs::remove_dir_all(site.path("store/data")).unwrap();
    let restored = asks.restore(&["--verify", "--generation", "1"]);
    assert_eq!((number(&restored, "generation"), number(&restored, "certificates"), number(&restored, "damaged")), (1, 1, 0), "{restored}");
    assert!(number(&restored, "named") >= 1, "the record of the person was tried: {restored}");
    site.ok(&["check", "--dir", "store"]);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE);
    assert_eq!(site.get(&served, "two").await, (StatusCode::OK, long("a-value-canary")));
    assert_eq!(site.get(&served, "late").await.0, StatusCode::NOT_FOUND, "it was written after the backup");
    served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bent_or_missing_object_is_found_and_named_and_nothing_is_put_back() {
    let (site, server) = (Site::make().await, Server::start().await);
    let asks = Asks::new(&site, &server.url());
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("k", "1"), &long("value")).await, StatusCode::CREATED);
    asks.back_up(Some(&served));
    served.stop();
    let before = fs::metadata(site.path("store/data/CURRENT")).unwrap();
    let mut tried = 0;
    for name in server.names(BELOW).await {
        let whole = server.get(&name).await;
        for is_lost in [false, true] {
            if whole.is_empty() && !is_lost {
                continue;
            }
            if is_lost {
                server.delete(&name).await;
            } else {
                let mut bent = whole.clone();
                bent[whole.len() / 2] ^= 0x10;
                server.put(&name, bent).await;
            }
            // A file that an earlier try has brought whole would be taken from there.
            drop(fs::remove_dir_all(site.path("store/data.new")));
            let told = asks.refused(&["backup", "verify", "--from", PLACE, "--generation", "1"]);
            let refused = asks.refused(&["restore", "--from", PLACE, "--dir", "store", "--generation", "1", "--yes"]);
            let part = name.rsplit('/').next().unwrap();
            for told in [&told, &refused] {
                let names = ["backup-damaged", "backup-missing", "unknown-format", "backup-foreign"];
                assert!(names.iter().any(|known| told.contains(known)), "{name}, lost {is_lost}: {told}");
                assert!(told.contains(part) || part == "00000001.json" || part == "format", "{name}: {told}");
            }
            tried += 1;
            server.put(&name, whole.clone()).await;
        }
    }
    assert!(tried > 10, "{tried}");
    // One without an end would fill the disk: no more is read than there should be.
    let name = server.names(&format!("{BELOW}files/")).await.pop().unwrap();
    let whole = server.get(&name).await;
    server.put(&name, [&whole[..], b"more"].concat()).await;
    drop(fs::remove_dir_all(site.path("store/data.new")));
    let longer = format!("it is longer than {} bytes", whole.len());
    let told = asks.refused(&["backup", "verify", "--from", PLACE]);
    assert!(told.contains("backup-damaged") && told.contains(&longer), "{told}");
    let told = asks.refused(&["restore", "--from", PLACE, "--dir", "store", "--yes"]);
    assert!(told.contains("backup-damaged") && told.contains(&longer), "{told}");
    assert!(!files(&site.path("store/data.new")).iter().any(|path| path.extension().is_some_and(|end| end == "part")));
    server.put(&name, whole).await;
    let after = fs::metadata(site.path("store/data/CURRENT")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "the data store is as it was");
    assert!(!site.path("store/data.new").exists() || site.path("store/data.new/RESTORING").exists());
    // A file that is lost is brought again by the next backup.
    asks.back_up(None);
    asks.back_up(None);
    let tables = async |generation: u32| {
        let manifest = String::from_utf8(server.get(&format!("{BELOW}generations/{generation:08}.json")).await).unwrap();
        let manifest: Value = serde_json::from_str(manifest.split_once('\n').unwrap().1).unwrap();
        let tables =
            manifest["files"].as_array().unwrap().iter().filter(|file| file["name"].as_str().unwrap().strip_suffix(".sst").is_some());
        tables.map(|file| file["sha256"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // One that stays where the store does; the engine may merge any.
    let mut last = 3;
    let lost = loop {
        assert!(last < 12, "no file stays");
        let (before, now) = (tables(last - 1).await, tables(last).await);
        let table = now.into_iter().find(|table| before.contains(table));
        let lost = table.as_ref().map(|table| format!("{BELOW}files/{table}"));
        let whole = match &lost {
            Some(lost) => server.get(lost).await,
            None => Vec::new(),
        };
        if let Some(lost) = &lost {
            server.delete(lost).await;
        }
        asks.back_up(None);
        last += 1;
        let Some((table, lost)) = table.zip(lost) else { continue };
        if tables(last).await.contains(&table) {
            break lost;
        }
        // What earlier generations have of it.
        server.put(&lost, whole).await;
    };
    assert_eq!(server.names(&lost).await, std::slice::from_ref(&lost));
    // One that is bent has its length: it is taken for whole until somebody removes it.
    let whole = server.get(&lost).await;
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 0x10;
    server.put(&lost, bent).await;
    let told = asks.refused(&["backup", "verify", "--from", PLACE]);
    assert!(told.contains(&lost[BELOW.len()..]) && told.contains("remove it: the next backup brings it again"), "{told}");
    server.delete(&lost).await;
    asks.back_up(None);
    assert_eq!(server.get(&lost).await, whole);
    assert_eq!(asks.verify()["findings"], json!([]));
    asks.restore(&["--verify"]);
}

/// Every fifth request fails, in each way in which one can: nothing is lost, done twice or taken for done.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_now_and_then_is_asked_again() {
    let (site, server) = (Site::make().await, Server::start().await);
    let mut asked = 0_usize;
    let proxy = Proxy::before(&server, move |_| {
        asked += 1;
        let ways =
            [Fate::Refused(500, "InternalError"), Fate::Lost, Fate::Refused(503, "SlowDown"), Fate::Half, Fate::Page(502), Fate::Cut];
        if asked.is_multiple_of(5) { ways[asked / 5 % ways.len()] } else { Fate::Pass }
    });
    let asks = Asks::new(&site, &proxy.url);
    let served = site.serve(|_| ());
    for key in 0..20 {
        assert_eq!(site.put_about(&served, "c", (&format!("k{key}"), "1"), &long(&key.to_string())).await, StatusCode::CREATED);
    }
    for generation in 1..=3 {
        let taken = asks.back_up(Some(&served));
        assert_eq!(number(&taken, "generation"), generation, "{taken}");
        assert_eq!(site.put_about(&served, "c", (&format!("after-{generation}"), "1"), "\"v\"").await, StatusCode::CREATED);
    }
    served.stop();
    let verified = asks.verify();
    assert_eq!((number(&verified, "generations"), &verified["findings"]), (3, &json!([])), "{verified}");
    asks.ok(&["backup", "prune", "--from", PLACE, "--keep", "2"]);
    assert!(!server.names(BELOW).await.contains(&format!("{BELOW}lock")), "the lock is given back");
    asks.restore(&["--verify"]);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "k7").await, (StatusCode::OK, long("7")));
    assert_eq!(site.get(&served, "after-2").await.0, StatusCode::OK);
    served.stop();

    // One that fails always is given up, by its name, and what is there stays.
    proxy.rule(|_| Fate::Refused(503, "SlowDown"));
    let told = asks.refused(&["backup", "list", "--from", PLACE]);
    assert!(told.contains("s3-busy") && told.contains("SlowDown"), "{told}");
    assert!(proxy.seen().len() < 1_000, "it is not asked without end");
    proxy.rule(|_| Fate::Pass);
    assert_eq!(number(&asks.verify(), "generations"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bucket_does_not_give_is_named() {
    let (site, server) = (Site::make().await, Server::start().await);
    let (all, read) = (server.user("all", ALL).await, server.user("read", READ).await);
    let asks = Asks { keys: all.clone(), ..Asks::new(&site, &server.url()) };
    asks.back_up(None);
    server.enforce(true).await;
    let list = ["backup", "list", "--from", PLACE];
    let take = ["backup", "--to", PLACE, "--dir", "store"];
    asks.ok(&list);

    let mut wrong = Asks { keys: all.clone(), ..Asks::new(&site, &server.url()) };
    wrong.keys.secret = "a-wrong-secret-canary".into();
    let told = wrong.refused(&list);
    assert!(told.contains("s3-credentials") && told.contains("SignatureDoesNotMatch"), "{told}");
    wrong.keys = all.clone();
    wrong.keys.id = "AKIAOFNOBODYATALL000".into();
    let told = wrong.refused(&take);
    assert!(told.contains("s3-credentials") && told.contains("InvalidAccessKeyId"), "{told}");
    // Who may only read reads.
    let reader = Asks { keys: read, ..Asks::new(&site, &server.url()) };
    reader.ok(&list);
    reader.ok(&["backup", "verify", "--from", PLACE]);
    let told = reader.refused(&take);
    assert!(told.contains("s3-denied") && told.contains("s3:PutObject"), "{told}");
    let told = reader.refused(&["backup", "prune", "--from", PLACE, "--keep", "1"]);
    assert!(told.contains("s3-denied"), "{told}");
    let told = asks.refused(&["backup", "list", "--from", "s3://nobodys-bucket/x"]);
    assert!(told.contains("s3-no-bucket") && told.contains("nobodys-bucket"), "{told}");
    let told = asks.refused(&["backup", "list", "--from", "s3://backups/eu/other"]);
    assert!(told.contains("backup-missing") && told.contains("s3://backups/eu/other"), "{told}");

    let proxy = Proxy::before(&server, |_| Fate::Pass);
    let behind = Asks { keys: all.clone(), ..Asks::new(&site, &proxy.url) };
    for (fate, name) in [
        (Fate::Refused(403, "RequestTimeTooSkewed"), "s3-clock"),
        (Fate::Refused(301, "PermanentRedirect"), "s3-region"),
        (Fate::Refused(400, "AuthorizationHeaderMalformed"), "s3-region"),
        (Fate::Refused(400, "InvalidArgument"), "s3-refused"),
        (Fate::Page(404), "s3-endpoint"),
        (Fate::Page(403), "s3-endpoint"),
        (Fate::Page(200), "unknown-format"),
    ] {
        proxy.rule(move |_| fate);
        proxy.seen();
        let told = behind.refused(&list);
        assert!(told.contains(name), "{fate:?}: {told}");
        assert_eq!(proxy.seen().len(), 1, "{fate:?}: asking again changes nothing");
    }
    // Bound and closed again: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, name) in [
        (format!("http://127.0.0.1:{port}"), "s3-endpoint"),
        ("http://minio.example:9000".to_owned(), "s3-settings"),
        ("ftp://127.0.0.1".to_owned(), "s3-settings"),
    ] {
        let told = Asks { keys: all.clone(), ..Asks::new(&site, &url) }.refused(&list);
        assert!(told.contains(name), "{url}: {told}");
    }
    for place in ["s3://", "s3://backups/../x", "s3://backups/a b"] {
        let told = asks.refused(&["backup", "list", "--from", place]);
        assert!(told.contains("s3-settings"), "{place}: {told}");
    }
    let output = asks.command(&list).env_remove("AWS_SECRET_ACCESS_KEY").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("s3-credentials: none are given"), "{told}");
    // From a file; who names one on the command line means it.
    fs::write(site.path("keys"), format!("[x]\naws_access_key_id = {}\naws_secret_access_key = {}\n", all.id, all.secret)).unwrap();
    let named = [&list[..], &["--s3-credentials", "keys", "--s3-profile", "x"]].concat();
    wrong.ok(&named);
    let told = wrong.refused(&[&list[..], &["--s3-credentials", "keys"]].concat());
    assert!(told.contains("s3-credentials") && told.contains("[default]"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_reached_by_tls_and_no_certificate_is_taken_that_is_not_known() {
    let site = Site::make().await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let (cert, key) = (site.path("cert.pem"), site.path("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::start_behind_tls(&cert, &key).await;
    let asks = Asks::new(&site, &server.url());
    let take = ["--addr", "http://127.0.0.1:9", "backup", "--to", PLACE, "--dir", "store"];
    let told = asks.refused(&take);
    assert!(told.contains("s3-endpoint") && told.contains("certificate"), "{told}");
    assert_eq!(server.names("").await, [""; 0]);
    let trusting = ["--s3-ca", "cert.pem"];
    asks.ok(&[&take[..], &trusting].concat());
    asks.ok(&[&["backup", "verify", "--from", PLACE][..], &trusting].concat());

    // One that is known, for another name.
    let other = rcgen::generate_simple_self_signed(vec!["elsewhere.example".into()]).unwrap();
    fs::write(site.path("other.pem"), other.cert.pem()).unwrap();
    fs::write(site.path("other-key.pem"), other.signing_key.serialize_pem()).unwrap();
    fs::write(site.path("both.pem"), made.cert.pem() + &other.cert.pem()).unwrap();
    let elsewhere = Server::start_behind_tls(&site.path("other.pem"), &site.path("other-key.pem")).await;
    let trusting = ["--s3-ca", "both.pem"];
    asks.ok(&[&["backup", "verify", "--from", PLACE][..], &trusting].concat());
    let told = Asks::new(&site, &elsewhere.url()).refused(&[&take[..], &trusting].concat());
    assert!(told.contains("s3-endpoint") && told.contains("certificate"), "{told}");
    assert_eq!(elsewhere.names("").await, [""; 0]);
}

/// A place is one store's, and no place is made among somebody else's objects.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_together_in_a_bucket_is_refused_by_its_name() {
    let (site, server) = (Site::make().await, Server::start().await);
    let asks = Asks::new(&site, &server.url());
    server.put("photos/1.jpg", b"a photo".to_vec()).await;
    for place in ["s3://backups/photos", "s3://backups"] {
        let told = asks.refused(&["backup", "--to", place, "--dir", "store"]);
        assert!(told.contains("backup-not-empty"), "{place}: {told}");
    }
    assert_eq!(server.names("").await, ["photos/1.jpg"], "nothing was written beside them");
    asks.back_up(None);
    asks.ok(&["backup", "--to", "s3://backups/eu/two", "--dir", "store"]);
    let (one, two) = (server.names(BELOW).await, server.names("eu/two/").await);
    assert_eq!(one.len(), two.len(), "a place beside is another one");

    let other = Site::make().await;
    let others = Asks::new(&other, &server.url());
    for arguments in [&["backup", "--to", PLACE, "--dir", "store"][..], &["restore", "--from", PLACE, "--dir", "store", "--yes"]] {
        let told = others.refused(arguments);
        assert!(told.contains("backup-foreign"), "{arguments:?}: {told}");
    }
    assert!(!server.names(BELOW).await.contains(&format!("{BELOW}lock")), "the lock is given back");
    asks.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_a_bucket_keeps_what_the_newest_generations_need_and_what_lies_beside() {
    let (site, server) = (Site::make().await, Server::start().await);
    let asks = Asks::new(&site, &server.url());
    for number in 0..4 {
        let served = site.serve(|_| ());
        assert_eq!(site.put_about(&served, "c", (&format!("k{number}"), "1"), &long(&number.to_string())).await, StatusCode::CREATED);
        asks.back_up(Some(&served));
        served.stop();
    }
    server.put("eu/one-beside", b"beside".to_vec()).await;
    server.put("eu/one/files/0000", b"of a run that was cut short".to_vec()).await;
    let before: BTreeSet<String> = server.names("").await.into_iter().collect();
    // One that stays and cannot be read: nothing is removed, for nobody knows what it needs.
    let manifest = "eu/one/generations/00000004.json";
    let whole = server.get(manifest).await;
    server.put(manifest, whole[..whole.len() - 2].to_vec()).await;
    let told = asks.refused(&["backup", "prune", "--from", PLACE, "--keep", "1"]);
    assert!(told.contains("backup-damaged") && told.contains("00000004.json"), "{told}");
    assert_eq!(before, server.names("").await.into_iter().collect());
    server.put(manifest, whole).await;

    // A list that ends early, and one that never does.
    let proxy = Proxy::before(&server, |seen| if seen.is_list_of("generations") { Fate::Short } else { Fate::Pass });
    let behind = Asks::new(&site, &proxy.url);
    let told = behind.refused(&["backup", "prune", "--from", PLACE, "--keep", "1"]);
    assert!(told.contains("backup-damaged") && told.contains("00000004.json"), "{told}");
    proxy.rule(|seen| {
        let more = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
        if seen.is_list_of("generations") || seen.name.ends_with("token=t") { Fate::Said(more) } else { Fate::Pass }
    });
    let told = behind.refused(&["backup", "list", "--from", PLACE]);
    assert!(told.contains("s3-endpoint") && told.contains("its end"), "{told}");
    assert_eq!(before, server.names("").await.into_iter().collect());

    let pruned = asks.json(&["backup", "prune", "--from", PLACE, "--keep", "2"]);
    assert_eq!(pruned["generations"], json!([1, 2]), "{pruned}");
    let after: BTreeSet<String> = server.names("").await.into_iter().collect();
    assert_eq!((before.len() - after.len()) as u64, number(&pruned, "files") + 2, "files, and two manifests: {pruned}");
    assert!(after.contains("eu/one-beside") && !after.contains("eu/one/files/0000") && !after.contains("eu/one/lock"), "{after:?}");
    asks.verify();
    asks.restore(&["--generation", "3", "--verify"]);
    // The next one does not take a number that was given.
    assert_eq!(number(&asks.back_up(None), "generation"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_from_a_bucket_tells_what_would_come_back_and_changes_nothing() {
    let (site, server) = (Site::make().await, Server::start().await);
    let proxy = Proxy::before(&server, |_| Fate::Pass);
    let asks = Asks::new(&site, &proxy.url);
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2"), ("three", "3")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), "\"v\"").await, StatusCode::CREATED);
    }
    asks.back_up(Some(&served));
    site.shredded(&served, "1").await;
    proxy.seen();
    let rehearsed = asks.json(&["backup", "rehearse", "--from", PLACE, "--dir", "store"]);
    let told = ["records", "named", "readable", "damaged"].map(|name| number(&rehearsed, name));
    assert_eq!((told, &rehearsed["findings"]), ([3, 1, 2, 0], &json!([])), "{rehearsed}");
    assert!(proxy.seen().iter().all(|seen| seen.method == "GET"), "a rehearsal writes nothing there");
    assert!(!site.path("store/rehearsal").exists());
    served.stop();
}

/// Objects are called as files are.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_copied_into_a_bucket_is_a_place_of_backups_there() {
    let (site, server) = (Site::make().await, Server::start().await);
    let asks = Asks::new(&site, &server.url());
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("k", "1"), &long("value")).await, StatusCode::CREATED);
    served.stop();
    site.back_up(None);
    for path in files(&site.path("bk")).into_iter().filter(|path| !path.ends_with("lock")) {
        let name = path.strip_prefix(site.path("bk")).unwrap().to_str().unwrap();
        server.put(&format!("{BELOW}{name}"), fs::read(&path).unwrap()).await;
    }
    assert_eq!(asks.verify()["findings"], json!([]));
    let next = asks.back_up(None);
    assert!(number(&next, "generation") == 2 && number(&next, "copied_bytes") < 40_000, "what was copied is known there: {next}");
    // And back again.
    fs::remove_dir_all(site.path("bk")).unwrap();
    for name in server.names(BELOW).await {
        let path = site.path("bk").join(name.strip_prefix(BELOW).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, server.get(&name).await).unwrap();
    }
    site.ok(&["backup", "verify", "--from", "bk"]);
    assert_eq!(number(&site.restore(&["--verify"]), "generation"), 2);
}
