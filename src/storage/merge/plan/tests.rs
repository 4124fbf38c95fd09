//! When what is merged with what, and that it comes to rest.

use proptest::prelude::*;

use super::*;
use crate::model::time::{DAY_MS, MINUTE_MS};

/// Noon of day 100.
const NOW_MS: i64 = 100 * DAY_MS + DAY_MS / 2;
const GRACE_MS: i64 = 10 * MINUTE_MS;

fn options(now_ms: i64) -> PlanOptions {
    PlanOptions { now_ms, grace_ms: GRACE_MS, thorough: false }
}

fn thorough() -> PlanOptions {
    PlanOptions { thorough: true, ..options(NOW_MS) }
}

fn part(number: u64, level: u8, kind: PartKind, bytes: u64) -> PartFacts {
    let entry = PartEntry {
        number,
        level,
        kind,
        min_ms: 0,
        max_ms: 0,
        rows: 1,
        float_samples: 1,
        histogram_samples: 0,
        exemplars: 0,
        bytes,
        first_file: 1,
        last_file: 1,
        created_ms: NOW_MS,
        run: number,
        erased: 0,
    };
    PartFacts { entry, days: Vec::new(), erasable: false }
}

fn fresh(number: u64, start_ms: i64) -> PartFacts {
    part(number, 0, Window::of(start_ms).kind(), 100)
}

fn day(number: u64, level: u8, day: i64, bytes: u64) -> PartFacts {
    part(number, level, Window::day(day).kind(), bytes)
}

fn late(number: u64, days: &[i64]) -> PartFacts {
    PartFacts { days: days.to_vec(), ..part(number, 0, PartKind::Late, 100) }
}

fn summary(jobs: &[Job]) -> Vec<(Reason, Vec<u64>)> {
    jobs.iter().map(|job| (job.reason, job.inputs.clone())).collect()
}

#[test]
fn two_hours_are_merged_when_they_are_over_and_the_grace_too() {
    let start_ms = NOW_MS - WINDOW_MS;
    let parts = [fresh(1, start_ms), fresh(2, start_ms), fresh(3, NOW_MS), fresh(4, NOW_MS)];
    assert!(plan(&parts, options(NOW_MS + GRACE_MS - 1)).is_empty());

    let jobs = plan(&parts, options(NOW_MS + GRACE_MS));

    assert_eq!(summary(&jobs), [(Reason::Window, vec![1, 2])]);
    assert_eq!(jobs[0].outputs, [Output { level: OF_WINDOW, window: Window::of(start_ms) }]);
}

#[test]
fn a_windows_only_part_waits_for_its_day() {
    assert!(plan(&[fresh(1, NOW_MS - 2 * WINDOW_MS)], options(NOW_MS)).is_empty());
}

#[test]
fn too_many_parts_of_an_open_window_are_merged_before_its_end() {
    let eight: Vec<PartFacts> = (1..=8).map(|number| fresh(number, NOW_MS)).collect();
    assert!(plan(&eight, options(NOW_MS)).is_empty());
    let mut parts = eight;
    parts.push(fresh(9, NOW_MS));
    parts.push(part(10, OF_WINDOW, Window::of(NOW_MS).kind(), 5000));

    let jobs = plan(&parts, options(NOW_MS));

    assert_eq!(summary(&jobs), [(Reason::Window, (1..=9).collect())]);
}

#[test]
fn a_day_becomes_one_part_when_it_is_over() {
    let start_ms = 99 * DAY_MS;
    let parts = [
        part(1, OF_WINDOW, Window::of(start_ms).kind(), 1000),
        fresh(2, start_ms),
        part(3, OF_WINDOW, Window::of(start_ms + 5 * WINDOW_MS).kind(), 1000),
    ];
    assert!(plan(&parts, options(100 * DAY_MS + GRACE_MS - 1)).is_empty());

    let jobs = plan(&parts, options(100 * DAY_MS + GRACE_MS));

    assert_eq!(summary(&jobs), [(Reason::Day, vec![1, 2, 3])]);
    assert_eq!(jobs[0].outputs, [Output { level: OF_DAY, window: Window::day(99) }]);
    assert_eq!(jobs[0].bytes, 2100);
}

