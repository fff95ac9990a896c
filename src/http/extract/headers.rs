//! Headers with a meaning here: conditions, ranges, subjects, purpose, expiry, idempotency, waiting, custom pairs.
//!
//! A header that may come once and comes twice is refused: which one wins would be anybody's guess.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::domain::limits;
use crate::domain::name::percent_decode;
use crate::domain::record;
use crate::domain::{NameError, SubjectId, Timestamp, Version};
use crate::http::problem::{Code, Problem};

pub(in crate::http) static LETHE_SUBJECT: HeaderName = HeaderName::from_static("lethe-subject");
pub(in crate::http) static LETHE_PURPOSE: HeaderName = HeaderName::from_static("lethe-purpose");
pub(in crate::http) static LETHE_EXPIRES_AT: HeaderName = HeaderName::from_static("lethe-expires-at");
pub(in crate::http) static LETHE_CREATED_AT: HeaderName = HeaderName::from_static("lethe-created-at");
pub(in crate::http) static LETHE_MODIFIED_AT: HeaderName = HeaderName::from_static("lethe-modified-at");
pub(in crate::http) static LETHE_NEW_RELATIONSHIP: HeaderName = HeaderName::from_static("lethe-new-relationship");
pub(in crate::http) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(in crate::http) static PREFER: HeaderName = HeaderName::from_static("prefer");
pub(in crate::http) const LETHE_META: &str = "lethe-meta-";

fn malformed(name: &HeaderName, form: &str) -> Problem {
    Problem::told(Code::MalformedHeader, format!("`{name}` must be {form}"))
}

/// The text of a header that may come once.
pub(in crate::http) fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| malformed(name, "visible ASCII")),
        (Some(_), Some(_)) => Err(malformed(name, "given once")),
    }
}

/// What a record must be for a change to happen, or for a read to answer with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Condition {
    /// Anything.
    None,
    /// One of these versions. Empty when only tags were sent that this store never made: nothing matches.
    Match(Vec<Version>),
    /// There, in whatever version.
    MatchAny,
    /// None of these versions; for reads only.
    NoneMatch(Vec<Version>),
    /// Not there.
    NoneMatchAny,
}

/// A change's condition: `If-Match: "tag", ...` or `*`; `If-None-Match: *`.
pub(in crate::http) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    match read_condition(headers)? {
        Condition::NoneMatch(_) => Err(malformed(&header::IF_NONE_MATCH, "`*`")),
        other @ (Condition::None | Condition::Match(_) | Condition::MatchAny | Condition::NoneMatchAny) => Ok(other),
    }
}

/// A read's condition: the same, and `If-None-Match: "tag", ...`, where a weak tag is as good (RFC 9110, 13.1.2).
pub(in crate::http) fn read_condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    Ok(match (tags(headers, &header::IF_MATCH)?, tags(headers, &header::IF_NONE_MATCH)?) {
        (None, None) => Condition::None,
        (Some(Tags::Any), None) => Condition::MatchAny,
        (Some(Tags::These(tags)), None) => Condition::Match(tags.into_iter().filter_map(Tag::strong).collect()),
        (None, Some(Tags::Any)) => Condition::NoneMatchAny,
        (None, Some(Tags::These(tags))) => Condition::NoneMatch(tags.into_iter().filter_map(|tag| tag.version).collect()),
        (Some(_), Some(_)) => return Err(malformed(&header::IF_MATCH, "sent without `If-None-Match`")),
    })
}

const ETAGS: &str = "entity tags in double quotes, or `*`";

/// The tags of a conditional header, which may be spread over several lines.
enum Tags {
    Any,
    These(Vec<Tag>),
}

/// An entity tag; without a version if it is none of ours.
#[derive(Clone, Copy)]
struct Tag {
    weak: bool,
    version: Option<Version>,
}

impl Tag {
    fn strong(self) -> Option<Version> {
        self.version.filter(|_| !self.weak)
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let values: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    let mut tags = Vec::new();
    for value in &values {
        let text = value.to_str().map_err(|_| malformed(name, ETAGS))?.trim();
        if text == "*" {
            return if values.len() == 1 { Ok(Some(Tags::Any)) } else { Err(malformed(name, ETAGS)) };
        }
        for tag in text.split(',') {
            tags.push(parse_etag(tag.trim()).ok_or_else(|| malformed(name, ETAGS))?);
        }
    }
    Ok((!values.is_empty()).then_some(Tags::These(tags)))
}

/// A tag in its quotes, weak or not; nothing if it is not of that form.
fn parse_etag(tag: &str) -> Option<Tag> {
    let (weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))?;
    let well_formed = !inner.bytes().any(|byte| byte == b'"' || byte.is_ascii_control() || byte == b' ');
    well_formed.then(|| Tag { weak, version: version_of_tag(inner) })
}

