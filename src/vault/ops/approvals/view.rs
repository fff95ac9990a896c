//! What is shown of a request for a second person, and to whom: to those who may do what is asked for, to who asked, and to auditors. To
//! everyone else there is no such request.

use super::Stored;
use crate::{
    authn::{Principal, Role},
    authz::{self, AliasRead, ApprovalRead, PolicyWrite, Resource, RetentionBypass, RetentionShorten, ShredOrder, TenantTerminate, decide},
    domain::{ApprovalId, CollectionNo, HoldId, PrincipalId, RecordKey, ShredId, TenantName, Timestamp, approval::ApprovalRules},
    vault::{
        audit::{Action, Target},
        crypto::Token,
        ops::{
            Caller, Missing, ShownScope, Vault, VaultError,
            access::InTenant,
            directory::{Tenant, pseudonym},
            names::Told,
            plan::{entry, object},
            refused::Place,
            rows::{
                ApprovalHow, ApprovalOpenRow, ApprovalRow, ApprovalRulesRow, ApprovalWhatRow, Scope, ShortenedRow, ShorteningRow, ShredRow,
            },
        },
        store::{
            Row, Space,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// Rows read at once.
const ROWS: usize = 64;
/// Requests that are looked at for one page: requests stay when they have ended, and a page may be of few among many.
const LOOKS: usize = 1_024;

/// The state of those that can be decided.
const PENDING: &str = "pending";

/// A request for a second person.
#[derive(Debug, Clone)]
pub struct ApprovalView {
    /// Its id; of an order to shred, the order's.
    pub id: ApprovalId,
    /// `pending`, `approved`, `refused`, `withdrawn` or `expired`.
    pub state: &'static str,
    /// What is asked for.
    pub what: ApprovalWhat,
    /// The hash of that.
    pub digest: [u8; 32],
    /// Why it is asked for, where somebody has said so.
    pub reason: Option<String>,
    /// Who asked.
    pub asked_by: PrincipalId,
    /// When.
    pub asked_at: Timestamp,
    /// From when on nobody can approve it any more.
    pub expires_at: Timestamp,
    /// Who ended it; `None` while it is open, and where its time was over.
    pub ended_by: Option<PrincipalId>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it was refused, where somebody has said so.
    pub refusal: Option<String>,
}

/// What a second person is asked for.
#[derive(Debug, Clone)]
pub enum ApprovalWhat {
    /// An order to shred.
    Shred {
        /// `tenant`, `collection`, `subject` or `record`.
        scope: &'static str,
        /// What it names, as records that are there tell it; `None` in a list.
        shown: Option<ShownScope>,
        /// The order's state; `gone` where what it names went with another order while a legal hold kept it.
        order: &'static str,
    },
    /// The release of a legal hold.
    ReleaseHold {
        /// Which.
        hold: HoldId,
    },
    /// A looser policy.
    LoosenPolicy {
        /// As it was when it was asked for.
        from: ApprovalRules,
        /// As it would be.
        to: ApprovalRules,
    },
    /// That a collection's rules hold for what is there already.
    ShortenRetention {
        /// Its name.
        collection: String,
        /// The hash of the rules.
        rules: [u8; 32],
        /// Whether all that was there has been gone through; `None` while it is not approved.
        done: Option<bool>,
    },
    /// The same, and that the minimums of the governance kind of all rules before bind no more.
    BypassGovernance {
        /// Its name.
        collection: String,
        /// The hash of the rules.
        rules: [u8; 32],
        /// Whether all that was there has been gone through; `None` while it is not approved.
        done: Option<bool>,
    },
    /// The end of the tenant.
    Terminate {
        /// After which grace.
        grace: String,
    },
}

impl Vault {
    /// One request.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn approval(&self, caller: &Caller, tenant: &TenantName, id: ApprovalId) -> Result<ApprovalView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let InTenant { tenant, .. } = self.in_tenant::<ApprovalRead>(caller, tenant).await?;
            let Stored { row, .. } = self.stored_approval(tenant.no, id).await?.ok_or(VaultError::NotFound(Missing::Approval))?;
            if !self.sees(caller, &tenant, id, &row).await? {
                return Err(VaultError::NotFound(Missing::Approval));
            }
            let read = entry(caller, &tenant, Action::ApprovalRead, CollectionNo::TENANT, object(id.0));
            self.read_receipt(&tenant, read).await?;
            self.approval_view(caller, &tenant, id, &row).await
        };
        self.on_record(caller, Place::tenant(tenant), Action::ApprovalRead, read).await
    }

    /// The requests that the caller may see, those that have ended included: at most `limit` behind a cursor; of one state alone, if one
    /// is given. Where few are among many, a page may have less than `limit`, or none, with a cursor to go on with.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`super::Unprocessable::Cursor`].
    pub async fn approvals(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        state: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ApprovalView>, Option<String>), VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::ApprovalRead, self.approvals_page(caller, tenant, state, cursor, limit)).await
    }

    async fn approvals_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        state: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ApprovalView>, Option<String>), VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<ApprovalRead>(caller, tenant).await?;
        let range = schema::table_of_tenant(Table::Approval, tenant.no);
        let mut from = KeyRange { from: self.begin_page(tenant.no, "approvals", &range, cursor).await?, to: range.to.clone() };
        let (mut views, mut last, mut is_more, mut looks) = (Vec::new(), None, false, LOOKS);
        'pages: while let Some(rows) = self.approval_rows(&tenant, state, &mut from).await? {
            for stored in rows {
                let id = stored.key.last_chunk::<16>().map(|id| ApprovalId(*id));
                let id = id.ok_or_else(|| VaultError::Internal("approval row".into()))?;
                let row: ApprovalRow = self.inner.seals.open(&stored.key, &stored.value)?;
                let is_listed = looks > 0
                    && state.is_none_or(|state| state == self.approval_state(&row))
                    && self.sees(caller, &tenant, id, &row).await?;
                if looks == 0 || (is_listed && views.len() == limit) {
                    is_more = true;
                    break 'pages;
                }
                if is_listed {
                    views.push(self.told_approval(&tenant, id, &row, None).await?);
                }
                looks = looks.saturating_sub(1);
                last = Some(stored.key);
            }
        }
        let read = entry(caller, &tenant, Action::ApprovalRead, CollectionNo::TENANT, Target::default());
        self.read_receipt(&tenant, read).await?;
        let next = self.end_page(tenant.no, "approvals", &range, last.filter(|_| is_more)).await?;
        Ok((views, next))
    }

    /// The next rows of a range of requests, which moves on behind them; `None` at its end. Those that can be decided have rows of their
    /// own, and are few: where they alone are asked for, nothing else is read.
    async fn approval_rows(&self, tenant: &Tenant, state: Option<&str>, range: &mut KeyRange) -> Result<Option<Vec<Row>>, VaultError> {
        if state != Some(PENDING) {
            return self.some_rows_of(Space::Control, range, ROWS).await;
        }
        let open = schema::table_of_tenant(Table::ApprovalOpen, tenant.no);
        let mut keys = Vec::new();
        for row in self.inner.store.scan(Space::Control, &open.from, &open.to, usize::MAX).await? {
            let ApprovalOpenRow { approval, .. } = self.inner.seals.open(&row.key, &row.value)?;
            keys.push(schema::approval(tenant.no, ApprovalId(approval)));
        }
        keys.retain(|key| range.from <= *key && *key < range.to);
        keys.sort_unstable();
        range.from = range.to.clone();
        let stored = self.inner.store.get_many(Space::Control, &keys).await?;
        let rows: Vec<Row> = keys.into_iter().zip(stored).filter_map(|(key, value)| Some(Row { key, value: value? })).collect();
        Ok((!rows.is_empty()).then_some(rows))
    }

    /// Whether a caller may know of a request.
    pub(super) async fn sees(&self, caller: &Caller, tenant: &Tenant, id: ApprovalId, row: &ApprovalRow) -> Result<bool, VaultError> {
        let is_own = row.asked_by == caller.principal.token().0;
        let is_shown = is_own || caller.principal.role() == Role::Auditor || self.may_do(caller, tenant, id, row).await?;
        Ok(is_shown || self.may_ask(caller, tenant, row).await?)
    }

    /// Whether a caller could have asked for it, where it is for others to approve.
    async fn may_ask(&self, caller: &Caller, tenant: &Tenant, row: &ApprovalRow) -> Result<bool, VaultError> {
        let ApprovalWhatRow::BypassGovernance(no, _) = row.what else { return Ok(false) };
        self.may_in::<RetentionShorten>(&caller.principal, tenant, CollectionNo(no), None).await
    }

    /// Whether a caller may do what is asked for.
    pub(super) async fn may_do(&self, caller: &Caller, tenant: &Tenant, id: ApprovalId, row: &ApprovalRow) -> Result<bool, VaultError> {
        let (principal, whole) = (&caller.principal, Resource::tenant(tenant.no));
        match &row.what {
            ApprovalWhatRow::LoosenPolicy(..) => Ok(decide::<PolicyWrite>(principal, &whole).is_ok()),
            ApprovalWhatRow::Terminate(_) => Ok(decide::<TenantTerminate>(principal, &whole).is_ok()),
            ApprovalWhatRow::ReleaseHold(hold) => self.may_release(caller, tenant, HoldId(*hold)).await,
            ApprovalWhatRow::ShortenRetention(no, _) => self.may_in::<RetentionShorten>(principal, tenant, CollectionNo(*no), None).await,
            ApprovalWhatRow::BypassGovernance(no, _) if fault!("bypass-who") => {
                self.may_in::<RetentionShorten>(principal, tenant, CollectionNo(*no), None).await
            }
            ApprovalWhatRow::BypassGovernance(no, _) => self.may_in::<RetentionBypass>(principal, tenant, CollectionNo(*no), None).await,
            ApprovalWhatRow::Shred(_) => match self.shred_row(ShredId(id.0)).await?.map(|order| order.scope) {
                Some(Scope::Tenant | Scope::Rest { .. } | Scope::Subjects(_)) | None => Ok(decide::<ShredOrder>(principal, &whole).is_ok()),
                Some(Scope::Collection(no)) => self.may_in::<ShredOrder>(principal, tenant, CollectionNo(no), None).await,
                Some(Scope::Record { collection, row, .. }) => {
                    let no = CollectionNo(collection);
                    if self.may_in::<ShredOrder>(principal, tenant, no, None).await? {
                        return Ok(true);
                    }
                    // A narrower grant reaches it by its key, as long as the record tells that.
                    let Some(tokens) = schema::record_tokens(&row) else { return Ok(false) };
                    match self.key_at(tenant, no, &tokens).await? {
                        Some(key) => self.may_in::<ShredOrder>(principal, tenant, no, Some(&key)).await,
                        None => Ok(false),
                    }
                }
            },
        }
    }

    async fn may_in<A: authz::Action>(
        &self,
        principal: &Principal,
        tenant: &Tenant,
        no: CollectionNo,
        key: Option<&RecordKey>,
    ) -> Result<bool, VaultError> {
        match self.collection_by_number(tenant.no, no).await {
            Ok(collection) => Ok(decide::<A>(principal, &Resource::collection::<A>(tenant.no, &collection.name, key)).is_ok()),
            Err(VaultError::Shredded { .. } | VaultError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn approval_state(&self, row: &ApprovalRow) -> &'static str {
        match row.end.map(|end| end.how) {
            None if row.is_open(self.inner.clock.now()) => PENDING,
            Some(ApprovalHow::Approved) => "approved",
            Some(ApprovalHow::Refused) => "refused",
            Some(ApprovalHow::Withdrawn) => "withdrawn",
            Some(ApprovalHow::Expired) | None => "expired",
        }
    }

    /// A request with the names of what it asks for, as a caller may read them.
    pub(super) async fn approval_view(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        id: ApprovalId,
        row: &ApprovalRow,
    ) -> Result<ApprovalView, VaultError> {
        self.told_approval(tenant, id, row, Some(caller)).await
    }

    /// The same; as a list shows it, if its names are shown `to` nobody.
    async fn told_approval(
        &self,
        tenant: &Tenant,
        id: ApprovalId,
        row: &ApprovalRow,
        to: Option<&Caller>,
    ) -> Result<ApprovalView, VaultError> {
        let texts = match self.open_texts(tenant.no, id, row).await {
            Ok(texts) => texts,
            // With its tenant.
            Err(VaultError::Shredded { .. }) => super::Texts::default(),
            Err(error) => return Err(error),
        };
        Ok(ApprovalView {
            id,
            state: self.approval_state(row),
            what: self.shown_what(tenant, id, row, to).await?,
            digest: self.digest_of(tenant.no, id, row)?,
            reason: texts.reason,
            asked_by: PrincipalId(row.asked_by),
            asked_at: Timestamp(row.asked_at),
            expires_at: Timestamp(row.expires_at),
            ended_by: row.end.filter(|end| end.how != ApprovalHow::Expired).map(|end| PrincipalId(end.by)),
            ended_at: row.end.map(|end| Timestamp(end.at)),
            refusal: texts.refusal,
        })
    }

    async fn shown_what(
        &self,
        tenant: &Tenant,
        id: ApprovalId,
        row: &ApprovalRow,
        to: Option<&Caller>,
    ) -> Result<ApprovalWhat, VaultError> {
        Ok(match &row.what {
            ApprovalWhatRow::Shred(level) => {
                let (shown, order) = match self.shred_row(ShredId(id.0)).await? {
                    Some(order) => {
                        let shown = match to {
                            Some(caller) => self.shown_order(caller, tenant, id, &order).await,
                            None => None,
                        };
                        (shown, self.order_state(ShredId(id.0), &order).await?)
                    }
                    None => (None, "gone"),
                };
                ApprovalWhat::Shred { scope: level.name(), shown, order }
            }
            ApprovalWhatRow::ReleaseHold(hold) => ApprovalWhat::ReleaseHold { hold: HoldId(*hold) },
            ApprovalWhatRow::Terminate(grace) => ApprovalWhat::Terminate { grace: grace.clone() },
            ApprovalWhatRow::LoosenPolicy(from, to) => {
                ApprovalWhat::LoosenPolicy { from: from.rules(), to: to.map_or_else(ApprovalRules::default, ApprovalRulesRow::rules) }
            }
            ApprovalWhatRow::ShortenRetention(no, rules) => ApprovalWhat::ShortenRetention {
                collection: self.name_of(tenant, CollectionNo(*no)).await?,
                rules: *rules,
                done: self.is_gone_through(tenant, CollectionNo(*no), id, row).await?,
            },
            ApprovalWhatRow::BypassGovernance(no, rules) => ApprovalWhat::BypassGovernance {
                collection: self.name_of(tenant, CollectionNo(*no)).await?,
                rules: *rules,
                done: self.is_gone_through(tenant, CollectionNo(*no), id, row).await?,
            },
        })
    }

    /// What an order names. It is told of, although some record cannot be read for now, or its key is going. Who may not read a person's
    /// ids is told those alone that were named.
    async fn shown_order(&self, caller: &Caller, tenant: &Tenant, id: ApprovalId, order: &ShredRow) -> Option<ShownScope> {
        let mut others: &[Token] = &[];
        let things = match &order.scope {
            Scope::Tenant | Scope::Rest { .. } => vec![HeldThing::Tenant],
            Scope::Collection(no) => vec![HeldThing::Under(CollectionNo(*no), Vec::new())],
            Scope::Subjects(subjects) => {
                let mut told = subjects.as_slice();
                if decide::<AliasRead>(&caller.principal, &Resource::tenant(tenant.no)).is_err() {
                    (told, others) = subjects.split_at(subjects.len().saturating_sub(usize::from(order.aliases)));
                }
                told.iter().copied().map(HeldThing::Subject).collect()
            }
            Scope::Record { collection, row, .. } => {
                vec![HeldThing::Record(CollectionNo(*collection), schema::record_tokens(row).unwrap_or_default())]
            }
        };
        let later = |error: &VaultError| tracing::warn!(%error, %id, "what an order to shred names cannot be shown for now");
        let told = self.told_names(caller, tenant).await.inspect_err(later).ok()?;
        // Who may approve it is shown what that would be.
        let may = self.admits::<ShredOrder>(caller, tenant).is_ok();
        let told = Told { records: told.records || may, collections: told.collections || may };
        let mut shown = self.shown_things(tenant, things, told).await.inspect_err(later).ok()?;
        shown.subjects.extend(others.iter().map(|token| pseudonym("subject", token)));
        Some(shown)
    }

    /// The same of a request, whether it was approved or not.
    async fn is_gone_through(
        &self,
        tenant: &Tenant,
        no: CollectionNo,
        id: ApprovalId,
        row: &ApprovalRow,
    ) -> Result<Option<bool>, VaultError> {
        Ok(match row.end.map(|end| end.how) {
            Some(ApprovalHow::Approved) => Some(self.is_shortened(tenant, no, id, row).await?),
            Some(ApprovalHow::Refused | ApprovalHow::Withdrawn | ApprovalHow::Expired) | None => None,
        })
    }

    /// Whether this data store has gone through what a request was approved for.
    async fn is_shortened(&self, tenant: &Tenant, no: CollectionNo, id: ApprovalId, row: &ApprovalRow) -> Result<bool, VaultError> {
        let key = schema::shortened(tenant.no, no);
        let Some(stored) = self.inner.store.get(Space::Index, &key).await? else { return Ok(false) };
        let far: ShortenedRow = self.inner.seals.open(&key, &stored)?;
        let at = self.shortened_at(tenant, no, id, row).await?;
        Ok(at.is_some_and(|at| far.at > at || (far.at == at && far.done)))
    }

    /// The moment of an approved shortening, in its key: that of the approval, or the first one behind it that was free.
    async fn shortened_at(&self, tenant: &Tenant, no: CollectionNo, id: ApprovalId, row: &ApprovalRow) -> Result<Option<u64>, VaultError> {
        let all = schema::shortenings_of(tenant.no, no);
        let approved_at = row.end.map_or(0, |end| super::unsigned(end.at));
        let behind = KeyRange { from: schema::shortening(tenant.no, no, approved_at), to: all.to.clone() };
        // All of them only where a clock was set back in that moment.
        for mut range in [behind, all] {
            while let Some(rows) = self.some_rows_of(Space::Control, &mut range, ROWS).await? {
                for row in rows {
                    if self.inner.seals.open::<ShorteningRow>(&row.key, &row.value)?.approval == id.0 {
                        return Ok(schema::shortening_parts(&row.key).map(|(.., at)| at));
                    }
                }
            }
        }
        Ok(None)
    }
}
