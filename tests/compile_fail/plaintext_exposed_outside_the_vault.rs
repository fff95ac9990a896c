use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(plaintext: &Plaintext<Value>) -> usize {
    plaintext.expose().len() //~ E0624 method `expose` is private
}
