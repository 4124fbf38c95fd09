//! Requests that nobody should send: a clear refusal, never a 5xx, and the server goes on.

use super::support::random::Random;
use super::support::server::{Options, Server};
use super::support::wire::{Protocol, TimeSeries, compress, encode, encode_v1, encode_v2};
use super::support::{now_ms, setting};

#[test]
fn mangled_requests_are_refused_or_taken_and_never_an_error_of_the_server() {
    let mut random = Random::announced("hostile");
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let client = server.client();
    let (mut taken, mut refused) = (0, 0);
    for number in 0..setting("ONGGI_HOSTILE_REQUESTS", 3000) {
        let series = series(&mut random);
        let protocol = Protocol::BOTH[random.below(2) as usize];
        let mut request = encode(protocol, &series);
        if random.chance(80) {
            // Within the message; snappy itself is right.
            let mut message = if protocol == Protocol::V1 { encode_v1(&series) } else { encode_v2(&series) };
            mangle(&mut message, &mut random);
            request.body = compress(&message);
        } else {
            mangle(&mut request.body, &mut random);
        }

        let response = client.send(&request).unwrap_or_else(|problem| {
            panic!("request {number}: {problem}\n{}", server.log_tail());
        });

        match response.status {
            200 | 204 => taken += 1,
            400 | 413 => {
                assert!(!response.body.is_empty(), "a refusal without a reason");
                refused += 1;
            }
            status => panic!("request {number}: status {status}: {}\n{}", response.text(), server.log_tail()),
        }
    }

    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: the test proves nothing");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(client.write(Protocol::V2, &series(&mut random)).unwrap().status, 204);
    eprintln!("hostile: {taken} taken, {refused} refused");
}

#[test]
fn what_is_no_remote_write_request_gets_the_status_that_senders_understand() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&Options::new(&directory.path().join("data")));
    let client = server.client();
    let good = encode(Protocol::V1, &series(&mut Random::new(1)));
    let check = |headers: &[(&str, &str)], body: &[u8], expected: &[u16]| {
        let response = client.post("/api/v1/write", headers, body).unwrap();
        assert!(expected.contains(&response.status), "{headers:?}: {} {}", response.status, response.text());
    };
    let protobuf = ("Content-Type", "application/x-protobuf");
    let snappy = ("Content-Encoding", "snappy");
    check(&[protobuf, snappy], &good.body, &[204]);
    check(&[("Content-Type", "application/json"), snappy], &good.body, &[415]);
    check(
        &[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v9.Request"), snappy],
        &good.body,
        &[415],
    );
    check(&[protobuf, ("Content-Encoding", "gzip")], &good.body, &[415]);
    check(&[protobuf, ("Content-Encoding", "zstd")], &good.body, &[415]);
    check(&[protobuf, snappy], b"", &[400]);
    // Declares four gigabytes, and one.
    check(&[protobuf, snappy], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00], &[400, 413]);
    check(&[protobuf, snappy], &[0x80, 0x80, 0x80, 0x80, 0x04, 0x00], &[400, 413]);
    check(&[protobuf, snappy, ("X-Scope-OrgID", "somebody")], &good.body, &[400, 401, 403]);
    assert_eq!(client.get("/api/v1/write").unwrap().status, 405);
}

fn series(random: &mut Random) -> Vec<TimeSeries> {
    let one = |i: u64| {
        let samples = (0..3).map(|n| (now_ms() - n * 1000, i as f64)).collect();
        TimeSeries::new("hostile", &[("i", &*i.to_string()), ("zone", "a")], samples)
    };
    (0..1 + random.below(5)).map(one).collect()
}

fn mangle(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = 0xff,
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.next() as u8),
            _ => {
                let end = (at + random.below(16) as usize).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}
