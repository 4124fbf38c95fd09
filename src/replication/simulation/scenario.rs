//! What kind of day a seed stands for.
//!
//! Owns the compressed times and the chances. Every inequality of [`Timing`] holds here as in the product, at
//! a scale at which settling, orphans and retention happen within minutes.

use crate::replication::maintenance::Limits;
use crate::replication::timing::Timing;

use super::dice::Dice;

#[derive(Clone, Debug)]
pub struct Scenario {
    pub replicas: usize,
    pub duration_ms: u64,
    pub timing: Timing,
    pub limits: Limits,
    pub respect_owners: bool,
    pub fault_permille: u64,
    pub flip_permille: u64,
    /// Of writes that fail, how many still land, and late.
    pub late_permille: u64,
    /// Listings may miss young objects.
    pub list_lags: bool,
    /// Blocks that the bucket took may be gone at once.
    pub loses_blocks: bool,
    /// Between two disturbances of a replica.
    pub chaos_ms: u64,
    /// Machines are suspended in the middle of writes, and for long.
    pub sleepers: bool,
    /// Of disturbances, how many last so long that the others forget.
    pub long_permille: u64,
    /// Between two requests of a client.
    pub write_ms: u64,
    pub delete_ms: u64,
    pub read_ms: u64,
    /// One replica's wall clock is wrong by this.
    pub wrong_clock_ms: i64,
    /// After the day the replicas are left alone until nothing is left to do.
    pub comes_to_rest: bool,
}

pub const RETENTION_MS: i64 = 900_000;

const TIMING: Timing = Timing {
    flush_ms: 400,
    write_deadline_ms: 8_000,
    backoff_min_ms: 100,
    backoff_max_ms: 3_000,
    sweep_ms: 8_000,
    refresh_ms: 6_000,
    heartbeat_ms: 10_000,
    maintenance_ms: 2_000,
    read_deadline_ms: 15_000,
    publish_ms: 22_000,
    late_write_ms: 15_000,
    grace_ms: 24_000,
    segment_keep_ms: 20_000,
    settle_ms: 150_000,
    orphan_ms: 600_000,
    list_lag_ms: 0,
    clock_skew_max_ms: 20_000,
    retention_slack_ms: 60_000,
};

impl Scenario {
    pub fn of(seed: u64, dice: &mut Dice) -> Self {
        let list_lags = seed % 8 == 3;
        let loses_blocks = seed % 16 == 5;
        let sleepers = seed % 8 == 1;
        let list_lag_ms = if list_lags { 5_000 } else { 0 };
        let maintenance_ms = if sleepers { 1_000 } else { TIMING.maintenance_ms };
        let timing = Timing { list_lag_ms, maintenance_ms, ..TIMING };
        assert_eq!(timing.flaw(), None);
        Self {
            replicas: if dice.permille(800) { 3 } else { 2 },
            duration_ms: if sleepers || dice.permille(150) {
                1_800_000
            } else {
                dice.range(300_000, 900_000)
            },
            timing,
            limits: Limits {
                cut_segments_min: 1 + dice.range(0, 3) as usize,
                cut_segments_max: 200,
                cut_age_ms: 30_000,
                merge_blocks_min: 2 + dice.range(0, 3) as usize,
                merge_blocks_max: 5,
                merge_bytes_max: u64::MAX,
                checkpoint_records_min: dice.pick(&[4, 10, 25]),
                retention_ms: Some(RETENTION_MS),
            },
            respect_owners: dice.permille(300),
            fault_permille: if sleepers { 100 } else { dice.pick(&[0, 20, 60, 150]) },
            flip_permille: dice.pick(&[0, 0, 10, 30]),
            late_permille: dice.pick(&[100, 400]),
            list_lags,
            loses_blocks,
            chaos_ms: if sleepers { 200_000 } else { dice.pick(&[20_000, 60_000, 200_000]) },
            write_ms: dice.pick(&[1_500, 4_000, 8_000]),
            delete_ms: if sleepers { 30_000 } else { dice.pick(&[30_000, 90_000, 300_000]) },
            sleepers,
            long_permille: if sleepers { 500 } else { 100 },
            read_ms: dice.pick(&[5_000, 12_000]),
            wrong_clock_ms: if dice.permille(300) { dice.pick(&[-700_000, 700_000, 1_500_000]) } else { 0 },
            comes_to_rest: seed.is_multiple_of(16),
        }
    }
}
