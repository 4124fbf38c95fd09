//! How costs grow: of a sample with the number of series, of a question with the length of the history.
//!
//! Each server gets a table of both. A cost that is flat is the same at every size; one that grows by more than
//! [`FLAT_SHARE`] wants an explanation, which stands on the page below the tables and is written by hand.

use super::dataset::{Cut, Dataset};
use super::figures::{Better, Figure, median};
use super::load::{Progress, send};
use super::page::{head, put_row};
use super::process::{bytes_below, usage};
use super::questions::{Form, Question, Results, SUITE};
use super::servers::{Kind, Running};
use super::settings::{SCRAPES_MIN, Settings};
use super::workload::Spec;

/// What is asked about the last hour, whatever is before it; and, where it has a range, about the whole history.
const QUESTIONS: [&str; 10] = [
    "targets up",
    "cpu by namespace",
    "series by metric",
    "raw samples",
    "1 h: a gauge, raw",
    "1 h: cpu by namespace",
    "1 h: p99 by job",
    "24 h: average of load",
    "metric names",
    "pods",
];
const LONG_INTERVAL_MS: i64 = 60_000;
const HOUR_MINUTES: i64 = 60;
const DAY_MINUTES: i64 = 24 * HOUR_MINUTES;
/// Up to so many times the cost at the smallest size a cost is flat.
const FLAT_SHARE: f64 = 1.2;

/// Figures at one size; those of every size have the same titles.
type AtSize = (String, Vec<Figure>);

/// What came of one server.
struct Grown {
    kind: Kind,
    by_series: Vec<AtSize>,
    by_days: Vec<AtSize>,
}

