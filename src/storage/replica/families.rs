//! What is known of metric families (TYPE, HELP, UNIT), kept in the bucket.
//!
//! Blocks have none of it, and the log forgets what is in blocks: so all that a replica knows stands in an object of
//! its own, and the next start reads it. Owns these objects, their bytes, and when one is written. Every replica may
//! write, at any time: an object has everything that its writer had read, only then are those deleted that he has read,
//! and several say together what each says (of two descriptions of a family the later one stays, [`MetadataTable`]).
//! Nothing waits for this, neither a start nor an answer; and a build that does not know these objects passes over them.
//!
//! ```text
//! meta/<id>.fam, in the envelope of catalogue objects:
//! varint families · of each: tenant · metric · help · unit · u8 type · zigzag ms when it was received
//! of each text: varint bytes, UTF-8
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};
use xxhash_rust::xxh3::xxh3_128;

use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::{put_i64, put_u64};
use crate::model::{Metadata, MetricType, TenantId};
use crate::replication::bucket::{BucketError, Entry, Request};
use crate::replication::codec::{self, Kind};
use crate::replication::fresh_ids::FreshIds;
use crate::replication::names::{FAMILIES, ObjectName};
use crate::replication::script::{JobError, failed};
use crate::storage::bucket::Scripts;
use crate::storage::bucket::scripts::pause;
use crate::storage::head::MetadataTable;
use crate::storage::head::metadata::Described;

/// More objects become one even where there is no news.
const OBJECTS_MAX: usize = 4;
/// The latest of them are read, one at a time: there are few, unless somebody prevents that they are deleted.
const READ_MAX: usize = 64;
/// What was received longest ago is left out of an object that would have more.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Nobody writes a larger object: one that is there is somebody else's, and is not fetched. The rest is envelope.
const OBJECT_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + 1024;
/// Four empty texts, a type and a time.
const FAMILY_BYTES_MIN: usize = 6;

/// Of which tenant a family is, and how it is described.
pub type Told = (TenantId, Described);

/// See the module.
pub struct Families {
    table: Arc<MetadataTable>,
    scripts: Scripts,
    ids: FreshIds,
    /// What was received longer ago is forgotten.
    keep_ms: i64,
    /// Between two looks, about.
    every_ms: u64,
    /// What the objects in the bucket say, by the fingerprint of each description.
    said: BTreeMap<u128, HashSet<u128>>,
    /// Left alone: a newer build may have written them.
    unreadable: BTreeSet<u128>,
}

impl Families {
    pub fn new(
        table: Arc<MetadataTable>,
        scripts: Scripts,
        ids: FreshIds,
        keep_ms: i64,
        every_ms: u64,
    ) -> Self {
        let (said, unreadable) = (BTreeMap::new(), BTreeSet::new());
        Self { table, scripts, ids, keep_ms, every_ms, said, unreadable }
    }

