//! Databases as power cuts and worse leave them: healed and whole, or refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use super::catalogue::{Covered, PartKind};
use super::sst::SstSink;
use super::*;
use crate::model::{Metadata, MetricType, TenantId};
use crate::storage::head::metadata::Described;
use crate::storage::part::{Section, SectionSink};

/// A folder with a database, none made yet.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().expect("folder") };
        committed::write(&scene.paths().committed, 0).expect("written");
        fs::create_dir(scene.paths().database).expect("made");
        scene
    }

    /// A database that has lived: three commits, with two parts alive and one dead.
    fn with_commits() -> Self {
        let scene = Self::new();
        let database = scene.open().expect("opens");
        let mut last = None;
        for number in 1..=3 {
            let live = vec![ingest_part(&database, number)];
            let before = last.replace(live[0].clone());
            let dead = if number == 3 { before.into_iter().collect() } else { vec![] };
            let covered = Some(Covered { through: number });
            let metadata = vec![(TenantId::anonymous(), described(number as i64))];
            let batch = CatalogueBatch { live, dead, covered, metadata, ..CatalogueBatch::default() };
            commit(&database, batch);
        }
        database.drop_part(2).expect("dropped");
        scene
    }

    fn paths(&self) -> DatabasePaths {
        let path = |name| self.folder.path().join(name);
        DatabasePaths { database: path("db"), staging: path("staging"), committed: path("COMMITTED") }
    }

    fn open(&self) -> Result<Database, LocalError> {
        Database::open(&self.paths(), 1 << 20)
    }

    fn refusal(&self) -> String {
        match self.open() {
            Ok(_) => panic!("it opens"),
            Err(error) => error.to_string(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.paths().database.join(name)
    }

    /// The MANIFEST that CURRENT names.
    fn manifest(&self) -> PathBuf {
        let current = fs::read_to_string(self.file("CURRENT")).expect("CURRENT");
        self.file(current.trim())
    }

    /// The folder again, as it is at this moment.
    fn copied(&self) -> Self {
        let copy = Self { folder: tempfile::tempdir().expect("folder") };
        fs::copy(self.paths().committed, copy.paths().committed).expect("copied");
        copy_folder(&self.paths().database, &copy.paths().database);
        copy
    }

    /// It opens and holds what [`Scene::with_commits`] has made.
    fn check_whole(&self) {
        let database = self.open().unwrap_or_else(|error| panic!("{error}"));
        let catalogue = database.catalogue().expect("read");
        let parts: Vec<u64> = catalogue.parts.iter().map(|part| part.number).collect();
        assert_eq!((parts, catalogue.covered.through), (vec![1, 3], 3));
        assert_eq!(catalogue.metadata, [(TenantId::anonymous(), described(3))]);
        assert_eq!(database.whole_commits().expect("whole"), 3);
        database.drop_garbage(&catalogue).expect("all parts are there");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let name = entry.expect("entry").file_name();
        fs::copy(from.join(&name), to.join(&name)).expect("copied");
    }
}

fn described(received_ms: i64) -> Described {
    let metadata = Metadata {
        metric: "up".to_owned(),
        metric_type: MetricType::Gauge,
        help: format!("help {received_ms}"),
        unit: String::new(),
    };
    Described { received_ms, metadata }
}

fn ingest_part(database: &Database, number: u64) -> PartEntry {
    let mut sink = SstSink::fresh(database, number);
    for section in [Section::Header, Section::Floats] {
        for key in 0..20u64 {
            sink.put(section, &key.to_be_bytes(), &[number as u8; 100]).expect("put");
        }
    }
    let (files, bytes) = sink.finish().expect("finished");
    database.ingest(files).expect("ingested");
    PartEntry {
        number,
        level: 0,
        kind: PartKind::Late,
        min_ms: 0,
        max_ms: 1,
        rows: 20,
        float_samples: 20,
        histogram_samples: 0,
        exemplars: 0,
        bytes,
        first_file: number,
        last_file: number,
        created_ms: 0,
        run: number,
        erased: 0,
    }
}

fn commit(database: &Database, batch: CatalogueBatch) {
    database.commit(&[&batch]).expect("committed");
}

fn append(path: &Path, tail: &[u8]) {
    let mut content = fs::read(path).expect("read");
    content.extend_from_slice(tail);
    fs::write(path, content).expect("written");
}

#[test]
fn a_torn_tail_of_the_manifest_is_cut_off() {
    let torn_tails: [&[u8]; 5] =
        [&[0; 512], &[1, 2, 3], &[0xff; 700], &[0; 70_000], b"\0\0\0\0\0\0\0then more"];
    let lived = Scene::with_commits();
    for tail in torn_tails {
        let scene = lived.copied();
        append(&scene.manifest(), tail);
        scene.check_whole();
        scene.check_whole();
    }
}

/// What a power cut makes of records that no sync covered: any of their sectors may be missing.
#[test]
fn records_after_the_last_commit_may_be_missing_in_any_part() {
    let scene = Scene::with_commits();
    // Open again and again, so that the tail is written by a living database.
    let database = scene.open().expect("opens");
    let (manifest, synced) = (scene.manifest(), fs::read(scene.manifest()).expect("read").len());
    for number in 4..9 {
        ingest_part(&database, number);
    }
    let whole = fs::read(&manifest).expect("read");
    assert!(whole.len() > synced + 100, "the tail is worth a test");
    for hole in (synced..whole.len()).step_by(37) {
        for bytes in [1, 64, 512] {
            let image = scene.copied();
            let mut torn = whole.clone();
            torn[hole..whole.len().min(hole + bytes)].iter_mut().for_each(|byte| *byte = 0);
            fs::write(image.manifest(), torn).expect("written");
            image.check_whole();
        }
    }
}

#[test]
fn a_current_without_its_manifest_leads_back_to_the_one_before() {
    let scene = Scene::with_commits();
    let (manifest, before) = (scene.manifest(), fs::read(scene.manifest()).expect("read"));
    drop(scene.open().expect("opens, and makes a new MANIFEST"));
    assert_ne!(scene.manifest(), manifest);
    fs::remove_file(scene.manifest()).expect("removed");
    fs::write(&manifest, &before).expect("written");
    // A half-made one of another start stands beside it.
    fs::write(scene.file("MANIFEST-000999"), &before[..before.len() / 2]).expect("written");
    scene.copied().check_whole();

    for current in ["", "MANIFEST-", "MANIFEST-000998\n", "nonsense", "\u{fffd}\n"] {
        let image = scene.copied();
        fs::write(image.file("CURRENT"), current).expect("written");
        image.check_whole();
    }
    fs::write(scene.file("CURRENT"), [0xff, 0xfe]).expect("written");
    scene.copied().check_whole();
    fs::remove_file(scene.file("CURRENT")).expect("removed");
    scene.copied().check_whole();
}

/// A power cut in the middle of the repair: each step leaves a folder that is repaired again.
#[test]
fn a_repair_that_was_interrupted_is_repeated() {
    let scene = Scene::with_commits();
    let whole = fs::read(scene.manifest()).expect("read");
    append(&scene.manifest(), &[7; 30]);

    let image = scene.copied();
    fs::write(image.file("CURRENT.new"), "MANI").expect("written");
    fs::write(durable_temporary(&image.manifest()), &whole[..10]).expect("written");
    fs::create_dir_all(image.paths().staging.join("recovery")).expect("made");
    fs::write(image.paths().staging.join("recovery/CURRENT"), "x").expect("written");
    image.check_whole();

    let image = scene.copied();
    fs::write(image.manifest(), &whole).expect("written");
    fs::write(image.file("CURRENT"), "MANIFEST-000000\n").expect("written");
    image.check_whole();
}

fn durable_temporary(path: &Path) -> PathBuf {
    crate::storage::durable::temporary(path)
}

#[test]
fn a_flipped_bit_in_the_manifest_is_healed_completely_or_an_error() {
    let scene = Scene::with_commits();
    let whole = fs::read(scene.manifest()).expect("read");
    let (mut healed, mut refused) = (0, 0);
    for byte in (0..whole.len()).step_by(23) {
        let image = scene.copied();
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(image.manifest(), flipped).expect("written");
        match image.open() {
            Ok(database) => {
                drop(database);
                image.check_whole();
                healed += 1;
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("commit 3") && error.contains("MANIFEST-"), "byte {byte}: {error}");
                // Nothing was deleted: with the right MANIFEST all is there.
                fs::write(image.manifest(), &whole).expect("written");
                image.check_whole();
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{healed} healed, {refused} refused");
}

#[test]
fn a_database_that_was_rolled_back_is_refused_though_it_opens() {
    let scene = Scene::with_commits();
    let older = scene.copied();
    let database = scene.open().expect("opens");
    commit(&database, CatalogueBatch::default());
    drop(database);
    fs::copy(scene.paths().committed, older.paths().committed).expect("copied");

    let error = older.refusal();
    assert!(error.contains("commit 4") && error.contains("ends with commit 3"), "{error}");

    fs::remove_dir_all(older.paths().database).expect("removed");
    fs::create_dir(older.paths().database).expect("made");
    let error = older.refusal();
    assert!(error.contains("commit 4") && error.contains("db"), "{error}");
    assert_eq!(fs::read_dir(older.paths().database).expect("listed").count(), 0, "an empty one was made");
}

#[test]
fn a_missing_sst_file_of_a_live_part_is_refused() {
    let scene = Scene::with_commits();
    let live = scene.open().expect("opens").db.live_files().expect("listed");
    assert!(live.len() >= 4, "two parts, and catalogue and metadata: {live:?}");
    for name in live.iter().map(|file| file.name.trim_start_matches('/')) {
        let image = scene.copied();
        fs::remove_file(image.file(name)).expect("removed");
        let error = image.refusal();
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn a_commit_that_was_flushed_and_not_noted_counts_and_is_noted_at_the_next_start() {
    let scene = Scene::with_commits();
    committed::write(&scene.paths().committed, 2).expect("written");

    scene.check_whole();

    assert_eq!(committed::read(&scene.paths().committed).expect("read"), 3);
    let database = scene.open().expect("opens");
    commit(&database, CatalogueBatch::default());
    assert_eq!(committed::read(&scene.paths().committed).expect("read"), 4);
}

#[test]
fn a_database_without_a_commit_is_made_anew_whatever_is_left_of_it() {
    let scene = Scene::new();
    let database = scene.open().expect("opens");
    ingest_part(&database, 1);
    let half = scene.copied();
    drop(database);
    let check = |damage: &dyn Fn(&Scene)| {
        let image = half.copied();
        damage(&image);
        let database = image.open().expect("opens");
        assert!(database.catalogue().expect("read").parts.is_empty());
        ingest_part(&database, 1);
    };
    check(&|_| ());
    check(&|image| fs::remove_file(image.manifest()).expect("removed"));
    check(&|image| fs::write(image.manifest(), "").expect("written"));
    check(&|image| append(&image.manifest(), b"torn"));
    check(&|image| fs::remove_file(image.file("CURRENT")).expect("removed"));
}
