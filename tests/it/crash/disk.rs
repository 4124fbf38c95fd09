//! A disk that can lose its power: what survives of the recorded changes.
//!
//! The model promises no more than POSIX does. Of a file, what an `fsync` or `fdatasync` of that
//! file covered is there; of a directory, the entries that an `fsync` of that directory covered.
//! ext4 and XFS promise more (an `fsync` of a new file keeps its entry, renames keep their order);
//! a server that survives this disk survives those too. What was not covered may be there or not,
//! and of a write any sectors of 512 bytes: [`Survival`] says which choice an image makes. Nothing is
//! granted that RocksDB would like to have: a CURRENT may name a MANIFEST that is not there, and a
//! MANIFEST may have holes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::trace::Op;
use crate::support::random::Random;

const SECTOR_BYTES: usize = 512;
const CREATE: i64 = libc::O_CREAT as i64;
const TRUNCATE: i64 = libc::O_TRUNC as i64;

/// What an image keeps of the changes that no sync covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Survival {
    /// Nothing: neither data nor names.
    Synced,
    /// All names, no data: a file system that writes its metadata first.
    Names,
    /// All data and all names: the power was kept, the process was not.
    All,
    /// Any subset of names and of sectors, by a seed.
    Some(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Rc<Vec<u8>> },
    Truncate(u64),
    Allocate(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add {
        name: String,
        inode: usize,
    },
    Remove {
        name: String,
    },
    /// Within one directory a rename happens wholly or not at all.
    Rename {
        from: String,
        to: String,
        inode: usize,
    },
}

type Entries = BTreeMap<String, usize>;

/// A file or a directory: what is durable, and the changes since, each with its number.
#[derive(Clone)]
struct Inode {
    directory: bool,
    /// Counts the changes of what is durable: equal versions are equal contents.
    version: u64,
    content: Vec<u8>,
    changes: Vec<(u64, Change)>,
    entries: Entries,
    name_changes: Vec<(u64, NameChange)>,
    /// The entries as the running process sees them.
    visible: Entries,
}

impl Inode {
    fn new(directory: bool) -> Self {
        Self {
            directory,
            version: 0,
            content: Vec::new(),
            changes: Vec::new(),
            entries: Entries::new(),
            name_changes: Vec::new(),
            visible: Entries::new(),
        }
    }
}

#[derive(Clone)]
pub struct Disk {
    /// Inode 0 is the root.
    inodes: Vec<Inode>,
    open: HashMap<i64, usize>,
    /// Syncs that have begun: their inode and the number of changes that came before.
    syncs: HashMap<i64, (usize, u64)>,
    changes: u64,
}

/// Two images with equal identities are equal.
pub type Identity = Vec<(PathBuf, usize, u64)>;

impl Disk {
    /// An empty directory that is durable itself.
    pub fn new() -> Self {
        Self { inodes: vec![Inode::new(true)], open: HashMap::new(), syncs: HashMap::new(), changes: 0 }
    }

    /// The disk after the power has come back: one of its images, which is durable now.
    pub fn after_power_cut(&self, survival: Survival) -> Self {
        let mut after = Self::new();
        let mut places = HashMap::from([(PathBuf::new(), 0)]);
        self.walk(survival, |path, number, random| {
            let mut inode = Inode::new(self.inodes[number].directory);
            inode.content = content(&self.inodes[number], survival, random);
            after.inodes.push(inode);
            let place = after.inodes.len() - 1;
            places.insert(path.to_owned(), place);
            let parent = places[path.parent().expect("no entry is the root")];
            let name = path.file_name().expect("no entry is the root").to_string_lossy().into_owned();
            after.inodes[parent].entries.insert(name.clone(), place);
            after.inodes[parent].visible.insert(name, place);
            Ok(())
        })
        .expect("collecting files cannot fail");
        after
    }

