use lethe::vault::crypto::{Data, Key};

pub fn misuse(key: Key<Data>) -> (Key<Data>, Key<Data>) {
    (key.clone(), key) //~ E0599 no method named `clone` found for struct
}
