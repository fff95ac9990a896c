//! Every limit of the interface, and what the server does at a time, in two tables; `docs/limits.md` is checked against them,
//! and a refusal names its limit.

/// One limit: its name in refusals and documents, its value, its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The name a refusal gives.
    pub name: &'static str,
    /// The largest value that is accepted.
    pub max: u64,
    /// What it counts.
    pub unit: &'static str,
}

macro_rules! limits {
    ($(#[$about:meta])* $table:ident: $($(#[$doc:meta])* $id:ident = $max:expr, $unit:literal, $name:literal;)*) => {
        $($(#[$doc])* pub const $id: Limit = Limit { name: $name, max: $max, unit: $unit };)*
        $(#[$about])*
        pub const $table: &[Limit] = &[$($id),*];
    };
}

limits! {
    /// All limits of what is sent, in the order of the documents.
    ALL:
    /// A tenant's or collection's name.
    NAME_LEN = 64, "bytes", "name_len";
    /// A record's key, all segments and slashes, after percent-decoding.
    KEY_LEN = 1_024, "bytes", "key_len";
    /// Segments of a record's key.
    KEY_SEGMENTS = 32, "segments", "key_segments";
    /// A subject's id.
    SUBJECT_LEN = 256, "bytes", "subject_len";
    /// Subjects of one record.
    SUBJECTS_PER_RECORD = 16, "subjects", "subjects_per_record";
    /// A record's metadata: name, content type, times, subjects, custom pairs.
    METADATA_LEN = 16_384, "bytes", "metadata_len";
    /// A value's default limit; the configuration may set another.
    VALUE_LEN = 5 * 1024 * 1024 * 1024, "bytes", "value_len";
    /// A value in a batch, and the largest that is stored in one row; an import sends a larger one by itself.
    INLINE_VALUE_LEN = 65_536, "bytes", "inline_value_len";
    /// A JSON request body, batches excepted.
    JSON_BODY_LEN = 1_048_576, "bytes", "json_body_len";
    /// A batch's body.
    BATCH_BODY_LEN = 67_108_864, "bytes", "batch_body_len";
    /// Operations of one batch.
    BATCH_OPS = 1_000, "operations", "batch_ops";
    /// Records of one page of a list.
    LIST_LIMIT = 1_000, "records", "list_limit";
    /// Subjects of one order to shred, with all their aliases.
    SHRED_SUBJECTS = 2_000, "subjects", "shred_subjects";
    /// Aliases of one person.
    SUBJECT_ALIASES = 32, "aliases", "subject_aliases";
    /// Reports of one person's events, those that were corrected or taken back included: older data ends by what was known at the time.
    SUBJECT_EVENTS = 256, "reports", "subject_events";
    /// Units that one record may have had, one for each person it was about and each large value that broke off.
    RECORD_UNITS = 4_096, "units", "record_units";
    /// All header lines of a request.
    HEADERS_LEN = 32_768, "bytes", "headers_len";
    /// Header lines of a request.
    HEADERS_COUNT = 90, "headers", "headers_count";
    /// A request's target.
    URI_LEN = 8_192, "bytes", "uri_len";
    /// An idempotency key.
    IDEMPOTENCY_KEY_LEN = 255, "bytes", "idempotency_key_len";
    /// A content type.
    CONTENT_TYPE_LEN = 255, "bytes", "content_type_len";
    /// Collections, categories, purposes, or custom pairs in one document.
    ITEMS_PER_LIST = 64, "items", "items_per_list";
    /// A purpose or a category.
    ITEM_LEN = 128, "bytes", "item_len";
    /// Changes of a collection's `secondary_subjects`: an order goes by the rule of its time, so each is kept.
    RULE_CHANGES = 256, "changes", "rule_changes";
    /// The rules of a collection's retention, as JSON without spaces.
    RETENTION_LEN = 32_768, "bytes", "retention_len";
    /// All that a collection's retention was before, as JSON without spaces: older data that is put back ends as it ended then, and what a law has kept is kept by it.
    PAST_RETENTION_LEN = 49_152, "bytes", "past_retention_len";
    /// The law that a retention rule's minimum cites.
    BASIS_LEN = 512, "bytes", "basis_len";
    /// Subjects that one legal hold names, with all their aliases.
    HOLD_SUBJECTS = 1_000, "subjects", "hold_subjects";
    /// Records that one legal hold lists.
    HOLD_RECORDS = 100, "records", "hold_records";
    /// A matter, custodian, case number or reason of a legal hold, or why a request for approval was refused.
    HOLD_TEXT_LEN = 512, "bytes", "hold_text_len";
    /// Legal holds of one tenant that stand at a time.
    HOLDS = 1_000, "holds", "holds";
    /// How long a request may wait for a second person.
    APPROVAL_WINDOW = 90, "days", "approval_window";
    /// Requests of one tenant that wait for a second person at a time.
    APPROVALS_PENDING = 1_000, "requests", "approvals_pending";
    /// Those of one token: who fills its own places fills nobody else's.
    APPROVALS_PENDING_OF_TOKEN = 100, "requests", "approvals_pending_of_token";
    /// The grace of a tenant that is terminated: what follows it is done within 45 days.
    GRACE_DAYS = 42, "days", "grace_days";
    /// Records that one pass of a run of retention deals with.
    RETENTION_RUN = 10_000, "records", "retention_run";
    /// The longest `Prefer: wait`.
    WAIT_SECS = 60, "seconds", "wait_secs";
    /// Requests without a valid credential that are recorded one by one, from all clients: so many at once, and so many each minute.
    REFUSED_CREDENTIALS = 120, "requests", "refused_credentials";
}

limits! {
    /// What is done at a time, in the order of the documents. Defaults, where the configuration may set another.
    AT_WORK:
    /// Connections open at a time.
    CONNECTIONS = 10_000, "connections", "connections";
    /// Requests at work at a time on one HTTP/2 connection: fewer than there are places, so that one cannot take them all.
    STREAMS = 100, "requests", "streams";
    /// Requests at work at a time, but for those of the next row, probes and metrics.
    REQUESTS = 4_096, "requests", "requests_at_work";
    /// The same for what needs no credential, counted apart: strangers cannot keep out who has one.
    PUBLIC_REQUESTS = 512, "requests", "public_requests_at_work";
    /// Bytes of all bodies that are read whole, while their requests are at work.
    BODIES_LEN = 512 * 1024 * 1024, "bytes", "bodies_len";
    /// Commits that wait to be written.
    COMMITS = 4_096, "commits", "commit_queue_len";
    /// Reads of the disk that wait for a thread.
    READS = 1_024, "reads", "read_queue_len";
    /// A line of an import or export, in the command line's memory.
    LINE_LEN = 67_108_864, "bytes", "line_len";
}
