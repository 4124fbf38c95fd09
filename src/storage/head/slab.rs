//! Things by number, in slabs: growing moves nothing, and the numbers of removed things serve
//! again, so that what comes and goes leaves nothing behind but the room for the most at once.

use std::ops::{Index, IndexMut};

/// Items of a slab.
const SLAB_ITEMS: usize = 1024;

/// See the module. `T` should have a niche, or the mark of a free place takes room of its own.
pub struct Slab<T> {
    slabs: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slabs: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts an item into the place that became free last, or into a new one.
    pub fn insert(&mut self, item: T) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.place(number) = Some(item);
            return number;
        }
        if self.slabs.last().is_none_or(|slab| slab.len() == SLAB_ITEMS) {
            // The first one grows from nothing: most slabs of a small server stay small.
            let room = if self.slabs.is_empty() { 0 } else { SLAB_ITEMS };
            self.slabs.push(Vec::with_capacity(room));
        }
        let before = (self.slabs.len() - 1) * SLAB_ITEMS;
        let slab = self.slabs.last_mut().expect("pushed above");
        slab.push(Some(item));
        u32::try_from(before + slab.len() - 1).expect("memory ends before 2^32 items")
    }

    pub fn remove(&mut self, number: u32) -> T {
        let item = self.place(number).take().expect("what is removed is there");
        self.free.push(number);
        item
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        self.slabs.get(number as usize / SLAB_ITEMS)?.get(number as usize % SLAB_ITEMS)?.as_ref()
    }

    /// Items held.
    pub fn len(&self) -> usize {
        self.numbers_end() as usize - self.free.len()
    }

    /// All numbers are below this.
    pub fn numbers_end(&self) -> u32 {
        let in_last = self.slabs.last().map_or(0, Vec::len);
        (self.slabs.len().saturating_sub(1) * SLAB_ITEMS + in_last) as u32
    }

    fn place(&mut self, number: u32) -> &mut Option<T> {
        &mut self.slabs[number as usize / SLAB_ITEMS][number as usize % SLAB_ITEMS]
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        self.get(number).expect("numbers come from here and are used while the item is there")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        self.place(number).as_mut().expect("numbers come from here and are used while the item is there")
    }
}
