//! `onggi bucket pull`: a data directory of a bucket, for a server that stands alone, or a copy to keep.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};

use super::Opened;
use crate::cli::{descriptors, environment, flags};
use crate::config::Config;
use crate::memory::plan::MemoryPlan;
use crate::storage::{Pull, PullProgress, Pulled};

pub const NAME: &str = "pull";

/// Groups of settings that the command has.
const GROUPS: [&str; 3] = ["bucket.url", "storage.path", "memory."];
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

pub fn command() -> Command {
    Command::new(NAME)
        .about("Makes a data directory of a bucket")
        .long_about(
            "Makes a data directory of everything that is in a bucket: --storage.path names a folder that is empty or \
             does not exist. onggi serve answers from it alone what replicas on the bucket answer. The bucket is \
             only read; replicas may be at work on it. What was acknowledged before the pull began is in the \
             directory, and deletions made before that are applied. A pull that was interrupted is started again with \
             the same words, and begins anew.",
        )
        .args(flags::args_of(&GROUPS))
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = Config::load(&flags::given_of(matches, &GROUPS), environment())?;
    let Opened { scripts, runtime, .. } = Opened::of(&config)?;
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let plan = MemoryPlan::of(config.memory_limit_bytes);
    let pull = Pull {
        path: config.storage.path.clone(),
        scripts,
        runtime: runtime.handle().clone(),
        head_bytes_max: plan.head_bytes_max,
        gathered_bytes_max: plan.gathered_bytes_max,
        cache_bytes: usize::try_from(plan.cache_bytes).unwrap_or(usize::MAX),
    };
    let mut printer = Printer { is_terminal: std::io::stderr().is_terminal(), shown: None };
    let pulled = pull.run(&mut |progress| printer.progress(progress));
    printer.end();
    println!("{}", summary(&pulled?));
    Ok(())
}

fn summary(pulled: &Pulled) -> String {
    let Pulled { segments, blocks, days, parts, samples, exemplars, bytes, metadata } = pulled;
    format!(
        "pulled {samples} samples and {exemplars} exemplars of {blocks} blocks of {days} days and {segments} segments, \
         metadata of {metadata} metrics: {parts} parts, {bytes} bytes"
    )
}

/// Says how far it is: on a terminal in one line that is written over.
struct Printer {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl Printer {
    fn progress(&mut self, progress: PullProgress) {
        if self.shown.is_some_and(|at| at.elapsed() < PROGRESS_PERIOD) {
            return;
        }
        let text = match progress {
            PullProgress::Segments { done, total } => format!("segments: {done} of {total}"),
            PullProgress::Blocks { done_bytes, total_bytes } => {
                format!("blocks: {done_bytes} of {total_bytes} bytes")
            }
        };
        match self.is_terminal {
            true => eprint!("\r\x1b[Kpulling {text}"),
            false => eprintln!("pulling {text}"),
        }
        self.shown = Some(Instant::now());
    }

    fn end(&mut self) {
        if self.is_terminal && self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
