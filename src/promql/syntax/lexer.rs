//! Text into tokens with positions.
//!
//! Owns Prometheus' lexical rules and the texts of its lexical errors: what a number, duration,
//! string or name looks like, and that words mean something else within braces and brackets.
//! Reads the whole query at once in one pass; where it cannot go on, the last token is
//! [`TokenKind::Error`]. What values tokens have is [`super::literal`]'s.

use super::ParseOptions;
use super::ast::{BinaryOp, Span};
use super::go_text;
use super::token::{Keyword, Token, TokenKind, keyword};

/// The tokens of a query, comments left out; the last is `End` or `Error`.
#[derive(Debug)]
pub struct Tokens {
    pub tokens: Vec<Token>,
    /// Why the last token is `Error`.
    pub error: String,
}

/// Which rules apply to the next character.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Statement,
    /// Right after `[`, until a number or the end of the bracket.
    Duration,
    Braces,
}

struct Lexer<'a> {
    query: &'a str,
    options: &'a ParseOptions,
    tokens: Vec<Token>,
    at: usize,
    start: usize,
    mode: Mode,
    paren_depth: i64,
    bracket_open: bool,
    /// Whether the open bracket has had its `:`.
    got_colon: bool,
    /// Whether a duration has been read, in this bracket or, as upstream has it, an earlier one.
    got_duration: bool,
}

/// Why lexing stopped; the position is the token's start.
type Lexed = Result<(), String>;

pub fn tokenize(query: &str, options: &ParseOptions) -> Tokens {
    let mut lexer = Lexer {
        query,
        options,
        tokens: Vec::with_capacity(query.len() / 4 + 1),
        at: 0,
        start: 0,
        mode: Mode::Statement,
        paren_depth: 0,
        bracket_open: false,
        got_colon: false,
        got_duration: false,
    };
    let error = match lexer.run() {
        Ok(()) => String::new(),
        Err(error) => {
            lexer.emit(TokenKind::Error);
            error
        }
    };
    Tokens { tokens: lexer.tokens, error }
}

