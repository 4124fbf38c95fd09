//! What an expression can match, as far as an index can use it: a few literals, or a prefix.
//!
//! Learned while the expression is translated, item by item. Everything here may give up at any
//! time: "anything" is always a right answer.

/// Most literals that two sets multiplied may make: `(a|b)(c|d)` makes four.
const PRODUCT_MAX: usize = 256;
/// Bytes of all literals that a product may make. Alternatives alone are bounded by the length of
/// the expression.
const LITERAL_BYTES_MAX: usize = 1 << 14;

#[derive(Clone, Debug)]
pub struct Shape {
    matches: Matches,
    /// The highest product of counted repetitions within repetitions.
    repeats: u32,
}

#[derive(Clone, Debug)]
enum Matches {
    /// Exactly these.
    Literals(Vec<String>),
    /// As `Literals`, if nothing follows: `$` has been read.
    Ended(Vec<String>),
    /// Only what begins like this.
    Prefix(String),
}

impl Shape {
    fn new(matches: Matches) -> Self {
        Self { matches, repeats: 1 }
    }

    /// Matches the empty text.
    pub fn empty() -> Self {
        Self::new(Matches::Literals(vec![String::new()]))
    }

    /// Nothing is known.
    pub fn anything() -> Self {
        Self::new(Matches::Prefix(String::new()))
    }

    /// The end of the text, where the expression is anchored there anyway.
    pub fn end() -> Self {
        Self::new(Matches::Ended(vec![String::new()]))
    }

    pub fn character(c: char) -> Self {
        Self::new(Matches::Literals(vec![c.to_string()]))
    }

    pub fn characters(characters: &[char]) -> Self {
        Self::new(Matches::Literals(characters.iter().map(char::to_string).collect()))
    }

    pub fn repeats(&self) -> u32 {
        self.repeats
    }

    /// This and then `next`.
    pub fn append(&mut self, next: Self) {
        self.repeats = self.repeats.max(next.repeats);
        let matches = std::mem::replace(&mut self.matches, Matches::Prefix(String::new()));
        self.matches = match (matches, next.matches) {
            (Matches::Literals(heads), Matches::Literals(tails)) => product(heads, &tails, Matches::Literals),
            (Matches::Literals(heads), Matches::Ended(tails)) => product(heads, &tails, Matches::Ended),
            (Matches::Literals(heads), Matches::Prefix(tail)) => match heads.as_slice() {
                [head] => Matches::Prefix(format!("{head}{tail}")),
                _ => Matches::Prefix(common_prefix(&heads)),
            },
            (Matches::Ended(heads), _) => Matches::Prefix(common_prefix(&heads)),
            (Matches::Prefix(prefix), _) => Matches::Prefix(prefix),
        };
    }

    /// This or `other`.
    pub fn or(self, other: Self) -> Self {
        let repeats = self.repeats.max(other.repeats);
        let matches = match (self.matches, other.matches) {
            (
                Matches::Literals(mut all) | Matches::Ended(mut all),
                Matches::Literals(more) | Matches::Ended(more),
            ) => {
                all.extend(more);
                // Only whole expressions have an end in them, and nothing follows those.
                Matches::Literals(all)
            }
            (one, other) => Matches::Prefix(common_prefix(&[one.prefix(), other.prefix()])),
        };
        Self { matches, repeats }
    }

    /// This, at least `min` and at most `max` times.
    pub fn repeated(self, min: u32, max: Option<u32>, is_counted: bool) -> Self {
        let times = max.unwrap_or(min).max(1);
        let repeats = if is_counted { self.repeats.saturating_mul(times) } else { self.repeats };
        let matches = match (self.matches, min, max) {
            (matches, 1, Some(1)) => matches,
            (Matches::Literals(mut literals), 0, Some(1)) => {
                literals.push(String::new());
                Matches::Literals(literals)
            }
            (_, 0, _) => Matches::Prefix(String::new()),
            (matches, _, _) => Matches::Prefix(matches.prefix()),
        };
        Self { matches, repeats }
    }

    /// The only texts that match, sorted, where they are known.
    pub fn into_literals_or_prefix(self) -> Result<Vec<String>, String> {
        match self.matches {
            Matches::Literals(mut literals) | Matches::Ended(mut literals) => {
                literals.sort_unstable();
                literals.dedup();
                Ok(literals)
            }
            Matches::Prefix(prefix) => Err(prefix),
        }
    }
}

impl Matches {
    fn prefix(self) -> String {
        match self {
            Self::Literals(literals) | Self::Ended(literals) => common_prefix(&literals),
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// Every head with every tail; only a prefix where that would be too many.
fn product(mut heads: Vec<String>, tails: &[String], exactly: fn(Vec<String>) -> Matches) -> Matches {
    if let ([head], [tail]) = (heads.as_mut_slice(), tails) {
        head.push_str(tail);
        return exactly(heads);
    }
    // `(a|b|…)` with nothing before or behind it stays as it is, however many there are.
    if tails == [""] {
        return exactly(heads);
    }
    if heads == [""] {
        return exactly(tails.to_vec());
    }
    let count = heads.len() * tails.len();
    let total = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let bytes = total(&heads) * tails.len() + total(tails) * heads.len();
    if count > PRODUCT_MAX || bytes > LITERAL_BYTES_MAX {
        return Matches::Prefix(common_prefix(&heads));
    }
    exactly(heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect())
}

pub fn common_prefix(texts: &[String]) -> String {
    let Some((first, others)) = texts.split_first() else { return String::new() };
    let mut len = first.len();
    for other in others {
        let same = first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        len = len.min(same);
    }
    while !first.is_char_boundary(len) {
        len -= 1;
    }
    first[..len].to_owned()
}
