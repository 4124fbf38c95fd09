//! The end of a block: the index of its pages, and the footer.
//!
//! Owns their bytes. What is read may be hostile: every length is held against the bytes there are before
//! anything is allocated for it, and an index in memory is in proportion to its bytes.

use std::ops::Range;

use bytes::Bytes;

use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::put_u64;
use crate::storage::part::Section;

pub const FOOTER_BYTES: usize = 36;
/// Some hundred thousand pages: a block of ten gigabytes has a quarter of it.
pub const INDEX_BYTES_MAX: usize = 16 << 20;
/// A page that was larger is stored as it is.
pub const COMPRESSED_RAW_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"onggiBLK";
/// The version that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Features a reader must know. None exist yet.
const FEATURES_KNOWN: u32 = 0;
/// Bytes of the footer that its checksum covers.
const COVERED_BYTES: usize = 24;
/// An entry of a page with an empty key.
const ENTRY_BYTES_MIN: usize = 7;

/// What stands at the very end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub pages_bytes: u64,
    pub index_bytes: u32,
    pub index_crc: u32,
}

impl Footer {
    pub fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..8].copy_from_slice(&self.pages_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.index_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.index_crc.to_le_bytes());
        bytes[16..20].copy_from_slice(&FEATURES_KNOWN.to_le_bytes());
        bytes[20..22].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..COVERED_BYTES]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        bytes[28..].copy_from_slice(&MAGIC);
        bytes
    }

    /// Reads the footer of an object of `object_bytes`. The checksum comes before the version: a damaged
    /// object is not taken for a newer one.
    pub fn parse(bytes: &[u8; FOOTER_BYTES], object_bytes: u64) -> Result<Self, String> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[28..] != MAGIC {
            return Err("no footer of a block".into());
        }
        if crc32c::crc32c(&bytes[..COVERED_BYTES]) != u32_at(24) {
            return Err("the footer's checksum does not match".into());
        }
        let (version, zeros) = ([bytes[20], bytes[21]], [bytes[22], bytes[23]]);
        let version = u16::from_le_bytes(version);
        if version != FORMAT_VERSION {
            return Err(format!("format version {version}, this build reads version {FORMAT_VERSION}"));
        }
        let unknown = u32_at(16) & !FEATURES_KNOWN;
        if unknown != 0 || zeros != [0; 2] {
            return Err(format!("features {unknown:#x}, which this build does not know"));
        }
        let (low, high) = (u64::from(u32_at(0)), u64::from(u32_at(4)));
        let footer = Self { pages_bytes: high << 32 | low, index_bytes: u32_at(8), index_crc: u32_at(12) };
        if footer.index_bytes as usize > INDEX_BYTES_MAX {
            return Err(format!("an index of {} bytes", footer.index_bytes));
        }
        let end = footer.pages_bytes.checked_add(u64::from(footer.index_bytes) + FOOTER_BYTES as u64);
        if end != Some(object_bytes) {
            return Err(format!("the footer is not that of an object of {object_bytes} bytes"));
        }
        Ok(footer)
    }
}

/// A page as it is written into the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    pub first_key: Vec<u8>,
    pub stored_bytes: u32,
    /// Before compression; 0 where it is stored as it is.
    pub raw_bytes: u32,
    pub crc: u32,
}

impl NewEntry {
    /// At most how many bytes the entry of a page with this first key takes.
    pub fn bytes_max(first_key: &[u8]) -> usize {
        first_key.len() + 32
    }
}

/// Appends what the index says of one section, which has pages. Sections come in falling order.
pub fn put_section(index: &mut Vec<u8>, section: Section, pages: &[NewEntry]) {
    index.push(section as u8);
    put_u64(index, pages.len() as u64);
    for page in pages {
        put_sized(index, &page.first_key);
        put_u64(index, u64::from(page.stored_bytes));
        put_u64(index, u64::from(page.raw_bytes));
        index.extend_from_slice(&page.crc.to_le_bytes());
    }
}

/// A page of an object.
#[derive(Clone, Debug)]
pub struct PageEntry {
    /// Of the index's bytes.
    key: Range<u32>,
    pub section: Section,
    pub offset: u64,
    pub stored_bytes: u32,
    /// Before compression; `None` where it is stored as it is.
    pub raw_bytes: Option<u32>,
    pub crc: u32,
}

impl PageEntry {
    /// Bytes of the page in memory.
    pub fn decoded_bytes(&self) -> u64 {
        u64::from(self.raw_bytes.unwrap_or(self.stored_bytes))
    }

    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.stored_bytes)
    }
}

