use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(a: Plaintext<Value>, b: Plaintext<Value>) -> bool {
    a == b //~ E0369 binary operation `==` cannot be applied to type `Plaintext<Value>`
}
