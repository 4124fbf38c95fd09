//! Retention by age: which parts have only samples that are too old.
//!
//! Pure: facts in, part numbers out. What is younger than its part's youngest sample is hidden by
//! the reader's own bound until then.

use super::local::PartEntry;

/// The parts whose every sample is older than `oldest_ms`.
pub fn expired(parts: &[PartEntry], oldest_ms: i64) -> Vec<u64> {
    parts.iter().filter(|part| part.max_ms < oldest_ms).map(|part| part.number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::catalogue::PartKind;

    #[test]
    fn a_part_goes_when_its_youngest_sample_is_too_old() {
        let part = |number, max_ms| PartEntry {
            number,
            level: 0,
            kind: PartKind::Late,
            min_ms: -10,
            max_ms,
            rows: 1,
            float_samples: 1,
            histogram_samples: 0,
            exemplars: 0,
            bytes: 1,
            first_file: 1,
            last_file: 1,
            created_ms: 0,
        };
        assert_eq!(expired(&[part(1, 5), part(2, 6), part(3, -1)], 6), [1, 3]);
    }
}
