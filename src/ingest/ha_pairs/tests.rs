//! Elections by values, requests of several senders, and notices that anybody may have written.

use super::election::{CLUSTERS_MAX, Election, NAME_BYTES_MAX, Verdict};
use super::*;
use crate::ingest::testing::{Request, Series, integer_histogram};
use crate::ingest::{DecodeLimits, Protocol, ValidationRules, decode, validate};
use crate::model::Labels as SeriesLabels;
use crate::model::series_batch::{BatchSeries, LabelRef, RefusalReason, TextRef};

const FAILOVER_MS: u64 = 30_000;
const WALL_MS: i64 = 1_760_000_000_000;
const PATIENCE: Patience = Patience { failover_after_ms: FAILOVER_MS, settle_ms: 0 };
/// As on a bucket.
const SLOW: Patience = Patience { settle_ms: 40_000, ..PATIENCE };

/// So many milliseconds after the first moment.
fn at(ms: u64) -> Moment {
    Moment { boot_ms: 5_000_000 + ms, wall_ms: WALL_MS + ms as i64 }
}

fn tenant() -> TenantId {
    TenantId::anonymous()
}

/// Elections of one tenant.
struct Scene {
    elections: Elections,
    tenant: TenantId,
    clusters_max: Option<usize>,
}

impl Scene {
    fn new(patience: Patience) -> Self {
        Self { elections: Elections::new(patience), tenant: tenant(), clusters_max: None }
    }

    fn judge(&mut self, ms: u64, cluster: &str, replica: &str) -> Verdict {
        let sender = Sender { tenant: &self.tenant, cluster, replica };
        self.elections.judge(at(ms).boot_ms, sender, 0, self.clusters_max)
    }

    /// Gives the new term.
    fn deliver(&mut self, ms: u64, cluster: &str, replica: &str) -> Option<u64> {
        let sender = Sender { tenant: &self.tenant, cluster, replica };
        let change = self.elections.delivered(at(ms), sender, self.clusters_max)?;
        assert_eq!(change.to, replica);
        Some(change.term)
    }

    fn hear(&mut self, ms: u64, cluster: &str, theirs: Election) -> bool {
        self.elections.hear(at(ms), &self.tenant, cluster, theirs).is_some()
    }

    fn election(&self, cluster: &str) -> Election {
        let (_, of_tenant) = self.elections.tenants().next().expect("a tenant");
        of_tenant.clusters[cluster].clone()
    }
}

fn duplicate_since(ms: u64) -> Verdict {
    Verdict::Duplicate { before_ms: at(ms).wall_ms }
}

#[test]
fn the_first_that_delivers_is_elected_and_the_other_brings_duplicates() {
    let mut scene = Scene::new(PATIENCE);
    // Both have sent; who was not stored yet is not relied on.
    assert_eq!(scene.judge(0, "prod", "a"), Verdict::First);
    assert_eq!(scene.judge(1, "prod", "b"), Verdict::First);

    assert_eq!(scene.deliver(2, "prod", "b"), Some(1));
    assert_eq!(scene.deliver(3, "prod", "a"), None);

    assert_eq!(scene.judge(4, "prod", "b"), Verdict::Stored);
    assert_eq!(scene.judge(5, "prod", "a"), duplicate_since(2));
    assert_eq!(scene.judge(6, "other", "a"), Verdict::First, "each cluster has an election of its own");
    scene.tenant = TenantId::parse("somebody").expect("valid");
    assert_eq!(scene.judge(7, "prod", "a"), Verdict::First, "and each tenant");
}

#[test]
fn after_the_silence_of_the_elected_the_next_that_delivers_is_elected() {
    let mut scene = Scene::new(PATIENCE);
    scene.deliver(0, "prod", "a");

    assert_eq!(scene.deliver(FAILOVER_MS, "prod", "b"), None, "not yet");
    assert_eq!(scene.deliver(FAILOVER_MS + 1, "prod", "b"), Some(2));

    let later_ms = FAILOVER_MS + 2;
    assert_eq!(scene.judge(later_ms, "prod", "b"), Verdict::Stored);
    // Who comes back may fill the gap, and not go on beside the other.
    assert_eq!(scene.judge(later_ms, "prod", "a"), duplicate_since(FAILOVER_MS + 1));
    assert_eq!(scene.deliver(later_ms, "prod", "a"), None);
    assert_eq!(scene.deliver(3 * FAILOVER_MS, "prod", "a"), Some(3));
}

