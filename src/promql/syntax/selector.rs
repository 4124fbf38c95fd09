//! Selectors and what may follow them: matchers, ranges, subqueries, `offset`, `@`, `anchored`.

use super::ast::{
    At, BinaryOp, Expr, ExprKind, Extension, MatrixSelector, NumberLiteral, Span, Subquery, TimeShift,
    VectorSelector,
};
use super::duration::{DurationExpr, DurationKind, seconds_to_ms};
use super::parser::{Context, Parsed, Parser};
use super::token::{Keyword, Token, TokenKind};
use super::{go_text, limits, literal};
use crate::model::{METRIC_NAME, MatchOp, Matcher};

const DURATION: &str = "number or duration";

/// A duration as it was read: a plain one is known at once.
pub(super) struct Duration {
    pub seconds: Option<f64>,
    expr: DurationExpr,
}

/// `[range]`, `[range:]` or `[range:step]`.
pub(super) struct Brackets {
    pub open: Span,
    pub range: Duration,
    /// Set in a subquery: its step, if it has one.
    pub step: Option<Option<Duration>>,
    pub close: Span,
}

impl Duration {
    fn is_literal_zero(&self) -> bool {
        self.seconds == Some(0.0)
    }

    /// Milliseconds, 0 while they are not known; and the expression that will tell.
    fn split(self, parser: &Parser<'_>) -> Parsed<(i64, Option<Box<DurationExpr>>)> {
        match self.seconds {
            Some(seconds) => match seconds_to_ms(seconds) {
                Some(ms) => Ok((ms, None)),
                None => Err(parser.error(self.expr.span, "duration out of range".to_owned())),
            },
            None => Ok((0, Some(Box::new(self.expr)))),
        }
    }
}

