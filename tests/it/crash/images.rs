//! Looks at images: chooses which, starts the real server on each, compares, counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::disk::{Disk, Survival};
use super::history::{Contents, Expected, contents};
use super::life::Recorded;
use super::steps::{Moment, Step, moments};
use crate::support::now_ms;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::wire::{Protocol, TimeSeries};

/// Images of each life that a run without `ONGGI_CRASH_IMAGES` looks at, and the time it takes at most.
const IMAGES_DEFAULT: usize = 150;
const TIME_DEFAULT: Duration = Duration::from_secs(40);
/// Every so many images the recovered server goes on: it takes more, settles and is killed.
const GOES_ON_EVERY: usize = 6;
const PROGRESS_EVERY: usize = 500;
/// What the server says when it has repaired its database.
const REPAIRED: &str = "database is whole again";

/// What became of the images.
pub struct Outcome {
    /// Nothing was left out.
    pub all: bool,
    /// Those whose database had to be repaired.
    pub repaired: Vec<Moment>,
}

/// Looks at as many images as the run asks for, and prints how many there were of which kind.
pub fn examine_some(recorded: &Recorded, steps: &[Step], root: &Path, random: &mut Random) -> Outcome {
    let mut moments = moments(Disk::new(), &recorded.trace, true, random).unwrap();
    let only = std::env::var("ONGGI_CRASH_STEP").ok();
    let is_wanted = |moment: &Moment| {
        only.as_ref().is_none_or(|one| *one == moment.step.name() || *one == recorded.phase_of(moment))
    };
    moments.retain(is_wanted);
    let total = moments.len();
    let images = std::env::var("ONGGI_CRASH_IMAGES");
    let (chosen, time) = match images.as_deref() {
        Ok("all") => {
            random.shuffle(&mut moments);
            (moments, Duration::MAX)
        }
        Ok(number) => (choose(recorded, moments, number.parse().unwrap(), random), Duration::MAX),
        Err(_) => (choose(recorded, moments, IMAGES_DEFAULT, random), TIME_DEFAULT),
    };
    for step in steps.iter().filter(|_| only.is_none()) {
        assert!(chosen.iter().any(|moment| moment.step == *step), "no image at the step {step:?}");
    }

    let examined = examine(recorded, &chosen, root, time);

    eprintln!(
        "crash: {} records, {} changes answered, {total} images, {} examined:",
        recorded.trace.len(),
        recorded.history.answered(),
        examined.len()
    );
    print_counts(recorded, &examined);
    let repaired = examined.iter().filter(|(_, repaired)| *repaired);
    let repaired: Vec<Moment> = repaired.map(|(moment, _)| (*moment).clone()).collect();
    eprintln!("crash:   {} of the starts repaired the database", repaired.len());
    Outcome { all: images.is_ok_and(|images| images == "all"), repaired }
}

fn print_counts(recorded: &Recorded, examined: &[(&Moment, bool)]) {
    let mut counts: BTreeMap<(&str, Step), BTreeMap<&str, usize>> = BTreeMap::new();
    for (moment, _) in examined {
        let of_step = counts.entry((recorded.phase_of(moment), moment.step)).or_default();
        *of_step.entry(moment.survival.name()).or_default() += 1;
    }
    for ((phase, step), counts) in counts {
        let counts: Vec<String> =
            counts.iter().map(|(survival, count)| format!("{survival} {count}")).collect();
        eprintln!("crash:   {phase:<10} {:<8} {}", step.name(), counts.join(", "));
    }
}