    /// Applies operations, oldest first.
    pub fn replay<'a>(mut self, ops: impl IntoIterator<Item = &'a Op>) -> Result<Self, String> {
        ops.into_iter().try_for_each(|op| self.apply(op))?;
        Ok(self)
    }

    /// Applies one recorded operation.
    pub fn apply(&mut self, op: &Op) -> Result<(), String> {
        self.changes += 1;
        match op {
            Op::Start => {
                self.open.clear();
                self.syncs.clear();
            }
            Op::Open { fd, flags, directory, path } => self.open_file(*fd, *flags, *directory, path)?,
            Op::Close { fd } => drop(self.open.remove(fd)),
            Op::Dup { from, to } => drop(self.open.insert(*to, self.file(*from)?)),
            Op::Write { fd, offset, data } => {
                self.change(*fd, Change::Write { offset: *offset, data: Rc::new(data.clone()) })?;
            }
            Op::Truncate { fd, size } => self.change(*fd, Change::Truncate(*size))?,
            Op::Allocate { fd, size } => self.change(*fd, Change::Allocate(*size))?,
            Op::SyncBegin { fd, number } => {
                let inode = self.file(*fd)?;
                self.syncs.insert(*number, (inode, self.changes));
            }
            Op::SyncEnd { number, .. } => {
                let (inode, before) = self.syncs.remove(number).ok_or("a sync ended that had not begun")?;
                self.make_durable(inode, before);
            }
            Op::Rename { from, to } => self.rename(from, to)?,
            Op::Link { from, to } => {
                let inode =
                    self.look_up(from).ok_or_else(|| format!("link of unknown {}", from.display()))?;
                self.add(to, inode)?;
            }
            Op::Unlink { path } | Op::RemoveDirectory { path } => self.remove(path)?,
            Op::MakeDirectory { path } => {
                self.inodes.push(Inode::new(true));
                self.add(path, self.inodes.len() - 1)?;
            }
        }
        Ok(())
    }

    fn open_file(&mut self, fd: i64, flags: i64, directory: bool, path: &Path) -> Result<(), String> {
        let inode = match self.look_up(path) {
            Some(inode) => inode,
            None if flags & CREATE != 0 => {
                self.inodes.push(Inode::new(directory));
                let inode = self.inodes.len() - 1;
                self.add(path, inode)?;
                inode
            }
            None => return Err(format!("open of {}, which nobody has created", path.display())),
        };
        self.open.insert(fd, inode);
        if flags & TRUNCATE != 0 {
            self.change(fd, Change::Truncate(0))?;
        }
        Ok(())
    }

    fn file(&self, fd: i64) -> Result<usize, String> {
        self.open.get(&fd).copied().ok_or_else(|| format!("descriptor {fd} is not open"))
    }

    fn change(&mut self, fd: i64, change: Change) -> Result<(), String> {
        let inode = self.file(fd)?;
        self.inodes[inode].changes.push((self.changes, change));
        Ok(())
    }

    fn look_up(&self, path: &Path) -> Option<usize> {
        path.iter()
            .try_fold(0, |inode, name| self.inodes[inode].visible.get(&*name.to_string_lossy()).copied())
    }

    fn parent(&self, path: &Path) -> Result<(usize, String), String> {
        let name = path.file_name().ok_or("the root is changed")?.to_string_lossy().into_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = self.look_up(parent).ok_or_else(|| format!("no directory for {}", path.display()))?;
        Ok((parent, name))
    }

    fn add(&mut self, path: &Path, inode: usize) -> Result<(), String> {
        let (parent, name) = self.parent(path)?;
        self.inodes[parent].visible.insert(name.clone(), inode);
        self.inodes[parent].name_changes.push((self.changes, NameChange::Add { name, inode }));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<(), String> {
        let (parent, name) = self.parent(path)?;
        if self.inodes[parent].visible.remove(&name).is_none() {
            return Err(format!("{} is removed and was not there", path.display()));
        }
        self.inodes[parent].name_changes.push((self.changes, NameChange::Remove { name }));
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), String> {
        let inode = self.look_up(from).ok_or_else(|| format!("rename of unknown {}", from.display()))?;
        let ((parent, old), (new_parent, new)) = (self.parent(from)?, self.parent(to)?);
        if parent != new_parent {
            self.add(to, inode)?;
            return self.remove(from);
        }
        let directory = &mut self.inodes[parent];
        directory.visible.remove(&old);
        directory.visible.insert(new.clone(), inode);
        directory.name_changes.push((self.changes, NameChange::Rename { from: old, to: new, inode }));
        Ok(())
    }

    /// What came before the sync began is durable from now on.
    fn make_durable(&mut self, inode: usize, before: u64) {
        let inode = &mut self.inodes[inode];
        let covered = inode.changes.partition_point(|(number, _)| *number < before);
        let names_covered = inode.name_changes.partition_point(|(number, _)| *number < before);
        if covered + names_covered > 0 {
            inode.version += 1;
        }
        for (_, change) in inode.changes.drain(..covered) {
            apply_change(&mut inode.content, &change);
        }
        for (_, change) in inode.name_changes.drain(..names_covered) {
            apply_name_change(&mut inode.entries, &change);
        }
    }

    /// Everything that decides the content of the image for [`Survival::Synced`] and
    /// [`Survival::Names`].
    pub fn identity(&self, survival: Survival) -> Identity {
        let mut identity = Vec::new();
        self.walk(survival, |path, number, _| {
            identity.push((path.to_owned(), number, self.inodes[number].version));
            Ok(())
        })
        .expect("noting paths cannot fail");
        identity
    }

    /// Writes the image into `target`, which must not exist.
    pub fn write_image(&self, survival: Survival, target: &Path) -> std::io::Result<()> {
        fs::create_dir(target)?;
        self.walk(survival, |path, number, random| {
            let inode = &self.inodes[number];
            let path = target.join(path);
            if inode.directory {
                fs::create_dir(path)
            } else {
                write_file(&path, &content(inode, survival, random))
            }
        })
    }

    /// The files of an image, by path, with their contents.
    pub fn files(&self, survival: Survival) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.walk(survival, |path, number, random| {
            if !self.inodes[number].directory {
                files.insert(path.to_owned(), content(&self.inodes[number], survival, random));
            }
            Ok(())
        })
        .expect("collecting files cannot fail");
        files
    }

    /// Visits all names of an image, directories before what is in them.
    fn walk(
        &self,
        survival: Survival,
        mut visit: impl FnMut(&Path, usize, &mut Random) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut random = Random::new(if let Survival::Some(seed) = survival { seed } else { 0 });
        let mut directories = vec![(PathBuf::new(), 0)];
        while let Some((path, directory)) = directories.pop() {
            for (name, number) in entries(&self.inodes[directory], survival, &mut random) {
                let path = path.join(name);
                visit(&path, number, &mut random)?;
                if self.inodes[number].directory {
                    directories.push((path, number));
                }
            }
        }
        Ok(())
    }
}

