//! Which protocol a request speaks, by its headers.
//!
//! The content type alone decides, as in Prometheus. `X-Prometheus-Remote-Write-Version` adds
//! nothing: 1.0 senders leave it out or say 0.1.0, and a body that is of the other protocol after
//! all is noticed by the decoder.

use std::fmt;

/// A remote write protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    V1,
    V2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        })
    }
}

/// A content type or encoding that is not taken here: the sender may fall back to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("content type {0:?} is not accepted, expected \"{MEDIA_TYPE}\"")]
    MediaType(String),
    #[error("parameter {0:?} of the content type is not of the form name=value")]
    Parameter(String),
    #[error("protobuf message {0:?} is not accepted, expected \"{V1_MESSAGE}\" or \"{V2_MESSAGE}\"")]
    Message(String),
    #[error("content encoding {0:?} is not accepted, expected \"snappy\"")]
    Encoding(String),
}

const MEDIA_TYPE: &str = "application/x-protobuf";
const V1_MESSAGE: &str = "prometheus.WriteRequest";
const V2_MESSAGE: &str = "io.prometheus.write.v2.Request";

/// Longest piece of a header that an answer repeats, in characters.
const QUOTED_CHARS_MAX: usize = 100;

/// The protocol that the values of `Content-Type` and `Content-Encoding` stand for.
///
/// Without a content type, or without its parameter `proto`, a request is 1.0; without a content
/// encoding it is snappy: that is how the first senders of 1.0 were.
pub fn negotiate(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
) -> Result<Protocol, Unsupported> {
    let encoding = content_encoding.unwrap_or_default().trim();
    let protocol = of_content_type(content_type.unwrap_or_default().trim())?;
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("snappy") {
        Ok(protocol)
    } else {
        Err(Unsupported::Encoding(quoted(encoding)))
    }
}

fn of_content_type(content_type: &str) -> Result<Protocol, Unsupported> {
    if content_type.is_empty() {
        return Ok(Protocol::V1);
    }
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(Unsupported::MediaType(quoted(media_type)));
    }
    for parameter in parts.filter(|part| !part.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(Unsupported::Parameter(quoted(parameter)));
        };
        if !name.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        return match value.trim().trim_matches('"') {
            V1_MESSAGE => Ok(Protocol::V1),
            V2_MESSAGE => Ok(Protocol::V2),
            other => Err(Unsupported::Message(quoted(other))),
        };
    }
    Ok(Protocol::V1)
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_names_the_protocol() {
        let check = |content_type: &str, want: Option<Protocol>| {
            assert_eq!(negotiate(Some(content_type), Some("snappy")).ok(), want, "{content_type}");
        };
        check("application/x-protobuf", Some(Protocol::V1));
        check("application/x-protobuf;proto=prometheus.WriteRequest", Some(Protocol::V1));
        check("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Protocol::V2));
        check(
            " Application/X-Protobuf ; charset=utf-8 ; proto=\"io.prometheus.write.v2.Request\"",
            Some(Protocol::V2),
        );
        check("", Some(Protocol::V1));
        check("application/x-protobuf;proto=io.prometheus.write.v3.Request", None);
        check("application/x-protobuf;proto", None);
        check("application/json", None);
        check("image/png", None);
    }

    #[test]
    fn only_snappy_is_taken_and_assumed_where_nothing_is_said() {
        let check = |encoding: Option<&str>, ok: bool| {
            assert_eq!(negotiate(None, encoding).is_ok(), ok, "{encoding:?}");
        };
        check(None, true);
        check(Some(""), true);
        check(Some("Snappy"), true);
        check(Some("gzip"), false);
        check(Some("deflate"), false);
        check(Some("zstd"), false);
    }

    #[test]
    fn refusals_say_what_was_expected_and_quote_little() {
        let refusal = negotiate(Some(&"x".repeat(10_000)), None).unwrap_err().to_string();
        assert!(refusal.contains("application/x-protobuf") && refusal.len() < 250, "{refusal}");
    }
}
