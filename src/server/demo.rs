//! The fingerprints of the demonstration's keys: whoever serves them must know that the whole world has them.

use sha2::{Digest, Sha256};

use crate::{config::Config, domain::StoreId};

/// `SHA-256  name` for each secret of `keys-example`, made with it by `scripts/make-keys-example`.
const FINGERPRINTS: &str = include_str!("../../keys-example/fingerprints.txt");

/// The first thing in this store that is the demonstration's, in words.
pub(super) fn known(config: &Config, store_id: StoreId) -> Option<&'static str> {
    let file = |path: &std::path::Path| std::fs::read(path).unwrap_or_default();
    [
        ("the store", store_id.to_string().into_bytes()),
        ("the operator's token", file(&config.operator_token_file())),
        ("the signing key", file(&config.paths.signing_key_file)),
        ("the TLS key", config.server.tls_key_file.as_deref().map(file).unwrap_or_default()),
    ]
    .into_iter()
    .find(|(_, bytes)| is_listed(bytes))
    .map(|(name, _)| name)
}

fn is_listed(bytes: &[u8]) -> bool {
    let fingerprint = hex::encode(Sha256::digest(bytes));
    FINGERPRINTS.lines().filter_map(|line| line.split_whitespace().next()).any(|known| known == fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_of_the_demonstration_is_known() {
        let keys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("keys-example");
        for file in ["store/operator.token", "store/signing.key", "store/tls/key.pem"] {
            assert!(is_listed(&std::fs::read(keys.join(file)).unwrap()), "{file}");
        }
        assert!(!is_listed(b""), "a file that is not there is not the demonstration's");
        assert!(!is_listed(b"another"));
    }
}
