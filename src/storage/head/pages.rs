//! Byte strings that grow side by side, in pages: a block's chunks.
//!
//! A string is a chain of small pages out of one pool, so that growing moves nothing, leaves half
//! a page unused at the most, and the allocator sees few pieces, all of one size. Owns the bytes;
//! what they mean is `chunk::head`'s.

/// Bytes of a string on one page, beside the link.
const PAGE_BYTES: usize = 28;

/// Pages allocated at a time: 4 KiB.
const SLAB_PAGES: usize = 128;

/// Pages form a ring: the next one of the last is the first.
#[derive(Clone, Copy)]
struct Page {
    bytes: [u8; PAGE_BYTES],
    next: u32,
}

/// One string: its last page, and the bytes used of it in the lowest five bits. None are used
/// only where there is no page at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain(u32);

const FILL_BITS: u32 = 5;

impl Chain {
    fn new(page: u32, fill: usize) -> Self {
        Self(page << FILL_BITS | fill as u32)
    }

    fn last_page(self) -> u32 {
        self.0 >> FILL_BITS
    }

    fn fill(self) -> usize {
        (self.0 & ((1 << FILL_BITS) - 1)) as usize
    }
}

/// See the module.
#[derive(Default)]
pub struct Pages {
    slabs: Vec<Vec<Page>>,
}

impl Pages {
    /// Appends to a string; answers the heap that the pool took for it.
    pub fn append(&mut self, chain: &mut Chain, mut bytes: &[u8]) -> usize {
        let mut grown_bytes = 0;
        while !bytes.is_empty() {
            let (mut last, mut fill) = (chain.last_page(), chain.fill());
            if fill == 0 || fill == PAGE_BYTES {
                grown_bytes += self.add_page((fill > 0).then_some(last));
                (last, fill) = (self.count() - 1, 0);
            }
            let room = bytes.len().min(PAGE_BYTES - fill);
            let (now, later) = bytes.split_at(room);
            self.page_mut(last).bytes[fill..fill + room].copy_from_slice(now);
            *chain = Chain::new(last, fill + room);
            bytes = later;
        }
        grown_bytes
    }

    /// Adds a string's bytes to `out`.
    pub fn read(&self, chain: Chain, out: &mut Vec<u8>) {
        if chain.fill() == 0 {
            return;
        }
        let last = chain.last_page();
        let mut at = self.page(last).next;
        while at != last {
            let page = self.page(at);
            out.extend_from_slice(&page.bytes);
            at = page.next;
        }
        out.extend_from_slice(&self.page(last).bytes[..chain.fill()]);
    }

    /// Adds a page behind `last`, or as the only one of a ring; answers the heap that took.
    fn add_page(&mut self, last: Option<u32>) -> usize {
        let added = self.count();
        let next = match last {
            Some(last) => std::mem::replace(&mut self.page_mut(last).next, added),
            None => added,
        };
        let is_full = self.slabs.last().is_none_or(|slab| slab.len() == SLAB_PAGES);
        if is_full {
            self.slabs.push(Vec::with_capacity(SLAB_PAGES));
        }
        self.slabs.last_mut().expect("pushed above").push(Page { bytes: [0; PAGE_BYTES], next });
        if is_full { SLAB_PAGES * size_of::<Page>() } else { 0 }
    }

    /// Pages in use. A block is full long before its pages have more than 27 bits.
    fn count(&self) -> u32 {
        let in_last = self.slabs.last().map_or(0, Vec::len);
        (self.slabs.len().saturating_sub(1) * SLAB_PAGES + in_last) as u32
    }

    fn page(&self, number: u32) -> &Page {
        &self.slabs[number as usize / SLAB_PAGES][number as usize % SLAB_PAGES]
    }

    fn page_mut(&mut self, number: u32) -> &mut Page {
        &mut self.slabs[number as usize / SLAB_PAGES][number as usize % SLAB_PAGES]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_that_grow_side_by_side_stay_apart(
            appends in prop::collection::vec((0usize..8, prop::collection::vec(any::<u8>(), 0..70)), 0..200),
        ) {
            let mut pages = Pages::default();
            let mut chains = [Chain::default(); 8];
            let mut model: [Vec<u8>; 8] = Default::default();
            let mut heap_bytes = 0;
            for (at, bytes) in &appends {
                heap_bytes += pages.append(&mut chains[*at], bytes);
                model[*at].extend(bytes);
            }

            for (chain, want) in chains.into_iter().zip(&model) {
                let mut read = Vec::new();
                pages.read(chain, &mut read);
                prop_assert_eq!(&read, want);
            }
            prop_assert_eq!(heap_bytes, pages.slabs.len() * SLAB_PAGES * size_of::<Page>());
        }
    }
}
