//! Whether two states are the same: by 64 bits of a hash.
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

/// What is hashed, gathered, so that it is hashed once by code that is optimized in every build: the standard library's hasher took
/// half of a search's time.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = Sha256::digest(&self.0);
        u64::from_le_bytes(std::array::from_fn(|i| hash[i]))
    }
}

pub fn digest(value: &impl Hash) -> u64 {
    let mut bytes = Bytes(Vec::with_capacity(4096));
    value.hash(&mut bytes);
    bytes.finish()
}
