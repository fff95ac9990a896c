//! The tables of `Control` and `Index`: the tag of each, and what its keys and rows say. A tag is never given to another table, not even
//! when its own is gone: what was written under it may come back with a backup.

/// The tables of [`Space::Control`](super::super::Space::Control) (below 128) and [`Space::Index`](super::super::Space::Index) (from 128).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// One row: what the store is (store id, format of the rows).
    Meta = 1,
    /// One row: epoch, root id, commitment, hash of the delta.
    RootPtr = 2,
    /// tree id 16, level u8, index be64: a wrapped page.
    Page = 3,
    /// tenant be64: its unit tree (tree id, height).
    Tree = 4,
    /// kind u8, or kind u8 and tenant be64: the next number that is free.
    Lease = 5,
    /// tenant be64: its state and its sealed name.
    Tenant = 6,
    /// token 16: the number of the tenant of that name; stays as a tombstone.
    TenantName = 7,
    /// tenant be64, collection be32: its unit, state, sealed name and policy.
    Collection = 8,
    /// tenant be64, token 16: the number of the collection of that name; stays as a tombstone.
    CollectionName = 9,
    /// token id 16: an access token.
    AccessToken = 10,
    /// tenant be64, token id 16: the access tokens of a tenant.
    TenantAccessToken = 11,
    /// tenant be64, subject token 16: pending, shredded, held.
    SubjectState = 12,
    /// tenant be64, slot u48: pending or shredded.
    UnitState = 13,
    /// shred id 16: an order to shred.
    ShredOrder = 14,
    /// tenant be64, shred id 16: the orders of a tenant.
    TenantShredOrder = 15,
    /// shred id 16: an order whose steps are not all done.
    PendingShred = 16,
    /// epoch be64, number be32: what an epoch shredded.
    ShredLog = 17,
    /// shred id 16: a certificate.
    Certificate = 18,
    /// tenant be64, writer be64: the last entry of an audit chain, of either store, that a checkpoint covers.
    AuditHead = 19,
    /// name: a setting.
    Setting = 20,
    /// Units, by slot and generation, in the control store so that no restored data can forget one that is to be shredded.
    /// tenant be64, subject token 16, collection be32: the unit of a subject there. tenant, record token 16, collection,
    /// slot u48: each unit that a record ever had; tenant, subject token, collection, record token, slot: the same, under its subject.
    Unit = 21,
    /// leaf hash 32: a leaf that may not be in the log yet.
    LogOutbox = 22,
    /// shred id 16, epoch be64: slots of the units that an order destroyed in that epoch.
    ShredSlots = 23,
    /// tenant be64, token 16: what was made under an idempotency key by a change of the control store.
    Made = 24,
    /// due be64, tenant be64, token 16: such a row that can go.
    MadeDue = 25,
    /// tenant be64, hold id 16: a legal hold; stays after its end.
    Hold = 26,
    /// What a hold that stands is on. tenant be64, then 0: all of it; 1, subject token 16; 2, collection be32, u8, so many tokens: the
    /// records under these segments, of none all of the collection's; 3, likewise: the one record. Then its id.
    HoldOn = 27,
    /// tenant be64: what changes with each hold of it that begins or ends. Absent while none stands.
    HoldState = 28,
    /// time be64, tenant be64, hold id 16: when a hold ends by itself.
    HoldLapse = 29,
    /// epoch be64: what is public about the change that began it.
    Epoch = 30,
    /// epoch be64: what the self-check of that epoch compares with; gone with the next epoch once it has passed.
    EpochCheck = 31,
    /// tenant be64, the first half of a hash of its scope: an order to shred that a hold stopped.
    HeldOrder = 32,
    /// tenant be64, time be64, change id 16: a step from one of the tenant's states to another.
    TenantChange = 50,
    /// due be64, tenant be64: when the grace of a tenant that is terminated is over.
    TenantEnd = 51,
    /// tenant be64, slot u48: a unit that an order about persons has spared, for it seals what a law keeps.
    KeptUnit = 55,
    /// time be64, tenant be64, slot u48: when such a unit is looked at next, whether anything is left under it.
    KeptDue = 56,
    /// tenant be64: what changes when a collection of it is made that has legal minimums, or is given its first. Absent while none was.
    LawMark = 57,
    /// tenant be64, shred id 16, number be32: what an end in part has left for laws, in pieces. Until the next one is done.
    LeftByLaw = 58,
    /// tenant be64, subject token 16: that a person has several ids, and which is the first. Absent for all others.
    Alias = 60,
    /// tenant be64, approval id 16: a request for a second person; stays after its end.
    Approval = 65,
    /// time be64, tenant be64, approval id 16: when a request that is open ends by itself.
    ApprovalDue = 66,
    /// tenant be64, the first half of a hash of what is asked for: the request that is open for it.
    ApprovalOpen = 67,
    /// tenant be64, collection be32, time be64: rules that two persons let hold for what was there then.
    Shortening = 68,
    /// tenant be64, report id 16: what runs of retention did in it on a day that is over.
    RetentionReport = 70,
    /// tenant be64, report id 16, shred id 16: an order to shred that goes with what such a report counts.
    ReportShred = 71,
    /// tenant be64, subject token 16: what was reported of a person, under the person's first id. Absent for all others.
    Events = 72,
    /// number be64: whose events were reported, in the order of the reports; the last of each person's.
    EventQueue = 73,
    /// tenant be64, shred id 16, subject token 16: what was known of a person's events when the order left what a law keeps.
    LeftEvents = 74,
    /// tenant be64, subject token 16, collection be32, record tokens: a record that names the subject.
    SubjectRecord = 129,
    /// upload id 16: a large value on its way in.
    Upload = 130,
    /// due be64, upload id 16: a large value whose rows can go.
    BlobReclaim = 131,
    /// tenant be64, token 16: the sealed reply to an idempotency key.
    Idempotency = 132,
    /// due be64, tenant be64, token 16: an idempotency reply that can go.
    IdempotencyDue = 133,
    /// id 16 (made from the record's row), number be32: a deleted record whose unit is still to be shredded.
    Reclaim = 134,
    /// One row: the number of the last checkpoint of the audit chains.
    AuditMark = 135,
    /// tenant be64, subject token 16, collection be32, record tokens: a record that names the subject, but not first.
    SecondaryRecord = 136,
    /// tenant be64, slot u48, upload id 16: a large value sealed under that unit.
    UnitUpload = 137,
    /// One row: the last entry of the shred log that was looked at in this data store. epoch be64, number be32: an entry up to
    /// there that is not done with.
    Reclaimed = 138,
    /// tenant be64, slot u48, generation be32, collection be32, last token of a record's key 16: what the token stands for, sealed
    /// under that unit. For readers of the audit trail; not read by anything else.
    TrailName = 139,
    /// shred id 16, collection be32: what an order has deleted there so far; under collection 0, how far it has come.
    ShredDeleted = 140,
    /// hour be32, tenant be64, collection be32, record tokens: a record of which a version ends within that hour.
    Due = 141,
    /// The same of one whose end a date in its value, or of an event, decides: within the 32 days that begin with that hour.
    DueMonth = 142,
    /// tenant be64, collection be32, record tokens: where a record's row lies in one of those, in [`Table::DueListed`] or in
    /// [`Table::DueAsleep`].
    DueOf = 143,
    /// hold id 16, then the key of its row in [`Table::Due`] or [`Table::DueMonth`]: a record that is due and that this hold keeps.
    HeldDue = 144,
    /// One row: how far this data store has come with the rows of [`Table::EventQueue`].
    EventsDone = 145,
    /// hour be32, page be32, place be16, tenant be64, collection be32, record tokens: what was a row of [`Table::DueMonth`] until its 32 days
    /// had begun, at a place of the page that says when it is due.
    DueListed = 146,
    /// hour be32, tenant be64, collection be32, page be32: which places of it are due when, sealed.
    DuePage = 147,
    /// tenant be64, collection be32, record tokens: what was a row of [`Table::Due`] until its collection had no rules any more, which nothing
    /// but other rules can give an end.
    DueAsleep = 148,
    /// tenant be64, collection be32: under which rules those of it sleep.
    AsleepOf = 149,
    /// tenant be64, slot u48: how many restricted records a unit seals that an order has spared.
    KeptRecords = 155,
    /// shred id 16, collection be32, the name of a rule: what an order has left there so far for that rule's minimum.
    ShredRetained = 156,
    /// tenant be64, collection be32: how far this data store has come with the rows of [`Table::Shortening`].
    Shortened = 165,
    /// tenant be64, report id 16: what runs of retention have done in it today, counted in the commits of that.
    OpenReport = 170,
    /// tenant be64: how far the import of a tenant has come; stays when all of it is there.
    TenantImport = 180,
}