/// Where the pages of a block are.
#[derive(Debug)]
pub struct PageIndex {
    bytes: Bytes,
    pages: Vec<PageEntry>,
    /// The pages of each section.
    sections: [Range<usize>; Section::ALL.len()],
}

impl PageIndex {
    /// Reads an index whose pages have `pages_bytes` together.
    pub fn parse(bytes: Bytes, pages_bytes: u64) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(&bytes);
        let mut pages: Vec<PageEntry> = Vec::new();
        let mut sections = [const { 0..0 }; Section::ALL.len()];
        let mut offset = 0u64;
        while !cursor.is_empty() {
            let number = usize::from(cursor.u8()?);
            let section = *Section::ALL.get(number).ok_or(Malformed("a section that is not known"))?;
            if pages.last().is_some_and(|last| last.section <= section) {
                return Err(Malformed("sections do not fall"));
            }
            let first = pages.len();
            let count = cursor.count(cursor.len() / ENTRY_BYTES_MIN)?;
            pages.reserve(count);
            for _ in 0..count {
                let page = take_entry(&mut cursor, bytes.len(), section, offset)?;
                if pages[first..].last().is_some_and(|last| key_of(&bytes, last) >= key_of(&bytes, &page)) {
                    return Err(Malformed("first keys of pages do not ascend"));
                }
                offset = page.end();
                if offset > pages_bytes {
                    return Err(Malformed("pages have more bytes than the object"));
                }
                pages.push(page);
            }
            if pages.len() == first {
                return Err(Malformed("a section without pages"));
            }
            sections[number] = first..pages.len();
        }
        if offset != pages_bytes {
            return Err(Malformed("pages have fewer bytes than the object"));
        }
        Ok(Self { bytes, pages, sections })
    }

    pub fn pages(&self) -> &[PageEntry] {
        &self.pages
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.pages.capacity() * size_of::<PageEntry>()
    }

    pub fn first_key(&self, page: usize) -> &[u8] {
        key_of(&self.bytes, &self.pages[page])
    }

    /// Behind the section's last page.
    pub fn section_end(&self, section: Section) -> usize {
        self.sections[section as usize].end
    }

    /// The first key of the section's next page, below which all keys of this one are.
    pub fn next_key(&self, page: usize) -> Option<&[u8]> {
        let end = self.section_end(self.pages[page].section);
        (page + 1 < end).then(|| self.first_key(page + 1))
    }

    /// The only page that may have the key.
    pub fn page_of(&self, section: Section, key: &[u8]) -> Option<usize> {
        let pages = self.sections[section as usize].clone();
        let below = self.pages[pages.clone()].partition_point(|page| key_of(&self.bytes, page) <= key);
        (below > 0).then(|| pages.start + below - 1)
    }

    /// The pages that may have keys with `start <= key < end_exclusive`.
    pub fn pages_between(&self, section: Section, start: &[u8], end_exclusive: &[u8]) -> Range<usize> {
        let pages = self.sections[section as usize].clone();
        let first = self.page_of(section, start).unwrap_or(pages.start);
        let below =
            self.pages[pages.clone()].partition_point(|page| key_of(&self.bytes, page) < end_exclusive);
        first..(pages.start + below).max(first)
    }
}

fn take_entry(
    cursor: &mut Cursor<'_>,
    index_bytes: usize,
    section: Section,
    offset: u64,
) -> Result<PageEntry, Malformed> {
    let key_bytes = cursor.sized()?.len();
    let key_end = index_bytes - cursor.len();
    let stored_bytes = cursor.varint_u32()?;
    let raw_bytes = cursor.varint_u32()?;
    let compressed = raw_bytes != 0;
    let pays = stored_bytes < raw_bytes && raw_bytes as usize <= COMPRESSED_RAW_BYTES_MAX;
    if stored_bytes == 0 || compressed && !pays {
        return Err(Malformed("a page has a length that no writer gives it"));
    }
    // An index has fewer bytes than fit 32 bits.
    let key = (key_end - key_bytes) as u32..key_end as u32;
    let raw_bytes = compressed.then_some(raw_bytes);
    let crc = cursor.u32_le()?;
    offset.checked_add(u64::from(stored_bytes)).ok_or(Malformed("pages have more bytes than there are"))?;
    Ok(PageEntry { key, section, offset, stored_bytes, raw_bytes, crc })
}

