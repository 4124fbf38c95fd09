//! The life of `onggi import`: a text and a Prometheus' blocks, broken off by SIGKILL and begun again.
//!
//! On each image the import is taken up once more, and then everything is there once. What an
//! interrupted import has reported, a server finds without that.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::disk::Disk;
use super::history::{Change, Contents, History, ask};
use super::life::{Recorded, Recorder, with_flags};
use crate::support::eventually;
use crate::support::http::Client;
use crate::support::server::{Options, Server};

const SELECTOR: &str = "{__name__=~\"crash_.*|backfill_.*\"}";
const FLAGS: &[&str] = &["--storage.retention=100y"];
/// Of the imports; epochs are so small that there are several.
const IMPORT_FLAGS: [&str; 4] = [
    "--storage.retention=100y",
    "--storage.log-file-bytes=131072",
    "--storage.epoch-max-bytes=16384",
    "--storage.epoch-max-age=1s",
];
/// Batches of the text: an import hands on two mebibytes at once.
const BATCHES: usize = 3;
const LINES_OF_BATCH: usize = 2100;
const SERIES: usize = 30;
/// Every label of the text is as long as that many samples would be in the log.
const FILLER_BYTES: usize = 1000;
const TEXT_START_S: usize = 1_690_000_000;
/// All samples are of this time.
const TIMES_MS: (i64, i64) = (TEXT_START_S as i64 * 1000 - 1, 1_700_100_000_000);

/// What is imported.
pub struct Import {
    text: PathBuf,
    blocks: Vec<PathBuf>,
}

pub fn record(root: &Path) -> Recorded {
    let import = Import::new(root);
    let recorder = Recorder::new(root);
    let mut history = History::default();
    let [text, blocks @ ..] = &import.contents_by_source(root)[..] else { panic!("no sources") };

    let text = history.ask(0, Change::Write(text.clone()));
    let blocks: Vec<usize> = blocks.iter().map(|of| history.ask(0, Change::Write(of.clone()))).collect();
    // Broken off when about two thirds of the text have gone in.
    let mut first = import.start_with_pipe(&recorder);
    let broken_off = LINES_OF_BATCH * BATCHES * 2 / 3;
    feed(&mut first, &import.lines(), 0..broken_off);
    let database = recorder.data().join("db");
    let has_parts = || {
        let mut files = fs::read_dir(&database).unwrap();
        files.any(|file| file.unwrap().path().extension().is_some_and(|extension| extension == "sst"))
    };
    assert!(eventually(Duration::from_secs(60), has_parts), "the import has flushed nothing");
    std::thread::sleep(Duration::from_millis(500));
    first.kill().unwrap();
    first.wait().unwrap();
    let phases = vec![(0, "import"), (recorder.trace_bytes(), "resumed")];

    let mut second = import.start_with_pipe(&recorder);
    let said = BufReader::new(second.stderr.take().unwrap());
    let lines = import.lines();
    for batch in 0..BATCHES {
        feed(&mut second, &lines, batch * LINES_OF_BATCH..(batch + 1) * LINES_OF_BATCH);
    }
    drop(second.stdin.take());
    let mut blocks_done = 0;
    let mut all = String::new();
    for line in said.lines().map(Result::unwrap) {
        // A block begins when the text is durable, and is said to be there when it is.
        if line.contains(" samples of ") {
            if blocks_done == 0 {
                history.answer(text, recorder.trace_bytes());
            }
            history.answer(blocks[blocks_done], recorder.trace_bytes());
            blocks_done += 1;
        }
        all += &format!("{line}\n");
    }
    assert!(second.wait().unwrap().success() && blocks_done == blocks.len(), "{all}");

    let trace = recorder.read(&Disk::new());
    Recorded { trace, history, phases, selector: SELECTOR, flags: FLAGS, import: Some(import) }
}

/// Writes these lines into the standard input, with a pause behind them: time for a flush.
fn feed(child: &mut Child, lines: &[String], range: std::ops::Range<usize>) {
    let pipe = child.stdin.as_mut().unwrap();
    for line in &lines[range] {
        pipe.write_all(line.as_bytes()).unwrap();
    }
    pipe.flush().unwrap();
    std::thread::sleep(Duration::from_millis(400));
}

impl Import {
    fn new(root: &Path) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/backfill/blocks");
        let mut blocks: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        blocks.sort();
        let import = Self { text: root.join("text"), blocks };
        fs::write(&import.text, import.lines().concat()).unwrap();
        import
    }

    /// Lines of Prometheus' text format, series after series in turns.
    fn lines(&self) -> Vec<String> {
        let filler = "x".repeat(FILLER_BYTES);
        let line = |number: usize| {
            let (series, time_ms) = (number % SERIES, (TEXT_START_S + number / SERIES * 60) * 1000);
            format!(
                "crash_text{{series=\"{series}\",filler=\"{filler}\"}} {} {time_ms}\n",
                number as f64 / 8.0
            )
        };
        (0..BATCHES * LINES_OF_BATCH).map(line).collect()
    }

    /// What each source alone brings: each imported into a store that nobody cuts.
    fn contents_by_source(&self, root: &Path) -> Vec<Contents> {
        let sources = std::iter::once(&self.text).chain(&self.blocks).enumerate();
        let one = |(number, source): (usize, &PathBuf)| {
            let data = root.join(format!("source-{number}"));
            run(command(&data).arg("--format=prometheus").arg(source)).unwrap();
            let mut server = Server::start(&with_flags(Options::small(&data), FLAGS));
            let contents = all(&server.client());
            server.kill();
            fs::remove_dir_all(&data).unwrap();
            contents
        };
        let contents: Vec<Contents> = sources.map(one).collect();
        let samples: Vec<usize> = contents.iter().map(Contents::len).collect();
        assert_eq!(samples, [BATCHES * LINES_OF_BATCH, 7, 1]);
        contents
    }

    /// Starts it, recorded, with the text as its standard input.
    fn start_with_pipe(&self, recorder: &Recorder) -> Child {
        let mut command = command(&recorder.data);
        command.arg("--format=prometheus").arg("-").args(&self.blocks).envs(recorder.environment());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The same words again, carried to their end.
    pub fn take_up_again(&self, data: &Path) -> Result<(), String> {
        run(command(data).arg("--format=prometheus").arg(&self.text).args(&self.blocks))
    }
}

fn all(client: &Client) -> Contents {
    ask(client, SELECTOR, TIMES_MS.0, TIMES_MS.1).unwrap()
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onggi"));
    // Settings of the tests are no settings of the command.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ONGGI_")) {
        command.env_remove(name);
    }
    command.arg("import").arg(data).args(IMPORT_FLAGS);
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(format!("the import ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
