//! Legal holds: what a counsel says of one, and what it is on. A hold has no end of its own; one for law enforcement ends by itself
//! unless it is renewed (Cal. Civ. Code 1798.145(a)(1)(B): a case number, and 90 days at a time).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    CollectionName, RecordKey, SubjectId,
    limits::{self, Limit},
};

/// How long a hold for law enforcement lasts from its placing, or its last renewal.
pub const LAPSE: Duration = Duration::from_hours(24 * 90);

/// What a hold says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldText {
    /// The matter that it is for: a lawsuit's or inquiry's own number.
    pub matter: String,
    /// Why it was placed.
    pub reason: String,
    /// Who answers for what is held.
    pub custodian: String,
    /// The case number of the law enforcement agency that asked for it; `None` for every other hold.
    pub case_number: Option<String>,
    /// Why it was renewed last.
    #[serde(default)]
    pub renewal_reason: Option<String>,
    /// Why it was released.
    #[serde(default)]
    pub release_reason: Option<String>,
}

/// What a hold is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    /// Everything of the tenant.
    Tenant,
    /// Every record that names one of these persons, first or not.
    Subjects(Vec<SubjectId>),
    /// A collection.
    Collection(CollectionName),
    /// The records of a collection whose keys begin with these whole segments.
    Prefix(CollectionName, RecordKey),
    /// These records.
    Records(Vec<(CollectionName, RecordKey)>),
}

/// A hold to place.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// What it says of itself.
    pub text: HoldText,
    /// What it is on.
    pub scope: HoldScope,
    /// Whether everybody in the tenant may know of it.
    pub disclosed: bool,
    /// Whether a law enforcement agency asked for it.
    pub law_enforcement: bool,
}

/// Why a hold cannot be placed as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// A field without a text.
    #[error("`{0}` must say something")]
    Empty(&'static str),
    /// A field with a control character.
    #[error("`{0}` must be one line of text")]
    Control(&'static str),
    /// A field over its limit.
    #[error("`{field}` is over the limit {}", limit.name)]
    Over {
        /// Which.
        field: &'static str,
        /// The limit.
        limit: Limit,
    },
    /// For law enforcement, but no case number.
    #[error("a hold for law enforcement needs the agency's `case_number`")]
    CaseNumberMissing,
    /// A case number, but not for law enforcement.
    #[error("`case_number` is for holds with `\"law_enforcement\": true`, which end after 90 days unless they are renewed")]
    CaseNumberUnasked,
    /// It names nothing.
    #[error("name at least one subject or record")]
    Nothing,
}

impl NewHold {
    /// # Errors
    /// [`HoldError`]: the first rule that it breaks.
    pub fn validate(&self) -> Result<(), HoldError> {
        let HoldText { matter, reason, custodian, case_number, .. } = &self.text;
        for (field, text) in [("matter", matter), ("reason", reason), ("custodian", custodian)] {
            line(field, text)?;
        }
        match (self.law_enforcement, case_number) {
            (true, None) => return Err(HoldError::CaseNumberMissing),
            (false, Some(_)) => return Err(HoldError::CaseNumberUnasked),
            (true, Some(number)) => line("case_number", number)?,
            (false, None) => {}
        }
        match &self.scope {
            HoldScope::Subjects(subjects) => within("subjects", subjects.len(), limits::HOLD_SUBJECTS),
            HoldScope::Records(records) => within("records", records.len(), limits::HOLD_RECORDS),
            HoldScope::Tenant | HoldScope::Collection(_) | HoldScope::Prefix(..) => Ok(()),
        }
    }
}

/// Whether a text of a hold is one line of a bounded length.
///
/// # Errors
/// [`HoldError`], naming `field`.
pub fn line(field: &'static str, text: &str) -> Result<(), HoldError> {
    if text.trim().is_empty() {
        return Err(HoldError::Empty(field));
    }
    if text.chars().any(char::is_control) {
        return Err(HoldError::Control(field));
    }
    let limit = limits::HOLD_TEXT_LEN;
    if text.len() as u64 > limit.max { Err(HoldError::Over { field, limit }) } else { Ok(()) }
}

fn within(field: &'static str, count: usize, limit: Limit) -> Result<(), HoldError> {
    match count as u64 {
        0 => Err(HoldError::Nothing),
        count if count > limit.max => Err(HoldError::Over { field, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> NewHold {
        let text = HoldText {
            matter: "M-1".into(),
            reason: "a lawsuit".into(),
            custodian: "legal".into(),
            case_number: None,
            renewal_reason: None,
            release_reason: None,
        };
        NewHold { text, scope: HoldScope::Tenant, disclosed: false, law_enforcement: false }
    }

    type Set = fn(&mut HoldText, String);

    #[test]
    fn each_text_must_be_there_in_one_line_of_bounded_length() {
        assert_eq!(hold().validate(), Ok(()));
        let fields: [(&str, Set); 3] = [
            ("matter", |text, value| text.matter = value),
            ("reason", |text, value| text.reason = value),
            ("custodian", |text, value| text.custodian = value),
        ];
        let limit = limits::HOLD_TEXT_LEN;
        for (field, set) in fields {
            let with = |value: String| {
                let mut hold = hold();
                set(&mut hold.text, value);
                hold.validate()
            };
            assert_eq!(with(String::new()), Err(HoldError::Empty(field)));
            assert_eq!(with(" \u{2003}".into()), Err(HoldError::Empty(field)));
            assert_eq!(with("a\nb".into()), Err(HoldError::Control(field)));
            assert_eq!(with("x".repeat(512)), Ok(()));
            assert_eq!(with("x".repeat(513)), Err(HoldError::Over { field, limit }));
        }
    }

    #[test]
    fn a_case_number_goes_with_law_enforcement_and_with_nothing_else() {
        let with = |law_enforcement: bool, number: Option<&str>| {
            let mut hold = NewHold { law_enforcement, ..hold() };
            hold.text.case_number = number.map(str::to_owned);
            hold.validate()
        };
        assert_eq!(with(true, Some("24-1")), Ok(()));
        assert_eq!(with(true, None), Err(HoldError::CaseNumberMissing));
        assert_eq!(with(true, Some(" ")), Err(HoldError::Empty("case_number")));
        assert_eq!(with(false, Some("24-1")), Err(HoldError::CaseNumberUnasked));
    }

    #[test]
    fn a_list_names_something_and_no_more_than_its_limit() {
        let subject = SubjectId::parse("7").unwrap();
        let with = |count: usize| NewHold { scope: HoldScope::Subjects(vec![subject.clone(); count]), ..hold() }.validate();
        assert_eq!((with(0), with(1), with(1_000)), (Err(HoldError::Nothing), Ok(()), Ok(())));
        assert_eq!(with(1_001), Err(HoldError::Over { field: "subjects", limit: limits::HOLD_SUBJECTS }));
    }
}
