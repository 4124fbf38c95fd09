//! Segments that kill who applies them: found out, and left alone.
//!
//! Owns a note of which segment is being applied, and a list of how often one was when the process ended. The note
//! is written before a segment is decoded and taken back after, without a sync: it is to survive the end of a
//! process, by whatever means, and not that of a machine. A start that finds one counts; what was
//! found [`DEATHS_MAX`] times in a row starts quarantined. Deaths of one build say nothing about another: the list names
//! its own, and ends with it. Both files may be removed at any time.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use crate::model::TimeRange;
use crate::replication::names::{ObjectName, SegmentId};
use crate::replication::segment::PartitionFrame;
use crate::replication::segment_set::SegmentSet;
use crate::storage::durable;

use super::quarantine::{span, times_of_frames};

/// After so many it is no accident.
pub const DEATHS_MAX: u32 = 3;
/// Names of the files; they stand among the held segments.
const NOTE: &str = "applying";
const LIST: &str = "poison";
/// A name and two times take less.
const NOTE_BYTES: usize = 128;

/// A segment during which the process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suspect {
    deaths: u32,
    times: Option<TimeRange>,
}

/// The list as it stands in its file.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    build: String,
    segments: Vec<Listed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    segment: String,
    deaths: u32,
    /// Of the first and the last sample, where that is known.
    times_ms: Option<(i64, i64)>,
}

/// See the module.
#[derive(Debug)]
pub struct Poison {
    list: PathBuf,
    /// `None` where it cannot be written: then nobody is found out.
    note: Option<File>,
    suspects: BTreeMap<SegmentId, Suspect>,
}

