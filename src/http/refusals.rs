//! From the vault's errors to problems, exhaustively: a new variant does not compile until it has its problem.

use super::problem::{Code, Problem};
use crate::domain::hold::HoldError;
use crate::domain::lifecycle::TenantState;
use crate::domain::limits;
use crate::domain::policy::PolicyError;
use crate::vault::ops::{BodyError, Conflict, Missing, NotSecond, Unprocessable, VaultError};

impl From<VaultError> for Problem {
    fn from(failure: VaultError) -> Self {
        match failure {
            VaultError::NotFound(missing) => missing.into(),
            VaultError::Forbidden => Self::new(Code::Forbidden),
            VaultError::Invitation => Self::with(
                Code::Forbidden,
                "the token is an owner's invitation to a counsel: make a counsel's token with it, which is yours alone; the invitation goes then",
            ),
            VaultError::Unauthenticated => Self::new(Code::Unauthenticated),
            VaultError::Braked { retry_after } => {
                let secs = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
                Self::limit(limits::REFUSED_CREDENTIALS).retry_after(u32::try_from(secs).unwrap_or(u32::MAX))
            }
            VaultError::TenantState(TenantState::Suspended | TenantState::TerminatingSuspended) => Self::new(Code::TenantSuspended),
            VaultError::TenantState(_) => Self::new(Code::TenantTerminating),
            VaultError::Shredded { certificate } => Self::new(Code::Shredded).certificate(certificate),
            VaultError::SubjectErased { certificate, done: true } => Self::new(Code::SubjectErased).certificate(certificate),
            VaultError::SubjectErased { certificate, done: false } => {
                let detail =
                    "the person is being shredded: a new relationship can begin once the order, which `certificate` names, is done";
                Self::with(Code::SubjectErased, detail).certificate(certificate)
            }
            VaultError::LegalHold { hold: hold @ Some(_), order } => Self::new(Code::LegalHold).hold(hold).order(order),
            VaultError::LegalMinimum { law: law @ Some(_), records } => Self::new(Code::LegalMinimum).law(law).records(records),
            VaultError::LegalHold { hold: None, order } if fault!("obligation-hold") => Self::new(Code::LegalHold).order(order),
            VaultError::LegalMinimum { law: None, .. } if fault!("obligation-law") => Self::new(Code::LegalMinimum),
            // Who may know of neither is not told which of them it is.
            VaultError::LegalHold { hold: None, order } => Self::new(Code::LegalObligation).order(order),
            VaultError::LegalMinimum { law: None, .. } => Self::new(Code::LegalObligation),
            VaultError::Restricted => Self::new(Code::Restricted),
            VaultError::NotSecond(reason) => Self::with(
                Code::NotSecondPerson,
                match reason {
                    NotSecond::Asked => "who asked for it cannot decide it: the token must be another one",
                    NotSecond::New => {
                        "the token was made too short a time before it was asked for: it must have been there as long as a request waits, or since before the policy"
                    }
                },
            ),
            VaultError::Conflict(conflict) => conflict.into(),
            VaultError::PreconditionFailed => Self::new(Code::PreconditionFailed),
            VaultError::Unprocessable(rule) => rule.into(),
            VaultError::Limit(limit) => Self::limit(limit),
            VaultError::RangeNotSatisfiable { total_len } => Self::new(Code::RangeNotSatisfiable).value_len(total_len),
            VaultError::Body(body) => body.into(),
            VaultError::Busy => Self::new(Code::Busy),
            VaultError::DiskFull => Self::new(Code::DiskFull).retry_after(60),
            VaultError::Batch { index, source } => Self::from(*source).in_op(index),
            VaultError::Unavailable(reason) => Self::new(Code::Unavailable).because(reason),
            VaultError::Internal(reason) => Self::new(Code::Internal).because(reason),
        }
    }
}

impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        Self::with(
            Code::NotFound,
            match missing {
                Missing::Tenant => "no such tenant, or none that this credential may know",
                Missing::Collection => "no such collection, or none that this credential may know",
                Missing::Record => "no such record",
                Missing::Token => "no such token",
                Missing::Shred => "no such order or certificate",
                Missing::Hold => "no such legal hold, or none that this credential may know",
                Missing::Alias => "the id is no alias of anybody",
                Missing::Event => "nothing is known of that event of the person",
                Missing::Approval => "no such request for approval, or none that this credential may know",
                Missing::Termination => "the tenant is not ordered to end",
                Missing::Report => "no such report of retention",
                Missing::Page => "no such page of the log",
            },
        )
    }
}

