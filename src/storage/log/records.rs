//! The rarer records of a frame: exemplars, metadata, tombstones.
//!
//! Owns their sections and the types a reader gets them in. All texts that repeat are symbols; an
//! exemplar's label values (trace ids) never do and stand in place.

use crate::encoding::varint::{put_i64, put_u64, take_i64, take_u64};
use crate::model::{Exemplar, Labels, MatchOp, Metadata, MetricType, TenantId, TimeRange};

use super::dictionary::Dictionary;
use super::histograms::take_local;
use super::malformed::{Malformed, Weight, labels_weight, record_weight};
use super::tables::{Tables, take_text};

/// Metadata of a tenant's metric family, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedMetadata {
    pub tenant: TenantId,
    pub metadata: Metadata,
    pub received_ms: i64,
}

/// A deletion: the samples of matching series within a range that existed when it was made.
///
/// In the log it hides what stands in its own frame and in earlier ones, never anything later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub tenant: TenantId,
    /// Unique among all replicas.
    pub id: u128,
    /// Name, operator, value: compiled by whoever applies them.
    pub matchers: Vec<(String, MatchOp, String)>,
    pub range: TimeRange,
    pub created_ms: i64,
}

impl Tombstone {
    pub(super) fn weight(&self) -> u64 {
        let matchers =
            self.matchers.iter().map(|(name, _, value)| record_weight(2, name.len() + value.len()));
        record_weight(1, self.tenant.as_str().len()) + matchers.sum::<u64>()
    }
}

pub fn exemplar_weight(exemplar: &Exemplar) -> u64 {
    record_weight(0, 0) + labels_weight(exemplar.labels.len(), exemplar.labels.as_bytes().len())
}

pub fn metadata_weight(tenant: &TenantId, metadata: &Metadata) -> u64 {
    let text_bytes =
        tenant.as_str().len() + metadata.metric.len() + metadata.help.len() + metadata.unit.len();
    record_weight(4, text_bytes)
}

/// Where the differences of the next exemplar start from.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExemplarBase {
    local: u32,
    timestamp_ms: i64,
}

pub fn put_exemplar(
    out: &mut Vec<u8>,
    base: &mut ExemplarBase,
    dictionary: &mut Dictionary,
    local: u32,
    exemplar: &Exemplar,
) {
    put_i64(out, i64::from(local) - i64::from(base.local));
    put_i64(out, exemplar.timestamp_ms.wrapping_sub(base.timestamp_ms));
    *base = ExemplarBase { local, timestamp_ms: exemplar.timestamp_ms };
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_u64(out, exemplar.labels.len() as u64);
    for (name, value) in &exemplar.labels {
        put_u64(out, u64::from(dictionary.symbol(name.as_bytes())));
        put_u64(out, value.len() as u64);
        out.extend_from_slice(value.as_bytes());
    }
}

/// Decodes the section `exemplars` onto `out`.
pub fn decode_exemplars(
    mut rest: &[u8],
    tables: &Tables,
    weight: &mut Weight,
    out: &mut Vec<(u32, Exemplar)>,
) -> Result<(), Malformed> {
    let mut base = ExemplarBase::default();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    while !rest.is_empty() {
        base.local = take_local(&mut rest, base.local, tables.series())?;
        base.timestamp_ms = base.timestamp_ms.wrapping_add(take_i64(&mut rest)?);
        let value = f64::from_bits(u64::from_le_bytes(take_array(&mut rest)?));
        weight.add(record_weight(0, 0))?;
        pairs.clear();
        for _ in 0..take_u64(&mut rest)? {
            let pair = (tables.take_symbol(&mut rest)?, take_text(&mut rest)?);
            if pairs.last().is_some_and(|previous| previous.0 >= pair.0) || pair.1.is_empty() {
                return Err(Malformed::What("exemplar labels that are not canonical"));
            }
            weight.add(labels_weight(1, pair.0.len() + pair.1.len()))?;
            pairs.push(pair);
        }
        let labels = Labels::from_sorted(pairs.iter().copied());
        out.push((base.local, Exemplar { timestamp_ms: base.timestamp_ms, value, labels }));
    }
    Ok(())
}