#[test]
fn an_elected_one_that_goes_on_is_never_replaced() {
    let mut scene = Scene::new(PATIENCE);
    for second in 0..600 {
        if second % 15 == 0 {
            assert_eq!(scene.deliver(second * 1000, "prod", "a"), (second == 0).then_some(1));
        }
        assert_eq!(scene.deliver(second * 1000 + 1, "prod", "b"), None);
    }
    assert_eq!(scene.judge(600_000, "prod", "b"), duplicate_since(0));
}

#[test]
fn an_unusual_silence_is_doubted_before_anybody_else_is_elected() {
    let stored_after = |pause_ms: u64| {
        let mut scene = Scene::new(PATIENCE);
        for number in 0..4 {
            scene.deliver(number * pause_ms, "prod", "a");
        }
        let last_ms = 3 * pause_ms;
        let doubted = (0..=FAILOVER_MS + 500)
            .step_by(500)
            .find(|silent_ms| scene.judge(last_ms + silent_ms, "prod", "b") == Verdict::Stored);
        let doubted_ms = doubted.expect("nobody is relied on for ever");
        if doubted_ms <= FAILOVER_MS {
            assert_eq!(scene.deliver(last_ms + doubted_ms, "prod", "b"), None, "doubted is not replaced");
            scene.deliver(last_ms + doubted_ms + 1, "prod", "a");
            assert_eq!(scene.judge(last_ms + doubted_ms + 2, "prod", "b"), duplicate_since(0));
        }
        doubted_ms
    };
    // Two sent within a moment tell nothing of how long a pause may be.
    assert_eq!(stored_after(1), 10_500);
    assert_eq!(stored_after(5_000), 10_500);
    assert_eq!(stored_after(8_000), 16_500);
    assert_eq!(stored_after(15_000), 30_500);
    assert_eq!(stored_after(25_000), 30_500, "never later than the failover");
}

#[test]
fn until_an_election_is_known_everywhere_nobody_is_relied_on() {
    let mut scene = Scene::new(SLOW);
    scene.deliver(0, "prod", "a");

    assert_eq!(scene.judge(1, "prod", "b"), duplicate_since(40_000));
}

#[test]
fn processes_that_hear_each_other_agree_whatever_the_order() {
    let heard = |elected: &str, term, since_ms| Election::new(elected, term, since_ms, at(0).boot_ms);
    // Best first.
    let ranked = [
        heard("a", 3, WALL_MS),
        heard("b", 2, WALL_MS - 5),
        heard("c", 2, WALL_MS),
        heard("b", 2, WALL_MS),
        heard("z", 1, WALL_MS - 9),
    ];
    for first in 0..ranked.len() {
        for second in 0..ranked.len() {
            for third in 0..ranked.len() {
                let mut scene = Scene::new(PATIENCE);
                for number in [first, second, third] {
                    scene.hear(1, "prod", ranked[number].clone());
                }
                let best = &ranked[first.min(second).min(third)];
                let agreed = scene.election("prod");
                assert_eq!((&agreed.elected, agreed.term), (&best.elected, best.term));
            }
        }
    }
}

#[test]
fn a_sender_that_another_process_hears_is_not_silent() {
    let mut scene = Scene::new(PATIENCE);
    scene.deliver(0, "prod", "a");
    let theirs = |heard_ms| Election::new("a", 1, WALL_MS, at(heard_ms).boot_ms);

    assert!(!scene.hear(20_000, "prod", theirs(19_000)), "it is the same election");
    assert!(!scene.hear(20_001, "prod", theirs(3_000)), "old news");

    assert_eq!(scene.election("prod").heard_ms, at(19_000).boot_ms);
    assert_eq!(scene.deliver(19_000 + FAILOVER_MS, "prod", "b"), None);
    assert_eq!(scene.deliver(19_000 + FAILOVER_MS + 1, "prod", "b"), Some(2));
}

#[test]
fn a_process_that_starts_anew_changes_nobodys_mind() {
    let mut old = Scene::new(PATIENCE);
    old.deliver(0, "prod", "a");
    let mut new = Scene::new(PATIENCE);
    new.deliver(9_000, "prod", "b");

    assert!(!old.hear(9_001, "prod", new.election("prod")));
    assert!(new.hear(9_001, "prod", old.election("prod")));

    assert_eq!(new.election("prod").elected, "a");
    assert_eq!(new.judge(9_002, "prod", "b"), duplicate_since(9_001), "it relied on b until then");
}