/// The version in a tag's inner text, as bodies of batches carry it too.
pub(in crate::http) fn version_of_tag(inner: &str) -> Option<Version> {
    let ours = inner.len() == 16 && inner.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !ours {
        return None;
    }
    u64::from_str_radix(inner, 16).ok().map(Version)
}

/// A version's entity tag, in its quotes.
pub(in crate::http) fn etag(version: Version) -> String {
    format!("\"{:016x}\"", version.0)
}

/// One range of a value, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Range {
    /// From the first to the last byte, both included; to the end without a last one.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

/// `Range: bytes=0-99`, `bytes=100-` or `bytes=-100`, and the version that `If-Range` asks it of. Another unit is none of ours; for
/// several ranges, and with an `If-Range` that is no strong tag of ours, the whole value is sent.
pub(in crate::http) fn range(headers: &HeaderMap) -> Result<Option<(Range, Option<Version>)>, Problem> {
    const FORM: &str = "one range: `bytes=0-99`, `bytes=100-` or `bytes=-100`";
    let Some(text) = once(headers, &header::RANGE)? else { return Ok(None) };
    let (unit, set) = text.split_once('=').ok_or_else(|| malformed(&header::RANGE, FORM))?;
    let only_of = match once(headers, &header::IF_RANGE)? {
        None => Some(None),
        // A date is never ours: no answer carries one.
        Some(tag) => parse_etag(tag).and_then(Tag::strong).map(Some),
    };
    let Some(only_of) = only_of.filter(|_| unit.trim().eq_ignore_ascii_case("bytes")) else { return Ok(None) };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large for any value is beyond every end, not an error of form.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    // Several ranges would be a multipart answer, which nobody asked for yet: RFC 9110, 14.2 lets the whole value be sent.
    if set.contains(',') {
        return Ok(None);
    }
    let (first, last) = set.trim().split_once('-').ok_or_else(|| malformed(&header::RANGE, FORM))?;
    let range = match (first, last) {
        ("", last) => number(last).map(Range::Last),
        (first, "") => number(first).map(|first| Range::From(first, None)),
        (first, last) => {
            number(first).zip(number(last)).filter(|(first, last)| first <= last).map(|(first, last)| Range::From(first, Some(last)))
        }
    };
    range.map(|range| Some((range, only_of))).ok_or_else(|| malformed(&header::RANGE, FORM))
}

/// `Lethe-Subject: 7, anna%40example.org`: comma-separated, percent-encoded UTF-8.
pub(in crate::http) fn subjects(headers: &HeaderMap) -> Result<Vec<SubjectId>, Problem> {
    let mut subjects = Vec::new();
    for value in headers.get_all(&LETHE_SUBJECT) {
        let text = value.to_str().map_err(|_| malformed(&LETHE_SUBJECT, "percent-encoded UTF-8"))?;
        for item in text.split(',') {
            let decoded =
                percent_decode(item.trim()).map_err(|error| Problem::told(Code::MalformedHeader, format!("`lethe-subject` {error}")))?;
            let subject = SubjectId::parse(&decoded).map_err(|error| {
                if let NameError::TooLong(limit) = error {
                    Problem::limit(limit)
                } else {
                    Problem::told(Code::MalformedHeader, format!("each of `lethe-subject` {error}"))
                }
            })?;
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    if subjects.len() as u64 > limits::SUBJECTS_PER_RECORD.max {
        return Err(Problem::limit(limits::SUBJECTS_PER_RECORD));
    }
    Ok(subjects)
}

/// `Content-Type`, or `application/octet-stream`.
pub(in crate::http) fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let text = once(headers, &header::CONTENT_TYPE)?.unwrap_or("application/octet-stream");
    check_content_type(text).map(|()| text.to_owned())
}

/// Checks a content type's form and length.
pub(in crate::http) fn check_content_type(text: &str) -> Result<(), Problem> {
    if text.len() as u64 > limits::CONTENT_TYPE_LEN.max {
        return Err(Problem::limit(limits::CONTENT_TYPE_LEN));
    }
    if record::is_media_type(text) {
        Ok(())
    } else {
        Err(malformed(&header::CONTENT_TYPE, "a media type such as `text/plain; charset=utf-8`"))
    }
}

/// `Lethe-Expires-At`, RFC 3339.
pub(in crate::http) fn expires_at(headers: &HeaderMap) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = once(headers, &LETHE_EXPIRES_AT)? else { return Ok(None) };
    let time =
        Timestamp::parse_rfc3339(text).ok_or_else(|| malformed(&LETHE_EXPIRES_AT, "a time of RFC 3339, such as `2030-01-31T12:00:00Z`"))?;
    Ok(Some(time))
}