impl From<Conflict> for Problem {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::NameTaken => Self::new(Code::NameTaken),
            Conflict::ShredUnitFixed => Self::new(Code::ShredUnitFixed),
            Conflict::IdempotencyMismatch => Self::new(Code::IdempotencyMismatch),
            Conflict::SecretShownOnce(token) => Self::new(Code::SecretShownOnce).token(token),
            Conflict::LastOwner => Self::new(Code::LastOwner),
            Conflict::HoldOver => Self::new(Code::HoldOver),
            Conflict::AliasTaken => Self::new(Code::AliasTaken),
            Conflict::AliasHasRecords => Self::new(Code::AliasHasRecords),
            Conflict::ApprovalOver => Self::new(Code::ApprovalOver),
            Conflict::ApprovalRequired => Self::new(Code::ApprovalRequired),
            Conflict::TenantState => Self::new(Code::TenantState),
            Conflict::Importing => Self::new(Code::Importing),
            Conflict::NotImporting => Self::new(Code::NotImporting),
            Conflict::CheckFailed => Self::with(Code::PreconditionFailed, "a check of the batch did not hold"),
        }
    }
}

impl From<Unprocessable> for Problem {
    fn from(rule: Unprocessable) -> Self {
        // Each rule's text is fixed words of ours, of names of fields and limits, and of what the collection's policy says.
        let text = rule.to_string();
        match rule {
            Unprocessable::SubjectMissing => Self::told(Code::SubjectRequired, text),
            Unprocessable::Cursor => Self::told(Code::MalformedCursor, text),
            Unprocessable::PurposeUndeclared => Self::new(Code::PurposeUndeclared),
            Unprocessable::Name(name) => Self::name("name", name),
            Unprocessable::Policy(PolicyError::Over { field, limit }) => Self::over(field, limit),
            Unprocessable::BeforeMinimum { .. } | Unprocessable::AfterEnd { .. } | Unprocessable::AlreadyOver { .. } => {
                Self::told(Code::OutsideRetention, text)
            }
            Unprocessable::Hold(HoldError::Over { field, limit }) => Self::over(field, limit),
            Unprocessable::Hold(_)
            | Unprocessable::NothingToRenew
            | Unprocessable::NoSecondPerson
            | Unprocessable::NothingToShorten
            | Unprocessable::NothingToBypass
            | Unprocessable::NotARecordUnit
            | Unprocessable::ConfirmationMissing
            | Unprocessable::Grace
            | Unprocessable::SystemTenant
            | Unprocessable::RoleNotOfTenant
            | Unprocessable::OperatorsOnly
            | Unprocessable::ExpiryInThePast
            | Unprocessable::DuplicateKey
            | Unprocessable::NothingNamed
            | Unprocessable::OwnAlias
            | Unprocessable::EventTooFar
            | Unprocessable::Metadata(_)
            | Unprocessable::EmptyBatch
            | Unprocessable::CategoryUndeclared
            | Unprocessable::NoDateForRule { .. }
            | Unprocessable::TooLargeForRule { .. }
            | Unprocessable::CounselRecipientMissing
            | Unprocessable::AuditorRecipientMissing
            | Unprocessable::Bundle(_)
            | Unprocessable::BundleRule { .. }
            | Unprocessable::ImportGap { .. }
            | Unprocessable::OtherBundle
            | Unprocessable::NobodyForRule { .. }
            | Unprocessable::Policy(_) => Self::told(Code::Unprocessable, text),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(body: BodyError) -> Self {
        match body {
            BodyError::Aborted => Self::new(Code::IncompleteBody),
            BodyError::Stalled => Self::with(Code::IncompleteBody, "the body made no progress for too long; nothing was stored"),
            BodyError::Length => Self::with(Code::IncompleteBody, "the body is not as long as announced; nothing was stored"),
            BodyError::TooLong(limit) => Self::limit(limit),
        }
    }
}
