//! `onggi bucket`: a bucket that a replica wrote is looked at while it runs and while it is away, damage is named, and
//! a segment that cannot be read is given up. And replicas that only read, now or in the past.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use super::support::files::read_tree;
use super::support::server::{self, Options, Server};
use super::support::wire::{Protocol, TimeSeries};
use super::support::{eventually, now_ms};

const SERIES: i64 = 50;
/// Until what was written is in blocks.
const CUT_WITHIN: Duration = Duration::from_secs(90);

struct Bucket {
    folder: PathBuf,
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    out: String,
    problem: String,
}

impl Bucket {
    fn url(&self) -> String {
        format!("file://{}", self.folder.display())
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Said {
        let mut onggi = server::command(env!("CARGO_BIN_EXE_onggi"));
        onggi.args(["bucket", command, "--bucket.url", &self.url()]).args(arguments);
        let Output { status, stdout, stderr } = onggi.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { status: status.code(), out: text(stdout), problem: text(stderr) }
    }

    /// Keys that begin with this, in order.
    fn objects(&self, prefix: &str) -> Vec<String> {
        let name = |path: &Path| path.to_string_lossy().into_owned();
        let all = read_tree(&self.folder).into_keys().map(|path| name(&path));
        all.filter(|path| path.starts_with(prefix)).collect()
    }
}

fn replica(data: &Path, bucket: &Bucket, cut_interval: &str) -> Options {
    Options::new(data)
        .flag(&format!("--bucket.url={}", bucket.url()))
        .flag("--replica.name=a")
        .flag("--bucket.flush-interval=50ms")
        .flag("--bucket.heartbeat-interval=1s")
        .flag("--bucket.refresh-interval=1s")
        .flag("--bucket.sweep-interval=1s")
        .flag(&format!("--bucket.cut-interval={cut_interval}"))
}

fn write(server: &Server, round: i64) {
    let at_ms = now_ms() - 60_000 + round * 1000;
    let series = |number: i64| {
        TimeSeries::new("looked_at", &[("target", &*number.to_string())], vec![(at_ms, number as f64)])
    };
    let batch: Vec<TimeSeries> = (0..SERIES).map(series).collect();
    assert_eq!(server.client().write(Protocol::V2, &batch).unwrap().status, 204);
}

#[test]
fn a_bucket_that_is_not_there_is_not_made_and_one_of_another_format_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket { folder: directory.path().join("bucket") };
    let pulled = directory.path().join("pulled");
    let path = format!("--storage.path={}", pulled.display());
    let refuse = |why: &str| {
        let segment = "0123456789abcdef0123456789abcdef:1";
        for (command, argument, status) in [
            ("inspect", None, 1),
            ("lag", None, 1),
            ("cost", None, 1),
            ("verify", None, 2),
            ("accept-loss", Some(segment), 1),
            ("pull", Some(path.as_str()), 1),
        ] {
            let said = bucket.run(command, argument.as_slice());
            assert_eq!(said.status, Some(status), "{command}: {said:?}");
            assert!(
                said.problem.contains(&bucket.url()) && said.problem.contains(why),
                "{command}: {said:?}"
            );
        }
        assert!(!pulled.exists(), "nothing is pulled");
    };

    refuse("find the bucket's folder");
    assert!(!bucket.folder.exists());
    fs::create_dir(&bucket.folder).unwrap();
    fs::write(bucket.folder.join("FORMAT"), "{\"format\":2}").unwrap();
    refuse("FORMAT says format 2, this build reads format 1");
    assert_eq!(read_tree(&bucket.folder).len(), 1, "nothing is written");
}

