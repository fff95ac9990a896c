//! Verifies an exported trail offline: every entry against its chain, every chain against the heads in the log.
//!
//! The export is what the API gives: a line of JSON for each entry, with `writer`, `seq`, `entry` (the encoding in hex) and
//! `hash`. The other fields are for people, and are held against the encoding.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Entry, Gap,
    chain::{self, ChainHash},
    checkpoint::ProofError,
    fields,
    heads::ProvenHead,
    note::Verifier,
};
use crate::domain::{StoreId, TenantNo, WriterId};

/// What an export is worth, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Whole.
    Ok,
    /// Entries are missing, and the trail itself says which and why.
    StatedGap,
    /// Entries are missing at the end: a head in the log is further on.
    Truncated,
    /// Entries are missing before others.
    Gap,
    /// An entry is not the one that was written: changed, moved, or of another tenant.
    Tampered,
}

impl Verdict {
    /// The word that the command line prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::StatedGap => "stated-gap",
            Self::Truncated => "truncated",
            Self::Gap => "gap",
            Self::Tampered => "tampered",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// In whose chain.
    pub writer: WriterId,
    /// The first entry it concerns.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// What it is.
    pub verdict: Verdict,
}

/// What [`verify_trail`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailReport {
    /// The worst of the findings.
    pub verdict: Verdict,
    /// How many entries.
    pub entries: u64,
    /// How many chains.
    pub chains: u64,
    /// How many heads the chains were held against; without any, a cut-off end cannot be seen.
    pub heads: u64,
    /// All that was found.
    pub findings: Vec<Finding>,
}

/// Why an export could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A line is not one of an export.
    #[error("line {0} is not a line of an export")]
    Line(u64),
    /// A head's proof does not lead to the signed checkpoint.
    #[error("head of writer {0}: {1}")]
    Head(u64, ProofError),
}

#[derive(Deserialize)]
struct Line {
    writer: u64,
    seq: u64,
    entry: String,
    #[serde(with = "fields::hash")]
    hash: ChainHash,
    #[serde(flatten)]
    view: serde_json::Map<String, serde_json::Value>,
}

struct Chain {
    hash: ChainHash,
    next: u64,
    /// The furthest head: its number and the chain's value there.
    head: Option<(u64, ChainHash)>,
}

/// Verifies the lines of an export against the heads, and the heads against the log's key.
///
/// # Errors
/// [`VerifyError`]: it is no export, or the heads are not to be trusted.
pub fn verify_trail<'a>(
    store: &StoreId,
    tenant: TenantNo,
    lines: impl IntoIterator<Item = &'a str>,
    heads: &[ProvenHead],
    verifier: &Verifier,
) -> Result<TrailReport, VerifyError> {
    let mut check = TrailCheck::new(*store, tenant);
    for head in heads {
        check.head(head, verifier)?;
    }
    for line in lines {
        check.line(line)?;
    }
    Ok(check.finish())
}

/// The same, of a trail that comes line by line: all heads first.
pub struct TrailCheck {
    store: StoreId,
    tenant: TenantNo,
    chains: BTreeMap<WriterId, Chain>,
    missing: Vec<Finding>,
    stated: Vec<Gap>,
    findings: Vec<Finding>,
    heads: u64,
    entries: u64,
}

impl TrailCheck {
    /// Of the trail of a store's tenant.
    #[must_use]
    pub const fn new(store: StoreId, tenant: TenantNo) -> Self {
        Self { store, tenant, chains: BTreeMap::new(), missing: Vec::new(), stated: Vec::new(), findings: Vec::new(), heads: 0, entries: 0 }
    }

    /// Takes a head to hold the trail against.
    ///
    /// # Errors
    /// [`VerifyError::Head`]: it is not to be trusted.
    pub fn head(&mut self, head: &ProvenHead, verifier: &Verifier) -> Result<(), VerifyError> {
        head.verify(&self.store, self.tenant, verifier).map_err(|error| VerifyError::Head(head.writer, error))?;
        let chain = self.chain(WriterId(head.writer));
        if chain.head.is_none_or(|(seq, _)| seq < head.seq) {
            chain.head = Some((head.seq, head.hash));
        }
        self.heads = self.heads.saturating_add(1);
        Ok(())
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// [`VerifyError::Line`]: it is none of an export.
    pub fn line(&mut self, line: &str) -> Result<(), VerifyError> {
        self.entries = self.entries.saturating_add(1);
        let malformed = VerifyError::Line(self.entries);
        let line: Line = serde_json::from_str(line).map_err(|_| malformed)?;
        let bytes = hex::decode(&line.entry).map_err(|_| malformed)?;
        self.take(&line, &bytes);
        Ok(())
    }

    fn chain(&mut self, writer: WriterId) -> &mut Chain {
        let (store, tenant) = (self.store, self.tenant);
        self.chains.entry(writer).or_insert_with(|| Chain { hash: chain::start(&store, tenant, writer), next: 1, head: None })
    }

    fn take(&mut self, line: &Line, bytes: &[u8]) {
        let (writer, seq) = (WriterId(line.writer), line.seq);
        let chain = self.chain(writer);
        let is_next = seq == chain.next;
        let follows = if is_next { chain::next(&chain.hash, bytes) == line.hash } else { seq > chain.next };
        let is_head = chain.head.is_none_or(|(at, hash)| at != seq || hash == line.hash);
        let gap = (seq > chain.next).then(|| Finding { writer, from: chain.next, to: seq.saturating_sub(1), verdict: Verdict::Gap });
        if seq >= chain.next {
            (chain.hash, chain.next) = (line.hash, seq.saturating_add(1));
        }
        let entry = Entry::decode(self.tenant, bytes).ok().filter(|(entry, time)| shows(&line.view, &entry.to_json(*time)));
        self.missing.extend(gap);
        match entry {
            Some((entry, _)) if follows && is_head => self.stated.extend(entry.target.gap),
            Some(_) | None => self.findings.push(Finding { writer, from: seq, to: seq, verdict: Verdict::Tampered }),
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(mut self) -> TrailReport {
        for (writer, chain) in &self.chains {
            if let Some((seq, _)) = chain.head.filter(|(seq, _)| *seq >= chain.next) {
                self.missing.push(Finding { writer: *writer, from: chain.next, to: seq, verdict: Verdict::Truncated });
            }
        }
        for finding in self.missing {
            let covers = |gap: &Gap| gap.writer == finding.writer && gap.from <= finding.from && gap.to >= finding.to;
            let verdict = if self.stated.iter().any(covers) { Verdict::StatedGap } else { finding.verdict };
            self.findings.push(Finding { verdict, ..finding });
        }
        self.findings.sort_by_key(|finding| (finding.writer, finding.from));
        let verdict = self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
        let chains = u64::try_from(self.chains.len()).unwrap_or(u64::MAX);
        TrailReport { verdict, entries: self.entries, chains, heads: self.heads, findings: self.findings }
    }
}

/// Whether the readable fields of a line say what the encoding says.
fn shows(view: &serde_json::Map<String, serde_json::Value>, entry: &serde_json::Value) -> bool {
    let Some(entry) = entry.as_object() else { return false };
    entry.iter().all(|(name, value)| view.get(name).is_none_or(|shown| shown == value))
}
