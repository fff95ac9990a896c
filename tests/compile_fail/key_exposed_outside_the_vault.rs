use lethe::vault::crypto::{Data, Key};

pub fn misuse(key: &Key<Data>) -> [u8; 32] {
    *key.expose() //~ E0624 method `expose` is private
}
