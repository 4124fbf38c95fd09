//! Asks the suite of a server at rest: each question first, again without caches of results, and again with them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::answers::Answer;
use super::figures::{Figure, geometric_mean, median};
use super::process::usage;
use super::questions::{Question, Results};
use super::servers::Running;
use super::settings::Settings;

/// A question is not asked again when that has taken so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one question cost.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: &'static str,
    pub first_ms: f64,
    /// The median of the same question again, every result computed.
    pub again_ms: f64,
    /// The same where the server may remember its results.
    pub remembered_ms: f64,
    /// Series and points of the answer, or what was answered instead.
    pub answer: Result<(usize, usize), String>,
}

/// Asks everything and keeps the answers in a folder.
pub fn ask(
    server: &Running,
    suite: &[Question],
    end_ms: i64,
    settings: &Settings,
    answers: &Path,
) -> Vec<Asked> {
    fs::create_dir_all(answers).unwrap();
    let client = server.client();
    let ask_one = |question: &Question| {
        let timed = |results: Results| {
            let began = Instant::now();
            let response = question.ask(&client, end_ms, results);
            (began.elapsed().as_secs_f64() * 1e3, response)
        };
        let repeated = |results: Results| {
            let began = Instant::now();
            let mut times = Vec::new();
            while times.is_empty() || (times.len() < settings.repeats && began.elapsed() < PATIENCE) {
                times.push(timed(results).0);
            }
            median(times)
        };
        let (first_ms, response) = timed(Results::Computed);
        let answer = response.and_then(|response| match response.status {
            200 => {
                fs::write(answers.join(file_name(question)), &response.body).unwrap();
                Answer::read(&response.body).map(|answer| (answer.series(), answer.points()))
            }
            status => Err(format!("{status}: {:.200}", response.text())),
        });
        if let Err(why) = &answer {
            eprintln!("*** {}: {}: {why}", server.kind.name(), question.name);
        }
        let again_ms = repeated(Results::Computed);
        // What is remembered has to be asked for once.
        let _ = timed(Results::MayBeCached);
        let remembered_ms = repeated(Results::MayBeCached);
        Asked { name: question.name, first_ms, again_ms, remembered_ms, answer }
    };
    suite.iter().map(ask_one).collect()
}

/// The suite in a few figures.
pub fn figures(asked: &[Asked], cpu_s: f64) -> Vec<Figure> {
    let mut figures = Vec::new();
    let times = |time_ms: fn(&Asked) -> f64| asked.iter().map(time_ms).collect::<Vec<f64>>();
    let columns = [
        ("first", times(|asked| asked.first_ms)),
        ("again, computed", times(|asked| asked.again_ms)),
        ("again, remembered", times(|asked| asked.remembered_ms)),
    ];
    for (what, times_ms) in columns {
        let mean_ms = geometric_mean(&times_ms);
        figures.push(Figure::less(&format!("suite {what}: geometric mean, ms"), mean_ms, 2));
        figures.push(Figure::less(&format!("suite {what}: sum, ms"), times_ms.iter().sum(), 0));
    }
    figures.push(Figure::less("suite: CPU of all asking, s", cpu_s, 1));
    figures
}

/// Asks, and says in figures what it took.
pub fn measure(
    server: &Running,
    suite: &[Question],
    end_ms: i64,
    settings: &Settings,
    answers: &Path,
) -> (Vec<Asked>, Vec<Figure>) {
    let before = usage(server.process());
    let asked = ask(server, suite, end_ms, settings, answers);
    let cpu_s = usage(server.process()).cpu_s - before.cpu_s;
    let figures = figures(&asked, cpu_s);
    (asked, figures)
}

/// The median of each time over runs.
pub fn medians(runs: &[Vec<Asked>]) -> Vec<Asked> {
    let mut medians = runs[0].clone();
    for (at, asked) in medians.iter_mut().enumerate() {
        let over_runs =
            |time_ms: fn(&Asked) -> f64| median(runs.iter().map(|run| time_ms(&run[at])).collect());
        asked.first_ms = over_runs(|asked| asked.first_ms);
        asked.again_ms = over_runs(|asked| asked.again_ms);
        asked.remembered_ms = over_runs(|asked| asked.remembered_ms);
    }
    medians
}

/// What is different about the answers in a folder, by question; `None` where both agree.
pub fn differences(suite: &[Question], reference: &Path, other: &Path) -> Vec<Option<String>> {
    let read = |folder: &Path, question: &Question| {
        let body = fs::read(folder.join(file_name(question))).ok()?;
        Answer::read(&body).ok()
    };
    let compare = |question: &Question| match (read(reference, question), read(other, question)) {
        (Some(theirs), Some(ours)) => theirs.difference(&ours),
        _ => Some("no answer to compare".to_owned()),
    };
    suite.iter().map(compare).collect()
}

fn file_name(question: &Question) -> String {
    format!("{}.json", question.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"))
}
