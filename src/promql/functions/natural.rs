//! Natural order of texts: numbers inside compare as numbers.

/// Whether `a` comes before `b`: texts are cut into runs of digits and of other characters; runs
/// compare as numbers where both are, else by bytes.
pub fn natural_less(a: &str, b: &str) -> bool {
    let (left, right) = (runs(a), runs(b));
    let mut pairs = left.iter().zip(&right);
    match pairs.find(|(l, r)| l != r) {
        Some((l, r)) => match (is_number(l), is_number(r)) {
            (true, true) => {
                let (l_digits, r_digits) = (l.trim_start_matches('0'), r.trim_start_matches('0'));
                (l_digits.len(), l_digits) < (r_digits.len(), r_digits)
                    // The same number written longer comes first.
                    || l_digits == r_digits && l.len() > r.len()
            }
            _ => l < r,
        },
        None => left.len() < right.len(),
    }
}

fn is_number(run: &str) -> bool {
    run.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

fn runs(text: &str) -> Vec<&str> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let digits = first.is_ascii_digit();
        let end = rest.bytes().position(|b| b.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        runs.push(run);
        rest = tail;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_compare_as_numbers() {
        let check = |a: &str, b: &str, want: bool| assert_eq!(natural_less(a, b), want, "{a} {b}");
        check("cpu2", "cpu10", true);
        check("cpu10", "cpu2", false);
        check("a", "b", true);
        check("a", "a", false);
        check("a", "a1", true);
        check("1.2.10", "1.10.2", true);
        check("18446744073709551616", "18446744073709551617", true);
    }
}
