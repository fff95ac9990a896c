//! An audit entry and its one encoding: what the chain hashes, what is sealed, what clients recompute.
//!
//! Tokens, slots, generations, versions and random ids only: nothing here identifies a person. What a token stands for is
//! sealed beside the records, under the person's unit, and is looked up when the trail is read: see `vault::ops`' `names`.

use super::action::{Action, Reason, Role};
use crate::{
    domain::{CollectionNo, Epoch, Gen, PrincipalId, RequestId, Slot, TenantNo, Timestamp, Version, WriterId},
    vault::crypto::Token,
};

/// Version of the encoding.
const FORMAT: u8 = 1;

/// Stands for a purpose: the first half of its token. Eight bytes tell apart the few of a collection.
pub type PurposeToken = [u8; 8];

/// One event of a tenant's trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose trail.
    pub tenant: TenantNo,
    /// What was done or tried.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Who; zeros where nobody was authenticated.
    pub principal: PrincipalId,
    /// In which role.
    pub role: Role,
    /// In which request.
    pub request: RequestId,
    /// In which collection; 0 where in none.
    pub collection: CollectionNo,
    /// On what.
    pub target: Target,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Allowed,
    /// Refused.
    Denied(Reason),
    /// Tried and failed.
    Failed(Reason),
}

/// What an entry is about. All optional, none a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// The last token of a record's key.
    pub record: Option<Token>,
    /// A subject's token.
    pub subject: Option<Token>,
    /// A shred unit: slot and generation.
    pub unit: Option<(Slot, Gen)>,
    /// A record's version.
    pub version: Option<Version>,
    /// A token's, shred's, upload's or certificate's id; an alias's token.
    pub object: Option<[u8; 16]>,
    /// Another tenant, in the system tenant's trail.
    pub tenant: Option<TenantNo>,
    /// An epoch.
    pub epoch: Option<Epoch>,
    /// How many records a list, batch or job touched.
    pub count: Option<u32>,
    /// Which entries are missing.
    pub gap: Option<Gap>,
    /// For which of the collection's purposes, as the request stated it.
    pub purpose: Option<PurposeToken>,
}

/// Entries `from..=to` of a writer's chain that were known once and are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Whose.
    pub writer: WriterId,
    /// The first missing number.
    pub from: u64,
    /// The last number that was known.
    pub to: u64,
}

/// Bytes that are not an entry of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an audit entry of this format")]
pub struct EntryError;

impl Entry {
    /// `ver | action | outcome | reason | time i64 | principal16 | role | request16 | collection be32 | flags be16 | fields`.
    /// A flag's bit says that its field is there; fields stand in the order of their bits.
    #[must_use]
    pub fn encode(&self, time: Timestamp) -> Vec<u8> {
        let (outcome, reason) = self.outcome.codes();
        let mut out = vec![FORMAT, self.action.code(), outcome, reason];
        out.extend_from_slice(&time.0.to_be_bytes());
        out.extend_from_slice(&self.principal.0);
        out.push(self.role.code());
        out.extend_from_slice(&self.request.0);
        out.extend_from_slice(&self.collection.to_be_bytes());
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        let mut flags = 0_u16;
        let mut field = |bit: u16, present: bool, parts: &[&[u8]]| {
            if present {
                flags |= 1 << bit;
                for part in parts {
                    out.extend_from_slice(part);
                }
            }
        };
        let target = &self.target;
        field(0, target.record.is_some(), &[&target.record.unwrap_or_default()]);
        field(1, target.subject.is_some(), &[&target.subject.unwrap_or_default()]);
        if let Some((slot, generation)) = target.unit {
            field(2, true, &[&slot.to_be_bytes(), &generation.to_be_bytes()]);
        }
        if let Some(version) = target.version {
            field(3, true, &[&version.to_be_bytes()]);
        }
        field(4, target.object.is_some(), &[&target.object.unwrap_or_default()]);
        if let Some(tenant) = target.tenant {
            field(5, true, &[&tenant.to_be_bytes()]);
        }
        if let Some(epoch) = target.epoch {
            field(6, true, &[&epoch.to_be_bytes()]);
        }
        if let Some(count) = target.count {
            field(7, true, &[&count.to_be_bytes()]);
        }
        if let Some(gap) = target.gap {
            field(8, true, &[&gap.writer.to_be_bytes(), &gap.from.to_be_bytes(), &gap.to.to_be_bytes()]);
        }
        field(9, target.purpose.is_some(), &[&target.purpose.unwrap_or_default()]);
        for (place, byte) in out.iter_mut().skip(at).zip(flags.to_be_bytes()) {
            *place = byte;
        }
        out
    }

