//! Several custodies as one, all-of: a root is held only if every component's slot holds it, and is
//! gone as soon as one component is. What is left of an incomplete root is destroyed, once the
//! present root is known to be whole.

use zeroize::Zeroizing;

use super::{Custody, CustodyError, Description, DestroyReceipt};
use crate::{
    domain::{Epoch, RootId, StoreId},
    vault::crypto::{Branch, Key, derive_root, random},
};

/// A root by its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::keys) struct RootName {
    /// Its epoch.
    pub(in crate::vault::keys) epoch: Epoch,
    /// Its id.
    pub(in crate::vault::keys) root_id: RootId,
}

/// A root's top key and public commitment, derived from all components.
pub(in crate::vault::keys) struct DerivedRoot {
    pub(in crate::vault::keys) name: RootName,
    pub(in crate::vault::keys) commitment: [u8; 32],
    pub(in crate::vault::keys) top: Key<Branch>,
}

/// What the components hold, without the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vault::keys) struct Survey {
    /// Held by every component.
    pub(in crate::vault::keys) whole: Vec<RootName>,
    /// Held by some.
    pub(in crate::vault::keys) partial: Vec<RootName>,
    /// What each component holds, under its kind and place.
    pub(in crate::vault::keys) components: Vec<(String, Vec<RootName>)>,
}

impl Survey {
    /// The first component that holds nothing at all.
    pub(in crate::vault::keys) fn empty(&self) -> Option<&str> {
        self.components.iter().find(|(_, held)| held.is_empty()).map(|(name, _)| name.as_str())
    }

    /// The components that do not hold a root.
    pub(in crate::vault::keys) fn without(&self, root: RootName) -> String {
        let lacking: Vec<_> = self.components.iter().filter(|(_, held)| !held.contains(&root)).map(|(name, _)| name.as_str()).collect();
        lacking.join(", ")
    }
}

/// All components of one store's custody.
pub(in crate::vault::keys) struct Components {
    store: StoreId,
    parts: Vec<Box<dyn Custody>>,
    // Made but not yet kept.
    fresh: Option<(RootName, Vec<Zeroizing<[u8; 32]>>)>,
}

impl Components {
    pub(in crate::vault::keys) fn new(store: StoreId, parts: Vec<Box<dyn Custody>>) -> Self {
        Self { store, parts, fresh: None }
    }

