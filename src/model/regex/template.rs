//! Templates of replacements, as Go's `Regexp.Expand` reads them.

/// `captures[0]` is the whole match; `names` begin with group 1.
pub fn expand(template: &str, captures: &[Option<&str>], names: &[String]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        match reference(after) {
            Some((name, after)) => {
                text.push_str(group(name, captures, names));
                rest = after;
            }
            // Malformed: the sign stands for itself.
            None => {
                text.push('$');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

/// `name…` or `{name}…`: the name, as long as it gets, and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (inner, braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let end = inner.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    if name.is_empty() {
        return None;
    }
    if braced { rest.strip_prefix('}').map(|rest| (name, rest)) } else { Some((name, rest)) }
}

/// Numbers without leading zeros count groups; anything else is a name. What there is not, or took
/// no part in the match, is empty.
fn group<'v>(name: &str, captures: &[Option<&'v str>], names: &[String]) -> &'v str {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_number {
        let number = name.parse::<usize>().ok();
        return number.and_then(|number| captures.get(number).copied().flatten()).unwrap_or_default();
    }
    let named = names.iter().zip(captures.iter().skip(1)).filter(|(known, _)| *known == name);
    named.into_iter().find_map(|(_, capture)| *capture).unwrap_or_default()
}
