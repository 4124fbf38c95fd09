//! Lines and numbers of the text formats.

use proptest::prelude::*;

use super::number::{NAN_BITS, parse_seconds, parse_value, push_seconds, push_value};
use super::*;
use crate::model::STALE_NAN_BITS;

fn sample(line: &str, format: TextFormat) -> Result<TextSample, &'static str> {
    match parse(line, format)? {
        Line::Sample(sample) => Ok(sample),
        other => panic!("{line}: {other:?}"),
    }
}

fn pairs(sample: &TextSample) -> Vec<(&str, &str)> {
    sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_sample_has_labels_a_value_and_a_time() {
    let line = r#"http_total{path="/a b",q="\"\\\n",} 1e3 1700000000.125"#;
    let read = sample(line, TextFormat::OpenMetrics).expect("a sample");
    assert_eq!(pairs(&read), [("__name__", "http_total"), ("path", "/a b"), ("q", "\"\\\n")]);
    assert_eq!((read.sample.timestamp_ms, read.sample.value), (1_700_000_000_125, 1000.0));

    let read = sample("up\t{ job = \"a\" }   0  -5", TextFormat::Prometheus).expect("a sample");
    assert_eq!(pairs(&read), [("__name__", "up"), ("job", "a")]);
    assert_eq!((read.sample.timestamp_ms, read.sample.value), (-5, 0.0));

    let read = sample(r#"{"my.name","a.b"="c"} 2 3 st@1.5"#, TextFormat::OpenMetrics).expect("a sample");
    assert_eq!(pairs(&read), [("__name__", "my.name"), ("a.b", "c")]);
    assert_eq!(read.sample.start_ms, 1500);

    let read = sample(r#"a_total 2 3 # {trace_id="x"} 0.5 2.75"#, TextFormat::OpenMetrics).expect("a sample");
    let exemplar = read.exemplar.expect("an exemplar");
    assert_eq!((exemplar.timestamp_ms, exemplar.value), (2750, 0.5));
    assert_eq!(exemplar.labels.get("trace_id"), Some("x"));
}

#[test]
fn what_is_no_sample_is_told_apart() {
    for line in ["", "  ", "# HELP a b", "# TYPE a counter", "# any words"] {
        assert_eq!(parse(line, TextFormat::OpenMetrics), Ok(Line::Nothing), "{line}");
    }
    assert_eq!(parse("# EOF", TextFormat::OpenMetrics), Ok(Line::End));
    assert_eq!(parse("# EOF", TextFormat::Prometheus), Ok(Line::Nothing));

    let check = |line: &str, want: &str| {
        let error = parse(line, TextFormat::OpenMetrics).expect_err(line);
        assert!(error.contains(want), "{line}: {error}");
    };
    check("up", "without a value");
    check("up 1", "without a timestamp");
    check("up 1 # {a=\"b\"} 1 1", "without a timestamp");
    check("up one 1", "value");
    check("up 1 soon", "timestamp");
    check("up 1 1 1", "follows");
    check("up{a=\"b\" 1 1", "not closed");
    check("up{a=\"b 1 1", "not closed");
    check("up{a=b} 1 1", "quotes");
    check("up{a} 1 1", "without a value");
    check("my.name 1 1", "quotes");
    check("{} 1 1", "without a series");
    check("up 1 99999999999999999999", "timestamp");
    check("up NaN(0x3ff0000000000000) 1", "value");
}

#[test]
fn lines_are_bounded_and_numbered() {
    let mut lines = Lines::new("a\r\nb\nc".as_bytes());
    assert_eq!(lines.next_line().expect("read"), Some((1, "a")));
    assert_eq!(lines.next_line().expect("read"), Some((2, "b")));
    assert_eq!(lines.next_line().expect("read"), Some((3, "c")));
    assert_eq!(lines.next_line().expect("read"), None);

    let long = "x".repeat(LINE_BYTES_MAX as usize + 1);
    let error = Lines::new(long.as_bytes()).next_line().expect_err("too long").to_string();
    assert!(error.contains("line 1"), "{error}");
    let error = Lines::new(b"\xff\n".as_slice()).next_line().expect_err("not UTF-8").to_string();
    assert!(error.contains("line 1"), "{error}");
}

proptest! {
    #[test]
    fn values_and_times_come_back_bit_for_bit(bits: u64, timestamp_ms: i64) {
        let special = [STALE_NAN_BITS, NAN_BITS, 0, 1 << 63, f64::INFINITY.to_bits(), f64::MIN_POSITIVE.to_bits()];
        for bits in special.into_iter().chain([bits, bits | 0x7ff0 << 48, (bits as i32 as f64).to_bits()]) {
            let mut text = String::new();
            push_value(&mut text, f64::from_bits(bits));
            prop_assert_eq!(parse_value(&text).map(f64::to_bits), Some(bits), "{}", text);
        }
        for timestamp_ms in [timestamp_ms, timestamp_ms % 10_000, i64::MIN, i64::MAX] {
            let mut text = String::new();
            push_seconds(&mut text, timestamp_ms);
            prop_assert_eq!(parse_seconds(&text), Some(timestamp_ms), "{}", text);
        }
    }

    #[test]
    fn any_line_is_read_or_refused(line in "\\PC{0,60}|[a{}\",=# 1.\\\\n]{0,40}") {
        let _ = parse(&line, TextFormat::OpenMetrics);
        let _ = parse(&line, TextFormat::Prometheus);
    }
}
