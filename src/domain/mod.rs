//! The words of the system as types: ids, names, record metadata, collection policies, retention, limits, time.
//! No I/O, no cryptography, no clock but the one that is handed in. A value of one of these types has
//! been checked once, where it was parsed; the rooms behind trust the type.

pub mod approval;
pub mod clock;
pub mod hold;
pub mod id;
pub mod lifecycle;
pub mod limits;
pub mod list;
pub mod name;
pub mod policy;
pub mod record;
pub mod retention;

pub use clock::{Clock, SystemClock, TestClock, Timestamp};
pub use id::{
    ApprovalId, CollectionNo, Epoch, Gen, HoldId, PrincipalId, ReportId, RequestId, RootId, ShredId, Slot, SnapshotId, StoreId, TenantNo,
    TokenId, TreeId, UploadId, Version, WriterId,
};
pub use name::{CollectionName, NameError, RecordKey, SubjectId, TenantName};
pub use policy::{CollectionPolicy, ShredUnit};
pub use record::{CustomPairs, RecordMeta};
pub use retention::Retention;
