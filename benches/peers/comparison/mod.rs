//! Onggi, Prometheus and VictoriaMetrics side by side: the same data, the same questions, one after the other on an
//! otherwise idle machine.
//!
//! A server is seen from outside: its HTTP API, what the kernel says of its process, the size of its folder. Every
//! server gets an empty folder, takes the history as fast as it can, settles, answers the suite, takes the sequel at a
//! steady rate beside questions, is killed and starts again.
//!
//! - [`settings`]: what it is made with
//! - [`workload`]: a cluster that is scraped · [`dataset`]: its requests, encoded beforehand
//! - [`servers`]: how each is started · [`process`]: what it uses
//! - [`load`]: writes · [`questions`], [`ask`], [`answers`]: the suite · [`mixed`]: both · [`growth`]: more of both
//! - [`figures`], [`machine`], [`page`], [`plot`]: what comes of it · [`goals`]: where that leaves us
//!
//! A peer that fails is told of, and left out; a run goes on without it.

mod answers;
mod ask;
pub mod dataset;
pub mod figures;
mod goals;
mod growth;
mod load;
mod machine;
mod mixed;
mod page;
mod plot;
pub mod process;
pub mod questions;
mod servers;
mod settings;
pub mod workload;

use std::any::Any;
use std::fs;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ask::Asked;
use dataset::{Cut, Dataset};
use figures::Figure;
use page::Column;
use plot::Line;
use questions::{Question, SUITE};
use servers::Running;
use workload::Spec;

pub use servers::Kind;
pub use settings::{Growth, Settings};

use crate::support::now_ms;

const DAY_MS: i64 = 86_400_000;
/// Data ends at a midnight, so that the same windows and blocks are cut at whatever hour one runs this; and so long
/// ago that the sequel is past as well.
const SEQUEL_MAX_MS: i64 = 5 * 3_600_000;
const PAST_MS: i64 = 6 * 3_600_000;
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);
const GROWTH_BLOCK: &str = "growth";
const STANDING_BLOCK: &str = "standing";
/// Has no place on the page: rows of data sets that were run before would go.
const PARTLY_STANDING_BLOCK: &str = "standing in part";

/// What came of one server in one run: figures, and what every question cost.
type Outcome = (Vec<Figure>, Vec<Asked>);

/// Compares on every data set that the settings name, and says where that leaves us.
pub fn run_all(settings: &Settings) {
    let mut results = Vec::new();
    for of_set in settings.data_sets() {
        results.push((of_set.data_set(), run(&of_set)));
        // After each, so that who ends it early has what there is.
        let name = if goals::is_complete(&results) { STANDING_BLOCK } else { PARTLY_STANDING_BLOCK };
        publish(settings, name, &goals::block(&settings.servers, &results), None);
    }
}

/// Compares on one data set, prints the result, and puts it into the folder and onto the page.
fn run(settings: &Settings) -> Vec<Column> {
    let servers = begin(settings);
    let mut heading = machine::describe(&settings.folder);
    let end_ms = midnight_ms();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if settings.is_pinned {
        assert!(cores > 1, "a server on a processor of its own takes two processors");
        bind_this_process(1..=cores - 1);
    }
    let (columns, of_data) = compare(&servers, settings, end_ms);
    if settings.is_pinned {
        bind_this_process(0..=cores - 1);
    }
    heading.extend(of_data);
    let plot = format!("{}.svg", file_word(&settings.data_set()));
    let drawn = page::is_asked(&columns).then(|| plot_of(&columns));
    publish(settings, &settings.data_set(), &page::block(&heading, &columns, &plot), drawn.as_deref());
    columns
}

/// How costs grow with series and with history: the tables of `make growth-bench`.
pub fn grow(settings: &Settings) {
    let servers = begin(settings);
    let mut block = String::new();
    for line in machine::describe(&settings.folder) {
        block.push_str(&format!("- {line}\n"));
    }
    for kind in &servers {
        block.push_str(&format!("- {} {}\n", kind.name(), kind.version()));
    }
    block.push('\n');
    block.push_str(&growth::measure(&servers, settings, midnight_ms()));
    publish(settings, GROWTH_BLOCK, &block, None);
}

