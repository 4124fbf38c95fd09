//! Character classes and escapes of Go's regular expressions.
//!
//! Classes come out with every character as a code point, so that none has a meaning of its own
//! for the crate (`&&`, `--`, `~~` and brackets within brackets mean something there).

use std::fmt::Write;

use super::RegexError;
use super::translate::refused;

/// More characters than this are not worth listing.
const CHARACTERS_MAX: u32 = 16;
const CODE_MAX: u32 = 0x10_ffff;

/// A class as the crate reads it.
pub struct Class {
    pub pattern: String,
    /// Its characters, where they are few.
    pub characters: Option<Vec<char>>,
}

impl Class {
    fn named(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), characters: None }
    }

    pub fn nothing() -> Self {
        Self::named(r"[^\x{0}-\x{10FFFF}]")
    }
}

type Read<T> = Result<T, RegexError>;

/// `[…]` at the start of the text, and its length.
pub fn bracketed(text: &str) -> Read<(Class, usize)> {
    let mut rest = &text[1..];
    let negated = rest.starts_with('^');
    if negated {
        rest = &rest[1..];
    }
    let mut pattern = String::from(if negated { "[^" } else { "[" });
    let mut characters = Some(Vec::new());
    let mut is_empty = true;
    let mut first = true;
    loop {
        if rest.is_empty() {
            return refused("missing closing ]", text);
        }
        if rest.starts_with(']') && !first {
            break;
        }
        first = false;
        if let Some((class, len)) = posix(rest)? {
            pattern.push_str(&class.pattern);
            (characters, is_empty) = (None, false);
            rest = &rest[len..];
            continue;
        }
        if let Some((class, len)) = escaped(rest)? {
            pattern.push_str(&class.pattern);
            (characters, is_empty) = (None, false);
            rest = &rest[len..];
            continue;
        }
        let from = rest;
        let (low, len) = class_character(rest, text)?;
        rest = &rest[len..];
        let mut high = low;
        if let Some(after) = rest.strip_prefix('-')
            && !after.is_empty()
            && !after.starts_with(']')
        {
            let (code, len) = class_character(after, text)?;
            rest = &after[len..];
            high = code;
            if high < low {
                return refused("invalid character class range", &from[..from.len() - rest.len()]);
            }
        }
        if let Some((low, high)) = without_surrogates(low, high) {
            write!(pattern, "\\x{{{low:X}}}-\\x{{{high:X}}}").expect("a String takes every text");
            is_empty = false;
            list(&mut characters, low, high);
        }
    }
    let len = text.len() - rest.len() + 1;
    if is_empty {
        // Nothing but surrogates.
        let class = if negated { Class::named(r"[\x{0}-\x{10FFFF}]") } else { Class::nothing() };
        return Ok((class, len));
    }
    pattern.push(']');
    Ok((Class { pattern, characters: characters.filter(|_| !negated) }, len))
}

fn list(characters: &mut Option<Vec<char>>, low: u32, high: u32) {
    if let Some(listed) = characters {
        if high - low >= CHARACTERS_MAX || listed.len() as u32 + (high - low) >= CHARACTERS_MAX {
            *characters = None;
        } else {
            listed.extend((low..=high).filter_map(char::from_u32));
        }
    }
}

/// Go counts surrogates as characters, texts do not have them.
fn without_surrogates(low: u32, high: u32) -> Option<(u32, u32)> {
    let low = if char::from_u32(low).is_none() { 0xe000 } else { low };
    let high = if char::from_u32(high).is_none() { 0xd7ff } else { high };
    (low <= high).then_some((low, high))
}

/// One character of a class, and its length; `class` is the whole of it for the message.
fn class_character(text: &str, class: &str) -> Read<(u32, usize)> {
    match text.chars().next() {
        None => refused("missing closing ]", class),
        Some('\\') => escaped_character(text),
        Some(c) => Ok((u32::from(c), c.len_utf8())),
    }
}

/// `[:name:]` or `[:^name:]` at the start of the text.
fn posix(text: &str) -> Read<Option<(Class, usize)>> {
    let Some((name, _)) = text.strip_prefix("[:").and_then(|inner| inner.split_once(":]")) else {
        return Ok(None);
    };
    let len = name.len() + 4;
    let plain = name.strip_prefix('^').unwrap_or(name);
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    if !NAMES.contains(&plain) {
        return refused("invalid character class range", &text[..len]);
    }
    Ok(Some((Class::named(&format!("[[:{name}:]]")), len)))
}

