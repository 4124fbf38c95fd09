//! Go's regular expressions (RE2 syntax, `(?s)`, fully anchored), run by the `regex` crate.
//!
//! Owns the translation of the syntax and the fast paths of the index. Does not know labels.
//!
//! - [`mod@translate`] and [`class`]: the syntax, and Go's words for what is wrong with it
//! - [`shape`]: which literals or prefix an expression comes down to
//! - [`template`]: `$1` and `${name}` in replacements

mod class;
mod shape;
mod template;
mod translate;

use regex::bytes::{Regex, RegexBuilder};

use translate::{Flags, translate};

/// Bytes that a compiled expression may take, the crate's own default.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexError(pub String);

/// A compiled expression that must match the whole value.
#[derive(Debug)]
pub struct AnchoredRegex {
    test: Test,
    /// Every accepted value begins with it.
    prefix: String,
}

/// The cheapest way to tell whether a value is accepted.
#[derive(Debug)]
enum Test {
    /// `.*`
    Anything,
    /// `.+`
    NotEmpty,
    /// Sorted.
    Literals(Vec<String>),
    Regex(Regex),
}

impl AnchoredRegex {
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        match pattern {
            ".*" => return Ok(Self { test: Test::Anything, prefix: String::new() }),
            ".+" => return Ok(Self { test: Test::NotEmpty, prefix: String::new() }),
            _ => {}
        }
        let translated = translate(pattern, Flags::MATCHER)?;
        match translated.shape.into_literals_or_prefix() {
            Ok(literals) => {
                let prefix = shape::common_prefix(&literals);
                Ok(Self { test: Test::Literals(literals), prefix })
            }
            Err(prefix) => {
                let regex = compile(&format!(r"\A{}\z", translated.pattern), pattern)?;
                Ok(Self { test: Test::Regex(regex), prefix })
            }
        }
    }

    pub fn is_match(&self, value: &str) -> bool {
        match &self.test {
            Test::Anything => true,
            Test::NotEmpty => !value.is_empty(),
            Test::Literals(literals) => {
                literals.binary_search_by(|literal| literal.as_str().cmp(value)).is_ok()
            }
            Test::Regex(regex) => value.starts_with(&self.prefix) && regex.is_match(value.as_bytes()),
        }
    }

    /// The values accepted, where they are a finite set of literals (`a|b|c`); sorted.
    pub fn literals(&self) -> Option<&[String]> {
        match &self.test {
            Test::Literals(literals) => Some(literals),
            _ => None,
        }
    }

    /// A literal prefix of every accepted value; empty where there is none.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A compiled expression with groups, for replacements: `label_replace`.
///
/// Anchored as the engine anchors it: the text of `^(?s:…)$` is read as a whole, so that a stray
/// parenthesis is refused (or not) as in Go.
#[derive(Debug)]
pub struct GoRegex {
    regex: Regex,
    /// From number 1 on, empty where a group has no name.
    group_names: Vec<String>,
}

impl GoRegex {
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let anchored = format!("^(?s:{pattern})$");
        let translated = translate(&anchored, Flags::PLAIN)?;
        let regex = compile(&translated.pattern, &anchored)?;
        Ok(Self { regex, group_names: translated.group_names })
    }

    /// The template with the groups of the value put in; `None` if the value does not match.
    pub fn replace(&self, value: &str, template: &str) -> Option<String> {
        let captures = self.captures(value)?;
        Some(self.expand(&captures, template))
    }

    /// What the groups matched, the whole match first; `None` for those that took no part.
    pub fn captures<'v>(&self, value: &'v str) -> Option<Vec<Option<&'v str>>> {
        let captures = self.regex.captures(value.as_bytes())?;
        Some(captures.iter().map(|group| group.and_then(|found| value.get(found.range()))).collect())
    }

    /// `$1`, `$name`, `${name}` and `$$` of a template, as Go's `Regexp.Expand` reads them.
    pub fn expand(&self, captures: &[Option<&str>], template: &str) -> String {
        template::expand(template, captures, &self.group_names)
    }
}

