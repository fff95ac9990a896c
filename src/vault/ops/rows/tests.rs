//! docs/format.md, section 15, held against the rows and their seals.

use super::*;
use crate::{
    domain::{ShredId, limits},
    vault::{
        crypto::{Key, TenantSecret},
        ops::{VaultError, VaultOptions},
        store::schema,
    },
};

const FORMAT: &str = include_str!("../../../../docs/format.md");
const CODE: &str = concat!(
    include_str!("../rows.rs"),
    include_str!("aliases.rs"),
    include_str!("approvals.rs"),
    include_str!("events.rs"),
    include_str!("holds.rs"),
    include_str!("import.rs"),
    include_str!("kept.rs"),
    include_str!("lifecycle.rs"),
    include_str!("reports.rs")
);

/// The declaration of a type of this file, up to its end.
fn declared(name: &str) -> &'static str {
    let mut begins = ["struct", "enum"].iter().filter_map(|kind| CODE.split_once(&format!("pub(in crate::vault) {kind} {name} {{\n")));
    begins.next().unwrap_or_else(|| panic!("rows.rs declares no {name}")).1.split("\n}").next().unwrap()
}

/// The document's line that begins so.
fn line(begin: &str) -> &'static str {
    FORMAT.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("docs/format.md, section 15: add a line `{begin}`"))
}

/// The words in backticks of a line.
fn words(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Every row here: its trait, its type, its name.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let rows = CODE.split("\nimpl ").filter_map(|code| {
        let (kind, rest) = code.split_once(" for ")?;
        let (name, rest) = rest.split_once(" {\n    const NAME: &'static str = \"")?;
        Some((kind, name, rest.split('"').next()?))
    });
    rows.collect()
}

fn fields(name: &str) -> Vec<&'static str> {
    let fields = declared(name).lines().filter_map(|line| line.strip_prefix("    pub(in crate::vault) ")?.split_once(':'));
    fields.map(|(field, _)| field).collect()
}

#[test]
fn the_format_document_lists_every_field_of_every_row_in_its_order() {
    let rows = rows();
    assert!(rows.len() >= 22);
    for (_, name, told) in rows {
        let line = line(&format!("| *{told}* | "));
        assert_eq!(words(line), fields(name), "docs/format.md, section 15: the fields of {name}, in their order");
    }
    assert_eq!(words(line("| totals | ")), fields("Totals"));
    assert_eq!(words(line("| left | ")), fields("Retained"));
    assert_eq!(words(line("| hold end | ")), fields("HoldEnd"));
    assert_eq!(words(line("| approval end | ")), fields("ApprovalEnd"));
    assert_eq!(words(line("| approval rules | ")), fields("ApprovalRulesRow"));
    assert_eq!(words(line("| life | ")), fields("LifeRow"));
    assert_eq!(words(line("| termination | ")), fields("TerminationRow"));
}

#[test]
fn the_format_document_says_which_rows_have_no_seal() {
    let plain: Vec<String> = rows().iter().filter(|(kind, ..)| *kind == "PlainRow").map(|(.., told)| format!("*{told}*")).collect();
    let said = line("Behind every row but ");
    assert_eq!(said.split_once(" stands").unwrap().0, format!("Behind every row but {}", plain.join(" and ")));
}

#[test]
fn the_format_document_lists_the_choices_by_their_numbers() {
    for (part, name) in [
        ("state", "State"),
        ("scope", "Scope"),
        ("progress", "Progress"),
        ("held thing", "HoldThingRow"),
        ("asked thing", "ApprovalWhatRow"),
        ("approval's way", "ApprovalHow"),
    ] {
        let variants =
            declared(name).lines().filter_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase)));
        let line = line(&format!("| {part} | "));
        for (number, variant) in variants.enumerate() {
            let variant: String = variant.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            assert!(line.contains(&format!("{number} `{variant}`")), "docs/format.md, section 15: {number} `{variant}` of {part}");
        }
    }
}

