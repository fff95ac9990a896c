//! Names and addresses of buckets, signatures against AWS's published examples, and what answers mean. Whole backups go to a server in
//! `tests/disaster/buckets.rs`.

use reqwest::{Method, StatusCode, Url};

use super::{answer, sign::Signer, *};
use crate::domain::Timestamp;

fn keys() -> Credentials {
    credentials("AKIAIOSFODNN7EXAMPLE".into(), Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()), None)
}

fn settings(text: &str, endpoint: Option<&str>, region: Option<&str>, path_style: bool) -> Settings {
    let (bucket, prefix) = parse(text).unwrap();
    let (endpoint, region) = (endpoint.map(str::to_owned), region.map(str::to_owned));
    Settings { bucket, prefix, endpoint, region, path_style, ca: None, unconditional: false, credentials: keys() }
}

/// The examples of AWS's documentation ("Authenticating Requests: Using the Authorization Header"): 24 May 2013, us-east-1.
#[test]
fn signatures_are_those_of_the_published_examples() {
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let welcome = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let credentials = keys();
    let signer = Signer { credentials: &credentials, region: "us-east-1" };
    let put = [("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()), ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned())];
    for (method, path, headers, sha256, signature) in [
        (
            Method::GET,
            "/test.txt",
            &[("range", "bytes=0-9".to_owned())][..],
            nothing,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (Method::PUT, "/test%24file.text", &put, welcome, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        (Method::GET, "/?max-keys=2&prefix=J", &[], nothing, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ] {
        let url: Url = format!("https://examplebucket.s3.amazonaws.com{path}").parse().unwrap();
        let made = signer.headers(&method, &url, headers, sha256, Timestamp(1_369_353_600_000)).unwrap();
        let told = |name: &str| made.iter().find(|(known, _)| known == name).unwrap().1.to_str().unwrap().to_owned();
        assert!(told("authorization").ends_with(&format!("Signature={signature}")), "{path}: {}", told("authorization"));
        assert_eq!((told("x-amz-date").as_str(), told("x-amz-content-sha256").as_str()), ("20130524T000000Z", sha256));
        assert!(made.iter().all(|(_, value)| value.is_sensitive()));
    }
}

#[test]
fn a_session_token_is_signed_and_sent() {
    let credentials = credentials("A".into(), Zeroizing::new("b".into()), Some("the-token".into()));
    let signer = Signer { credentials: &credentials, region: "us-east-1" };
    let url: Url = "https://example.com/b/k".parse().unwrap();
    let made = signer.headers(&Method::GET, &url, &[], "UNSIGNED", Timestamp(0)).unwrap();
    let told = |name: &str| made.iter().find(|(known, _)| known == name).unwrap().1.to_str().unwrap().to_owned();
    assert_eq!(told("x-amz-security-token"), "the-token");
    assert!(told("authorization").contains("x-amz-security-token"), "{}", told("authorization"));
}

#[test]
fn a_bucket_and_a_prefix_are_read_and_what_leads_elsewhere_is_refused() {
    for (text, bucket, prefix) in
        [("s3://b", "b", ""), ("s3://b/", "b", ""), ("s3://my-bucket.eu/a/b_c/", "my-bucket.eu", "a/b_c"), ("s3://B/x", "B", "x")]
    {
        assert_eq!(parse(text).unwrap(), (bucket.to_owned(), prefix.to_owned()), "{text}");
    }
    for text in [
        "s3://",
        "s3:///x",
        "s3://..",
        "s3://b/../x",
        "s3://b/.",
        "s3://b//x",
        "s3://b/a//c",
        "s3://b/a b",
        "s3://b/a?c",
        "s3://b/%2e",
        "s3://b@h/x",
        "/b",
    ] {
        assert_eq!(parse(text).unwrap_err().kind, Kind::Settings, "{text}");
    }
}

#[test]
fn a_bucket_is_named_where_its_server_wants_it_and_plain_http_is_for_loopback() {
    let address = |text, endpoint, region, path_style| settings(text, endpoint, region, path_style).address();
    let of = |text, endpoint, region, path_style| address(text, endpoint, region, path_style).unwrap().0;
    assert_eq!(of("s3://b/p", None, Some("eu-west-1"), false), "https://b.s3.eu-west-1.amazonaws.com");
    assert_eq!(of("s3://b/p", None, Some("eu-west-1"), true), "https://s3.eu-west-1.amazonaws.com/b");
    assert_eq!(of("s3://b.c/p", None, Some("eu-west-1"), false), "https://s3.eu-west-1.amazonaws.com/b.c", "no certificate has two dots");
    assert_eq!(of("s3://b", Some("https://minio.example:9000/"), None, true), "https://minio.example:9000/b");
    assert_eq!(of("s3://b", Some("https://example.com/s3"), None, true), "https://example.com/s3/b");
    assert_eq!(of("s3://b", Some("http://127.0.0.1:9000"), None, false), "http://127.0.0.1:9000/b", "an address has no names below it");
    assert_eq!(of("s3://b", Some("http://[::1]:9000"), None, true), "http://[::1]:9000/b");
    assert_eq!(address("s3://b", Some("http://localhost:1"), None, true).unwrap().1, "us-east-1");
    for (text, endpoint, region) in [
        ("s3://b", None, None),
        ("s3://b", None, Some("")),
        ("s3://b", None, Some("eu/../x")),
        ("s3://b", Some("http://minio.example"), None),
        ("s3://b", Some("http://192.0.2.1"), None),
        ("s3://b", Some("http://127.0.0.1.example"), None),
        ("s3://b", Some("ftp://127.0.0.1"), None),
        ("s3://b", Some("127.0.0.1:9000"), None),
        ("s3://b", Some("https://me:secret@example.com"), None),
        ("s3://b", Some("https://example.com/?x"), None),
        ("s3://Under_Score", None, Some("eu-west-1")),
    ] {
        let refused = address(text, endpoint, region, false).unwrap_err();
        assert_eq!(refused.kind, Kind::Settings, "{text} {endpoint:?}: {refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}

#[test]
fn a_page_of_a_list_is_read_and_one_that_is_cut_is_none() {
    let page = |more: &str| {
        answer::page(&format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
             <Prefix>p/</Prefix><MaxKeys>1000</MaxKeys>{more}</ListBucketResult>"
        ))
    };
    let contents = "<Contents><Key>p/files/a</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag>\
                    <Size>7</Size><StorageClass>STANDARD</StorageClass></Contents><Contents><Key>p/a&amp;b</Key><Size>0</Size></Contents>";
    let objects = vec![("p/files/a".to_owned(), 7), ("p/a&b".to_owned(), 0)];
    assert_eq!(page(&format!("<IsTruncated>false</IsTruncated>{contents}")), Some(answer::Page { objects: objects.clone(), next: None }));
    let more = format!("<IsTruncated>true</IsTruncated>{contents}<NextContinuationToken>1+/=</NextContinuationToken>");
    assert_eq!(page(&more), Some(answer::Page { objects: objects.clone(), next: Some("1+/=".to_owned()) }));
    assert_eq!(page(&format!("<KeyCount>2</KeyCount>{more}")), page(&more));
    for count in [1, 3] {
        assert_eq!(page(&format!("<KeyCount>{count}</KeyCount>{more}")), None, "{count} are there, it says");
    }
    assert_eq!(page(contents), None, "nobody says whether there is more");
    assert_eq!(page(&more.replace("true", "false")), None, "how to get more, where there is no more");
    let ended = format!("<IsTruncated>false</IsTruncated>{contents}<NextContinuationToken></NextContinuationToken>");
    assert_eq!(page(&ended), Some(answer::Page { objects, next: None }));
    assert_eq!(page("<IsTruncated>false</IsTruncated>"), Some(answer::Page { objects: Vec::new(), next: None }));
    assert_eq!(page(&format!("<IsTruncated>true</IsTruncated>{contents}")), None, "there is more, and nobody says how to get it");
    assert_eq!(page("<IsTruncated>false</IsTruncated><Contents><Key>p/x</Key></Contents>"), None, "how long is it?");
    for text in ["", "<html><body>welcome</body></html>", "<ListBucketResult", "{}"] {
        assert_eq!(answer::page(text), None, "{text}");
    }
}

#[test]
fn a_refusal_is_named_by_what_to_do_about_it() {
    let refusal =
        "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>There is none</Message><BucketName>b</BucketName></Error>";
    let read = answer::refusal(refusal).unwrap();
    assert_eq!((read.code.as_str(), read.message.as_str()), ("NoSuchBucket", "There is none"));
    assert_eq!(answer::refusal("<html>404</html>"), None);
    for (status, code, kind) in [
        (404, "NoSuchBucket", Kind::NoBucket),
        (403, "InvalidAccessKeyId", Kind::Credentials),
        (403, "SignatureDoesNotMatch", Kind::Credentials),
        (400, "ExpiredToken", Kind::Credentials),
        (403, "AccessDenied", Kind::Denied),
        (403, "RequestTimeTooSkewed", Kind::Clock),
        (400, "AuthorizationHeaderMalformed", Kind::Region),
        (301, "PermanentRedirect", Kind::Region),
        (307, "", Kind::Region),
        (404, "", Kind::Endpoint),
        (405, "", Kind::Endpoint),
        (403, "", Kind::Endpoint),
        (500, "InternalError", Kind::Busy),
        (503, "SlowDown", Kind::Busy),
        (503, "", Kind::Busy),
        (502, "", Kind::Busy),
        (429, "", Kind::Busy),
        (400, "RequestTimeout", Kind::Busy),
        (409, "ConditionalRequestConflict", Kind::Busy),
        (501, "NotImplemented", Kind::Unsupported),
        (400, "InvalidArgument", Kind::Refused),
        (400, "XAmzContentSHA256Mismatch", Kind::Refused),
    ] {
        assert_eq!(answer::kind(StatusCode::from_u16(status).unwrap(), code), kind, "{status} {code}");
    }
}

#[test]
fn no_secret_prints() {
    let settings = settings("s3://b/p", Some("https://example.com"), None, true);
    let client = Client::new(&settings).unwrap();
    for text in [format!("{settings:?}"), format!("{client:?}")] {
        assert!(!text.contains("wJalrXUtnFEMI"), "{text}");
    }
}
