//! Why a request cannot be read. All of it is for the sender to fix.

use super::Protocol;
use crate::error::ErrorKind;

/// Why the body of a request was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("decompress the body: it is empty")]
    EmptyBody,
    #[error("decompress the body: not a snappy block")]
    Snappy(#[source] snap::Error),
    #[error(
        "the body declares {declared_bytes} bytes after decompression, more than the limit of {limit_bytes}"
    )]
    TooLarge { declared_bytes: usize, limit_bytes: usize },
    #[error(
        "the body declares {declared_bytes} bytes after decompression, more than {body_bytes} bytes can hold"
    )]
    Implausible { declared_bytes: usize, body_bytes: usize },
    #[error("malformed protobuf at byte {at}: {fault}")]
    Malformed { at: usize, fault: WireFault },
    #[error("field {field} of {message} at byte {at} has the wrong wire type")]
    WireType { message: &'static str, field: u32, at: usize },
    #[error("the body is a remote write {other} request, but it was sent as {sent}")]
    OtherProtocol { sent: Protocol, other: Protocol },
    #[error("the symbol table must start with the empty text")]
    FirstSymbol,
    #[error("label references of {message} at byte {at} do not come in pairs")]
    OddReferences { message: &'static str, at: usize },
    #[error("symbol reference {symbol} at byte {at} is beyond the {symbols} symbols of the request")]
    NoSuchSymbol { symbol: u64, symbols: usize, at: usize },
    #[error("the request would take more than {limit_bytes} bytes of memory")]
    Expands { limit_bytes: usize },
    #[error("the labels of the request name more than {limit_bytes} bytes of text, again and again")]
    Repeats { limit_bytes: usize },
}

/// What is wrong with the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    #[error("the message ends within a field")]
    Truncated,
    #[error("a varint has more than 64 bits")]
    VarintTooLong,
    #[error("a length reaches beyond the end of the message")]
    LengthBeyondEnd,
    #[error("groups are not supported")]
    Group,
    #[error("no such wire type")]
    NoSuchWireType,
    #[error("no such field number")]
    NoSuchField,
}

impl DecodeError {
    /// What the sender should do: it never helps to send the same body again.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
