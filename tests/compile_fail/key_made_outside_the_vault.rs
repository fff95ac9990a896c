use lethe::vault::crypto::{Data, Key};

pub fn misuse() -> Key<Data> {
    Key::from_slice(&[0; 32]) //~ E0624 associated function `from_slice` is private
}
