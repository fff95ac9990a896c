//! The binary encoding of a record's metadata.
//!
//! `1 | (tag u8 | length be16 | bytes)..`, tags ascending, at most 16 KiB but for tags 9 to 12. Required and single: 1 key, 2 content
//! type, 4 created at, 5 modified at (be64, ms since 1970), 7 value length (be64). Optional and single: 6 expires at, 9 kept by a law
//! (`until be64 | order 16, or zeros | length u8 | rule | basis`), 10 number of the rules it was written under (be32, not 0), 11 number up
//! to which its write has seen what was reported (be64), 12 kept by a law until that is bypassed (`until be64 | number of the rules be32 |
//! length u8 | rule | basis`). Any number, in the order given: 3 subject, 8 custom pair (`length be16 | name | value`). There is one encoding
//! of each metadata; anything else is refused.

use zeroize::Zeroizing;

use crate::domain::{
    RecordKey, RecordMeta, ShredId, SubjectId, Timestamp, limits,
    retention::{Governed, Kept, RuleName},
};

use super::{OpenError, OpenReason};

const FORMAT: u8 = 1;
const KEY: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const SUBJECT: u8 = 3;
const CREATED_AT: u8 = 4;
const MODIFIED_AT: u8 = 5;
const EXPIRES_AT: u8 = 6;
const VALUE_LEN: u8 = 7;
const CUSTOM: u8 = 8;
const KEPT: u8 = 9;
const RULES: u8 = 10;
const REPORTS: u8 = 11;
const GOVERNED: u8 = 12;

/// Metadata over [`limits::METADATA_LEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("metadata is longer than {} bytes", limits::METADATA_LEN.max)]
pub struct MetaTooLong;

/// A record's metadata, encoded and within its limit. Wiped on drop.
pub struct EncodedMeta(Zeroizing<Vec<u8>>);

impl EncodedMeta {
    /// Encodes metadata.
    ///
    /// # Errors
    /// [`MetaTooLong`] above 16 KiB.
    pub fn new(meta: &RecordMeta) -> Result<Self, MetaTooLong> {
        let len = encoded_len(meta);
        // What rules and a law add is not the client's to make room for.
        if len.saturating_sub(retention_len(meta)) as u64 > limits::METADATA_LEN.max {
            return Err(MetaTooLong);
        }
        // Invariant: the buffer never grows, which would leave a copy behind.
        let mut out = Encoder(Zeroizing::new(Vec::with_capacity(len)));
        out.0.push(FORMAT);
        out.field(KEY, &[meta.key.as_str().as_bytes()])?;
        out.field(CONTENT_TYPE, &[meta.content_type.as_bytes()])?;
        for subject in &meta.subjects {
            out.field(SUBJECT, &[subject.as_str().as_bytes()])?;
        }
        out.field(CREATED_AT, &[&meta.created_at.0.to_be_bytes()])?;
        out.field(MODIFIED_AT, &[&meta.modified_at.0.to_be_bytes()])?;
        if let Some(at) = meta.expires_at {
            out.field(EXPIRES_AT, &[&at.0.to_be_bytes()])?;
        }
        out.field(VALUE_LEN, &[&meta.value_len.to_be_bytes()])?;
        for (name, value) in &meta.custom {
            let name_len = u16::try_from(name.len()).map_err(|_| MetaTooLong)?;
            out.field(CUSTOM, &[&name_len.to_be_bytes(), name.as_bytes(), value.as_bytes()])?;
        }
        if let Some(Kept { rule, basis, until, restricted_by }) = &meta.kept {
            let order = restricted_by.map_or([0; 16], |order| order.0);
            let rule = rule.as_str().as_bytes();
            let rule_len = u8::try_from(rule.len()).map_err(|_| MetaTooLong)?;
            out.field(KEPT, &[&until.0.to_be_bytes(), &order, &[rule_len], rule, basis.as_bytes()])?;
        }
        if meta.rules_no != 0 {
            out.field(RULES, &[&meta.rules_no.to_be_bytes()])?;
        }
        if let Some(no) = meta.reports_no {
            out.field(REPORTS, &[&no.to_be_bytes()])?;
        }
        if let Some(Governed { rule, basis, until, rules_no }) = &meta.governed {
            let rule = rule.as_str().as_bytes();
            let rule_len = u8::try_from(rule.len()).map_err(|_| MetaTooLong)?;
            out.field(GOVERNED, &[&until.0.to_be_bytes(), &rules_no.to_be_bytes(), &[rule_len], rule, basis.as_bytes()])?;
        }
        Ok(Self(out.0))
    }

    /// How long the encoding of some metadata is.
    #[must_use]
    pub fn len_of(meta: &RecordMeta) -> usize {
        encoded_len(meta)
    }

    /// The encoding.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn encoded_len(meta: &RecordMeta) -> usize {
    let texts = [meta.key.as_str(), &meta.content_type].into_iter().chain(meta.subjects.iter().map(SubjectId::as_str));
    let texts = texts.map(|text| text.len().saturating_add(3));
    let pairs = meta.custom.iter().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(5));
    // The format's byte, and the fields of eight bytes: two times and the length, or three.
    let fixed = if meta.expires_at.is_some() { 1 + 44 } else { 1 + 33 };
    texts.chain(pairs).fold(fixed, usize::saturating_add).saturating_add(retention_len(meta))
}

/// What the last four fields take of it.
fn retention_len(meta: &RecordMeta) -> usize {
    let law = |rule: &RuleName, basis: &str| rule.as_str().len().saturating_add(basis.len());
    let kept = meta.kept.as_ref().map_or(0, |kept| law(&kept.rule, &kept.basis).saturating_add(3 + 25));
    let rules = if meta.rules_no == 0 { 0 } else { 3 + 4 };
    let reports = if meta.reports_no.is_none() { 0 } else { 3 + 8 };
    let governed = meta.governed.as_ref().map_or(0, |governed| law(&governed.rule, &governed.basis).saturating_add(3 + 13));
    kept.saturating_add(rules).saturating_add(reports).saturating_add(governed)
}

