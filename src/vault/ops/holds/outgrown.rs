//! An order that a hold keeps is carried out, when the hold ends, for all ids that its persons have by then. One row must hold them.

use std::collections::HashSet;

use super::super::{
    Vault, VaultError,
    directory::Tenant,
    rows::{HeldOrderRow, Scope},
    shredder::is_its_own,
};
use crate::{
    domain::{ShredId, limits},
    vault::{
        crypto::Token,
        store::{
            Space,
            schema::{self, Table},
        },
    },
};

impl Vault {
    /// Refuses an id by which an order that is held would come to name more than its row holds: it could never be given again. `ids` are
    /// all that the person would have.
    ///
    /// Held to nothing in the commit: an order that is stopped at the same moment names fewer than an order may name when it is given,
    /// and that is far below this.
    ///
    /// # Errors
    /// [`VaultError::Limit`]: of the aliases, for who gives one may not know of the order.
    pub(in crate::vault::ops) async fn fits_held_orders(&self, tenant: &Tenant, ids: &[Token]) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::HeldOrder, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                // One that cannot be read is not given again whatever it names.
                let Ok(held) = self.inner.seals.open::<HeldOrderRow>(&row.key, &row.value) else { continue };
                let order = match self.shred_row(ShredId(held.order)).await {
                    Ok(Some(order)) => order,
                    Ok(None) => continue,
                    Err(error) if is_its_own(&error) => continue,
                    Err(error) => return Err(error),
                };
                let Scope::Subjects(tokens) = &order.scope else { continue };
                let named = tokens.len().saturating_sub(usize::from(order.aliases));
                let named = tokens.get(..named).unwrap_or(tokens);
                if !named.iter().any(|token| ids.contains(token)) {
                    continue;
                }
                let mut all: HashSet<Token> = ids.iter().chain(named).copied().collect();
                for person in self.persons(tenant.no, named).await? {
                    all.extend(person.tokens());
                }
                if all.len() > self.inner.options.held_order_ids {
                    return Err(VaultError::Limit(limits::SUBJECT_ALIASES));
                }
            }
        }
        Ok(())
    }
}
