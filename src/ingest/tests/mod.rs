//! Decoding and validation together, as a request meets them.
//!
//! - [`receiver_rules`]: what the receiver suite of Prometheus asks, row by row
//! - [`wire_forms`]: the many ways in which one message may be written
//! - [`properties`]: both protocols agree, and the decoder agrees with the generated one
//! - [`identity`]: a series is the same in the head by whatever way it came, recognised or judged
//! - [`fuzz`]: no bytes panic or take more than their share, for as long as one likes
//! - [`random`]: requests out of a seed; [`reference`]: the decoder by generated types

mod fuzz;
mod identity;
mod properties;
mod random;
mod receiver_rules;
mod reference;
mod wire_forms;

use super::testing::Request;
use super::{DecodeError, DecodeLimits, Protocol, ValidationRules, decode, validate};
use crate::model::series_batch::Refusals;
use crate::model::time::YEAR_MS;
use crate::model::{SeriesBatch, TenantId};

/// The time at which every request of these tests arrives.
const NOW_MS: i64 = 1_760_000_000_000;

fn rules() -> ValidationRules {
    ValidationRules::at(NOW_MS, YEAR_MS)
}

fn decode_body(protocol: Protocol, body: Vec<u8>) -> Result<SeriesBatch, DecodeError> {
    decode(protocol, body.into(), TenantId::anonymous(), &DecodeLimits::default())
}

/// What is left of a request, and what it lost.
fn receive(protocol: Protocol, request: &Request) -> (SeriesBatch, Refusals) {
    let mut batch = decode_body(protocol, request.body(protocol)).expect("the request is readable");
    let refusals = validate(&mut batch, &rules());
    (batch, refusals)
}