    /// Reads what there is and then keeps it up to date, until the guard is dropped.
    pub fn start(self, runtime: &Handle) -> DropGuard {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = self.run() => {}
            }
        });
        stop.drop_guard()
    }

    async fn run(mut self) {
        let mut failures = 0;
        while let Err(error) = self.read().await {
            debug!(%error, "what the bucket says of metric families is not read yet");
            failures += 1;
            pause(failures).await;
        }
        if self.scripts.bucket.through_ms().is_some() {
            return; // the past says nothing more
        }
        loop {
            // Replicas that start together do not write the same together.
            let pause_ms = self.every_ms / 2 + self.ids.below(self.every_ms);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            if let Err(error) = self.look().await {
                debug!(%error, "metric families in the bucket are looked at again later");
            }
        }
    }

    async fn look(&mut self) -> Result<(), JobError> {
        self.read().await?;
        if self.scripts.bucket.is_read_only() { Ok(()) } else { self.write_news().await }
    }

    /// Learns what objects say that were not read yet. Where one was deleted meanwhile, the rest is for the next look:
    /// another one, which was not listed yet, says the same. One that the store refuses keeps nobody from the others.
    async fn read(&mut self) -> Result<(), JobError> {
        let listed = listed(&self.scripts).await?;
        self.said.retain(|id, _| listed.contains_key(id));
        self.unreadable.retain(|id| listed.contains_key(id));
        let is_read = |(id, _): &(u128, u64)| self.said.contains_key(id) || self.unreadable.contains(id);
        let unread = listed.into_iter().rev().filter(|one| !is_read(one)).take(READ_MAX);
        for (id, bytes) in unread.collect::<Vec<_>>() {
            let object = match get(&self.scripts, id, bytes).await {
                Err(error @ JobError::Bucket { source: BucketError::Refused(_), .. }) => {
                    warn!(%error, "metric families are not read for now");
                    continue;
                }
                object => object?,
            };
            let mut said = HashSet::new();
            let read = object.and_then(|object| {
                decode(&object, |one| {
                    said.insert(fingerprint(&one));
                })?;
                // All of it makes sense.
                decode(&object, |(tenant, described)| self.table.load(&tenant, described))
            });
            match read {
                Ok(()) => {
                    self.said.insert(id, said);
                }
                Err(why) => {
                    warn!(object = %ObjectName::Families(id), why, "metric families cannot be read");
                    self.unreadable.insert(id);
                }
            }
        }
        Ok(())
    }

    /// Writes all that is known where something of it is in no object, and deletes what was read before.
    async fn write_news(&mut self) -> Result<(), JobError> {
        let told = self.young();
        let fingerprints: HashSet<u128> = told.iter().map(fingerprint).collect();
        let is_said = |one: &u128| self.said.values().any(|said| said.contains(one));
        if fingerprints.iter().all(is_said) && self.said.len() <= OBJECTS_MAX {
            return Ok(());
        }
        let id = self.ids.object(self.scripts.clock.now_ms());
        let name = ObjectName::Families(id);
        let put = Request::Put { name: name.clone(), bytes: encode(&told) };
        self.scripts.bucket.perform(put).await.map_err(|source| failed(&name, source))?;
        let before = std::mem::replace(&mut self.said, BTreeMap::from([(id, fingerprints)]));
        for id in before.into_keys() {
            let name = ObjectName::Families(id);
            // One that stays is listed, and read, and deleted with a later news.
            self.scripts
                .bucket
                .perform(Request::Delete { name: name.clone() })
                .await
                .map_err(|source| failed(&name, source))?;
        }
        Ok(())
    }

    /// What one object may say, the latest first.
    fn young(&self) -> Vec<Told> {
        let oldest_ms = self.scripts.clock.now_ms().saturating_sub(self.keep_ms);
        let mut told = self.table.all();
        told.retain(|(_, described)| described.received_ms >= oldest_ms);
        told.sort_by(|(a_tenant, a), (b_tenant, b)| {
            let rank = |one: &Described| Reverse(one.received_ms);
            rank(a).cmp(&rank(b)).then_with(|| (a_tenant, &a.metadata).cmp(&(b_tenant, &b.metadata)))
        });
        let (mut bytes, mut scratch) = (0, Vec::new());
        let fitting = told.iter().take_while(|one| {
            scratch.clear();
            put_family(&mut scratch, one);
            bytes += scratch.len();
            bytes <= BODY_BYTES_MAX
        });
        let fitting = fitting.count();
        told.truncate(fitting);
        told
    }
}

/// What all objects of the bucket say, as far as this build reads them. Not found is one that was deleted meanwhile:
/// another one, which was not listed yet, says the same.
pub async fn told(scripts: &Scripts) -> Result<Vec<Told>, JobError> {
    let mut all = Vec::new();
    for (id, bytes) in listed(scripts).await?.into_iter().rev().take(READ_MAX) {
        let mut told = Vec::new();
        let object = get(scripts, id, bytes).await?;
        match object.and_then(|object| decode(&object, |one| told.push(one))) {
            Ok(()) => all.append(&mut told),
            Err(why) => warn!(object = %ObjectName::Families(id), why, "metric families cannot be read"),
        }
    }
    Ok(all)
}

/// Which objects there are, and their bytes.
async fn listed(scripts: &Scripts) -> Result<BTreeMap<u128, u64>, JobError> {
    let entries = scripts.run(|desk| async move { desk.list(FAMILIES).await }).await;
    let entries = entries.map_err(|(_, error)| error)?;
    let sized = |entry: &Entry| match ObjectName::parse(&entry.key)? {
        ObjectName::Families(id) => Some((id, entry.bytes)),
        _ => None,
    };
    Ok(entries.iter().filter_map(sized).collect())
}

