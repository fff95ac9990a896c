//! What `serve` and `check` say where parts do not go together: the error's name, what to do, exit code 1.

use reqwest::{Method, StatusCode};

use crate::site::Site;

/// What is yesterday's, what is lost, and what is said: its name and what it names.
type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 15] = [
    (&["store/data", "store/control", "store-mirror"], &[], &["tree-behind-custody", "lethe recover control"]),
    (&["store/data", "store/control"], &[], &["control-behind-mirror", "lethe recover control"]),
    (&["store/control"], &[], &["control-behind-data", "lethe recover control"]),
    (&["store/control", "store-mirror"], &[], &["control-behind-data", "today's mirror"]),
    (&["a", "b"], &[], &["custody-rollback", "find the present one"]),
    (&["a"], &[], &["custody-mixed", "/a/root"]),
    (&["b"], &[], &["custody-mixed", "/b/root"]),
    (&[], &["a/root"], &["/a/root: custody is missing"]),
    (&[], &["b/root"], &["/b/root: custody is missing"]),
    (&[], &["store/control"], &["control-missing", "lethe recover control"]),
    (&[], &["store/data"], &["data-missing", "backup"]),
    (&[], &["store-mirror"], &["mirror-missing", "lethe recover mirror"]),
    (&[], &["store/log"], &["log-shorter", "lethe recover log"]),
    (&["store/log"], &[], &["log-shorter", "lethe recover log"]),
    (&[], &["store/format"], &["store-missing"]),
];

#[tokio::test]
async fn each_refusal_says_its_name_and_what_to_do() {
    let site = Site::make().await;
    site.keep("yesterday");
    let served = site.serve(|_| ());
    assert_eq!(site.put(&served, "1", "today").await, StatusCode::CREATED);
    let order = r#"{"scope": "subject", "subjects": ["7"]}"#;
    let shred = site.client.post(format!("{}/v1/tenants/acme/shreds", served.url)).bearer_auth(site.owner());
    let shred = shred.header("prefer", "wait=30").header("content-type", "application/json").body(order).send().await.unwrap();
    assert_eq!(shred.status(), StatusCode::OK, "{}", shred.text().await.unwrap());
    served.stop();
    site.keep("today");
    for (old, lost, says) in CASES {
        site.reset("today");
        for part in old {
            site.put_back("yesterday", part);
        }
        for part in lost {
            let path = site.path(part);
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
        for arguments in [&["serve", "--listen", "127.0.0.1:0", "--dir", "store"][..], &["check", "--dir", "store"]] {
            let told = site.refused(arguments);
            // Behind the log's lines stands the one for people.
            let line = told.lines().rfind(|line| line.starts_with("lethe: ")).unwrap_or_else(|| panic!("{told}"));
            assert!(says.iter().all(|words| line.contains(words)), "old {old:?}, lost {lost:?}, {}: {line}", arguments[0]);
        }
    }
    site.reset("today");
    site.ok(&["check", "--dir", "store"]);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "1").await, (StatusCode::OK, "today".into()));
    assert_eq!(site.send(&served, Method::GET, "/health/ready", "", "").await.0, StatusCode::NO_CONTENT);
}
