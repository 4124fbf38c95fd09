//! Merges that fail, at each step: everything is as it was, nothing stays behind, and the merge is
//! repeated.
//!
//! The faults are real ones: a device that is always full where a file is about to be written, a file
//! that is gone, something that stands where a file is about to be created.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;

/// A store with merges due, the first of which splits late parts into several outputs.
struct Scene {
    folder: tempfile::TempDir,
    store: Store,
    job: Job,
    want: (Vec<SeriesBits>, (String, String)),
    levels: Vec<u8>,
}

impl Scene {
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open_quiet(&options(folder.path()));
        append_days(&store);
        let job = store.jobs(true).remove(0);
        assert!(job.outputs.len() > 2, "{job:?}");
        let (want, levels) = ((store.all(), rest(&store)), store.levels());
        Self { folder, store, job, want, levels }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the merge is going to write an output.
    fn staged(&self, output: usize) -> PathBuf {
        let part = self.store.storage.alone().engine.take_part_numbers(0) + output as u64;
        self.path(&format!("staging/part-{part}-0.sst"))
    }

    fn check_as_it_was(&self, fault: &str) {
        assert_eq!((self.store.all(), rest(&self.store)), self.want, "{fault}");
        assert_eq!(self.store.levels(), self.levels, "{fault}");
        assert_eq!(staged_files(self.folder.path()).len(), 0, "{fault}");
    }

    /// The merge meets the fault, at its beginning or at a step, and is repeated once that is mended.
    fn check(self, fault: &str, at: Option<Step>, install: impl Fn(&Self), mend: impl Fn(&Self)) {
        if at.is_none() {
            install(&self);
        }
        let engine = &self.store.storage.alone().engine;
        for _attempt in 0..2 {
            let result = match at {
                None => execute(engine, &self.job, &mut Unpaced),
                Some(step) => {
                    let install = || {
                        install(&self);
                        true
                    };
                    execute(engine, &self.job, &mut Once::at(step, install))
                }
            };
            assert!(matches!(result, Err(MergeError::Storage(_))), "{fault}: {result:?}");
            self.check_as_it_was(fault);
            if at.is_none() {
                // It stood where the first attempt would have written.
                break;
            }
        }
        mend(&self);

        assert_eq!(self.store.jobs(true).first(), Some(&self.job), "{fault}: the same is due");
        assert!(execute(engine, &self.job, &mut Unpaced).expect(fault), "{fault}");
        self.store.merge_all();

        assert_eq!((self.store.all(), rest(&self.store)), self.want, "{fault}");
        assert_eq!(self.store.garbage(), (0, 0), "{fault}");
        assert!(self.store.jobs(true).is_empty(), "{fault}");
        let Self { folder, store, want, .. } = self;
        drop(store);
        let store = Store::open_quiet(&options(folder.path()));
        assert_eq!((store.all(), rest(&store)), want, "{fault}");
    }
}

fn staged_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("staging")).expect("staging");
    files.map(|entry| entry.expect("listed").path()).collect()
}

fn nothing(_: &Scene) {}

#[test]
fn a_disk_that_is_full_for_the_first_output_of_a_merge() {
    let install = |scene: &Scene| symlink("/dev/full", scene.staged(0)).expect("in the way");
    Scene::set().check("first output", None, install, nothing);
}

#[test]
fn a_disk_that_is_full_for_the_last_output_of_a_merge() {
    let install = |scene: &Scene| {
        symlink("/dev/full", scene.staged(scene.job.outputs.len() - 1)).expect("in the way");
    };
    Scene::set().check("last output", None, install, nothing);
}

#[test]
fn outputs_that_the_database_does_not_take() {
    let install = |scene: &Scene| {
        let files = staged_files(scene.folder.path());
        fs::remove_file(files.last().expect("outputs")).expect("removed");
    };
    Scene::set().check("ingestion", Some(Step::Written), install, nothing);

    let install = |scene: &Scene| {
        let files = staged_files(scene.folder.path());
        fs::write(files.first().expect("outputs"), "no SST file").expect("written");
    };
    Scene::set().check("damaged output", Some(Step::Written), install, nothing);
}

#[test]
fn a_commit_of_a_merge_that_cannot_be_finished() {
    let in_the_way = |scene: &Scene| scene.path("COMMITTED.new");
    let install = |scene: &Scene| {
        if !in_the_way(scene).exists() {
            fs::create_dir(in_the_way(scene)).expect("in the way");
        }
    };
    let mend = |scene: &Scene| fs::remove_dir(in_the_way(scene)).expect("removed");
    Scene::set().check("commit", Some(Step::Ingested), install, mend);
}

/// Where the database may write its next files.
fn next_tables(scene: &Scene) -> Vec<PathBuf> {
    let files =
        fs::read_dir(scene.path("db")).expect("listed").map(|entry| entry.expect("listed").file_name());
    let numbers = files.filter_map(|name| {
        let digits: String = name.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    });
    let last = numbers.max().expect("files");
    (last + 1..last + 20).map(|number| scene.path(&format!("db/{number:06}.sst"))).collect()
}

/// RocksDB takes nothing more after that until it is opened anew; what is there is read all the same.
#[test]
fn a_catalogue_that_cannot_be_flushed_behind_a_merge() {
    let scene = Scene::set();
    let engine = &scene.store.storage.alone().engine;
    let install = || {
        for path in next_tables(&scene) {
            symlink("/dev/full", path).expect("in the way");
        }
        true
    };

    let result = execute(engine, &scene.job, &mut Once::at(Step::Ingested, install));

    let Err(MergeError::Storage(error)) = result else { panic!("{result:?}") };
    assert!(error.to_string().contains("No space left"), "{error}");
    scene.check_as_it_was("catalogue");
    for entry in fs::read_dir(scene.path("db")).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_symlink() {
            fs::remove_file(path).expect("removed");
        }
    }
    let Scene { folder, store, job, want, levels } = scene;
    drop(store);
    let store = Store::open_quiet(&options(folder.path()));
    assert_eq!(
        (store.all(), rest(&store), store.levels(), store.garbage()),
        (want.0.clone(), want.1.clone(), levels, (0, 0))
    );
    assert_eq!(store.jobs(true).first().map(|job| &job.inputs), Some(&job.inputs), "the same is due");
    store.merge_all();
    assert_eq!((store.all(), rest(&store), store.garbage()), (want.0, want.1, (0, 0)));
}

#[test]
fn whoever_settles_is_told_that_a_merge_failed_and_settles_once_it_can_succeed() {
    let scene = Scene::set();
    let Scene { folder, want, .. } = scene;
    drop(scene.store);
    let store = Store::open(options(folder.path()));
    // Whatever number the merge takes by now.
    let first = store.storage.alone().engine.take_part_numbers(0);
    for part in first..first + 200 {
        symlink("/dev/full", folder.path().join(format!("staging/part-{part}-0.sst"))).expect("in the way");
    }

    let error = store.runtime.block_on(store.storage.settle()).expect_err("no merge can succeed");

    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(store.storage.stats().merge_failures > 0);
    assert_eq!((store.all(), rest(&store)), want);
    for path in staged_files(folder.path()) {
        // The merger tries again meanwhile, and takes its own away.
        let removed = fs::remove_file(path);
        assert!(removed.is_ok() || removed.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
    }
    store.settle();
    let stats = store.storage.stats();
    assert_eq!(stats.parts_by_level, [0, 0, stats.parts]);
    assert_eq!((store.all(), rest(&store), store.garbage()), (want.0, want.1, (0, 0)));
}