/// `\d`, `\pL` and their like at the start of the text.
pub fn escaped(text: &str) -> Read<Option<(Class, usize)>> {
    let Some(after) = text.strip_prefix('\\') else { return Ok(None) };
    let pattern = match after.chars().next() {
        Some('d') => "[0-9]",
        Some('D') => "[^0-9]",
        Some('s') => r"[\t\n\x0C\r ]",
        Some('S') => r"[^\t\n\x0C\r ]",
        Some('w') => "[0-9A-Za-z_]",
        Some('W') => "[^0-9A-Za-z_]",
        Some('p' | 'P') => return unicode(text).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((Class::named(pattern), 2)))
}

/// `\pN`, `\p{Name}`, `\p{^Name}`, `\P…`.
fn unicode(text: &str) -> Read<(Class, usize)> {
    let mut negated = text.starts_with(r"\P");
    let after = &text[2..];
    let (name, len) = match after.strip_prefix('{') {
        Some(inner) => match inner.split_once('}') {
            Some((name, _)) => (name, name.len() + 4),
            None => return refused("invalid character class range", text),
        },
        None => match after.chars().next() {
            Some(c) => (&after[..c.len_utf8()], 2 + c.len_utf8()),
            None => return refused("invalid character class range", text),
        },
    };
    let plain = name.strip_prefix('^').unwrap_or(name);
    negated ^= plain.len() != name.len();
    let Some(members) = unicode_members(plain) else {
        return refused("invalid character class range", &text[..len]);
    };
    let not = if negated { "^" } else { "" };
    Ok((Class::named(&format!("[{not}{members}]")), len))
}

/// Categories go by their short names, scripts by their full ones.
fn unicode_members(name: &str) -> Option<String> {
    const CATEGORIES: [&str; 35] = [
        "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No",
        "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
        "Any",
    ];
    match name {
        "Any" => return Some(r"\x{0}-\x{10FFFF}".to_owned()),
        // Without the unassigned code points, which the crate counts among them.
        "C" => return Some(r"\p{Cc}\p{Cf}\p{Co}".to_owned()),
        // Surrogates.
        "Cs" => return Some(r"[^\x{0}-\x{10FFFF}]".to_owned()),
        _ if CATEGORIES.contains(&name) => return Some(format!("\\p{{{name}}}")),
        _ => {}
    }
    // The crate forgives case and spaces in names, Go does not.
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && word[1..].bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let is_script = name.len() > 2 && name.split('_').all(|word| is_word(word) || word == "Nko");
    let members = format!("\\p{{Script={name}}}");
    (is_script && regex::Regex::new(&members).is_ok()).then_some(members)
}

/// A character written as an escape at the start of the text: its code and length.
pub fn escaped_character(text: &str) -> Read<(u32, usize)> {
    let after = &text[1..];
    let Some(c) = after.chars().next() else {
        return refused("trailing backslash at end of expression", "");
    };
    let plain = match c {
        'a' => Some(7),
        'f' => Some(12),
        'n' => Some(10),
        'r' => Some(13),
        't' => Some(9),
        'v' => Some(11),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    if let Some(code) = plain {
        return Ok((code, 2));
    }
    let is_octal = |byte: &u8| (b'0'..=b'7').contains(byte);
    let octal_digits = after.bytes().take(3).take_while(is_octal).count();
    // A single digit other than 0 would refer to a group, which is not supported.
    if octal_digits > 1 || (octal_digits == 1 && c == '0') {
        let code = u32::from_str_radix(&after[..octal_digits], 8).unwrap_or(0);
        return Ok((code, 1 + octal_digits));
    }
    if c == 'x' {
        return hexadecimal(text);
    }
    refused("invalid escape sequence", &text[..1 + c.len_utf8()])
}

/// `\x7F` or `\x{10FFFF}`.
fn hexadecimal(text: &str) -> Read<(u32, usize)> {
    let after = &text[2..];
    if let Some(inner) = after.strip_prefix('{') {
        let digits = inner.bytes().take_while(u8::is_ascii_hexdigit).count();
        let code = u32::from_str_radix(&inner[..digits], 16).ok().filter(|code| *code <= CODE_MAX);
        if let Some(code) = code
            && inner[digits..].starts_with('}')
        {
            return Ok((code, digits + 4));
        }
        // Up to the character that does not belong.
        let bad = inner[digits..].chars().next().map_or(0, char::len_utf8);
        return refused("invalid escape sequence", &text[..3 + digits + bad]);
    }
    let digits = after.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
    if digits == 2 {
        return Ok((u32::from_str_radix(&after[..2], 16).unwrap_or(0), 4));
    }
    let bad = after[digits..].chars().next().map_or(0, char::len_utf8);
    refused("invalid escape sequence", &text[..2 + digits + bad])
}