#[test]
fn the_format_documents_rows_are_those_that_the_code_writes() {
    let joined: String = FORMAT.split_whitespace().collect();
    let shown = |name: &str| {
        let (_, rest) = joined.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("docs/format.md does not show {name}"));
        let digits = rest.find(|letter: char| !matches!(letter, '0'..='9' | 'a'..='f')).unwrap();
        hex::decode(&rest[..digits & !1]).unwrap()
    };
    let sealed = shown("side_row");
    let sealed = &sealed[..77];
    let collection =
        CollectionRow { state: State::Active, slot: 78, generation: 14, created_at: 1_700_000_000_000, sealed: sealed.to_vec() };
    let unit = UnitRow { slot: 77, generation: 13 };
    let subject = SubjectRow { state: State::Shredded([0x99; 16]) };
    let seals = seals();
    let key = schema::unit(TenantNo(5), &[0x99; 16], CollectionNo(3));
    let rows = [
        ("collection_row", encode(&collection, "").unwrap()),
        ("unit_row", encode(&unit, "").unwrap()),
        ("subject_row", encode(&subject, "").unwrap()),
        ("unit_stored_at", key.to_vec()),
        ("unit_stored", seals.seal(&key, &unit).unwrap().to_vec()),
    ];
    for (name, row) in rows {
        assert!(shown(name).starts_with(&row), "docs/format.md, section 15: {name} = {}", hex::encode(&row));
    }
    let read: CollectionRow = decode(&shown("collection_row")[..encode(&collection, "").unwrap().len()], "").unwrap();
    assert_eq!((read.slot, read.generation, read.sealed.as_slice()), (78, 14, sealed));
    assert_eq!(seals.open::<UnitRow>(&key, &shown("unit_stored")[..19]).unwrap(), unit);
}

/// Under the TS of the document's example.
fn seals() -> Seals {
    Seals::new(&Key::<TenantSecret>::from_slice(&[10; 32]))
}

#[test]
fn a_row_opens_in_its_own_place_whole_and_nowhere_else() {
    let (seals, unit) = (seals(), UnitRow { slot: 77, generation: 13 });
    let key = schema::unit(TenantNo(5), &[0x99; 16], CollectionNo(3));
    let stored = seals.seal(&key, &unit).unwrap();
    assert_eq!(seals.open::<UnitRow>(&key, &stored).unwrap(), unit);
    let refused = |key: &[u8], stored: &[u8]| matches!(seals.open::<UnitRow>(key, stored), Err(VaultError::Internal(_)));
    for bit in 0..stored.len() * 8 {
        let mut bent = stored.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&key, &bent), "bit {bit} of the row");
    }
    for bit in 0..key.len() * 8 {
        let mut other = key.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&other, &stored), "bit {bit} of the key");
    }
    for len in 0..stored.len() {
        assert!(refused(&key, &stored[..len]), "cut to {len}");
    }
    assert!(refused(&key, &[&stored[..], &[0]].concat()));
    // What the key ends with and the row begins with are two things.
    assert!(refused(&key[..key.len() - 1], &[&key[key.len() - 1..], &stored[..]].concat()));
    assert!(refused(&[&key[..], &stored[..1]].concat(), &stored[1..]));
    let other = Seals::new(&Key::<TenantSecret>::from_slice(&[11; 32]));
    assert!(matches!(other.open::<UnitRow>(&key, &stored), Err(VaultError::Internal(_))), "another store's");
}

#[test]
fn totals_of_no_collection_are_listed_with_those_that_find_no_place() {
    let one = Totals { units: 1, deleted: 2, kept: 3 };
    let of = |numbers: std::ops::Range<u32>| listed(&numbers.map(|no| (CollectionNo(no), one)).collect());
    let limit = u32::try_from(TOTALS_MAX).unwrap();
    assert_eq!(of(0..1), [(0, one)], "a tenant, or a person who has ids and no records");
    assert_eq!(of(1..3), [(1, one), (2, one)]);
    assert_eq!(of(0..3), [(1, one), (2, one), (0, one)]);
    for (from, rest) in [(1, 5), (0, 6)] {
        let listed = of(from..limit + 6);
        let (last, own) = listed.split_last().unwrap();
        assert!(own.len() == TOTALS_MAX && own.iter().all(|(no, totals)| *no > 0 && *totals == one));
        assert_eq!(*last, (0, Totals { units: rest, deleted: 2 * rest, kept: 3 * rest }));
    }
}

