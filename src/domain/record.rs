//! What a record carries besides its value. Sealed with it; how it is encoded is `vault::crypto`'s.

use super::{RecordKey, SubjectId, Timestamp};

/// A record's metadata.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordMeta {
    /// The record's key, so that lists can show names that are not on disk.
    pub key: RecordKey,
    /// MIME type of the value.
    pub content_type: String,
    /// Whom it is about; the first one's unit seals it. May be empty where the unit is not the subject.
    pub subjects: Vec<SubjectId>,
    /// First write of this key since it was last absent.
    pub created_at: Timestamp,
    /// This write.
    pub modified_at: Timestamp,
    /// When it is to be deleted, if ever.
    pub expires_at: Option<Timestamp>,
    /// Length of the value in bytes.
    pub value_len: u64,
    /// Custom pairs, in the order given.
    pub custom: Vec<(String, String)>,
}

impl std::fmt::Debug for RecordMeta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordMeta").field("value_len", &self.value_len).finish_non_exhaustive()
    }
}