/// An object of which a listing says that it has so many bytes; the inner error says why it is nobody's.
async fn get(scripts: &Scripts, id: u128, bytes: u64) -> Result<Result<Bytes, String>, JobError> {
    if bytes > OBJECT_BYTES_MAX {
        return Ok(Err(format!("it has {bytes} bytes, more than {OBJECT_BYTES_MAX} are not read")));
    }
    let name = ObjectName::Families(id);
    let object = scripts.get_each(vec![name.clone()]).await.pop();
    let missing = Err(BucketError::Unknown("no answer".to_owned()));
    object.unwrap_or(missing).map(Ok).map_err(|source| failed(&name, source))
}

fn encode(told: &[Told]) -> Bytes {
    let mut body = Vec::new();
    put_u64(&mut body, told.len() as u64);
    told.iter().for_each(|one| put_family(&mut body, one));
    codec::seal(Kind::Families, &body)
}

fn put_family(out: &mut Vec<u8>, (tenant, described): &Told) {
    put_description(out, tenant, &described.metadata);
    put_i64(out, described.received_ms);
}

fn put_description(out: &mut Vec<u8>, tenant: &TenantId, metadata: &Metadata) {
    for text in [tenant.as_str(), &metadata.metric, &metadata.help, &metadata.unit] {
        put_sized(out, text.as_bytes());
    }
    out.push(metadata.metric_type as u8);
}

/// Of what is said, whenever it was received: to hear it again is no news.
fn fingerprint((tenant, described): &Told) -> u128 {
    let mut bytes = Vec::new();
    put_description(&mut bytes, tenant, &described.metadata);
    xxh3_128(&bytes)
}

