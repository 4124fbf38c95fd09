//! Text as Go prints it: quoted strings, characters, floats.
//!
//! Error messages, `format_query` and the tree's JSON are compared with Prometheus' letter by
//! letter; these are the few verbs of Go's `fmt` and `strconv` they need.

use std::fmt::Write;

/// `%q` of a string: double quotes, printable characters as they are, Go's escapes for the rest.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        push_escaped(&mut quoted, c, '"');
    }
    quoted.push('"');
    quoted
}

/// `%q` of a character: single quotes.
pub fn quote_char(c: char) -> String {
    let mut quoted = String::from('\'');
    push_escaped(&mut quoted, c, '\'');
    quoted.push('\'');
    quoted
}

/// `%#U` of a character: `U+0071 'q'`, without the second part where it cannot be printed.
pub fn code_point(c: char) -> String {
    if is_printable(c) { format!("U+{:04X} '{c}'", c as u32) } else { format!("U+{:04X}", c as u32) }
}

fn push_escaped(quoted: &mut String, c: char, quote: char) {
    match c {
        '\\' => quoted.push_str("\\\\"),
        _ if c == quote => {
            quoted.push('\\');
            quoted.push(quote);
        }
        _ if is_printable(c) => quoted.push(c),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        _ => {
            let code = c as u32;
            let written = match code {
                0..0x20 | 0x7f => write!(quoted, "\\x{code:02x}"),
                0..0x10000 => write!(quoted, "\\u{code:04x}"),
                _ => write!(quoted, "\\U{code:08x}"),
            };
            written.expect("a String takes every text");
        }
    }
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
///
/// The standard library knows the same classes only through `escape_debug`, which escapes a
/// combining mark at the start of a text although it is printable: hence the letter before it.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    let mut buffer = [b'a', 0, 0, 0, 0];
    let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
    let text = std::str::from_utf8(&buffer[..len]).expect("an ASCII letter and an encoded char");
    text.escape_debug().nth(1) != Some('\\')
}

/// `strconv.FormatFloat(value, 'f', -1, 64)`: shortest digits, never an exponent.
pub fn float_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

/// `%v` of a float: shortest digits, an exponent below 1e-4 and from 1e21 on.
pub fn float_general(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return float_plain(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("`{:e}` writes an exponent");
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        let check = |text: &str, want: &str| assert_eq!(quote(text), want);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("it's\n\t\r\x07\x08\x0b\x0c", r#""it's\n\t\r\a\b\v\f""#);
        check("\x01\x7f\u{85}\u{200b}\u{e0001}", r#""\x01\x7f\u0085\u200b\U000e0001""#);
        check("é日\u{301}\u{1F600}", "\"é日\u{301}\u{1F600}\"");
        check("\u{a0}\u{2028}", r#""\u00a0\u2028""#);
        assert_eq!(quote_char('\''), r"'\''");
        assert_eq!(quote_char('"'), "'\"'");
        assert_eq!(code_point('q'), "U+0071 'q'");
        assert_eq!(code_point('\n'), "U+000A");
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        let check = |value: f64, plain: &str, general: &str| {
            assert_eq!((float_plain(value).as_str(), float_general(value).as_str()), (plain, general));
        };
        check(1.0, "1", "1");
        check(-0.0, "-0", "-0");
        check(1e21, "1000000000000000000000", "1e+21");
        check(1.5e-7, "0.00000015", "1.5e-07");
        check(0.0001, "0.0001", "0.0001");
        check(f64::NAN, "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf");
        check(f64::NEG_INFINITY, "-Inf", "-Inf");
    }
}
