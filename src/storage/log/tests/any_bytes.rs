//! Damaged files: an error that names the place, or the rule of the torn tail. Never wrong data.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::support::{BuiltFile, Records, Rng, build_file, read_frames};
use crate::storage::log::{LogError, Tail};

fn set_len(path: &Path, len: usize) {
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(len as u64)).expect("cut");
}

fn is_prefix(read: &[Records], want: &[Records]) -> bool {
    read.len() <= want.len() && read.iter().zip(want).all(|(read, want)| read.same(want))
}

/// Reads the file with one bit flipped, and flips it back.
fn read_flipped(
    path: &Path,
    at: usize,
    rng: &mut Rng,
    is_newest: bool,
) -> Result<(Vec<Records>, Tail), LogError> {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).expect("read");
    file.write_all_at(&[byte[0] ^ 1 << rng.below(8)], at as u64).expect("written");
    let outcome = read_frames(path, is_newest);
    file.write_all_at(&byte, at as u64).expect("written");
    outcome
}

fn read_image(path: &Path, image: &[u8], is_newest: bool) -> Result<(Vec<Records>, Tail), LogError> {
    fs::write(path, image).expect("written");
    read_frames(path, is_newest)
}

/// How many frames end at or before `at`.
fn frames_before(offsets: &[usize], at: usize) -> usize {
    offsets[1..].iter().filter(|end| **end <= at).count()
}

#[test]
fn a_flipped_bit_in_a_sealed_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0000000001.log");
    let BuiltFile { bytes, .. } = build_file(11, 3);
    let mut rng = Rng::new(1);
    fs::write(&path, &bytes).expect("written");
    for at in 0..bytes.len() {
        let error = read_flipped(&path, at, &mut rng, false).expect_err("damage is found").to_string();
        assert!(error.contains("0000000001.log is corrupt at offset"), "byte {at}: {error}");
    }
}

#[test]
fn a_sealed_file_of_any_other_length_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let BuiltFile { bytes, .. } = build_file(12, 3);
    fs::write(&path, &bytes).expect("written");
    for len in (0..bytes.len()).rev() {
        set_len(&path, len);
        assert!(read_frames(&path, false).is_err(), "{len} bytes");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(read_image(&path, &longer, false).is_err(), "a byte more");
}

#[test]
fn a_cut_newest_file_gives_the_frames_before_the_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let BuiltFile { bytes, offsets, frames } = build_file(13, 4);
    fs::write(&path, &bytes).expect("written");
    for len in (0..bytes.len()).rev() {
        for zeros in [0, 300] {
            set_len(&path, len);
            set_len(&path, len + zeros);
            let (read, tail) = read_frames(&path, true).expect("a torn tail is tolerated");
            assert!(is_prefix(&read, &frames), "{len} bytes");
            // A frame may end in zeros, which the cut took and preallocation gives back.
            assert!(read.len() >= frames_before(&offsets, len), "{len} bytes: {}", read.len());
            assert!(!matches!(tail, Tail::Sealed), "{len} bytes");
        }
    }
}

#[test]
fn damage_before_the_last_frame_of_the_newest_file_is_no_torn_tail() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let BuiltFile { bytes, offsets, frames } = build_file(14, 4);
    let end = *offsets.last().expect("the footer");
    let last = offsets[offsets.len() - 2];
    let mut open = bytes[..end].to_vec();
    open.resize(end + 200, 0);
    let mut rng = Rng::new(2);
    fs::write(&path, &open).expect("written");
    for at in 0..open.len() {
        let read = read_flipped(&path, at, &mut rng, true);
        if at < last {
            let error = read.expect_err("damage is found").to_string();
            let frame = if at < offsets[0] { 0 } else { offsets[frames_before(&offsets, at)] };
            assert!(error.contains(&format!("at offset {frame}:")), "byte {at}: {error}");
        } else {
            let (read, tail) = read.expect("of the last frame any part may be missing");
            let whole = if at < end { frames.len() - 1 } else { frames.len() };
            assert!(is_prefix(&read, &frames) && read.len() == whole, "byte {at}");
            assert_eq!(tail, Tail::Torn, "byte {at}");
        }
    }
}

#[test]
fn of_the_last_frame_any_sectors_may_be_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let mut rng = Rng::new(3);
    for seed in 0..40 {
        let BuiltFile { bytes, offsets, frames } = build_file(seed, 4);
        let (last, end) = (offsets[offsets.len() - 2], *offsets.last().expect("the footer"));
        for sector in [16, 64, 512] {
            let mut image = bytes[..end].to_vec();
            for at in (last / sector * sector..end).step_by(sector) {
                if rng.one_in(2) {
                    image[at.max(last)..(at + sector).min(end)].fill(0);
                }
            }
            image.resize(end + rng.below(700), 0);
            let (read, _) = read_image(&path, &image, true).expect("a torn tail");
            assert!(is_prefix(&read, &frames) && read.len() >= frames.len() - 1, "seed {seed}");
            assert!(read.len() == frames.len() || image[..end] != bytes[..end], "seed {seed}");
        }
    }
}

#[test]
fn a_frame_in_another_place_is_no_frame() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let BuiltFile { bytes, offsets, frames } = build_file(15, 3);
    let (last, end) = (offsets[2], offsets[3]);

    // A disk block of the same file, again behind its end: not a frame, hence no corruption.
    let image = [&bytes[..end], &bytes[last..end]].concat();
    let (read, tail) = read_image(&path, &image, true).expect("a torn tail");
    assert!(is_prefix(&read, &frames) && read.len() == 3);
    assert_eq!(tail, Tail::Torn);
    assert!(read_image(&path, &image, false).is_err());
}
