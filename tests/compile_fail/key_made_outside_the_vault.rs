use lethe::vault::crypto::{Data, Key};

pub fn misuse() -> Key<Data> {
    Key::make() //~ E0624 associated function `make` is private
}
