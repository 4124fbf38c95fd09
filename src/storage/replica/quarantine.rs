//! Which questions are refused for want of a segment that cannot be applied.
//!
//! Owns of what times such a segment is: its index repeats what each frame says of itself, and may be whole where
//! other parts of it are not. Where it is not, nobody knows, and every question is refused. Which segments
//! these are is the core's and [`super::poison`]'s, the questions come by [`super::whole`].

use bytes::Bytes;
use jiff::Timestamp;

use crate::encoding::frame::take_section;
use crate::model::TimeRange;
use crate::replication::names::{ObjectName, SegmentId};
use crate::replication::segment::{PartitionFrame, index_of};
use crate::storage::log::{Summary, read_entries};

/// A segment without which answers are not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub segment: SegmentId,
    /// Of its samples and exemplars, from the first to the last; `None` where nobody knows.
    pub times: Option<TimeRange>,
}

impl Quarantined {
    /// Whether something of the range may be missing.
    pub fn may_have(&self, range: TimeRange) -> bool {
        let meets = |times: TimeRange| !times.is_empty() && !range.is_empty() && times.overlaps(&range);
        self.times.is_none_or(meets)
    }
}

/// Of what times a segment's samples are that cannot be read; `None` where it does not say so any more. Empty where
/// it has none.
pub fn times_of(segment: SegmentId, object: &Bytes) -> Option<TimeRange> {
    let entries = read_entries(&index_of(segment, object)?).ok()?;
    Some(entries.iter().fold(Summary::default().times, |all, entry| joined(all, entry.summary.times)))
}

/// The same of frames that verify; `None` where they do not say so.
pub fn times_of_frames(frames: &[PartitionFrame]) -> Option<TimeRange> {
    let mut all = Summary::default().times;
    for frame in frames {
        let (_, mut summary) = take_section(&mut &frame.payload[..]).ok()?;
        all = joined(all, Summary::take(&mut summary).ok()?.times);
    }
    Some(all)
}

/// From the first to the last time of both; an empty range begins at the last time that there is, and ends at the
/// first.
fn joined(one: TimeRange, other: TimeRange) -> TimeRange {
    TimeRange::new(one.start_ms.min(other.start_ms), one.end_ms.max(other.end_ms))
}

/// What a segment of these times may be about, in words.
pub fn span(times: Option<TimeRange>) -> String {
    let text =
        |ms: i64| Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |t| t.to_string());
    match times {
        None => "any time".to_owned(),
        Some(times) if times.is_empty() => "no time".to_owned(),
        Some(times) => format!("{} to {}", text(times.start_ms), text(times.end_ms)),
    }
}

/// Why a question is refused that these segments may be about, and what to do; `None` where there is none.
pub fn refusal<'a>(mut missing: impl Iterator<Item = &'a Quarantined>) -> Option<String> {
    let Quarantined { segment, times } = *missing.next()?;
    let object = ObjectName::Segment(segment);
    let others = match missing.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{object}{others} of the bucket cannot be read (the log says why), and no answer about {} is complete without \
         it: put the object back as it was written, or give it up by onggi bucket accept-loss {segment}",
        span(times)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::frame::put_section;
    use crate::encoding::log_file::{FileHeader, LogId};
    use crate::replication::segment;

    const SEGMENT: SegmentId = SegmentId { log: LogId([7; 16]), sequence: 3 };

    fn frame(partition: u16, times: Option<(i64, i64)>) -> PartitionFrame {
        let mut summary = Summary::default();
        if let Some((min_ms, max_ms)) = times {
            summary.add_floats(2, min_ms, max_ms);
        }
        let (mut bytes, mut payload) = (Vec::new(), Vec::new());
        summary.put(&mut bytes);
        put_section(&mut payload, 1, &bytes);
        put_section(&mut payload, 4, b"samples");
        PartitionFrame { partition, payload: payload.into() }
    }

    fn object(frames: &[PartitionFrame]) -> Vec<u8> {
        segment::encode(&FileHeader { log: SEGMENT.log, sequence: 3, created_ms: 5 }, frames).to_vec()
    }

    #[test]
    fn the_index_says_of_what_times_all_frames_are_that_there_were() {
        let frames = [frame(0, Some((50, 70))), frame(3, None), frame(9, Some((-4, 55)))];
        let want = Some(TimeRange::new(-4, 70));
        let whole = object(&frames);
        assert_eq!(times_of(SEGMENT, &whole.clone().into()), want);
        assert_eq!(times_of_frames(&frames), want);

        let mut damaged = whole.clone();
        damaged[3] ^= 1;
        damaged[90] ^= 1;
        assert_eq!(times_of(SEGMENT, &damaged.into()), want, "header and a frame");
        let cut = Bytes::from(whole).slice(..200);
        assert_eq!(times_of(SEGMENT, &cut), None, "the index is gone");
        assert_eq!(times_of(SEGMENT, &Bytes::from_static(b"nonsense")), None);
        let empty = times_of(SEGMENT, &object(&[frame(0, None)]).into());
        assert!(empty.is_some_and(|times| times.is_empty()));
    }

    #[test]
    fn questions_are_refused_where_their_times_meet_and_all_of_them_where_nobody_knows() {
        let meets = |times: Option<(i64, i64)>, start_ms: i64, end_ms: i64| {
            let times = times.map(|(start_ms, end_ms)| TimeRange::new(start_ms, end_ms));
            Quarantined { segment: SEGMENT, times }.may_have(TimeRange::new(start_ms, end_ms))
        };
        assert!(meets(Some((10, 20)), 20, 30) && meets(Some((10, 20)), 0, 10) && meets(None, 20, 30));
        assert!(!meets(Some((10, 20)), 21, 30) && !meets(Some((10, 20)), 0, 9));
        assert!(!meets(Some((i64::MAX, i64::MIN)), i64::MIN, i64::MAX), "it has no samples");
        assert!(!meets(Some((10, 20)), 15, 12), "nothing is asked for");
    }

    #[test]
    fn a_refusal_names_the_segment_its_times_and_the_way_out() {
        let known = Quarantined { segment: SEGMENT, times: Some(TimeRange::new(0, 60_000)) };
        let unknown = Quarantined { segment: SEGMENT, times: None };
        assert_eq!(refusal([].iter()), None);

        let words = refusal([known, unknown].iter()).expect("there are two");

        for part in [
            "wal/07070707070707070707070707070707/0000000003.log and 1 more",
            "no answer about 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z is complete",
            "accept-loss 07070707070707070707070707070707:3",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(refusal([unknown].iter()).expect("there is one").contains("any time"));
    }
}