#[test]
fn a_bucket_is_looked_at_beside_its_replica_and_damage_to_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket { folder: directory.path().join("bucket") };
    let mut server = Server::start(&replica(&directory.path().join("data"), &bucket, "1s"));
    for round in 0..5 {
        write(&server, round);
    }
    let is_cut = eventually(CUT_WITHIN, || {
        bucket.run("lag", &[]).out.contains("uncovered: nothing")
            && bucket.run("inspect", &[]).out.contains("partition ")
    });
    assert!(is_cut, "{:?}\n{}", bucket.run("lag", &[]), server.log_tail());
    let beside = bucket.run("verify", &[]);
    assert_eq!(beside.status, Some(0), "{beside:?}");

    server.kill();
    let before = read_tree(&bucket.folder);
    let whole = bucket.run("verify", &[]);
    assert_eq!((whole.status, whole.out.lines().count()), (Some(0), 1), "{whole:?}");
    assert!(whole.out.starts_with("ok: "), "{whole:?}");
    let inspected = bucket.run("inspect", &[]);
    for line in ["log ", "partition ", "window ", "catalogue: ", "replica a: ", "total: "] {
        assert!(inspected.out.lines().any(|said| said.starts_with(line)), "{line}: {inspected:?}");
    }
    assert!(bucket.run("lag", &[]).out.contains("loss window: 0s"));
    let cost = bucket.run("cost", &["--price.put=1", "--replicas", "3"]);
    assert_eq!(cost.status, Some(0), "{cost:?}");
    assert!(cost.out.contains("259200 × $1/1000 = $259.20"), "{cost:?}");
    assert!(read_tree(&bucket.folder) == before, "looking has changed something");

    let block = bucket.objects("blk/").pop().expect("there are blocks");
    let mut damaged = fs::read(bucket.folder.join(&block)).unwrap();
    damaged[7] ^= 1;
    fs::write(bucket.folder.join(&block), damaged).unwrap();
    let said = bucket.run("verify", &[]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.out.contains(&block) && said.out.contains("DAMAGED"), "{said:?}");
}

#[test]
fn a_segment_that_cannot_be_read_is_given_up_and_the_others_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket { folder: directory.path().join("bucket") };
    let options = replica(&directory.path().join("data"), &bucket, "1h");
    let mut server = Server::start(&options);
    write(&server, 0);
    write(&server, 1);
    let segments = bucket.objects("wal/");
    assert_eq!(segments.len(), 2, "{segments:?}");
    let lost = &segments[0];
    let path = bucket.folder.join(lost);
    let whole = fs::read(&path).unwrap();

    let held = bucket.run("accept-loss", &[lost]);
    assert_eq!(held.status, Some(1), "{held:?}");
    assert!(held.problem.contains("reads fine") && held.problem.contains("is up"), "{held:?}");

    server.kill();
    server.wipe();
    // Its header, and a byte of a frame: what is left of it verifies.
    let mut damaged = whole;
    damaged[3] ^= 1;
    damaged[90] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let verified = bucket.run("verify", &[]);
    assert_eq!(verified.status, Some(1), "{verified:?}");
    assert!(verified.out.contains(lost) && verified.out.contains("accept-loss"), "{verified:?}");

    server.spawn_again();
    if let Err(problem) = server.wait_ready() {
        panic!("no start waits for it: {problem}\n{}", server.log_tail());
    }
    let said = "a segment of the log cannot be read, questions are refused";
    assert!(server.log().contains(said), "{}", server.log_tail());
    let question = "count(count_over_time(looked_at[10m]))";
    let refused = server.client().ask(question, now_ms()).unwrap();
    assert!(refused.status == 503 && refused.text().contains(lost), "{}", refused.text());
    let before = server.client().ask(question, now_ms() - 3_600_000).unwrap();
    assert_eq!(before.status, 200, "it is not about that time: {}", before.text());

    let dry = bucket.run("accept-loss", &["--dry-run", lost]);
    assert_eq!(dry.status, Some(0), "{dry:?}");
    let of = |said: &Said, kind: &str| said.out.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!((of(&dry, "lost: partition"), of(&dry, "saved: partition") > 0), (1, true), "{dry:?}");
    assert!(bucket.objects("cat/").is_empty());
    let young = bucket.run("accept-loss", &[lost]);
    assert_eq!(young.status, Some(1), "{young:?}");
    assert!(young.problem.contains("older than 600 s"), "{young:?}");
    let given_up = bucket.run("accept-loss", &["--bucket.cut-interval=1ms", lost]);
    assert_eq!(given_up.status, Some(0), "{given_up:?}");

    let client = server.client().with_header("X-Read-Consistency", "strong");
    let answers = || client.ask(question, now_ms()).is_ok_and(|answer| answer.status == 200);
    assert!(eventually(CUT_WITHIN, answers), "{}", server.log_tail());
    let answered = client.query(question, now_ms()).unwrap();
    let [answered] = &answered[..] else { panic!("{answered:?}") };
    assert_eq!(answered.samples[0].1, SERIES as f64, "the other segment has all series");
    let verified = bucket.run("verify", &[]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
    let again = bucket.run("accept-loss", &[lost]);
    assert_eq!(again.status, Some(1), "{again:?}");
    assert!(again.problem.contains("given up already"), "{again:?}");
}

