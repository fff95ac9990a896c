use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(plaintext: Plaintext<Value>) -> (Plaintext<Value>, Plaintext<Value>) {
    let copy = plaintext.clone(); //~ E0599 no method named `clone` found for struct
    (plaintext, copy)
}