fn compile(translated: &str, pattern: &str) -> Result<Regex, RegexError> {
    RegexBuilder::new(translated).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => RegexError(format!("expression too large: `{pattern}`")),
        other => RegexError(format!("{other}: `{pattern}`")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str) -> AnchoredRegex {
        AnchoredRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    #[test]
    fn the_whole_value_must_match() {
        let check = |pattern: &str, value: &str, want: bool| {
            assert_eq!(regex(pattern).is_match(value), want, "{pattern} on {value:?}");
        };
        check("a|bc", "a", true);
        check("a|bc", "bc", true);
        check("a|bc", "abc", false);
        check("", "", true);
        check("", "a", false);
        check("^a$", "a", true);
        check("a$b", "a", false);
        check("a$b", "ab", false);
        check("a.c", "a\nc", true);
        check("(?-s:a.c)", "a\nc", false);
        check("(?m)a$.^b", "a\nb", true);
        check("a*?b+?", "aab", true);
        check("(?U)a*", "aaa", true);
    }

    #[test]
    fn syntax_has_gos_meaning() {
        let check = |pattern: &str, yes: &[&str], no: &[&str]| {
            let regex = regex(pattern);
            for value in yes {
                assert!(regex.is_match(value), "{pattern} takes {value:?}");
            }
            for value in no {
                assert!(!regex.is_match(value), "{pattern} refuses {value:?}");
            }
        };
        check(r"\d+", &["09"], &["٣", ""]);
        check(r"\w", &["a", "_", "7"], &["é", "-"]);
        check(r"\s", &[" ", "\t"], &["\u{a0}", "\x0b"]);
        check(r"\W\D\S", &["éé٣"], &["a1 "]);
        check(r"[^\w]", &["é"], &["a"]);
        check(r"é\b.", &[], &["é "]);
        check(r"é\B.", &["é "], &["éa"]);
        check(r"\Qa.b*\E+", &["a.b*", "a.b***"], &["axb*"]);
        check(r"\Qa|b", &["a|b"], &["a"]);
        check("{{x}}", &["{{x}}"], &["x"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("a{2,}", &["aa", "aaaa"], &["a"]);
        check("a{01}", &["a{01}"], &["a"]);
        check("[[]", &["["], &["]"]);
        check("[]a]", &["]", "a"], &["["]);
        check("[a&&b]", &["a", "&", "b"], &["c"]);
        check("[+--]", &["+", ",", "-"], &["."]);
        check("[~~a[b]", &["~", "[", "b"], &["]"]);
        check("[a-c-e]", &["b", "-", "e"], &["d"]);
        check("[[:alpha:]0]", &["x", "0"], &["1", "é"]);
        check("[[:^alpha:]]", &["1", "é"], &["x"]);
        check(r"[\d\-x]", &["3", "-", "x"], &["y"]);
        check(r"\pL\p{Greek}\PN", &["éαx"], &["1αx", "éax", "éα5"]);
        check(r"\p{^Lu}", &["a"], &["A"]);
        check(r"\x41\x{1F600}\101\07\z", &["A😀A\x07"], &[]);
        check("(?i)straße", &["STRAßE", "ſtraße"], &["strasse"]);
        check("(?P<x>a)(?<y>b)(?P<x>c)", &["abc"], &[]);
        check("a(?i)b|c", &["aB", "C"], &["AB"]);
        check(r"a\_b\.", &["a_b."], &[]);
        check("()|x#y z", &["", "x#y z"], &["xy"]);
        check(r"\p{Cs}|[\x{D800}-\x{DFFF}]|x", &["x"], &["\u{fffd}"]);
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        let check = |pattern: &str, want: &str| {
            let error = AnchoredRegex::new(pattern).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("error parsing regexp: {want}")), "{pattern}");
        };
        check("*", "missing argument to repetition operator: `*`");
        check("a|+?", "missing argument to repetition operator: `+?`");
        check("({3})", "missing argument to repetition operator: `{3}`");
        check("a**", "invalid nested repetition operator: `**`");
        check("a+*?", "invalid nested repetition operator: `+*?`");
        check("a{2}{3}", "invalid nested repetition operator: `{2}{3}`");
        check("a{1001}", "invalid repeat count: `{1001}`");
        check("a{3,2}", "invalid repeat count: `{3,2}`");
        check("a{99999999999}", "invalid repeat count: `{99999999999}`");
        check("(a{100}){11}", "invalid repeat count: `{11}`");
        check("(a", "missing closing ): `(a`");
        check("a)", "unexpected ): `a)`");
        check("[a", "missing closing ]: `[a`");
        check("x[]", "missing closing ]: `[]`");
        check("[z-a]", "invalid character class range: `z-a`");
        check("[a--b]", "invalid character class range: `a--`");
        check("[[:foo:]]", "invalid character class range: `[:foo:]`");
        check(r"\p{Foo}", r"invalid character class range: `\p{Foo}`");
        check(r"\p{greek}", r"invalid character class range: `\p{greek}`");
        check(r"\p{Script=Greek}", r"invalid character class range: `\p{Script=Greek}`");
        check(r"\u0041", r"invalid escape sequence: `\u`");
        check(r"\1", r"invalid escape sequence: `\1`");
        check(r"\C", r"invalid escape sequence: `\C`");
        check(r"\Z", r"invalid escape sequence: `\Z`");
        check(r"[a-\d]", r"invalid escape sequence: `\d`");
        check(r"[\b]", r"invalid escape sequence: `\b`");
        check(r"\x{110000}", r"invalid escape sequence: `\x{110000}`");
        check(r"\xg", r"invalid escape sequence: `\xg`");
        check("a\\", "trailing backslash at end of expression: ``");
        check("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
        check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check("(?<=a)", "invalid named capture: `(?<=a)`");
        check("(?P<a-b>x)", "invalid named capture: `(?P<a-b>`");
        check("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`");
    }

    #[test]
    fn a_few_literals_need_no_regex() {
        let check = |pattern: &str, want: Option<&[&str]>| {
            let regex = regex(pattern);
            let literals: Option<Vec<&str>> =
                regex.literals().map(|literals| literals.iter().map(String::as_str).collect());
            assert_eq!(literals.as_deref(), want, "{pattern}");
        };
        check("a", Some(&["a"]));
        check("b|a|a", Some(&["a", "b"]));
        check("^(?:b|a)$", Some(&["a", "b"]));
        check("a(b|c)d?", Some(&["ab", "abd", "ac", "acd"]));
        check("[ab]1|", Some(&["", "a1", "b1"]));
        check(r"a\.b\Q+\E", Some(&["a.b+"]));
        check("(^a|b)", None);
        check("a$b", None);
        check("(?i)a", None);
        check("[a-z]", None);
        check("[^a]", None);
        check("(?m)a$", None);
        let many: Vec<String> = (0..3000).map(|n| format!("value-{n:04}")).collect();
        let many_literals = regex(&format!("^({})$", many.join("|")));
        assert_eq!(many_literals.literals(), Some(many.as_slice()));
    }

    #[test]
    fn a_prefix_is_found_where_literals_are_not() {
        let check = |pattern: &str, want: &str| assert_eq!(regex(pattern).prefix(), want, "{pattern}");
        check("foo.*", "foo");
        check("^foo.+bar", "foo");
        check("fo+.*", "fo");
        check("foo?.*", "fo");
        check("foo*", "fo");
        check("(foo|fob).*", "fo");
        check("foa.*|fob.*", "fo");
        check("(foo){2}x", "foo");
        check("éa.*|éb", "é");
        check("é|ê.*", "");
        check(".*foo", "");
        check("(?i)foo.*", "");
        check("foo(?i)bar", "foo");
        check("a{0}b.*", "");
    }

    #[test]
    fn hostile_expressions_end_quickly() {
        let started = std::time::Instant::now();
        let deep = "(".repeat(100_000);
        assert!(AnchoredRegex::new(&deep).is_err());
        assert!(AnchoredRegex::new(&"(?:".repeat(100_000)).is_err());
        let nested = format!("{}{}", "(".repeat(150), ")".repeat(150));
        assert!(AnchoredRegex::new(&nested).is_ok());
        let big = r"((\pL{30}){30})x";
        let _either = AnchoredRegex::new(big);
        let growing = format!("(a|b){}", "(c|d)".repeat(2_000));
        assert!(AnchoredRegex::new(&growing).is_ok());
        let long = format!("(a|b){}", "c".repeat(50_000));
        assert!(AnchoredRegex::new(&long).is_ok());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    #[test]
    fn groups_are_put_into_templates() {
        let check = |pattern: &str, value: &str, template: &str, want: Option<&str>| {
            let regex = GoRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.replace(value, template).as_deref(), want, "{pattern} {template}");
        };
        check("(.*)-(.*)", "a-b", "$2-$1", Some("b-a"));
        check("(.*)-(.*)", "ab", "$1", None);
        check("(?P<x>.)(?P<y>.)", "ab", "${y}$x", Some("ba"));
        check("(a)|(b)", "b", "[$1$2]", Some("[b]"));
        check("(.)", "a", "$1x", Some(""));
        check("(.)", "a", "${1}x$$1$0", Some("ax$1a"));
        check("(.)", "a", "$ ${ ${} $9 $-", Some("$ ${ ${}  $-"));
        check("a)(b", "ab", "$1", Some("b"));
        let error = GoRegex::new("(a").map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(error, Err("error parsing regexp: missing closing ): `^(?s:(a)$`".to_owned()));
    }
}
