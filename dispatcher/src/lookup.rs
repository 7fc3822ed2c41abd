//! A map that is asked for one key at a time and can't be gone through, so that the order of its hashes can't matter: runs
//! replay all the same.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

/// Finds values by their keys. A tree of 100,000 names would compare texts in a dozen places of memory for each look-up.
#[derive(Debug)]
pub(crate) struct Lookup<K, V>(Map<K, V>);

#[expect(clippy::disallowed_types, reason = "nothing here goes through it")]
type Map<K, V> = std::collections::HashMap<K, V, Keyed>;

impl<K: Hash + Eq, V> Lookup<K, V> {
    /// Without values. `secret` keeps those who choose keys from choosing collisions, too.
    pub(crate) fn new(secret: u64) -> Self {
        Self(Map::with_hasher(Keyed(secret)))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }
}

/// Hashes with a secret, the same in each process that is given the same one.
#[derive(Debug, Clone, Copy)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let mut lookup = Lookup::new(7);
        lookup.insert("a", 1);
        lookup.insert("b", 2);
        lookup.insert("a", 3);
        assert_eq!((lookup.get(&"a"), lookup.get(&"b"), lookup.get(&"c")), (Some(&3), Some(&2), None));
        assert_eq!((lookup.remove(&"a"), lookup.remove(&"a"), lookup.get(&"a")), (Some(3), None, None));
    }

    #[test]
    fn hashes_differ_by_the_secret_and_by_nothing_else() {
        let hash = |secret| Keyed(secret).hash_one("http://example.com:80");
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}
