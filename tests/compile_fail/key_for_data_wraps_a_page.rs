use lethe::{
    domain::{Epoch, StoreId},
    vault::crypto::{Data, Key, PageId, PageSlots},
};

pub fn misuse(key: &Key<Data>, store: &StoreId, id: &PageId, slots: &PageSlots) -> Vec<u8> {
    key.wrap_page(store, id, Epoch(1), slots) //~ E0599 no method named `wrap_page` found for reference `&Key<Data>`
}
