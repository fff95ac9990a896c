use lethe::vault::{
    crypto::{Key, Unit},
    keys::{Forest, UnitRef},
};

pub fn misuse(forest: &Forest, unit: UnitRef) {
    let mut kept: Vec<&Key<Unit>> = Vec::new();
    if let Ok(key) = forest.lend_unit(unit, |key| key) { //~ - lifetime may not live long enough
        kept.push(key);
    }
}