fn key_of<'a>(index: &'a [u8], page: &PageEntry) -> &'a [u8] {
    &index[page.key.start as usize..page.key.end as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first_key: &[u8], stored_bytes: u32, raw_bytes: u32) -> NewEntry {
        NewEntry { first_key: first_key.to_vec(), stored_bytes, raw_bytes, crc: 7 }
    }

    fn parsed(sections: &[(Section, &[NewEntry])], pages_bytes: u64) -> Result<PageIndex, Malformed> {
        let mut bytes = Vec::new();
        sections.iter().for_each(|(section, pages)| put_section(&mut bytes, *section, pages));
        PageIndex::parse(bytes.into(), pages_bytes)
    }

    #[test]
    fn a_key_leads_to_the_only_page_that_can_have_it() {
        let floats = [entry(b"b", 10, 0), entry(b"d", 20, 40), entry(b"f", 5, 0)];
        let index = parsed(&[(Section::Floats, &floats), (Section::Header, &[entry(b"h", 1, 0)])], 36)
            .expect("as it was written");
        let check = |key: &[u8], want: Option<usize>| {
            assert_eq!(index.page_of(Section::Floats, key), want, "{key:?}");
        };
        check(b"a", None);
        check(b"b", Some(0));
        check(b"c", Some(0));
        check(b"d", Some(1));
        check(b"z", Some(2));
        let check = |start: &[u8], end: &[u8], want: Range<usize>| {
            assert_eq!(index.pages_between(Section::Floats, start, end), want, "{start:?}..{end:?}");
        };
        check(b"a", b"b", 0..0);
        check(b"a", b"c", 0..1);
        check(b"c", b"d", 0..1);
        check(b"c", b"da", 0..2);
        check(b"e", b"z", 1..3);
        assert_eq!(index.next_key(1), Some(b"f".as_slice()));
        assert_eq!((index.next_key(2), index.next_key(3)), (None, None));
        assert_eq!(index.pages_between(Section::Symbols, b"", b"z"), 0..0);
        assert_eq!(index.pages()[3].offset, 35);
    }

    #[test]
    fn an_index_that_no_writer_wrote_is_refused() {
        let check = |sections: &[(Section, &[NewEntry])], pages_bytes: u64, want: &str| {
            assert_eq!(parsed(sections, pages_bytes).err().map(|e| e.0), Some(want));
        };
        let (a, b) = (entry(b"a", 3, 0), entry(b"b", 3, 0));
        let fewer = "pages have fewer bytes than the object";
        check(&[(Section::Header, std::slice::from_ref(&a))], 4, fewer);
        check(&[], 4, fewer);
        check(&[(Section::Header, std::slice::from_ref(&a))], 2, "pages have more bytes than the object");
        check(&[(Section::Header, &[b.clone(), a.clone()])], 6, "first keys of pages do not ascend");
        check(&[(Section::Header, &[a.clone(), a.clone()])], 6, "first keys of pages do not ascend");
        check(&[(Section::Header, &[])], 0, "a section without pages");
        let twice = [(Section::Floats, &[a.clone()][..]), (Section::Floats, &[b.clone()][..])];
        check(&twice, 6, "sections do not fall");
        let wrong_length = "a page has a length that no writer gives it";
        check(&[(Section::Header, &[entry(b"a", 0, 0)])], 0, wrong_length);
        check(&[(Section::Header, &[entry(b"a", 3, 3)])], 3, wrong_length);
        check(&[(Section::Header, &[entry(b"a", 3, 2 << 20)])], 3, wrong_length);
        assert_eq!(
            PageIndex::parse(Bytes::from_static(&[99, 1]), 0).err(),
            Some(Malformed("a section that is not known"))
        );
        let many = [&[0][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0; 64]].concat();
        assert_eq!(PageIndex::parse(many.into(), 0).err(), Some(Malformed("a count is too large")));
    }

    #[test]
    fn a_footer_fits_its_object_alone_and_a_newer_one_is_named() {
        let footer = Footer { pages_bytes: 100, index_bytes: 20, index_crc: 9 };
        let bytes = footer.to_bytes();
        assert_eq!(Footer::parse(&bytes, 156), Ok(footer));
        assert!(Footer::parse(&bytes, 155).is_err_and(|e| e.contains("155 bytes")));
        for bit in 0..FOOTER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::parse(&flipped, 156).is_err(), "bit {bit}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes;
            bytes[at] = byte;
            let crc = crc32c::crc32c(&bytes[..COVERED_BYTES]);
            bytes[24..28].copy_from_slice(&crc.to_le_bytes());
            Footer::parse(&bytes, 156).expect_err("not as it was written")
        };
        assert!(with(20, 2).contains("format version 2"), "{}", with(20, 2));
        assert!(with(16, 4).contains("features 0x4"), "{}", with(16, 4));
        assert!(with(11, 0x7f).contains("an index of"), "{}", with(11, 0x7f));
    }
}
