//! Tokens into a tree: expressions, calls, aggregations and operators.
//!
//! Recursive descent with precedence climbing. Stops at the first error, with the text and the
//! place that Prometheus' generated parser reports: that one unwinds to the innermost rule which
//! handles errors, so every place below that can fail names the rule it would unwind to. Selectors
//! and their modifiers are in [`super::selector`]; types are checked afterwards by
//! [`super::check`].
//!
//! The leaves of the grammar (selectors with their modifiers, lists of labels, matching) are read
//! here for [`super::crate_reader`] too, which has another way to know what belongs to what.

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, NumberLiteral, Span, Unary,
    VectorMatching, VectorSelector,
};
use super::functions::function;
use super::lexer::Tokens;
use super::token::{Keyword, Token, TokenKind};
use super::{ParseError, ParseOptions, go_text, limits, literal};

pub(super) type Parsed<T> = Result<T, ParseError>;

/// The rule that reports an error, and what it would have liked to see.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub rule: &'static str,
    pub expected: &'static str,
}

impl Context {
    pub const NONE: Self = Self::new("", "");
    const AGGREGATION: Self = Self::new("aggregation", "");

    pub const fn new(rule: &'static str, expected: &'static str) -> Self {
        Self { rule, expected }
    }
}

pub(super) struct Parser<'a> {
    pub query: &'a str,
    pub options: &'a ParseOptions,
    tokens: &'a Tokens,
    at: usize,
    nesting: u32,
    /// Terms of the duration being read.
    pub duration_terms: u32,
    /// How many aggregations are open: the innermost rule that handles errors.
    aggregations: u32,
}

impl<'a> Parser<'a> {
    pub fn new(query: &'a str, tokens: &'a Tokens, options: &'a ParseOptions) -> Self {
        Self { query, options, tokens, at: 0, nesting: 0, duration_terms: 0, aggregations: 0 }
    }

    /// The whole query as one expression.
    pub fn query(&mut self) -> Parsed<Expr> {
        if self.peek().kind == TokenKind::End {
            return Err(self.error(Span::default(), "no expression found in input".to_owned()));
        }
        let expr = self.expr(0)?;
        self.expect(TokenKind::End, Context::NONE)?;
        Ok(expr)
    }

    /// The whole query as one selector.
    pub fn only_selector(&mut self) -> Parsed<VectorSelector> {
        let token = self.peek();
        let expr = match token.kind {
            TokenKind::LeftBrace => self.selector(None)?,
            _ if token.is_metric_name() => {
                self.next();
                self.selector(Some(token))?
            }
            _ => return Err(self.unexpected(Context::NONE)),
        };
        self.expect(TokenKind::End, Context::NONE)?;
        match expr.kind {
            ExprKind::Vector(selector) => Ok(selector),
            _ => Err(self.error(expr.span, "selector expected".to_owned())),
        }
    }

    pub fn peek(&self) -> Token {
        // The last token is `End` or `Error`, and neither is ever stepped over.
        self.tokens.tokens[self.at.min(self.tokens.tokens.len() - 1)]
    }

    fn peek_second(&self) -> TokenKind {
        self.tokens.tokens.get(self.at + 1).map_or(TokenKind::End, |token| token.kind)
    }