/// A replica that only reads.
fn reader(data: &Path, bucket: &Bucket) -> Options {
    replica(data, bucket, "1h").flag("--replica.name=reader").flag("--read-only")
}

/// All samples, as a strong read has them.
fn samples(server: &Server) -> f64 {
    let client = server.client().with_header("X-Read-Consistency", "strong");
    let answered = client.query("sum(count_over_time(looked_at[10m]))", now_ms()).unwrap();
    answered.first().map_or(0.0, |answered| answered.samples[0].1)
}

#[test]
fn a_replica_that_only_reads_follows_the_bucket_and_writes_nothing_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket { folder: directory.path().join("bucket") };
    let mut writer = Server::start(&replica(&directory.path().join("data"), &bucket, "1h"));
    write(&writer, 0);
    let mut reading = Server::start(&reader(&directory.path().join("reading"), &bucket));
    assert_eq!(samples(&reading), SERIES as f64);
    write(&writer, 1);
    assert_eq!(samples(&reading), 2.0 * SERIES as f64);

    let one = [TimeSeries::new("looked_at", &[], vec![(now_ms(), 1.0)])];
    let refused = reading.client().write(Protocol::V2, &one).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("--read-only"), "{}", refused.text());
    let delete = "/api/v1/admin/tsdb/delete_series?match[]=looked_at";
    let refused = reading.client().post(delete, &[], b"").unwrap();
    assert!(refused.status == 503 && refused.text().contains("--read-only"), "{}", refused.text());

    writer.kill();
    let before = read_tree(&bucket.folder);
    // Longer than all of its intervals.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(samples(&reading), 2.0 * SERIES as f64);
    assert!(reading.terminate().success(), "{}", reading.log_tail());
    assert!(read_tree(&bucket.folder) == before, "it has written to the bucket");
}

#[test]
fn the_past_of_a_bucket_is_shown_as_it_was_then() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = Bucket { folder: directory.path().join("bucket") };
    let mut writer = Server::start(&replica(&directory.path().join("data"), &bucket, "1h"));
    write(&writer, 0);
    let then_ms = now_ms();
    while now_ms() <= then_ms {
        std::thread::yield_now();
    }
    write(&writer, 1);
    writer.kill();
    let at = |ms: i64| format!("--at={}.{:03}", ms / 1000, ms % 1000);
    let options = reader(&directory.path().join("reading"), &bucket);

    for (ms, want) in [(now_ms(), 2.0), (then_ms, 1.0), (then_ms - 3_600_000, 0.0)] {
        let reading = Server::start(&options.clone().flag(&at(ms)));
        assert_eq!(samples(&reading), want * SERIES as f64, "at {ms}, then it was {then_ms}");
    }
}
