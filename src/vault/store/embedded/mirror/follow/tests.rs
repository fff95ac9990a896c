#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    super::{
        super::super::{Row, Space, Write},
        Delta, Mirror, create, restore,
    },
    *,
};
use crate::domain::StoreId;

const STORE: StoreId = StoreId([1; 16]);

/// A mirror and the place of a copy.
struct Pair {
    from: TempDir,
    to: TempDir,
    mirror: Mirror,
}

fn put(key: u64, value: u64) -> Write {
    let len = 10 + usize::try_from(value % 50).unwrap();
    Write::Put { space: Space::Control, key: Bytes::from(key.to_be_bytes().to_vec()), value: Bytes::from(vec![7; len]) }
}

fn delta(mirror: &Mirror, number: u64) -> Delta {
    let mut body = Vec::new();
    frame::put_write(&mut body, &put(number % 20, number));
    Delta::new(mirror.state(), &body).unwrap()
}

impl Pair {
    fn new() -> Self {
        Self::of(STORE)
    }

    fn of(store: StoreId) -> Self {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        create(from.path(), store).unwrap();
        let mirror = Mirror::open(from.path(), false).unwrap();
        Self { from, to, mirror }
    }

    fn follower(&self, begins: bool) -> Result<Follower, OpenError> {
        Follower::open(self.from.path(), self.to.path(), Way { begins, sync: false, companion: None })
    }

    fn append(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let next = delta(&self.mirror, number);
            self.mirror.append(&next).unwrap();
        }
    }

    /// As when the deltas outgrow the snapshot.
    fn compact(&mut self) {
        let rows = restore(self.from.path()).unwrap().rows;
        let rows = rows.into_iter().map(|((space, key), value)| Ok((space, Row { key, value })));
        self.mirror.replace(self.mirror.state(), rows).unwrap();
    }

    fn copy(&self) -> Vec<u8> {
        std::fs::read(log_path(self.to.path())).unwrap()
    }

    /// The copy holds what the mirror holds.
    fn is_level(&self) {
        let (has, wanted) = (restore(self.to.path()).unwrap(), restore(self.from.path()).unwrap());
        assert_eq!((has.seq, has.digest, has.rows), (wanted.seq, wanted.digest, wanted.rows));
    }
}

#[test]
fn a_copy_is_the_mirror_again_whatever_has_happened_to_either() {
    for seed in 0..30_u64 {
        let mut pair = Pair::new();
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut follower = pair.follower(true).unwrap();
        for step in 0..40 {
            match draw(8) {
                0 => pair.compact(),
                1 => {
                    drop(follower);
                    follower = pair.follower(true).unwrap();
                }
                2 if step > 0 => {
                    // What a step that was cut short has left, or a bent byte.
                    drop(follower);
                    let (path, mut bytes) = (log_path(pair.to.path()), pair.copy());
                    let place = usize::try_from(draw(bytes.len() as u64)).unwrap();
                    if draw(2) == 0 {
                        bytes.truncate(place);
                    } else {
                        bytes[place] ^= 4;
                    }
                    // A head that is bent may be of another format or store, which is not written over.
                    if place > 80 {
                        std::fs::write(&path, bytes).unwrap();
                    }
                    follower = pair.follower(true).unwrap();
                }
                _ => pair.append(step * 10..step * 10 + draw(10)),
            }
            let wanted = pair.mirror.state();
            assert_eq!(follower.step(wanted.seq).unwrap(), wanted, "seed {seed}, step {step}");
            pair.is_level();
        }
    }
}

#[test]
fn what_was_brought_once_is_not_moved_again() {
    let mut pair = Pair::new();
    pair.append(0..100);
    let mut follower = pair.follower(true).unwrap();
    follower.step(0).unwrap();
    let all = follower.moved();
    assert_eq!(all, pair.copy().len() as u64);
    pair.append(100..101);
    follower.step(101).unwrap();
    assert!(follower.moved() - all < 200, "one frame: {}", follower.moved() - all);
    drop(follower);
    let mut again = pair.follower(false).unwrap();
    again.step(101).unwrap();
    assert_eq!(again.moved(), 0, "the copy is known again by what it holds");
}

