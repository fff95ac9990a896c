//! What went wrong, as RFC 9457 `application/problem+json`. `docs/errors.md` is the catalogue of the codes.
//!
//! A problem says what is wrong and what would be right, in words of ours: nothing a client sent is repeated,
//! for names and keys are often personal. The body is written by [`super::layers`], which knows the request's id.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::domain::{HoldId, NameError, RequestId, ShredId, Timestamp, TokenId, limits::Limit, retention::Law};

macro_rules! codes {
    ($($name:ident = $status:literal, $code:literal, $title:literal, $help:literal;)*) => {
        /// A stable code. Clients may rely on it; a new one is a new row, and none ever changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All codes, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as clients see it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status it comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// One line, the same for every problem of this code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

codes! {
    MalformedName = 400, "malformed-name", "A name in the path or body is malformed", "Names of tenants and collections hold a-z, 0-9, '-', '_' and '.'; keys are segments separated by '/', none empty, '.' or '..'.";
    MalformedHeader = 400, "malformed-header", "A header is malformed", "The detail names the header and its form.";
    MalformedQuery = 400, "malformed-query", "The query string is malformed", "The detail names the parameter; unknown and repeated ones are refused.";
    MalformedJson = 400, "malformed-json", "The body is not JSON", "Send one JSON document in UTF-8.";
    MalformedId = 400, "malformed-id", "An id is malformed", "Ids are 32 hexadecimal digits.";
    MalformedCursor = 400, "malformed-cursor", "The cursor is not one of this list", "Send the `next_cursor` of the page before, with the same query, or none.";
    MalformedTag = 400, "malformed-tag", "An entity tag is malformed", "Send an `etag` as it was given, with its quotes or without, or `*`.";
    LimitExceeded = 400, "limit-exceeded", "A limit is exceeded", "`limit` names it; docs/limits.md has the table.";
    IncompleteBody = 400, "incomplete-body", "The body ended early or stalled", "Nothing was stored; send the request again.";
    Unauthenticated = 401, "unauthenticated", "No valid credential", "Send `Authorization: Bearer <token>` with a token that has neither expired nor been revoked.";
    Forbidden = 403, "forbidden", "The principal may not do this", "Use a token whose role, narrowing and end allow it.";
    NotSecondPerson = 403, "not-second-person", "Somebody else must approve it", "It takes a second person: another token than the one that asked, which may do the same, and was there as long before as a request waits, or since before the policy.";
    TenantSuspended = 403, "tenant-suspended", "The operator has suspended the tenant", "No data is read or written until the operator resumes it; legal holds, retention and the trail go on.";
    TenantTerminating = 403, "tenant-terminating", "The tenant is about to end", "Nothing is written, and owners alone read until the grace is over; `GET .../termination` tells when. An owner can cancel it until then.";
    NotFound = 404, "not-found", "There is no such thing, or the principal may not know it", "Check the names and whose token was sent.";
    NoSuchRoute = 404, "no-such-route", "No such route", "/openapi.json lists them.";
    MethodNotAllowed = 405, "method-not-allowed", "The route does not know this method", "`Allow` lists those it knows.";
    NameTaken = 409, "name-taken", "The name is or was in use", "A tenant's name is never used again, not even after its shred; choose another. A shredded collection's name is not used again either: it answers 410 `shredded`.";
    ShredUnitFixed = 409, "shred-unit-fixed", "The shred unit of a collection with records cannot change", "Make another collection and move the records.";
    SecretShownOnce = 409, "secret-shown-once", "The token was made by the first request, and its secret is shown once", "`token_id` names it. If its secret is lost, revoke it and make another with a fresh idempotency key.";
    LastOwner = 409, "last-owner", "The last token of an owner or operator cannot be revoked", "Nobody could make a token there for good. Make another owner's, or operator's, token without an end first, or shred the tenant.";
    HoldOver = 409, "hold-over", "The legal hold has ended", "It was released, or its time is over: place another.";
    AliasTaken = 409, "alias-taken", "The id belongs to another person", "It is an alias of another person, or has aliases of its own: remove those first (`POST .../subjects/aliases/remove`).";
    AliasHasRecords = 409, "alias-has-records", "Records name the id already", "They would be the person's from then on: shredded, held and listed with the others. If they are, send `with_records: true`; if they are another person's, write or delete them first.";
    ApprovalOver = 409, "approval-over", "The request for approval can no longer be decided", "It was decided or withdrawn, its time is over, who asked may not act any more, or what it is about has changed: ask again.";
    ApprovalRequired = 409, "approval-required", "A second person must approve the shred of a record", "The collection's shred unit is the record, so its deletion is a shred: order it (`POST .../shreds`), and it waits for a second person.";
    TenantState = 409, "tenant-state", "There is no such step from the tenant's present state", "docs/termination.md has the table of states; `lethe tenant show` tells the present one.";
    Importing = 409, "importing", "The tenant is being imported", "Nothing of it is served until all of it is there: send the rest of the bundle (`lethe import tenant`), or shred the tenant.";
    NotImporting = 409, "not-importing", "The tenant is not being imported", "A bundle goes into a tenant that was made for it (`\"import\": true`) and is not complete; one that is in use takes records as any client writes them.";
    Shredded = 410, "shredded", "The data was shredded", "It cannot be brought back. `certificate` names the evidence where the principal may see it.";
    SubjectErased = 410, "subject-erased", "The person was shredded, and what is erased stays erased", "Nothing was stored. Should the person be known anew, say so: `Lethe-New-Relationship: true`, in a batch or an envelope `new_relationship`; it opens a new key and is recorded. `certificate` names the evidence of the shred.";
    PreconditionFailed = 412, "precondition-failed", "The record is not in the expected state", "Read it for its current ETag.";
    TooLarge = 413, "too-large", "The body is too large", "`limit` names the limit; docs/limits.md has the table.";
    UnsupportedMediaType = 415, "unsupported-media-type", "The content type is not one this route takes", "Send `Content-Type: application/json`.";
    RangeNotSatisfiable = 416, "range-not-satisfiable", "The range lies outside the value", "`Content-Range` of the answer tells the length; ask for one range within it.";
    InvalidBody = 422, "invalid-body", "The JSON is not of the documented shape", "The detail names the field; unknown and repeated fields are refused.";
    Unprocessable = 422, "unprocessable", "The request is well-formed and cannot be carried out", "The detail says why.";
    SubjectRequired = 422, "subject-required", "The collection asks for a subject", "Name the person the record is about in `Lethe-Subject` or `subjects`.";
    PurposeUndeclared = 422, "purpose-undeclared", "The collection does not declare this purpose", "`Lethe-Purpose` must be one of the `purposes` of the collection's policy; it is recorded in the audit trail.";
    OutsideRetention = 422, "outside-retention", "The record's end does not fit the collection's retention", "The detail names the rule and its moment; `lethe collection get` shows the rules.";
    IdempotencyMismatch = 422, "idempotency-mismatch", "The idempotency key was used for another request", "Use a fresh key for each request.";
    LegalHold = 423, "legal-hold", "A legal hold keeps the data", "Nothing is destroyed or overwritten while the hold stands. `hold` names it; `order` is the order to shred that is carried out once no hold stands over it.";
    LegalMinimum = 423, "legal-minimum", "A legal minimum keeps the data", "Nothing of it is destroyed on purpose before the minimum is met. `rule`, `basis`, `mode` (`compliance`, or `governance`, which an owner and a governor may bypass) and `until` name the one that stands longest, and `records` how many there are under one at least.";
    LegalObligation = 423, "legal-obligation", "A legal obligation keeps the data", "A law does, or a legal hold: which of the two is not told to who may not know of it. Nothing is destroyed before that ends; `order` is the order to shred that is carried out then, where one waits.";
    Restricted = 423, "restricted", "The key holds a record that is kept for its legal purpose alone", "It is not written to; use another key, or wait until its end.";
    TooManyRequests = 429, "too-many-requests", "Too many requests without a valid credential", "Repeat it after `Retry-After` seconds, or with a valid token: those are never held up.";
    Internal = 500, "internal", "The server failed", "The log has the reason under the request's id; a repeat with an idempotency key is safe.";
    Busy = 503, "busy", "The server is at its limit", "Repeat it after `Retry-After` seconds.";
    DiskFull = 503, "disk-full", "The disk is full", "Nothing was stored. Reads, deletes and shreds go on while the reserve lasts.";
    Unavailable = 503, "unavailable", "The server cannot do this now", "A change may have been made or not: repeat it with an idempotency key. /health/ready and the log tell more.";
    Restoring = 503, "restoring", "Older data was put back and is being made ready", "Nothing is served until what was shredded, deleted by an order or over since the backup is gone from it. Repeat it after `Retry-After` seconds.";
    ShuttingDown = 503, "shutting-down", "The server is shutting down", "Repeat it after `Retry-After` seconds.";
}

impl Code {
    fn status_code(self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct Problem(Box<Told>);

/// What it says. Boxed: results that carry a problem are mostly of something smaller.
#[derive(Debug, Clone)]
struct Told {
    code: Code,
    detail: Cow<'static, str>,
    limit: Option<Limit>,
    retry_after_secs: Option<u32>,
    certificate: Option<ShredId>,
    token: Option<TokenId>,
    hold: Option<HoldId>,
    order: Option<ShredId>,
    law: Option<Box<Law>>,
    records: Option<u64>,
    value_len: Option<u64>,
    /// Which operation of a batch.
    op: Option<usize>,
    /// Why the service failed: for the log, never sent.
    reason: Option<String>,
}

impl Problem {
    /// A problem with the code's own advice as detail.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self::with(code, code.help())
    }

    /// A problem with a fixed detail.
    #[must_use]
    pub fn with(code: Code, detail: &'static str) -> Self {
        Self::made(code, Cow::Borrowed(detail))
    }

    /// A problem with a detail made of our own words: names of fields and headers, positions, limits.
    #[must_use]
    pub fn told(code: Code, detail: String) -> Self {
        Self::made(code, Cow::Owned(detail))
    }

    fn made(code: Code, detail: Cow<'static, str>) -> Self {
        Self(Box::new(Told {
            code,
            detail,
            limit: None,
            retry_after_secs: None,
            certificate: None,
            token: None,
            hold: None,
            order: None,
            law: None,
            records: None,
            value_len: None,
            op: None,
            reason: None,
        }))
    }

    /// A limit is exceeded: 413 where it is the body's, 429 where it is of requests, 503 where it is of what is done at a time, 400
    /// otherwise.
    #[must_use]
    pub fn limit(limit: Limit) -> Self {
        let code = match limit.name {
            "value_len" | "inline_value_len" | "json_body_len" | "batch_body_len" => Code::TooLarge,
            "refused_credentials" => Code::TooManyRequests,
            "requests_at_work" | "public_requests_at_work" | "bodies_len" => Code::Busy,
            _ => Code::LimitExceeded,
        };
        let mut problem = Self::told(code, format!("the limit `{}` is {} {}", limit.name, limit.max, limit.unit));
        problem.0.limit = Some(limit);
        problem
    }

    /// A limit is exceeded by `field`.
    #[must_use]
    pub fn over(field: &str, limit: Limit) -> Self {
        let mut problem = Self::limit(limit);
        problem.0.detail = Cow::Owned(format!("`{field}` is over the limit `{}` of {} {}", limit.name, limit.max, limit.unit));
        problem
    }

    /// A malformed name in `field`.
    #[must_use]
    pub fn name(field: &str, error: NameError) -> Self {
        match error {
            NameError::TooLong(limit) => Self::over(field, limit),
            NameError::Empty
            | NameError::Alphabet
            | NameError::Segment
            | NameError::EncodedSlash
            | NameError::Nul
            | NameError::Utf8
            | NameError::Percent => Self::told(Code::MalformedName, format!("`{field}` {error}")),
        }
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, secs: u32) -> Self {
        self.0.retry_after_secs = Some(secs);
        self
    }

    /// The same, naming the evidence.
    #[must_use]
    pub fn certificate(mut self, certificate: Option<ShredId>) -> Self {
        self.0.certificate = certificate;
        self
    }

    /// The same, naming a token.
    #[must_use]
    pub fn token(mut self, token: TokenId) -> Self {
        self.0.token = Some(token);
        self
    }

    /// The same, naming a legal hold.
    #[must_use]
    pub fn hold(mut self, hold: Option<HoldId>) -> Self {
        self.0.hold = hold;
        self
    }

    /// The same, naming an order to shred that waits.
    #[must_use]
    pub fn order(mut self, order: Option<ShredId>) -> Self {
        self.0.order = order;
        self
    }

    /// The same, naming a legal minimum.
    #[must_use]
    pub fn law(mut self, law: Option<Box<Law>>) -> Self {
        self.0.law = law;
        self
    }

    /// The same, telling how many records it is about.
    #[must_use]
    pub fn records(mut self, records: Option<u64>) -> Self {
        self.0.records = records;
        self
    }

    /// The same, telling the value's length.
    #[must_use]
    pub fn value_len(mut self, len: u64) -> Self {
        self.0.value_len = Some(len);
        self
    }

    /// The same, in the batch's operation at that position.
    #[must_use]
    pub fn in_op(mut self, position: usize) -> Self {
        self.0.op = Some(position);
        self
    }

    /// The same, for a reason that the log alone is told.
    #[must_use]
    pub fn because(mut self, reason: String) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Why the service failed, where it did.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The body, for a request of that id.
    #[must_use]
    pub fn to_json(&self, request: RequestId) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'static str,
            status: u16,
            code: &'static str,
            detail: &'a str,
            request_id: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            limit: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            limit_max: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            certificate: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            token_id: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            hold: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            order: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            rule: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            basis: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            mode: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            until: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            records: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            op: Option<usize>,
        }
        let told = &self.0;
        let document = Document {
            kind: format!("urn:lethe:problem:{}", told.code.name()),
            title: told.code.title(),
            status: told.code.status(),
            code: told.code.name(),
            detail: &told.detail,
            request_id: request.to_string(),
            limit: told.limit.map(|limit| limit.name),
            limit_max: told.limit.map(|limit| limit.max),
            certificate: told.certificate.map(|id| id.to_string()),
            token_id: told.token.map(|id| id.to_string()),
            hold: told.hold.map(|id| id.to_string()),
            order: told.order.map(|id| id.to_string()),
            rule: told.law.as_ref().map(|law| law.rule.as_str()),
            basis: told.law.as_ref().map(|law| law.basis.as_str()),
            mode: told.law.as_ref().map(|law| law.mode.name()),
            until: told.law.as_ref().and_then(|law| law.until).map(Timestamp::to_rfc3339),
            records: told.records,
            op: told.op,
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// Status, headers, and the problem itself as an extension: the outermost layer writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let told = &self.0;
        let mut response = told.code.status_code().into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if told.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if told.code.status() == 503 || told.code.status() == 429 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(told.retry_after_secs.unwrap_or(1)));
        }
        if let Some(range) = told.value_len.and_then(|len| HeaderValue::from_str(&format!("bytes */{len}")).ok()) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits;

    #[test]
    fn the_catalogue_of_the_documents_is_that_of_the_code() {
        let documents = include_str!("../../docs/errors.md");
        let rows: Vec<&str> = documents.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = Code::ALL
            .iter()
            .map(|code| format!("| `{}` | {} | {} | {} |", code.name(), code.status(), code.title(), code.help()))
            .collect();
        assert_eq!(rows, expected, "docs/errors.md and problem.rs differ; the table should read:\n{}", expected.join("\n"));
    }

    #[test]
    fn the_limits_of_the_documents_are_those_of_the_code() {
        let documents = include_str!("../../docs/limits.md");
        let rows: Vec<&str> =
            documents.lines().filter(|line| line.starts_with("| `")).map(|line| line.rsplitn(3, '|').last().unwrap()).collect();
        let expected: Vec<String> = limits::ALL
            .iter()
            .chain(limits::AT_WORK)
            .map(|limit| format!("| `{}` | {} | {} ", limit.name, limit.max, limit.unit))
            .collect();
        assert_eq!(
            rows,
            expected,
            "docs/limits.md and domain::limits differ; its first three columns should read:\n{}",
            expected.join("\n")
        );
    }

    /// The program text of this room, without the tests and without the catalogue itself.
    fn text_of_this_room() -> String {
        fn read(dir: &std::path::Path, text: &mut String) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, text);
                } else {
                    let file = std::fs::read_to_string(&path).unwrap();
                    let file = file.split_once("impl Code {\n    fn").map_or(file.as_str(), |(_, behind)| behind);
                    text.push_str(file.split("#[cfg(test)]").next().unwrap());
                }
            }
        }
        let mut text = String::new();
        read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut text);
        text
    }

    #[test]
    fn every_code_of_the_catalogue_is_sent_by_something() {
        let text = text_of_this_room();
        let named: Vec<&str> =
            text.split("Code::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap()).collect();
        let unsent: Vec<&Code> = Code::ALL.iter().filter(|code| !named.contains(&format!("{code:?}").as_str())).collect();
        assert!(unsent.is_empty(), "nothing sends {unsent:?}: take them out of the catalogue until something does");
    }

    #[test]
    fn codes_are_told_apart_and_statuses_are_those_of_the_design() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert!(Code::ALL.iter().skip(at + 1).all(|other| other.name() != code.name()), "{}", code.name());
            let designed = [400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 416, 422, 423, 428, 429, 500, 503];
            assert!(designed.contains(&code.status()), "{}", code.name());
        }
    }

    #[test]
    fn a_refusal_by_a_limit_names_it() {
        let problem = Problem::limit(limits::LIST_LIMIT);
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json(RequestId([1; 16]))).unwrap();
        assert_eq!(json["limit"], "list_limit");
        assert_eq!(json["limit_max"], 1_000);
        assert_eq!(json["status"], 400);
        assert_eq!(json["code"], "limit-exceeded");
        assert_eq!(json["request_id"], "01".repeat(16));
        assert_eq!(Problem::limit(limits::VALUE_LEN).code(), Code::TooLarge);
        assert_eq!(Problem::name("key", NameError::TooLong(limits::KEY_LEN)).code(), Code::LimitExceeded);
    }
}