/// Makes the folder, and gives the servers that there are.
fn begin(settings: &Settings) -> Vec<Kind> {
    fs::create_dir_all(&settings.folder).unwrap();
    let servers = present(&settings.servers);
    assert!(!servers.is_empty(), "no server to look at");
    servers
}

fn midnight_ms() -> i64 {
    (now_ms() - PAST_MS) / DAY_MS * DAY_MS
}

/// The servers that are on this machine; says loudly which are not.
fn present(servers: &[Kind]) -> Vec<Kind> {
    let (present, missing): (Vec<Kind>, Vec<Kind>) =
        servers.iter().copied().partition(|kind: &Kind| kind.is_there());
    for kind in missing {
        eprintln!("\n*** SKIPPED: {} is not at {}\n", kind.name(), kind.binary().display());
    }
    present
}

/// What comes of a run; nothing, and a loud word, where another's server fails. Where ours fails, everything does.
fn unless_it_fails<T>(kind: Kind, run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => Some(outcome),
        Err(panic) if kind == Kind::Onggi => resume_unwind(panic),
        Err(panic) => {
            eprintln!("\n*** {} FAILED, the run goes on without it: {}\n", kind.name(), words_of(&*panic));
            None
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}

/// Runs everything, the servers taking turns, and gives the medians and lines about the data.
fn compare(servers: &[Kind], settings: &Settings, end_ms: i64) -> (Vec<Column>, Vec<String>) {
    let cut = Cut {
        connections: settings.connections,
        request_series: settings.request_series,
        history_cycles: settings.history_cycles(),
    };
    let spec = Spec {
        seed: settings.seed,
        series: settings.series,
        start_ms: end_ms - settings.history_cycles() as i64 * settings.interval_ms,
        interval_ms: settings.interval_ms,
        cycles: settings.history_cycles() + settings.sequel_cycles(),
        churn_percent: settings.churn_percent,
    };
    let began = Instant::now();
    let dataset = Dataset::write(&empty(&settings.folder.join("requests")), &spec, cut);
    let size = format!(
        "{} active series ({} in all), {} samples in the history, {:.1} bytes each on the wire; {} connections, \
         {} runs",
        dataset.active_series,
        dataset.series,
        dataset.history.samples,
        dataset.history.compressed_bytes as f64 / dataset.history.samples as f64,
        settings.connections,
        settings.runs
    );
    eprintln!("peers: {size}, written in {:.0} s", began.elapsed().as_secs_f64());
    let suite: Vec<Question> =
        SUITE.iter().filter(|question| question.minutes() * 60 <= settings.seconds).copied().collect();

    let mut runs: Vec<Vec<Outcome>> = servers.iter().map(|_| Vec::new()).collect();
    for run in 1..=settings.runs.max(1) {
        for (kind, runs) in servers.iter().zip(&mut runs) {
            eprintln!("peers: run {run}: {}", kind.name());
            let history_end_ms = dataset.history_end_ms(cut);
            runs.extend(unless_it_fails(*kind, || {
                of_server(*kind, &dataset, &suite, history_end_ms, settings)
            }));
        }
    }
    let mut lines = vec![size];
    for (kind, runs) in servers.iter().zip(&runs).filter(|(_, runs)| runs.len() < settings.runs.max(1)) {
        let failed = settings.runs.max(1) - runs.len();
        lines.push(format!("**{} failed in {failed} of {} runs**", kind.name(), settings.runs.max(1)));
    }
    let (servers, runs): (Vec<Kind>, Vec<Vec<Outcome>>) =
        servers.iter().copied().zip(runs).filter(|(_, runs)| !runs.is_empty()).unzip();
    let reference = servers.contains(&Kind::Prometheus).then(|| answers_of(Kind::Prometheus, settings));
    let columns = servers.iter().zip(runs).map(|(kind, runs)| {
        let (figures, asked): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        let differences = match &reference {
            Some(reference) if *kind != Kind::Prometheus && !settings.is_only_written => {
                ask::differences(&suite, reference, &answers_of(*kind, settings))
            }
            _ => Vec::new(),
        };
        Column {
            kind: *kind,
            version: kind.version(),
            figures: figures::medians(figures),
            asked: ask::medians(&asked),
            differences,
        }
    });
    (columns.collect(), lines)
}

/// One server from its start on an empty folder to its second start.
fn of_server(
    kind: Kind,
    dataset: &Dataset,
    suite: &[Question],
    history_end_ms: i64,
    settings: &Settings,
) -> Outcome {
    let mut server = Running::start(kind, &settings.folder, settings.is_pinned, &settings.flags);
    let mut figures = load::measure(&server, dataset, settings);
    if settings.is_only_written {
        return (figures, Vec::new());
    }
    let answers = empty(&answers_of(kind, settings));
    let (asked, of_suite) = ask::measure(&server, suite, history_end_ms, settings, &answers);
    figures.extend(of_suite);
    server.assert_running();
    if settings.mixed.is_zero() {
        return (figures, asked);
    }
    let (sent, of_mixed) = mixed::measure(&server, dataset, suite, history_end_ms, settings);
    figures.extend(of_mixed);
    figures.extend(restart(&mut server, sent.newest_ms.max(history_end_ms)));
    (figures, asked)
}

/// A start after SIGKILL: until it is ready, and until it answers about what was written last.
fn restart(server: &mut Running, newest_ms: i64) -> [Figure; 2] {
    let began = Instant::now();
    let ready = server.kill_and_start();
    let client = server.client();
    let is_answered = crate::support::eventually(ANSWERED_WITHIN, || {
        client.query("count(up)", newest_ms).is_ok_and(|answer| !answer.is_empty())
    });
    let answered_s = if is_answered { began.elapsed().as_secs_f64() } else { f64::NAN };
    [
        Figure::less("restart after SIGKILL: until ready, s", ready.as_secs_f64(), 2),
        Figure::less("restart after SIGKILL: until answered, s", answered_s, 2),
    ]
}

fn plot_of(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.kind.name()).collect();
    let questions = columns.first().map(|column| column.asked.as_slice()).unwrap_or_default();
    let lines: Vec<Line<'_>> = questions
        .iter()
        .enumerate()
        .map(|(at, question)| Line {
            title: question.name,
            values: columns.iter().map(|column| column.asked[at].again_ms).collect(),
        })
        .collect();
    plot::svg("Each question again, every result computed", &names, &lines, "ms")
}