/// `Lethe-Purpose`: one of the collection's purposes, percent-encoded UTF-8.
pub(in crate::http) fn purpose(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(text) = once(headers, &LETHE_PURPOSE)? else { return Ok(None) };
    let purpose = percent_decode(text).ok().filter(|purpose| !purpose.is_empty());
    let purpose = purpose.ok_or_else(|| malformed(&LETHE_PURPOSE, "percent-encoded UTF-8 of at least one byte"))?;
    if purpose.len() as u64 > limits::ITEM_LEN.max { Err(Problem::over("lethe-purpose", limits::ITEM_LEN)) } else { Ok(Some(purpose)) }
}

/// `Idempotency-Key`: visible ASCII of at most [`limits::IDEMPOTENCY_KEY_LEN`].
pub(in crate::http) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(text) = once(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    if text.len() as u64 > limits::IDEMPOTENCY_KEY_LEN.max {
        return Err(Problem::limit(limits::IDEMPOTENCY_KEY_LEN));
    }
    if text.is_empty() { Err(malformed(&IDEMPOTENCY_KEY, "at least one character")) } else { Ok(Some(text.to_owned())) }
}

/// `Lethe-New-Relationship: true`.
pub(in crate::http) fn new_relationship(headers: &HeaderMap) -> Result<bool, Problem> {
    match once(headers, &LETHE_NEW_RELATIONSHIP)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(malformed(&LETHE_NEW_RELATIONSHIP, "`true` or `false`")),
    }
}

/// The seconds of `Prefer: wait=N`; other preferences are no concern of ours (RFC 7240).
pub(in crate::http) fn wait_secs(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    for value in headers.get_all(&PREFER) {
        for preference in value.to_str().unwrap_or_default().split([',', ';']) {
            let Some((name, secs)) = preference.split_once('=') else { continue };
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue;
            }
            let secs: u64 = secs.trim().parse().map_err(|_| malformed(&PREFER, "`wait=` and whole seconds"))?;
            return if secs > limits::WAIT_SECS.max { Err(Problem::limit(limits::WAIT_SECS)) } else { Ok(Some(secs)) };
        }
    }
    Ok(None)
}

/// `Lethe-Meta-<name>: value`, the value percent-encoded UTF-8; names in lower case, in the order they came.
pub(in crate::http) fn custom(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let Some(short) = name.as_str().strip_prefix(LETHE_META) else { continue };
        let text = value.to_str().ok().map(percent_decode).and_then(Result::ok);
        let text = text.ok_or_else(|| Problem::with(Code::MalformedHeader, "each `lethe-meta-*` must be percent-encoded UTF-8"))?;
        if short.is_empty() || pairs.iter().any(|(seen, _)| seen == short) {
            return Err(Problem::with(Code::MalformedHeader, "each `lethe-meta-*` must have a name, given once"));
        }
        pairs.push((short.to_owned(), text));
    }
    if pairs.len() as u64 > limits::ITEMS_PER_LIST.max {
        return Err(Problem::limit(limits::ITEMS_PER_LIST));
    }
    Ok(pairs)
}

/// What must be encoded in a header's value: everything but visible ASCII, and what separates or escapes.
const HEADER_TEXT: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',').add(b';').add(b'"');

