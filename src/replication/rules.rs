//! The rules that protect data, by name, so that a test can break each of them alone.
//!
//! Owns the list. In a build that is no test every rule is kept and asking costs nothing; the simulation
//! breaks one at a time to see it caught (`simulation::broken_rules`). What each rule is for is told in
//! `protocol.md`.

/// A rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// W1: every process start writes a log of its own.
    FreshLog,
    /// W2: acknowledge after the segment's write was answered.
    AckAfterPut,
    /// W3: a segment's bytes are fixed before the first attempt.
    FixedBytes,
    /// W4: stop sending a segment `publish_ms` after the first attempt.
    StopResending,
    /// T1: progress is an exact set.
    ExactProgress,
    /// T1: a segment that cannot be read is neither applied nor covered.
    DamagedIsNotApplied,
    /// T5: a held segment that no listing shows any more is dropped, and never cut.
    CutOnlyListed,
    /// T4: the applied set becomes durable together with the samples that it stands for. Kept by the store.
    AppliedWithSamples,
    /// B2: a record is written after all its blocks were.
    RecordLast,
    /// B2: a compaction reads every source or gives up.
    ReadEverySource,
    /// B3: publish within `publish_ms`, or not at all.
    PublishInTime,
    /// B4: a replacement names what was read, not what is in the window.
    ReplaceOnlyRead,
    /// C1: a listing that broke off says nothing about what is gone.
    CompleteListing,
    /// C2: a record is deleted once a checkpoint that includes it has been visible for long.
    RecordOutlivesGrace,
    /// C3: a checkpoint includes what it read.
    CheckpointReadsAll,
    /// C4: a dead block stays dead while anything could still call it live.
    DeadStaysDead,
    /// G1: a segment goes when every partition is covered.
    EveryPartitionCovered,
    /// G1: a segment goes after the blocks were seen.
    BlocksVerified,
    /// G2: a dead block stays for slow readers.
    DeadGrace,
    /// G3: a block without a record stays until no record can come.
    OrphanAge,
    /// G4: who cannot trust his clock drops nothing by age.
    TrustedClock,
    /// O1: what was not looked at in between was not so all the time.
    AgeEndsWithLook,
    /// D1: a deletion is announced before it is bound.
    IntentFirst,
    /// D2: no job starts between intent and bound.
    JobsWaitForBound,
    /// D3: a job reads the deletions after it chose its sources.
    TombstonesAfterSources,
    /// D4: a block lists what is settled in it, and is not filtered twice.
    SettledIsListed,
    /// D5: a deletion is forgotten when nothing it means can come back.
    TombstoneOutlives,
    /// R1: a strong read waits for a listing that began after it.
    StrongReadSweeps,
    /// R2: then for a catalogue that was read after that.
    StrongReadRefreshes,
}

#[cfg(test)]
impl Rule {
    pub const ALL: [Self; 29] = [
        Self::FreshLog,
        Self::AckAfterPut,
        Self::FixedBytes,
        Self::StopResending,
        Self::ExactProgress,
        Self::DamagedIsNotApplied,
        Self::CutOnlyListed,
        Self::AppliedWithSamples,
        Self::RecordLast,
        Self::ReadEverySource,
        Self::PublishInTime,
        Self::ReplaceOnlyRead,
        Self::CompleteListing,
        Self::RecordOutlivesGrace,
        Self::CheckpointReadsAll,
        Self::DeadStaysDead,
        Self::EveryPartitionCovered,
        Self::BlocksVerified,
        Self::DeadGrace,
        Self::OrphanAge,
        Self::TrustedClock,
        Self::AgeEndsWithLook,
        Self::IntentFirst,
        Self::JobsWaitForBound,
        Self::TombstonesAfterSources,
        Self::SettledIsListed,
        Self::TombstoneOutlives,
        Self::StrongReadSweeps,
        Self::StrongReadRefreshes,
    ];
}

/// Which rules are kept: all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    #[cfg(test)]
    pub broken: Option<Rule>,
}

impl Rules {
    #[inline]
    pub fn keep(self, rule: Rule) -> bool {
        #[cfg(test)]
        return self.broken != Some(rule);
        #[cfg(not(test))]
        {
            let _ = rule;
            true
        }
    }
}
