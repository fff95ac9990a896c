use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(plaintext: &Plaintext<Value>) -> &[u8] {
    plaintext //~ E0308 mismatched types
}