#[test]
fn a_peer_whose_clock_is_ahead_does_not_switch_deduplication_off() {
    let mut scene = Scene::new(SLOW);
    assert!(scene.hear(0, "prod", Election::new("a", 9, i64::MAX, at(0).boot_ms)));
    assert_eq!(scene.judge(1, "prod", "b"), duplicate_since(40_000));
}

#[test]
fn names_and_clusters_are_bounded() {
    let mut scene = Scene::new(PATIENCE);
    let longest = "x".repeat(NAME_BYTES_MAX);
    let too_long = "x".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(scene.judge(0, &longest, &longest), Verdict::First);
    for (cluster, replica) in [(longest.as_str(), too_long.as_str()), (too_long.as_str(), "a")] {
        assert_eq!(scene.judge(0, cluster, replica), Verdict::LongName { bytes: NAME_BYTES_MAX + 1 });
    }

    scene.clusters_max = Some(2);
    assert_eq!(scene.deliver(0, "one", "a"), Some(1));
    assert_eq!(scene.deliver(0, "two", "a"), Some(1));
    assert_eq!(scene.judge(1, "three", "a"), Verdict::TooManyClusters { limit: 2 });
    assert_eq!(scene.deliver(1, "three", "a"), None, "it slipped in beside others and is not entered");
    assert_eq!(scene.judge(2, "two", "b"), duplicate_since(0), "known ones go on");

    scene.clusters_max = None;
    for number in 2..CLUSTERS_MAX {
        assert_eq!(scene.deliver(3, &format!("cluster {number}"), "a"), Some(1));
    }
    assert_eq!(scene.judge(4, "three", "a"), Verdict::TooManyClusters { limit: CLUSTERS_MAX });
    assert!(!scene.hear(4, "three", Election::new("a", 1, WALL_MS, at(4).boot_ms)));
}

#[test]
fn a_cluster_that_nobody_sends_any_more_makes_room() {
    let mut scene = Scene::new(PATIENCE);
    scene.clusters_max = Some(1);
    scene.deliver(0, "old", "a");
    let hour_ms = 3_600_000;

    assert_eq!(scene.judge(hour_ms, "new", "a"), Verdict::TooManyClusters { limit: 1 });
    // It looks again after a minute.
    assert_eq!(scene.judge(hour_ms + 1, "new", "a"), Verdict::TooManyClusters { limit: 1 });
    assert_eq!(scene.judge(hour_ms + 60_000, "new", "a"), Verdict::First);
    assert_eq!(scene.deliver(hour_ms + 60_001, "new", "a"), Some(1));
}

fn pairs() -> HaPairs {
    HaPairs::new("cluster", "__replica__", PATIENCE)
}

fn read(protocol: Protocol, series: impl IntoIterator<Item = Series>) -> SeriesBatch {
    let body = Request::of(series).body(protocol);
    decode(protocol, body.into(), tenant(), &DecodeLimits::default()).expect("readable")
}

/// Deduplicated and judged; what is left, as text, and what became of the rest.
fn receive(pairs: &HaPairs, ms: u64, batch: &mut SeriesBatch) -> (Vec<String>, Deduplicated) {
    let mut found = pairs.deduplicate(batch, at(ms).boot_ms, Some(2));
    let rules = ValidationRules::at(WALL_MS, i64::MAX);
    found.refused.merge(validate(batch, &rules));
    let texts = |series: &BatchSeries| {
        let labels = batch
            .labels_of(series)
            .map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), String::from_utf8_lossy(v).into_owned()));
        let labels: Vec<_> = labels.collect();
        SeriesLabels::from_sorted(labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))).to_string()
    };
    (batch.series.iter().map(texts).collect(), found)
}

/// The request is stored and answered.
fn store(pairs: &HaPairs, ms: u64, batch: &mut SeriesBatch) -> (Vec<String>, Deduplicated) {
    let (left, found) = receive(pairs, ms, batch);
    let stored = batch.written() != Written::default();
    pairs.acknowledged(&batch.tenant, &found, stored, at(ms), Some(2));
    (left, found)
}

fn up(cluster: &str, replica: &str) -> Series {
    Series::new(&[("__name__", "up"), ("__replica__", replica), ("cluster", cluster), ("job", "x")])
}