#[test]
fn little_that_comes_late_to_a_day_waits_until_it_is_more() {
    let large = 100 << 20;
    let main = day(1, OF_DAY, 90, large);
    let extras = |count: u64, bytes: u64| -> Vec<PartFacts> {
        (2..2 + count).map(|number| day(number, OF_DAY, 90, bytes)).chain([main.clone()]).collect()
    };
    let check = |parts: &[PartFacts], want: &[(Reason, Vec<u64>)]| {
        assert_eq!(summary(&plan(parts, options(NOW_MS))), want);
    };

    check(&extras(3, 10), &[]);
    check(&extras(4, 10), &[(Reason::Day, vec![2, 3, 4, 5])]);
    check(&extras(1, large / 4), &[(Reason::Day, vec![1, 2])]);
    let mut small = extras(4, 10);
    small[4].entry.bytes = SMALL_BYTES;
    check(&small, &[(Reason::Day, vec![1, 2, 3, 4, 5])]);
    assert_eq!(summary(&plan(&extras(1, 10), thorough())), [(Reason::Day, vec![1, 2])]);
}

#[test]
fn late_parts_are_split_when_they_are_many_large_or_have_waited() {
    let parts: Vec<PartFacts> = (1..=4).map(|number| late(number, &[90, 100])).collect();
    assert!(plan(&parts[..3], options(NOW_MS)).is_empty());
    assert_eq!(plan(&parts, options(NOW_MS)).len(), 1);
    assert_eq!(plan(&parts[..1], options(NOW_MS + LATE_WAIT_MS)).len(), 1);
    assert_eq!(plan(&parts[..1], thorough()).len(), 1);
    let mut large = late(1, &[90]);
    large.entry.bytes = LATE_BYTES_MAX;
    assert_eq!(plan(&[large], options(NOW_MS)).len(), 1);

    let jobs = plan(&parts, options(NOW_MS));

    assert_eq!(summary(&jobs), [(Reason::Late, vec![1, 2, 3, 4])]);
    let levels: Vec<u8> = jobs[0].outputs.iter().map(|output| output.level).collect();
    // A closed day as a whole; of today five windows that are over, one in its grace, six to come.
    assert_eq!(levels, [vec![OF_DAY], vec![OF_WINDOW; 5], vec![0; 7]].concat());
    assert_eq!(jobs[0].outputs[0].window, Window::day(90));
}

#[test]
fn a_day_with_deleted_rows_is_written_again_unless_it_is_merged_anyway() {
    let mut deleted = day(1, OF_DAY, 90, 1000);
    deleted.erasable = true;
    assert_eq!(summary(&plan(&[deleted.clone()], options(NOW_MS))), [(Reason::Erase, vec![1])]);
    let merged = [deleted, day(2, OF_DAY, 90, 1000)];
    assert_eq!(summary(&plan(&merged, options(NOW_MS))), [(Reason::Day, vec![1, 2])]);

    let mut open = fresh(1, NOW_MS);
    open.erasable = true;
    assert!(plan(&[open.clone()], options(NOW_MS)).is_empty(), "it is merged soon");
    let mut split = late(2, &[3]);
    split.erasable = true;
    let jobs = plan_erasing(&[open, split, fresh(3, NOW_MS)], options(NOW_MS));
    assert_eq!(summary(&jobs), [(Reason::Late, vec![2]), (Reason::Erase, vec![1])]);
    assert_eq!(jobs[1].outputs, [Output { level: 0, window: Window::of(NOW_MS) }]);
}

#[test]
fn a_run_is_merged_as_a_whole_or_not_at_all() {
    let mut parts = vec![day(1, OF_DAY, 90, 10), day(2, OF_DAY, 90, 10), day(3, OF_DAY, 90, 10)];
    parts.iter_mut().for_each(|part| part.entry.run = 1);
    assert!(plan(&parts, thorough()).is_empty(), "three parts, one run");

    parts.push(day(4, OF_DAY, 90, 10));
    assert_eq!(summary(&plan(&parts, options(NOW_MS))), [(Reason::Day, vec![1, 2, 3, 4])]);
}

#[test]
fn a_job_has_a_limited_number_of_inputs() {
    let many: Vec<PartFacts> = (1..=100).map(|number| fresh(number, 90 * DAY_MS)).collect();
    assert_eq!(plan(&many, options(NOW_MS))[0].inputs.len(), INPUT_RUNS_MAX);
}

/// A part and the times of its samples.
type Simulated = (PartFacts, Vec<i64>);