/// A header value of these texts, percent-encoded, comma-separated.
pub(in crate::http) fn encoded_list<'a>(texts: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let mut line = String::new();
    for text in texts {
        if !line.is_empty() {
            line.push(',');
        }
        let _ = write!(line, "{}", utf8_percent_encode(text, HEADER_TEXT));
    }
    if line.is_empty() { None } else { HeaderValue::from_str(&line).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Problem>) -> Code {
        result.unwrap_err().code()
    }

    #[test]
    fn conditions_are_read() {
        let tag = etag(Version(255));
        assert_eq!(tag, "\"00000000000000ff\"");
        let of = |pairs: &[(&str, &str)]| condition(&headers(pairs));
        assert_eq!(of(&[]).unwrap(), Condition::None);
        assert_eq!(of(&[("if-none-match", "*")]).unwrap(), Condition::NoneMatchAny);
        assert_eq!(of(&[("if-match", "*")]).unwrap(), Condition::MatchAny);
        assert_eq!(of(&[("if-match", &tag)]).unwrap(), Condition::Match(vec![Version(255)]));
        assert_eq!(of(&[("if-match", &format!("\"x\", W/{tag},{tag}"))]).unwrap(), Condition::Match(vec![Version(255)]));
        assert_eq!(of(&[("if-match", "\"00000000000000FF\"")]).unwrap(), Condition::Match(vec![]));
        for bad in [
            &[("if-match", "00000000000000ff")][..],
            &[("if-match", "\"a")],
            &[("if-match", "")],
            &[("if-match", "*, \"a\"")],
            &[("if-match", "*"), ("if-match", "\"a\"")],
            &[("if-none-match", "\"a\"")],
            &[("if-none-match", "")],
            &[("if-none-match", "*"), ("if-none-match", "*")],
            &[("if-none-match", "*"), ("if-match", "*")],
        ] {
            assert_eq!(code(of(bad)), Code::MalformedHeader, "{bad:?}");
        }
    }

    #[test]
    fn a_reads_conditions_are_read() {
        let tag = etag(Version(255));
        let of = |pairs: &[(&str, &str)]| read_condition(&headers(pairs));
        assert_eq!(of(&[("if-match", &tag)]).unwrap(), Condition::Match(vec![Version(255)]));
        assert_eq!(of(&[("if-none-match", "*")]).unwrap(), Condition::NoneMatchAny);
        assert_eq!(of(&[("if-none-match", &format!("\"x\", W/{tag}"))]).unwrap(), Condition::NoneMatch(vec![Version(255)]));
        assert_eq!(of(&[("if-none-match", "\"x\""), ("if-none-match", &tag)]).unwrap(), Condition::NoneMatch(vec![Version(255)]));
        assert_eq!(code(of(&[("if-none-match", "a")])), Code::MalformedHeader);
        assert_eq!(code(of(&[("if-none-match", "\"a\""), ("if-match", "\"a\"")])), Code::MalformedHeader);
    }

    #[test]
    fn ranges_are_read() {
        let of = |text: &str| range(&headers(&[("range", text)])).map(|range| range.map(|(range, _)| range));
        assert_eq!(of("bytes=0-99").unwrap(), Some(Range::From(0, Some(99))));
        assert_eq!(of("bytes=100-").unwrap(), Some(Range::From(100, None)));
        assert_eq!(of("bytes=-5").unwrap(), Some(Range::Last(5)));
        assert_eq!(of("bytes=99999999999999999999-").unwrap(), Some(Range::From(u64::MAX, None)));
        assert_eq!(of("items=0-1").unwrap(), None);
        assert_eq!(of("bytes=0-1,5-6").unwrap(), None, "several are the whole value");
        let only_of = |tag: &str| range(&headers(&[("range", "bytes=0-1"), ("if-range", tag)])).unwrap();
        assert_eq!(only_of(&etag(Version(7))), Some((Range::From(0, Some(1)), Some(Version(7)))));
        for other in ["\"x\"", &format!("W/{}", etag(Version(7))), "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(only_of(other), None, "{other}");
        }
        for bad in ["bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=2-1", "bytes=+1-2", "bytes= -", "bytes=0 - 1"] {
            assert_eq!(code(of(bad)), Code::MalformedHeader, "{bad}");
        }
    }

    #[test]
    fn subjects_are_read() {
        let of = |text: &str| subjects(&headers(&[("lethe-subject", text)]));
        let texts = |text: &str| of(text).unwrap().iter().map(|subject| subject.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(texts("7"), ["7"]);
        assert_eq!(texts("7, anna%40example.org,M%C3%BCller%2C A,7"), ["7", "anna@example.org", "Müller, A"]);
        assert!(subjects(&HeaderMap::new()).unwrap().is_empty());
        for bad in ["", "a,,b", "%", "%zz", "%ff", "a%00b"] {
            assert_eq!(code(of(bad)), Code::MalformedHeader, "{bad}");
        }
        assert_eq!(code(of(&"a".repeat(257))), Code::LimitExceeded);
        let many: Vec<String> = (0..17).map(|number| number.to_string()).collect();
        assert_eq!(code(of(&many.join(","))), Code::LimitExceeded);
        assert_eq!(of(&many[1..].join(",")).unwrap().len(), 16);
    }

    #[test]
    fn content_types_are_read() {
        let of = |text: &str| content_type(&headers(&[("content-type", text)]));
        assert_eq!(content_type(&HeaderMap::new()).unwrap(), "application/octet-stream");
        assert_eq!(of("text/plain; charset=utf-8").unwrap(), "text/plain; charset=utf-8");
        for bad in ["", "text", "/", "text/", "te xt/plain", "text/pl@in", "text/plain/x;a"] {
            assert_eq!(code(of(bad)), Code::MalformedHeader, "{bad}");
        }
        assert_eq!(code(of(&format!("text/{}", "x".repeat(251)))), Code::LimitExceeded);
        assert_eq!(code(content_type(&headers(&[("content-type", "a/b"), ("content-type", "a/b")]))), Code::MalformedHeader);
    }

    #[test]
    fn the_small_ones_are_read() {
        assert_eq!(expires_at(&headers(&[("lethe-expires-at", "1970-01-01T01:00:01+01:00")])).unwrap(), Some(Timestamp(1_000)));
        for bad in ["", "tomorrow", "2030-13-01T00:00:00Z", "2030-01-01", "1893456000"] {
            assert_eq!(code(expires_at(&headers(&[("lethe-expires-at", bad)]))), Code::MalformedHeader, "{bad}");
        }
        assert!(new_relationship(&headers(&[("lethe-new-relationship", "true")])).unwrap());
        assert_eq!(code(new_relationship(&headers(&[("lethe-new-relationship", "yes")]))), Code::MalformedHeader);
        assert_eq!(wait_secs(&headers(&[("prefer", "respond-async, wait=10")])).unwrap(), Some(10));
        assert_eq!(wait_secs(&headers(&[("prefer", "return=minimal")])).unwrap(), None);
        assert_eq!(code(wait_secs(&headers(&[("prefer", "wait=x")]))), Code::MalformedHeader);
        assert_eq!(code(wait_secs(&headers(&[("prefer", "wait=61")]))), Code::LimitExceeded);
        assert_eq!(code(idempotency_key(&headers(&[("idempotency-key", "")]))), Code::MalformedHeader);
        assert_eq!(code(idempotency_key(&headers(&[("idempotency-key", &"k".repeat(256))]))), Code::LimitExceeded);
        assert_eq!(code(purpose(&headers(&[("lethe-purpose", "")]))), Code::MalformedHeader);
        assert_eq!(code(purpose(&headers(&[("lethe-purpose", &"p".repeat(129))]))), Code::LimitExceeded);
        let pairs = custom(&headers(&[("lethe-meta-origin", "caf%C3%A9"), ("Lethe-Meta-B", "2")])).unwrap();
        assert_eq!(pairs, [("origin".to_owned(), "café".to_owned()), ("b".to_owned(), "2".to_owned())]);
        for bad in [&[("lethe-meta-", "x")][..], &[("lethe-meta-a", "%f")], &[("lethe-meta-a", "1"), ("lethe-meta-a", "2")]] {
            assert_eq!(code(custom(&headers(bad))), Code::MalformedHeader, "{bad:?}");
        }
    }

    #[test]
    fn names_of_pairs_are_those_that_a_header_gives_back() {
        for letter in (0..=255_u8).map(char::from) {
            let name = format!("a{letter}");
            let header = HeaderName::from_bytes(format!("{LETHE_META}{name}").as_bytes());
            assert_eq!(record::is_custom_name(&name), header.is_ok_and(|header| header.as_str().ends_with(&name)), "{letter:?}");
        }
        assert!(!record::is_custom_name(""));
    }

    proptest! {
        #[test]
        fn subjects_sent_back_read_the_same(texts in prop::collection::hash_set("[^\0]{1,40}", 1..5)) {
            let texts: Vec<String> = texts.into_iter().collect();
            let value = encoded_list(texts.iter().map(String::as_str)).unwrap();
            let mut map = HeaderMap::new();
            map.insert(&LETHE_SUBJECT, value);
            let read: Vec<String> = subjects(&map).unwrap().iter().map(|subject| subject.as_str().to_owned()).collect();
            prop_assert_eq!(read, texts);
        }
    }
}
