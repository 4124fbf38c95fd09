//! How scripts write series: `name{label="value"} 1 2+3x4 _ stale {{count:5}}`.

use crate::model::{Counts, Histogram, Labels, stale_nan};
use crate::promql::histogram::{Edition, FloatHistogram, parse_script_histogram};
use crate::promql::syntax::{ParseOptions, parse_selector};

/// What stands at one step of a series line.
#[derive(Clone, Debug)]
pub enum Item {
    Gap,
    Float(f64),
    Histogram(Box<FloatHistogram>),
}

pub type Parsed<T> = Result<T, String>;

/// Splits a line into its metric and the rest.
pub fn split_metric(line: &str) -> Parsed<(Labels, &str)> {
    let line = line.trim_start();
    let space = line.find(char::is_whitespace).unwrap_or(line.len());
    // Two braces open a histogram, and that belongs to the values.
    let opens_labels = |at: &usize| {
        let between = line[..*at].trim_end().len();
        between <= space && !line[*at..].starts_with("{{")
    };
    let end = match line.find('{').filter(opens_labels) {
        Some(brace) => brace + closing_brace(&line[brace..])? + 1,
        None => space,
    };
    let (metric, rest) = line.split_at(end);
    Ok((parse_labels(metric)?, rest))
}

/// Where the brace that opens `text` closes, outside of quotes.
fn closing_brace(text: &str) -> Parsed<usize> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '}' => return Ok(at),
            None => {}
        }
    }
    Err(format!("no closing brace in {text:?}"))
}

fn parse_labels(metric: &str) -> Parsed<Labels> {
    if metric.trim() == "{}" {
        return Ok(Labels::empty());
    }
    let matchers =
        parse_selector(metric, &ParseOptions::default()).map_err(|error| format!("{metric}: {error}"))?;
    Ok(Labels::from_pairs(matchers.iter().map(|m| (&*m.name, &*m.value))))
}

/// Reads the items of a series line.
pub fn parse_items(text: &str) -> Parsed<Vec<Item>> {
    let mut items = Vec::new();
    for word in words(text) {
        parse_item(word, &mut items).map_err(|error| format!("{word:?}: {error}"))?;
    }
    Ok(items)
}

/// Words between white space, histograms taken as one.
pub fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && c.is_whitespace()
        });
        let (word, tail) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        words.push(word);
        rest = tail.trim_start();
    }
    words
}

fn parse_item(word: &str, items: &mut Vec<Item>) -> Parsed<()> {
    if let Some(count) = word.strip_prefix('_') {
        let gaps = if count.is_empty() { 1 } else { repeats(count.strip_prefix('x'))? };
        items.extend(std::iter::repeat_n(Item::Gap, gaps));
        return Ok(());
    }
    if word == "stale" {
        items.push(Item::Float(stale_nan()));
        return Ok(());
    }
    if word.starts_with("{{") {
        return parse_histograms(word, items);
    }
    let (start, step, times) = match word.split_once('x') {
        Some((values, count)) => {
            let (start, step) = split_step(values)?;
            (start, step, repeats(Some(count))?)
        }
        None => (float(word)?, None, 0),
    };
    let mut value = start;
    items.push(Item::Float(value));
    for _ in 0..times {
        value += step.unwrap_or(0.0);
        items.push(Item::Float(if step.is_some() { value } else { start }));
    }
    Ok(())
}

fn repeats(count: Option<&str>) -> Parsed<usize> {
    let count = count.ok_or("no repetition")?;
    count.parse().map_err(|_| format!("bad repetition {count:?}"))
}

/// `A`, `A+B` or `A-B`.
fn split_step(values: &str) -> Parsed<(f64, Option<f64>)> {
    let signs = values
        .char_indices()
        .skip(1)
        .filter(|(at, c)| matches!(c, '+' | '-') && !matches!(values.as_bytes()[at - 1], b'e' | b'E'));
    match signs.map(|(at, _)| at).next() {
        Some(at) => Ok((float(&values[..at])?, Some(float(&values[at..])?))),
        None => Ok((float(values)?, None)),
    }
}

fn float(text: &str) -> Parsed<f64> {
    text.parse().map_err(|_| format!("bad number {text:?}"))
}

fn parse_histograms(word: &str, items: &mut Vec<Item>) -> Parsed<()> {
    let read = |text: &str| parse_script_histogram(text).map_err(|error| error.to_string());
    let end = word.find("}}").ok_or("no closing braces")? + 2;
    let (first, rest) = word.split_at(end);
    let mut histogram = read(first)?;
    items.push(Item::Histogram(Box::new(histogram.clone())));
    if rest.is_empty() {
        return Ok(());
    }
    if let Some(count) = rest.strip_prefix('x') {
        let times = repeats(Some(count))?;
        items.extend(std::iter::repeat_n(Item::Histogram(Box::new(histogram)), times));
        return Ok(());
    }
    let end = rest.find("}}").ok_or("no closing braces")? + 2;
    let (sign, step) = rest[..end].split_at(1);
    let step = read(step)?;
    for _ in 0..repeats(rest[end..].strip_prefix('x'))? {
        let hint = histogram.reset_hint;
        let joined = match sign {
            "+" => histogram.add(&step, Edition::V3_14),
            "-" => histogram.sub(&step, Edition::V3_14),
            _ => return Err(format!("bad sign {sign:?}")),
        };
        joined.map_err(|mismatch| mismatch.to_string())?;
        if sign == "+" {
            histogram.reset_hint = hint;
        }
        items.push(Item::Histogram(Box::new(histogram.clone())));
    }
    Ok(())
}

/// The stored form of a float histogram.
pub fn stored(histogram: &FloatHistogram) -> Histogram {
    Histogram {
        reset_hint: histogram.reset_hint,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        sum: histogram.sum,
        positive_spans: histogram.positive_spans.clone(),
        negative_spans: histogram.negative_spans.clone(),
        custom_values: histogram.custom_values.clone(),
        counts: Counts::Float {
            count: histogram.count,
            zero_count: histogram.zero_count,
            positive: histogram.positive.clone(),
            negative: histogram.negative.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_lines_expand() {
        let check = |text: &str, want: &[Option<f64>]| {
            let items = parse_items(text).expect("parses");
            let got: Vec<Option<f64>> =
                items.iter().map(|item| if let Item::Float(v) = item { Some(*v) } else { None }).collect();
            assert_eq!(got, want, "{text}");
        };
        check("1 2.5 _ -3", &[Some(1.0), Some(2.5), None, Some(-3.0)]);
        check("1x2", &[Some(1.0); 3]);
        check("_x2 1", &[None, None, Some(1.0)]);
        check("0+10x2", &[Some(0.0), Some(10.0), Some(20.0)]);
        check("1e3-1e2x1", &[Some(1000.0), Some(900.0)]);
        check("-1-2x1", &[Some(-1.0), Some(-3.0)]);
        check("0x10", &[Some(0.0); 11]);
    }

    #[test]
    fn metrics_may_hold_braces_and_spaces_in_quotes() {
        let (labels, rest) = split_metric(r#"{"utf8 name", "x.y"="a } b"} 1 2"#).expect("parses");
        assert_eq!(labels.metric_name(), Some("utf8 name"));
        assert_eq!(labels.get("x.y"), Some("a } b"));
        assert_eq!(rest.trim(), "1 2");
        assert_eq!(split_metric("up 1").expect("parses").0.to_string(), "up");
    }
}
