//! Series whose labels come as numbers, and frames that refer to no other.

use std::collections::HashMap;

use super::support::Sender;
use crate::encoding::frame::FRAME_HEADER_BYTES;
use crate::model::{SeriesBatch, TenantId};
use crate::storage::log::{Chosen, DecodedFrame, FileEncoder, FreshDecoder, NumberedLabels, decode_fresh};

/// Labels by numbers, each tenant's its own, as the head has them.
#[derive(Default)]
struct Numbers {
    numbers: HashMap<(TenantId, String, String), u32>,
    labels: Vec<(String, String)>,
    series: Vec<Vec<u32>>,
}

impl Numbers {
    /// Numbers for the series of a batch.
    fn enter(&mut self, batch: &SeriesBatch) -> Vec<u32> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("labels are UTF-8");
        let mut ids = Vec::new();
        for series in &batch.series {
            let mut numbers = Vec::new();
            for (name, value) in batch.labels_of(series) {
                let (name, value) = (text(name), text(value));
                let labels = &mut self.labels;
                let key = (batch.tenant.clone(), name.clone(), value.clone());
                numbers.push(*self.numbers.entry(key).or_insert_with(|| {
                    labels.push((name, value));
                    labels.len() as u32 - 1
                }));
            }
            ids.push(self.series.len() as u32);
            self.series.push(numbers);
        }
        ids
    }
}

impl NumberedLabels for Numbers {
    fn numbers(&self, series: u32) -> &[u32] {
        &self.series[series as usize]
    }

    fn label(&self, number: u32) -> (&str, &str) {
        let (name, value) = &self.labels[number as usize];
        (name, value)
    }

    fn text_bytes(&self, series: u32) -> usize {
        let labels = self.numbers(series).iter().map(|number| self.label(*number));
        labels.map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Payloads of frames, by texts and by numbers.
fn payloads(seed: u64) -> [Vec<u8>; 2] {
    let (mut sender, mut numbers) = (Sender::new(seed), Numbers::default());
    let [mut by_text, mut by_number] = [FileEncoder::new(), FileEncoder::new()];
    let mut unused = 0..;
    for received_ms in 0..4 {
        let (batch, _) = sender.batch();
        let each_anew: Vec<u32> = unused.by_ref().take(batch.series.len()).collect();
        by_text.add_batch(&batch, &each_anew, received_ms).expect("random batches are small");

        let ids = numbers.enter(&batch);
        let all = |count: usize| (0..count as u32).collect::<Vec<u32>>();
        let (series, metadata) = (all(batch.series.len()), all(batch.metadata.len()));
        let chosen = Chosen { series: &series, metadata: &metadata };
        by_number.add_numbered(&batch, &ids, chosen, &numbers, received_ms).expect("no larger");
    }
    [by_text, by_number].map(|mut encoder| {
        let frame = encoder.take_frame(None).map(|frame| frame.into_bytes());
        frame.map(|bytes| bytes[FRAME_HEADER_BYTES..].to_vec()).unwrap_or_default()
    })
}

#[test]
fn a_series_is_written_in_the_same_bytes_whether_its_labels_come_as_texts_or_as_numbers() {
    for seed in 0..200 {
        let [by_text, by_number] = payloads(seed);
        assert_eq!(by_text, by_number, "seed {seed}");
    }
}

#[test]
fn what_was_decoded_before_leaves_nothing_in_the_next_fresh_frame() {
    let mut decoder = FreshDecoder::default();
    let mut frame = DecodedFrame::default();
    for seed in 0..100 {
        let [payload, _] = payloads(seed);
        if payload.is_empty() {
            continue;
        }
        let mut want = DecodedFrame::default();
        decode_fresh(&payload, &mut want).expect("own bytes");
        decoder.decode(&payload, &mut frame).expect("own bytes");
        assert_eq!(format!("{frame:?}"), format!("{want:?}"), "seed {seed}");
        if seed % 3 == 0 {
            decoder.decode(&payload[..payload.len() - 1], &mut frame).expect_err("it is cut off");
        }
    }
}