impl Lexer<'_> {
    fn run(&mut self) -> Lexed {
        while self.tokens.last().is_none_or(|token| token.kind != TokenKind::End) {
            self.start = self.at;
            match self.mode {
                Mode::Statement => self.statement()?,
                Mode::Duration => self.duration_expr()?,
                Mode::Braces => self.inside_braces()?,
            }
        }
        Ok(())
    }

    fn emit(&mut self, kind: TokenKind) {
        self.tokens.push(Token { kind, span: Span::new(self.start, self.at) });
        self.start = self.at;
    }

    fn peek(&self) -> Option<char> {
        self.query[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let accepted = self.peek().is_some_and(wanted);
        if accepted {
            self.next();
        }
        accepted
    }

    fn accept_run(&mut self, wanted: impl Fn(char) -> bool) {
        while self.accept(&wanted) {}
    }

    /// Upstream notices these after it has taken the character, and names the place behind it.
    fn error_after(&mut self, error: &str) -> Lexed {
        self.start = self.at;
        Err(error.to_owned())
    }

    /// The token's text so far.
    fn word(&self) -> &str {
        &self.query[self.start..self.at]
    }

    fn statement(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            if self.paren_depth != 0 {
                return Err("unclosed left parenthesis".to_owned());
            }
            if self.bracket_open {
                return Err("unclosed left bracket".to_owned());
            }
            self.emit(TokenKind::End);
            return Ok(());
        };
        match c {
            '#' => self.line_comment(),
            _ if is_space(c) => self.accept_run(is_space),
            ',' => self.emit(TokenKind::Comma),
            '*' | '/' | '%' | '+' | '-' | '^' => self.arithmetic(c),
            '=' => match self.peek() {
                Some('=') => {
                    self.next();
                    self.emit(TokenKind::Op(BinaryOp::Equal));
                }
                Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
                _ => self.emit(TokenKind::Equal),
            },
            '!' => match self.next() {
                Some('=') => self.emit(TokenKind::Op(BinaryOp::NotEqual)),
                other => return Err(format!("unexpected character after '!': {}", rune(other))),
            },
            '<' => self.angle(BinaryOp::Less, BinaryOp::LessEqual, BinaryOp::TrimUpper),
            '>' => self.angle(BinaryOp::Greater, BinaryOp::GreaterEqual, BinaryOp::TrimLower),
            _ if self.starts_number(c) => {
                self.at = self.start;
                return self.number_or_duration();
            }
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            _ if is_alpha(c) || c == ':' => return self.name(c),
            '(' => self.open_paren(),
            ')' => return self.close_paren(),
            '{' => {
                self.emit(TokenKind::LeftBrace);
                self.mode = Mode::Braces;
            }
            '[' => return self.open_bracket(),
            ']' => {
                if !self.bracket_open {
                    return Err("unexpected right bracket ']'".to_owned());
                }
                self.close_bracket();
            }
            '@' => self.emit(TokenKind::At),
            _ => return Err(format!("unexpected character: {}", go_text::quote_char(c))),
        }
        Ok(())
    }

    /// Within `[…]` up to the first number: durations, operators and the few words.
    fn duration_expr(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return Err("unexpected end of input in duration expression".to_owned());
        };
        match c {
            _ if is_space(c) => self.accept_run(is_space),
            ']' => self.close_bracket(),
            ':' if !self.got_duration => {
                return self.error_after("unexpected colon before duration in duration expression");
            }
            ':' if self.got_colon => {
                return self.error_after("unexpected repeated colon in duration expression");
            }
            ':' => {
                self.emit(TokenKind::Colon);
                self.got_colon = true;
            }
            '(' => self.open_paren(),
            ')' => return self.close_paren(),
            ',' => self.emit(TokenKind::Comma),
            '*' | '/' | '%' | '+' | '-' | '^' => self.arithmetic(c),
            _ if self.starts_number(c) => {
                self.at = self.start;
                self.got_duration = true;
                self.mode = Mode::Statement;
                return self.number_or_duration();
            }
            _ if is_alpha(c) && self.duration_word() => self.got_duration = true,
            _ => {
                return Err(format!(
                    "unexpected character in duration expression: {}",
                    go_text::quote_char(c)
                ));
            }
        }
        Ok(())
    }

    fn inside_braces(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        match c {
            '#' => self.line_comment(),
            _ if is_space(c) => self.accept_run(is_space),
            _ if is_alpha(c) => {
                self.accept_run(is_alphanumeric);
                self.emit(TokenKind::Identifier);
            }
            ',' => self.emit(TokenKind::Comma),
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            '=' if self.accept(|c| c == '~') => self.emit(TokenKind::EqualRegex),
            '=' => self.emit(TokenKind::Equal),
            '!' => match self.next() {
                Some('~') => self.emit(TokenKind::NotRegex),
                Some('=') => self.emit(TokenKind::Op(BinaryOp::NotEqual)),
                other => {
                    return Err(format!("unexpected character after '!' inside braces: {}", rune(other)));
                }
            },
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.emit(TokenKind::RightBrace);
                self.mode = Mode::Statement;
            }
            _ => return Err(format!("unexpected character inside braces: {}", go_text::quote_char(c))),
        }
        Ok(())
    }

    fn arithmetic(&mut self, c: char) {
        self.emit(TokenKind::Op(match c {
            '*' => BinaryOp::Mul,
            '/' => BinaryOp::Div,
            '%' => BinaryOp::Mod,
            '+' => BinaryOp::Add,
            '-' => BinaryOp::Sub,
            _ => BinaryOp::Pow,
        }));
    }

    fn angle(&mut self, alone: BinaryOp, with_equal: BinaryOp, with_slash: BinaryOp) {
        let op = match self.peek() {
            Some('=') => with_equal,
            Some('/') => with_slash,
            _ => alone,
        };
        if op != alone {
            self.next();
        }
        self.emit(TokenKind::Op(op));
    }

    fn open_paren(&mut self) {
        self.emit(TokenKind::LeftParen);
        self.paren_depth += 1;
    }

    fn close_paren(&mut self) -> Lexed {
        self.paren_depth -= 1;
        if self.paren_depth < 0 {
            return self.error_after("unexpected right parenthesis ')'");
        }
        self.emit(TokenKind::RightParen);
        Ok(())
    }

    fn open_bracket(&mut self) -> Lexed {
        if self.bracket_open {
            return Err("unexpected left bracket '['".to_owned());
        }
        self.emit(TokenKind::LeftBracket);
        (self.bracket_open, self.got_colon) = (true, false);
        self.mode = Mode::Duration;
        Ok(())
    }

    fn close_bracket(&mut self) {
        self.emit(TokenKind::RightBracket);
        (self.bracket_open, self.got_colon) = (false, false);
        self.mode = Mode::Statement;
    }

    fn line_comment(&mut self) {
        self.accept_run(|c| c != '\n' && c != '\r');
    }

    /// A name or keyword; within brackets only the colon and the words of durations.
    fn name(&mut self, first: char) -> Lexed {
        if !self.bracket_open {
            self.accept_run(|c| is_alphanumeric(c) || c == ':');
            let kind = self.name_kind();
            self.emit(kind);
            return Ok(());
        }
        if first != ':' && self.duration_word() {
            return Ok(());
        }
        if self.got_colon {
            return Err(format!("unexpected colon {}", go_text::quote_char(first)));
        }
        if first != ':' {
            return Err(format!("unexpected character: {}, expected ':'", go_text::quote_char(first)));
        }
        self.emit(TokenKind::Colon);
        self.got_colon = true;
        Ok(())
    }

    fn name_kind(&self) -> TokenKind {
        let word = self.word();
        let plain = if word.contains(':') { TokenKind::MetricIdentifier } else { TokenKind::Identifier };
        match keyword(word) {
            None => plain,
            Some(TokenKind::Keyword(Keyword::Anchored | Keyword::Smoothed))
                if !self.options.extended_selectors =>
            {
                plain
            }
            // A metric may be called `fill`: only a parenthesis makes it the modifier.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.options.fill_modifiers || !self.parenthesis_follows() =>
            {
                plain
            }
            Some(kind) => kind,
        }
    }

    fn parenthesis_follows(&self) -> bool {
        self.query[self.at..].trim_start_matches(is_space).starts_with('(')
    }

    /// Takes one of the words of duration expressions if it stands here; its first letter is read.
    fn duration_word(&mut self) -> bool {
        let after_first = self.at;
        self.accept_run(is_alpha);
        let word = self.word().to_ascii_lowercase();
        let known = matches!(word.as_str(), "step" | "range" | "min_of" | "max_of");
        if known {
            self.emit(TokenKind::DurationWord);
        } else {
            self.at = after_first;
        }
        known
    }

    fn starts_number(&self, c: char) -> bool {
        c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|next| next.is_ascii_digit()))
    }

    fn number_or_duration(&mut self) -> Lexed {
        if self.scan_number() {
            self.emit(TokenKind::Number);
            return Ok(());
        }
        if self.scan_duration_rest() {
            self.emit(TokenKind::Duration);
            return Ok(());
        }
        Err(format!("bad number or duration syntax: {}", go_text::quote(self.word())))
    }

    /// Whether a number was read to its end. What it read may still be no number
    /// ([`super::literal::number`] decides); if not, it stands where a duration's unit may follow.
    fn scan_number(&mut self) -> bool {
        let mut hexadecimal = false;
        if self.accept(|c| c == '0') && self.accept(|c| matches!(c, 'x' | 'X')) {
            self.accept(|c| c == '_');
            hexadecimal = true;
        }
        let is_digit = |c: char| if hexadecimal { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.accept(|c| c == '.');
        self.accept(is_digit);
        let (mut dots, mut exponents) = (0, 0);
        while let Some(c) = self.peek().filter(|c| is_digit(*c) || matches!(c, '.' | '_' | 'e' | 'E')) {
            match c {
                '.' => {
                    self.next();
                    dots += 1;
                    if dots > 1 || self.accept(|c| matches!(c, '_' | '.')) || hexadecimal {
                        return false;
                    }
                }
                'e' | 'E' if !hexadecimal => {
                    self.next();
                    exponents += 1;
                    if exponents > 1 {
                        return false;
                    }
                    self.accept(|c| matches!(c, '+' | '-'));
                    if self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.next();
                    if self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                _ => self.accept_run(is_digit),
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// The rest of a duration after its first number: a unit, then numbers with units.
    fn scan_duration_rest(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        // The second letter of `ms`; other units with it fail when the duration is read.
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.accept_run(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        match self.peek() {
            Some(c) if is_alphanumeric(c) => {
                // The error shows the character that does not belong.
                self.next();
                false
            }
            _ => true,
        }
    }

    fn string(&mut self, quote: char) -> Lexed {
        loop {
            match self.next() {
                Some('\\') => self.escape(quote)?,
                Some('\u{fffd}') => return Err("invalid UTF-8 rune".to_owned()),
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(TokenKind::String);
        Ok(())
    }

    fn raw_string(&mut self) -> Lexed {
        loop {
            match self.next() {
                Some('\u{fffd}') => return Err("invalid UTF-8 rune".to_owned()),
                None => return Err("unterminated raw string".to_owned()),
                Some('`') => break,
                Some(_) => {}
            }
        }
        self.emit(TokenKind::String);
        Ok(())
    }

    fn escape(&mut self, quote: char) -> Lexed {
        let not_terminated = || Err("escape sequence not terminated".to_owned());
        let Some(c) = self.next() else { return not_terminated() };
        let (digits, base, max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            _ if c == quote => return Ok(()),
            '0'..='7' => {
                self.at -= 1;
                (3, 8, 255)
            }
            'x' => (2, 16, 255),
            'u' => (4, 16, u32::from(char::MAX)),
            'U' => (8, 16, u32::from(char::MAX)),
            _ => return Err(format!("unknown escape sequence {}", go_text::code_point(c))),
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let Some(c) = self.next() else { return not_terminated() };
            let Some(digit) = c.to_digit(base) else {
                return Err(format!("illegal character {} in escape sequence", go_text::code_point(c)));
            };
            code = code.wrapping_mul(base).wrapping_add(digit);
        }
        if code > max || (0xd800..0xe000).contains(&code) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}

/// `%q` of what was read; Go's end of input is the character -1, which prints as U+FFFD.
fn rune(c: Option<char>) -> String {
    go_text::quote_char(c.unwrap_or('\u{fffd}'))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}
