use lethe::vault::crypto::{Plaintext, Receipt, Value};

pub fn misuse(plaintext: Plaintext<Value>, one: Receipt, two: Receipt) -> (Vec<u8>, Vec<u8>) {
    let first = plaintext.disclose(one);
    (first, plaintext.disclose(two)) //~ E0382 use of moved value: `plaintext`
}
