//! What is asked for with every execution, kept in memory. Bounded; each entry is either immutable or stamped with
//! the generation of the catalog it was read under, which every change of the catalog moves on.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bulkhead_egress::{HttpClient, Policy};
use bulkhead_types::{FunctionKey, IntegrationId, TenantId, Version, VersionId, WallKind};

use crate::integrations::KnownIntegration;
use crate::notify::NotificationTarget;

/// Entries of one cache; a full one is emptied, which costs one read per entry that is still wanted.
const ENTRIES_MAX: usize = 10_000;

/// A policy with the HTTP client that dials under it.
#[derive(Clone)]
pub(crate) struct Egress {
    pub(crate) policy: Arc<Policy>,
    pub(crate) client: HttpClient,
    /// From the same settings: the least wall.
    pub(crate) wall_floor: Option<WallKind>,
    /// From the same settings: whether records are sealed.
    pub(crate) encrypted: bool,
}

#[derive(Default)]
pub(crate) struct Caches {
    generation: AtomicU64,
    pub(crate) keys: Cache<[u8; 32], TenantId>,
    pub(crate) live: Cache<FunctionKey, Arc<Version>>,
    pub(crate) versions: Cache<(TenantId, VersionId), Arc<Version>>,
    pub(crate) egress: Cache<TenantId, Egress>,
    /// Of versions that narrow it.
    pub(crate) egress_of: Cache<(TenantId, VersionId), Egress>,
    pub(crate) handlers: Cache<(TenantId, IntegrationId), Arc<Vec<Arc<Version>>>>,
    /// Event functions.
    pub(crate) listeners: Cache<(TenantId, IntegrationId), Arc<Vec<Arc<Version>>>>,
    pub(crate) targets: Cache<TenantId, Arc<Option<NotificationTarget>>>,
    pub(crate) integrations: Cache<(TenantId, IntegrationId), Arc<KnownIntegration>>,
}

impl Caches {
    /// The generation to stamp an entry with; take it **before** reading what the entry is made from. `elsewhere` is
    /// that of the other servers' changes: both only grow, so their sum is another after either has.
    pub(crate) fn generation(&self, elsewhere: u64) -> u64 {
        self.generation.load(Ordering::SeqCst).wrapping_add(elsewhere)
    }

    /// The catalog has changed: what was read before counts no more. Call it after the commit.
    pub(crate) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) struct Cache<K, V> {
    entries: RwLock<HashMap<K, (u64, V)>>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: RwLock::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// The entry, if it was made under `generation`.
    pub(crate) fn get(&self, key: &K, generation: u64) -> Option<V> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .filter(|(made_under, _)| *made_under == generation)
            .map(|(_, value)| value.clone())
    }

    /// The entry, whatever it was made under.
    pub(crate) fn peek(&self, key: &K) -> Option<V> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).map(|(_, value)| value.clone())
    }

    pub(crate) fn put(&self, key: K, generation: u64, value: V) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(key, (generation, value));
    }
}
