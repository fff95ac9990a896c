use lethe::vault::crypto::{Plaintext, Value};

pub fn misuse(plaintext: Plaintext<Value>) -> Vec<u8> {
    plaintext.disclose() //~ E0061 this method takes 1 argument but 0 arguments were supplied
}