fn entries(inode: &Inode, survival: Survival, random: &mut Random) -> Entries {
    match survival {
        Survival::Synced => inode.entries.clone(),
        Survival::Names | Survival::All => inode.visible.clone(),
        Survival::Some(_) => {
            let mut entries = inode.entries.clone();
            for (_, change) in inode.name_changes.iter().filter(|_| random.chance(60)) {
                apply_name_change(&mut entries, change);
            }
            entries
        }
    }
}

fn content(inode: &Inode, survival: Survival, random: &mut Random) -> Vec<u8> {
    let mut content = inode.content.clone();
    match survival {
        Survival::Synced | Survival::Names => {}
        Survival::All => inode.changes.iter().for_each(|(_, change)| apply_change(&mut content, change)),
        Survival::Some(_) => {
            for (_, change) in &inode.changes {
                if random.chance(70) {
                    apply_torn(&mut content, change, random);
                }
            }
        }
    }
    content
}

fn apply_change(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => write_at(content, *offset as usize, data),
        Change::Truncate(size) => content.resize(*size as usize, 0),
        Change::Allocate(size) => content.resize(content.len().max(*size as usize), 0),
    }
}

/// Of half of the writes only some sectors; the file is as long as it would be with all of them.
fn apply_torn(content: &mut Vec<u8>, change: &Change, random: &mut Random) {
    let Change::Write { offset, data } = change else { return apply_change(content, change) };
    if random.chance(50) {
        return apply_change(content, change);
    }
    let (start, end) = (*offset as usize, *offset as usize + data.len());
    content.resize(content.len().max(end), 0);
    let mut at = start;
    while at < end {
        let sector_end = end.min((at / SECTOR_BYTES + 1) * SECTOR_BYTES);
        if random.chance(50) {
            write_at(content, at, &data[at - start..sector_end - start]);
        }
        at = sector_end;
    }
}

fn write_at(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    content.resize(content.len().max(offset + data.len()), 0);
    content[offset..offset + data.len()].copy_from_slice(data);
}

fn apply_name_change(entries: &mut Entries, change: &NameChange) {
    match change {
        NameChange::Add { name, inode } => {
            entries.insert(name.clone(), *inode);
        }
        NameChange::Remove { name } => {
            entries.remove(name);
        }
        NameChange::Rename { from, to, inode } => {
            if entries.get(from) == Some(inode) {
                entries.remove(from);
            }
            entries.insert(to.clone(), *inode);
        }
    }
}

