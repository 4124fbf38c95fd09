//! Decodes `application/x-www-form-urlencoded`.

/// Why a form was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("error parsing form values: invalid URL escape {0:?}")]
    Escape(String),
    #[error("error parsing form values: parameter {0:?} is not UTF-8")]
    Utf8(String),
}

/// Appends the pairs of `text` in their order.
pub fn decode(text: &[u8], pairs: &mut Vec<(String, String)>) -> Result<(), FormError> {
    for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        pairs.push((decode_text(name)?, decode_text(value)?));
    }
    Ok(())
}

fn decode_text(text: &[u8]) -> Result<String, FormError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'+' => decoded.push(b' '),
            b'%' => {
                let escape = text.get(at..at + 3).ok_or_else(|| bad_escape(&text[at..]))?;
                let digit = |b: u8| char::from(b).to_digit(16);
                let (Some(high), Some(low)) = (digit(escape[1]), digit(escape[2])) else {
                    return Err(bad_escape(escape));
                };
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            other => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8(decoded)
        .map_err(|e| FormError::Utf8(String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn bad_escape(escape: &[u8]) -> FormError {
    FormError::Escape(String::from_utf8_lossy(escape).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, FormError> {
        let mut pairs = Vec::new();
        decode(text.as_bytes(), &mut pairs).map(|()| pairs)
    }

    #[test]
    fn pairs_keep_their_order_and_their_characters() {
        let check = |text: &str, want: &[(&str, &str)]| {
            let got = pairs(text).expect("valid");
            let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(got, want, "{text}");
        };
        check("", &[]);
        check("a=1&a=2&&b", &[("a", "1"), ("a", "2"), ("b", "")]);
        check("query=sum%28x%29+%2B+1&match%5B%5D=a%3Db", &[("query", "sum(x) + 1"), ("match[]", "a=b")]);
        check("q=%C3%A4=x", &[("q", "ä=x")]);
    }

    #[test]
    fn broken_escapes_are_refused() {
        assert_eq!(pairs("a=%zz"), Err(FormError::Escape("%zz".to_owned())));
        assert_eq!(pairs("a=%4"), Err(FormError::Escape("%4".to_owned())));
        assert!(matches!(pairs("a=%ff"), Err(FormError::Utf8(_))));
    }
}