#[test]
fn one_of_two_is_stored_without_its_replica_label_by_both_protocols() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let pairs = pairs();
        let series = |replica: &str| {
            up("prod", replica)
                .sample(WALL_MS + 5, 1.0)
                .sample(WALL_MS + 6, 1.0)
                .histogram(WALL_MS + 5, integer_histogram(0, &[1], 0, 1.0))
                .exemplar(&[("trace_id", "t")], WALL_MS + 5, 1.0)
        };

        let (left, found) = store(&pairs, 0, &mut read(protocol, [series("a")]));
        assert_eq!(left, [r#"up{cluster="prod", job="x"}"#]);
        assert_eq!(found.duplicates, Written::default());

        let (left, found) = store(&pairs, 1, &mut read(protocol, [series("b")]));
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(found.duplicates, Written { floats: 2, histograms: 1, exemplars: 1 });

        let figures = pairs.figures().remove(0);
        assert_eq!((figures.changes, figures.duplicates), (1, found.duplicates));
        assert_eq!(figures.elected, [("prod".to_owned(), "a".to_owned(), 1)]);
    }
}

#[test]
fn each_series_of_a_request_is_judged_for_itself() {
    let pairs = pairs();
    store(&pairs, 0, &mut read(Protocol::V1, [up("one", "a").sample(WALL_MS, 1.0)]));
    store(&pairs, 0, &mut read(Protocol::V1, [up("two", "b").sample(WALL_MS, 1.0)]));

    let sample = |series: Series| series.sample(WALL_MS + 9, 1.0);
    let alone = |labels: &[(&str, &str)]| {
        let mut all = vec![("__name__", "up")];
        all.extend_from_slice(labels);
        sample(Series::new(&all))
    };
    let mut batch = read(
        Protocol::V2,
        [
            sample(up("one", "a")),
            sample(up("one", "b")),
            sample(up("two", "a")),
            sample(up("two", "b")),
            alone(&[("cluster", "one")]),
            alone(&[("__replica__", "b")]),
            alone(&[("__replica__", "b"), ("cluster", "")]),
            alone(&[("__replica__", ""), ("cluster", "two")]),
            alone(&[("zone", "1")]),
        ],
    );
    let (left, found) = receive(&pairs, 1, &mut batch);

    let want = [
        r#"up{cluster="one", job="x"}"#,
        r#"up{cluster="two", job="x"}"#,
        r#"up{cluster="one"}"#,
        r#"up{__replica__="b"}"#,
        r#"up{__replica__="b"}"#,
        r#"up{cluster="two"}"#,
        r#"up{zone="1"}"#,
    ];
    assert_eq!(left, want);
    assert_eq!(found.duplicates.floats, 2);
    let senders = [("one", "a"), ("two", "b")].map(|(c, r)| (c.to_owned(), r.to_owned()));
    assert_eq!(found.senders, senders);
}

#[test]
fn what_a_duplicate_has_from_before_the_election_is_stored() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let pairs = pairs();
        store(&pairs, 0, &mut read(protocol, [up("prod", "a").sample(WALL_MS, 1.0)]));
        let series = up("prod", "b").sample(WALL_MS - 2, 1.0).sample(WALL_MS, 2.0).sample(WALL_MS - 1, 3.0);

        let mut batch = read(protocol, [series]);
        let (left, found) = store(&pairs, 1, &mut batch);

        assert_eq!(left, [r#"up{cluster="prod", job="x"}"#]);
        let times: Vec<_> = batch.floats_of(&batch.series[0]).iter().map(|s| s.timestamp_ms).collect();
        assert_eq!(times, [WALL_MS - 2, WALL_MS - 1]);
        assert_eq!(found.duplicates, Written { floats: 1, histograms: 0, exemplars: 0 });
        assert!(found.senders.is_empty(), "what is late makes nobody elected");
    }
}

#[test]
fn who_is_refused_is_not_elected() {
    let pairs = pairs();
    let mut ahead = read(Protocol::V2, [up("prod", "a").sample(WALL_MS + 86_400_000, 1.0)]);
    let (left, found) = store(&pairs, 0, &mut ahead);
    assert!(left.is_empty() && !found.refused.is_empty());

    let (left, _) = store(&pairs, 1, &mut read(Protocol::V2, [up("prod", "b").sample(WALL_MS, 1.0)]));
    assert_eq!(left.len(), 1);
    assert_eq!(pairs.figures()[0].elected[0].1, "b");
}

