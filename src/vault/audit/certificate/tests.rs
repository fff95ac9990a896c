#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

use super::*;
use crate::domain::{Gen, Slot, TenantNo};
use crate::vault::audit::{
    commitments::{Commitments, KeyId, Label},
    tlog::Log,
};

fn signer() -> Signer {
    Signer::from_seed("lethe/00000000000000000000000000000001", &[9; 32]).unwrap()
}

/// The keys that it says were destroyed.
fn key_ids() -> [KeyId; 2] {
    [(17, 2), (18, 1)].map(|(slot, generation)| KeyId::Unit(TenantNo(5), Slot::new(slot).unwrap(), Some(Gen(generation))))
}

/// A certificate with something in every field.
pub(in crate::vault::audit) fn example() -> Certificate {
    let commitments = Commitments::from_salt([5; 32]);
    let receipt = CustodyReceipt {
        epoch: Epoch(7),
        kind: "file".into(),
        level: "clear".into(),
        effective_at: Timestamp(1_790_000_000_500),
        final_at: Timestamp(1_790_000_000_600),
        evidence: "overwritten in place, read back".into(),
    };
    Certificate {
        id: ShredId([0xab; 16]),
        issued_at: Timestamp(1_790_000_001_000),
        deployment_id: StoreId([1; 16]),
        system: "lethe".into(),
        tool: "lethe 0.1.0".into(),
        media: "logical".into(),
        scope: Scope::Subject,
        action: "erase".into(),
        method: METHOD.into(),
        alg: vec!["AES-256-GCM".into()],
        strength_bits: 256,
        tenant_commitment: commitments.commit(Label::Tenant, 0, b"acme"),
        collection_commitment: None,
        targets: commitments.commit_all(Label::Target, ["ann@example.com"]),
        key_ids: commitments.commit_all(Label::KeyId, key_ids().map(KeyId::to_bytes)),
        totals: Totals { units: 2, collections: 2, records_deleted: 1, records_kept: 3 },
        categories_before: vec!["ccpa.pi.A".into()],
        confidentiality_after: "none".into(),
        epochs: vec![EpochChange {
            old: Epoch(7),
            new: Epoch(8),
            old_root_commitment: [0x11; 32],
            new_root_commitment: [0x22; 32],
            root_page_hash: [0x33; 32],
            delta_hash: [0x44; 32],
        }],
        statement: statement(std::slice::from_ref(&receipt)),
        copies_destroyed: vec![receipt],
        backups: vec![Backup {
            id: "every copy of control and data made before epoch 8".into(),
            contains_wrapped_keys: true,
            unwrap_possible: false,
        }],
        effective_at: Timestamp(1_790_000_000_500),
        final_at: Timestamp(1_790_000_000_600),
        verification: Verification { sample_size: 5, seed: "00ff".into(), readable_before: 5, readable_after: 0, unreadable_before: 0 },
        holds_checked: true,
        approval: Approval { policy: ApprovalPolicy::Single, performed_by: PrincipalId([6; 16]), approved_by: None },
        exceptions_retained: vec![Exception { basis: "tax.us.general".into(), until: Timestamp(1_890_000_000_000) }],
        subprocessors_notified: vec![],
        residual_ciphertext: vec![
            Residual { location: "data store".into(), removal_by: Some(Timestamp(1_790_100_000_000)) },
            Residual { location: "backups".into(), removal_by: None },
        ],
        beyond: None,
    }
}

/// One of an order that took very many epochs, of data of very many categories.
fn long() -> Certificate {
    let Certificate { epochs, copies_destroyed, .. } = example();
    let (epoch, copy) = (&epochs[0], &copies_destroyed[0]);
    let copies = (0..400).flat_map(|at| {
        let later = CustodyReceipt { epoch: Epoch(7 + at), level: if at == 399 { "purge" } else { "clear" }.into(), ..copy.clone() };
        [later.clone(), CustodyReceipt { kind: "hsm".into(), ..later }]
    });
    let copies: Vec<_> = copies.collect();
    Certificate {
        categories_before: (0..1_024).map(|at| format!("category-{at:0>4}")).collect(),
        epochs: (0..400).map(|at| EpochChange { old: Epoch(7 + at), new: Epoch(8 + at), ..epoch.clone() }).collect(),
        statement: statement(&copies),
        copies_destroyed: copies,
        verification: Verification { unreadable_before: 2, ..example().verification },
        ..example()
    }
}

