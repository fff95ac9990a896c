//! What an operation can fail with, one variant for each thing a caller can do about it.

use std::io::ErrorKind;

use super::bundle::{BundleError, Kind};
use crate::{
    domain::{
        HoldId, NameError, ShredId, Timestamp, TokenId,
        hold::HoldError,
        lifecycle::{GRACE_FORM, TenantState},
        limits::Limit,
        policy::PolicyError,
        retention::{Law, RuleName, events::AHEAD_YEARS},
    },
    vault::{
        audit::{AuditError, tlog::LogError},
        keys::{KeysError, LendError},
        store::StoreError,
    },
};

/// Why an operation was not done. Nothing is half done then, and the text names nobody.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No such thing, or none that this caller may know of.
    #[error("not found")]
    NotFound(Missing),
    /// The caller may know that it exists, and may not do this to it.
    #[error("forbidden")]
    Forbidden,
    /// The caller's token is the invitation that an owner has made, and no counsel's own.
    #[error("an invitation")]
    Invitation,
    /// No credential, or one that does not hold.
    #[error("unauthenticated")]
    Unauthenticated,
    /// The same, of which there were more than are recorded one by one.
    #[error("too many requests without a valid credential")]
    Braked {
        /// When one will be recorded again.
        retry_after: std::time::Duration,
    },
    /// The tenant is in a state that refuses this: suspended, or on its way to its end.
    #[error("the tenant is {}", .0.name())]
    TenantState(TenantState),
    /// It was shredded, or is being shredded.
    #[error("shredded")]
    Shredded {
        /// The order that did it, which is also its certificate's id.
        certificate: Option<ShredId>,
    },
    /// A person whom the record names was shredded, or is being shredded, and what is erased stays erased: a write that begins a new
    /// relationship must say so.
    #[error("subject erased")]
    SubjectErased {
        /// The order that did it, which is also its certificate's id.
        certificate: Option<ShredId>,
        /// Whether it is done: no new relationship begins before.
        done: bool,
    },
    /// A legal hold keeps it. Nothing is destroyed; an order to shred is carried out once no hold stands over it.
    #[error("under a legal hold")]
    LegalHold {
        /// The hold, for who may know of it.
        hold: Option<HoldId>,
        /// The order that waits for its end.
        order: Option<ShredId>,
    },
    /// A legal minimum keeps it: it is not destroyed on purpose before that is met.
    #[error("under a legal minimum")]
    LegalMinimum {
        /// The one that stands longest, for who may know of rules.
        law: Option<Box<Law>>,
        /// Of a collection or a tenant, how many records there are under one: as many at least.
        records: Option<u64>,
    },
    /// Its key holds a record that is kept for its legal purpose alone, and is not written to.
    #[error("restricted")]
    Restricted,
    /// It takes a second person, and the caller is none.
    #[error("not a second person")]
    NotSecond(NotSecond),
    /// It is in a state that refuses this.
    #[error("conflict")]
    Conflict(Conflict),
    /// `If-Match` or `If-None-Match` did not hold.
    #[error("precondition failed")]
    PreconditionFailed,
    /// A well-formed request that the rules refuse.
    #[error("unprocessable")]
    Unprocessable(Unprocessable),
    /// Over a limit.
    #[error("over the limit {}", .0.name)]
    Limit(Limit),
    /// The range starts behind the value's end.
    #[error("range not satisfiable")]
    RangeNotSatisfiable {
        /// The value's length in bytes.
        total_len: u64,
    },
    /// The body ended early, stalled, or was longer or shorter than announced; nothing was stored.
    #[error("incomplete body")]
    Body(BodyError),
    /// Too much is waiting; nothing was done.
    #[error("busy")]
    Busy,
    /// The disk is full; nothing was done.
    #[error("disk full")]
    DiskFull,
    /// A disk failed, of the store, its mirror, its log or custody: whether it was done is known after the next start. The text
    /// is for the log alone.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// One operation of a batch failed and nothing was done.
    #[error("operation {index} failed")]
    Batch {
        /// Its index, from 0.
        index: usize,
        /// Why.
        #[source]
        source: Box<VaultError>,
    },
    /// The service is at fault; the text is for the log alone.
    #[error("internal: {0}")]
    Internal(String),
}

/// What was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The tenant.
    Tenant,
    /// The collection.
    Collection,
    /// The record.
    Record,
    /// The token.
    Token,
    /// The order to shred, or its certificate.
    Shred,
    /// The legal hold.
    Hold,
    /// The alias.
    Alias,
    /// What was reported of a person's event.
    Event,
    /// The request for approval.
    Approval,
    /// The tenant's termination.
    Termination,
    /// The report of a run of retention.
    Report,
    /// A page or tile of the log.
    Page,
}

/// Why somebody does not count as a second person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSecond {
    /// It is who asked.
    Asked,
    /// The token was made too short a time before it was asked for.
    New,
}

