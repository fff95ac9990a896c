//! Every label of every derivation and every kind of ciphertext, in one table.
//!
//! A label ends with its only NUL, so none is the beginning of another. A new use takes a new label.

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: &[u8] = concat!("lethe/v1/", $text, "\0").as_bytes();)*
        /// All of them.
        #[cfg(test)]
        pub(super) const ALL: &[&[u8]] = &[$($name),*];
    };
}

labels! {
    /// Salt of the root's extraction.
    ROOT = "root";
    /// Root -> the tenant tree's top key.
    FOREST_TOP = "forest-top";
    /// Root -> its public commitment.
    ROOT_COMMIT = "root-commit";
    /// Slot key -> key, nonce and commitment of the page below it.
    PAGE = "page";
    /// Unit -> data key.
    DEK = "dek";
    /// Collection's unit -> what its collection adds to every data key.
    COLLECTION_SALT = "collection-salt";
    /// Tenant secret -> names of one collection.
    NAME = "name";
    /// Tenant secret -> index of subjects.
    SUBJECT_INDEX = "subject-index";
    /// Tenant secret -> index of one field of one collection.
    BLIND_INDEX = "blind-index";
    /// Tenant secret -> the tenant's own metadata.
    META = "meta";

    /// Content: a record, or the manifest of a large one.
    RECORD = "rec";
    /// Content: the value of a large record.
    BLOB = "blob";
    /// Content: an audit entry.
    AUDIT_ENTRY = "audit-entry";
    /// Content: what a token of the audit trail stands for.
    AUDIT_TARGET = "audit-target";
    /// Content: a tenant's name and settings.
    TENANT_META = "tenant-meta";
    /// Content: a collection's name and policy.
    COLLECTION_META = "collection-meta";
    /// Content: what an access token may do.
    TOKEN_META = "token-meta";
    /// Content: what is said of a legal hold.
    HOLD_META = "hold-meta";
    /// Content: a person's several ids.
    SUBJECT_ALIASES = "subject-aliases";
    /// Content: what was reported of a person.
    SUBJECT_EVENTS = "subject-events";
    /// Content: what an order to shred remembers of that.
    LEFT_EVENTS = "left-events";
    /// Content: what is said of a request for approval.
    APPROVAL_META = "approval-meta";
    /// Content: a list's cursor.
    CURSOR = "cursor";
    /// Content: when a record ends.
    DUE_END = "due-end";
    /// Content: which places of a page are due when.
    DUE_PLACES = "due-places";
    /// Content: what runs of retention did.
    RETENTION_REPORT = "retention-report";
    /// Content: the salt of a certificate's commitments.
    SHRED_ANSWER = "shred-answer";

    /// Hash: the start of an audit chain.
    AUDIT_CHAIN = "audit-chain";
    /// Hash: the commitment to a chain's head.
    AUDIT_HEAD = "audit-head";
    /// Hash: a salted commitment in a certificate.
    COMMITMENT = "commitment";
    /// Hash: the salt of one commitment.
    COMMITMENT_SALT = "commit-salt";
    /// Hash: what a request for approval asks for.
    APPROVAL = "approval";
    /// Hash: the running hash over the frames of an exported tenant.
    BUNDLE = "bundle";
    /// Hash: the commitment to what a frame of it holds that is sealed for a counsel or an auditor.
    SEALED_FRAME = "sealed-frame";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn no_label_begins_another() {
        for (i, a) in ALL.iter().enumerate() {
            assert_eq!(a.iter().position(|byte| *byte == 0), Some(a.len() - 1));
            for b in ALL.iter().skip(i + 1) {
                assert!(!a.starts_with(b) && !b.starts_with(a), "{a:?} {b:?}");
            }
        }
        assert!(ALL.len() > 20);
    }
}