#[test]
fn what_is_too_long_for_a_leaf_is_given_in_part_with_count_and_root() {
    assert_eq!(long().issue(&signer()), Err(CertificateError::TooLong));
    let note = long().fitted().issue(&signer()).unwrap();
    let opened = Certificate::open(&note, &signer().verifier()).unwrap();
    assert_eq!(opened, long().fitted());
    assert_eq!((opened.categories_before.len(), opened.epochs.len(), opened.copies_destroyed.len()), (64, 32, 34));
    let Beyond { categories, epochs, copies } = opened.beyond.clone().unwrap();
    let leaves: Vec<_> = long().categories_before.iter().map(|text| merkle::leaf_hash(text.as_bytes())).collect();
    assert!(categories.unwrap().is_of(&leaves));
    assert_eq!((epochs.unwrap().count, copies.unwrap().count), (400, 800));
    assert_eq!(opened.statement, statement(&long().copies_destroyed), "the claim is about all of them");

    // Whatever stands in the categories, and whatever they are called.
    let control = "\u{1}".repeat(128);
    let widest = Certificate { categories_before: vec![control; 64], ..long() };
    assert!(widest.fitted().issue(&signer()).unwrap().len() <= MAX_LEAF_LEN_BYTES);

    assert_eq!(example().fitted(), example(), "what fits is as it was");
    let changed = |change: fn(&mut Beyond)| {
        let mut certificate = long().fitted();
        change(certificate.beyond.as_mut().unwrap());
        certificate.issue(&signer())
    };
    assert_eq!(changed(|beyond| beyond.epochs.as_mut().unwrap().count = 32), Err(CertificateError::Format));
    let nothing = |beyond: &mut Beyond| *beyond = Beyond { categories: None, epochs: None, copies: None };
    assert_eq!(changed(nothing), Err(CertificateError::Format));
}

#[test]
fn the_long_certificate_of_format_1_stays_readable() {
    let fixture = include_str!("fixtures/certificate-1-long.note");
    assert_eq!(long().fitted().issue(&signer()).unwrap(), fixture);
    assert_eq!(Certificate::open(fixture, &signer().verifier()).unwrap(), long().fitted());
}

#[test]
fn a_certificate_survives_its_note_and_holds_no_name() {
    let note = example().issue(&signer()).unwrap();
    assert_eq!(Certificate::open(&note, &signer().verifier()).unwrap(), example());
    assert_eq!(note, example().issue(&signer()).unwrap(), "signing is deterministic");
    for name in ["acme", "ann", "example.com"] {
        assert!(!note.contains(name), "{name}");
    }
    let opened = Certificate::open(&note, &signer().verifier()).unwrap();
    let commitments = Commitments::from_salt([5; 32]);
    assert!(opened.targets.opens(&commitments, Label::Target, ["ann@example.com"]));
    assert!(opened.key_ids.opens(&commitments, Label::KeyId, key_ids().map(KeyId::to_bytes)));
}

#[test]
fn the_certificate_of_format_1_stays_readable() {
    let fixture = include_str!("fixtures/certificate-1.note");
    assert_eq!(example().issue(&signer()).unwrap(), fixture);
    assert_eq!(Certificate::open(fixture, &signer().verifier()).unwrap(), example());
}

#[test]
fn every_flipped_bit_of_a_certificate_is_refused() {
    let note = example().issue(&signer()).unwrap();
    for at in 0..note.len() {
        let mut bytes = note.as_bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        let opened = std::str::from_utf8(&bytes).ok().map(|note| Certificate::open(note, &signer().verifier()));
        assert!(!matches!(opened, Some(Ok(_))), "byte {at}");
    }
}

#[test]
fn what_was_not_checked_or_approved_is_not_certified() {
    let changed = |change: fn(&mut Certificate)| {
        let mut certificate = example();
        change(&mut certificate);
        certificate.issue(&signer()).unwrap_err()
    };
    assert_eq!(changed(|c| c.verification.readable_after = 1), CertificateError::NotVerified);
    assert_eq!(changed(|c| c.verification.readable_before = 4), CertificateError::NotVerified);
    assert_eq!(changed(|c| c.backups[0].unwrap_possible = true), CertificateError::NotVerified);
    assert_eq!(changed(|c| c.approval.policy = ApprovalPolicy::TwoPerson), CertificateError::NotApproved);
    let same_person = |c: &mut Certificate| {
        c.approval =
            Approval { policy: ApprovalPolicy::TwoPerson, performed_by: PrincipalId([6; 16]), approved_by: Some(PrincipalId([6; 16])) };
    };
    assert_eq!(changed(same_person), CertificateError::NotApproved);
    assert_eq!(changed(|c| c.epochs.clear()), CertificateError::NothingDestroyed);
    assert_eq!(changed(|c| c.statement.push_str(" and more")), CertificateError::Format);
    assert_eq!(changed(|c| c.method = "purge".into()), CertificateError::Format);
    assert_eq!(changed(|c| c.categories_before = vec!["x".repeat(66_000)]), CertificateError::TooLong);
    let mut approved = example();
    approved.approval.policy = ApprovalPolicy::TwoPerson;
    approved.approval.approved_by = Some(PrincipalId([7; 16]));
    assert!(approved.issue(&signer()).is_ok());
}

#[test]
fn the_statement_says_what_each_custody_reaches() {
    let file = example().copies_destroyed;
    let expected = "cryptographic erasure following the principles of NIST SP 800-88; custody: file, clear";
    assert_eq!(statement(&file), expected);
    let two = [
        file[0].clone(),
        CustodyReceipt { epoch: Epoch(8), ..file[0].clone() },
        CustodyReceipt { kind: "hsm".into(), level: "purge".into(), ..file[0].clone() },
    ];
    assert_eq!(statement(&two), format!("{expected}; hsm, purge"));
}

