//! A segment in a bucket is a sealed file of the log, with one fresh frame per partition.

use std::fs;

use bytes::Bytes;

use super::support::{HEADER, Records, Sender, read_frames};
use crate::encoding::frame::FRAME_HEADER_BYTES;
use crate::replication::names::SegmentId;
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::log::{FileEncoder, Tail};

#[test]
fn a_segment_reads_as_a_file_of_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let id = SegmentId { log: HEADER.log, sequence: HEADER.sequence };
    for seed in 0..20 {
        let mut sender = Sender::new(seed);
        let (mut frames, mut want) = (Vec::new(), Vec::new());
        for partition in [0, 7, 63] {
            let (batch, ids) = sender.batch();
            let mut encoder = FileEncoder::new();
            encoder.add_batch(&batch, &ids, 5).expect("random batches are small");
            if let Some(mut frame) = encoder.take_frame(None) {
                let payload = frame.place(&HEADER, 0, partition)[FRAME_HEADER_BYTES..].to_vec();
                frames.push(PartitionFrame { partition, payload: Bytes::from(payload) });
                let mut records = Records::default();
                records.add_batch(&batch, 5);
                want.push(records);
            }
        }

        let object = segment::encode(&HEADER, &frames);
        fs::write(&path, &object).expect("written");
        let (read, tail) = read_frames(&path, false).expect("a valid file");

        assert_eq!((read.len(), tail), (want.len(), Tail::Sealed), "seed {seed}");
        assert!(read.iter().zip(&want).all(|(read, want)| read.same(want)), "seed {seed}");
        assert_eq!(segment::read(id, &object), Ok(frames), "seed {seed}");
    }
}