    /// Reads what [`Entry::encode`] wrote, and nothing else: each entry has one encoding.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn decode(tenant: TenantNo, bytes: &[u8]) -> Result<(Self, Timestamp), EntryError> {
        let mut reader = Reader(bytes);
        let [version, action, outcome, reason] = reader.take()?;
        if version != FORMAT {
            return Err(EntryError);
        }
        let time = Timestamp(i64::from_be_bytes(reader.take()?));
        let mut entry = Self {
            tenant,
            action: Action::from_code(action).ok_or(EntryError)?,
            outcome: Outcome::from_codes(outcome, reason).ok_or(EntryError)?,
            principal: PrincipalId(reader.take()?),
            role: {
                let [role] = reader.take()?;
                Role::from_code(role).ok_or(EntryError)?
            },
            request: RequestId(reader.take()?),
            collection: CollectionNo(u32::from_be_bytes(reader.take()?)),
            target: Target::default(),
        };
        let flags = u16::from_be_bytes(reader.take()?);
        if flags >> 10 != 0 {
            return Err(EntryError);
        }
        let has = |bit: u16| flags & (1 << bit) != 0;
        let target = &mut entry.target;
        target.record = has(0).then(|| reader.take()).transpose()?;
        target.subject = has(1).then(|| reader.take()).transpose()?;
        if has(2) {
            target.unit = Some((Slot::from_be_bytes(reader.take()?), Gen(u32::from_be_bytes(reader.take()?))));
        }
        target.version = has(3).then(|| reader.number()).transpose()?.map(Version);
        target.object = has(4).then(|| reader.take()).transpose()?;
        target.tenant = has(5).then(|| reader.number()).transpose()?.map(TenantNo);
        target.epoch = has(6).then(|| reader.number()).transpose()?.map(Epoch);
        target.count = has(7).then(|| reader.take()).transpose()?.map(u32::from_be_bytes);
        if has(8) {
            target.gap = Some(Gap { writer: WriterId(reader.number()?), from: reader.number()?, to: reader.number()? });
        }
        target.purpose = has(9).then(|| reader.take()).transpose()?;
        if reader.0.is_empty() { Ok((entry, time)) } else { Err(EntryError) }
    }

    /// As JSON, for people; what is verified is the encoding.
    #[must_use]
    pub fn to_json(&self, time: Timestamp) -> serde_json::Value {
        let (outcome, reason) = self.outcome.names();
        let target = &self.target;
        let fields = [
            ("record", target.record.map(|token| hex::encode(token).into())),
            ("subject", target.subject.map(|token| hex::encode(token).into())),
            ("slot", target.unit.map(|(slot, _)| slot.number().into())),
            ("generation", target.unit.map(|(_, generation)| generation.0.into())),
            ("version", target.version.map(|version| version.0.into())),
            ("object", target.object.map(|id| hex::encode(id).into())),
            ("tenant", target.tenant.map(|tenant| tenant.0.into())),
            ("epoch", target.epoch.map(|epoch| epoch.0.into())),
            ("count", target.count.map(serde_json::Value::from)),
            ("gap", target.gap.map(|gap| serde_json::json!({ "writer": gap.writer.0, "from": gap.from, "to": gap.to }))),
            ("purpose", target.purpose.map(|token| hex::encode(token).into())),
        ];
        let target: serde_json::Map<String, serde_json::Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        serde_json::json!({
            "time": time,
            "action": self.action.name(),
            "outcome": outcome,
            "reason": reason,
            "principal": self.principal.to_string(),
            "role": self.role.name(),
            "request": self.request.to_string(),
            "collection": self.collection.0,
            "target": target,
        })
    }
}

impl Outcome {
    const fn codes(self) -> (u8, u8) {
        match self {
            Self::Allowed => (0, 0),
            Self::Denied(reason) => (1, reason.code()),
            Self::Failed(reason) => (2, reason.code()),
        }
    }

    fn from_codes(outcome: u8, reason: u8) -> Option<Self> {
        match outcome {
            0 if reason == 0 => Some(Self::Allowed),
            1 => Reason::from_code(reason).map(Self::Denied),
            2 => Reason::from_code(reason).map(Self::Failed),
            _ => None,
        }
    }