#[test]
fn what_is_beyond_a_bound_is_refused_by_name() {
    let pairs = pairs();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let clusters = ["one", "two", "three"].map(|cluster| up(cluster, "a").sample(WALL_MS, 1.0));
    let mut batch = read(Protocol::V2, clusters.into_iter().chain([up("one", &long).sample(WALL_MS, 1.0)]));

    let (left, found) = store(&pairs, 0, &mut batch);

    assert_eq!(left, [r#"up{cluster="one", job="x"}"#, r#"up{cluster="two", job="x"}"#]);
    let counts: Vec<_> = found.refused.counts.into_iter().collect();
    assert_eq!(counts, [(RefusalReason::HaClusters, 1), (RefusalReason::HaNameLength, 1)]);
    let text = found.refused.examples.join("\n");
    for word in ["ha_clusters", "limit of 2", "three", "257 bytes", "limit of 256"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn more_senders_than_are_remembered_are_stored_all_the_same() {
    let pairs = pairs();
    let series = (0..100).map(|number| up("prod", &format!("replica {number}")).sample(WALL_MS, 1.0));

    let (left, found) = store(&pairs, 0, &mut read(Protocol::V2, series.clone()));
    assert_eq!((left.len(), found.senders.len()), (100, 64));

    let (left, found) = store(&pairs, 1, &mut read(Protocol::V2, series));
    assert_eq!((left.len(), found.duplicates.floats), (1, 99));
}

/// One series with these labels as bytes, and a good sample.
fn raw(labels: &[(&[u8], &[u8])]) -> SeriesBatch {
    let mut batch = read(Protocol::V2, [up("prod", "a").sample(WALL_MS, 1.0)]);
    let mut text = Vec::new();
    let mut push = |part: &[u8]| {
        let start = text.len() as u32;
        text.extend(part);
        TextRef { start, len: part.len() as u32 }
    };
    let refs = labels.iter().map(|(name, value)| LabelRef { name: push(name), value: push(value) });
    batch.labels = refs.collect();
    batch.text = text.into();
    batch.series[0].labels = 0..labels.len() as u32;
    batch
}

#[test]
fn what_is_no_pair_of_good_labels_is_left_to_the_judgement() {
    let check = |labels: &[(&[u8], &[u8])], want: RefusalReason| {
        let (left, found) = receive(&pairs(), 0, &mut raw(labels));
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(found.refused.counts.into_iter().collect::<Vec<_>>(), [(want, 1)]);
    };
    let name = (&b"__name__"[..], &b"up"[..]);
    let (cluster, replica) = ((&b"cluster"[..], &b"prod"[..]), (&b"__replica__"[..], &b"a"[..]));
    check(&[name, cluster, replica, replica], RefusalReason::DuplicateLabel);
    check(&[cluster, name, cluster, replica], RefusalReason::DuplicateLabel);
    let (no_cluster, no_replica) = ((cluster.0, &b"\xff"[..]), (replica.0, &b"a\xff"[..]));
    check(&[name, no_cluster, replica], RefusalReason::InvalidUtf8);
    check(&[name, cluster, no_replica], RefusalReason::InvalidUtf8);
    check(&[cluster, replica], RefusalReason::MissingMetricName);

    // Labels in any order, and the pair's at the ends.
    let (left, _) = receive(&pairs(), 0, &mut raw(&[replica, name, cluster]));
    assert_eq!(left, [r#"up{cluster="prod"}"#]);
}

#[test]
fn a_notice_tells_another_process_everything() {
    let (here, there) = (pairs(), pairs());
    let odd = "\u{0}\"\\ ü";
    store(&here, 0, &mut read(Protocol::V2, [up("prod", "a").sample(WALL_MS, 1.0)]));
    store(&here, 500, &mut read(Protocol::V2, [up(odd, odd).sample(WALL_MS, 1.0)]));

    there.hear("here", &here.notice(at(2_000).boot_ms, 1 << 20), at(9_000));

    let of = |pairs: &HaPairs| pairs.figures().remove(0).elected;
    assert_eq!(of(&there), of(&here));
    let elections = there.elections.lock();
    let (_, of_tenant) = elections.tenants().next().expect("a tenant");
    // The way that it took makes the silence look shorter.
    assert_eq!(of_tenant.clusters["prod"].heard_ms, at(7_000).boot_ms);
    assert_eq!(of_tenant.clusters[odd].heard_ms, at(7_500).boot_ms);
}

#[test]
fn nobody_passes_on_what_he_was_told() {
    let (here, there) = (pairs(), pairs());
    let mut sent = read(Protocol::V2, [up("prod", "a").sample(WALL_MS, 1.0)]);
    store(&here, 0, &mut sent.clone());
    there.hear("here", &here.notice(at(0).boot_ms, 1 << 20), at(0));

    assert_eq!(there.notice(at(1).boot_ms, 1 << 20), "");
    store(&there, 2, &mut sent);
    assert!(there.notice(at(3).boot_ms, 1 << 20).contains(r#""silent_ms":1}"#), "it heard that itself");
}

#[test]
fn a_notice_is_bounded_and_says_first_what_was_heard_last() {
    let mut scene = Scene::new(PATIENCE);
    for number in 0..100 {
        scene.deliver(number, &format!("cluster {number}"), "a");
    }
    let now_ms = at(100).boot_ms;
    let whole = notice::write(&scene.elections, now_ms, usize::MAX);
    assert_eq!(notice::read(&whole, now_ms).expect("ours").len(), 100);

    let some = notice::write(&scene.elections, now_ms, whole.len() - 1);
    assert!(some.len() < whole.len());
    let told = notice::read(&some, now_ms).expect("ours");
    assert_eq!(told.len(), 99);
    assert!(told.iter().all(|(_, cluster, _)| cluster != "cluster 0"));

    for bytes_max in 0..200 {
        let text = notice::write(&scene.elections, now_ms, bytes_max);
        assert!(text.len() <= bytes_max);
        notice::read(&text, now_ms).expect("whole lines or nothing");
    }
    let later_ms = at(3_700_000).boot_ms;
    assert_eq!(notice::write(&scene.elections, later_ms, usize::MAX), "", "nobody sends them any more");
}

#[test]
fn what_cannot_be_true_in_a_notice_is_not_believed() {
    let believed = |text: &str| notice::read(text, 1_000).map_or(usize::MAX, |lines| lines.len());
    let line = |tenant: &str, cluster: &str, elected: &str, term: u64| {
        format!(
            r#"{{"tenant":"{tenant}","cluster":"{cluster}","elected":"{elected}","term":{term},"since_ms":0,"silent_ms":0}}"#
        )
    };
    let of = |lines: &[String]| format!(r#"{{"ha_elections":[{}]}}"#, lines.join(","));
    let good = line("a", "b", "c", 1);
    let long = "x".repeat(NAME_BYTES_MAX + 1);

    assert_eq!(believed(""), 0);
    assert_eq!(believed("{}"), 0);
    assert_eq!(believed(&of(std::slice::from_ref(&good))), 1);
    for bad in [
        line("", "b", "c", 1),
        line("a/b", "b", "c", 1),
        line("a", "", "c", 1),
        line("a", "b", "", 1),
        line("a", &long, "c", 1),
        line("a", "b", &long, 1),
        line("a", "b", "c", 0),
        line("a", "b", "c", u64::MAX),
    ] {
        assert_eq!(believed(&of(&[bad, good.clone()])), 1);
    }
    let many: Vec<String> =
        (0..2 * CLUSTERS_MAX).map(|number| line("a", &number.to_string(), "c", 1)).collect();
    assert_eq!(believed(&of(&many)), CLUSTERS_MAX);
    // A later version says more.
    let later = good.replacen('{', r#"{"more":{"of":[1]},"#, 1);
    assert_eq!(believed(&format!(r#"{{"else":[],"ha_elections":[{later}]}}"#)), 1);
    for nonsense in ["[", "7", "\"\"", r#"{"ha_elections":7}"#, r#"{"ha_elections":[{}]}"#] {
        assert_eq!(believed(nonsense), usize::MAX, "{nonsense}");
    }
    // Silent for longer than this machine runs.
    let silent = good.replace(r#""silent_ms":0"#, &format!(r#""silent_ms":{}"#, u64::MAX));
    let heard = notice::read(&of(&[silent]), 1_000).expect("a notice");
    assert_eq!(heard[0].2.heard_ms, 0);
    // It is not believed, and breaks nothing.
    let listening = pairs();
    listening.hear("somebody", "[", at(0));
    assert!(listening.figures().is_empty());
}
