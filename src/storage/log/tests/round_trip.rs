//! What was submitted is what is read, over frames, files, reused ids and restarts.

use std::fs;

use super::support::{
    BuiltFile, HEADER, Records, Rng, Sender, build_file, decode_index, read_all, read_frames,
};
use crate::storage::log::layout::{TRAILER_BYTES, Trailer};
use crate::storage::log::{Log, LogFileReader, LogOptions, Recovered, Tail, file_path, list_files};

#[test]
fn frames_come_back_as_they_were_encoded() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    for seed in 0..60 {
        let BuiltFile { bytes, frames, .. } = build_file(seed, 1 + seed as usize % 9);
        fs::write(&path, bytes).expect("written");

        let (read, tail) = read_frames(&path, false).expect("a valid file");
        assert_eq!((read.len(), tail), (frames.len(), Tail::Sealed), "seed {seed}");
        for (at, (read, want)) in read.iter().zip(&frames).enumerate() {
            assert!(read.same(want), "seed {seed}, frame {at}: {read:?}\n is not {want:?}");
        }
        assert_eq!(LogFileReader::open(&path, false).expect("opened").header(), Some(&HEADER));
    }
}

#[test]
fn the_index_is_found_from_the_end_and_points_at_the_frames() {
    let BuiltFile { bytes, offsets, frames } = build_file(7, 6);
    let trailer_at = bytes.len() - TRAILER_BYTES;
    let trailer = Trailer::parse(bytes[trailer_at..].try_into().expect("its length")).expect("a trailer");
    let index_at = trailer_at - trailer.index_frame_bytes as usize;
    assert_eq!(Some(&index_at), offsets.last());

    let entries = decode_index(&bytes[index_at + 16..trailer_at]).expect("an index");
    assert_eq!(entries.len(), frames.len());
    for (entry, (offset, frame)) in entries.iter().zip(offsets.iter().zip(&frames)) {
        assert_eq!(entry.offset, *offset as u64);
        assert!(entry.bytes > 0 && entry.partition < 64);
        assert_eq!(entry.summary.floats, frame.floats.len() as u64);
        assert_eq!(entry.summary.tombstones, frame.tombstones.len() as u64);
    }
}

#[test]
fn every_file_of_a_rotating_log_stands_for_itself() {
    for seed in 0..8 {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("log");
        let mut sender = Sender::new(seed);
        let mut want = Records::default();
        let mut sequence = 1;
        for _restart in 0..3 {
            let options =
                LogOptions { rotate_bytes: 4_000, preallocate_bytes: 10_000, ..LogOptions::default() };
            let log = Log::open(&dir, sequence, options).expect("opened");
            submit_some(&log, &mut sender, &mut want);
            sequence = log.rotate().expect("rotated") + 1;
            assert_eq!(log.active_sequence(), sequence);
        }

        let mut all = Records::default();
        let files = list_files(&dir).expect("only files of the log");
        assert_eq!(files.iter().map(|f| f.sequence).collect::<Vec<_>>(), (1..sequence).collect::<Vec<_>>());
        for file in &files {
            let (read, tail) = read_all(&file.path, false).expect("a sealed file");
            assert_eq!(tail, Tail::Sealed);
            all.floats.extend(read.floats);
            all.histograms.extend(read.histograms);
            all.exemplars.extend(read.exemplars);
            all.metadata.extend(read.metadata);
            all.tombstones.extend(read.tombstones);
        }
        assert!(files.len() > 5, "rotation took place: {}", files.len());
        assert!(all.same(&want), "seed {seed}");
    }
}

fn submit_some(log: &Log, sender: &mut Sender, want: &mut Records) {
    let mut tickets = Vec::new();
    for number in 0..40 {
        if number % 7 == 0
            && let Some(id) = sender.reuse_an_id()
        {
            log.forget(id);
        }
        let (batch, ids) = sender.batch();
        want.add_batch(&batch, number);
        tickets.push(log.submit(&batch, &ids, number).expect("submitted"));
        if number % 11 == 0 {
            let tombstone = sender.tombstone();
            tickets.push(log.submit_tombstone(&tombstone).expect("submitted"));
            want.tombstones.push(tombstone);
        }
        if number % 13 == 0 {
            log.rotate().expect("rotated");
        }
    }
    for ticket in tickets {
        ticket.wait().expect("durable");
    }
}

