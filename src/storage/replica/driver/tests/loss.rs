//! A segment that no replica can read, and an operator who gives it up.

use bytes::Bytes;

use super::*;
use crate::clock::SystemClock;
use crate::replication::bucket::{Answer, Request};
use crate::replication::names::ObjectName;
use crate::storage::bucket::Scripts;
use crate::storage::replica::quarantine::Quarantined;
use crate::storage::survey::loss::{Patience, accept, assess};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_quarantined_a_segment_answer_completely_after_it_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bucket) in buckets(&folder) {
        let uncut = |options: &mut crate::replication::replica::Options| {
            options.limits.cut_age_ms = 3_600_000;
            options.limits.cut_segments_min = 1000;
        };
        let one = Process::start_with("one", &bucket, uncut, toy::nobody()).await;
        let lost = one.driver.write(sample(1)).await.unwrap();
        let kept = one.driver.write(sample(2)).await.unwrap();
        assert_ne!(lost, kept, "{name}: each has its segment");
        drop(one); // with all that it held
        let put = Request::Put { name: ObjectName::Segment(lost), bytes: Bytes::from_static(b"damaged") };
        assert_eq!(bucket.perform(put).await, Ok(Answer::Done));

        let other = Process::start_unready("other", &bucket, uncut, toy::nobody());
        // Of what times it is it does not say: the store would refuse every question.
        let unread = Quarantined { segment: lost, times: None };
        other.ready().await;
        assert_eq!(other.driver.status().quarantined[..], [unread], "{name}: a start does not wait for it");
        other.driver.read(Consistency::Strong).await.unwrap();
        assert_eq!(other.driver.status().quarantined[..], [unread], "{name}: whoever answers then knows");

        let scripts = Scripts { bucket: bucket.clone(), clock: Arc::new(SystemClock) };
        let loss = assess(&scripts, lost, Patience { silent_ms: 0, cut_ms: 0 }).await.unwrap();
        accept(&scripts, &loss).await.unwrap();

        let is_free = async || other.driver.status().quarantined.is_empty().then_some(());
        eventually(name, is_free).await;
        other.driver.read(Consistency::Strong).await.unwrap();
        assert_eq!(other.samples().await, sample(2), "{name}: what was not damaged");
    }
}