/// One after the other: all together may take many times what their bytes do. The error says what is wrong with these.
fn decode(object: &[u8], mut each: impl FnMut(Told)) -> Result<(), String> {
    let malformed = |error: Malformed| error.to_string();
    let mut cursor = Cursor::new(codec::open(Kind::Families, object).map_err(|error| error.to_string())?);
    let count = cursor.count(cursor.len() / FAMILY_BYTES_MIN).map_err(malformed)?;
    for _ in 0..count {
        let tenant = cursor.text().map_err(malformed)?;
        let tenant = TenantId::parse(tenant).map_err(|error| error.to_string())?;
        let mut text = || cursor.text().map(str::to_owned).map_err(malformed);
        let (metric, help, unit) = (text()?, text()?, text()?);
        let metric_type = MetricType::from_number(cursor.u8().map_err(malformed)?);
        let received_ms = cursor.zigzag().map_err(malformed)?;
        let metadata = Metadata { metric, metric_type, help, unit };
        each((tenant, Described { received_ms, metadata }));
    }
    cursor.end().map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::storage::bucket::{BucketClient, faults};

    const NOW_MS: i64 = 1_700_000_000_000;
    const KEEP_MS: i64 = 1000;

    fn told(metric: &str, help: &str, received_ms: i64) -> Told {
        let metadata = Metadata {
            metric: metric.to_owned(),
            metric_type: MetricType::Counter,
            help: help.to_owned(),
            unit: "s".to_owned(),
        };
        (TenantId::anonymous(), Described { received_ms, metadata })
    }

    fn replica(bucket: &BucketClient, seed: u8) -> Families {
        let scripts = Scripts { bucket: bucket.clone(), clock: ManualClock::at_ms(NOW_MS) };
        Families::new(Arc::default(), scripts, FreshIds::from_seed([seed; 32]), KEEP_MS, 1)
    }

    fn hear(replica: &Families, (tenant, described): Told) {
        replica.table.apply(&tenant, &[described.metadata], described.received_ms);
    }

    fn known(replica: &Families) -> Vec<String> {
        let of_tenant = replica.table.of_tenant(&TenantId::anonymous(), None);
        of_tenant.into_iter().map(|metadata| format!("{} {}", metadata.metric, metadata.help)).collect()
    }

    async fn objects(replica: &Families) -> BTreeSet<u128> {
        listed(&replica.scripts).await.expect("in memory").into_keys().collect()
    }

    fn decoded(object: &[u8]) -> Result<Vec<Told>, String> {
        let mut told = Vec::new();
        decode(object, |one| told.push(one)).map(|()| told)
    }

    #[test]
    fn families_come_back_and_a_cut_or_changed_body_never_panics() {
        let all = vec![told("up", "whether it is there", 5), told("down", "", -5)];
        let object = encode(&all);

        assert_eq!(decoded(&object), Ok(all.clone()));
        assert_eq!(fingerprint(&told("up", "x", 1)), fingerprint(&told("up", "x", 2)));
        assert_ne!(fingerprint(&told("up", "x", 1)), fingerprint(&told("up", "y", 1)));
        let body = codec::open(Kind::Families, &object).expect("as it was sealed");
        for cut in 0..body.len() {
            assert!(decoded(&codec::seal(Kind::Families, &body[..cut])).is_err(), "cut at {cut}");
        }
        for at in 0..body.len() {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut changed = body.to_vec();
                changed[at] = byte;
                if let Ok(read) = decoded(&codec::seal(Kind::Families, &changed)) {
                    assert!(read.len() <= body.len(), "byte {at}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_one_replica_has_heard_the_next_start_knows_and_no_news_is_not_written() {
        let bucket = faults::client(faults::plain("memory:"));
        let mut one = replica(&bucket, 1);
        one.look().await.expect("in memory");
        assert!(objects(&one).await.is_empty(), "there is nothing to say");
        hear(&one, told("up", "first", NOW_MS));
        hear(&one, told("forgotten", "long ago", NOW_MS - KEEP_MS - 1));
        one.look().await.expect("in memory");
        let written = objects(&one).await;
        assert_eq!(written.len(), 1);

        let mut other = replica(&bucket, 2);
        other.read().await.expect("in memory");
        assert_eq!(known(&other), ["up first"]);
        hear(&other, told("up", "first", NOW_MS + 5));
        other.look().await.expect("in memory");
        one.look().await.expect("in memory");
        assert_eq!(objects(&one).await, written, "nobody has news");
    }

    #[tokio::test]
    async fn who_writes_has_read_what_he_deletes_and_all_come_to_know_the_same() {
        let bucket = faults::client(faults::plain("memory:"));
        let mut replicas = [replica(&bucket, 1), replica(&bucket, 2)];
        for (replica, metric) in replicas.iter_mut().zip(["a", "b"]) {
            hear(replica, told(metric, "x", NOW_MS));
            // Both write before either has read the other's.
            replica.write_news().await.expect("in memory");
        }
        assert_eq!(objects(&replicas[0]).await.len(), 2);

        hear(&replicas[0], told("c", "x", NOW_MS));
        replicas[0].look().await.expect("in memory");
        replicas[1].look().await.expect("in memory");

        assert_eq!(objects(&replicas[0]).await.len(), 1);
        for replica in &replicas {
            assert_eq!(known(replica), ["a x", "b x", "c x"]);
        }
    }

    #[tokio::test]
    async fn what_is_larger_than_anybody_writes_is_not_fetched_and_keeps_nobody_from_the_rest() {
        let bucket = faults::client(faults::plain("memory:"));
        let mut one = replica(&bucket, 1);
        let name = ObjectName::Families(u128::MAX);
        let bytes = Bytes::from(vec![0; OBJECT_BYTES_MAX as usize + 1]);
        bucket.perform(Request::Put { name, bytes }).await.expect("in memory");
        hear(&one, told("up", "x", NOW_MS));

        one.look().await.expect("in memory");

        assert_eq!((objects(&one).await.len(), one.unreadable.len()), (2, 1));
        assert!(bucket.figures().received_bytes < OBJECT_BYTES_MAX);
        let mut other = replica(&bucket, 2);
        other.read().await.expect("in memory");
        assert_eq!(known(&other), ["up x"]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_stays_and_the_rest_is_known() {
        let bucket = faults::client(faults::plain("memory:"));
        let mut one = replica(&bucket, 1);
        let name = ObjectName::Families(u128::MAX);
        let put = Request::Put { name, bytes: Bytes::from_static(b"of another build") };
        bucket.perform(put).await.expect("in memory");
        hear(&one, told("up", "x", NOW_MS));

        one.look().await.expect("in memory");
        one.look().await.expect("in memory");

        assert_eq!(objects(&one).await.len(), 2);
        let mut other = replica(&bucket, 2);
        other.read().await.expect("in memory");
        assert_eq!(known(&other), ["up x"]);
        assert_eq!(super::told(&other.scripts).await.expect("in memory").len(), 1);
    }
}
