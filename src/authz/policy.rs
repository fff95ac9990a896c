//! The policy: one table of who may do what to which kind of thing. What is not in it is refused.

use super::{ActionKind as A, ResourceKind as On};
use crate::authn::Role::{self, Auditor, Counsel, Eraser, Governor, Job, Operator, Owner, Reader, Writer};

/// How much of the tenant a grant must still reach for a rule to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The thing itself: a narrowed grant will do where the thing lies within.
    Part,
    /// The whole collection: a grant narrowed to a prefix will not do.
    WholeCollection,
    /// The whole tenant: no narrowed grant will do.
    Whole,
}

/// One row of the policy.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) action: A,
    pub(super) on: On,
    pub(super) roles: &'static [Role],
    pub(super) reach: Reach,
}

const fn rule(action: A, on: On, reach: Reach, roles: &'static [Role]) -> Rule {
    Rule { action, on, roles, reach }
}

/// Every permission there is.
pub(super) const POLICY: &[Rule] = &[
    rule(A::TenantCreate, On::Store, Reach::Whole, &[Operator]),
    rule(A::TenantList, On::Store, Reach::Whole, &[Operator]),
    rule(A::MetricsRead, On::Store, Reach::Whole, &[Operator]),
    rule(A::KeyRotate, On::Store, Reach::Whole, &[Operator]),
    // What is destroyed was decided by each tenant's own rules; the answer is a number.
    rule(A::RetentionRun, On::Store, Reach::Whole, &[Operator, Job]),
    rule(A::RetentionDue, On::Store, Reach::Whole, &[Operator, Job]),
    // Files of ciphertext, left where they are: who asks is told where they lie and reads nothing by it.
    rule(A::BackupTake, On::Store, Reach::Whole, &[Operator, Job]),
    // The system tenant's state, trail and tokens: the operator's own, not a tenant's.
    rule(A::TenantRead, On::Store, Reach::Whole, &[Operator]),
    rule(A::AuditRead, On::Store, Reach::Whole, &[Operator]),
    rule(A::TokenCreate, On::Store, Reach::Whole, &[Operator]),
    rule(A::TokenList, On::Store, Reach::Whole, &[Operator]),
    rule(A::TokenRevoke, On::Store, Reach::Whole, &[Operator]),
    rule(A::TenantRead, On::Tenant, Reach::Part, &[Operator, Owner, Writer, Reader, Auditor, Eraser, Counsel, Governor]),
    // The operator stops what does harm or is not paid for, and ends nothing; an owner ends, and stops nothing.
    rule(A::TenantSuspend, On::Tenant, Reach::Whole, &[Operator]),
    rule(A::TenantResume, On::Tenant, Reach::Whole, &[Operator]),
    rule(A::TenantTerminate, On::Tenant, Reach::Whole, &[Owner]),
    rule(A::TenantCancel, On::Tenant, Reach::Whole, &[Owner]),
    // The operator is shown its own steps alone: what an owner has to say is none of its business.
    rule(A::StateRead, On::Tenant, Reach::Whole, &[Operator, Owner, Auditor]),
    // All of it, with what it keeps of persons, policies, grants and holds.
    rule(A::TenantExport, On::Tenant, Reach::Whole, &[Owner]),
    rule(A::TenantImport, On::Tenant, Reach::Whole, &[Owner]),
    // What the narrowing hides is left out of the list.
    rule(A::CollectionRead, On::Tenant, Reach::Part, &[Owner, Writer, Reader, Auditor, Counsel, Governor]),
    rule(A::TokenCreate, On::Tenant, Reach::Whole, &[Owner]),
    rule(A::TokenList, On::Tenant, Reach::Whole, &[Owner, Auditor, Counsel]),
    rule(A::TokenRevoke, On::Tenant, Reach::Whole, &[Owner]),
    // The role of its own: no other implies it, the owner's least of all.
    rule(A::HoldPlace, On::Tenant, Reach::Whole, &[Counsel]),
    rule(A::HoldRenew, On::Tenant, Reach::Whole, &[Counsel]),
    rule(A::HoldRelease, On::Tenant, Reach::Whole, &[Counsel]),
    // Who is neither counsel nor auditor is told of those alone that are disclosed.
    rule(A::HoldRead, On::Tenant, Reach::Whole, &[Owner, Auditor, Eraser, Counsel]),
    // An owner's only while no hold stands: otherwise a hold would end as soon as the owner liked. The operator's only where
    // a hold stands that no counsel could release.
    rule(A::CounselAppoint, On::Tenant, Reach::Whole, &[Operator, Owner, Counsel]),
    rule(A::CounselDismiss, On::Tenant, Reach::Whole, &[Owner, Counsel]),
    // Of a tenant that has ended: an owner who dismissed its auditors would have put what is held out of everybody's sight.
    rule(A::AuditorAppoint, On::Tenant, Reach::Whole, &[Counsel]),
    rule(A::AuditorDismiss, On::Tenant, Reach::Whole, &[Counsel]),
    rule(A::PolicyRead, On::Tenant, Reach::Whole, &[Owner, Auditor, Eraser, Counsel, Governor]),
    rule(A::PolicyWrite, On::Tenant, Reach::Whole, &[Owner]),
    // Each request is shown to who may do what it asks for, to who made it and to auditors, and decided by the first of these alone.
    rule(A::ApprovalRead, On::Tenant, Reach::Part, &[Owner, Auditor, Eraser, Counsel, Governor]),
    rule(A::ApprovalApprove, On::Tenant, Reach::Part, &[Owner, Eraser, Counsel, Governor]),
    rule(A::ApprovalRefuse, On::Tenant, Reach::Part, &[Owner, Eraser, Counsel, Governor]),
    rule(A::ApprovalWithdraw, On::Tenant, Reach::Part, &[Owner, Eraser, Counsel]),
    rule(A::AuditRead, On::Tenant, Reach::Whole, &[Owner, Auditor]),
    // Counts by collection and rule, and certificates.
    rule(A::RetentionReport, On::Tenant, Reach::Whole, &[Owner, Auditor]),
    // The tenant's own, or a person's, which reaches into every collection.
    rule(A::ShredOrder, On::Tenant, Reach::Whole, &[Owner, Eraser]),
    // Besides, who ordered a shred may always ask how it goes: the tenant may be gone by then, and the role with it.
    rule(A::ShredRead, On::Tenant, Reach::Whole, &[Owner, Auditor, Eraser]),
    // The trail outlives the tenant and its other tokens; what is in it are pseudonyms by then.
    rule(A::AuditRead, On::Shredded, Reach::Whole, &[Owner, Eraser]),
    rule(A::StateRead, On::Shredded, Reach::Whole, &[Owner, Eraser]),
    // Whoever writes about persons says who they are; what names one reaches into every collection.
    rule(A::AliasAdd, On::Tenant, Reach::Whole, &[Owner, Writer]),
    rule(A::AliasRemove, On::Tenant, Reach::Whole, &[Owner, Writer]),
    rule(A::AliasRead, On::Tenant, Reach::Whole, &[Owner, Writer, Reader]),
    rule(A::EventReport, On::Tenant, Reach::Whole, &[Owner, Writer]),
    rule(A::EventWithdraw, On::Tenant, Reach::Whole, &[Owner, Writer]),
    rule(A::EventRead, On::Tenant, Reach::Whole, &[Owner, Writer, Reader]),
    // What legal holds alone keep of a tenant that has ended is there for its legal purpose: who audits reads it, nobody else.
    rule(A::RecordRead, On::Held, Reach::Part, &[Auditor]),
    rule(A::RecordList, On::Held, Reach::Part, &[Auditor]),
    rule(A::CollectionRead, On::Collection, Reach::Part, &[Owner, Writer, Reader, Auditor, Counsel, Governor]),
    rule(A::CollectionWrite, On::Collection, Reach::WholeCollection, &[Owner]),
    rule(A::ShredOrder, On::Collection, Reach::WholeCollection, &[Owner, Eraser]),
    // Two of them, always.
    rule(A::RetentionShorten, On::Collection, Reach::WholeCollection, &[Owner]),
    // The role of its own: an owner asks for it, and no other approves it, an owner least of all.
    rule(A::RetentionBypass, On::Collection, Reach::WholeCollection, &[Governor]),
    // A simulation: counts by day and rule, over the whole collection.
    rule(A::RetentionRead, On::Collection, Reach::WholeCollection, &[Owner, Auditor]),
    // What is going to be destroyed: by key for owners, by rule and moment for who audits.
    rule(A::RetentionMarked, On::Collection, Reach::WholeCollection, &[Owner, Auditor]),
    // A page of a list shows names, subjects and sizes: an eraser, who may not read, sees none.
    rule(A::RecordList, On::Keys, Reach::Part, &[Owner, Writer, Reader]),
    rule(A::RecordRead, On::Record, Reach::Part, &[Owner, Writer, Reader]),
    // What is kept for its legal purpose alone, and for that purpose: to everybody else such a record is gone.
    rule(A::RestrictedRead, On::Record, Reach::Part, &[Auditor]),
    rule(A::RecordWrite, On::Record, Reach::Part, &[Owner, Writer]),
    rule(A::RecordDelete, On::Record, Reach::Part, &[Owner, Writer, Eraser]),
    // Times and rules, nothing of the value: who audits may ask why something is kept.
    rule(A::RetentionRead, On::Record, Reach::Part, &[Owner, Writer, Reader, Auditor, Counsel, Governor]),
    rule(A::ShredOrder, On::Record, Reach::Part, &[Owner, Eraser]),
];

/// Whether the role may do anything at all to that kind of thing.
pub(super) fn has_any(role: Role, on: On) -> bool {
    POLICY.iter().any(|rule| rule.on == on && rule.roles.contains(&role))
}
