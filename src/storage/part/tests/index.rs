//! How much of a part a question looks at: what the index can tell is not read elsewhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{gauge, written};
use crate::model::{MatchOp, Matcher, TenantId, TimeRange, time::DAY_MS};
use crate::querier::QueryGuard;
use crate::storage::part::container::Visit;
use crate::storage::part::*;

/// Counts the rows that are read of each section.
struct Counted {
    container: MemoryContainer,
    rows: Mutex<BTreeMap<Section, usize>>,
}

impl SectionSource for Counted {
    fn get(&self, section: Section, key: &[u8]) -> Result<Option<Bytes>, PartError> {
        *self.rows.lock().entry(section).or_default() += 1;
        self.container.get(section, key)
    }

    fn scan(&self, section: Section, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), PartError> {
        self.container.scan(section, start, end, &mut |key, value| {
            *self.rows.lock().entry(section).or_default() += 1;
            visit(key, value)
        })
    }
}

/// Series of `many`, one in ten of `few`; each has an instance of its own.
const SERIES: usize = 5000;

fn reader() -> PartReader<Counted> {
    let name = |number: usize| if number.is_multiple_of(10) { "few" } else { "many" };
    let mut all: Vec<PartSeries> =
        (0..SERIES).map(|number| gauge(name(number), &format!("i{number:05}"), &[1, DAY_MS - 1])).collect();
    all.sort_by(|a, b| row_order((&a.tenant, &a.labels), (&b.tenant, &b.labels)));
    let (container, _) = written(&all, PartOptions::default());
    PartReader::open(Counted { container, rows: Mutex::default() }).expect("own bytes")
}

/// How many rows the matchers select, and how many rows of the index that took.
fn select(reader: &PartReader<Counted>, matchers: &[(&str, MatchOp, &str)]) -> (usize, usize) {
    let matchers: Vec<Matcher> =
        matchers.iter().map(|(name, op, value)| Matcher::new(name, *op, value).expect("valid")).collect();
    reader.source().rows.lock().clear();
    let range = TimeRange::new(0, DAY_MS);
    let rows = reader.select(&TenantId::anonymous(), &matchers, range, &QueryGuard::unlimited());
    let read = reader.source().rows.lock().get(&Section::Index).copied().unwrap_or(0);
    (rows.expect("own bytes").len(), read)
}

#[test]
fn literals_are_looked_up_and_of_a_prefix_only_its_values_are_tried() {
    let reader = reader();

    assert_eq!(select(&reader, &[("instance", MatchOp::Equal, "i00017")]), (1, 1));
    assert_eq!(select(&reader, &[("instance", MatchOp::Regex, "i00017|i00020|nowhere")]), (2, 2));
    let (found, read) = select(&reader, &[("instance", MatchOp::Regex, "i0001.*")]);
    assert_eq!((found, read), (10, 10));
    let (found, read) = select(&reader, &[("instance", MatchOp::NotRegex, "i0001.*")]);
    assert_eq!((found, read), (SERIES - 10, 1 + 10));
    assert_eq!(select(&reader, &[("instance", MatchOp::Regex, ".+")]), (SERIES, 1));
    assert_eq!(select(&reader, &[("instance", MatchOp::Regex, ".*")]), (SERIES, 1));
}

#[test]
fn an_expression_is_tried_on_the_values_or_on_the_rows_that_are_left_whichever_are_fewer() {
    let reader = reader();

    // Five hundred rows are more than a few, and fewer than five thousand values.
    let (found, read) =
        select(&reader, &[("__name__", MatchOp::Equal, "few"), ("instance", MatchOp::Regex, ".*[05]0")]);
    assert_eq!(found, 100);
    assert!(read < SERIES / 2, "{read} rows of the index read");
    let (found, _) =
        select(&reader, &[("__name__", MatchOp::Equal, "few"), ("instance", MatchOp::NotRegex, ".*[05]0")]);
    assert_eq!(found, 400);
    // Two values are fewer than four thousand rows.
    let (found, read) =
        select(&reader, &[("instance", MatchOp::NotEqual, "i00001"), ("__name__", MatchOp::Regex, ".*a.*")]);
    assert_eq!(found, SERIES * 9 / 10 - 1);
    assert!(read < 20, "{read} rows of the index read");
}

#[test]
fn questions_about_labels_touch_no_sample() {
    let reader = reader();
    let (tenant, guard) = (TenantId::anonymous(), QueryGuard::unlimited());
    let of_few = [Matcher::equal("__name__", "few")];

    // Half of the time of the part as well as all of it.
    for range in [TimeRange::ALL, TimeRange::new(0, DAY_MS / 2)] {
        for (matchers, series) in [(&of_few[..], SERIES / 10), (&[][..], SERIES)] {
            let found = reader.series(&tenant, matchers, range, &guard).expect("own bytes");
            assert_eq!(found.len(), series);
            let values = reader.label_values(&tenant, "instance", matchers, range, usize::MAX, &guard);
            assert_eq!(values.expect("own bytes").len(), series);
            let names = reader.label_names(&tenant, matchers, range, &guard);
            assert_eq!(names.expect("own bytes"), ["__name__", "instance"]);
        }
    }

    let read = reader.source().rows.lock().clone();
    let touched: Vec<Section> = read.into_keys().collect();
    assert_eq!(touched, [Section::Header, Section::Symbols, Section::Series, Section::Index]);
}
