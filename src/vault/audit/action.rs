//! What audit entries speak of, in closed tables: actions, roles, reasons. The numbers are stored and never change.

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$item_doc])* $item = $code,)*
        }

        impl $name {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$item),*];

            /// The name in JSON and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$item => $text,)*
                }
            }

            /// The stored byte.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// By its stored byte.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.code() == code)
            }

            /// By its name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.name() == name)
            }
        }
    };
}

table! {
    /// What was done or tried. Those that are authorised have the names of the policy table.
    Action {
        /// A record or its metadata was read.
        RecordRead = 1, "record.read";
        /// A record was created or replaced.
        RecordWrite = 2, "record.write";
        /// A record was deleted.
        RecordDelete = 3, "record.delete";
        /// A collection's records were listed.
        RecordList = 4, "record.list";
        /// A collection was created or its policy replaced.
        CollectionWrite = 5, "collection.write";
        /// A collection's policy was read, or the collections listed.
        CollectionRead = 6, "collection.read";
        /// A tenant was created.
        TenantCreate = 7, "tenant.create";
        /// The tenants were listed.
        TenantList = 8, "tenant.list";
        /// A tenant's state and sizes were read.
        TenantRead = 9, "tenant.read";
        /// A token was created.
        TokenCreate = 10, "token.create";
        /// Tokens were listed.
        TokenList = 11, "token.list";
        /// A token was revoked.
        TokenRevoke = 12, "token.revoke";
        /// A shred was ordered.
        ShredOrder = 13, "shred.order";
        /// A shred's state was read.
        ShredRead = 14, "shred.read";
        /// An audit trail was read.
        AuditRead = 15, "audit.read";
        /// The store's metrics were read.
        MetricsRead = 16, "metrics.read";
        /// A shred was carried out.
        ShredDone = 17, "shred.done";
        /// A request without a valid credential.
        AuthDenied = 18, "auth.denied";
        /// Entries are missing, and it is known which.
        AuditGap = 19, "audit.gap";
        /// An epoch ended without a shred.
        KeyRotate = 20, "key.rotate";
        /// A certificate was read.
        CertificateRead = 21, "certificate.read";
        /// A shredded subject came back and was given a new unit.
        SubjectReturn = 22, "subject.return";
        /// Records or replies whose time was over were removed.
        Expire = 23, "expire";
        /// Rows of shredded units were removed.
        Reclaim = 24, "reclaim";
        /// A record's retention was explained.
        RetentionRead = 25, "retention.read";
        /// What was due was destroyed.
        RetentionRun = 26, "retention.run";
        /// A legal hold was placed.
        HoldPlace = 27, "hold.place";
        /// A legal hold was given more time.
        HoldRenew = 28, "hold.renew";
        /// A legal hold was released, or ended by itself.
        HoldRelease = 29, "hold.release";
        /// Legal holds were read.
        HoldRead = 30, "hold.read";
        /// A counsel's token was created.
        CounselAppoint = 31, "counsel.appoint";
        /// A counsel's token was revoked.
        CounselDismiss = 32, "counsel.dismiss";
        /// A snapshot of the data store was taken for a backup, or let go.
        BackupTake = 40, "backup.take";
        /// Data of an older date was put back, and what was shredded, deleted or over since is gone from it.
        BackupRestore = 41, "backup.restore";
        /// A tenant was suspended.
        TenantSuspend = 50, "tenant.suspend";
        /// A suspended tenant was resumed.
        TenantResume = 51, "tenant.resume";
        /// A tenant's end was ordered.
        TenantTerminate = 52, "tenant.terminate";
        /// That order was taken back.
        TenantCancel = 53, "tenant.cancel";
        /// The grace of a tenant that was ordered to end is over.
        TenantEnd = 54, "tenant.end";
        /// A record was read that is kept for its legal purpose alone.
        RestrictedRead = 55, "restricted.read";
        /// An order to shred left a record for its legal purpose alone.
        RecordRestrict = 56, "record.restrict";
        /// A person was given another id.
        AliasAdd = 60, "alias.add";
        /// An id was taken from a person.
        AliasRemove = 61, "alias.remove";
        /// A person's ids were read.
        AliasRead = 62, "alias.read";
        /// A second person was asked for.
        ApprovalAsk = 65, "approval.ask";
        /// A second person approved, and what was asked for was done in the same commit.
        ApprovalApprove = 66, "approval.approve";
        /// Somebody who could have approved refused.
        ApprovalRefuse = 67, "approval.refuse";
        /// Who asked for a second person took that back.
        ApprovalWithdraw = 68, "approval.withdraw";
        /// No second person approved in time.
        ApprovalExpire = 69, "approval.expire";
        /// Requests for a second person were read.
        ApprovalRead = 75, "approval.read";
        /// It was read what takes two persons.
        PolicyRead = 76, "policy.read";
        /// It was changed what takes two persons.
        PolicyWrite = 77, "policy.write";
        /// A collection's rules were let hold for what was there already, or all of that was gone through.
        RetentionShorten = 78, "retention.shorten";
        /// A counsel created an auditor's token for a tenant that has ended.
        AuditorAppoint = 79, "auditor.appoint";
        /// A tenant was exported, as a bundle for a recipient.
        TenantExport = 80, "tenant.export";
        /// A bundle was imported as a tenant.
        TenantImport = 81, "tenant.import";
        /// An event of a person was reported, or what follows from that was written down.
        EventReport = 82, "event.report";
        /// What was reported of one was taken back.
        EventWithdraw = 83, "event.withdraw";
        /// What was reported of a person was read.
        EventRead = 84, "event.read";
        /// Reports of what runs of retention did were read.
        RetentionReport = 85, "retention.report";
        /// What is marked in a collection was listed.
        RetentionMarked = 86, "retention.marked";
        /// It was read how far the runs have come.
        RetentionDue = 87, "retention.due";
        /// A counsel revoked an auditor's token of such a tenant.
        AuditorDismiss = 88, "auditor.dismiss";
        /// The steps of a tenant from one state to another were read.
        StateRead = 89, "state.read";
        /// The minimums of the governance kind of a collection were bypassed for what was there already.
        RetentionBypass = 90, "retention.bypass";
    }
}

