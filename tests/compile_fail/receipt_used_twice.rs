use lethe::vault::crypto::{Plaintext, Receipt, Value};

pub fn misuse(one: Plaintext<Value>, two: Plaintext<Value>, receipt: Receipt) -> (Vec<u8>, Vec<u8>) {
    let first = one.disclose(receipt);
    (first, two.disclose(receipt)) //~ E0382 use of moved value: `receipt`
}
