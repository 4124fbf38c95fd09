//! The catalogue: every record is read, and says nothing that no job of a replica would write.

use crate::model::time::DAY_MS;
use crate::replication::names::{ObjectName, Partition, RecordId};
use crate::replication::record::{BlockMeta, Record};
use crate::replication::script::JobError;
use crate::storage::bucket::BLOCK_BYTES_MAX;
use crate::storage::replica::partition::PARTITIONS;
use crate::storage::window::Window;

use super::super::objects::Survey;
use super::{Faults, NEWER_BUILD, Run};

const UNREADABLE: &str = "no replica reads any further in the catalogue: restore the object";

pub fn verify(survey: &Survey, run: &mut Run<'_>) {
    run.verified.records = (survey.records.len() + survey.unread_records.len()) as u64;
    for (id, error) in &survey.unread_records {
        run.finding(ObjectName::Record(*id), reason(error), UNREADABLE);
    }
    for (id, record) in &survey.records {
        let mut faults = Faults::default();
        check(*id, record, &mut faults);
        for fault in faults.into_texts() {
            run.finding(ObjectName::Record(*id), fault, NEWER_BUILD);
        }
    }
    for (id, meta) in &survey.fold.live {
        if let Some(listed) = survey.blocks.get(id).filter(|listed| listed.bytes != meta.bytes) {
            let what = format!("the listing says {} bytes, its record {}", listed.bytes, meta.bytes);
            run.finding(ObjectName::Block(*id), what, "nothing is collected until it has its length again");
        }
    }
}

/// Without the name, which a finding says itself.
fn reason(error: &JobError) -> String {
    match error {
        JobError::Bucket { source, .. } => source.to_string(),
        JobError::Damaged { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn check(id: RecordId, record: &Record, faults: &mut Faults) {
    let of_record = match (id, record) {
        (RecordId::Cut { partition, .. } | RecordId::Replace { partition, .. }, _) => Some(partition),
        (RecordId::Checkpoint { .. }, _) => None,
    };
    if of_record.is_some_and(|partition| partition >= PARTITIONS) {
        faults.add(format!("its partition is none of the {PARTITIONS} that there are"));
    }
    for block in record.mentions() {
        check_block(of_record, block, faults);
    }
    match record {
        Record::Replace { partition, sources, outputs } => {
            for source in sources.iter().filter(|source| source.partition != *partition) {
                faults.add(format!("it replaces {}, of another partition", ObjectName::Block(*source)));
            }
            for output in outputs.iter().filter(|output| sources.contains(&output.id)) {
                faults.add(format!("it replaces {} by itself", ObjectName::Block(output.id)));
            }
        }
        Record::Checkpoint(checkpoint) => {
            if checkpoint.cover.len() != usize::from(PARTITIONS) {
                faults
                    .add(format!("it covers {} partitions, there are {PARTITIONS}", checkpoint.cover.len()));
            }
            for block in checkpoint.live.iter().filter(|block| checkpoint.dead.contains(&block.id)) {
                faults.add(format!("it calls {} both live and dead", ObjectName::Block(block.id)));
            }
        }
        Record::Cut { .. } => {}
    }
}

fn check_block(of_record: Option<Partition>, block: &BlockMeta, faults: &mut Faults) {
    let name = ObjectName::Block(block.id);
    let BlockMeta { id, bytes, min_ms, max_ms, .. } = *block;
    if id.partition >= PARTITIONS || of_record.is_some_and(|partition| partition != id.partition) {
        faults.add(format!("it names {name}, of another partition"));
    }
    if bytes == 0 || bytes > BLOCK_BYTES_MAX {
        faults.add(format!("it says {bytes} bytes of {name}: blocks have 1 to {BLOCK_BYTES_MAX}"));
    }
    let day = id.window_ms.div_euclid(DAY_MS);
    let is_day = Window::day(day).start_ms == id.window_ms;
    if !is_day || min_ms > max_ms || min_ms.div_euclid(DAY_MS) != day || max_ms.div_euclid(DAY_MS) != day {
        faults.add(format!(
            "it says times {min_ms}..={max_ms} of {name}, which is no part of a day of that name"
        ));
    }
}
