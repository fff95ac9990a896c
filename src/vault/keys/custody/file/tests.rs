use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::domain::TestClock;

const STORE: StoreId = StoreId([7; 16]);
const A: RootId = RootId([1; 16]);
const B: RootId = RootId([2; 16]);

fn made() -> (tempfile::TempDir, PathBuf, FileCustody) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("custody");
    FileCustody::create(&path, STORE).unwrap();
    let custody = open(&path).unwrap();
    (dir, path, custody)
}

fn open(path: &Path) -> Result<FileCustody, CustodyError> {
    FileCustody::open(path, None, STORE, Arc::new(TestClock::at(Timestamp(1_000))))
}

fn held(custody: &FileCustody) -> Vec<(u64, RootId, [u8; 32])> {
    custody.load().unwrap().iter().map(|held| (held.epoch.0, held.root_id, **held.secret)).collect()
}

fn holds(path: &Path, secret: [u8; 32]) -> bool {
    std::fs::read(path).unwrap().windows(32).any(|bytes| bytes == secret)
}

#[test]
fn a_destroyed_component_is_nowhere_in_the_file() {
    let (_dir, path, custody) = made();
    assert!(held(&custody).is_empty());
    custody.prepare(Epoch(1), A, &[0xAA; 32]).unwrap();
    custody.prepare(Epoch(2), B, &[0xBB; 32]).unwrap();
    assert_eq!(held(&custody), [(1, A, [0xAA; 32]), (2, B, [0xBB; 32])]);
    assert!(holds(&path, [0xAA; 32]));
    let receipt = custody.destroy(A).unwrap();
    assert_eq!(receipt.effective_at, Timestamp(1_000));
    assert!(receipt.evidence.iter().any(|word| word == "read-back=device" || word == "read-back=page-cache"));
    assert_eq!(held(&open(&path).unwrap()), [(2, B, [0xBB; 32])]);
    assert!(!holds(&path, [0xAA; 32]));
    assert_eq!(custody.destroyed(A).unwrap().unwrap().effective_at, Timestamp(1_000));
    assert_eq!(custody.destroy(A).unwrap().level, receipt.level, "again is no error");
    assert_eq!(custody.destroyed(B).unwrap(), None);
}

#[test]
fn a_destruction_that_was_cut_short_leaves_no_receipt_and_is_done_again() {
    let (_dir, path, custody) = made();
    custody.prepare(Epoch(1), A, &[0xAA; 32]).unwrap();
    custody.prepare(Epoch(2), B, &[0xBB; 32]).unwrap();
    // The slot no longer adds up, and its component is there all the same.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 16], 2_048).unwrap();
    assert_eq!(held(&custody), [(2, B, [0xBB; 32])]);
    assert_eq!(custody.destroyed(A).unwrap(), None, "it is still to be read in the file");
    custody.destroy(A).unwrap();
    assert!(!holds(&path, [0xAA; 32]));
    assert!(custody.destroyed(A).unwrap().is_some());
    assert!(custody.destroyed(RootId([9; 16])).unwrap().is_some(), "what is in no slot is gone");
    assert_eq!(held(&custody), [(2, B, [0xBB; 32])]);
}

#[test]
fn a_third_component_finds_no_room() {
    let (_dir, _path, custody) = made();
    custody.prepare(Epoch(1), A, &[1; 32]).unwrap();
    custody.prepare(Epoch(2), B, &[2; 32]).unwrap();
    assert_eq!(custody.prepare(Epoch(3), RootId([3; 16]), &[3; 32]), Err(CustodyError::Full));
    assert_eq!(held(&custody).len(), 2, "the two are untouched");
}

#[test]
fn remains_of_a_torn_write_are_not_held_and_are_scrubbed() {
    let (_dir, path, custody) = made();
    custody.prepare(Epoch(1), A, &[0xAA; 32]).unwrap();
    custody.prepare(Epoch(2), B, &[0xBB; 32]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[SLOT_LEN - 1] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(held(&custody), [(2, B, [0xBB; 32])]);
    custody.scrub().unwrap();
    assert!(!holds(&path, [0xAA; 32]));
    assert_eq!(held(&custody), [(2, B, [0xBB; 32])], "what is held stays");
}

#[test]
fn a_file_that_others_can_read_or_that_is_not_ours_is_refused() {
    let (dir, path, _custody) = made();
    let refused = |path: &Path| open(path).err().unwrap();
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o640);
    assert_eq!(refused(&path), CustodyError::Exposed("its mode must be 0600"));
    set_mode(0o600);
    let link = dir.path().join("link");
    std::fs::hard_link(&path, &link).unwrap();
    assert_eq!(refused(&path), CustodyError::Exposed("it must have one link"));
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(refused(&link), CustodyError::Io(_)), "a symbolic link");
    assert_eq!(refused(&dir.path().join("absent")), CustodyError::Missing);
    let other = FileCustody::open(&path, None, StoreId([8; 16]), Arc::new(TestClock::at(Timestamp(0)))).err().unwrap();
    assert_eq!(other, CustodyError::Foreign);
    assert!(FileCustody::create(&path, STORE).is_err(), "an existing file is never made anew");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[1..]).unwrap();
    assert_eq!(refused(&path), CustodyError::Format);
}

#[test]
fn an_examination_refuses_what_an_opening_would() {
    let (dir, path, _custody) = made();
    let owner = rustix::process::geteuid().as_raw();
    let examined = FileCustody::examine(&path, Some(dir.path()), owner).unwrap();
    assert!(examined.level.is_lowered(), "{examined:?}");
    assert!(examined.evidence.contains(&"same-volume-as-data=yes".to_owned()), "{examined:?}");
    let of_another = FileCustody::examine(&path, None, owner + 1);
    assert_eq!(of_another, Err(CustodyError::Exposed("the server's user must own it")));
    std::fs::hard_link(&path, dir.path().join("link")).unwrap();
    assert_eq!(FileCustody::examine(&path, None, owner), Err(CustodyError::Exposed("it must have one link")));
}

#[test]
fn a_slot_is_what_the_document_shows() {
    let format = include_str!("../../../../../docs/format.md");
    let slot = encode(StoreId([0x11; 16]), 1, Epoch(7), RootId([0x22; 16]), Timestamp(1_000), &[1; 32]);
    let (body, sum) = slot.split_at(BODY_LEN);
    let shown = hex::encode(&body[..88]);
    let (first, second) = shown.split_at(100);
    assert!(body[88..].iter().all(|byte| *byte == 0));
    assert!(format.contains(&format!("custody_slot = {first}\n  {second}\n")), "{shown}");
    assert!(format.contains(&format!("custody_slot_sha256 = {}\n", hex::encode(sum))), "{}", hex::encode(sum));
}