/// Keeps `count` moments: of each phase, step and kind of survival the same share, as far as it goes.
fn choose(recorded: &Recorded, mut moments: Vec<Moment>, count: usize, random: &mut Random) -> Vec<Moment> {
    random.shuffle(&mut moments);
    let mut groups: BTreeMap<(Step, &str, &str), Vec<Moment>> = BTreeMap::new();
    for moment in moments {
        let group = (moment.step, recorded.phase_of(&moment), moment.survival.name());
        groups.entry(group).or_default().push(moment);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count && groups.values().any(|group| !group.is_empty()) {
        chosen.extend(groups.values_mut().filter_map(Vec::pop));
    }
    // Where the time does not suffice for all, no group is left out for its name.
    random.shuffle(&mut chosen);
    chosen
}

/// Starts the server on each image; gives those that were looked at within the time, and whether
/// their database had to be repaired.
fn examine<'a>(
    recorded: &Recorded,
    chosen: &'a [Moment],
    root: &Path,
    time: Duration,
) -> Vec<(&'a Moment, bool)> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let examined = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (next, examined) = (&next, &examined);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(moment) = chosen.get(number) else { return };
                    if started.elapsed() > time {
                        return;
                    }
                    let image = root.join(format!("image-{worker}"));
                    let expected = recorded.history.at(recorded.trace[moment.last_equal].end);
                    let outcome = recorded.disk_at(moment.record).and_then(|disk| {
                        start_on_image(recorded, &disk, moment.survival, &image, expected, Some(number))
                    });
                    match outcome {
                        Ok(repaired) => examined.lock().unwrap().push((moment, repaired)),
                        Err(problem) => {
                            // The others need not finish before this is known.
                            next.store(chosen.len(), Ordering::Relaxed);
                            let phase = recorded.phase_of(moment);
                            let record = &recorded.trace[moment.record];
                            panic!(
                                "{phase}, {moment:?}, after {:?} by {}: {problem}",
                                record.op, record.thread
                            );
                        }
                    }
                    fs::remove_dir_all(&image).unwrap();
                    if number % PROGRESS_EVERY == PROGRESS_EVERY - 1 {
                        let seconds = started.elapsed().as_secs();
                        eprintln!("crash: {} of {} images after {seconds} s", number + 1, chosen.len());
                    }
                }
            });
        }
    });
    examined.into_inner().unwrap()
}

/// Starts on the image and verifies it, and whatever else is to be seen of the image of this number;
/// says whether the database had to be repaired.
pub fn start_on_image(
    recorded: &Recorded,
    disk: &Disk,
    survival: Survival,
    image: &Path,
    expected: Expected,
    number: Option<usize>,
) -> Result<bool, String> {
    disk.write_image(survival, image).map_err(|error| format!("write the image: {error}"))?;
    let goes_on = number.is_some_and(|number| number % GOES_ON_EVERY == 0);
    let Some(import) = &recorded.import else { return start(recorded, image, expected, goes_on) };
    // An import also finds what no server has looked at since.
    let mut repaired = false;
    if number.is_some_and(|number| number % 2 == 0) {
        repaired = start(recorded, image, expected, false)?;
    }
    import.take_up_again(image)?;
    Ok(start(recorded, image, recorded.history.at(u64::MAX), goes_on)? || repaired)
}

fn start(recorded: &Recorded, image: &Path, expected: Expected, goes_on: bool) -> Result<bool, String> {
    let mut server = Server::spawn(&recorded.options(image));
    let examined = verify(recorded, &mut server, expected, goes_on);
    server.kill();
    examined.map_err(|problem| format!("{problem}\n{}", server.log_tail()))?;
    let repaired = server.log().contains(REPAIRED);
    fs::remove_file(server.log_file()).map_err(|error| error.to_string())?;
    Ok(repaired)
}

fn verify(recorded: &Recorded, server: &mut Server, expected: Expected, goes_on: bool) -> Result<(), String> {
    server.wait_ready()?;
    let found = expected.verify(&server.client(), recorded.selector)?;
    if goes_on { go_on(recorded, server, found) } else { Ok(()) }
}

/// The recovered server takes more, settles, is killed and starts again: what it had is still there, on
/// the disk each sample once and nothing else.
fn go_on(recorded: &Recorded, server: &mut Server, found: Contents) -> Result<(), String> {
    let client = server.client();
    let more = vec![TimeSeries::new("crash_more", &[], vec![(now_ms(), 1.5)])];
    let response = client.write(Protocol::V2, &more)?;
    if response.status != 204 {
        return Err(format!("write after recovery: status {}, {}", response.status, response.text()));
    }
    let mut expected = Expected::default();
    expected.add(&found);
    expected.add(&contents(&more));
    client.settle()?;
    let check = |client: &crate::support::http::Client| -> Result<(), String> {
        let found = expected.verify(client, recorded.selector)?;
        let stored = client.metric("onggi_part_samples")? + client.metric("onggi_head_samples")?;
        let deletions = client.metric("onggi_deletions")?;
        if stored as usize != found.len() || deletions > 0.0 {
            let found = found.len();
            return Err(format!(
                "settled, {stored} samples are stored of {found}, {deletions} deletions left"
            ));
        }
        Ok(())
    };
    check(&client)?;
    server.kill();
    server.start_again();
    check(&server.client())
}
