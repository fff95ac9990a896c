//! Legal periods to begin with: data that is shown, copied and edited, and that applies to nothing by itself. Not legal advice.

use serde::{Deserialize, Serialize};

use super::rules::Minimum;

/// One legal period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegalPeriod {
    /// A stable short name.
    pub code: String,
    /// What kind of records it is about.
    pub covers: String,
    /// What it counts from, in words.
    pub from: String,
    /// How long, and by which law: a rule's `minimum` as it stands.
    pub minimum: Minimum,
}

/// The periods as they are shipped, JSON.
const SHIPPED: &str = include_str!("catalogue.json");

/// All of them. A test reads what is shipped, so it is never empty.
#[must_use]
pub fn shipped() -> Vec<LegalPeriod> {
    serde_json::from_str(SHIPPED).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{limits, retention::RuleName};

    #[test]
    fn every_shipped_period_has_its_law_and_can_be_copied_into_a_rule() {
        let read: Vec<LegalPeriod> = serde_json::from_str(SHIPPED).unwrap();
        assert_eq!(read, shipped());
        assert!(read.len() >= 13, "{}", read.len());
        let codes: BTreeSet<&str> = read.iter().map(|period| period.code.as_str()).collect();
        assert_eq!(codes.len(), read.len(), "a code twice");
        for period in &read {
            assert!(RuleName::parse(&period.code).is_some(), "{}", period.code);
            assert!(!period.covers.is_empty() && !period.from.is_empty());
            let basis = &period.minimum.basis;
            assert!(
                basis.bytes().any(|byte| byte.is_ascii_digit()) && basis.len() as u64 <= limits::BASIS_LEN.max,
                "{basis} cites no section"
            );
            let known = [
                "11 CCR ",
                "Cal. Lab. Code ",
                "Cal. Gov. Code ",
                "Cal. Rev. & Tax. Code ",
                "26 USC ",
                "26 CFR ",
                "29 CFR ",
                "45 CFR ",
                "17 CFR ",
            ];
            assert!(known.iter().any(|source| basis.starts_with(source)), "{basis}: which law?");
        }
    }

    /// All that is shipped, code by code: so a change of the list is a change here.
    #[test]
    fn the_shipped_periods_are_those_of_the_law() {
        let expected = [
            ("ccpa.request-record", "24m"),
            ("ccpa.cyber-audit", "5y"),
            ("ca.wage-statement", "3y"),
            ("ca.payroll", "3y"),
            ("ca.personnel", "4y"),
            ("ca.tax", "4y"),
            ("us.tax", "3y"),
            ("us.tax-understated", "6y"),
            ("us.tax-bad-debt", "7y"),
            ("us.employment-tax", "4y"),
            ("us.payroll", "3y"),
            ("us.personnel", "1y"),
            ("us.hipaa-documentation", "6y"),
            ("us.broker-dealer-ledgers", "6y"),
            ("us.broker-dealer-communications", "3y"),
            ("us.audit-workpapers", "7y"),
        ];
        let read: Vec<(String, String)> = shipped().iter().map(|period| (period.code.clone(), period.minimum.period.to_string())).collect();
        assert_eq!(read, expected.map(|(code, period)| (code.to_owned(), period.to_owned())));
    }

    /// Held against the requirements' table of periods (privacy, 3.1), row by row: by what is shipped for it, and its law.
    #[test]
    fn each_row_of_the_table_of_periods_is_shipped() {
        let table = [
            ("tax.us.general", "us.tax", "3y", "6501(a)"),
            ("tax.us.understated", "us.tax-understated", "6y", "6501(e)"),
            ("tax.us.badloss", "us.tax-bad-debt", "7y", "6511(d)(1)"),
            ("tax.us.employment", "us.employment-tax", "4y", "31.6001-1(e)(2)"),
            ("ccpa.request_record", "ccpa.request-record", "24m", "7101(a)"),
            ("ccpa.cyber_audit", "ccpa.cyber-audit", "5y", "7122(g)"),
            ("sox.audit_workpapers", "us.audit-workpapers", "7y", "210.2-06(a)"),
            ("sec.17a4", "us.broker-dealer-ledgers", "6y", "240.17a-4(a)"),
            ("sec.17a4", "us.broker-dealer-communications", "3y", "240.17a-4(b)"),
            ("hipaa.docs", "us.hipaa-documentation", "6y", "164.316(b)(2)(i)"),
            ("ca.ftb", "ca.tax", "4y", "19057(a)"),
            ("ca.employment", "ca.personnel", "4y", "12946(a)"),
        ];
        let shipped = shipped();
        for (row, code, length, law) in table {
            let period = shipped.iter().find(|period| period.code == code).unwrap_or_else(|| panic!("{row}"));
            assert_eq!(period.minimum.period.to_string(), length, "{row}");
            assert!(period.minimum.basis.ends_with(law), "{row}: {}", period.minimum.basis);
        }
        // `tax.us.fraud` has no limit, and so no period that a rule could count: it is said where it would be looked for.
        assert!(shipped.iter().any(|period| period.code == "us.tax" && period.covers.contains("26 USC 6501(c)")));
    }
}