    /// What is held where.
    pub(in crate::vault::keys) fn survey(&self) -> Result<Survey, CustodyError> {
        let mut names: Vec<RootName> = Vec::new();
        let mut holdings = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let held: Vec<_> = part.load()?.iter().map(|held| RootName { epoch: held.epoch, root_id: held.root_id }).collect();
            names.extend(held.iter().filter(|name| !names.contains(name)).copied().collect::<Vec<_>>());
            let name = part.describe().map_or_else(|_| part.kind().to_owned(), |it| format!("{} {}", it.kind, it.place));
            holdings.push((name, held));
        }
        names.sort_by_key(|name| (name.epoch, name.root_id));
        let (whole, partial) = names.into_iter().partition(|name| holdings.iter().all(|(_, held)| held.contains(name)));
        Ok(Survey { whole, partial, components: holdings })
    }

    /// Derives a whole root; `None` if a component does not hold it.
    pub(in crate::vault::keys) fn derive(&self, name: RootName) -> Result<Option<DerivedRoot>, CustodyError> {
        let mut secrets = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let held = part.load()?.into_iter().find(|held| held.epoch == name.epoch && held.root_id == name.root_id);
            let Some(held) = held else { return Ok(None) };
            secrets.push(Zeroizing::new(**held.secret));
        }
        Ok(Some(self.combine(name, &secrets)))
    }

    fn combine(&self, name: RootName, secrets: &[Zeroizing<[u8; 32]>]) -> DerivedRoot {
        let root = derive_root(&self.store, name.epoch, &name.root_id, secrets);
        DerivedRoot { name, commitment: root.commitment(), top: root.derive_top() }
    }

    /// Makes a fresh root for `epoch`, to be kept by [`Components::keep`].
    pub(in crate::vault::keys) fn make(&mut self, epoch: Epoch) -> DerivedRoot {
        let name = RootName { epoch, root_id: RootId(random::bytes()) };
        let fill = |_| {
            let mut secret = Zeroizing::new([0; 32]);
            random::fill(secret.as_mut_slice());
            secret
        };
        let secrets: Vec<_> = (0..self.parts.len()).map(fill).collect();
        let derived = self.combine(name, &secrets);
        self.fresh = Some((name, secrets));
        derived
    }

    /// Has every component keep its share of the root that was made last. [barrier 1]
    pub(in crate::vault::keys) fn keep(&mut self) -> Result<(), CustodyError> {
        let Some((name, secrets)) = self.fresh.take() else { return Ok(()) };
        self.parts.iter().zip(&secrets).try_for_each(|(part, secret)| part.prepare(name.epoch, name.root_id, secret))
    }

    /// Destroys a root in every component. [barrier 3]
    pub(in crate::vault::keys) fn destroy(&self, root_id: RootId) -> Result<Vec<DestroyReceipt>, CustodyError> {
        self.parts.iter().map(|part| part.destroy(root_id)).collect()
    }

    /// The receipts of a root that is gone everywhere; `None` if a component may still hold it. Destroys nothing.
    pub(in crate::vault::keys) fn receipts(&self, root_id: RootId) -> Result<Option<Vec<DestroyReceipt>>, CustodyError> {
        self.parts.iter().map(|part| part.destroyed(root_id)).collect()
    }

    /// Destroys every root but `present`, and the remains of writes that were cut short.
    pub(in crate::vault::keys) fn retain(&self, present: RootName) -> Result<(), CustodyError> {
        for part in &self.parts {
            for held in part.load()? {
                if held.epoch != present.epoch || held.root_id != present.root_id {
                    part.destroy(held.root_id)?;
                }
            }
            part.scrub()?;
        }
        Ok(())
    }

    /// Derives the root that every component holds and beside which none holds anything; `None` if it is not so.
    pub(in crate::vault::keys) fn derive_sole(&self, name: RootName) -> Result<Option<DerivedRoot>, CustodyError> {
        let mut secrets = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let held = part.load()?;
            let [held] = held.as_slice() else { return Ok(None) };
            if held.epoch != name.epoch || held.root_id != name.root_id {
                return Ok(None);
            }
            secrets.push(Zeroizing::new(**held.secret));
        }
        Ok(Some(self.combine(name, &secrets)))
    }

    /// What each component is.
    pub(in crate::vault::keys) fn describe(&self) -> Result<Vec<Description>, CustodyError> {
        self.parts.iter().map(|part| part.describe()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        domain::{TestClock, Timestamp},
        vault::keys::custody::file::FileCustody,
    };

    const STORE: StoreId = StoreId([7; 16]);

    fn part(path: &Path) -> Box<dyn Custody> {
        Box::new(FileCustody::open(path, None, STORE, Arc::new(TestClock::at(Timestamp(0)))).unwrap())
    }

    fn two(dir: &Path) -> Components {
        for name in ["a", "b"] {
            FileCustody::create(&dir.join(name), STORE).unwrap();
        }
        Components::new(STORE, vec![part(&dir.join("a")), part(&dir.join("b"))])
    }

    #[test]
    fn a_root_needs_every_component() {
        let dir = tempfile::tempdir().unwrap();
        let mut both = two(dir.path());
        let made = both.make(Epoch(1));
        both.keep().unwrap();
        assert_eq!(both.derive(made.name).unwrap().unwrap().top.expose(), made.top.expose());
        let one = Components::new(STORE, vec![part(&dir.path().join("a"))]);
        assert_ne!(one.derive(made.name).unwrap().unwrap().top.expose(), made.top.expose(), "one component is not the root");
        part(&dir.path().join("b")).destroy(made.name.root_id).unwrap();
        assert!(both.derive(made.name).unwrap().is_none());
        let survey = both.survey().unwrap();
        assert_eq!((&survey.whole, &survey.partial), (&vec![], &vec![made.name]));
        assert_eq!(survey.empty(), Some(format!("file {}", dir.path().join("b").display()).as_str()));
        assert_eq!(survey.without(made.name), survey.empty().unwrap());
    }

    #[test]
    fn retain_destroys_whole_and_partial_roots_but_the_present_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut both = two(dir.path());
        let present = both.make(Epoch(1)).name;
        both.keep().unwrap();
        let other = both.make(Epoch(2)).name;
        both.keep().unwrap();
        part(&dir.path().join("a")).destroy(other.root_id).unwrap();
        assert_eq!(both.survey().unwrap().partial, [other]);
        both.retain(present).unwrap();
        let survey = both.survey().unwrap();
        assert_eq!((survey.empty(), &survey.whole, &survey.partial), (None, &vec![present], &vec![]));
    }
}
