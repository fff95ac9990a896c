use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(plaintext: Plaintext<Value>) -> String {
    format!("{plaintext:?}") //~ E0277 `Plaintext<Value>` doesn't implement `Debug`
}
