//! Names: what stands in the bucket, and how its name is written.
//!
//! Owns the layout of keys. No name holds user data, and none but a replica's heartbeat is ever written
//! with other bytes: a name is made by one process and used once. [`FORMAT`] alone may be made by several, with
//! the same bytes.

use std::fmt;

use crate::encoding::log_file::LogId;

/// One of the fixed number of partitions that a series' hash falls into.
pub type Partition = u16;

/// One object of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    pub log: LogId,
    pub sequence: u64,
}

impl SegmentId {
    /// `<log>:<sequence>`, as clients hand it on.
    pub fn parse(text: &str) -> Option<Self> {
        let (log, sequence) = text.split_once(':')?;
        let sequence = sequence.parse().ok()?;
        Some(Self { log: LogId(hex(log)?.to_be_bytes()), sequence })
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log, self.sequence)
    }
}

/// One immutable run of samples of a partition and a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    pub partition: Partition,
    pub window_ms: i64,
    pub id: u128,
}

/// One fact of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordId {
    Cut { partition: Partition, id: u128 },
    Replace { partition: Partition, id: u128 },
    Checkpoint { id: u128 },
}

/// One deletion of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TombstoneId(pub u128);

/// Any object of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    Segment(SegmentId),
    Block(BlockId),
    Record(RecordId),
    /// A deletion that is about to be bound.
    Intent(TombstoneId),
    /// A deletion with what it binds to.
    Bound(TombstoneId),
    /// The heartbeat of the replica with this name.
    Node(String),
    /// What is known of metric families.
    Families(u128),
    /// What is in the bucket, and who may read it.
    Format,
}

pub const SEGMENTS: &str = "wal/";
pub const BLOCKS: &str = "blk/";
pub const RECORDS: &str = "cat/";
pub const TOMBSTONES: &str = "tomb/";
pub const NODES: &str = "node/";
pub const FAMILIES: &str = "meta/";
pub const FORMAT: &str = "FORMAT";

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(SegmentId { log, sequence }) => write!(f, "{SEGMENTS}{log}/{sequence:010}.log"),
            Self::Block(BlockId { partition, window_ms, id }) => {
                write!(f, "{BLOCKS}{partition:03}/{window_ms}/{id:032x}.blk")
            }
            Self::Record(RecordId::Cut { partition, id }) => {
                write!(f, "{RECORDS}{partition:03}/{id:032x}.cut")
            }
            Self::Record(RecordId::Replace { partition, id }) => {
                write!(f, "{RECORDS}{partition:03}/{id:032x}.rep")
            }
            Self::Record(RecordId::Checkpoint { id }) => write!(f, "{RECORDS}all/{id:032x}.ckp"),
            Self::Intent(TombstoneId(id)) => write!(f, "{TOMBSTONES}{id:032x}.intent"),
            Self::Bound(TombstoneId(id)) => write!(f, "{TOMBSTONES}{id:032x}.bound"),
            Self::Node(name) => write!(f, "{NODES}{name}.json"),
            Self::Families(id) => write!(f, "{FAMILIES}{id:032x}.fam"),
            Self::Format => f.write_str(FORMAT),
        }
    }
}

impl ObjectName {
    /// The object of this key; `None` for a key that is none of ours, or written in another way than
    /// ours would be.
    pub fn parse(key: &str) -> Option<Self> {
        if key == FORMAT {
            return Some(Self::Format);
        }
        let (folder, rest) = key.split_once('/')?;
        let name = match folder {
            "wal" => {
                let (log, file) = rest.split_once('/')?;
                let log = LogId(hex(log)?.to_be_bytes());
                Self::Segment(SegmentId { log, sequence: file.strip_suffix(".log")?.parse().ok()? })
            }
            "blk" => {
                let (partition, rest) = rest.split_once('/')?;
                let (window, file) = rest.split_once('/')?;
                Self::Block(BlockId {
                    partition: partition.parse().ok()?,
                    window_ms: window.parse().ok()?,
                    id: hex(file.strip_suffix(".blk")?)?,
                })
            }
            "cat" => {
                let (partition, file) = rest.split_once('/')?;
                let (id, kind) = file.split_once('.')?;
                let id = hex(id)?;
                Self::Record(match kind {
                    "cut" => RecordId::Cut { partition: partition.parse().ok()?, id },
                    "rep" => RecordId::Replace { partition: partition.parse().ok()?, id },
                    "ckp" => RecordId::Checkpoint { id },
                    _ => return None,
                })
            }
            "tomb" => {
                let (id, kind) = rest.split_once('.')?;
                let id = TombstoneId(hex(id)?);
                match kind {
                    "intent" => Self::Intent(id),
                    "bound" => Self::Bound(id),
                    _ => return None,
                }
            }
            "meta" => Self::Families(hex(rest.strip_suffix(".fam")?)?),
            "node" => Self::Node(rest.strip_suffix(".json").filter(|name| is_node_name(name))?.to_owned()),
            _ => return None,
        };
        (name.to_string() == key).then_some(name)
    }
}

/// Whether a replica may have this name: it becomes part of a key.
pub fn is_node_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}

fn hex(text: &str) -> Option<u128> {
    if text.len() == 32 { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_other_spellings_are_foreign() {
        let log = LogId(0x6920_f00d_0000_0000_0000_0000_0000_0001_u128.to_be_bytes());
        let check = |name: ObjectName, key: &str| {
            assert_eq!(name.to_string(), key);
            assert_eq!(ObjectName::parse(key), Some(name), "{key}");
        };
        check(
            ObjectName::Segment(SegmentId { log, sequence: 7 }),
            "wal/6920f00d000000000000000000000001/0000000007.log",
        );
        check(
            ObjectName::Block(BlockId { partition: 3, window_ms: -7_200_000, id: 0xab }),
            "blk/003/-7200000/000000000000000000000000000000ab.blk",
        );
        check(
            ObjectName::Record(RecordId::Cut { partition: 63, id: 1 }),
            "cat/063/00000000000000000000000000000001.cut",
        );
        check(
            ObjectName::Record(RecordId::Replace { partition: 0, id: 1 }),
            "cat/000/00000000000000000000000000000001.rep",
        );
        check(
            ObjectName::Record(RecordId::Checkpoint { id: 1 }),
            "cat/all/00000000000000000000000000000001.ckp",
        );
        check(ObjectName::Intent(TombstoneId(2)), "tomb/00000000000000000000000000000002.intent");
        check(ObjectName::Bound(TombstoneId(2)), "tomb/00000000000000000000000000000002.bound");
        check(ObjectName::Node("a-1.b".to_owned()), "node/a-1.b.json");
        check(ObjectName::Families(3), "meta/00000000000000000000000000000003.fam");
        check(ObjectName::Format, "FORMAT");

        for foreign in [
            "",
            "wal",
            "wal/6920F00D000000000000000000000001/0000000007.log",
            "wal/6920f00d000000000000000000000001/7.log",
            "wal/+920f00d000000000000000000000001/0000000007.log",
            "cat/3/00000000000000000000000000000001.cut",
            "cat/all/00000000000000000000000000000001.cut",
            "cat/003/00000000000000000000000000000001.ckp",
            "node/../x.json",
            "node/.json",
            "format",
            "FORMAT/",
            "readme.txt",
        ] {
            assert_eq!(ObjectName::parse(foreign), None, "{foreign}");
        }
    }
}
