//! The order in which a batch's series go into an epoch: those of one block together.
//!
//! An epoch has a lock per block of neighbours. Series that came in order have their numbers in order, and then a
//! request takes few locks. In a replica most series are registered by what others wrote, partition by
//! partition: of neighbours in a request each has its number elsewhere, and each would take a lock of its own.

use super::epoch::block_of;
use super::registry::SeriesId;
use crate::storage::sorted_places::sort_places;

/// Where fewer series than these follow each other in one block, they are sorted.
const RUN_SERIES_MIN: usize = 8;
/// Blocks per series up to which sorting takes memory in proportion to the batch.
const BLOCKS_PER_SERIES_MAX: usize = 4;

/// See the module. To be used again: it keeps its memory.
#[derive(Default)]
pub struct BlockOrder {
    places: Vec<u32>,
    ends: Vec<u32>,
}

impl BlockOrder {
    /// Places of these series, the first being 0: in order within a block, and of one block together where it pays.
    pub fn of(&mut self, series: &[SeriesId]) -> &[u32] {
        let blocks = || series.iter().map(|id| block_of(*id));
        let first = blocks().min().unwrap_or(0);
        let count = blocks().max().map_or(0, |last| last - first + 1);
        let runs = 1 + series.windows(2).filter(|pair| block_of(pair[0]) != block_of(pair[1])).count();
        let is_worth_it = runs * RUN_SERIES_MIN > series.len();
        if is_worth_it && count <= BLOCKS_PER_SERIES_MAX * series.len() {
            self.ends.resize(count, 0);
            sort_places(blocks().map(|block| block - first), &mut self.ends, &mut self.places);
        } else {
            self.places.clear();
            self.places.extend(0..series.len() as u32);
        }
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_block_come_together_unless_they_mostly_do() {
        let mut order = BlockOrder::default();
        let mut check = |series: &[SeriesId], want: &[u32]| assert_eq!(order.of(series), want, "{series:?}");
        check(&[], &[]);
        check(&[5, 4, 5, 7], &[0, 1, 2, 3]);
        check(&[1000, 5, 1001, 6, 1000, 5], &[1, 3, 5, 0, 2, 4]);
        check(&[1, 300, 600, 900], &[0, 1, 2, 3]);
        check(&[0, SeriesId::MAX, 0, SeriesId::MAX], &[0, 1, 2, 3]);
        let in_order: Vec<SeriesId> = (0..2000).chain(0..2000).collect();
        check(&in_order, &(0..4000).collect::<Vec<u32>>());
    }

    #[test]
    fn every_series_has_its_place_once() {
        let mut order = BlockOrder::default();
        for step in [1, 7, 64, 257, 1000] {
            let series: Vec<SeriesId> = (0..2000).map(|number| number * step % 5003).collect();
            let mut places = order.of(&series).to_vec();
            let runs = places
                .chunk_by(|one, other| block_of(series[*one as usize]) == block_of(series[*other as usize]));
            assert!(runs.count() * RUN_SERIES_MIN <= series.len(), "step {step}");
            places.sort_unstable();
            assert_eq!(places, (0..2000).collect::<Vec<u32>>());
        }
    }
}
