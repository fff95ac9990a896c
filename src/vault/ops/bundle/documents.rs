//! What is in the frames: JSON, in which a field that is not known is refused. Times are RFC 3339 in UTC with milliseconds, ids are
//! hexadecimal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{BundleError, FORMAT, Kind, VERSION};
use crate::{
    domain::{
        CollectionPolicy, CustomPairs, Retention, Timestamp,
        approval::ApprovalRules,
        retention::{RuleName, events::Report},
    },
    vault::{
        audit::note::{Note, Verifier},
        crypto::hash::{self, Purpose},
    },
};

/// What bundle this is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The bundle's own id; entries of both stores' trails name it.
    pub bundle: String,
    /// The id of the store that it is from.
    pub store: String,
    /// The tenant's name there.
    pub tenant: String,
    /// Its number there, to which its trail is bound.
    pub tenant_no: u64,
    /// When the export began.
    pub exported_at: Timestamp,
    /// The principal that asked for it.
    pub exported_by: String,
    /// When the tenant was made.
    pub created_at: Timestamp,
    /// Whether a write to an unknown collection makes it.
    pub create_collections_on_write: bool,
    /// What takes two persons in it, where anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalRules>,
    /// Random, and nowhere else: so no hash over a bundle confirms a guess of what is in it.
    pub salt: String,
}

impl Header {
    /// Reads one. What it is, is looked at before anything else of it.
    ///
    /// # Errors
    /// [`BundleError::NotABundle`], [`BundleError::Version`], [`BundleError::Form`].
    pub fn parse(payload: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Which {
            format: String,
            version: u32,
        }

        let which: Which = serde_json::from_slice(payload).map_err(|_| BundleError::NotABundle)?;
        if which.format != FORMAT {
            return Err(BundleError::NotABundle);
        }
        if which.version != VERSION {
            return Err(BundleError::Version(which.version));
        }
        parse(Kind::Header, payload)
    }
}

/// A collection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionDoc {
    /// Its name.
    pub collection: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its policy.
    pub policy: CollectionPolicy,
    /// Its earlier retention, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retention_was: Vec<RetentionWas>,
    /// The numbers of the rules that came with a bypass, ascending: how many there had been before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bypassed: Vec<u32>,
}

/// What a collection's retention was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionWas {
    /// The first moment at which it held no more.
    pub until: Timestamp,
    /// What it was.
    pub retention: Retention,
    /// The categories that were declared by then.
    pub categories: Vec<String>,
}

/// A record without its value, which follows in frames of its own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordDoc {
    /// Its collection.
    pub collection: String,
    /// Its key.
    pub key: String,
    /// MIME type of the value.
    pub content_type: String,
    /// Whom it is about, the first one first.
    pub subjects: Vec<String>,
    /// First write of this key since it was last absent.
    pub created_at: Timestamp,
    /// The last write.
    pub modified_at: Timestamp,
    /// Its own end.
    pub expires_at: Option<Timestamp>,
    /// Custom pairs.
    #[serde(default, skip_serializing_if = "CustomPairs::is_empty")]
    pub custom: CustomPairs,
    /// Length of the value in bytes.
    pub value_len: u64,
    /// Under which of its collection's rules it was written: how many there had been before them.
    pub rules_no: u32,
    /// The number of the last report, of those that the bundle tells, that its write has seen; 0 where it has seen none.
    pub reports_no: u64,
    /// What is written down of its end.
    pub due: Option<DueDoc>,
    /// What a law keeps it for beyond what the rules say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptDoc>,
    /// The same until somebody bypasses it, where that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governed: Option<GovernedDoc>,
}

impl RecordDoc {
    /// Reads one that was sealed.
    ///
    /// # Errors
    /// [`BundleError::Form`].
    pub fn parse(payload: &[u8]) -> Result<Self, BundleError> {
        parse(Kind::SealedRecord, payload)
    }
}

