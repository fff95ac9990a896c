//! Why the server of a bucket did not do what it was asked for, named by what to do about it.

use std::time::Duration;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was said of the bucket cannot be.
    Settings,
    /// There is no such bucket.
    NoBucket,
    /// The server does not know who asks.
    Credentials,
    /// Who asks may not do that.
    Denied,
    /// The clocks of this machine and of the server are too far apart.
    Clock,
    /// The bucket is in another region.
    Region,
    /// There is no S3 server at that address.
    Endpoint,
    /// The server cannot be reached, or the transfer broke.
    Unreachable,
    /// The server cannot do it now.
    Busy,
    /// The server knows no such request.
    Unsupported,
    /// The server takes no conditional writes, so it keeps no two from writing at once.
    Unconditional,
    /// Anything else that the server refused.
    Refused,
}

impl Kind {
    /// What operators look up.
    const fn name(self) -> &'static str {
        match self {
            Self::Settings => "s3-settings",
            Self::NoBucket => "s3-no-bucket",
            Self::Credentials => "s3-credentials",
            Self::Denied => "s3-denied",
            Self::Clock => "s3-clock",
            Self::Region => "s3-region",
            Self::Endpoint => "s3-endpoint",
            Self::Unreachable => "s3-unreachable",
            Self::Busy => "s3-busy",
            Self::Unsupported => "s3-unsupported",
            Self::Unconditional => "s3-unconditional",
            Self::Refused => "s3-refused",
        }
    }

    /// What to do, behind what was told.
    const fn advice(self) -> &'static str {
        match self {
            Self::NoBucket => "; make the bucket first, or name another one",
            Self::Credentials => "; look at the access key, its secret and, for temporary ones, the session token",
            Self::Denied => {
                "; it takes s3:ListBucket of the bucket, s3:GetObject and s3:PutObject below the prefix, and s3:DeleteObject to give the lock back and to prune"
            }
            Self::Clock => "; set this machine's clock",
            Self::Region => "; name its region with --s3-region",
            Self::Endpoint => "; look at --s3-endpoint, and at --s3-ca where the certificate is not known",
            Self::Unreachable | Self::Busy => "; it was tried several times: run it again",
            Self::Unconditional => "; see to it that nobody else writes there meanwhile, and say --s3-unconditional",
            Self::Settings | Self::Unsupported | Self::Refused => "",
        }
    }
}

/// What the server of a bucket, or the way to it, did not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {at}: {told}{}", .kind.name(), .kind.advice())]
pub struct S3Error {
    /// What is wrong.
    pub kind: Kind,
    /// Where.
    at: String,
    /// What was told of it.
    told: String,
    /// After how long the server wants to be asked again.
    retry_after: Option<Duration>,
}

impl S3Error {
    pub(super) fn new(kind: Kind, at: impl Into<String>, told: impl Into<String>) -> Self {
        Self { kind, at: at.into(), told: told.into(), retry_after: None }
    }

    pub(super) fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// After how long the server wants to be asked again.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether it may be otherwise in a moment.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Busy)
    }
}