/// Writes a file whose zeros at the end, the preallocated part, take no room.
fn write_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let file = File::create(path)?;
    let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    file.write_all_at(&content[..used], 0)?;
    file.set_len(content.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(ops: &[Op]) -> Disk {
        Disk::new().replay(ops).unwrap()
    }

    fn text_of(disk: &Disk, survival: Survival) -> String {
        let files = disk.files(survival).into_iter();
        let one = |(path, content): (PathBuf, Vec<u8>)| {
            format!("{}={}", path.display(), String::from_utf8_lossy(&content))
        };
        files.map(one).collect::<Vec<_>>().join(" ")
    }

    fn open(fd: i64, path: &str, flags: i64, directory: bool) -> Op {
        Op::Open { fd, flags, directory, path: path.into() }
    }

    fn write(fd: i64, offset: u64, data: &str) -> Op {
        Op::Write { fd, offset, data: data.as_bytes().to_vec() }
    }

    fn sync(fd: i64, number: i64) -> [Op; 2] {
        [Op::SyncBegin { fd, number }, Op::SyncEnd { fd, number }]
    }

    #[test]
    fn a_file_is_there_once_file_and_directory_are_synced() {
        let mut ops = vec![open(3, "", 0, true), open(4, "a", CREATE, false), write(4, 0, "one")];
        assert_eq!(text_of(&replay(&ops), Survival::Synced), "");
        assert_eq!(text_of(&replay(&ops), Survival::Names), "a=");
        assert_eq!(text_of(&replay(&ops), Survival::All), "a=one");

        ops.extend(sync(4, 1));
        assert_eq!(text_of(&replay(&ops), Survival::Synced), "");
        assert_eq!(text_of(&replay(&ops), Survival::Names), "a=one");

        ops.extend(sync(3, 2));
        assert_eq!(text_of(&replay(&ops), Survival::Synced), "a=one");
    }

    #[test]
    fn a_sync_covers_only_what_came_before_it_began() {
        let begin = Op::SyncBegin { fd: 4, number: 1 };
        let end = Op::SyncEnd { fd: 4, number: 1 };
        let ops = [open(4, "a", CREATE, false), write(4, 0, "one"), begin, write(4, 3, "two"), end];

        assert_eq!(text_of(&replay(&ops), Survival::Names), "a=one");
    }

    #[test]
    fn a_rename_without_a_sync_of_the_directory_leaves_the_old_name() {
        let mut ops = vec![open(3, "", 0, true), open(4, "a", CREATE, false), write(4, 0, "one")];
        ops.extend(sync(4, 1));
        ops.extend(sync(3, 2));
        ops.push(Op::Rename { from: "a".into(), to: "b".into() });
        assert_eq!(text_of(&replay(&ops), Survival::Synced), "a=one");
        assert_eq!(text_of(&replay(&ops), Survival::All), "b=one");

        ops.extend(sync(3, 3));
        assert_eq!(text_of(&replay(&ops), Survival::Synced), "b=one");
    }

    #[test]
    fn any_of_the_changes_since_a_sync_may_be_missing() {
        let mut ops = vec![open(3, "", 0, true), open(4, "MANIFEST", CREATE, false), write(4, 0, "one")];
        ops.extend(sync(4, 1));
        ops.push(open(5, "tmp", CREATE, false));
        ops.push(Op::Rename { from: "tmp".into(), to: "CURRENT".into() });
        ops.extend([write(4, 3, &"x".repeat(600)), write(4, 603, &"y".repeat(600))]);
        let disk = replay(&ops);
        let images: Vec<_> = (0..200).map(|seed| disk.files(Survival::Some(seed))).collect();
        let any = |holds: fn(&BTreeMap<PathBuf, Vec<u8>>) -> bool| images.iter().any(holds);

        assert!(any(|image| image.contains_key(Path::new("CURRENT")) && image.len() == 1));
        assert!(any(|image| image.contains_key(Path::new("MANIFEST")) && image.len() == 1));
        let hole = |content: &Vec<u8>| content.contains(&0) && content.ends_with(b"y");
        assert!(images.iter().filter_map(|image| image.get(Path::new("MANIFEST"))).any(hole));
        for content in images.iter().filter_map(|image| image.get(Path::new("MANIFEST"))) {
            assert!(content.starts_with(b"one"), "what was synced is there");
        }
    }

    #[test]
    fn after_a_power_cut_what_is_left_is_durable_and_may_be_changed_again() {
        let directory = Op::MakeDirectory { path: "d".into() };
        let mut ops =
            vec![open(3, "", 0, true), directory, open(4, "d/a", CREATE, false), write(4, 0, "one")];
        ops.extend(sync(4, 1));
        ops.push(write(4, 3, "two"));
        let after = replay(&ops).after_power_cut(Survival::Names);
        assert_eq!(text_of(&after, Survival::Synced), "d/a=one");

        let after = after.replay(&[Op::Start, open(3, "d/a", 0, false), write(3, 3, "six")]).unwrap();
        assert_eq!(text_of(&after, Survival::Synced), "d/a=one");
        assert_eq!(text_of(&after, Survival::All), "d/a=onesix");
    }

    #[test]
    fn an_unlink_without_a_sync_of_the_directory_comes_back() {
        let mut ops = vec![open(3, "", 0, true), open(4, "a", CREATE, false), write(4, 0, "one")];
        ops.extend(sync(4, 1));
        ops.extend(sync(3, 2));
        ops.push(Op::Unlink { path: "a".into() });

        assert_eq!(text_of(&replay(&ops), Survival::Synced), "a=one");
        assert_eq!(text_of(&replay(&ops), Survival::Names), "");
    }
}