/// A law that is kept names its rule and its text, a held order as many ids as it may come to name: both are in one row.
#[test]
fn an_orders_row_has_room_for_all_that_it_may_come_to_hold() {
    let ids = VaultOptions::default().held_order_ids;
    let basis = "b".repeat(usize::try_from(limits::BASIS_LEN.max).unwrap());
    let mut retained = Vec::new();
    for no in 1..=100 {
        let one = Retained { collection: no, rule: "r".repeat(64), basis: basis.clone(), records: 1 << 34, until: Some(i64::MAX - 100) };
        one.list(&mut retained);
    }
    let (rest, own) = retained.split_last().unwrap();
    assert!(own.iter().all(|one| one.basis == basis) && own.len() < RETAINED_MAX);
    let together = (rest.collection, rest.rule.as_str(), rest.basis.as_str(), rest.records);
    assert_eq!(together, (0, "", "", (100 - own.len() as u64) << 34));
    let many = Totals { units: 1 << 27, deleted: 1 << 34, kept: 1 << 34 };
    let row = ShredRow {
        tenant: u64::MAX,
        scope: Scope::Subjects(vec![[255; 16]; ids]),
        aliases: u16::MAX,
        marked: (0..u16::try_from(ids).unwrap()).rev().collect(),
        after: Vec::new(),
        progress: Progress::Done,
        two_persons: true,
        approved_by: Some([255; 16]),
        ordered_by: [255; 16],
        role: u8::MAX,
        request: [255; 16],
        ordered_at: i64::MAX,
        done_at: Some(i64::MAX),
        sealed_salt: vec![255; 128],
        committed: vec![b'x'; 1_024],
        seed: [255; 16],
        sample: Vec::new(),
        persons: Vec::new(),
        totals: listed(&(0..1_000).map(|no| (CollectionNo(no), many)).collect()),
        categories: capped((0..CATEGORIES_MAX).map(|_| "c".repeat(CATEGORIES_LEN_MAX / CATEGORIES_MAX))),
        epochs: vec![(1 << 34, 1 << 34); EPOCHS_MAX],
        version: u64::MAX,
        decided_at: i64::MAX,
        is_decided: true,
        has_spared: true,
        retained,
    };
    let len = seals().seal(&schema::shred_order(ShredId([255; 16])), &row).unwrap().len();
    assert!(len <= 100_000, "{len} bytes");
}

#[test]
fn rules_that_find_no_place_are_listed_together() {
    let of = |no: u32, until| Retained { collection: no, rule: "tax".into(), basis: "law".into(), records: 2, until };
    let mut all = Vec::new();
    let limit = u32::try_from(RETAINED_MAX).unwrap();
    for no in 1..=limit {
        of(no, Some(i64::from(no))).list(&mut all);
    }
    assert_eq!(all.len(), RETAINED_MAX);
    of(limit + 1, Some(7)).list(&mut all);
    of(limit + 2, Some(9)).list(&mut all);
    let rest = |records, until| Retained { collection: 0, rule: String::new(), basis: String::new(), records, until };
    assert_eq!(all[RETAINED_MAX..], [rest(4, Some(9))]);
    of(limit + 3, None).list(&mut all);
    assert_eq!(all[RETAINED_MAX..], [rest(6, None)]);
}

#[test]
fn the_state_that_seals_is_wiped_when_it_is_dropped() {
    fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
    // An HMAC is two states of its hash, and has no more to wipe.
    is_wiped::<sha2::Sha256>();
    assert!(std::mem::needs_drop::<hmac::Hmac<sha2::Sha256>>());
}

#[test]
fn a_policy_that_an_earlier_build_stored_is_read_as_it_was() {
    for retention in ["until-deleted", "P7Y"] {
        let stored = format!(
            r#"{{"name":"crm","policy":{{"shred_unit":"subject","categories":["a"],"purposes":[],"retention":"{retention}","secondary_subjects":"keep"}},"past":{{"own_unit":false,"secondary_was":[]}}}}"#
        );
        let text: CollectionText = serde_json::from_str(&stored).unwrap();
        assert_eq!(serde_json::to_string(&text).unwrap(), stored);
        assert!(text.policy.retention.schedule().is_none(), "a duration without a rule destroys nothing");
    }
}
