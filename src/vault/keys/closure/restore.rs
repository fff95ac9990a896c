//! The restore matrix at the level of keys: which old copies are refused, by which name, and what is recovered from what.

use std::fs;

use super::*;
use crate::vault::{
    keys::{CustodyError, FileCustody, KeysError, Recovery, StartError, testing::STORE},
    store::embedded::Embedded,
};

/// A store of which there is a copy from before unit 1 was shredded.
struct Aged {
    base: Base,
    today: World,
}

impl Aged {
    fn new() -> Self {
        let base = Base::new(scenarios().swap_remove(0));
        let mut today = base.world.copy();
        let ground = today.start(None).unwrap();
        block_on(async {
            let (forest, _) = Forest::open(ground, base.scenario.options).await.unwrap();
            live(&forest, &base).await.unwrap();
        });
        today.stop();
        Self { base, today }
    }

    /// Puts the old copy of these parts back.
    fn put_back(&self, parts: &[&str]) -> World {
        let world = self.today.copy();
        for part in parts {
            world.replace(part, &self.base.world);
        }
        world
    }

    fn open(&self, world: &mut World) -> Result<(Forest, Recovery), KeysError> {
        let ground = world.start(None).unwrap();
        block_on(Forest::open(ground, self.base.scenario.options))
    }

    fn refused(&self, parts: &[&str]) -> StartError {
        let mut world = self.put_back(parts);
        let before = world.custody_bytes();
        let refused = self.open(&mut world);
        assert_eq!(world.custody_bytes(), before, "a refused start changes nothing");
        match refused {
            Err(KeysError::Start(error)) => error,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{parts:?} was not refused"),
        }
    }

    fn holds(&self, world: &mut World) {
        let (forest, recovery) = self.open(world).unwrap();
        assert_eq!(recovery.row, StartRow::Clean);
        block_on(async {
            live(&forest, &self.base).await.unwrap();
            judge(&forest, &self.base, world, false).await.unwrap();
        });
    }
}

#[test]
fn an_old_control_store_under_todays_custody_is_refused() {
    let aged = Aged::new();
    let error = aged.refused(&["store", "mirror"]);
    assert_eq!((error.code(), error), ("tree-behind-custody", StartError::TreeBehindCustody));
}

#[test]
fn an_old_control_store_beside_todays_mirror_is_refused_and_rebuilt_from_it() {
    let aged = Aged::new();
    for lost in [false, true] {
        let mut world = aged.put_back(&["store"]);
        if lost {
            fs::remove_dir_all(world.path("store/control")).unwrap();
        }
        assert!(world.start(None).is_err(), "the engine refuses it by itself");
        world.stop();
        Embedded::rebuild_control_from_mirror(&crate::vault::keys::testing::engine(&world.path(""))).unwrap();
        aged.holds(&mut world);
    }
}

#[test]
fn rolled_back_custody_is_refused() {
    let aged = Aged::new();
    let error = aged.refused(&["custody-a", "custody-b"]);
    assert_eq!((error.code(), error), ("custody-rollback", StartError::CustodyRollback));
}

#[test]
fn one_old_component_of_two_is_refused_by_a_name_of_its_own() {
    let aged = Aged::new();
    for component in ["custody-a", "custody-b"] {
        let error = aged.refused(&[component]);
        assert_eq!(error.code(), "custody-mixed");
        assert!(matches!(&error, StartError::CustodyMixed(named) if named.ends_with(component)), "{error}");
    }
}

#[test]
fn one_missing_or_empty_component_of_two_is_refused_by_a_name_of_its_own() {
    let aged = Aged::new();
    let mut world = aged.put_back(&[]);
    fs::remove_file(world.path("custody-b")).unwrap();
    assert_eq!(world.start(None).err().unwrap(), CustodyError::Missing.to_string());
    world.stop();
    FileCustody::create(&world.path("custody-b"), STORE).unwrap();
    let error = aged.open(&mut world).err().unwrap();
    assert!(matches!(&error, KeysError::Start(StartError::ComponentEmpty(named)) if named.ends_with("custody-b")), "{error}");
}

#[test]
fn an_old_root_is_not_destroyed_while_the_mirror_cannot_be_brought_up_to_date() {
    let base = Base::new(scenarios().swap_remove(0));
    for place in 0.. {
        let mut world = base.world.copy();
        let ground = world.start(Some(place)).unwrap();
        let row = block_on(async {
            let (forest, recovery) = Forest::open(ground, base.scenario.options).await?;
            live(&forest, &base).await.map(|()| recovery.row).map_err(|_| KeysError::Restart)
        });
        world.stop();
        assert!(row.is_err(), "no schedule left both roots and the new pages");
        // The first write of a start is the mirror's: it fails.
        let ground = world.start(Some(0)).unwrap();
        let before = world.custody_bytes();
        let refused = block_on(Forest::open(ground, base.scenario.options)).err().unwrap();
        assert!(matches!(refused, KeysError::Start(StartError::MirrorMissing(_))), "{refused}");
        assert_eq!(world.custody_bytes(), before);
        world.stop();
        let ground = world.start(None).unwrap();
        let (forest, recovery) = block_on(Forest::open(ground, base.scenario.options)).unwrap();
        drop(forest);
        world.stop();
        if recovery.row == StartRow::RolledForward {
            return;
        }
    }
}

#[test]
fn an_old_copy_of_everything_opens_which_is_why_custody_must_not_be_copied() {
    let aged = Aged::new();
    let mut world = aged.put_back(&["store", "mirror", "custody-a", "custody-b"]);
    let (forest, _) = aged.open(&mut world).unwrap();
    let (unit, key) = aged.base.units[1];
    assert_eq!(block_on(forest.load_unit(A, unit.slot)).unwrap(), unit);
    assert_eq!(forest.lend_unit(unit, |lent| *lent.expose()).unwrap(), key, "the limit that the certificate states");
}
