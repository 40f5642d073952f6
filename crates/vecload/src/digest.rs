//! What was loaded, as one number: the same for the same records, in whatever order, requests and
//! attempts they were loaded.
//!
//! Each record's wire bytes are hashed under its namespace, and the hashes are added modulo 2^128.
//! A sum, since it does not depend on order and can be carried from attempt to attempt; not an
//! exclusive or, since then a record that is loaded twice would cancel itself out. It tells apart what
//! differs by accident. It is not made against somebody who wants two corpora to look the same.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use xxhash_rust::xxh3::xxh3_64;

/// The digest of some records; of none it is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest(u128);

// === impl Digest ===

impl Digest {
    /// The digest of records of one namespace, by its name on the wire.
    pub(crate) fn of<'a>(namespace: &str, records: impl Iterator<Item = &'a [u8]>) -> Self {
        let key = xxh3_64(namespace.as_bytes());
        let hashes = records.map(|record| XxHash3_128::oneshot_with_seed(key, record));
        Self(hashes.fold(0, u128::wrapping_add))
    }
}

impl Digest {
    /// The digest that is shown so; of what is none, that of no records.
    pub(crate) fn from_hexadecimal(text: &str) -> Self {
        Self(u128::from_str_radix(text, 16).unwrap_or(0))
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(records: &[Vec<u8>]) -> Digest {
        Digest::of("a", records.iter().map(Vec::as_slice))
    }

    proptest! {
        /// Scenario: any records, in any order, in requests of any size.
        /// Guarantees: the digest is the same; it is another one with a record more, or with one bit changed.
        #[test]
        fn neither_order_nor_requests_matter(
            mut records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..30),
            order in any::<prop::sample::Index>(),
            size in 1_usize..9,
        ) {
            let whole = digest(&records);
            let turn = order.index(records.len());
            records.rotate_left(turn);
            let mut parts = Digest::default();
            for part in records.chunks(size) {
                parts += digest(part);
            }
            prop_assert_eq!(parts, whole);
            records.push(records[0].clone());
            prop_assert_ne!(digest(&records), whole);
            records.pop();
            records[0][0] ^= 1;
            prop_assert_ne!(digest(&records), whole);
        }
    }

    /// Scenario: records of all lengths that the hash treats differently, under any key.
    /// Guarantees: the hash is that of the other implementation, which the digests of earlier runs were made with.
    #[test]
    fn both_implementations_agree() {
        let bytes: Vec<u8> = (0..5000_u32).map(|place| (place * 167 / 3) as u8).collect();
        for length in (0..300).chain([511, 512, 1024, 1025, 3421, 4999]) {
            for key in [0, 1, u64::MAX / 3] {
                assert_eq!(
                    XxHash3_128::oneshot_with_seed(key, &bytes[..length]),
                    xxhash_rust::xxh3::xxh3_128_with_seed(&bytes[..length], key),
                    "{length} bytes under {key}"
                );
            }
        }
    }

    /// Scenario: a record in two namespaces, none at all, and one that is fixed.
    /// Guarantees: the namespace counts; nothing is 0; the number is the same on every machine and in every version.
    #[test]
    fn the_number_is_stable() {
        let of = |namespace| Digest::of(namespace, [&b"record"[..]].into_iter()).to_string();
        assert_ne!(of("a"), of("b"));
        assert_eq!(Digest::default().to_string(), "0".repeat(32));
        assert_eq!(of("films"), "ddb6eb91d87419740556262eab7a9382");
    }
}