/// Prints a block and puts it into the folder; and onto the page where that has a place for it.
fn publish(settings: &Settings, name: &str, block: &str, plot: Option<&str>) {
    println!("## {name}\n\n{block}");
    let mut folders = vec![settings.folder.clone()];
    let page = fs::read_to_string(&settings.page).unwrap_or_default();
    match page::with_block(&page, name, block) {
        Some(page) => {
            fs::write(&settings.page, page).unwrap();
            folders.extend(settings.page.parent().map(Path::to_owned));
        }
        None => eprintln!("peers: {} has no block of {name}", settings.page.display()),
    }
    let word = file_word(name);
    fs::write(settings.folder.join(format!("{word}.md")), block).unwrap();
    for folder in folders {
        if let Some(plot) = plot {
            fs::write(folder.join(format!("{word}.svg")), plot).unwrap();
        }
    }
    eprintln!("peers: {}", settings.folder.join(format!("{word}.md")).display());
}

fn answers_of(kind: Kind, settings: &Settings) -> PathBuf {
    settings.folder.join("answers").join(kind.word())
}

/// The folder, with nothing in it.
fn empty(folder: &Path) -> PathBuf {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    folder.to_owned()
}

/// A name of letters, digits and dashes, for a file.
fn file_word(name: &str) -> String {
    let words: Vec<&str> = name.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// Has this process run on these processors only; a pinned server has the first.
fn bind_this_process(processors: RangeInclusive<usize>) {
    let own = std::process::id().to_string();
    let list = format!("{}-{}", processors.start(), processors.end());
    let status = std::process::Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &list, &own])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "taskset is needed for a server on one processor");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_is_left_out_and_our_own_failure_is_not() {
        assert_eq!(unless_it_fails(Kind::Prometheus, || 1), Some(1));
        assert_eq!(unless_it_fails(Kind::VictoriaMetrics, || -> usize { panic!("no memory left") }), None);
        let ours = || unless_it_fails(Kind::Onggi, || -> usize { panic!("a reason") });

        let panic = catch_unwind(ours).unwrap_err();

        assert_eq!(words_of(&*panic), "a reason");
        assert_eq!(words_of(&"words".to_owned()), "words");
    }
}
