//! What the state of a tenant leaves of the policy: one table for each state. What is not in it is refused while the tenant is in that
//! state, whatever the policy says; so an action that is new is refused until somebody has thought of it.

use super::ActionKind as A;
use crate::{
    authn::Role::{self, Auditor, Counsel, Eraser, Governor, Operator, Owner, Reader, Writer},
    domain::lifecycle::TenantState,
};

/// An action, and the roles that it is left to.
type Left = (A, &'static [Role]);

/// All that have a token in a tenant, and the operator.
const ALL: &[Role] = &[Operator, Owner, Writer, Reader, Auditor, Eraser, Counsel, Governor];

/// What touches no data is left in every state: a tenant's state itself, holds, trails, orders that were given, tokens that are taken
/// away, and requests for a second person. Who approves one is held to what the state leaves of what is asked for, besides.
const ALWAYS: &[Left] = &[
    (A::TenantRead, ALL),
    (A::TenantSuspend, ALL),
    (A::TenantResume, ALL),
    (A::TenantTerminate, ALL),
    (A::TenantCancel, ALL),
    (A::StateRead, ALL),
    (A::HoldPlace, ALL),
    (A::HoldRenew, ALL),
    (A::HoldRelease, ALL),
    (A::HoldRead, ALL),
    (A::CounselAppoint, ALL),
    (A::CounselDismiss, ALL),
    (A::TokenList, ALL),
    (A::TokenRevoke, ALL),
    (A::ShredRead, ALL),
    (A::AuditRead, ALL),
    (A::RetentionReport, ALL),
    (A::PolicyRead, ALL),
    (A::ApprovalRead, ALL),
    (A::ApprovalApprove, ALL),
    (A::ApprovalRefuse, ALL),
    (A::ApprovalWithdraw, ALL),
];

/// Policies are no data.
const SUSPENDED: &[Left] = &[(A::CollectionRead, &[Owner, Auditor, Counsel])];

/// Owners read, to take their data along, and may shred sooner what must be gone sooner.
const TERMINATING: &[Left] = &[
    (A::CollectionRead, &[Owner, Auditor, Counsel]),
    (A::RetentionRead, &[Owner, Auditor, Counsel]),
    (A::RetentionMarked, &[Owner, Auditor]),
    (A::RecordRead, &[Owner]),
    (A::RecordList, &[Owner]),
    (A::AliasRead, &[Owner]),
    (A::TenantExport, &[Owner]),
    (A::EventRead, &[Owner]),
    (A::ShredOrder, &[Owner, Eraser]),
    (A::RetentionShorten, &[Owner]),
    (A::TokenCreate, &[Owner]),
];

/// What legal holds are on and laws keep is read by auditors alone, whom counsels appoint where a hold stands, and owners where none does;
/// both see why it is there. Of the first of these two states all else may be there still: that is shown to nobody.
const ENDED_OR_RESTRICTED: &[Left] = &[
    (A::CollectionRead, &[Auditor, Counsel]),
    (A::RetentionRead, &[Auditor, Counsel]),
    (A::RecordRead, &[Auditor]),
    (A::RecordList, &[Auditor]),
    (A::AuditorAppoint, &[Counsel]),
    (A::AuditorDismiss, &[Counsel]),
    // An auditor's, while no hold stands.
    (A::TokenCreate, &[Owner]),
];

/// Whether a state leaves an action to a role. What the policy does not allow, no state does.
#[must_use]
pub fn leaves(state: TenantState, action: A, role: Role) -> bool {
    let of_state = match state {
        // Of these two, everything is answered 410.
        TenantState::Active | TenantState::Pending | TenantState::Shredded => return true,
        TenantState::Suspended | TenantState::TerminatingSuspended => SUSPENDED,
        TenantState::Terminating => TERMINATING,
        TenantState::Ended | TenantState::Restricted => ENDED_OR_RESTRICTED,
    };
    ALWAYS.iter().chain(of_state).any(|(left, roles)| *left == action && roles.contains(&role))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The roles that a state leaves an action to.
    fn left(state: TenantState, action: A) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| leaves(state, action, *role)).collect()
    }

    #[test]
    fn what_a_state_leaves_is_what_it_says() {
        for state in [TenantState::Suspended, TenantState::TerminatingSuspended] {
            for action in [
                A::RecordRead,
                A::RecordList,
                A::RecordWrite,
                A::RecordDelete,
                A::CollectionWrite,
                A::RetentionRead,
                A::AliasRead,
                A::EventRead,
                A::RestrictedRead,
                A::TenantExport,
                A::ShredOrder,
                A::RetentionShorten,
                A::RetentionBypass,
                A::TokenCreate,
            ] {
                assert_eq!(left(state, action), [], "{} while {}", action.name(), state.name());
            }
            assert_eq!(left(state, A::CollectionRead), [Owner, Auditor, Counsel]);
        }
        for action in [
            A::RecordWrite,
            A::RecordDelete,
            A::CollectionWrite,
            A::PolicyWrite,
            A::AliasAdd,
            A::AliasRemove,
            A::EventReport,
            A::EventWithdraw,
            A::RestrictedRead,
            A::RetentionBypass,
        ] {
            for state in [TenantState::Suspended, TenantState::Terminating, TenantState::Ended, TenantState::Restricted] {
                assert_eq!(left(state, action), [], "{} while {}", action.name(), state.name());
            }
        }
        assert_eq!(
            (left(TenantState::Terminating, A::RecordRead), left(TenantState::Terminating, A::RecordList)),
            (vec![Owner], vec![Owner])
        );
        assert_eq!(left(TenantState::Terminating, A::AliasRead), [Owner]);
        assert_eq!(left(TenantState::Terminating, A::TenantExport), [Owner]);
        assert_eq!(left(TenantState::Terminating, A::EventRead), [Owner]);
        assert_eq!(left(TenantState::Terminating, A::ShredOrder), [Owner, Eraser]);
        assert_eq!(left(TenantState::Terminating, A::RetentionShorten), [Owner]);
        for state in [TenantState::Ended, TenantState::Restricted] {
            for action in [A::AliasRead, A::EventRead, A::TenantExport, A::ShredOrder, A::RetentionShorten, A::RetentionBypass] {
                assert_eq!(left(state, action), [], "{} while {}", action.name(), state.name());
            }
            assert_eq!(left(state, A::TokenCreate), [Owner], "an auditor's, while no hold stands");
            for action in [A::RecordRead, A::RecordList] {
                assert_eq!(left(state, action), [Auditor], "{} while {}", action.name(), state.name());
            }
            for action in [A::AuditorAppoint, A::AuditorDismiss] {
                assert_eq!(left(state, action), [Counsel], "{} while {}", action.name(), state.name());
            }
        }
        for &action in A::ALL {
            for state in [TenantState::Active, TenantState::Pending, TenantState::Shredded] {
                assert_eq!(left(state, action).len(), Role::ALL.len(), "another place decides there");
            }
        }
    }

    /// Each state leaves less than the one before it on the way to the end, but for what auditors may then, and who says which these are.
    #[test]
    fn nobody_but_an_auditor_may_more_as_a_tenant_nears_its_end() {
        let of_auditors = [A::AuditorAppoint, A::AuditorDismiss];
        for (before, after) in [
            (TenantState::Active, TenantState::Suspended),
            (TenantState::Active, TenantState::Terminating),
            (TenantState::Terminating, TenantState::TerminatingSuspended),
            (TenantState::Terminating, TenantState::Ended),
            (TenantState::Ended, TenantState::Restricted),
        ] {
            for &action in A::ALL.iter().filter(|action| !of_auditors.contains(action)) {
                for role in left(after, action).into_iter().filter(|role| *role != Auditor) {
                    assert!(leaves(before, action, role), "{} by {role} while {}", action.name(), after.name());
                }
            }
        }
    }
}
