//! Go's regular expression syntax (RE2's, with Perl's classes) into that of the `regex` crate.
//!
//! Owns what is accepted and the words in which the rest is refused: those of Go's
//! `regexp/syntax`. One pass without recursion. Beside the translation it learns what the
//! expression can match ([`Shape`]), and the names of its groups.

use super::RegexError;
use super::class;
use super::shape::Shape;

/// Go's own bound for `{n}` and for repetitions within repetitions.
const REPEAT_MAX: u32 = 1000;
/// Groups within groups. Go allows 1000; the crate compiles by recursion.
const NESTING_MAX: usize = 200;

#[derive(Clone, Copy, PartialEq)]
pub struct Flags {
    pub fold_case: bool,
    pub multi_line: bool,
    pub dot_matches_newline: bool,
    pub swap_greed: bool,
}

impl Flags {
    /// How Go starts to read an expression.
    pub const PLAIN: Self =
        Self { fold_case: false, multi_line: false, dot_matches_newline: false, swap_greed: false };
    /// How Prometheus starts to read a matcher's.
    pub const MATCHER: Self = Self { dot_matches_newline: true, ..Self::PLAIN };

    /// All of them spelled out for the crate: `is-mU`.
    fn spelled(self) -> String {
        let all = [
            ('i', self.fold_case),
            ('m', self.multi_line),
            ('s', self.dot_matches_newline),
            ('U', self.swap_greed),
        ];
        let on: String = all.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag).collect();
        let off: String = all.iter().filter(|(_, set)| !*set).map(|(flag, _)| *flag).collect();
        if off.is_empty() { on } else { format!("{on}-{off}") }
    }
}

/// A translated expression.
pub struct Translated {
    /// For the crate; not anchored.
    pub pattern: String,
    pub shape: Shape,
    /// Names of the groups from number 1 on, empty where a group has none.
    pub group_names: Vec<String>,
}

/// What stands between a parenthesis and its end.
struct Group {
    /// To be restored at the end.
    flags: Flags,
    /// The alternatives before the current one.
    alternatives: Option<Shape>,
    /// The current alternative without its last item.
    before: Shape,
    /// The last item, which a repetition would apply to.
    last: Option<Shape>,
}

impl Group {
    fn new(flags: Flags) -> Self {
        Self { flags, alternatives: None, before: Shape::empty(), last: None }
    }

    fn push(&mut self, shape: Shape) {
        if let Some(last) = self.last.replace(shape) {
            self.before.append(last);
        }
    }

    fn end_alternative(&mut self) {
        if let Some(last) = self.last.take() {
            self.before.append(last);
        }
        let current = std::mem::replace(&mut self.before, Shape::empty());
        self.alternatives = Some(match self.alternatives.take() {
            Some(others) => others.or(current),
            None => current,
        });
    }

    fn into_shape(mut self) -> Shape {
        self.end_alternative();
        self.alternatives.unwrap_or_else(Shape::empty)
    }
}

struct Translator<'a> {
    whole: &'a str,
    rest: &'a str,
    flags: Flags,
    out: String,
    groups: Vec<Group>,
    group_names: Vec<String>,
    /// Where the repetition begins that was read just before, if one was.
    repeat_from: Option<usize>,
}

type Read<T> = Result<T, RegexError>;

/// Go's way to say what is wrong: the problem and the text in question.
pub(super) fn refused<T>(problem: &str, text: &str) -> Read<T> {
    Err(RegexError(format!("{problem}: `{text}`")))
}

pub fn translate(pattern: &str, flags: Flags) -> Read<Translated> {
    let mut translator = Translator {
        whole: pattern,
        rest: pattern,
        flags,
        out: format!("(?{}:", flags.spelled()),
        groups: vec![Group::new(flags)],
        group_names: Vec::new(),
        repeat_from: None,
    };
    while !translator.rest.is_empty() {
        translator.item()?;
    }
    translator.finish()
}

