//! What can be done: one marker type an action, so that a permit for one cannot be passed for another.

mod sealed {
    pub trait Sealed {}
}

/// An action, at the level of types. Sealed.
pub trait Action: sealed::Sealed + Send + Sync + 'static {
    /// The same as a value.
    const KIND: ActionKind;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// An action, as a value: for the policy table, audit entries and metric labels.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ActionKind {
            $($(#[$doc])* $name,)*
        }

        impl ActionKind {
            /// All actions, in the order of the golden policy.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in audit entries, metrics and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $name {}
            impl sealed::Sealed for $name {}
            impl Action for $name {
                const KIND: ActionKind = ActionKind::$name;
            }
        )*
    };
}

actions! {
    /// Create a tenant.
    TenantCreate = "tenant.create";
    /// List the tenants.
    TenantList = "tenant.list";
    /// Read a tenant's state.
    TenantRead = "tenant.read";
    /// Stop a tenant: no data is read or written.
    TenantSuspend = "tenant.suspend";
    /// Let a suspended tenant go on.
    TenantResume = "tenant.resume";
    /// Order a tenant's end, after a grace.
    TenantTerminate = "tenant.terminate";
    /// Take that back.
    TenantCancel = "tenant.cancel";
    /// Read the steps of a tenant from one state to another.
    StateRead = "state.read";
    /// Take all of a tenant as a bundle, sealed for a recipient.
    TenantExport = "tenant.export";
    /// Fill a tenant that was made for it from a bundle.
    TenantImport = "tenant.import";
    /// Create or replace a collection and its policy.
    CollectionWrite = "collection.write";
    /// Read a collection's policy, or list the tenant's collections.
    CollectionRead = "collection.read";
    /// Read a record, or its metadata.
    RecordRead = "record.read";
    /// Read a record that is kept for its legal purpose alone.
    RestrictedRead = "restricted.read";
    /// Create or replace a record.
    RecordWrite = "record.write";
    /// Delete a record.
    RecordDelete = "record.delete";
    /// List a collection's records, by prefix or subject.
    RecordList = "record.list";
    /// Explain how long a record is kept, from its metadata and the dates in it that rules count from, or simulate for a collection.
    RetentionRead = "retention.read";
    /// Destroy what is due in the whole store.
    RetentionRun = "retention.run";
    /// Read how much is due in the whole store.
    RetentionDue = "retention.due";
    /// Read what runs of retention have done in a tenant, by counts.
    RetentionReport = "retention.report";
    /// List the records of a collection that are going to be destroyed.
    RetentionMarked = "retention.marked";
    /// Place a legal hold.
    HoldPlace = "hold.place";
    /// Give a legal hold more time.
    HoldRenew = "hold.renew";
    /// Release a legal hold.
    HoldRelease = "hold.release";
    /// Read the legal holds that one may know of.
    HoldRead = "hold.read";
    /// Create a counsel's token.
    CounselAppoint = "counsel.appoint";
    /// Revoke a counsel's token.
    CounselDismiss = "counsel.dismiss";
    /// Create an auditor's token for a tenant that has ended.
    AuditorAppoint = "auditor.appoint";
    /// Revoke one of such a tenant.
    AuditorDismiss = "auditor.dismiss";
    /// Give a person another id.
    AliasAdd = "alias.add";
    /// Take an id from a person.
    AliasRemove = "alias.remove";
    /// Read the ids of a person.
    AliasRead = "alias.read";
    /// Report when an event of a person was, that retention rules count from.
    EventReport = "event.report";
    /// Take back what was reported of one.
    EventWithdraw = "event.withdraw";
    /// Read what was reported of a person.
    EventRead = "event.read";
    /// Read what takes two persons in a tenant.
    PolicyRead = "policy.read";
    /// Change what takes two persons in a tenant.
    PolicyWrite = "policy.write";
    /// Read the requests for a second person that one could decide, or made.
    ApprovalRead = "approval.read";
    /// Approve what somebody else asked for, and what one might do oneself.
    ApprovalApprove = "approval.approve";
    /// Refuse it.
    ApprovalRefuse = "approval.refuse";
    /// Take back what one asked for.
    ApprovalWithdraw = "approval.withdraw";
    /// Ask that a collection's rules hold for what is there already.
    RetentionShorten = "retention.shorten";
    /// Bypass the minimums of the governance kind for what is there already.
    RetentionBypass = "retention.bypass";
    /// Create a token.
    TokenCreate = "token.create";
    /// List tokens, without their secrets.
    TokenList = "token.list";
    /// Revoke a token.
    TokenRevoke = "token.revoke";
    /// Order a shred.
    ShredOrder = "shred.order";
    /// Read how a shred goes.
    ShredRead = "shred.read";
    /// Read an audit trail.
    AuditRead = "audit.read";
    /// Read the store's metrics.
    MetricsRead = "metrics.read";
    /// Take a snapshot of the data store to copy a backup from, and let it go.
    BackupTake = "backup.take";
    /// End an epoch without a shred.
    KeyRotate = "key.rotate";
}
