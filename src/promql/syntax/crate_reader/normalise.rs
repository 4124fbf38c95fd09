//! The tokens of a query as a text that the promql-parser crate reads as Prometheus reads the query.
//!
//! | written | handed over | because the crate |
//! |---|---|---|
//! | `1_000`, `0x1F`, `5m` as a number | its value, `1e3` | refuses underscores, and counts no unit beyond 32 bits |
//! | `[5m]`, `offset 0s` | seconds, `[3e2]`, `offset 0` | refuses zero with a unit, panics beyond its range |
//! | `[5m + step()]`, `offset (1m)` | the value, or one second where it is computed later | knows no duration expressions |
//! | `"\xc3\xa9"` | the string that it means, quoted anew | takes bytes for code points |
//! | `=~`, `!~` | `=`, `!=` | compiles patterns by the rules of another language |
//! | comments, spaces | one space | tells `or` from a label by the space behind it |
//!
//! Everything else is handed over as it was written. What is lost on the way [`super::lowering`]
//! takes from the tokens.

use std::fmt::Write;

use crate::promql::syntax::ParseOptions;
use crate::promql::syntax::ast::BinaryOp;
use crate::promql::syntax::lexer::Tokens;
use crate::promql::syntax::literal;
use crate::promql::syntax::parser::Parser;
use crate::promql::syntax::selector::Duration;
use crate::promql::syntax::token::{Keyword, TokenKind};

/// `None` where a number or duration is wrong; our grammar has the words for it.
pub fn text(query: &str, tokens: &Tokens, options: &ParseOptions) -> Option<String> {
    let mut normaliser =
        Normaliser { at: Parser::new(query, tokens, options), text: String::with_capacity(2 * query.len()) };
    while normaliser.at.peek().kind != TokenKind::End {
        normaliser.step()?;
    }
    Some(normaliser.text)
}

struct Normaliser<'a> {
    at: Parser<'a>,
    text: String,
}

impl Normaliser<'_> {
    fn step(&mut self) -> Option<()> {
        let token = self.at.peek();
        match token.kind {
            TokenKind::LeftBracket => return self.brackets(),
            TokenKind::Keyword(Keyword::Offset) => return self.offset(),
            TokenKind::Number | TokenKind::Duration => {
                let (number, _) = self.at.number_literal().ok()?;
                self.text.push(' ');
                self.push_number(number.value);
                return Some(());
            }
            TokenKind::String => self.push_string(&literal::string(token.text(self.at.query))),
            // No space after a label: `{or ="x"}` has an operator `or` in the crate.
            TokenKind::Equal | TokenKind::EqualRegex => self.text.push('='),
            TokenKind::NotRegex | TokenKind::Op(BinaryOp::NotEqual) => self.text.push_str("!="),
            _ => {
                self.text.push(' ');
                self.text.push_str(token.text(self.at.query));
            }
        }
        self.at.next();
        Some(())
    }

    fn brackets(&mut self) -> Option<()> {
        let brackets = self.at.brackets().ok()?;
        self.text.push('[');
        self.push_duration(&brackets.range);
        if let Some(step) = brackets.step {
            self.text.push(':');
            if let Some(step) = step {
                self.push_duration(&step);
            }
        }
        self.text.push(']');
        Some(())
    }

    /// The modifier and its duration. A metric or label may have that name too: then what follows is
    /// no duration, or one that means the same number.
    fn offset(&mut self) -> Option<()> {
        let written = self.at.next().text(self.at.query);
        self.text.push(' ');
        self.text.push_str(written);
        let first = self.at.peek();
        if starts_duration(first.kind) {
            let (duration, _) = self.at.offset_duration().ok()?;
            self.text.push(' ');
            if matches!(first.kind, TokenKind::Op(_)) {
                self.text.push_str(first.text(self.at.query));
            }
            // The sign stands there already.
            self.push_number(match duration.seconds {
                Some(seconds) if first.kind == TokenKind::Op(BinaryOp::Sub) => -seconds,
                Some(seconds) => seconds,
                None => 1.0,
            });
        }
        Some(())
    }

    /// Seconds; one where they are not known before the query runs.
    fn push_duration(&mut self, duration: &Duration) {
        self.push_number(duration.seconds.unwrap_or(1.0));
    }

    fn push_number(&mut self, value: f64) {
        let written = if value == 0.0 {
            // `0e0` would be an octal number.
            self.text.write_str("0")
        } else if value.is_finite() {
            write!(self.text, "{value:e}")
        } else {
            self.text.write_str(if value.is_nan() { "NaN" } else { "Inf" })
        };
        written.expect("a string takes any text");
    }

    fn push_string(&mut self, value: &str) {
        self.text.push_str(" \"");
        for c in value.chars() {
            match c {
                '"' | '\\' => self.text.extend(['\\', c]),
                '\n' => self.text.push_str("\\n"),
                _ => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

fn starts_duration(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Number
            | TokenKind::Duration
            | TokenKind::LeftParen
            | TokenKind::Identifier
            | TokenKind::Op(BinaryOp::Add | BinaryOp::Sub)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::syntax::lexer::tokenize;

    fn normalised(query: &str) -> Option<String> {
        let options = ParseOptions::default();
        text(query, &tokenize(query, &options), &options)
    }

    #[test]
    fn what_the_crate_cannot_read_is_written_for_it() {
        let check = |query: &str, want: &str| assert_eq!(normalised(query).as_deref(), Some(want), "{query}");
        check("1_000 + 0x1F # thirty-one", " 1e3 + 3.1e1");
        check("foo offset 0s", " foo offset 0");
        check("foo OFFSET -1h + 0", " foo OFFSET -3.6e3 + 0");
        check("offset + 5 - offset offset 5m", " offset +5e0 - offset offset 3e2");
        check("foo[4m + 1m:] offset (5m)", " foo[1e0:] offset 3e2");
        check("foo[5m:max_of(step(), 1m)]", " foo[3e2:1e0]");
        check("'\\xc3\\xa9\"\\n`'", " \"é\\\"\\n`\"");
        check("{or = \"x\",  b =~ `a\\.b`}", " { or= \"x\" , b= \"a\\\\.b\" }");
        check("a != bool -Inf", " a!= bool - Inf");
        check("sum by (offset) (offset)", " sum by ( offset ) ( offset )");
    }

    #[test]
    fn a_number_that_the_crate_panics_on_is_not_handed_over() {
        for query in ["foo[1e20]", "foo offset Inf", "foo offset NaN", "foo offset 1e300", "foo[5m:1e300]"] {
            assert_eq!(normalised(query), None, "{query}");
        }
    }
}
