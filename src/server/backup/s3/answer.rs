//! What an S3 server says, in XML: pages of lists, and why it refused.

use reqwest::StatusCode;
use serde::Deserialize;

use super::error::Kind;

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Names, whole, and lengths.
    pub(super) objects: Vec<(String, u64)>,
    /// What to ask for the next one with, if there is one.
    pub(super) next: Option<String>,
}

/// Why the server refused.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) region: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    contents: Vec<Content>,
    is_truncated: bool,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    key_count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    key: String,
    size: u64,
}

/// Reads a page of `ListObjectsV2`; `None` where it is none. One that does not say whether there is more, or says it and not how to ask for
/// it, or the other way round, or counts what it does not name, is none: a list that ends early would have files taken for missing, or for
/// not needed.
pub(super) fn page(text: &str) -> Option<Page> {
    if !text.contains("<ListBucketResult") {
        return None;
    }
    let Listing { contents, is_truncated, next_continuation_token, key_count } = quick_xml::de::from_str(text).ok()?;
    let next = next_continuation_token.filter(|token| !token.is_empty());
    if is_truncated != next.is_some() || key_count.is_some_and(|count| count != contents.len()) {
        return None;
    }
    Some(Page { objects: contents.into_iter().map(|Content { key, size }| (key, size)).collect(), next })
}

/// Reads why the server refused; `None` where the answer is not that of an S3 server.
pub(super) fn refusal(text: &str) -> Option<Refusal> {
    if !text.contains("<Error") {
        return None;
    }
    quick_xml::de::from_str(text).ok()
}

/// What a refusal means. The code is empty where the answer was not that of an S3 server.
pub(super) fn kind(status: StatusCode, code: &str) -> Kind {
    match code {
        "NoSuchBucket" | "InvalidBucketName" => Kind::NoBucket,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "MissingAuthenticationToken" => Kind::Credentials,
        "RequestTimeTooSkewed" | "RequestExpired" => Kind::Clock,
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => Kind::Region,
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "OperationAborted" | "ConditionalRequestConflict" => {
            Kind::Busy
        }
        "NotImplemented" => Kind::Unsupported,
        _ => match status.as_u16() {
            408 | 429 | 500 | 502..=599 => Kind::Busy,
            301 | 307 | 308 => Kind::Region,
            401 => Kind::Credentials,
            403 if !code.is_empty() => Kind::Denied,
            _ if code.is_empty() => Kind::Endpoint,
            _ => Kind::Refused,
        },
    }
}
