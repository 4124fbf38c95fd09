//! The senders of an HA pair reach different replicas, which judge them alike.

use std::time::Duration;

use crate::ha_pairs::{is_elected, send, stored};
use crate::support::eventually;
use crate::support::wire::Protocol;

use super::bucket::Bucket;
use super::row::Row;

const WITHIN: Duration = Duration::from_secs(90);
const OF_B_AFTER: f64 = 1000.0;

#[test]
fn who_is_elected_at_one_replica_is_so_at_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    // Heartbeats come every second.
    let flags = ["--bucket.flush-interval=100ms", "--ha.failover-after=15s"];
    let row = Row::start(directory.path(), Bucket::new(directory.path()), &flags);
    let [first, second, third] = [0, 1, 2].map(|number| row.client(number));

    // Each reaches a replica of its own, which has heard of no other sender: alone it would elect who comes.
    assert_eq!(send(&first, Protocol::V2, "a", 1.0), 204);
    let mut statuses = Vec::new();
    let agreed = eventually(WITHIN, || {
        send(&first, Protocol::V2, "a", 1.0);
        statuses = vec![send(&second, Protocol::V1, "b", 2.0), send(&third, Protocol::V2, "b", 2.0)];
        statuses == [202, 202]
    });
    assert!(agreed, "{statuses:?}\n{}", row.logs());

    // Nothing of a any more: b is elected, and then a is a duplicate where it was elected before.
    let taken = eventually(WITHIN, || {
        send(&second, Protocol::V2, "b", OF_B_AFTER);
        is_elected(&second, "b")
    });
    assert!(taken, "{}", row.logs());
    let agreed = eventually(WITHIN, || {
        send(&second, Protocol::V2, "b", OF_B_AFTER);
        statuses = vec![send(&first, Protocol::V2, "a", 3.0), send(&third, Protocol::V1, "a", 3.0)];
        statuses == [202, 202]
    });
    assert!(agreed, "{statuses:?}\n{}", row.logs());
    let elected = "a sender of an HA pair is elected by another replica";
    assert!(row.servers[0].log().contains(elected), "{}", row.logs());

    for number in 0..row.servers.len() {
        let values = stored(&row.strong(number));
        assert!(values.contains(&1.0) && values.contains(&OF_B_AFTER), "{values:?}");
    }
}