#[test]
fn rotation_parts_what_came_before_from_what_comes_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), 5, LogOptions::default()).expect("opened");
    assert_eq!(log.rotate().expect("nothing to seal"), 4);
    assert_eq!(list_files(dir.path()).expect("listed"), [], "no file before the first frame");
    let mut sender = Sender::new(3);
    let mut submit = || loop {
        let (batch, ids) = sender.batch();
        if !batch.floats.is_empty() {
            break log.submit(&batch, &ids, 0).expect("submitted");
        }
    };

    let before = [submit(), submit()];
    let sealed = log.rotate().expect("rotated");
    let after = submit();
    assert!(before.iter().all(|ticket| ticket.file_sequence() <= sealed));
    assert_eq!((sealed, after.file_sequence()), (5, 6));
    after.wait().expect("durable");
    assert_eq!(log.rotate().expect("rotated"), 6);
    assert_eq!(log.rotate().expect("nothing came since"), 6);
    assert_eq!(log.counters().figures().files_sealed, 2);
}

#[test]
fn a_tombstone_stands_between_what_came_before_and_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), 1, LogOptions::default()).expect("opened");
    let mut sender = Sender::new(1);
    let mut want = Vec::new();
    for _ in 0..20 {
        let (batch, ids) = sender.batch();
        drop(log.submit(&batch, &ids, 0).expect("submitted"));
        let tombstone = sender.tombstone();
        drop(log.submit_tombstone(&tombstone).expect("submitted"));
        want.push((batch.floats.len(), tombstone));
    }
    log.rotate().expect("rotated");

    let (frames, _) = read_frames(&file_path(dir.path(), 1), false).expect("sealed");
    let mut want = want.into_iter();
    let mut floats = 0;
    for frame in frames {
        floats += frame.floats.len();
        if let [tombstone] = frame.tombstones.as_slice() {
            assert_eq!(Some((floats, tombstone.clone())), want.next());
            floats = 0;
        }
    }
    assert_eq!((floats, want.next()), (0, None));
}

#[test]
fn a_log_that_was_cut_off_is_sealed_by_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file_path(dir.path(), 1);
    let mut rng = Rng::new(4);
    for seed in 0..30 {
        let BuiltFile { bytes, offsets, frames } = build_file(seed, 5);
        let cut = rng.below(bytes.len());
        let whole = offsets.iter().skip(1).filter(|end| **end <= cut).count();
        let mut image = bytes[..cut].to_vec();
        image.resize(cut + rng.below(9_000), 0);
        fs::write(&path, &image).expect("written");

        let log = Log::open(dir.path(), 2, LogOptions::default()).expect("opened");
        let was = log.recovered().clone();
        drop(log);
        match was {
            Recovered::Removed { sequence, .. } => {
                assert_eq!((sequence, whole, path.exists()), (1, 0, false), "seed {seed}");
            }
            Recovered::Sealed { sequence, .. } => {
                assert_eq!(sequence, 1);
                let (read, tail) = read_frames(&path, false).expect("sealed");
                assert_eq!((read.len(), tail), (whole, Tail::Sealed), "seed {seed}");
                assert!(read.iter().zip(&frames).all(|(read, want)| read.same(want)));
                let again = Log::open(dir.path(), 2, LogOptions::default()).expect("opened");
                assert_eq!(again.recovered(), &Recovered::Clean);
            }
            Recovered::Clean => panic!("seed {seed}: the file was not sealed"),
        }
    }
}

#[test]
fn a_sequence_that_is_taken_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(file_path(dir.path(), 1), build_file(1, 2).bytes).expect("written");
    let refused = Log::open(dir.path(), 1, LogOptions::default()).err().expect("refused");
    assert!(refused.to_string().contains("0000000001.log"), "{refused}");
    assert!(Log::open(dir.path(), 2, LogOptions::default()).is_ok());
}

#[test]
fn a_renamed_file_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file_path(dir.path(), 3);
    fs::write(&path, build_file(1, 2).bytes).expect("written");
    let refused = LogFileReader::open(&path, false).expect_err("refused");
    assert!(refused.to_string().contains("header says sequence 1"), "{refused}");
}