impl Parser<'_> {
    /// `name{…}`, `name` (which is read already) or `{…}`.
    pub fn selector(&mut self, name: Option<Token>) -> Parsed<Expr> {
        let mut span = name.unwrap_or_else(|| self.peek()).span;
        let mut matchers = Vec::new();
        if self.peek().kind == TokenKind::LeftBrace {
            span = span.to(self.braces(&mut matchers)?);
        }
        let name = name.map(|token| token.text(self.query).to_owned());
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let (shift, extension) = (TimeShift::default(), Extension::None);
        Ok(Expr::new(ExprKind::Vector(VectorSelector { name, matchers, shift, extension }), span))
    }

    /// `{…}`: returns where it ends.
    fn braces(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<Span> {
        const MATCHER: Context = Context::new("label matching", "identifier or \"}\"");
        const SEPARATOR: Context = Context::new("label matching", "\",\" or \"}\"");
        self.next();
        loop {
            match self.peek().kind {
                // A comma needs a matcher before it: `{,}` is refused.
                TokenKind::RightBrace => return Ok(self.next().span),
                TokenKind::Identifier | TokenKind::String => matchers.push(self.matcher()?),
                _ => return Err(self.unexpected(MATCHER)),
            }
            if self.peek().kind != TokenKind::RightBrace {
                self.expect(TokenKind::Comma, SEPARATOR)?;
            }
        }
    }

    /// `label="value"`, `"label"="value"`, or `"metric name"` alone.
    fn matcher(&mut self) -> Parsed<Matcher> {
        const OPERATOR: Context = Context::new("label matching", "label matching operator");
        const VALUE: Context = Context::new("label matching", "string");
        let label = self.next();
        let quoted = label.kind == TokenKind::String;
        let text = label.text(self.query);
        let name = if quoted { literal::string(text) } else { text.to_owned() };
        let op = match self.peek().kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Op(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotRegex => MatchOp::NotRegex,
            TokenKind::Error => return Err(self.unexpected(OPERATOR)),
            _ if quoted => return Ok(Matcher::equal(METRIC_NAME, &name)),
            _ => return Err(self.unexpected(OPERATOR)),
        };
        self.next();
        let value = self.expect(TokenKind::String, VALUE)?;
        let value = literal::string(value.text(self.query));
        Matcher::new(&name, op, &value).map_err(|error| self.error(label.span, error.to_string()))
    }

    /// All modifiers after an operand; each binds to what stands before it.
    pub fn modifiers(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            match self.peek().kind {
                TokenKind::LeftBracket => expr = self.bracket(expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                TokenKind::At => self.at(&mut expr)?,
                TokenKind::Keyword(Keyword::Anchored) => self.extension(&mut expr, Extension::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.extension(&mut expr, Extension::Smoothed)?,
                _ => return Ok(expr),
            }
        }
    }

    /// `[range]` or `[range:step]`; the caller has seen the bracket.
    pub fn brackets(&mut self) -> Parsed<Brackets> {
        const RANGE: Context = Context::new("subquery selector", DURATION);
        const COLON: Context = Context::new("subquery or range", "\":\" or \"]\"");
        const STEP: Context = Context::new("subquery selector", "number or duration or \"]\"");
        const CLOSE: Context = Context::new("subquery selector", "\"]\"");
        let open = self.next().span;
        let range = self.positive_duration(RANGE)?;
        if let Some(close) = self.take(TokenKind::RightBracket) {
            return Ok(Brackets { open, range, step: None, close: close.span });
        }
        self.expect(TokenKind::Colon, COLON)?;
        if let Some(close) = self.take(TokenKind::RightBracket) {
            return Ok(Brackets { open, range, step: Some(None), close: close.span });
        }
        let step = self.positive_duration(STEP)?;
        let close = self.expect(TokenKind::RightBracket, CLOSE)?.span;
        Ok(Brackets { open, range, step: Some(Some(step)), close })
    }

    /// A range selector or subquery of what stands before the bracket.
    fn bracket(&mut self, expr: Expr) -> Parsed<Expr> {
        let Brackets { open, range, step, close } = self.brackets()?;
        let Some(step) = step else { return self.matrix(expr, open, range, close) };
        let (range_ms, range_expr) = range.split(self)?;
        let (step_ms, step_expr) = match step.map(|step| step.split(self)).transpose()? {
            // A step that is still to be computed is not the default step.
            Some((step_ms, step_expr)) => (Some(step_ms), step_expr),
            None => (None, None),
        };
        let span = expr.span.to(close);
        let (expr, shift) = (Box::new(expr), TimeShift::default());
        self.built(
            ExprKind::Subquery(Subquery { expr, range_ms, range_expr, step_ms, step_expr, shift }),
            span,
        )
    }

    fn matrix(&self, expr: Expr, open: Span, range: Duration, close: Span) -> Parsed<Expr> {
        let selector_span = expr.span;
        let refused = match &expr.kind {
            ExprKind::Vector(selector)
                if selector.shift.offset_ms != 0 || selector.shift.offset_expr.is_some() =>
            {
                "no offset modifiers allowed before range"
            }
            ExprKind::Vector(VectorSelector {
                shift: TimeShift { at: Some(At::Timestamp(_)), .. }, ..
            }) => "no @ modifiers allowed before range",
            ExprKind::Vector(_) => "",
            _ => "ranges only allowed for vector selectors",
        };
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(self.error(open, refused.to_owned()));
        };
        if !refused.is_empty() {
            return Err(self.error(open, refused.to_owned()));
        }
        let (range_ms, range_expr) = range.split(self)?;
        let matrix = MatrixSelector { selector, selector_span, range_ms, range_expr };
        Ok(Expr::new(ExprKind::Matrix(matrix), selector_span.to(close)))
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.next();
        let (duration, end) = self.offset_duration()?;
        let (offset_ms, offset_expr) = duration.split(self)?;
        let span = expr.span;
        let Some(shift) = shift_of(expr) else {
            return Err(self.error(span, misplaced("offset")));
        };
        if shift.offset_ms != 0 || shift.offset_expr.is_some() {
            return Err(self.error(span, "offset may not be set multiple times".to_owned()));
        }
        (shift.offset_ms, shift.offset_expr) = (offset_ms, offset_expr);
        expr.span = span.to(end);
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        const AT: Context = Context::new("@", "timestamp");
        self.next();
        let (at, end) = if self.peek().kind == TokenKind::Preprocessor {
            let word = self.next().text(self.query);
            self.expect(TokenKind::LeftParen, AT)?;
            let close = self.expect(TokenKind::RightParen, AT)?;
            (if word.eq_ignore_ascii_case("start") { At::Start } else { At::End }, close.span)
        } else {
            let sign = self.sign().map_or(1.0, |(_, sign)| sign);
            if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
                return Err(self.unexpected(AT));
            }
            let (number, end) = self.number_literal()?;
            let seconds = sign * number.value;
            // Go compares with ±2^63 as floats; NaN fails both comparisons.
            if !(seconds > i64::MIN as f64 && seconds < i64::MAX as f64) {
                let seconds =
                    if seconds.is_finite() { format!("{seconds:.6}") } else { go_text::float_plain(seconds) };
                let message = format!("timestamp out of bounds for @ modifier: {seconds}");
                return Err(self.error(expr.span, message));
            }
            (At::Timestamp((seconds * 1000.0).round() as i64), end)
        };
        let span = expr.span;
        let Some(shift) = shift_of(expr) else {
            return Err(self.error(span, misplaced("@")));
        };
        if shift.at.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times".to_owned()));
        }
        shift.at = Some(at);
        expr.span = span.to(end);
        Ok(())
    }

    fn extension(&mut self, expr: &mut Expr, extension: Extension) -> Parsed<()> {
        let token = self.next();
        let name = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
        let span = expr.span;
        let selector = match &mut expr.kind {
            ExprKind::Vector(selector) => selector,
            ExprKind::Matrix(matrix) => &mut matrix.selector,
            ExprKind::Subquery(_) => {
                return Err(self.error(span, format!("{name} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(span, format!("{name} modifier not implemented"))),
        };
        if selector.extension != Extension::None && selector.extension != extension {
            let message = "anchored and smoothed modifiers cannot be used together".to_owned();
            return Err(self.error(span, message));
        }
        selector.extension = extension;
        expr.span = span.to(token.span);
        Ok(())
    }

    /// A range or step: where it is known already, it must be positive.
    fn positive_duration(&mut self, context: Context) -> Parsed<Duration> {
        self.duration_terms = 0;
        let duration = self.duration(0, context)?;
        match duration.seconds {
            // Upstream has looked for an operator behind the duration before it judges it.
            Some(_) if self.peek().kind == TokenKind::Error => Err(self.unexpected(context)),
            Some(seconds) if seconds <= 0.0 => {
                Err(self.error(duration.expr.span, "duration must be greater than 0".to_owned()))
            }
            _ => Ok(duration),
        }
    }

    /// After `offset` an operator ends the duration: `a offset 1m + b`. Only parentheses and
    /// calls make more than one number of it.
    pub fn offset_duration(&mut self) -> Parsed<(Duration, Span)> {
        const OFFSET: Context = Context::new("offset", DURATION);
        self.duration_terms = 0;
        let start = self.peek().span;
        let sign = self.sign();
        let mut duration = self.duration_operand(OFFSET)?;
        let end = duration.expr.span;
        if let Some((token, sign)) = sign {
            duration = negated(duration, token.span, sign < 0.0);
        }
        Ok((duration, start.to(end)))
    }

    /// Operators of at least this precedence.
    fn duration(&mut self, precedence_min: u8, context: Context) -> Parsed<Duration> {
        self.nested(|parser| {
            let mut lhs = match parser.sign() {
                Some((token, sign)) => {
                    let operand = parser.duration(BinaryOp::Pow.precedence(), context)?;
                    negated(operand, token.span, sign < 0.0)
                }
                None => parser.duration_operand(context)?,
            };
            while let TokenKind::Op(op) = parser.peek().kind
                && op.precedence() >= precedence_min
                && is_arithmetic(op)
            {
                let operator = parser.next();
                let rhs = parser.duration(op.precedence() + u8::from(op != BinaryOp::Pow), context)?;
                if !parser.options.duration_expressions {
                    return Err(parser.duration_expressions_off(lhs.expr.span));
                }
                match op {
                    BinaryOp::Div if rhs.is_literal_zero() => {
                        return Err(parser.error(operator.span, "division by zero".to_owned()));
                    }
                    BinaryOp::Mod if rhs.is_literal_zero() => {
                        return Err(parser.error(operator.span, "modulo by zero".to_owned()));
                    }
                    _ => {}
                }
                let span = lhs.expr.span.to(rhs.expr.span);
                let kind = DurationKind::Binary(op, Box::new(lhs.expr), Box::new(rhs.expr));
                lhs = Duration { seconds: None, expr: DurationExpr { kind, span } };
            }
            Ok(lhs)
        })
    }

    fn duration_operand(&mut self, context: Context) -> Parsed<Duration> {
        let token = self.peek();
        self.duration_terms += 1;
        if self.duration_terms > limits::DURATION_TERMS_MAX {
            return Err(self.error(token.span, limits::too_many_durations()));
        }
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (number, span) = self.number_literal()?;
                if seconds_to_ms(number.value).is_none() {
                    return Err(self.error(span, "duration out of range".to_owned()));
                }
                Ok(Duration {
                    seconds: Some(number.value),
                    expr: DurationExpr { kind: DurationKind::Number(number), span },
                })
            }
            TokenKind::LeftParen => {
                self.next();
                let inner = self.duration(0, context)?;
                if !self.options.duration_expressions {
                    return Err(self.duration_expressions_off(inner.expr.span));
                }
                let close = self.expect(TokenKind::RightParen, context)?;
                let span = token.span.to(close.span);
                let kind = DurationKind::Paren(Box::new(inner.expr));
                Ok(Duration { seconds: inner.seconds, expr: DurationExpr { kind, span } })
            }
            TokenKind::DurationWord | TokenKind::Identifier => self.duration_call(context),
            _ => Err(self.unexpected(context)),
        }
    }

    /// `step()`, `range()`, `min_of(…)`, `max_of(…)`.
    fn duration_call(&mut self, context: Context) -> Parsed<Duration> {
        let name = self.peek();
        let word = name.text(self.query).to_ascii_lowercase();
        if !self.options.duration_expressions
            || !matches!(word.as_str(), "step" | "range" | "min_of" | "max_of")
        {
            return Err(self.unexpected(context));
        }
        self.next();
        self.expect(TokenKind::LeftParen, context)?;
        let kind = match word.as_str() {
            "step" => DurationKind::Step,
            "range" => DurationKind::Range,
            _ => {
                let lhs = Box::new(self.duration(0, context)?.expr);
                self.expect(TokenKind::Comma, context)?;
                let rhs = Box::new(self.duration(0, context)?.expr);
                if word == "min_of" { DurationKind::MinOf(lhs, rhs) } else { DurationKind::MaxOf(lhs, rhs) }
            }
        };
        let close = self.expect(TokenKind::RightParen, context)?;
        Ok(Duration { seconds: None, expr: DurationExpr { kind, span: name.span.to(close.span) } })
    }

    fn duration_expressions_off(&self, span: Span) -> super::ParseError {
        self.error(span, "experimental duration expression is not enabled".to_owned())
    }
}

/// A sign before a duration: a number takes it in, anything else keeps it.
fn negated(duration: Duration, sign: Span, negative: bool) -> Duration {
    let span = sign.to(duration.expr.span);
    let factor = if negative { -1.0 } else { 1.0 };
    let seconds = duration.seconds.map(|seconds| factor * seconds);
    let kind = match duration.expr.kind {
        DurationKind::Number(number) => {
            DurationKind::Number(NumberLiteral { value: factor * number.value, ..number })
        }
        kind if !negative => kind,
        kind => DurationKind::Negative(Box::new(DurationExpr { kind, span: duration.expr.span })),
    };
    Duration { seconds, expr: DurationExpr { kind, span } }
}

fn is_arithmetic(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow
    )
}

/// Where the modifiers of an expression belong.
fn shift_of(expr: &mut Expr) -> Option<&mut TimeShift> {
    match &mut expr.kind {
        ExprKind::Vector(selector) => Some(&mut selector.shift),
        ExprKind::Matrix(matrix) => Some(&mut matrix.selector.shift),
        ExprKind::Subquery(subquery) => Some(&mut subquery.shift),
        _ => None,
    }
}

fn misplaced(modifier: &str) -> String {
    format!(
        "{modifier} modifier must be preceded by an instant vector selector or range vector selector \
         or a subquery"
    )
}