impl Poison {
    /// Reads what an earlier process has left in the folder. What cannot be read or written is told and done without.
    pub fn open(folder: &Path) -> Self {
        let (note, list) = (folder.join(NOTE), folder.join(LIST));
        let suspects = read_list(&list).unwrap_or_else(|why| {
            warn!(file = %list.display(), why, "nothing is known of segments that were not survived");
            BTreeMap::new()
        });
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&note);
        let note = file.inspect_err(|error| tell(&note, error)).ok();
        let mut poison = Self { list, note, suspects };
        if let Some((segment, times)) = poison.left_behind() {
            poison.count(segment, times);
            poison.rest();
        }
        poison.announce();
        poison
    }

    /// Whether a file of the folder is one of these.
    pub fn owns(name: &str) -> bool {
        let list = Path::new(LIST);
        name == NOTE || name == LIST || Path::new(name) == durable::temporary(list)
    }

    /// What is not to be applied by this process.
    pub fn quarantined(&self) -> SegmentSet {
        self.condemned().map(|(segment, _)| segment).collect()
    }

    /// Of what times these are, as far as that is known.
    pub fn times(&self) -> BTreeMap<SegmentId, TimeRange> {
        self.condemned().filter_map(|(segment, suspect)| Some((segment, suspect.times?))).collect()
    }

    /// The segment is about to be decoded and entered.
    pub fn begin(&mut self, segment: SegmentId, frames: &[PartitionFrame]) {
        let times = times_of_frames(frames);
        let times = times.map(|times| format!("{} {}", times.start_ms, times.end_ms)).unwrap_or_default();
        self.write(&format!("{segment} {times}"));
    }

    /// It was survived.
    pub fn done(&mut self, segment: SegmentId) {
        self.rest();
        if self.suspects.remove(&segment).is_some() {
            self.save();
        }
    }

    /// The process will end because of it, though not at once.
    pub fn failed(&mut self, segment: SegmentId, frames: &[PartitionFrame]) {
        self.count(segment, times_of_frames(frames));
        self.rest();
    }

    /// No segment is being applied.
    pub fn rest(&mut self) {
        self.write("");
    }

    /// Nobody applies any more what is in blocks, but a start that does not know the blocks yet: it enters what stands
    /// in the folder, and fetches what is listed. So what is condemned stays so.
    pub fn forget(&mut self, covered: impl FnOnce() -> SegmentSet) {
        let is_condemned = |suspect: &Suspect| suspect.deaths >= DEATHS_MAX;
        if self.suspects.values().all(is_condemned) {
            return;
        }
        let (covered, before) = (covered(), self.suspects.len());
        self.suspects.retain(|segment, suspect| is_condemned(suspect) || !covered.contains(*segment));
        if self.suspects.len() < before {
            self.save();
        }
    }

    fn condemned(&self) -> impl Iterator<Item = (SegmentId, &Suspect)> {
        let all = self.suspects.iter().map(|(segment, suspect)| (*segment, suspect));
        all.filter(|(_, suspect)| suspect.deaths >= DEATHS_MAX)
    }

    fn announce(&self) {
        for (segment, suspect) in self.condemned() {
            error!(
                object = %ObjectName::Segment(segment),
                deaths = suspect.deaths,
                about = %span(suspect.times),
                "A SEGMENT OF THE LOG HAS ENDED THIS PROCESS AGAIN AND AGAIN WHEN IT WAS APPLIED: it is left alone, \
                 and questions are refused. Start a version that can apply it; remove {} to have this one try again; \
                 or give it up by onggi bucket accept-loss {segment}",
                self.list.display()
            );
        }
    }

    fn count(&mut self, segment: SegmentId, times: Option<TimeRange>) {
        let suspect = self.suspects.entry(segment).or_insert(Suspect { deaths: 0, times });
        suspect.deaths = suspect.deaths.saturating_add(1);
        warn!(%segment, deaths = suspect.deaths, "this process ended while it applied a segment");
        self.save();
    }

    /// The segment that a process was applying when it ended.
    fn left_behind(&self) -> Option<(SegmentId, Option<TimeRange>)> {
        let mut bytes = [0; NOTE_BYTES];
        let read = self.note.as_ref()?.read_at(&mut bytes, 0).ok()?;
        parse_note(std::str::from_utf8(&bytes[..read]).ok()?)
    }

    /// One call of the system: it is made for every segment.
    fn write(&mut self, text: &str) {
        let mut bytes = [b' '; NOTE_BYTES];
        let end = text.len().min(NOTE_BYTES - 1);
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        bytes[NOTE_BYTES - 1] = b'\n';
        let Some(file) = &self.note else { return };
        if let Err(error) = file.write_all_at(&bytes, 0) {
            tell(&self.list.with_file_name(NOTE), &error);
            self.note = None;
        }
    }

    fn save(&self) {
        let listed = |(segment, suspect): (&SegmentId, &Suspect)| Listed {
            segment: segment.to_string(),
            deaths: suspect.deaths,
            times_ms: suspect.times.map(|times| (times.start_ms, times.end_ms)),
        };
        let saved = if self.suspects.is_empty() {
            fs::remove_file(&self.list)
        } else {
            let list = List { build: build(), segments: self.suspects.iter().map(listed).collect() };
            let text = serde_json::to_vec(&list).expect("a struct of plain fields is JSON");
            durable::replace(&self.list, &text)
        };
        if let Err(error) = saved.or_else(if_there) {
            tell(&self.list, &error);
        }
    }
}

fn tell(path: &Path, error: &io::Error) {
    warn!(file = %path.display(), %error, "a segment that ends this process again and again is not found out");
}

/// What is not there is as good as removed.
fn if_there(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What this process is built of.
fn build() -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), option_env!("ONGGI_REVISION").unwrap_or("unknown"))
}

fn read_list(path: &Path) -> Result<BTreeMap<SegmentId, Suspect>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let list: List = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if list.build != build() {
        // Perhaps this one can.
        return Ok(BTreeMap::new());
    }
    let suspect = |listed: Listed| {
        let segment = SegmentId::parse(&listed.segment);
        let segment = segment.ok_or_else(|| format!("{:?} is no segment", listed.segment))?;
        let times = listed.times_ms.map(|(start_ms, end_ms)| TimeRange::new(start_ms, end_ms));
        Ok::<_, String>((segment, Suspect { deaths: listed.deaths, times }))
    };
    list.segments.into_iter().map(suspect).collect()
}

