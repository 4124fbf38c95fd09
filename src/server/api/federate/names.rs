//! Names for askers that know letters, digits, underscores and colons only.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What becomes of a name that is not a classic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Escaping {
    /// Nothing: the asker knows UTF-8.
    Utf8,
    /// Every other character is an underscore. Two names may become one.
    #[default]
    Underscores,
    /// As before, but points are `_dot_` and underscores are two.
    Dots,
    /// `U__`, underscores are two, and every other character is its number: this reads back.
    Values,
}

impl Escaping {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Utf8, Self::Underscores, Self::Dots, Self::Values].into_iter().find(|e| e.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The name as the asker gets it.
    pub fn name(self, name: &str) -> Cow<'_, str> {
        if self == Self::Utf8 || is_classic(name) {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (at, c) in name.chars().enumerate() {
            match (self, c) {
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                (_, c) if is_letter(c) || (c.is_ascii_digit() && at > 0) => escaped.push(c),
                (Self::Dots, _) => escaped.push_str("__"),
                (Self::Values, c) => {
                    // Writing to a string does not fail.
                    let _ = write!(escaped, "_{:x}_", u32::from(c));
                }
                _ => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

/// Whether every reader of the text format takes the name without quotes.
pub fn is_classic(name: &str) -> bool {
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_a_prometheus_does() {
        let check = |name: &str, underscores: &str, dots: &str, values: &str| {
            let got = [Escaping::Underscores, Escaping::Dots, Escaping::Values].map(|e| e.name(name));
            assert_eq!(got, [underscores, dots, values], "{name}");
            assert_eq!(Escaping::Utf8.name(name), name);
        };
        check("up", "up", "up", "up");
        check("a_b:c", "a_b:c", "a_b:c", "a_b:c");
        check("a.metric", "a_metric", "a_dot_metric", "U__a_2e_metric");
        check("x.y_z", "x_y_z", "x_dot_y__z", "U__x_2e_y__z");
        check("ключ", "____", "________", "U___43a__43b__44e__447_");
        check("9g", "_g", "__g", "U___39_g");
        check("a b", "a_b", "a__b", "U__a_20_b");
    }
}
