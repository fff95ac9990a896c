use lethe::vault::keys::{Forest, UnitRef};

async fn slow() {}

pub async fn misuse(forest: &Forest, unit: UnitRef) {
    let _ = forest.lend_unit(unit, |_| slow().await); //~ E0728 `await` is only allowed inside `async` functions and blocks
}