    pub fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub fn take(&mut self, kind: TokenKind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.next())
    }

    pub fn expect(&mut self, kind: TokenKind, context: Context) -> Parsed<Token> {
        self.take(kind).ok_or_else(|| self.unexpected(context))
    }

    pub fn error(&self, span: Span, message: String) -> ParseError {
        ParseError::new(self.query, span.start, message)
    }

    /// The next token cannot stand here. Lexical errors come before all others.
    pub fn unexpected(&self, context: Context) -> ParseError {
        let token = self.peek();
        if token.kind == TokenKind::Error {
            return self.error(token.span, self.tokens.error.clone());
        }
        let mut message = format!("unexpected {}", token.describe(self.query));
        if !context.rule.is_empty() {
            message.push_str(" in ");
            message.push_str(context.rule);
        }
        if !context.expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(context.expected);
        }
        self.error(token.span, message)
    }

    /// The rule that handles errors of expressions here.
    pub fn expr_context(&self) -> Context {
        if self.aggregations > 0 { Context::AGGREGATION } else { Context::NONE }
    }

    /// Operators of at least this precedence, and their operands.
    pub fn expr(&mut self, precedence_min: u8) -> Parsed<Expr> {
        self.nesting += 1;
        if self.nesting > limits::NESTING_MAX {
            return Err(self.error(self.peek().span, limits::too_deep()));
        }
        let mut lhs = self.operand()?;
        while let TokenKind::Op(op) = self.peek().kind
            && op.precedence() >= precedence_min
        {
            self.next();
            lhs = self.binary(lhs, op)?;
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        let expr = match token.kind {
            TokenKind::Op(BinaryOp::Add | BinaryOp::Sub) => return self.unary(),
            TokenKind::Number | TokenKind::Duration => self.number()?,
            TokenKind::String => self.string(),
            TokenKind::LeftParen => self.paren()?,
            TokenKind::LeftBrace => self.selector(None)?,
            TokenKind::Identifier if self.peek_second() == TokenKind::LeftParen => self.call()?,
            TokenKind::Preprocessor
                if self.options.experimental_functions && self.peek_second() == TokenKind::LeftParen =>
            {
                self.call()?
            }
            TokenKind::Aggregate(op) if self.is_aggregation() => self.aggregate(op)?,
            _ if token.is_metric_name() => {
                self.next();
                self.selector(Some(token))?
            }
            _ => return Err(self.unexpected(self.expr_context())),
        };
        self.modifiers(expr)
    }

    /// Signs bind looser than `^` and tighter than anything else; a number takes its sign in.
    fn unary(&mut self) -> Parsed<Expr> {
        self.unary_with(|parser| parser.expr(BinaryOp::Pow.precedence()))
    }

    /// A sign; how its operand is found is the caller's.
    pub fn unary_with(&mut self, operand: impl FnOnce(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        let sign = self.next();
        let negative = sign.kind == TokenKind::Op(BinaryOp::Sub);
        let mut expr = operand(self)?;
        if let ExprKind::Number(number) = &mut expr.kind {
            if negative {
                number.value = -number.value;
            }
            expr.span.start = sign.span.start;
            return Ok(expr);
        }
        let span = sign.span.to(expr.span);
        Ok(Expr::new(ExprKind::Unary(Unary { negative, expr: Box::new(expr) }), span))
    }

    pub fn number(&mut self) -> Parsed<Expr> {
        let (number, span) = self.number_literal()?;
        Ok(Expr::new(ExprKind::Number(number), span))
    }

    /// A string; the caller has seen that one stands here.
    pub fn string(&mut self) -> Expr {
        let token = self.next();
        Expr::new(ExprKind::String(literal::string(token.text(self.query))), token.span)
    }

    /// A number or duration; the caller has seen that one stands here.
    pub fn number_literal(&mut self) -> Parsed<(NumberLiteral, Span)> {
        let token = self.next();
        let text = token.text(self.query);
        let is_duration = token.kind == TokenKind::Duration;
        let value = if is_duration {
            literal::duration_ms(text).map(|ms| ms as f64 / 1000.0)
        } else {
            literal::number(text)
        };
        let value = value.map_err(|message| self.error(token.span, message))?;
        Ok((NumberLiteral { value, is_duration }, token.span))
    }

    fn paren(&mut self) -> Parsed<Expr> {
        self.paren_with(|parser| parser.expr(0))
    }

    /// Parentheses; how what is in them is found is the caller's.
    pub fn paren_with(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        let open = self.next();
        let inner = inner(self)?;
        let close = self.expect(TokenKind::RightParen, self.expr_context())?;
        Ok(Expr::new(ExprKind::Paren(Box::new(inner)), open.span.to(close.span)))
    }

    fn call(&mut self) -> Parsed<Expr> {
        self.call_with(Self::arguments)
    }

    /// A call; how its arguments (and the place of the closing parenthesis) are found is the caller's.
    pub fn call_with(
        &mut self,
        arguments: impl FnOnce(&mut Self) -> Parsed<(Vec<Expr>, Span)>,
    ) -> Parsed<Expr> {
        let name = self.next();
        let (args, close) = arguments(self)?;
        let text = name.text(self.query);
        let Some(func) = function(text) else {
            let message = format!("unknown function with name {}", go_text::quote(text));
            return Err(self.error(name.span, message));
        };
        if func.experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", go_text::quote(text));
            return Err(self.error(name.span, message));
        }
        self.built(ExprKind::Call(Call { func, args }), name.span.to(close))
    }

    /// `(…)` of a call or aggregation; also where it ends.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, Span)> {
        self.expect(TokenKind::LeftParen, self.expr_context())?;
        let mut args = Vec::new();
        if let Some(close) = self.take(TokenKind::RightParen) {
            return Ok((args, close.span));
        }
        loop {
            args.push(self.expr(0)?);
            let Some(comma) = self.take(TokenKind::Comma) else { break };
            if !self.starts_expr() {
                if self.peek().kind == TokenKind::Error {
                    return Err(self.unexpected(Context::NONE));
                }
                let message = "trailing commas not allowed in function call args".to_owned();
                return Err(self.error(comma.span, message));
            }
        }
        let close = self.expect(TokenKind::RightParen, self.expr_context())?;
        Ok((args, close.span))
    }

    fn starts_expr(&self) -> bool {
        let token = self.peek();
        token.is_metric_name()
            || matches!(
                token.kind,
                TokenKind::Number
                    | TokenKind::Duration
                    | TokenKind::String
                    | TokenKind::LeftParen
                    | TokenKind::LeftBrace
                    | TokenKind::Op(BinaryOp::Add | BinaryOp::Sub)
            )
    }

    /// `sum` alone is a metric.
    fn is_aggregation(&self) -> bool {
        matches!(
            self.peek_second(),
            TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without)
        )
    }

    fn aggregate(&mut self, op: AggregateOp) -> Parsed<Expr> {
        self.aggregate_with(op, Self::arguments)
    }

    /// An aggregation; how its arguments are found is the caller's.
    pub fn aggregate_with(
        &mut self,
        op: AggregateOp,
        arguments: impl FnOnce(&mut Self) -> Parsed<(Vec<Expr>, Span)>,
    ) -> Parsed<Expr> {
        let name = self.next();
        self.aggregations += 1;
        let before = self.grouping()?;
        let (args, mut close) = arguments(self)?;
        let grouping = match before {
            Some(_) => before,
            None => {
                let after = self.grouping()?;
                if let Some((.., span)) = &after {
                    close = *span;
                } else if self.peek().kind == TokenKind::Error {
                    // Upstream has read the next token before it judges the arguments.
                    return Err(self.unexpected(Context::NONE));
                }
                after
            }
        };
        self.aggregations -= 1;
        let span = name.span.to(close);
        let (without, grouping) =
            grouping.map_or((false, Vec::new()), |(without, labels, _)| (without, labels));
        let (param, expr) = self.aggregate_arguments(op, args, span)?;
        self.built(ExprKind::Aggregate(Aggregate { op, expr, param, grouping, without }), span)
    }

    /// `by (…)` or `without (…)`: whether it is the latter, the labels, where it ends.
    fn grouping(&mut self) -> Parsed<Option<(bool, Vec<String>, Span)>> {
        let without = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.next();
        let (labels, close) = self.label_list()?;
        Ok(Some((without, labels, close)))
    }

    fn aggregate_arguments(
        &self,
        op: AggregateOp,
        args: Vec<Expr>,
        span: Span,
    ) -> Parsed<(Option<Box<Expr>>, Box<Expr>)> {
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided".to_owned()));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with \
                 --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(self.error(span, message));
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        let given = args.len();
        let mut args = args.into_iter().map(Box::new);
        let param = if op.has_param() { args.next() } else { None };
        match (args.next(), args.next()) {
            (Some(expr), None) => Ok((param, expr)),
            _ => {
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, \
                     expected {wanted}, got {given}"
                );
                Err(self.error(span, message))
            }
        }
    }

    /// `(a, "b", …)` after `by`, `without`, `on`, `ignoring`, `group_left`, `group_right`.
    fn label_list(&mut self) -> Parsed<(Vec<String>, Span)> {
        const OPEN: Context = Context::new("grouping opts", "\"(\"");
        const LABEL: Context = Context::new("grouping opts", "label");
        const SEPARATOR: Context = Context::new("grouping opts", "\",\" or \")\"");
        self.expect(TokenKind::LeftParen, OPEN)?;
        let mut labels = Vec::new();
        loop {
            if let Some(close) = self.take(TokenKind::RightParen) {
                return Ok((labels, close.span));
            }
            let token = self.peek();
            if token.is_label() {
                labels.push(token.text(self.query).to_owned());
            } else if token.kind == TokenKind::String {
                let label = literal::string(token.text(self.query));
                if label.is_empty() {
                    let message = format!("invalid label name for grouping: {}", go_text::quote(&label));
                    return Err(self.error(token.span, message));
                }
                labels.push(label);
            } else {
                return Err(self.unexpected(LABEL));
            }
            self.next();
            if self.peek().kind != TokenKind::RightParen {
                self.expect(TokenKind::Comma, SEPARATOR)?;
            }
        }
    }

    /// What follows an operator: its modifiers and the right side.
    fn binary(&mut self, lhs: Expr, op: BinaryOp) -> Parsed<Expr> {
        let right_associative = op == BinaryOp::Pow;
        self.binary_with(lhs, op, |parser| parser.expr(op.precedence() + u8::from(!right_associative)))
    }

    /// What follows an operator; how its right side is found is the caller's.
    pub fn binary_with(
        &mut self,
        lhs: Expr,
        op: BinaryOp,
        rhs: impl FnOnce(&mut Self) -> Parsed<Expr>,
    ) -> Parsed<Expr> {
        let return_bool = self.take(TokenKind::Keyword(Keyword::Bool)).is_some();
        let mut matching = self.matching()?;
        if op.is_set() && matching.card == Cardinality::OneToOne {
            matching.card = Cardinality::ManyToMany;
        }
        let rhs = rhs(self)?;
        let span = lhs.span.to(rhs.span);
        let (lhs, rhs) = (Box::new(lhs), Box::new(rhs));
        self.built(ExprKind::Binary(Binary { op, lhs, rhs, matching: Some(matching), return_bool }), span)
    }

    fn matching(&mut self) -> Parsed<VectorMatching> {
        let mut matching = VectorMatching::default();
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.next();
            matching.on = keyword == Keyword::On;
            matching.labels = self.label_list()?.0;
            matching.card = match self.peek().kind {
                TokenKind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
                TokenKind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
                _ => Cardinality::OneToOne,
            };
            if matching.card != Cardinality::OneToOne {
                self.next();
                if self.peek().kind == TokenKind::LeftParen {
                    matching.include = self.label_list()?.0;
                }
            }
        }
        self.fill_values(&mut matching)?;
        Ok(matching)
    }

    fn fill_values(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.take(TokenKind::Keyword(Keyword::Fill)).is_some() {
            let value = self.fill_value()?;
            (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            return Ok(());
        }
        // Each side once, in either order.
        for _ in 0..2 {
            match self.peek().kind {
                TokenKind::Keyword(Keyword::FillLeft) if matching.fill_left.is_none() => {
                    self.next();
                    matching.fill_left = Some(self.fill_value()?);
                }
                TokenKind::Keyword(Keyword::FillRight) if matching.fill_right.is_none() => {
                    self.next();
                    matching.fill_right = Some(self.fill_value()?);
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        const NUMBER: Context = Context::new("fill modifier", "number");
        self.expect(TokenKind::LeftParen, NUMBER)?;
        let sign = self.sign().map_or(1.0, |(_, sign)| sign);
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected(NUMBER));
        }
        let (number, _) = self.number_literal()?;
        self.expect(TokenKind::RightParen, NUMBER)?;
        Ok(sign * number.value)
    }

    /// A sign, and the factor it stands for.
    pub fn sign(&mut self) -> Option<(Token, f64)> {
        match self.peek().kind {
            TokenKind::Op(BinaryOp::Add) => Some((self.next(), 1.0)),
            TokenKind::Op(BinaryOp::Sub) => Some((self.next(), -1.0)),
            _ => None,
        }
    }

    /// A node that has others below it; the height of the tree is bounded here.
    pub fn built(&self, kind: ExprKind, span: Span) -> Parsed<Expr> {
        let expr = Expr::new(kind, span);
        if expr.height() > limits::HEIGHT_MAX {
            return Err(self.error(span, limits::too_high()));
        }
        Ok(expr)
    }

    /// Counts a level of nesting: an expression within another, a duration within a duration.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.nesting += 1;
        if self.nesting > limits::NESTING_MAX {
            return Err(self.error(self.peek().span, limits::too_deep()));
        }
        let value = read(self)?;
        self.nesting -= 1;
        Ok(value)
    }
}
