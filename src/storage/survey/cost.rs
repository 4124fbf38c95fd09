//! What a month of a bucket costs: storage, and the requests that replicas make by the clock.
//!
//! Pure arithmetic, each line with its factors. What questions read of blocks is not in it: that depends on them. It
//! counts what this version does: one listing a sweep, two a refresh; for a heartbeat a PUT, a listing, and a GET of
//! every other live replica's. Those of replicas that are gone are listed and not read, and our own only where the store
//! does not tag what it holds. Where nothing is written replicas rest, see [`rest`](crate::replication::replica::rest).

use crate::model::time::{DAY_MS, SECOND_MS};
use crate::replication::bucket::PAGE_KEYS_MAX;
use crate::replication::maintenance::blocks_look_ms;
use crate::replication::replica::rest::{RESTING_BEATS, RESTING_REFRESHES};
use crate::replication::timing::Timing;
use crate::storage::replica::partition::PARTITIONS;
use crate::storage::replica::{CHECKPOINT_RECORDS_MIN, MERGE_BLOCKS_MIN};

use super::inventory::Inventory;
use super::objects::Survey;

/// Seconds of the month that is reckoned with, which has 30 days.
pub const MONTH_SECONDS: f64 = (30 * DAY_MS / SECOND_MS) as f64;
/// How far back segments are counted: collecting leaves those of a quarter of an hour.
const OBSERVED_MS: i64 = 10 * 60 * SECOND_MS;

/// Dollars, or whatever else they are given in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Of a thousand PUT or LIST.
    pub put_1000: f64,
    /// Of a thousand GET.
    pub get_1000: f64,
    /// Of a gigabyte (10⁹) for a month.
    pub gigabyte_month: f64,
}

/// S3 Standard, us-east-1; a DELETE is free there.
pub const DEFAULT_PRICES: Prices = Prices { put_1000: 0.005, get_1000: 0.0004, gigabyte_month: 0.023 };

/// What replicas do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    pub replicas: u64,
    /// Of all replicas together.
    pub segments_per_second: f64,
    pub flush_ms: u64,
    pub cut_ms: u64,
    pub sweep_ms: u64,
    pub refresh_ms: u64,
    pub heartbeat_ms: u64,
}

/// What a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Put,
    Get,
    GigabyteMonth,
}

/// One line of the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub what: &'static str,
    /// The factors of `count`.
    pub reckoned: String,
    pub count: f64,
    pub unit: Unit,
    pub price: f64,
}

/// Segments per second, as the log shows them.
pub fn observed_segments_per_second(survey: &Survey) -> f64 {
    let since_ms = survey.taken_ms.saturating_sub(OBSERVED_MS);
    let young = survey.segments.values().filter(|listed| listed.modified_ms >= since_ms).count();
    young as f64 / (OBSERVED_MS / SECOND_MS) as f64
}

impl Load {
    /// As if every replica had something to write at every flush.
    pub fn full(self) -> Self {
        let per_replica = SECOND_MS as f64 / self.flush_ms.max(1) as f64;
        Self { segments_per_second: self.replicas as f64 * per_replica, ..self }
    }
}

/// The bill of a month.
pub fn lines(inventory: &Inventory, load: &Load, prices: &Prices) -> Vec<Line> {
    let mut bill = Bill { prices: *prices, lines: Vec::new() };
    bill.storage(inventory);
    bill.log(load);
    bill.rounds(inventory, load);
    bill.blocks(load);
    bill.lines
}

pub fn total(lines: &[Line]) -> f64 {
    lines.iter().map(|line| line.price).sum()
}

struct Bill {
    prices: Prices,
    lines: Vec<Line>,
}

impl Bill {
    fn add(&mut self, what: &'static str, reckoned: String, count: f64, unit: Unit) {
        let price = match unit {
            Unit::Put => count * self.prices.put_1000 / 1000.0,
            Unit::Get => count * self.prices.get_1000 / 1000.0,
            Unit::GigabyteMonth => count * self.prices.gigabyte_month,
        };
        self.lines.push(Line { what, reckoned, count, unit, price });
    }

    fn storage(&mut self, inventory: &Inventory) {
        let bytes = inventory.bytes();
        self.add(
            "storage",
            format!("{bytes} bytes as they are now"),
            bytes as f64 / 1e9,
            Unit::GigabyteMonth,
        );
    }