/// Looks at every server; the tables of each, as Markdown.
pub fn measure(servers: &[Kind], settings: &Settings, end_ms: i64) -> String {
    let growth = &settings.growth;
    let mut all: Vec<Grown> = servers
        .iter()
        .map(|kind| Grown { kind: *kind, by_series: Vec::new(), by_days: Vec::new() })
        .collect();
    for series in &growth.series {
        let cycles = (growth.samples / series).max(SCRAPES_MIN);
        let spec = spec(*series, cycles, settings.interval_ms, settings, end_ms);
        // The first scrape brings every series, the others bring samples of series that are known.
        let figures = of_data_set(&all, &spec, 1, settings, |server, dataset, cut| {
            samples(server, dataset, dataset.history_end_ms(cut), settings)
        });
        let size = format!("{series} series, {cycles} scrapes");
        for (grown, figures) in all.iter_mut().zip(figures) {
            grown.by_series.extend(figures.map(|figures| (size.clone(), figures)));
        }
    }
    for days in &growth.days {
        let cycles = (days * DAY_MINUTES * 60_000 / LONG_INTERVAL_MS) as usize;
        let spec = spec(growth.long_series, cycles, LONG_INTERVAL_MS, settings, end_ms);
        let figures = of_data_set(&all, &spec, cycles, settings, |server, dataset, _| {
            history(server, dataset, *days, end_ms, settings)
        });
        for (grown, figures) in all.iter_mut().zip(figures) {
            grown.by_days.extend(figures.map(|figures| (format!("{days} d"), figures)));
        }
    }
    let tables = all.iter().map(|grown| {
        let name = grown.kind.name();
        let history = format!("{name}, {} series, a sample a minute", growth.long_series);
        format!("{}\n{}", table(name, &grown.by_series), table(&history, &grown.by_days))
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn spec(series: usize, cycles: usize, interval_ms: i64, settings: &Settings, end_ms: i64) -> Spec {
    Spec {
        seed: settings.seed,
        series,
        start_ms: end_ms - cycles as i64 * interval_ms,
        interval_ms,
        cycles,
        churn_percent: settings.churn_percent,
    }
}

/// Writes a data set and shows it to every server in turn; nothing of a peer that fails.
fn of_data_set(
    all: &[Grown],
    spec: &Spec,
    history_cycles: usize,
    settings: &Settings,
    look: impl Fn(&Running, &Dataset, Cut) -> Vec<Figure>,
) -> Vec<Option<Vec<Figure>>> {
    let (connections, request_series) = (settings.connections, settings.request_series);
    let cut = Cut { connections, request_series, history_cycles };
    let dataset = Dataset::write(&super::empty(&settings.folder.join("requests")), spec, cut);
    let of_server = |grown: &Grown| {
        let kind = grown.kind;
        eprintln!("peers: growth: {} series, {} scrapes: {}", spec.series, spec.cycles, kind.name());
        super::unless_it_fails(kind, || {
            let server = Running::start(kind, &settings.folder, settings.is_pinned, &settings.flags);
            look(&server, &dataset, cut)
        })
    };
    all.iter().map(of_server).collect()
}

/// Loads everything, and says what series cost, what samples cost, and what both take.
fn samples(server: &Running, dataset: &Dataset, history_end_ms: i64, settings: &Settings) -> Vec<Figure> {
    let connections = dataset.history.files.len();
    let before = usage(server.process());
    let first = send(&dataset.history, server, None, &Progress::new(connections, dataset.spec.start_ms));
    let known = usage(server.process());
    let rest = send(&dataset.sequel, server, None, &Progress::new(connections, history_end_ms));
    let loaded = usage(server.process());
    server.settle(settings.quiet, settings.settle_max);
    let settled = usage(server.process());

    let (series, all) = (dataset.active_series as f64, (first.samples + rest.samples) as f64);
    let missing = dataset.history.samples + dataset.sequel.samples - first.samples - rest.samples;
    if missing > 0 {
        eprintln!("*** {}: {missing} samples were not taken", server.kind.name());
    }
    let per_series = |bytes: f64| (bytes - before.anonymous_bytes) / series;
    let per_1000 = |cpu_s: f64, samples: f64| cpu_s * 1e6 / samples;
    vec![
        Figure::less(
            "CPU per series when it is first seen, µs",
            (known.cpu_s - before.cpu_s) * 1e6 / series,
            1,
        ),
        Figure::less(
            "CPU per 1000 samples of known series, with settling, ms",
            per_1000(settled.cpu_s - known.cpu_s, rest.samples as f64),
            3,
        ),
        Figure::less("CPU per 1000 samples, all of it, ms", per_1000(settled.cpu_s - before.cpu_s, all), 3),
        Figure::more("samples of known series per second", rest.samples as f64 / rest.took_s, 0),
        Figure::less(
            "anonymous memory per active series, loaded, bytes",
            per_series(loaded.anonymous_bytes),
            0,
        ),
        Figure::less("the same, settled, bytes", per_series(settled.anonymous_bytes), 0),
        Figure::less("disk per sample, bytes", bytes_below(&server.data) as f64 / all, 3),
    ]
}

/// Loads a history of so many days; says what its last hour costs, and what a day costs of the whole.
fn history(server: &Running, dataset: &Dataset, days: i64, end_ms: i64, settings: &Settings) -> Vec<Figure> {
    let progress = Progress::new(dataset.history.files.len(), dataset.spec.start_ms);
    send(&dataset.history, server, None, &progress);
    server.settle(settings.quiet, settings.settle_max);
    let chosen = || SUITE.iter().filter(|question| QUESTIONS.contains(&question.name));
    let time_ms = |question: &Question| time_ms(server, question, end_ms, settings.repeats);
    let mut figures = Vec::new();
    for question in chosen() {
        let title = format!("{}, ms", last(question));
        figures.push(Figure::less(&title, time_ms(&question.over(HOUR_MINUTES)), 2));
    }
    for question in chosen().filter(|question| question.minutes() > 0) {
        let title = format!("all of it: {}, ms per day", topic(question));
        let all_ms = time_ms(&question.over(days * DAY_MINUTES));
        figures.push(Figure::less(&title, all_ms / days as f64, 3));
    }
    figures
}

/// The median of the times that a question takes when it is asked again.
fn time_ms(server: &Running, question: &Question, end_ms: i64, repeats: usize) -> f64 {
    let client = server.client();
    let ask = |_| {
        let began = std::time::Instant::now();
        let response = question.ask(&client, end_ms, Results::Computed);
        let is_answered = response.is_ok_and(|response| response.status == 200);
        if is_answered { began.elapsed().as_secs_f64() * 1e3 } else { f64::NAN }
    };
    ask(0);
    median((0..repeats.max(1)).map(ask).collect())
}

fn last(question: &Question) -> String {
    let of = if matches!(question.form, Form::Instant(_)) { "now" } else { "last hour" };
    format!("{of}: {}", topic(question))
}

/// What a question is about, without the time that it usually looks at.
fn topic(question: &Question) -> &'static str {
    question.name.split_once(": ").map_or(question.name, |(_, topic)| topic)
}

/// A row per figure, a column per size, and how much the worst size costs more than the first.
fn table(name: &str, sizes: &[AtSize]) -> String {
    let Some(((_, smallest), larger)) = sizes.split_first() else { return String::new() };
    let mut names: Vec<&str> = sizes.iter().map(|(size, _)| size.as_str()).collect();
    names.push("grows by");
    let mut out = head(name, &names);
    for (at, figure) in smallest.iter().enumerate() {
        let mut cells: Vec<String> = sizes.iter().map(|(_, figures)| figures[at].text()).collect();
        let shares: Vec<f64> = larger.iter().map(|(_, figures)| share(figure, &figures[at])).collect();
        cells.push(verdict(&shares));
        put_row(&mut out, &figure.title, &cells);
    }
    out
}

/// How many times as costly a figure is as at the smallest size.
fn share(smallest: &Figure, figure: &Figure) -> f64 {
    match smallest.better {
        Better::Less => figure.value / smallest.value,
        Better::More => smallest.value / figure.value,
    }
}

fn verdict(shares: &[f64]) -> String {
    let worst = shares.iter().copied().fold(1.0, f64::max);
    if !shares.iter().all(|share| share.is_finite()) {
        "–".to_owned()
    } else if worst <= FLAT_SHARE {
        format!("flat (× {worst:.2})")
    } else {
        format!("**× {worst:.2}**")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_by_more_than_a_fifth_stands_out() {
        let at = |size: &str, cpu: f64, rate: f64| {
            (size.to_owned(), vec![Figure::less("cpu", cpu, 1), Figure::more("rate", rate, 0)])
        };

        let table = table("Onggi", &[at("10", 0.5, 100.0), at("100", 0.4, 50.0), at("1000", 0.59, f64::NAN)]);

        assert_eq!(
            table,
            "| Onggi | 10 | 100 | 1000 | grows by |\n|---|---:|---:|---:|---:|\n\
             | cpu | 0.5 | 0.4 | 0.6 | flat (× 1.18) |\n| rate | 100 | 50 | – | – |\n"
        );
    }

    #[test]
    fn the_worst_size_counts() {
        assert_eq!(verdict(&[]), "flat (× 1.00)");
        assert_eq!(verdict(&[2.0, 1.1]), "**× 2.00**");
        assert_eq!(verdict(&[0.3, 0.9]), "flat (× 1.00)");
    }

    #[test]
    fn every_question_is_one_of_the_suite() {
        let known = |name: &&str| SUITE.iter().any(|question| question.name == *name);

        assert!(QUESTIONS.iter().all(known));
    }
}
