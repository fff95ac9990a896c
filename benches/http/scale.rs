//! How much is measured.

/// The names of the scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ScaleName {
    /// Whether it works at all: with `--only` within a minute.
    Smoke,
    /// A look: some minutes.
    Quick,
    /// 10^5 records: about half an hour.
    Standard,
    /// 10^6 records, and 10^7 of one store that grows: about an hour.
    Full,
}

/// The sizes of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) records: u64,
    /// Of each measurement.
    pub(crate) secs: f64,
    pub(crate) warmup_secs: f64,
    pub(crate) rounds: usize,
    pub(crate) stream_mib: u64,
    pub(crate) import: u64,
    /// Records of a tenant that is shredded.
    pub(crate) tenant: u64,
    /// Seconds between such a tenant's load and its shred: compactions that the load set going are over then.
    pub(crate) rest_secs: u64,
    /// Records of a subject that is shredded.
    pub(crate) subject: u64,
    /// Shreds of one kind in a round.
    pub(crate) shreds: u64,
    /// Seconds in which reads are measured while another tenant is shredded and reclaimed.
    pub(crate) meanwhile_secs: f64,
    /// Records before and after a store has grown.
    pub(crate) grown: [u64; 2],
    /// Records of each store that one row alone needs, and of the one it stands beside: durable entries, TLS, cold keys.
    pub(crate) aside: u64,
    /// Subjects of one order.
    pub(crate) subjects_at_once: u64,
    /// Orders that are given at one moment.
    pub(crate) orders_at_once: u64,
}

impl ScaleName {
    pub(crate) const fn scale(self) -> Scale {
        match self {
            Self::Smoke => Scale {
                records: 500,
                secs: 0.3,
                warmup_secs: 0.1,
                rounds: 1,
                stream_mib: 8,
                import: 1_000,
                tenant: 100,
                rest_secs: 0,
                subject: 100,
                meanwhile_secs: 3.0,
                grown: [100, 1_000],
                aside: 500,
                shreds: 4,
                subjects_at_once: 20,
                orders_at_once: 20,
            },
            Self::Quick => Scale {
                records: 2_000,
                secs: 1.0,
                warmup_secs: 0.3,
                rounds: 1,
                stream_mib: 64,
                import: 10_000,
                tenant: 1_000,
                rest_secs: 1,
                subject: 1_000,
                meanwhile_secs: 5.0,
                grown: [1_000, 10_000],
                aside: 2_000,
                shreds: 20,
                subjects_at_once: 1_000,
                orders_at_once: 1_000,
            },
            Self::Standard => Scale {
                records: 100_000,
                secs: 5.0,
                warmup_secs: 2.0,
                rounds: 5,
                stream_mib: 1_024,
                import: 100_000,
                tenant: 20_000,
                rest_secs: 5,
                subject: 10_000,
                shreds: 20,
                meanwhile_secs: 12.0,
                grown: [10_000, 1_000_000],
                aside: 100_000,
                subjects_at_once: 1_000,
                orders_at_once: 1_000,
            },
            Self::Full => Scale {
                records: 1_000_000,
                secs: 4.0,
                warmup_secs: 1.5,
                rounds: 3,
                stream_mib: 1_024,
                import: 1_000_000,
                tenant: 1_000_000,
                rest_secs: 30,
                subject: 10_000,
                shreds: 20,
                meanwhile_secs: 20.0,
                grown: [10_000, 10_000_000],
                aside: 100_000,
                subjects_at_once: 1_000,
                orders_at_once: 1_000,
            },
        }
    }
}
