//! The list workload: all names of one group, by prefix or by subject.

use std::{borrow::Cow, sync::Arc};

use http::Method;
use rand::{RngExt as _, rngs::SmallRng};
use serde::Deserialize;

use super::{
    choose::LenDist,
    records::Records,
    tally::{Op, Step},
    wire::{Load, Trouble, Wire},
};
use crate::domain::{Clock as _, SystemClock, limits};

/// What a group is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum By {
    /// The first segment of its keys.
    Prefix,
    /// The person its records are about.
    Subject,
}

/// One connection's work on lists.
#[derive(Clone)]
pub(crate) struct Lists {
    pub(crate) records: Arc<Records>,
    pub(crate) by: By,
    pub(crate) group_len: u64,
    pub(crate) groups: u64,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<Item<'a>>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    size: u64,
}

impl Lists {
    pub(crate) async fn step(&self, wire: &mut Wire, rng: &mut SmallRng) -> Step {
        let group = rng.random_range(0..self.groups.max(1));
        let begun = SystemClock.monotonic();
        let result = self.list(wire, group).await;
        let items = result.as_ref().map_or(0, |items| *items);
        Step { op: Op::List, begun, ended: SystemClock.monotonic(), items, bytes: 0, result: result.map(drop) }
    }

    /// Lists a group, page by page; every name must be there once, of this group, and with the size of its value.
    async fn list(&self, wire: &mut Wire, group: u64) -> Result<u64, Trouble> {
        let records = &self.records;
        let name = records.group(group.saturating_mul(self.group_len)).unwrap_or_default();
        let field = if self.by == By::Prefix { "prefix" } else { "subject" };
        let limit = self.group_len.min(limits::LIST_LIMIT.max);
        let path = format!("{}/collections/{}/records?{field}={name}&limit={limit}", records.tenant_path, records.collection);
        let start = format!("{name}/");
        let (mut names, mut cursor) = (0_u64, String::new());
        loop {
            let answer = wire.send(wire.head(Method::GET, &format!("{path}{cursor}")), Load::Empty).await?;
            let bytes = answer.bytes().await?;
            let page: Page<'_> = serde_json::from_slice(&bytes).map_err(|_| Trouble::Wrong("malformed-list"))?;
            let of_the_group =
                |item: &Item<'_>| item.key.starts_with(&start) && (records.value_dist != LenDist::Fixed || item.size == records.value_len);
            if !page.data.iter().all(of_the_group) {
                return Err(Trouble::Wrong("wrong-name-in-list"));
            }
            names = names.saturating_add(page.data.len() as u64);
            match page.next_cursor {
                Some(next) if names < self.group_len => cursor = format!("&cursor={next}"),
                Some(_) | None => break,
            }
        }
        if names == self.group_len { Ok(names) } else { Err(Trouble::Wrong("wrong-count-of-names")) }
    }
}
