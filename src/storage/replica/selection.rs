//! What a deletion selects: a tenant and matchers, as bytes in the bucket.
//!
//! ```text
//! u8 version = 1 · tenant · varint matchers, of each: name · u8 operator (= != =~ !~) · value
//! of each text: varint bytes, UTF-8
//! ```
//! The protocol carries the bytes and never looks into them. Whoever reads them may hold whatever a foreign
//! hand has put into the bucket.

use bytes::Bytes;

use crate::encoding::cursor::{Cursor, Malformed, put_sized};
use crate::encoding::varint::put_u64;
use crate::model::{Labels, MatchOp, Matcher, TenantId, TimeRange};
use crate::replication::tombstone::Selection;

/// The version that this code writes, and the only one it reads.
const FORMAT_VERSION: u8 = 1;
/// By their number in the bytes.
const OPERATORS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
/// An empty name, an operator, an empty value.
const MATCHER_BYTES_MIN: usize = 3;

pub fn encode(tenant: &TenantId, matchers: &[Matcher]) -> Bytes {
    let mut out = vec![FORMAT_VERSION];
    put_sized(&mut out, tenant.as_str().as_bytes());
    put_u64(&mut out, matchers.len() as u64);
    for matcher in matchers {
        put_sized(&mut out, matcher.name.as_bytes());
        out.push(match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        });
        put_sized(&mut out, matcher.value.as_bytes());
    }
    out.into()
}

/// The error says what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<(TenantId, Vec<Matcher>), String> {
    let malformed = |error: Malformed| format!("selection: {error}");
    let mut cursor = Cursor::new(bytes);
    let version = cursor.u8().map_err(malformed)?;
    if version != FORMAT_VERSION {
        return Err(format!("selection of version {version}, this build reads version {FORMAT_VERSION}"));
    }
    let name = cursor.text().map_err(malformed)?;
    let tenant = TenantId::parse(name).map_err(|error| format!("selection: {error}"))?;
    let count = cursor.count(cursor.len() / MATCHER_BYTES_MIN).map_err(malformed)?;
    let mut matchers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = cursor.text().map_err(malformed)?;
        let number = usize::from(cursor.u8().map_err(malformed)?);
        let op = *OPERATORS.get(number).ok_or_else(|| format!("selection: operator {number}"))?;
        let value = cursor.text().map_err(malformed)?;
        let matcher = Matcher::new(name, op, value);
        matchers.push(matcher.map_err(|error| format!("selection: matcher of {name:?}: {error}"))?);
    }
    cursor.end().map_err(malformed)?;
    Ok((tenant, matchers))
}

/// A selection that was read: which series, and of which times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    pub tenant: TenantId,
    pub matchers: Vec<Matcher>,
    pub range: TimeRange,
}

impl Selected {
    pub fn of(selection: &Selection) -> Result<Self, String> {
        let (tenant, matchers) = decode(&selection.matchers)?;
        Ok(Self { tenant, matchers, range: TimeRange::new(selection.start_ms, selection.end_ms) })
    }

    /// Whether it means a series.
    pub fn matches(&self, tenant: &TenantId, labels: &Labels) -> bool {
        self.tenant == *tenant && self.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop::sample::select(OPERATORS.to_vec());
        let value = prop_oneof![Just(String::new()), "[a-zä]{0,8}", Just("(a|b).*".to_owned())];
        ("[a-z_ö]{0,6}", op, value)
            .prop_map(|(name, op, value)| Matcher::new(&name, op, &value).expect("good expressions"))
    }

    proptest! {
        #[test]
        fn any_selection_comes_back_and_no_cut_of_it_does(
            tenant in "[a-z]{1,9}",
            matchers in prop::collection::vec(any_matcher(), 0..5),
        ) {
            let tenant = TenantId::parse(&tenant).expect("a good name");
            let bytes = encode(&tenant, &matchers);

            prop_assert_eq!(decode(&bytes), Ok((tenant, matchers)));
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60),
            is_versioned in any::<bool>(),
        ) {
            if let Some(version) = bytes.first_mut().filter(|_| is_versioned) {
                *version = FORMAT_VERSION;
            }
            if let Ok((tenant, matchers)) = decode(&bytes) {
                prop_assert_eq!(&encode(&tenant, &matchers)[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let check = |bytes: &[u8], want: &str| {
            let error = decode(bytes).expect_err(want);
            assert!(error.contains(want), "{error}");
        };
        check(&[], "ends too early");
        check(&[2], "version 2");
        check(&[1, 1, b'/', 0], "tenant name");
        check(&[1, 1, b'a', 9, 0, 0, 0], "a count is too large");
        check(&[1, 1, b'a', 1, 0, 4, 0], "operator 4");
        check(&[1, 1, b'a', 1, 1, b'x', 2, 1, b'('], "matcher of \"x\"");
        check(&[1, 1, b'a', 0, 0], "bytes are left over");
    }

    #[test]
    fn a_selection_means_a_tenants_series_that_all_matchers_accept() {
        let tenant = TenantId::anonymous();
        let matchers = [Matcher::equal("__name__", "up"), Matcher::equal("zone", "")];
        let selection = Selection { matchers: encode(&tenant, &matchers), start_ms: 1, end_ms: 2 };
        let selected = Selected::of(&selection).expect("own bytes");
        let check = |tenant: &str, pairs: &[(&str, &str)], want: bool| {
            let tenant = TenantId::parse(tenant).expect("a good name");
            assert_eq!(
                selected.matches(&tenant, &Labels::from_pairs(pairs.iter().copied())),
                want,
                "{pairs:?}"
            );
        };
        check("anonymous", &[("__name__", "up")], true);
        check("anonymous", &[("__name__", "up"), ("zone", "a")], false);
        check("anonymous", &[("__name__", "down")], false);
        check("other", &[("__name__", "up")], false);
        assert_eq!(selected.range, TimeRange::new(1, 2));
    }
}
