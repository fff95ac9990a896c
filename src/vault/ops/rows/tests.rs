//! docs/format.md, section 15, held against the rows.

use super::*;

const FORMAT: &str = include_str!("../../../../docs/format.md");
const CODE: &str = include_str!("../rows.rs");

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

fn fields(name: &str) -> Vec<&'static str> {
    let fields = declared(name).lines().filter_map(|line| line.strip_prefix("    pub(in crate::vault) ")?.split_once(':'));
    fields.map(|(field, _)| field).collect()
}

#[test]
fn the_format_document_lists_every_field_of_every_row_in_its_order() {
    let rows: Vec<&str> = CODE.split("impl RowCodec for ").skip(1).collect();
    assert!(rows.len() >= 13);
    for row in rows {
        let (name, rest) = row.split_once(" {").unwrap();
        let told = rest.split('"').nth(1).unwrap();
        let line = line(&format!("| *{told}* | "));
        assert_eq!(words(line), fields(name), "docs/format.md, section 15: the fields of {name}, in their order");
    }
    assert_eq!(words(line("| totals | ")), fields("Totals"));
}

#[test]
fn the_format_document_lists_the_choices_by_their_numbers() {
    for (part, name) in [("state", "State"), ("scope", "Scope"), ("progress", "Progress")] {
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
    let rows = [("collection_row", collection.to_row()), ("unit_row", unit.to_row()), ("subject_row", subject.to_row())];
    for (name, row) in rows {
        let row = row.unwrap();
        assert!(shown(name).starts_with(&row), "docs/format.md, section 15: {name} = {}", hex::encode(&row));
    }
    let read = CollectionRow::from_row(&shown("collection_row")[..collection.to_row().unwrap().len()]).unwrap();
    assert_eq!((read.slot, read.generation, read.sealed.as_slice()), (78, 14, sealed));
}
