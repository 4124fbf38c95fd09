//! Keys of the RocksDB families, as the format of the [`crate::storage`] directory draws them.

pub const PARTS: &str = "parts";
pub const CATALOGUE: &str = "catalogue";
pub const METADATA: &str = "metadata";

/// Name of the one log of an embedded store.
pub const LOCAL_LOG: &[u8] = b"local";

/// The last commit, in each of the families that a commit changes.
pub const CATALOGUE_COMMIT: &[u8] = b"c";
pub const METADATA_COMMIT: &[u8] = b"\0";

pub fn part_prefix(part: u64) -> [u8; 8] {
    part.to_be_bytes()
}

pub fn part_key(part: u64, section: u8, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(9 + key.len());
    full.extend_from_slice(&part_prefix(part));
    full.push(section);
    full.extend_from_slice(key);
    full
}

/// The part that a key of family `parts` belongs to.
pub fn part_of(key: &[u8]) -> Option<u64> {
    key.get(..8).map(|prefix| u64::from_be_bytes(prefix.try_into().expect("eight bytes")))
}

pub fn catalogue_part(part: u64) -> Vec<u8> {
    [b"p".as_slice(), &part.to_be_bytes()].concat()
}

pub fn catalogue_log() -> Vec<u8> {
    [b"l".as_slice(), LOCAL_LOG].concat()
}

pub fn catalogue_tombstone(id: u128) -> Vec<u8> {
    [b"t".as_slice(), &id.to_be_bytes()].concat()
}

pub fn metadata(tenant: &str, metric: &str) -> Vec<u8> {
    [tenant.as_bytes(), &[0], metric.as_bytes()].concat()
}

/// Tenant and metric of a key of family `metadata`.
pub fn split_metadata(key: &[u8]) -> Option<(&str, &str)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some((text(&key[..end])?, text(&key[end + 1..])?))
}