#[test]
fn a_certificate_is_verified_offline_with_its_proof() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut log = Log::open(&dir.path().join("log"), signer(), None).unwrap();
    log.append(&[b"before"]).unwrap();
    let note = example().issue(&signer()).unwrap();
    let index = log.append(&[note.as_bytes(), b"after"]).unwrap();
    let proof = LogProof::parse(&log.proof(index).unwrap().unwrap().to_text()).unwrap();
    let (certificate, checkpoint) = verify_certificate(&note, &proof, &signer().verifier()).unwrap();
    assert_eq!((certificate, checkpoint.size), (example(), 3));
    let other = log.proof(0).unwrap().unwrap();
    assert_eq!(verify_certificate(&note, &other, &signer().verifier()), Err(CertificateError::Log(ProofError::Proof)));
    let checkpoint = log.checkpoint();
    assert_eq!(
        Certificate::open(checkpoint, &signer().verifier()),
        Err(CertificateError::Format),
        "a checkpoint is signed too, and is none"
    );
}

#[test]
fn another_implementation_of_ed25519_accepts_the_signature() {
    use base64::{Engine, engine::general_purpose::STANDARD};

    let note = example().issue(&signer()).unwrap();
    let (text, line) = note.rsplit_once("\n\u{2014} ").unwrap();
    let signature = STANDARD.decode(line.trim_end().rsplit_once(' ').unwrap().1).unwrap();
    let key = STANDARD.decode(signer().verifier().to_string().rsplit_once('+').unwrap().1).unwrap();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &key[1..]);
    assert!(key.verify(text.as_bytes(), &signature[4..]).is_ok());
    assert!(key.verify(note.as_bytes(), &signature[4..]).is_err());
}

/// The fields of a struct of these files, each with its type.
fn declared(name: &str) -> Vec<(&'static str, &'static str)> {
    let files = [include_str!("../certificate.rs"), include_str!("../commitments.rs")];
    let body = files.iter().find_map(|file| file.split_once(&format!("pub struct {name} {{\n"))).unwrap_or_else(|| panic!("no {name}")).1;
    let lines = body.split("\n}").next().unwrap().lines().filter(|line| !line.trim_start().starts_with(['/', '#']));
    lines.filter_map(|line| line.trim_start().trim_start_matches("pub ").trim_end_matches(',').split_once(": ")).collect()
}

/// A type as the document names it, and the struct of which it holds one or many.
fn told(of: &'static str) -> (String, Option<&'static str>) {
    let within = |outer: &str| of.strip_prefix(outer)?.strip_suffix('>');
    if let Some(inner) = within("Vec<") {
        let (name, nested) = told(inner);
        return (format!("list of {name}"), nested);
    }
    if let Some(inner) = within("Option<") {
        let (name, nested) = told(inner);
        return (format!("{name} or null"), nested);
    }
    let simple = match of {
        "ShredId" | "StoreId" | "PrincipalId" => "hex 16",
        "[u8; 32]" | "Hash" => "hex 32",
        "Timestamp" => "time",
        "String" => "text",
        "u32" | "u64" | "Epoch" => "number",
        "bool" => "boolean",
        "Scope" | "ApprovalPolicy" => "choice",
        _ => return ("object".into(), Some(of)),
    };
    (simple.into(), None)
}

fn lines_of(name: &str, prefix: &str, lines: &mut Vec<String>) {
    for (field, of) in declared(name) {
        let (shown, nested) = told(of);
        lines.push(format!("| `{prefix}{field}` | {shown} |"));
        if let Some(nested) = nested {
            lines_of(nested, &format!("{prefix}{field}{}.", if of.starts_with("Vec<") { "[]" } else { "" }), lines);
        }
    }
}

#[test]
fn the_format_document_lists_every_field_of_a_certificate_in_its_order() {
    let mut expected = Vec::new();
    lines_of("Certificate", "", &mut expected);
    assert!(expected.len() > 70);
    let format = include_str!("../../../../docs/format.md");
    let (_, table) = format.split_once("| field | type | meaning |\n|---|---|---|\n| `id` ").unwrap();
    let table = format!("| `id` {}", table.split("\n\n").next().unwrap());
    for (line, expected) in table.lines().zip(&expected) {
        let meaning = line.strip_prefix(expected.as_str()).unwrap_or_else(|| panic!("docs/format.md: {line}, and the field is {expected}"));
        assert!(meaning.len() > 6, "docs/format.md: {expected} says nothing");
    }
    assert_eq!(table.lines().count(), expected.len());
    // And as it is written: the first fields of each level stand in this order.
    let written = serde_json::to_string_pretty(&long().fitted()).unwrap();
    let top: Vec<&str> = written.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    let listed: Vec<&str> = expected.iter().filter_map(|line| line.split('`').nth(1)).filter(|name| !name.contains('.')).collect();
    assert_eq!(top, listed);
}