#[test]
fn a_frame_that_is_being_written_is_brought_when_it_is_whole() {
    let mut pair = Pair::new();
    pair.append(0..5);
    let mut follower = pair.follower(true).unwrap();
    let whole = pair.mirror.state();
    let next = delta(&pair.mirror, 5);
    let path = log_path(pair.from.path());
    let len = std::fs::metadata(&path).unwrap().len();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for part in 1..next.frame.len() {
        file.write_all_at(&next.frame[..part], len).unwrap();
        assert_eq!(follower.step(0).unwrap(), whole, "{part} bytes of it");
    }
    pair.mirror.append(&next).unwrap();
    assert_eq!(follower.step(6).unwrap(), next.state);
    pair.is_level();
}

#[test]
fn a_copy_that_is_ahead_or_went_another_way_is_not_written_over() {
    let mut pair = Pair::new();
    pair.append(0..10);
    let old = std::fs::read(log_path(pair.from.path())).unwrap();
    pair.append(10..20);
    pair.follower(true).unwrap().step(20).unwrap();
    let copy = pair.copy();

    // Yesterday's mirror.
    std::fs::write(log_path(pair.from.path()), &old).unwrap();
    for _ in 0..2 {
        let refused = pair.follower(true).unwrap().step(0).unwrap_err();
        assert!(matches!(refused, OpenError::ControlBehindCopy { control: 10, copy: 20, .. }), "{refused}");
    }
    // Which somebody has written to since.
    let Pair { from, to, mirror } = pair;
    drop(mirror);
    let mirror = Mirror::open(from.path(), false).unwrap();
    let mut pair = Pair { from, to, mirror };
    pair.append(900..920);
    let refused = pair.follower(true).unwrap().step(0).unwrap_err();
    assert!(matches!(refused, OpenError::CopyDiverged { seq: 20, .. }), "{refused}");

    let other = Pair::of(StoreId([2; 16]));
    let way = Way { begins: true, sync: false, companion: None };
    let refused = Follower::open(other.from.path(), pair.to.path(), way).unwrap().step(0).unwrap_err();
    assert_eq!(refused.name(), "foreign-store");
    assert!(pair.copy() == copy, "it is as it was");
}

#[test]
fn a_damaged_mirror_is_not_brought_and_a_copy_that_is_gone_is_begun_by_nobody_but_who_is_told_to() {
    let mut pair = Pair::new();
    assert_eq!(pair.follower(false).err().unwrap().name(), "copy-missing");
    pair.append(0..10);
    pair.follower(true).unwrap().step(10).unwrap();
    let copy = pair.copy();
    pair.append(10..20);
    let path = log_path(pair.from.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[copy.len() + 60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = pair.follower(false).unwrap().step(20).unwrap_err();
    assert_eq!(refused.name(), "mirror-damaged");
    assert!(pair.copy() == copy);
    // Its disk goes away under who brings it along.
    let mut follower = pair.follower(false).unwrap();
    std::fs::remove_file(log_path(pair.to.path())).unwrap();
    assert_eq!(follower.step(0).unwrap_err().name(), "copy-missing");
    assert!(!log_path(pair.to.path()).exists(), "nothing is begun on the disk below");
}

struct Noted;

impl Companion for Noted {
    fn bring(&mut self, _: &dyn Fn()) -> io::Result<()> {
        Err(io::Error::other("planted"))
    }
}

fn noted(_: &Path, _: &Path) -> Box<dyn Companion> {
    Box::new(Noted)
}

#[test]
fn what_goes_with_a_copy_goes_before_it() {
    let mut pair = Pair::new();
    pair.append(0..5);
    let way = Way { begins: true, sync: false, companion: Some(noted) };
    let refused = Follower::open(pair.from.path(), pair.to.path(), way).unwrap().step(5).unwrap_err();
    assert!(refused.to_string().contains("planted"), "{refused}");
    assert!(!log_path(pair.to.path()).exists(), "rows that say of more than lies beside them are not brought");
}
