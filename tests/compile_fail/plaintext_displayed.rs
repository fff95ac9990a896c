use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(plaintext: Plaintext<Value>) -> String {
    plaintext.to_string() //~ E0599 `Plaintext<Value>` doesn't implement `std::fmt::Display`
}
