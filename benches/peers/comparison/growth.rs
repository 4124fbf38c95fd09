//! What a sample costs while series grow in number, and a question while it looks further back.

use super::dataset::{Cut, Dataset};
use super::figures::{Figure, median};
use super::load;
use super::questions::{Question, Results, SUITE};
use super::servers::{Kind, Running};
use super::settings::{Growth, Settings};
use super::workload::Spec;

/// Questions whose cost is told by the time that they look at.
const QUESTIONS: [&str; 5] =
    ["1 h: a gauge, raw", "24 h: cpu by namespace", "24 h: p99 by job", "pods", "series of a metric"];
const LONG_INTERVAL_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 24 * 60;

/// Figures of each server, the same for all.
pub fn measure(
    servers: &[Kind],
    growth: &Growth,
    settings: &Settings,
    end_ms: i64,
) -> Vec<(Kind, Vec<Figure>)> {
    let mut all: Vec<(Kind, Vec<Figure>)> = servers.iter().map(|kind| (*kind, Vec::new())).collect();
    for series in &growth.series {
        let cycles = (growth.samples / series).max(2);
        of_data_set(*series, cycles, settings.interval_ms, settings, end_ms, |server, dataset, cut| {
            let figures = load::measure(server, dataset, settings);
            // The cost with settling, the rate, the memory: what grows where something does not scale.
            let kept = figures.into_iter().filter(|figure| KEPT.contains(&&*figure.title));
            let titled = kept.map(|figure| Figure {
                title: format!("{series} series, {} scrapes: {}", cut.history_cycles, figure.title),
                ..figure
            });
            of_server(&mut all, server.kind).extend(titled);
        });
    }
    let longest = growth.days.last().copied().unwrap_or(0);
    let cycles = (longest * DAY_MINUTES * 60_000 / LONG_INTERVAL_MS) as usize;
    of_data_set(growth.long_series, cycles, LONG_INTERVAL_MS, settings, end_ms, |server, dataset, _| {
        load::measure(server, dataset, settings);
        for days in &growth.days {
            let questions = SUITE.iter().filter(|question| QUESTIONS.contains(&question.name));
            for question in questions.map(|question| question.over(days * DAY_MINUTES)) {
                let title = format!("{} series, {}, {days} d, ms", growth.long_series, topic(&question));
                let time_ms = time_ms(server, &question, end_ms, settings.repeats);
                of_server(&mut all, server.kind).push(Figure::less(&title, time_ms, 1));
            }
        }
    });
    all
}

const KEPT: [&str; 3] = ["the same with settling, ms", "samples per second", "RSS per active series, bytes"];

/// Writes a data set that ends at `end_ms` and shows it to every server in turn.
fn of_data_set(
    series: usize,
    cycles: usize,
    interval_ms: i64,
    settings: &Settings,
    end_ms: i64,
    mut look: impl FnMut(&Running, &Dataset, Cut),
) {
    let spec = Spec {
        seed: settings.seed,
        series,
        start_ms: end_ms - cycles as i64 * interval_ms,
        interval_ms,
        cycles,
        churn_percent: settings.churn_percent,
    };
    let cut = Cut {
        connections: settings.connections,
        request_series: settings.request_series,
        history_cycles: cycles,
    };
    let folder = super::empty(&settings.folder.join("requests"));
    let dataset = Dataset::write(&folder, &spec, cut);
    for kind in super::present(&settings.servers) {
        eprintln!("peers: growth: {series} series, {cycles} scrapes: {}", kind.name());
        let server = Running::start(kind, &settings.folder, settings.is_pinned, &settings.flags);
        look(&server, &dataset, cut);
    }
}

fn of_server(all: &mut [(Kind, Vec<Figure>)], kind: Kind) -> &mut Vec<Figure> {
    let found = all.iter_mut().find(|(of, _)| *of == kind);
    &mut found.expect("every server that was asked for has its figures").1
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

/// What a question is about, without the time that it usually looks at.
fn topic(question: &Question) -> &'static str {
    question.name.split_once(": ").map_or(question.name, |(_, topic)| topic)
}
