//! Postings: the series that have a label, as a sorted list while they are few and as a bitmap
//! beyond that. Most labels of a large store have few series.

use roaring::RoaringBitmap;

/// A list longer than this becomes a bitmap, whose containers cost more than they save before.
const FEW_MAX: usize = 128;
/// A bitmap with fewer becomes a list again: well below, so that nothing flips to and fro.
const MANY_MIN: u64 = 32;

/// See the module.
pub enum Postings {
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Default for Postings {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Postings {
    pub fn insert(&mut self, id: u32) {
        match self {
            Self::Few(list) => {
                if let Err(at) = list.binary_search(&id) {
                    if list.len() == list.capacity() {
                        // By half instead of twice: lists are many and grow seldom.
                        list.reserve_exact((list.len() / 2).max(1));
                    }
                    list.insert(at, id);
                }
                if list.len() > FEW_MAX {
                    *self = Self::Many(Box::new(list.iter().copied().collect()));
                }
            }
            Self::Many(bitmap) => {
                bitmap.insert(id);
            }
        }
    }

    pub fn remove(&mut self, id: u32) {
        match self {
            Self::Few(list) => {
                if let Ok(at) = list.binary_search(&id) {
                    list.remove(at);
                }
            }
            Self::Many(bitmap) => {
                bitmap.remove(id);
                if bitmap.len() < MANY_MIN {
                    *self = Self::Few(bitmap.iter().collect());
                }
            }
        }
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Few(list) => list.len() as u64,
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Few(list) if list.is_empty())
    }

    pub fn contains(&self, id: u32) -> bool {
        match self {
            Self::Few(list) => list.binary_search(&id).is_ok(),
            Self::Many(bitmap) => bitmap.contains(id),
        }
    }

    pub fn add_to(&self, all: &mut RoaringBitmap) {
        match self {
            Self::Few(list) => all.extend(list.iter().copied()),
            Self::Many(bitmap) => *all |= &**bitmap,
        }
    }

    pub fn remove_from(&self, all: &mut RoaringBitmap) {
        match self {
            Self::Few(list) => {
                for id in list {
                    all.remove(*id);
                }
            }
            Self::Many(bitmap) => *all -= &**bitmap,
        }
    }
}