/// States that refuse a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The name is or was in use; names are never used again.
    NameTaken,
    /// A collection that has records keeps its shred unit.
    ShredUnitFixed,
    /// The idempotency key was used with another request.
    IdempotencyMismatch,
    /// A batch's `check` did not hold.
    CheckFailed,
    /// This request made this token before, and its secret is shown once.
    SecretShownOnce(TokenId),
    /// Without this token nobody could make one for the tenant, or the store, any more.
    LastOwner,
    /// The legal hold has ended.
    HoldOver,
    /// The id is another person's alias, or has aliases of its own.
    AliasTaken,
    /// Records name that id already, perhaps as another person.
    AliasHasRecords,
    /// A request for approval was decided, or its time is over, or what it is about, or who asked, is not as it was.
    ApprovalOver,
    /// The deletion would be a shred of a record, which takes two persons here: it is ordered as one.
    ApprovalRequired,
    /// There is no such step from the state that the tenant is in.
    TenantState,
    /// The tenant is being imported: it serves nothing until all of it is there.
    Importing,
    /// The tenant was made to be used, or its import is done.
    NotImporting,
}

/// Rules that refuse a well-formed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unprocessable {
    /// A collection with unit "subject" needs a subject for each record.
    #[error("a collection with shred unit \"subject\" needs a subject: send Lethe-Subject, or \"subjects\" in a batch")]
    SubjectMissing,
    /// The record's unit is not the record.
    #[error(
        "a record can be shredded alone only where the collection's shred unit is \"record\"; delete it, or shred its subject or collection"
    )]
    NotARecordUnit,
    /// The tenant's name was not repeated.
    #[error("to shred or end a tenant, repeat its name in \"confirm\"")]
    ConfirmationMissing,
    /// No grace.
    #[error("`grace` must be {}", GRACE_FORM)]
    Grace,
    /// The system tenant cannot be shredded.
    #[error("the system tenant cannot be shredded")]
    SystemTenant,
    /// A role that this tenant's tokens cannot have.
    #[error("roles \"operator\" and \"job\" belong to the store, not to a tenant")]
    RoleNotOfTenant,
    /// A token of the system tenant that is no operator's.
    #[error(
        "the tokens of \"system\" are the operator's and its jobs': role \"operator\" or \"job\", and neither a kind, \"collections\" nor \"prefix\""
    )]
    OperatorsOnly,
    /// An end time that lies in the past.
    #[error("\"expires_at\" must lie in the future")]
    ExpiryInThePast,
    /// The same key twice in one batch.
    #[error("a batch may name a key once")]
    DuplicateKey,
    /// Nothing to shred was named.
    #[error("name at least one subject")]
    NothingNamed,
    /// A batch without operations.
    #[error("a batch needs at least one operation")]
    EmptyBatch,
    /// Metadata over its limit once encoded is reported as a limit; this is what the encoding itself refuses.
    #[error("metadata cannot be stored: {0}")]
    Metadata(&'static str),
    /// A policy document's field.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A name's rule.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A purpose that the collection's policy does not declare.
    #[error("the collection's policy does not declare this purpose")]
    PurposeUndeclared,
    /// A category that the collection's policy does not declare.
    #[error("the record's category, its custom pair `category`, is none of those that the collection's policy declares")]
    CategoryUndeclared,
    /// A rule counts from a date that the value does not have.
    #[error(
        "retention rule `{}` counts from a field of the JSON value, which has neither a day such as \"2026-01-31\" nor a time of RFC 3339 there, of the years 1 to 9000",
        rule.as_str()
    )]
    NoDateForRule {
        /// The rule.
        rule: RuleName,
    },
    /// A rule counts from what is reported of a person, and the record is about nobody.
    #[error("retention rule `{}` counts from what is reported of whom a record is about: name a subject first", rule.as_str())]
    NobodyForRule {
        /// The rule.
        rule: RuleName,
    },
    /// An event that is too far ahead.
    #[error("the date of an event may lie at most {} years ahead", AHEAD_YEARS)]
    EventTooFar,
    /// A rule counts from a date in a value that is not read whole.
    #[error("retention rule `{}` counts from a field of the value, which may have 65536 bytes then (limit inline_value_len)", rule.as_str())]
    TooLargeForRule {
        /// The rule.
        rule: RuleName,
    },
    /// An own end before a legal minimum.
    #[error("retention rule `{}` keeps the record until {}: its own end must not be earlier", rule.as_str(), until.to_rfc3339())]
    BeforeMinimum {
        /// The rule.
        rule: RuleName,
        /// The first moment at which the minimum is met.
        until: Timestamp,
    },
    /// An end that has passed: the next run would destroy what is stored.
    #[error("retention rule `{}` ended the record at {}: it would be destroyed at once", rule.as_str(), end.to_rfc3339())]
    AlreadyOver {
        /// The rule.
        rule: RuleName,
        /// The first moment at which nothing may be left.
        end: Timestamp,
    },
    /// An own end after that of a rule.
    #[error("retention rule `{}` ends the record at {}: its own end must not be later", rule.as_str(), end.to_rfc3339())]
    AfterEnd {
        /// The rule.
        rule: RuleName,
        /// The rule's end.
        end: Timestamp,
    },
    /// A legal hold that cannot be placed so.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A hold that does not end by itself.
    #[error("only a hold for law enforcement ends by itself and can be renewed; any other stands until it is released")]
    NothingToRenew,
    /// A person's own id as an alias.
    #[error("\"alias\" must be another id than \"subject\"")]
    OwnAlias,
    /// A policy that asks for two persons where there are not two.
    #[error(
        "two persons can be asked for only where there are two: make a second owner's token first, without an end and without narrowing"
    )]
    NoSecondPerson,
    /// Nothing that could be let hold for what is there.
    #[error("the collection's retention has no rules: nothing would end what is there")]
    NothingToShorten,
    /// No minimum of the governance kind of earlier rules is over what is in the collection.
    #[error(
        "no minimum of the mode \"governance\" is left of the collection's earlier rules: change the rules first, and what is there is bound by those from then on"
    )]
    NothingToBypass,
    /// An export of a tenant with a hold that only a counsel may know of, and nobody to seal that hold for.
    #[error(
        "a legal hold stands that only a counsel may know of: name the age recipient that it is to be sealed for in \"counsel_recipient\""
    )]
    CounselRecipientMissing,
    /// An export of a tenant whose rules restrict records, and nobody to seal those for.
    #[error(
        "collections have rules by which records are kept for a legal purpose alone: name the age recipient that those are to be sealed for in \"auditor_recipient\""
    )]
    AuditorRecipientMissing,
    /// A bundle that is not whole or not in order.
    #[error("the bundle is refused: {0}")]
    Bundle(#[from] BundleError),
    /// What is in a bundle breaks a rule.
    #[error("the bundle is refused: a frame of {} breaks a rule: {source}", .kind.name())]
    BundleRule {
        /// In which kind of frame.
        kind: Kind,
        /// Which.
        #[source]
        source: Box<Self>,
    },
    /// An import that goes on behind where it is.
    #[error("the import is at frame {next}: go on from there")]
    ImportGap {
        /// The number of the next frame.
        next: u64,
    },
    /// Another bundle than the one that the import began with.
    #[error("the import began with another bundle: go on with that one, or shred the tenant and begin anew under another name")]
    OtherBundle,
    /// A cursor that is not one of this list's.
    #[error("the cursor is not one of this list: start again without it")]
    Cursor,
}