impl<'a> Translator<'a> {
    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the outermost group is never closed")
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn at(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    fn item(&mut self) -> Read<()> {
        let repeat_before = self.repeat_from.take();
        let Some(c) = self.rest.chars().next() else { return Ok(()) };
        match c {
            '(' if self.rest.starts_with("(?") => return self.perl_group(),
            '(' => {
                self.skip(1);
                self.group_names.push(String::new());
                return self.open("(");
            }
            ')' => return self.close(),
            '|' => {
                self.skip(1);
                self.out.push('|');
                self.group().end_alternative();
            }
            '*' | '+' | '?' => {
                let (min, max) = match c {
                    '*' => (0, None),
                    '+' => (1, None),
                    _ => (0, Some(1)),
                };
                return self.repeat(min, max, 1, repeat_before);
            }
            '{' => match braces(self.rest) {
                Some((min, max, len)) => {
                    let too_big = |n: Option<u32>| n.is_none_or(|n| n > REPEAT_MAX);
                    let bad_max = max.is_some_and(|max| too_big(max) || max < min);
                    if too_big(min) || bad_max {
                        return refused("invalid repeat count", &self.rest[..len]);
                    }
                    return self.repeat(min.unwrap_or(0), max.flatten(), len, repeat_before);
                }
                None => self.literal(c),
            },
            '^' | '$' => self.anchor(c),
            '.' => {
                self.skip(1);
                self.out.push('.');
                self.group().push(Shape::anything());
            }
            '[' => {
                let (class, len) = class::bracketed(self.rest)?;
                self.skip(len);
                self.class(class);
            }
            '\\' => return self.escape(),
            _ => self.literal(c),
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        self.skip(c.len_utf8());
        self.push_char(c);
    }

    fn push_char(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.out.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
        let shape = if self.flags.fold_case { Shape::anything() } else { Shape::character(c) };
        self.group().push(shape);
    }

    fn class(&mut self, class: class::Class) {
        self.out.push_str(&class.pattern);
        let shape = match class.characters {
            Some(characters) if !self.flags.fold_case => Shape::characters(&characters),
            _ => Shape::anything(),
        };
        self.group().push(shape);
    }

    fn anchor(&mut self, c: char) {
        self.skip(1);
        self.out.push(c);
        let (outermost, multi_line) = (self.groups.len() == 1, self.flags.multi_line);
        let group = self.group();
        let at_start = group.last.is_none();
        // What is anchored as a whole needs no anchor at its ends.
        let shape = match c {
            '^' if outermost && at_start && !multi_line => Shape::empty(),
            '$' if outermost && !multi_line => Shape::end(),
            _ => Shape::anything(),
        };
        group.push(shape);
    }

    fn open(&mut self, text: &str) -> Read<()> {
        if self.groups.len() > NESTING_MAX {
            return refused("expression nests too deeply", self.whole);
        }
        self.out.push_str(text);
        self.groups.push(Group::new(self.flags));
        Ok(())
    }

    fn close(&mut self) -> Read<()> {
        if self.groups.len() == 1 {
            return refused("unexpected )", self.whole);
        }
        let Some(group) = self.groups.pop() else { return Ok(()) };
        self.skip(1);
        self.out.push(')');
        self.flags = group.flags;
        self.group().push(group.into_shape());
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags:` or `(?flags)`.
    fn perl_group(&mut self) -> Read<()> {
        let named = self.rest.strip_prefix("(?P<").or_else(|| self.rest.strip_prefix("(?<"));
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            let Some((name, rest)) = named.split_once('>') else {
                return refused("invalid named capture", self.rest);
            };
            let valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if name.is_empty() || !name.chars().all(valid) {
                let len = self.rest.len() - rest.len();
                return refused("invalid named capture", &self.rest[..len]);
            }
            self.group_names.push(name.to_owned());
            self.rest = rest;
            return self.open("(");
        }
        let mut flags = self.flags;
        let (mut on, mut seen) = (true, false);
        let mut end = 2;
        for c in self.rest[2..].chars() {
            end += c.len_utf8();
            match c {
                'i' => flags.fold_case = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_matches_newline = on,
                'U' => flags.swap_greed = on,
                '-' if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || seen => {
                    self.skip(end);
                    return self.flags_end(flags, c == ':');
                }
                _ => break,
            }
            seen = true;
        }
        refused("invalid or unsupported Perl syntax", &self.rest[..end])
    }

    fn flags_end(&mut self, flags: Flags, opens_group: bool) -> Read<()> {
        let spelled = flags.spelled();
        if opens_group {
            self.open(&format!("(?{spelled}:"))?;
        } else {
            self.out.push_str(&format!("(?{spelled})"));
        }
        self.flags = flags;
        Ok(())
    }

    /// A repetition whose sign has `len` bytes; `max` is `None` for any number.
    fn repeat(&mut self, min: u32, max: Option<u32>, len: usize, repeat_before: Option<usize>) -> Read<()> {
        let from = self.at();
        let sign = &self.rest[..len];
        self.skip(len);
        let lazy = self.rest.starts_with('?');
        if lazy {
            self.skip(1);
        }
        let to = self.at();
        if let Some(before) = repeat_before {
            return refused("invalid nested repetition operator", &self.whole[before..to]);
        }
        let Some(last) = self.group().last.take() else {
            return refused("missing argument to repetition operator", &self.whole[from..to]);
        };
        let is_counted = sign.starts_with('{');
        let repeated = last.repeated(min, max, is_counted);
        if is_counted && (min >= 2 || max.is_some_and(|max| max >= 2)) && repeated.repeats() > REPEAT_MAX {
            return refused("invalid repeat count", &self.whole[from..to]);
        }
        self.group().last = Some(repeated);
        self.out.push_str(sign);
        if lazy {
            self.out.push('?');
        }
        self.repeat_from = Some(from);
        Ok(())
    }

    fn escape(&mut self) -> Read<()> {
        let Some(c) = self.rest[1..].chars().next() else {
            return refused("trailing backslash at end of expression", "");
        };
        let zero_width = match c {
            'A' => Some(r"\A"),
            'z' => Some(r"\z"),
            'b' => Some(r"(?-u:\b)"),
            'B' => Some(r"(?-u:\B)"),
            _ => None,
        };
        if let Some(zero_width) = zero_width {
            self.skip(2);
            self.out.push_str(zero_width);
            self.group().push(Shape::anything());
            return Ok(());
        }
        if c == 'Q' {
            self.skip(2);
            let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            quoted.chars().for_each(|c| self.push_char(c));
            return Ok(());
        }
        if let Some((class, len)) = class::escaped(self.rest)? {
            self.skip(len);
            self.class(class);
            return Ok(());
        }
        let (code, len) = class::escaped_character(self.rest)?;
        self.skip(len);
        match char::from_u32(code) {
            Some(c) => self.push_char(c),
            // A surrogate is a character in Go, but no text has one.
            None => self.class(class::Class::nothing()),
        }
        Ok(())
    }

    fn finish(mut self) -> Read<Translated> {
        if self.groups.len() > 1 {
            return refused("missing closing )", self.whole);
        }
        self.out.push(')');
        let shape = self.groups.pop().map_or_else(Shape::empty, Group::into_shape);
        Ok(Translated { pattern: self.out, shape, group_names: self.group_names })
    }
}

/// `{n}`, `{n,}` or `{n,m}` at the start of the text: least, most (`None`: any number), length.
/// A number too big to read is `None` within. Anything else is a plain brace.
fn braces(text: &str) -> Option<(Option<u32>, Option<Option<u32>>, usize)> {
    let (inner, _) = text.strip_prefix('{')?.split_once('}')?;
    let len = inner.len() + 2;
    let number = |digits: &str| {
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        let valid = !digits.is_empty() && !leading_zero && digits.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| digits.parse::<u32>().ok())
    };
    match inner.split_once(',') {
        None => {
            let exactly = number(inner)?;
            Some((exactly, Some(exactly), len))
        }
        Some((min, "")) => Some((number(min)?, None, len)),
        Some((min, max)) => Some((number(min)?, Some(number(max)?), len)),
    }
}