    /// `allowed`, `denied` or `failed`, and why.
    #[must_use]
    pub const fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Allowed => ("allowed", None),
            Self::Denied(reason) => ("denied", Some(reason.name())),
            Self::Failed(reason) => ("failed", Some(reason.name())),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(EntryError)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, EntryError> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::vault::audit) fn read_entry(tenant: u64, number: u8) -> Entry {
        Entry {
            tenant: TenantNo(tenant),
            action: Action::RecordRead,
            outcome: Outcome::Allowed,
            principal: PrincipalId([7; 16]),
            role: Role::Reader,
            request: RequestId([number; 16]),
            collection: CollectionNo(3),
            target: Target {
                record: Some([number; 16]),
                unit: Some((Slot::new(17).unwrap(), Gen(1))),
                version: Some(Version(5)),
                ..Target::default()
            },
        }
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let outcome = prop_oneof![
            Just(Outcome::Allowed),
            prop::sample::select(Reason::ALL).prop_map(Outcome::Denied),
            prop::sample::select(Reason::ALL).prop_map(Outcome::Failed),
        ];
        let target = (
            (
                any::<Option<[u8; 16]>>(),
                any::<Option<[u8; 16]>>(),
                proptest::option::of((0..=Slot::MAX, any::<u32>())),
                any::<Option<u64>>(),
            ),
            (
                any::<Option<[u8; 16]>>(),
                any::<Option<u64>>(),
                any::<Option<u64>>(),
                any::<Option<u32>>(),
                any::<Option<(u64, u64, u64)>>(),
                any::<Option<[u8; 8]>>(),
            ),
        )
            .prop_map(|((record, subject, unit, version), (object, tenant, epoch, count, gap, purpose))| Target {
                record,
                subject,
                unit: unit.map(|(slot, generation)| (Slot::new(slot).unwrap(), Gen(generation))),
                version: version.map(Version),
                object,
                tenant: tenant.map(TenantNo),
                epoch: epoch.map(Epoch),
                count,
                gap: gap.map(|(writer, from, to)| Gap { writer: WriterId(writer), from, to }),
                purpose,
            });
        let who = (any::<[u8; 16]>(), prop::sample::select(Role::ALL), any::<[u8; 16]>(), any::<u32>());
        (prop::sample::select(Action::ALL), outcome, who, target).prop_map(
            |(action, outcome, (principal, role, request, collection), target)| Entry {
                tenant: TenantNo(4),
                action,
                outcome,
                principal: PrincipalId(principal),
                role,
                request: RequestId(request),
                collection: CollectionNo(collection),
                target,
            },
        )
    }

    proptest! {
        #[test]
        fn an_entry_survives_its_encoding(entry in entries(), time in any::<i64>()) {
            let bytes = entry.encode(Timestamp(time));
            prop_assert_eq!(Entry::decode(TenantNo(4), &bytes), Ok((entry, Timestamp(time))));
            prop_assert!(Entry::decode(TenantNo(4), bytes.split_last().unwrap().1).is_err());
            prop_assert!(Entry::decode(TenantNo(4), &[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn whatever_decodes_is_encoded_the_same_way(bytes in proptest::collection::vec(any::<u8>(), 0..200), start in any::<bool>()) {
            let bytes = if start { [&[FORMAT, 1, 0, 0], &bytes[..]].concat() } else { bytes };
            if let Ok((entry, time)) = Entry::decode(TenantNo(4), &bytes) {
                prop_assert_eq!(entry.encode(time), bytes);
            }
        }
    }

    #[test]
    fn the_encoding_of_format_1_stays_as_it_is() {
        let bytes = read_entry(4, 9).encode(Timestamp(1_790_000_000_000));
        let expected = concat!(
            "01010000000001a0c4506c00",
            "07070707070707070707070707070707",
            "04",
            "09090909090909090909090909090909",
            "00000003",
            "000d",
            "09090909090909090909090909090909",
            "00000000001100000001",
            "0000000000000005",
        );
        assert_eq!(hex::encode(bytes), expected);
    }

    #[test]
    fn a_read_takes_at_most_200_bytes_of_the_disk() {
        // The chain's value before it, its length, and what a side text adds: suite, salt, commitment, tag.
        let stored = |entry: &Entry| 32 + 2 + entry.encode(Timestamp(0)).len() + 1 + 24 + 32 + 16;
        let plain = read_entry(4, 9);
        let stated = Entry { target: Target { purpose: Some([1; 8]), ..plain.target }, ..plain.clone() };
        assert_eq!((stored(&plain), stored(&stated)), (192, 200));
        let among_others = |entry: &Entry| 2 + entry.encode(Timestamp(0)).len();
        assert_eq!((among_others(&plain), among_others(&stated)), (87, 95));
    }

    #[test]
    fn json_names_what_is_there_and_nothing_else() {
        let json = read_entry(4, 9).to_json(Timestamp(0));
        assert_eq!(json["action"], "record.read");
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["target"], serde_json::json!({ "record": "09".repeat(16), "slot": 17, "generation": 1, "version": 5 }));
        assert!(json["reason"].is_null());
    }
}