pub fn put_metadata(
    out: &mut Vec<u8>,
    dictionary: &mut Dictionary,
    tenant: &TenantId,
    metadata: &Metadata,
    received_ms: i64,
) {
    for text in [tenant.as_str(), &metadata.metric, &metadata.help, &metadata.unit] {
        put_u64(out, u64::from(dictionary.symbol(text.as_bytes())));
    }
    out.push(metadata.metric_type as u8);
    put_i64(out, received_ms);
}

/// Decodes the section `metadata` onto `out`.
pub fn decode_metadata(
    mut rest: &[u8],
    tables: &Tables,
    weight: &mut Weight,
    out: &mut Vec<LoggedMetadata>,
) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let tenant = tables.take_tenant(&mut rest)?;
        let mut text = || tables.take_symbol(&mut rest);
        let (metric, help, unit) = (text()?, text()?, text()?);
        let [number] = take_array(&mut rest)?;
        let metric_type = MetricType::from_number(number);
        if metric_type as u8 != number {
            return Err(Malformed::What("unknown metric type"));
        }
        weight.add(record_weight(4, tenant.as_str().len() + metric.len() + help.len() + unit.len()))?;
        out.push(LoggedMetadata {
            tenant,
            metadata: Metadata { metric: metric.into(), metric_type, help: help.into(), unit: unit.into() },
            received_ms: take_i64(&mut rest)?,
        });
    }
    Ok(())
}

pub fn put_tombstone(out: &mut Vec<u8>, dictionary: &mut Dictionary, tombstone: &Tombstone) {
    put_u64(out, u64::from(dictionary.symbol(tombstone.tenant.as_str().as_bytes())));
    out.extend_from_slice(&tombstone.id.to_le_bytes());
    put_i64(out, tombstone.range.start_ms);
    put_i64(out, tombstone.range.end_ms);
    put_i64(out, tombstone.created_ms);
    put_u64(out, tombstone.matchers.len() as u64);
    for (name, op, value) in &tombstone.matchers {
        put_u64(out, u64::from(dictionary.symbol(name.as_bytes())));
        out.push(op_number(*op));
        put_u64(out, u64::from(dictionary.symbol(value.as_bytes())));
    }
}

/// Decodes the section `tombstones` onto `out`.
pub fn decode_tombstones(
    mut rest: &[u8],
    tables: &Tables,
    weight: &mut Weight,
    out: &mut Vec<Tombstone>,
) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let tenant = tables.take_tenant(&mut rest)?;
        let id = u128::from_le_bytes(take_array(&mut rest)?);
        let range = TimeRange { start_ms: take_i64(&mut rest)?, end_ms: take_i64(&mut rest)? };
        let created_ms = take_i64(&mut rest)?;
        let mut matchers = Vec::new();
        for _ in 0..take_u64(&mut rest)? {
            let name = tables.take_symbol(&mut rest)?;
            let [op] = take_array(&mut rest)?;
            let op = op_of(op).ok_or(Malformed::What("unknown operator of a matcher"))?;
            let value = tables.take_symbol(&mut rest)?;
            weight.add(record_weight(2, name.len() + value.len()))?;
            matchers.push((name.to_owned(), op, value.to_owned()));
        }
        weight.add(record_weight(1, tenant.as_str().len()))?;
        out.push(Tombstone { tenant, id, matchers, range, created_ms });
    }
    Ok(())
}

fn op_number(op: MatchOp) -> u8 {
    match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

fn op_of(number: u8) -> Option<MatchOp> {
    [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex].get(usize::from(number)).copied()
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (array, ahead) = rest.split_first_chunk().ok_or(Malformed::What("a record is cut off"))?;
    *rest = ahead;
    Ok(*array)
}