    fn log(&mut self, load: &Load) {
        let Load { replicas, segments_per_second: rate, .. } = *load;
        let count = rate * MONTH_SECONDS;
        self.add("segments: PUT", format!("{rate:.3}/s × {MONTH_SECONDS} s"), count, Unit::Put);
        let others = replicas.saturating_sub(1);
        let reckoned = format!("{rate:.3}/s × {others} other replicas × {MONTH_SECONDS} s");
        self.add("segments: GET by the others", reckoned, count * others as f64, Unit::Get);
    }

    /// What comes round by the clock, whether anything is written or not.
    fn rounds(&mut self, inventory: &Inventory, load: &Load) {
        let (refresh_ms, heartbeat_ms) = if load.segments_per_second > 0.0 {
            (load.refresh_ms, load.heartbeat_ms)
        } else {
            (
                load.refresh_ms.saturating_mul(RESTING_REFRESHES),
                load.heartbeat_ms.saturating_mul(RESTING_BEATS),
            )
        };
        let mut by_all = |what, each: f64, of: &str, period_ms: u64, unit| {
            let period_s = period_ms.max(1) as f64 / SECOND_MS as f64;
            let replicas = load.replicas as f64;
            let reckoned = format!("{replicas} replicas × {each} {of} × {MONTH_SECONDS} s / {period_s} s");
            self.add(what, reckoned, replicas * each * MONTH_SECONDS / period_s, unit);
        };
        let catalogue = inventory.catalogue;
        let records = catalogue.cuts.objects + catalogue.replacements.objects + catalogue.checkpoints.objects;
        let (log, listed) =
            (pages(inventory.segments.objects), pages(records) + pages(inventory.deletions.objects));
        by_all("sweeps: LIST wal/", log, "pages", load.sweep_ms, Unit::Put);
        by_all("refreshes: LIST cat/ and tomb/", listed, "pages", refresh_ms, Unit::Put);
        let nodes = 1.0 + pages(inventory.heartbeats.objects);
        by_all("heartbeats: PUT, and LIST node/", nodes, "requests", heartbeat_ms, Unit::Put);
        let others = load.replicas.saturating_sub(1) as f64;
        by_all("heartbeats: GET of the others", others, "objects", heartbeat_ms, Unit::Get);

        let blocks = inventory.blocks;
        let blocks = blocks.live.objects + blocks.dead.objects + blocks.nameless.objects;
        let each = pages(blocks) + pages(records);
        let period_s = blocks_look_ms(&Timing::default()) as f64 / SECOND_MS as f64;
        let reckoned = format!("1 replica × {each} pages × {MONTH_SECONDS} s / {period_s} s");
        self.add("collecting: LIST blk/ and cat/", reckoned, each * MONTH_SECONDS / period_s, Unit::Put);
    }

    /// Cuts and merges, as long as anything is written.
    fn blocks(&mut self, load: &Load) {
        if load.segments_per_second <= 0.0 {
            return;
        }
        let cut_s = load.cut_ms.max(1) as f64 / SECOND_MS as f64;
        let cuts = f64::from(PARTITIONS) * MONTH_SECONDS / cut_s;
        let reckoned = format!("{PARTITIONS} partitions × (block + record) × {MONTH_SECONDS} s / {cut_s} s");
        self.add("cuts: PUT", reckoned, 2.0 * cuts, Unit::Put);
        let joined = MERGE_BLOCKS_MIN as f64;
        let merges = cuts / (joined - 1.0);
        let reckoned = format!("{cuts:.0} blocks / {} × (block + record)", joined - 1.0);
        self.add("merges: PUT", reckoned, 2.0 * merges, Unit::Put);
        self.add("merges: GET", format!("{merges:.0} × {joined} blocks"), merges * joined, Unit::Get);
        let records = (cuts + merges) * (1.0 + 1.0 / CHECKPOINT_RECORDS_MIN as f64);
        let reckoned = format!("{} replicas × {records:.0} records", load.replicas);
        self.add("catalogue: GET", reckoned, load.replicas as f64 * records, Unit::Get);
    }
}

/// Requests of a listing of so many objects.
fn pages(objects: u64) -> f64 {
    objects.div_ceil(PAGE_KEYS_MAX as u64).max(1) as f64
}
