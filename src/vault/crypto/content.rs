//! Kinds of content: what a plaintext is. Each kind that is sealed has a label of its own.

use super::{header::RECORD_HEADER_LEN, labels};

mod sealed {
    pub trait Kind {}
    pub trait Content {
        const LABEL: &'static [u8];
        /// Length of what stands before the chunked ciphertext: a record's header, else the suite's byte.
        const PREFIX_LEN: usize;
    }
}

/// What a plaintext is.
pub trait Kind: sealed::Kind + Send + Sync + 'static {}

/// A kind that is sealed by itself.
pub trait Content: Kind + sealed::Content {}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $(= $label:ident, $prefix:expr)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Kind for $name {}
        impl Kind for $name {}
        $(
            impl sealed::Content for $name {
                const LABEL: &'static [u8] = labels::$label;
                const PREFIX_LEN: usize = $prefix;
            }
            impl Content for $name {}
        )?
    )*};
}

kinds! {
    /// A record's value, taken out of its record.
    Value;
    /// A part of a large value.
    Chunk;
    /// A record: metadata and value, or metadata and manifest.
    Record = RECORD, RECORD_HEADER_LEN;
    /// The value of a large record, in rows.
    Blob = BLOB, 0;
    /// An audit entry.
    AuditEntry = AUDIT_ENTRY, 1;
    /// What a token of the audit trail stands for, under its record's data key.
    AuditTarget = AUDIT_TARGET, 1;
    /// A tenant's name and settings.
    TenantMeta = TENANT_META, 1;
    /// A collection's name and policy.
    CollectionMeta = COLLECTION_META, 1;
    /// What an access token may do.
    TokenMeta = TOKEN_META, 1;
    /// What is said of a legal hold.
    HoldMeta = HOLD_META, 1;
    /// One of a person's several ids.
    SubjectAliases = SUBJECT_ALIASES, 1;
    /// What was reported of a person.
    SubjectEvents = SUBJECT_EVENTS, 1;
    /// What an order to shred remembers of that.
    LeftEvents = LEFT_EVENTS, 1;
    /// What is said of a request for approval.
    ApprovalMeta = APPROVAL_META, 1;
    /// A list's cursor.
    Cursor = CURSOR, 1;
    /// When a record ends.
    DueEnd = DUE_END, 1;
    /// Which of the records that are listed on a page are due when.
    DuePlaces = DUE_PLACES, 1;
    /// What runs of retention did in a tenant.
    ReportMeta = RETENTION_REPORT, 1;
    /// The salt of a certificate's commitments, until it is issued.
    ShredAnswer = SHRED_ANSWER, 1;
}