fn simulated(number: u64, level: u8, kind: PartKind, times: Vec<i64>, created_ms: i64) -> Simulated {
    let mut facts = part(number, level, kind, 10 * times.len() as u64);
    facts.entry.created_ms = created_ms;
    if kind == PartKind::Late {
        facts.days = times.iter().map(|t| t.div_euclid(DAY_MS)).collect();
        facts.days.sort_unstable();
        facts.days.dedup();
    }
    (facts, times)
}

/// Does a job as the executor would; panics where a sample has no place or two.
fn run(parts: &mut Vec<Simulated>, job: &Job, next: &mut u64) {
    let is_input = |part: &Simulated| job.inputs.contains(&part.0.entry.number);
    let inputs: Vec<Simulated> = parts.extract_if(.., |part| is_input(part)).collect();
    assert_eq!(inputs.len(), job.inputs.len(), "{job:?}");
    let times: Vec<i64> = inputs.into_iter().flat_map(|(_, times)| times).collect();
    let mut placed = 0;
    for output in &job.outputs {
        let inside = |t: &&i64| output.window.range().contains(**t);
        let own: Vec<i64> = times.iter().filter(inside).copied().collect();
        placed += own.len();
        if !own.is_empty() {
            parts.push(simulated(*next, output.level, output.window.kind(), own, NOW_MS));
            *next += 1;
        }
    }
    assert_eq!(placed, times.len(), "every sample has one place: {job:?}");
}

/// Plans and does until nothing is due.
fn settle(parts: &mut Vec<Simulated>, options: PlanOptions) {
    let mut next = 10_000;
    let most = 4 * parts.len() + 60;
    for _ in 0..most {
        let facts: Vec<PartFacts> = parts.iter().map(|part| part.0.clone()).collect();
        let jobs = plan(&facts, options);
        let mut all: Vec<u64> = jobs.iter().flat_map(|job| job.inputs.clone()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "no part is in two jobs");
        let Some(job) = jobs.first() else { return };
        run(parts, job, &mut next);
    }
    panic!("not at rest after {most} jobs: {parts:?}");
}

/// Fresh parts of any window and late ones of any days, of the last ten days and tomorrow.
fn any_part() -> impl Strategy<Value = (bool, i64, Vec<i64>, i64)> {
    let window = -120i64..12;
    (any::<bool>(), window, prop::collection::vec(-120 * WINDOW_MS..12 * WINDOW_MS, 1..40), 0i64..300)
}

proptest! {
    #[test]
    fn any_catalogue_comes_to_rest_with_all_samples_and_closed_days_in_one_run(
        described in prop::collection::vec(any_part(), 0..80),
        is_thorough in any::<bool>(),
    ) {
        let mut parts: Vec<Simulated> = Vec::new();
        for (number, (is_late, window, offsets, minutes)) in described.iter().enumerate() {
            let window = Window::of(NOW_MS + window * WINDOW_MS);
            let (kind, times) = if *is_late {
                (PartKind::Late, offsets.iter().map(|offset| NOW_MS + offset).collect())
            } else {
                (window.kind(), offsets.iter().map(|o| window.start_ms + o.rem_euclid(WINDOW_MS)).collect())
            };
            parts.push(simulated(number as u64 + 1, 0, kind, times, NOW_MS - minutes * MINUTE_MS));
        }
        let mut want: Vec<i64> = parts.iter().flat_map(|(_, times)| times.clone()).collect();
        want.sort_unstable();

        settle(&mut parts, PlanOptions { thorough: is_thorough, ..options(NOW_MS) });

        let mut got: Vec<i64> = parts.iter().flat_map(|(_, times)| times.clone()).collect();
        got.sort_unstable();
        prop_assert_eq!(got, want);
        let mut runs_of_day: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
        for (facts, times) in &parts {
            if facts.entry.kind != PartKind::Late {
                runs_of_day.entry(times[0].div_euclid(DAY_MS)).or_default().push(facts.entry.level);
            }
        }
        let late = parts.iter().filter(|(facts, _)| facts.entry.kind == PartKind::Late).count();
        prop_assert!(late <= if is_thorough { 0 } else { EXTRA_RUNS_MAX }, "{late} late parts");
        for (day, levels) in runs_of_day {
            if is_thorough {
                prop_assert_eq!(&levels, &[OF_DAY], "day {}", day);
            } else if options(NOW_MS).is_closed(&Window::day(day)) {
                prop_assert!(levels.contains(&OF_DAY) && levels.len() <= 1 + EXTRA_RUNS_MAX, "{levels:?}");
            }
        }
    }
}
