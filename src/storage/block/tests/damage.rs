//! Flipped bits, cut objects, and bytes that someone made up together with their checksums.

use super::super::layout::{FOOTER_BYTES, Footer, NewEntry, put_section};
use super::*;

/// A few sections of a few pages each, compressed and not.
fn small() -> (Rows, Bytes) {
    let mut rows = Rows::new();
    for row in 0..30u8 {
        rows.insert((Section::Floats, vec![row]), noise(u64::from(row), 12));
        rows.insert((Section::Symbols, vec![row]), vec![b'a'; 40]);
    }
    rows.insert((Section::Header, b"h".to_vec()), b"header".to_vec());
    let object = written(&rows, 200);
    (rows, object)
}

fn read(object: &Bytes) -> Result<Rows, PartError> {
    all_rows(&opened(object, 1 << 20)?)
}

#[test]
fn every_flipped_bit_is_an_error_that_names_the_block() {
    let (rows, object) = small();
    assert_eq!(read(&object).expect("own bytes"), rows);
    for bit in 0..object.len() * 8 {
        let mut flipped = object.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = read(&flipped.into()).expect_err("every byte is under a checksum");
        assert!(matches!(error, PartError::Block { block: 7, .. }), "bit {bit}: {error}");
    }
}

#[test]
fn every_cut_is_an_error() {
    let (_, object) = small();
    for bytes in 0..object.len() {
        let error = read(&object.slice(..bytes)).expect_err("the footer is missing");
        assert!(matches!(error, PartError::Block { block: 7, .. }), "{bytes} bytes: {error}");
    }
    for bytes in 1..object.len() {
        read(&object.slice(bytes..)).expect_err("the first bytes are missing");
    }
}

#[test]
fn an_object_that_became_shorter_is_an_error() {
    let (_, object) = small();
    let shorter = Arc::new(object.slice(..object.len() - 1));
    let opened = BlockSource::open(7, shorter, object.len() as u64, PageCache::new(0));
    assert!(matches!(opened.err(), Some(PartError::Unreachable(_))));
}

/// An object of one section with made-up pages, whose checksums are right.
fn made_up(pages: &[(&[u8], &[u8], u32)]) -> Bytes {
    let (mut object, mut entries) = (Vec::new(), Vec::new());
    for (first_key, stored, raw_bytes) in pages {
        object.extend_from_slice(stored);
        entries.push(NewEntry {
            first_key: first_key.to_vec(),
            stored_bytes: stored.len() as u32,
            raw_bytes: *raw_bytes,
            crc: crc32c::crc32c(stored),
        });
    }
    let mut index = Vec::new();
    put_section(&mut index, Section::Floats, &entries);
    sealed(object, &index)
}

fn sealed(mut object: Vec<u8>, index: &[u8]) -> Bytes {
    let footer = Footer {
        pages_bytes: object.len() as u64,
        index_bytes: index.len() as u32,
        index_crc: crc32c::crc32c(index),
    };
    object.extend_from_slice(index);
    object.extend_from_slice(&footer.to_bytes());
    object.into()
}

/// A row with its whole key.
fn row(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, key.len() as u8, value.len() as u8], key, value].concat()
}

#[test]
fn pages_that_were_made_up_are_errors_that_say_what_and_where() {
    let check = |pages: &[(&[u8], &[u8], u32)], want: &str| {
        let error = read(&made_up(pages)).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    };
    let (a, b) = (row(b"a", b"1"), row(b"b", b"2"));
    assert_eq!(read(&made_up(&[(b"a", &a, 0), (b"b", &b, 0)])).expect("as a writer would").len(), 2);
    check(&[(b"a", &b, 0)], "at offset 0: page 0 (floats): a page begins with another key");
    check(&[(b"a", &a, 0), (b"aa", &b, 0)], "at offset 5: page 1 (floats): a page begins with another key");
    check(&[(b"a", &[a.clone(), b.clone()].concat(), 0), (b"b", &b, 0)], "a page reaches into the next one");
    check(&[(b"a", &a[..4], 0)], "ends too early");
    check(&[(b"a", &a, 1 << 20)], "page 0 (floats)");
    let bomb = zstd_frame(&vec![0; 1 << 20]);
    check(&[(b"a", &bomb, (1 << 20) - 1)], "page 0 (floats)");
    check(&[(b"a", &bomb, 1 << 20)], "a page begins with another key");
    check(&[(b"a", &zstd_frame(&[0; 1000]), 2000)], "fewer bytes");
}

fn zstd_frame(raw: &[u8]) -> Vec<u8> {
    let mut compressor = compression::Compressor::new(Effort::Fresh);
    compressor.compress(raw).expect("zeros compress").to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_index_that_was_damaged_with_its_checksum_is_an_error_or_rows(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (_, object) = small();
        let (rest, footer) = object.split_last_chunk::<FOOTER_BYTES>().expect("a footer");
        let footer = Footer::parse(footer, object.len() as u64).expect("own bytes");
        let (pages, index) = rest.split_at(footer.pages_bytes as usize);
        let mut index = index.to_vec();
        for (at, byte) in changes {
            let at = at.index(index.len());
            index[at] = byte;
        }
        // Whatever it is: no panic, and no more memory than the object has use for.
        let _ = read(&sealed(pages.to_vec(), &index));
    }

    #[test]
    fn any_page_with_a_right_checksum_is_an_error_or_rows(
        stored in prop::collection::vec(any::<u8>(), 1..80),
        raw_bytes in prop::sample::select(vec![0u32, 100, 1000]),
    ) {
        let _ = read(&made_up(&[(&[], &stored, raw_bytes)]));
    }

    #[test]
    fn any_bytes_are_no_block(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes.into()).is_err());
    }
}
