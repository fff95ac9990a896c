//! SHA-256 over parts. The caller sees to it that the parts cannot be cut differently.

use sha2::{Digest, Sha256};

/// SHA-256 ([FIPS 180-4]) of the concatenation of `parts`.
///
/// [FIPS 180-4]: https://csrc.nist.gov/pubs/fips/180-4/upd1/final
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
