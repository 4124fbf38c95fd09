//! The words of the language.
//!
//! How text becomes tokens is [`super::lexer`]'s; here is what tokens are and how error messages
//! name them.

use super::ast::{AggregateOp, BinaryOp, Span};
use super::go_text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Identifier,
    /// With a colon in it: the name of a recording rule, never a function or label.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotRegex,
    At,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    /// `start` or `end`, which mean something after `@` only.
    Preprocessor,
    /// `step`, `range`, `min_of`, `max_of` within `[…]`.
    DurationWord,
    End,
    /// The text cannot be read from here on: [`super::lexer::Tokens::error`] says why.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

impl Token {
    pub fn text(self, query: &str) -> &str {
        &query[self.span.start..self.span.end]
    }

    /// Whether the token can stand for a metric, as names and most keywords can.
    pub fn is_metric_name(self) -> bool {
        matches!(
            self.kind,
            TokenKind::Identifier
                | TokenKind::MetricIdentifier
                | TokenKind::Aggregate(_)
                | TokenKind::Preprocessor
                | TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
                | TokenKind::Keyword(
                    Keyword::By | Keyword::Offset | Keyword::Without | Keyword::Anchored | Keyword::Smoothed
                )
        )
    }

    /// Whether the token can stand in a list of labels to group by.
    pub fn is_label(self) -> bool {
        match self.kind {
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Aggregate(_)
            | TokenKind::Preprocessor
            | TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => true,
            TokenKind::Keyword(keyword) => keyword != Keyword::Without,
            _ => false,
        }
    }

    /// How an error message names the token.
    pub fn describe(self, query: &str) -> String {
        let text = self.text(query);
        match self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Error => "error".to_owned(),
            TokenKind::Identifier => format!("identifier {}", go_text::quote(text)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", go_text::quote(text)),
            TokenKind::String => format!("string {}", shortened(text)),
            TokenKind::Number => format!("number {}", shortened(text)),
            TokenKind::Duration => format!("duration {}", shortened(text)),
            TokenKind::Keyword(_) => format!("<{text}>"),
            TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
            TokenKind::Op(_) | TokenKind::At | TokenKind::EqualRegex | TokenKind::NotRegex => {
                format!("<op:{text}>")
            }
            _ => go_text::quote(text),
        }
    }
}

/// Quoted; after ten characters (of a text longer than ten bytes) three dots.
fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return go_text::quote(text);
    }
    let head: String = text.chars().take(10).collect();
    format!("{}...", go_text::quote(&head))
}

/// What a word means outside of braces and brackets, whatever its case; `None` for a plain name.
pub fn keyword(word: &str) -> Option<TokenKind> {
    /// The longest keyword: longer words are names without looking.
    const KEYWORD_BYTES_MAX: usize = 12;
    if word.len() > KEYWORD_BYTES_MAX {
        return None;
    }
    let kind = match word.to_ascii_lowercase().as_str() {
        "and" => TokenKind::Op(BinaryOp::And),
        "or" => TokenKind::Op(BinaryOp::Or),
        "unless" => TokenKind::Op(BinaryOp::Unless),
        "atan2" => TokenKind::Op(BinaryOp::Atan2),
        "anchored" => TokenKind::Keyword(Keyword::Anchored),
        "bool" => TokenKind::Keyword(Keyword::Bool),
        "by" => TokenKind::Keyword(Keyword::By),
        "fill" => TokenKind::Keyword(Keyword::Fill),
        "fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        "fill_right" => TokenKind::Keyword(Keyword::FillRight),
        "group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        "group_right" => TokenKind::Keyword(Keyword::GroupRight),
        "ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        "offset" => TokenKind::Keyword(Keyword::Offset),
        "on" => TokenKind::Keyword(Keyword::On),
        "smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        "without" => TokenKind::Keyword(Keyword::Without),
        "start" | "end" => TokenKind::Preprocessor,
        "inf" | "nan" => TokenKind::Number,
        lower => {
            return AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower).map(TokenKind::Aggregate);
        }
    };
    Some(kind)
}
