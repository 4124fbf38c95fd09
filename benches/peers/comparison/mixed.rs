//! Writes at a steady rate while loops ask the suite about what has just been written.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::dataset::Dataset;
use super::figures::{Figure, percentile};
use super::load::{Progress, Sent, send};
use super::questions::{Question, Results};
use super::servers::Running;
use super::settings::Settings;

/// A loop begins with a question of its own.
const STRIDE: usize = 7;

/// Sends the sequel and asks meanwhile; gives what was sent, too.
pub fn measure(
    server: &Running,
    dataset: &Dataset,
    suite: &[Question],
    history_end_ms: i64,
    settings: &Settings,
) -> (Sent, Vec<Figure>) {
    let progress = Progress::new(dataset.sequel.files.len(), history_end_ms);
    let (sent, answers) = std::thread::scope(|scope| {
        let loops: Vec<_> = (0..settings.mixed_loops)
            .map(|number| {
                let progress = &progress;
                scope.spawn(move || ask_on(server, suite, number * STRIDE, progress, settings.interval_ms))
            })
            .collect();
        let sender = scope.spawn(|| send(&dataset.sequel, server, Some(settings.mixed_rate), &progress));
        let began = Instant::now();
        while began.elapsed() < settings.mixed && progress.slowest_ms().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        progress.stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (sent, loops.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<Answers>>())
    });

    let times_ms = answers.iter().flat_map(|answers| &answers.times_ms).copied().collect::<Vec<f64>>();
    let refused: usize = answers.iter().map(|answers| answers.refused).sum();
    if refused > 0 {
        eprintln!("*** {}: {refused} questions beside writes were not answered", server.kind.name());
    }
    let mut figures = vec![Figure::more("mixed: samples per second", sent.samples as f64 / sent.took_s, 0)];
    figures.extend(sent.latency("mixed: write latency"));
    let questions_per_s = times_ms.len() as f64 / sent.took_s;
    figures.push(Figure::more("mixed: questions per second", questions_per_s, 0));
    for percent in [50, 95] {
        let title = format!("mixed: question p{percent}, ms");
        figures.push(Figure::less(&title, percentile(times_ms.clone(), percent), 1));
    }
    (sent, figures)
}

#[derive(Default)]
struct Answers {
    times_ms: Vec<f64>,
    refused: usize,
}

/// Asks one question after the other, at the time up to which everything is acknowledged.
fn ask_on(
    server: &Running,
    suite: &[Question],
    first: usize,
    progress: &Progress,
    interval_ms: i64,
) -> Answers {
    let client = server.client();
    let mut answers = Answers::default();
    for question in suite.iter().cycle().skip(first) {
        let Some(now_ms) = progress.slowest_ms() else { break };
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        match question.ask(&client, now_ms / interval_ms * interval_ms, Results::MayBeCached) {
            Ok(response) if response.status == 200 => {
                answers.times_ms.push(began.elapsed().as_secs_f64() * 1e3);
            }
            _ => answers.refused += 1,
        }
    }
    answers
}
