//! Postings: the series that have a label, as a sorted list while it is short and as a bitmap beyond
//! that. Most labels of a large store have few series, and those of one target are neighbours.

use roaring::RoaringBitmap;

/// A list longer than this becomes a bitmap, whose containers cost more than they save before.
const LIST_MAX: usize = 128;
/// A bitmap with fewer becomes a list again: well below, so that nothing flips to and fro.
const MANY_MIN: u64 = 32;

/// See the module.
pub enum Postings {
    List(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

/// Marks the first of neighbours in a list; the entry behind it is the last of them. Ids end before
/// this: their series take more memory than there is.
const RUN: u32 = 1 << 31;

impl Default for Postings {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Postings {
    pub fn insert(&mut self, id: u32) {
        match self {
            Self::List(list) => {
                insert(list, id);
                if list.len() > LIST_MAX {
                    let mut bitmap = RoaringBitmap::new();
                    add_runs(list, &mut bitmap);
                    *self = Self::Many(Box::new(bitmap));
                }
            }
            Self::Many(bitmap) => {
                // Series that are new come in order most of the time.
                if bitmap.try_push(id).is_err() {
                    bitmap.insert(id);
                }
            }
        }
    }

    pub fn remove(&mut self, id: u32) {
        match self {
            Self::List(list) => remove(list, id),
            Self::Many(bitmap) => {
                bitmap.remove(id);
                if bitmap.len() < MANY_MIN {
                    let mut list = Vec::new();
                    bitmap.iter().for_each(|id| insert(&mut list, id));
                    *self = Self::List(list);
                }
            }
        }
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::List(list) => runs(list).map(|(first, last)| u64::from(last - first) + 1).sum(),
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::List(list) if list.is_empty())
    }

    pub fn contains(&self, id: u32) -> bool {
        match self {
            Self::List(list) => place(list, id).is_err(),
            Self::Many(bitmap) => bitmap.contains(id),
        }
    }

    pub fn add_to(&self, all: &mut RoaringBitmap) {
        match self {
            Self::List(list) => add_runs(list, all),
            Self::Many(bitmap) => *all |= &**bitmap,
        }
    }

    pub fn remove_from(&self, all: &mut RoaringBitmap) {
        match self {
            Self::List(list) => {
                for (first, last) in runs(list) {
                    all.remove_range(first..=last);
                }
            }
            Self::Many(bitmap) => *all -= &**bitmap,
        }
    }
}

/// First and last of each run of neighbours, in order.
fn runs(list: &[u32]) -> impl Iterator<Item = (u32, u32)> {
    let mut rest = list.iter().copied();
    std::iter::from_fn(move || {
        let first = rest.next()?;
        let last = if first & RUN == 0 { first } else { rest.next().expect("a run has a last one") };
        Some((first & !RUN, last))
    })
}

fn add_runs(list: &[u32], all: &mut RoaringBitmap) {
    for (first, last) in runs(list) {
        all.insert_range(first..=last);
    }
}

/// Where an id is missing, or (`Err`) the end of the entries that are not behind it.
fn place(list: &[u32], id: u32) -> Result<usize, usize> {
    let end = match list.last() {
        Some(last) if last & !RUN < id => list.len(),
        _ => list.partition_point(|entry| entry & !RUN <= id),
    };
    let is_there = end > 0 && (list[end - 1] & RUN != 0 || list[end - 1] == id);
    if is_there { Err(end) } else { Ok(end) }
}

/// Whether the entry before `end` is the last of a run.
fn ends_run(list: &[u32], end: usize) -> bool {
    end >= 2 && list[end - 2] & RUN != 0
}

fn insert(list: &mut Vec<u32>, id: u32) {
    let Ok(at) = place(list, id) else { return };
    let joins_before = at > 0 && list[at - 1] + 1 == id;
    let joins_after = at < list.len() && list[at] & !RUN == id + 1;
    let run_before = joins_before && ends_run(list, at);
    let run_after = joins_after && list[at] & RUN != 0;
    match (joins_before, joins_after) {
        (false, false) => add_entry(list, at, id),
        (true, false) if run_before => list[at - 1] = id,
        (true, false) => {
            list[at - 1] |= RUN;
            add_entry(list, at, id);
        }
        (false, true) if run_after => list[at] = id | RUN,
        (false, true) => add_entry(list, at, id | RUN),
        (true, true) => match (run_before, run_after) {
            (true, true) => drop(list.drain(at - 1..=at)),
            (true, false) => drop(list.remove(at - 1)),
            (false, true) => {
                list[at - 1] |= RUN;
                list.remove(at);
            }
            (false, false) => list[at - 1] |= RUN,
        },
    }
}

fn add_entry(list: &mut Vec<u32>, at: usize, entry: u32) {
    if list.len() == list.capacity() {
        // By half instead of twice: lists are many and grow seldom.
        list.reserve_exact((list.len() / 2).max(1));
    }
    list.insert(at, entry);
}

fn remove(list: &mut Vec<u32>, id: u32) {
    let Err(at) = place(list, id) else { return };
    // The run that it is in.
    let (start, end) = match list[at - 1] {
        first if first & RUN != 0 => (at - 1, at + 1),
        _ if ends_run(list, at) => (at - 2, at),
        _ => (at - 1, at),
    };
    let (first, last) = (list[start] & !RUN, list[end - 1] & !RUN);
    let before = (first < id).then(|| run(first, id - 1));
    let after = (id < last).then(|| run(id + 1, last));
    list.splice(start..end, before.into_iter().chain(after).flatten().flatten());
}

/// The entries of a run.
fn run(first: u32, last: u32) -> [Option<u32>; 2] {
    [(first < last).then_some(first | RUN), Some(last)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn postings_are_the_set_of_what_came_and_did_not_go(
            end in prop_oneof![Just(12u32), Just(60), Just(4000)],
            changes in prop::collection::vec((any::<u32>(), 0u8..5, 1u32..8), 0..400),
        ) {
            let (mut postings, mut model) = (Postings::default(), BTreeSet::new());
            for (number, change, times) in changes {
                let first = number % end;
                for id in first..first + times {
                    if change == 0 {
                        postings.remove(id);
                        model.remove(&id);
                    } else {
                        postings.insert(id);
                        model.insert(id);
                    }
                }

                prop_assert_eq!(postings.len(), model.len() as u64);
                prop_assert_eq!(postings.is_empty(), model.is_empty());
                prop_assert_eq!(postings.contains(first), model.contains(&first));
                prop_assert_eq!(postings.contains(end + 9), model.contains(&(end + 9)));
            }
            let mut all = RoaringBitmap::new();
            postings.add_to(&mut all);
            prop_assert!(all.iter().eq(model.iter().copied()));
            all.insert_range(0..10_000);
            postings.remove_from(&mut all);
            prop_assert!(all.iter().eq((0..10_000).filter(|id| !model.contains(id))));
            model.iter().for_each(|id| postings.remove(*id));
            prop_assert!(postings.is_empty());
        }
    }

    #[test]
    fn neighbours_take_two_entries_however_many_they_are() {
        let mut postings = Postings::default();
        (7..100_000).for_each(|id| postings.insert(id));

        assert!(matches!(&postings, Postings::List(list) if list.len() == 2));
        assert_eq!(postings.len(), 99_993);
    }
}