fn parse_note(text: &str) -> Option<(SegmentId, Option<TimeRange>)> {
    let mut words = text.split_whitespace();
    let segment = SegmentId::parse(words.next()?)?;
    let mut time = || words.next()?.parse::<i64>().ok();
    let times = time().zip(time()).map(|(start_ms, end_ms)| TimeRange::new(start_ms, end_ms));
    Some((segment, times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::frame::put_section;
    use crate::encoding::log_file::LogId;
    use crate::storage::log::Summary;

    fn id(sequence: u64) -> SegmentId {
        SegmentId { log: LogId([7; 16]), sequence }
    }

    fn frames(min_ms: i64, max_ms: i64) -> [PartitionFrame; 1] {
        let mut summary = Summary::default();
        summary.add_floats(2, min_ms, max_ms);
        let (mut bytes, mut payload) = (Vec::new(), Vec::new());
        summary.put(&mut bytes);
        put_section(&mut payload, 1, &bytes);
        [PartitionFrame { partition: 0, payload: payload.into() }]
    }

    /// A process that ends while it applies this.
    fn die(folder: &Path, segment: SegmentId) {
        Poison::open(folder).begin(segment, &frames(i64::MIN, i64::MAX));
    }

    #[test]
    fn what_ended_three_processes_is_quarantined_and_told_of_what_times_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        for deaths in 0..3 {
            let poison = Poison::open(folder.path());
            assert!(poison.quarantined().is_empty(), "{deaths}");
            die(folder.path(), id(1));
        }

        for start in 0..2 {
            let poison = Poison::open(folder.path());
            assert_eq!(poison.quarantined(), SegmentSet::from_iter([id(1)]), "start {start}");
            assert_eq!(poison.times(), BTreeMap::from([(id(1), TimeRange::ALL)]));
        }
        fs::remove_file(folder.path().join(LIST)).expect("it is there");
        assert!(Poison::open(folder.path()).quarantined().is_empty(), "it is tried again");
    }

    #[test]
    fn what_is_survived_was_an_accident_and_what_ends_the_process_later_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        die(folder.path(), id(1));
        die(folder.path(), id(1));
        let mut poison = Poison::open(folder.path());
        poison.begin(id(1), &frames(5, 6));
        poison.done(id(1));
        die(folder.path(), id(1));
        assert!(Poison::open(folder.path()).quarantined().is_empty(), "once since");

        for _ in 0..3 {
            let mut poison = Poison::open(folder.path());
            poison.begin(id(2), &frames(5, 6));
            poison.failed(id(2), &frames(5, 6));
            poison.begin(id(3), &frames(7, 8));
            poison.done(id(3));
        }
        let poison = Poison::open(folder.path());
        assert_eq!(poison.times(), BTreeMap::from([(id(2), TimeRange::new(5, 6))]));
    }

    #[test]
    fn what_is_in_blocks_before_it_is_condemned_another_build_and_nonsense_are_forgotten() {
        let folder = tempfile::tempdir().expect("folder");
        (0..2).for_each(|_| die(folder.path(), id(1)));
        let mut poison = Poison::open(folder.path());
        assert!(folder.path().join(LIST).exists());
        poison.forget(|| [id(1)].into_iter().collect());
        assert!(!folder.path().join(LIST).exists());
        poison.forget(|| panic!("there is nothing to forget"));

        (0..3).for_each(|_| die(folder.path(), id(1)));
        Poison::open(folder.path()).forget(|| [id(1)].into_iter().collect());
        let next = Poison::open(folder.path());
        assert_eq!(next.quarantined(), SegmentSet::from_iter([id(1)]), "its file stands in the folder still");
        let list = folder.path().join(LIST);
        let text = fs::read_to_string(&list).expect("it is there");
        fs::write(&list, text.replace(&build(), "another one")).expect("written");
        assert!(Poison::open(folder.path()).quarantined().is_empty());
        fs::write(&list, "{").expect("written");
        fs::write(folder.path().join(NOTE), [0xff_u8; 300]).expect("written");
        assert!(Poison::open(folder.path()).quarantined().is_empty());
    }

    #[test]
    fn its_files_are_known_by_their_names() {
        assert!(["applying", "poison", "poison.new"].into_iter().all(Poison::owns));
        assert!(!Poison::owns("07070707070707070707070707070707-0000000001.log"));
    }
}