table! {
    /// In which role.
    Role {
        /// Nobody was authenticated.
        None = 0, "none";
        /// The operator.
        Operator = 1, "operator";
        /// A tenant's owner.
        Owner = 2, "owner";
        /// Reads and changes records.
        Writer = 3, "writer";
        /// Reads records.
        Reader = 4, "reader";
        /// Reads the audit trail.
        Auditor = 5, "auditor";
        /// Deletes and shreds.
        Eraser = 6, "eraser";
        /// The store itself: a job, a start.
        System = 7, "system";
        /// Destroys what is due, and has snapshots taken.
        Job = 8, "job";
        /// Places and releases legal holds.
        Counsel = 9, "counsel";
        /// Approves that minimums of the governance kind are bypassed.
        Governor = 10, "governor";
    }
}

table! {
    /// Why not. The names are those of the problem catalogue.
    Reason {
        /// No valid credential.
        Unauthenticated = 1, "unauthenticated";
        /// The role or its narrowing does not allow it.
        Forbidden = 2, "forbidden";
        /// There is no such thing, or it may not be known.
        NotFound = 3, "not-found";
        /// Another version than expected.
        VersionConflict = 4, "version-conflict";
        /// A precondition of the request did not hold.
        PreconditionFailed = 5, "precondition-failed";
        /// The name is taken for good.
        NameTaken = 6, "name-taken";
        /// Shredded.
        Shredded = 7, "shredded";
        /// Under a legal hold.
        LegalHold = 8, "legal-hold";
        /// Over a limit.
        Limit = 9, "limit";
        /// Not a valid request.
        Invalid = 10, "invalid";
        /// Too busy, or the disk is full.
        Unavailable = 11, "unavailable";
        /// A fault of the server.
        Internal = 12, "internal";
        /// Under a legal minimum.
        LegalMinimum = 55, "legal-minimum";
        /// Kept for its legal purpose alone.
        Restricted = 56, "restricted";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_find_their_item() {
        for action in Action::ALL {
            assert_eq!((Action::from_code(action.code()), Action::from_name(action.name())), (Some(*action), Some(*action)));
        }
        for role in Role::ALL {
            assert_eq!((Role::from_code(role.code()), Role::from_name(role.name())), (Some(*role), Some(*role)));
        }
        for reason in Reason::ALL {
            assert_eq!((Reason::from_code(reason.code()), Reason::from_name(reason.name())), (Some(*reason), Some(*reason)));
        }
        assert_eq!((Action::from_code(0), Action::from_code(255), Role::from_code(11)), (None, None, None));
    }

    #[test]
    fn every_action_and_role_of_the_policy_can_be_audited() {
        for kind in crate::authz::ActionKind::ALL {
            assert!(Action::from_name(kind.name()).is_some(), "add {} to the table of audited actions", kind.name());
        }
        for role in crate::authn::Role::ALL {
            assert!(Role::from_name(role.name()).is_some(), "add {} to the table of audited roles", role.name());
        }
    }
}
