//! Lines and numbers of the text formats.

use proptest::prelude::*;

use super::histogram::{parse_histogram, push_histogram};
use super::metadata::{Description, Gathered, Says, push_metadata};
use super::number::{NAN_BITS, parse_seconds, parse_value, push_seconds, push_value};
use super::*;
use crate::model::{Counts, FloatSample, Histogram, Metadata, MetricType, ResetHint, STALE_NAN_BITS, Span};

fn sample(line: &str, format: TextFormat) -> Result<TextSample, &'static str> {
    match parse(line, format)? {
        Line::Sample(sample) => Ok(sample),
        other => panic!("{line}: {other:?}"),
    }
}

fn float(sample: &TextSample) -> FloatSample {
    match &sample.sample {
        Some(SampleAt::Float(sample)) => *sample,
        other => panic!("{other:?}"),
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
    assert_eq!((float(&read).timestamp_ms, float(&read).value), (1_700_000_000_125, 1000.0));

    let read = sample("up\t{ job = \"a\" }   0  -5", TextFormat::Prometheus).expect("a sample");
    assert_eq!(pairs(&read), [("__name__", "up"), ("job", "a")]);
    assert_eq!((float(&read).timestamp_ms, float(&read).value), (-5, 0.0));

    let read = sample(r#"{"my.name","a.b"="c"} 2 3 st@1.5"#, TextFormat::OpenMetrics).expect("a sample");
    assert_eq!(pairs(&read), [("__name__", "my.name"), ("a.b", "c")]);
    assert_eq!(float(&read).start_ms, 1500);

    let read = sample(r#"a_total 2 3 # {trace_id="x"} 0.5 2.75"#, TextFormat::OpenMetrics).expect("a sample");
    let exemplar = read.exemplar.expect("an exemplar");
    assert_eq!((exemplar.timestamp_ms, exemplar.value), (2750, 0.5));
    assert_eq!(exemplar.labels.get("trace_id"), Some("x"));
}

#[test]
fn what_is_no_sample_is_told_apart() {
    for line in ["", "  ", "#", "# any words", "# TYPEa counter", "#HELP"] {
        assert_eq!(parse(line, TextFormat::OpenMetrics), Ok(Line::Nothing), "{line}");
    }
    assert_eq!(parse("# EOF", TextFormat::OpenMetrics), Ok(Line::End));
    assert_eq!(parse("# EOF", TextFormat::Prometheus), Ok(Line::Nothing));

    let check = |line: &str, want: &str| {
        let error = parse(line, TextFormat::OpenMetrics).expect_err(line);
        assert!(error.contains(want), "{line}: {error}");
    };
    check("# TYPE a.b counter", "quotes");
    check("up", "without a value");
    check("up # {a=\"b\"} 1", "without a timestamp");
    check("up # {a=\"b\"} 1 2 3", "follows the exemplar");
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
fn what_a_metric_is_stands_in_three_lines() {
    let said = |line: &str, format| match parse(line, format) {
        Ok(Line::Description(Description { metric, says })) => (metric, says),
        other => panic!("{line}: {other:?}"),
    };
    let open = TextFormat::OpenMetrics;
    let help = |text: &str| Says::Help(text.to_owned());
    assert_eq!(said("# TYPE a counter ", open), ("a".to_owned(), Says::Type(MetricType::Counter)));
    assert_eq!(said("# TYPE a untyped", open).1, Says::Type(MetricType::Unknown));
    assert_eq!(said("#\tHELP  a", open).1, help(""));
    assert_eq!(said("# UNIT \"a b\" seconds", open), ("a b".to_owned(), Says::Unit("seconds".to_owned())));
    assert_eq!(said(r#"# HELP a  x \\ \n \" \q "#, open).1, help(" x \\ \n \" \\q "));
    assert_eq!(said(r#"# HELP a \" # EOF"#, TextFormat::Prometheus).1, help("\\\" # EOF"));

    let mut gathered = Gathered::default();
    let line = |metric: &str, says| Description { metric: metric.to_owned(), says };
    assert_eq!(gathered.add(line("a", help("x"))), None);
    assert_eq!(gathered.add(line("a", Says::Type(MetricType::Gauge))), None);
    let first = gathered.add(line("b", help("y"))).expect("the first is over");
    assert_eq!(
        (first.metric.as_str(), first.metric_type, first.help.as_str()),
        ("a", MetricType::Gauge, "x")
    );
    assert_eq!(gathered.take().expect("the second").metric, "b");
    assert_eq!(gathered.take(), None);
}

#[test]
fn a_native_histogram_is_one_value() {
    let line = "h{count=\"1\"} {count:3,sum:4.5,schema:0,zero_threshold:1e-128,zero_count:1,\
                positive_spans:[0:2,-3:1],positive_buckets:[1,0,1]} 5 st@1 # {a=\"b\"} 1 2";
    let read = sample(line, TextFormat::OpenMetrics).expect("a sample");
    let Some(SampleAt::Histogram(at)) = read.sample else { panic!("{read:?}") };
    assert_eq!((at.timestamp_ms, at.start_ms, at.histogram.reset_hint), (5000, 1000, ResetHint::Unknown));
    assert_eq!(at.histogram.positive_spans[1], Span { offset: -3, length: 1 });
    let Counts::Integer { count: 3, zero_count: 1, positive_deltas, .. } = &at.histogram.counts else {
        panic!("{:?}", at.histogram)
    };
    assert_eq!(*positive_deltas, [1, -1, 1]);
    assert!(read.exemplar.is_some());
    assert!(
        sample("h {count:0,sum:0,schema:0,zero_threshold:0,zero_count:0} 5", TextFormat::OpenMetrics).is_ok()
    );

    let check = |value: &str, want: &str| {
        let error = parse_histogram(value).expect_err(value);
        assert!(error.contains(want), "{value}: {error}");
    };
    check("{count:1", "not closed");
    check("{count:1}", "without count");
    check("{count:1,count:2}", "twice");
    check("{colour:1}", "unknown field");
    check("{count:1,}", "comma");
    check("{positive_buckets:[1}", "not closed by ]");
    check("{positive_buckets:[1]sum:1}", "comma");
    let rest = "sum:0,schema:0,zero_threshold:0,zero_count:0";
    check(&format!("{{count:-1,{rest}}}"), "no number");
    check(&format!("{{count:1,{rest},positive_spans:[1]}}"), "no number");
    check(&format!("{{count:1,{rest},counts:odd}}"), "neither");
    check(&format!("{{count:1,{rest},counter_reset_hint:odd}}"), "unknown counter_reset_hint");
    check(&format!("{{count:1,{rest},positive_buckets:[{}1]}}", "1,".repeat(65_536)), "more buckets");
}

/// Any histogram at all, also such as nobody would store.
fn any_histogram() -> impl Strategy<Value = Histogram> {
    let value = prop_oneof![any::<u64>().prop_map(f64::from_bits), (-9i32..9).prop_map(f64::from)];
    let spans = || prop::collection::vec((any::<i32>(), any::<u32>()), 0..4);
    let buckets = || prop::collection::vec((any::<i64>(), any::<u64>()), 0..6);
    let hint = (0u8..4).prop_map(|number| ResetHint::from_number(number).expect("there are four"));
    let totals = (any::<u64>(), any::<u64>(), any::<bool>());
    let floats = prop::collection::vec(value, 3..6);
    (hint, any::<i32>(), floats, spans(), spans(), buckets(), buckets(), totals).prop_map(
        |(reset_hint, schema, floats, positive_spans, negative_spans, positive, negative, totals)| {
            let spans = |spans: Vec<(i32, u32)>| {
                spans.into_iter().map(|(offset, length)| Span { offset, length }).collect()
            };
            let whole = |buckets: &[(i64, u64)]| buckets.iter().map(|(delta, _)| *delta).collect();
            let float =
                |buckets: &[(i64, u64)]| buckets.iter().map(|(_, bits)| f64::from_bits(*bits)).collect();
            let (count, zero_count, is_float) = totals;
            let counts = match is_float {
                false => Counts::Integer {
                    count,
                    zero_count,
                    positive_deltas: whole(&positive),
                    negative_deltas: whole(&negative),
                },
                true => Counts::Float {
                    count: floats[2],
                    zero_count: f64::from_bits(zero_count),
                    positive: float(&positive),
                    negative: float(&negative),
                },
            };
            Histogram {
                reset_hint,
                schema,
                zero_threshold: floats[0],
                sum: floats[1],
                positive_spans: spans(positive_spans),
                negative_spans: spans(negative_spans),
                custom_values: floats[3..].to_vec(),
                counts,
            }
        },
    )
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
    fn histograms_come_back_bit_for_bit(histogram in any_histogram()) {
        let mut text = String::new();
        push_histogram(&mut text, &histogram);
        let read = parse_histogram(&text);
        prop_assert!(read.is_ok_and(|read| read.same_bits(&histogram)), "{text}");
    }

    #[test]
    fn metadata_come_back_bit_for_bit(help: String, unit: String, number in 0u8..8) {
        let metric_type = MetricType::from_number(number);
        let metadata = Metadata { metric: "a_b".to_owned(), metric_type, help, unit };
        let mut text = String::new();
        push_metadata(&mut text, &metadata, "a_b", false);
        let mut lines = Lines::new(text.as_bytes());
        let mut gathered = Gathered::default();
        while let Some((_, line)) = lines.next_line().expect("read") {
            let Ok(Line::Description(line)) = parse(line, TextFormat::OpenMetrics) else { panic!("{line}") };
            prop_assert_eq!(gathered.add(line), None);
        }
        prop_assert_eq!(gathered.take(), Some(metadata));
    }

    #[test]
    fn any_line_is_read_or_refused(line in "\\PC{0,60}|[a{}\",=# 1.\\\\n]{0,40}|(a )?\\{[a-z_:,0-9\\[\\]]{0,40}\\} 1") {
        let _ = parse(&line, TextFormat::OpenMetrics);
        let _ = parse(&line, TextFormat::Prometheus);
    }
}
