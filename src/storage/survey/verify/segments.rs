//! Segments: every checksum, every sample decoded, every series in its partition.

use bytes::Bytes;

use crate::model::Labels;
use crate::replication::bucket::BucketError;
use crate::replication::names::{ObjectName, SegmentId};
use crate::replication::script::{JobError, failed};
use crate::replication::segment::{self, PartitionFrame};
use crate::storage::log::{DecodedFrame, decode_fresh};
use crate::storage::replica::partition::{PARTITIONS, of_metric, of_series};

use super::super::objects::{Listed, Survey};
use super::{Faults, Run};

/// Read at the same time, at most, by what the listing says of their lengths; or one.
const READ_OBJECTS_MAX: usize = 16;
const READ_BYTES_MAX: u64 = 32 << 20;

const GIVE_UP: &str = "a replica that holds it makes blocks of it all the same; where none does, give it up with \
                       `onggi bucket accept-loss`";

pub async fn verify(survey: &Survey, run: &mut Run<'_>) -> Result<(), JobError> {
    let listed: Vec<(SegmentId, Listed)> =
        survey.segments.iter().map(|(id, listed)| (*id, *listed)).collect();
    let mut gone: Vec<SegmentId> = Vec::new();
    let mut rest = &listed[..];
    while !rest.is_empty() {
        let (batch, ahead) = rest.split_at(batch_len(rest));
        rest = ahead;
        let names: Vec<ObjectName> = batch.iter().map(|(id, _)| ObjectName::Segment(*id)).collect();
        let objects = run.scripts.get_each(names.clone()).await;
        for (((id, listed), name), object) in batch.iter().zip(names).zip(objects) {
            match object {
                Ok(object) => check(survey, *id, listed, &object, run),
                Err(BucketError::NotFound) => gone.push(*id),
                Err(BucketError::Refused(why)) => run.finding(name, why, GIVE_UP),
                Err(source @ BucketError::Unknown(_)) => return Err(failed(&name, source)),
            }
            run.read("segments", listed);
        }
    }
    if !gone.is_empty() {
        let covered = run.look_again(survey).await?.fold.covered();
        for id in gone.into_iter().filter(|id| !covered.contains(*id)) {
            let what = "it was listed and is gone, and no cut has it: its samples are lost";
            run.finding(ObjectName::Segment(id), what, "restore the object");
        }
    }
    Ok(())
}

/// How many of these are read together.
fn batch_len(rest: &[(SegmentId, Listed)]) -> usize {
    let mut bytes = 0u64;
    let fits = |(_, listed): &&(SegmentId, Listed)| {
        bytes = bytes.saturating_add(listed.bytes);
        bytes <= READ_BYTES_MAX
    };
    rest.iter().take(READ_OBJECTS_MAX).take_while(fits).count().max(1)
}

fn check(survey: &Survey, id: SegmentId, listed: &Listed, object: &Bytes, run: &mut Run<'_>) {
    run.verified.segments += 1;
    let mut faults = Faults::default();
    if object.len() as u64 != listed.bytes {
        faults.add(format!("{} bytes came, the listing says {}", object.len(), listed.bytes));
    }
    match segment::read(id, object) {
        Ok(frames) => {
            let mut decoded = DecodedFrame::default();
            for frame in &frames {
                match check_frame(frame, &mut decoded, &mut faults) {
                    Ok(samples) => run.verified.samples += samples,
                    Err(why) => faults.add(format!("partition {}: {why}", frame.partition)),
                }
            }
        }
        Err(error) => faults.add(error.to_string()),
    }
    let is_covered = survey.partitions_with(id).len() == usize::from(PARTITIONS);
    for fault in faults.into_texts() {
        let name = ObjectName::Segment(id);
        match is_covered {
            true => {
                run.watch.note(format!("{name}: {fault}; blocks have it or it was given up, nobody reads it"))
            }
            false => run.finding(name, fault, GIVE_UP),
        }
    }
}

/// Gives the number of samples.
fn check_frame(
    frame: &PartitionFrame,
    decoded: &mut DecodedFrame,
    faults: &mut Faults,
) -> Result<u64, String> {
    decode_fresh(&frame.payload, decoded).map_err(|error| error.to_string())?;
    let is = frame.partition;
    for (tenant, series) in decoded.new_series.runs() {
        for pairs in series {
            let labels = || pairs.iter().map(|pair| decoded.new_labels.label(*pair));
            let bytes = labels().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let belongs = of_series(tenant.as_str(), bytes);
            if belongs != is {
                let labels = Labels::from_pairs(labels());
                faults.add(format!("partition {is}: series {labels} belongs to partition {belongs}"));
            }
        }
    }
    for logged in &decoded.metadata {
        let metric = &logged.metadata.metric;
        let belongs = of_metric(logged.tenant.as_str(), metric);
        if belongs != is {
            faults.add(format!("partition {is}: metadata of {metric} belongs to partition {belongs}"));
        }
    }
    if let Some(tombstone) = decoded.tombstones.first() {
        return Err(format!("deletion {:032x} does not belong into a segment", tombstone.id));
    }
    Ok((decoded.floats.len() + decoded.histograms.len()) as u64)
}
