use lethe::vault::crypto::Receipt;

pub fn misuse(receipt: Receipt) -> (Receipt, Receipt) {
    (receipt.clone(), receipt) //~ E0599 no method named `clone` found for struct
}
