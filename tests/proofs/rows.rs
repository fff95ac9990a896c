//! The rows of a store as they lie in it: read, written and bent past the vault.

use bytes::Bytes;
use lethe::{
    domain::{ShredId, TenantNo},
    vault::store::{
        Commit, Durability, Row, Space, Store as _, Urgency, Write,
        embedded::Embedded,
        schema::{self, KeyRange, Table},
    },
};

/// The space that a table lies in.
fn space_of(table: Table) -> Space {
    if table as u8 >= 128 { Space::Index } else { Space::Control }
}

async fn within(store: &Embedded, space: Space, range: &KeyRange) -> Vec<Row> {
    store.scan(space, &range.from, &range.to, usize::MAX).await.unwrap()
}

/// All of a space.
pub(crate) async fn all(store: &Embedded, space: Space) -> Vec<Row> {
    within(store, space, &schema::prefix(&[])).await
}

/// All of a table.
pub(crate) async fn table(store: &Embedded, table: Table) -> Vec<Row> {
    within(store, space_of(table), &schema::table(table)).await
}

/// How many a table has.
pub(crate) async fn count(store: &Embedded, of: Table) -> usize {
    table(store, of).await.len()
}

/// Those of a tenant's records.
pub(crate) async fn records(store: &Embedded, tenant: TenantNo) -> Vec<Row> {
    within(store, Space::Records, &schema::records_of_tenant(tenant)).await
}

/// The orders to shred of which a table has a row that ends with their id.
pub(crate) async fn orders(store: &Embedded, of: Table) -> Vec<ShredId> {
    table(store, of).await.iter().map(|row| ShredId(*row.key.last_chunk().unwrap())).collect()
}

/// Rows as pairs of a key and a value.
pub(crate) fn pairs(rows: Vec<Row>) -> Vec<(Bytes, Bytes)> {
    rows.into_iter().map(|row| (row.key, row.value)).collect()
}

pub(crate) async fn write(store: &Embedded, writes: Vec<Write>) {
    let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
    store.commit(commit).await.unwrap();
}

/// Sets a row, or takes it away.
pub(crate) async fn set(store: &Embedded, space: Space, key: &Bytes, value: Option<Bytes>) {
    let key = key.clone();
    let one = match value {
        Some(value) => Write::Put { space, key, value },
        None => Write::Delete { space, key },
    };
    write(store, vec![one]).await;
}

/// The value with one bit of its last byte changed.
pub(crate) fn bent(value: &[u8]) -> Bytes {
    let mut bent = value.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    bent.into()
}