/// How a body failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client hung up.
    #[error("the body ended early")]
    Aborted,
    /// No byte for too long.
    #[error("the body made no progress")]
    Stalled,
    /// Not as long as announced.
    #[error("the body is not as long as announced")]
    Length,
    /// Over this limit.
    #[error("the body is over the limit {}", .0.name)]
    TooLong(Limit),
}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        match error {
            // Worth another try: another writer was faster, or the queue is full.
            StoreError::Busy | StoreError::Conflict(_) => Self::Busy,
            StoreError::DiskFull => Self::DiskFull,
            StoreError::Closed | StoreError::Io(_) => Self::Unavailable(error.to_string()),
            StoreError::Damaged(_) | StoreError::Invalid(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<KeysError> for VaultError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Store(error) => error.into(),
            KeysError::Shredded => Self::Shredded { certificate: None },
            KeysError::Custody(_) | KeysError::Restart => Self::Unavailable(error.to_string()),
            KeysError::Unknown | KeysError::TooMany | KeysError::Damaged(_) | KeysError::SelfCheck(_) | KeysError::Start(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<LendError> for VaultError {
    fn from(error: LendError) -> Self {
        match error {
            LendError::Shredded | LendError::Pending => Self::Shredded { certificate: None },
            LendError::Missing => Self::Busy,
        }
    }
}

impl From<AuditError> for VaultError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => error.into(),
            AuditError::Keys(error) => error.into(),
            AuditError::Lend(LendError::Missing) | AuditError::Log(LogError::Busy) => Self::Busy,
            AuditError::Log(LogError::Io(full)) if matches!(full.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Self::DiskFull
            }
            AuditError::Log(LogError::Io(_) | LogError::Closed) => Self::Unavailable(error.to_string()),
            AuditError::Lend(_)
            | AuditError::Entry(_)
            | AuditError::Open(_)
            | AuditError::Log(_)
            | AuditError::NotWritten
            | AuditError::Damaged(_) => Self::Internal(error.to_string()),
            AuditError::Cursor => Unprocessable::Cursor.into(),
        }
    }
}

impl From<BundleError> for VaultError {
    fn from(error: BundleError) -> Self {
        Unprocessable::from(error).into()
    }
}

impl From<Unprocessable> for VaultError {
    fn from(rule: Unprocessable) -> Self {
        Self::Unprocessable(rule)
    }
}

impl From<BodyError> for VaultError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}
