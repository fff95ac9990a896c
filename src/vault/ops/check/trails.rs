//! Every entry of every tenant's trail opened, held against its chain, and every chain against the head that a checkpoint
//! took of it.

use std::collections::HashMap;

use super::{CheckReport, Tenant, Vault, VaultError};
use crate::{
    domain::WriterId,
    vault::audit::{
        Gap, TrailEntry,
        chain::{self, ChainHash},
        heads::ProvenHead,
    },
};

/// Entries read at a time.
const ENTRIES: usize = 1_000;

/// A tenant's chains as far as they were read.
#[derive(Default)]
struct Chains {
    /// Value and number of the last entry.
    tips: HashMap<WriterId, (ChainHash, u64)>,
    heads: HashMap<WriterId, ProvenHead>,
    missing: Vec<Gap>,
    stated: Vec<Gap>,
    findings: Vec<String>,
}

impl Vault {
    /// Walks a tenant's trail from its beginning.
    pub(super) async fn check_trail(&self, tenant: &Tenant, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut chains = Chains::default();
        let verifier = self.inner.signer.verifier();
        match self.inner.audit.heads(tenant.no).await {
            Ok(heads) => {
                for head in heads {
                    if let Err(error) = head.verify(&self.inner.store_id, tenant.no, &verifier) {
                        chains.findings.push(format!("writer {}: its head is not in the log: {error}", head.writer));
                    }
                    chains.heads.insert(WriterId(head.writer), head);
                }
            }
            Err(error) => chains.findings.push(format!("heads: {error}")),
        }
        let mut after = None;
        loop {
            let page = match self.inner.audit.read(tenant.no, tenant.audit, after.as_deref(), ENTRIES).await {
                Ok(page) => page,
                Err(error) => {
                    chains.findings.push(format!("after entry {}: {error}", report.entries));
                    break;
                }
            };
            for entry in page.entries {
                report.entries = report.entries.saturating_add(1);
                chains.take(entry, |writer| chain::start(&self.inner.store_id, tenant.no, writer));
            }
            after = Some(page.next);
            if !page.more {
                chains.finish();
                break;
            }
        }
        report.stated_gaps = report.stated_gaps.saturating_add(u64::try_from(chains.stated.len()).unwrap_or(u64::MAX));
        report.findings.extend(chains.findings.into_iter().map(|finding| format!("tenant {}, trail: {finding}", tenant.no)));
        Ok(())
    }
}

impl Chains {
    fn take(&mut self, entry: TrailEntry, start: impl FnOnce(WriterId) -> ChainHash) {
        let TrailEntry { writer, seq, hash, bytes, entry, .. } = entry;
        let (last, number) = self.tips.get(&writer).copied().unwrap_or_else(|| (start(writer), 0));
        let next = number.saturating_add(1);
        if seq > next {
            self.missing.push(Gap { writer, from: next, to: seq.saturating_sub(1) });
        } else if chain::next(&last, &bytes) != hash {
            self.findings.push(format!("writer {writer}, entry {seq}: does not follow from the one before it"));
        }
        if self.heads.get(&writer).is_some_and(|head| head.seq == seq && head.hash != hash) {
            self.findings.push(format!("writer {writer}, entry {seq}: is not the one in the log"));
        }
        self.tips.insert(writer, (hash, seq));
        self.stated.extend(entry.target.gap);
    }

    /// What is missing must be stated in the trail itself.
    fn finish(&mut self) {
        for (writer, head) in &self.heads {
            let last = self.tips.get(writer).map_or(0, |(_, seq)| *seq);
            if last < head.seq {
                self.missing.push(Gap { writer: *writer, from: last.saturating_add(1), to: head.seq });
            }
        }
        let is_stated =
            |missing: &Gap| self.stated.iter().any(|gap| gap.writer == missing.writer && gap.from <= missing.from && gap.to >= missing.to);
        for missing in self.missing.iter().filter(|missing| !is_stated(missing)) {
            self.findings.push(format!("writer {}: entries {} to {} are missing", missing.writer, missing.from, missing.to));
        }
    }
}