struct Encoder(Zeroizing<Vec<u8>>);

impl Encoder {
    fn field(&mut self, tag: u8, parts: &[&[u8]]) -> Result<(), MetaTooLong> {
        let len = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        let len = u16::try_from(len).map_err(|_| MetaTooLong)?;
        self.0.push(tag);
        self.0.extend_from_slice(&len.to_be_bytes());
        for part in parts {
            self.0.extend_from_slice(part);
        }
        Ok(())
    }
}

/// Reads an encoding.
///
/// # Errors
/// [`OpenError`] if it is not the one encoding of some metadata.
pub(super) fn decode(bytes: &[u8]) -> Result<RecordMeta, OpenError> {
    let mut fields = Fields { rest: bytes.strip_prefix(&[FORMAT]).ok_or(OpenReason::Suite)? };
    let key = fields.required(KEY)?;
    let content_type = text(fields.required(CONTENT_TYPE)?)?.to_owned();
    let mut subjects = Vec::new();
    while let Some(subject) = fields.optional(SUBJECT)? {
        subjects.push(SubjectId::parse(text(subject)?).map_err(|_| OpenReason::Framing)?);
    }
    let created_at = time(fields.required(CREATED_AT)?)?;
    let modified_at = time(fields.required(MODIFIED_AT)?)?;
    let expires_at = fields.optional(EXPIRES_AT)?.map(time).transpose()?;
    let value_len = u64::from_be_bytes(number(fields.required(VALUE_LEN)?)?);
    let mut custom = Vec::new();
    while let Some(pair) = fields.optional(CUSTOM)? {
        let (name_len, pair) = pair.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (name, value) = pair.split_at_checked(usize::from(u16::from_be_bytes(*name_len))).ok_or(OpenReason::Framing)?;
        custom.push((text(name)?.to_owned(), text(value)?.to_owned()));
    }
    let kept = fields.optional(KEPT)?.map(kept).transpose()?;
    let rules_no = fields.optional(RULES)?.map(rules_no).transpose()?.unwrap_or(0);
    let reports_no = fields.optional(REPORTS)?.map(number).transpose()?.map(u64::from_be_bytes);
    let governed = fields.optional(GOVERNED)?.map(governed).transpose()?;
    if !fields.rest.is_empty() {
        return Err(OpenReason::Framing.into());
    }
    let key = RecordKey::parse(text(key)?).map_err(|_| OpenReason::Framing)?;
    Ok(RecordMeta {
        key,
        content_type,
        subjects,
        created_at,
        modified_at,
        expires_at,
        value_len,
        custom,
        rules_no,
        reports_no,
        kept,
        governed,
    })
}

fn kept(field: &[u8]) -> Result<Kept, OpenReason> {
    let (until, rest) = field.split_first_chunk::<8>().ok_or(OpenReason::Framing)?;
    let (order, rest) = rest.split_first_chunk::<16>().ok_or(OpenReason::Framing)?;
    let (rule, basis) = law(rest)?;
    let until = Timestamp(i64::from_be_bytes(*until));
    Ok(Kept { rule, basis, until, restricted_by: Some(ShredId(*order)).filter(|order| order.0 != [0; 16]) })
}

fn governed(field: &[u8]) -> Result<Governed, OpenReason> {
    let (until, rest) = field.split_first_chunk::<8>().ok_or(OpenReason::Framing)?;
    let (rules_no, rest) = rest.split_first_chunk::<4>().ok_or(OpenReason::Framing)?;
    let (rule, basis) = law(rest)?;
    Ok(Governed { rule, basis, until: Timestamp(i64::from_be_bytes(*until)), rules_no: u32::from_be_bytes(*rules_no) })
}

/// A rule, and the law that it cites.
fn law(field: &[u8]) -> Result<(RuleName, String), OpenReason> {
    let (rule_len, rest) = field.split_first().ok_or(OpenReason::Framing)?;
    let (rule, basis) = rest.split_at_checked(usize::from(*rule_len)).ok_or(OpenReason::Framing)?;
    Ok((RuleName::parse(text(rule)?).ok_or(OpenReason::Framing)?, text(basis)?.to_owned()))
}

fn rules_no(field: &[u8]) -> Result<u32, OpenReason> {
    let no = u32::from_be_bytes(field.try_into().map_err(|_| OpenReason::Framing)?);
    // The first rules have no field.
    if no == 0 { Err(OpenReason::Framing) } else { Ok(no) }
}

/// The fields that have not been read yet.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next field, if it has this tag.
    fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, OpenReason> {
        let Some(rest) = self.rest.strip_prefix(&[tag]) else {
            return Ok(None);
        };
        let (len, rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(OpenReason::Framing)?;
        self.rest = rest;
        Ok(Some(field))
    }

    fn required(&mut self, tag: u8) -> Result<&'a [u8], OpenReason> {
        self.optional(tag)?.ok_or(OpenReason::Framing)
    }
}

fn text(bytes: &[u8]) -> Result<&str, OpenReason> {
    str::from_utf8(bytes).map_err(|_| OpenReason::Framing)
}

fn number(bytes: &[u8]) -> Result<[u8; 8], OpenReason> {
    bytes.try_into().map_err(|_| OpenReason::Framing)
}

fn time(bytes: &[u8]) -> Result<Timestamp, OpenReason> {
    Ok(Timestamp(i64::from_be_bytes(number(bytes)?)))
}