/// What a law keeps a record for beyond what the rules say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptDoc {
    /// The rule.
    pub rule: RuleName,
    /// The law that it cites.
    pub basis: String,
    /// The first moment behind it.
    pub until: Timestamp,
    /// The order to shred that has left the record for its legal purpose alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_by: Option<LeftBy>,
}

/// What a law keeps a record for beyond that until somebody bypasses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GovernedDoc {
    /// The rule.
    pub rule: RuleName,
    /// The law that it cites.
    pub basis: String,
    /// The first moment behind it.
    pub until: Timestamp,
    /// The number of the collection's rules by which it was sealed: how many there had been before them.
    pub rules_no: u32,
}

/// The order to shred that has left a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftBy {
    /// Its id in the store that it was given in.
    pub order: String,
    /// Whether the person whom the record is about is erased there.
    pub is_erased: bool,
    /// As of when it was decided what a law keeps: an event that is not reported was then.
    pub as_of: Timestamp,
    /// What was reported of the person by then, of the events that minimums count from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
}

/// What is written down of a record's end: a run of retention goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DueDoc {
    /// It ends.
    Ends {
        /// Then.
        at: Timestamp,
        /// When it is marked, where it is to be marked still.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marks_at: Option<Timestamp>,
        /// Whether a date in its value has a part in it.
        by_date: bool,
    },
    /// The rules have given it no end.
    Endless {
        /// Since then.
        since: Timestamp,
    },
}

/// A person's several ids.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonDoc {
    /// The first.
    pub subject: String,
    /// The others.
    pub aliases: Vec<String>,
}

/// What was reported of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsDoc {
    /// The person's first id.
    pub subject: String,
    /// All reports, in the order in which they were made, those that were corrected or taken back included.
    pub reports: Vec<Report>,
    /// Those that came with other ids, which counted for each other's records from then on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<JoinedDoc>,
}

/// What was reported under another id until that became the person's, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinedDoc {
    /// The other id.
    pub id: String,
    /// When it became the person's.
    pub at: Timestamp,
    /// The number of that.
    pub no: u64,
    /// All reports of it by then.
    pub reports: Vec<Report>,
}

/// A legal hold that stands.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldDoc {
    /// Its id, which it keeps.
    pub id: String,
    /// The matter that it is for.
    pub matter: String,
    /// Why it was placed.
    pub reason: String,
    /// Who answers for what is held.
    pub custodian: String,
    /// The case number of the law enforcement agency that asked for it.
    pub case_number: Option<String>,
    /// Why it was renewed last.
    pub renewal_reason: Option<String>,
    /// Whether everybody in the tenant may know of it.
    pub disclosed: bool,
    /// The principal that placed it.
    pub placed_by: String,
    /// When.
    pub placed_at: Timestamp,
    /// When it ends by itself.
    pub lapses_at: Option<Timestamp>,
    /// What it is on.
    pub on: Vec<ThingDoc>,
    /// Things that it is on and that its store cannot name any more, or not yet: nothing is there to tell their names.
    pub unnamed: u64,
}

impl HoldDoc {
    /// Reads one.
    ///
    /// # Errors
    /// [`BundleError::Form`].
    pub fn parse(payload: &[u8]) -> Result<Self, BundleError> {
        parse(Kind::Hold, payload)
    }
}

/// Something that a hold is on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ThingDoc {
    /// Everything of the tenant.
    Tenant,
    /// A person, by one id.
    Subject(String),
    /// A collection, or what is under a prefix of it.
    Under {
        /// Which.
        collection: String,
        /// The prefix.
        prefix: Option<String>,
    },
    /// A record.
    Record {
        /// Of which collection.
        collection: String,
        /// Which.
        key: String,
    },
}

/// What not everybody may know of who opens the bundle: `commitment 32 | an age file of salt 32 and the payload of a frame`. A legal hold
/// is sealed for a counsel, a record that is kept for its legal purpose alone for an auditor.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedFrame<'a> {
    /// The commitment to what is sealed.
    pub commitment: [u8; 32],
    /// That, sealed.
    pub sealed: &'a [u8],
}

