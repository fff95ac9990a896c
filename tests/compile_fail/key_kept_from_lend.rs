use lethe::vault::{
    crypto::{Key, Unit},
    keys::{Forest, UnitRef},
};

pub fn misuse(forest: &Forest, unit: UnitRef) {
    let mut kept: Vec<&Key<Unit>> = Vec::new();
    let _ = forest.lend_unit(unit, |key| kept.push(key)); //~ E0521 borrowed data escapes outside of closure
}
