use lethe::vault::{
    crypto::{Key, Unit},
    keys::{Forest, UnitRef},
};

async fn slow(_: &Key<Unit>) {}

pub async fn misuse(forest: &Forest, unit: UnitRef) {
    if let Ok(future) = forest.lend_unit(unit, |key| async move { slow(key).await }) { //~ - lifetime may not live long enough
        future.await;
    }
}