impl<'a> SealedFrame<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`BundleError::Form`].
    pub fn parse(kind: Kind, payload: &'a [u8]) -> Result<Self, BundleError> {
        let (commitment, sealed) = payload.split_first_chunk().ok_or(BundleError::Form(kind))?;
        Ok(Self { commitment: *commitment, sealed })
    }
}

/// What a sealed frame was opened to: `salt 32 | the payload of a frame`.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedFrame<'a> {
    salt: &'a [u8; 32],
    payload: &'a [u8],
}

impl<'a> OpenedFrame<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`BundleError::Form`].
    pub fn parse(opened: &'a [u8]) -> Result<Self, BundleError> {
        let (salt, payload) = opened.split_first_chunk().ok_or(BundleError::Form(Kind::Opened))?;
        Ok(Self { salt, payload })
    }

    /// The commitment to it, in a frame of a kind. The salt keeps a guess from being confirmed.
    #[must_use]
    pub fn commitment(&self, kind: Kind) -> [u8; 32] {
        hash::of_fields(Purpose::SealedFrame, &[self.salt, &[kind.code()], self.payload])
    }

    /// The payload, if that is what was committed to.
    ///
    /// # Errors
    /// [`BundleError::Sealed`].
    pub fn payload(&self, kind: Kind, commitment: &[u8; 32]) -> Result<&'a [u8], BundleError> {
        if self.commitment(kind) == *commitment { Ok(self.payload) } else { Err(BundleError::Sealed) }
    }
}

/// What a token allowed. Its secret is nowhere: its holder needs a new one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDoc {
    /// The token's id.
    pub id: String,
    /// Its role.
    pub role: String,
    /// Who held it.
    pub kind: String,
    /// To which collections it was narrowed; all where there is none.
    pub collections: Vec<String>,
    /// To which keys.
    pub prefix: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// What an export has left where it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Records that are there and do not open: their bytes are bent.
    pub unreadable: u64,
    /// Records whose time is over, and that a run of retention, or the end of a hold, is still to take.
    pub over: u64,
    /// Tokens, lists of a person's ids, what was reported of a person, and collections that do not open.
    pub bent: u64,
}

/// What all of it comes to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    /// How many frames there are before it.
    pub frames: u64,
    /// How many of each kind.
    pub counts: BTreeMap<String, u64>,
    /// What is not in it.
    pub left_out: LeftOut,
    /// The running hash over all frames before it.
    pub chain: String,
    /// Bundle, store, and all of this but the counts, which follow from the frames, signed by the store.
    pub note: String,
}

impl Trailer {
    /// The text that a store signs.
    #[must_use]
    pub fn signed_text(&self, bundle: &str, store: &str) -> String {
        let Self { frames, chain, left_out: LeftOut { unreadable, over, bent }, .. } = self;
        format!("lethe/v1/tenant-bundle\n{bundle}\n{store}\n{frames}\n{chain}\n{unreadable} {over} {bent}\n")
    }

    /// Checks that the store with this key has made the bundle.
    ///
    /// # Errors
    /// [`BundleError::Signature`].
    pub fn verify(&self, header: &Header, verifier: &Verifier) -> Result<(), BundleError> {
        let signed = Note::parse(&self.note).and_then(|note| note.open(verifier)).map_err(|_| BundleError::Signature)?;
        let expected = self.signed_text(&header.bundle, &header.store);
        if signed == expected { Ok(()) } else { Err(BundleError::Signature) }
    }
}

/// Reads a document.
///
/// # Errors
/// [`BundleError::Form`]; what is wrong with it is not told, for it could be somebody's name.
pub(super) fn parse<T: DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<T, BundleError> {
    serde_json::from_slice(payload).map_err(|_| BundleError::Form(kind))
}
