use lethe::vault::crypto::{Plaintext, Receipt, Value};

pub fn misuse(plaintext: Plaintext<Value>, receipt: &Receipt) -> Vec<u8> {
    plaintext.disclose_chunk(receipt) //~ E0599 no method named `disclose_chunk` found for struct
}
