//! Commands of a script: `clear`, `load`, `eval`.

use super::notation::{Item, Parsed, parse_items, split_metric, words};
use crate::model::Labels;
use crate::model::time::parse_duration_ms;
use crate::promql::syntax::go_text;

/// A command and the line it starts at, from 1.
#[derive(Debug)]
pub struct Command {
    pub line: usize,
    pub kind: CommandKind,
}

#[derive(Debug)]
pub enum CommandKind {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

#[derive(Debug)]
pub struct Load {
    pub step_ms: i64,
    /// Store classic histograms as native ones too.
    pub with_native: bool,
    pub series: Vec<LoadedSeries>,
}

#[derive(Debug)]
pub struct LoadedSeries {
    pub labels: Labels,
    pub items: Vec<Item>,
    /// Start of each sample relative to its time, in milliseconds; empty for none.
    pub starts_ms: Vec<Option<i64>>,
}

#[derive(Debug)]
pub struct Eval {
    /// The command as written, for reports.
    pub text: String,
    pub query: String,
    pub when: When,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub enum When {
    Instant { time_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What the body of an `eval` asks for.
#[derive(Debug, Default)]
pub struct Expected {
    pub fail: Option<Vec<Message>>,
    pub warn: Option<Vec<Message>>,
    pub info: Option<Vec<Message>>,
    pub no_warn: bool,
    pub no_info: bool,
    pub ordered: bool,
    pub string: Option<String>,
    /// Times of the values of a range vector.
    pub range_vector: Option<(i64, i64)>,
    pub scalar: Option<f64>,
    pub series: Vec<(Labels, Vec<Item>)>,
}

/// A text that must be met.
#[derive(Debug)]
pub enum Message {
    Any,
    Exactly(String),
    Matching(String),
}

/// Reads a whole script.
pub fn parse_script(text: &str) -> Parsed<Vec<Command>> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].is_empty() {
            at += 1;
            continue;
        }
        let start = at;
        let word = lines[at].split_whitespace().next().unwrap_or("").to_lowercase();
        let body_end = (at + 1..lines.len()).find(|i| lines[*i].is_empty()).unwrap_or(lines.len());
        let kind = if word == "clear" {
            at += 1;
            CommandKind::Clear
        } else if word.starts_with("load") {
            at = body_end;
            CommandKind::Load(parse_load(lines[start], &lines[start + 1..body_end]).map_err(at_line(start))?)
        } else if word.starts_with("eval") {
            let scalar = (start + 1..body_end).find(|i| lines[*i].parse::<f64>().is_ok());
            at = scalar.map_or(body_end, |i| i + 1);
            let eval = parse_eval(lines[start], &lines[start + 1..at]).map_err(at_line(start))?;
            CommandKind::Eval(Box::new(eval))
        } else {
            return Err(format!("line {}: unknown command {word:?}", start + 1));
        };
        commands.push(Command { line: start + 1, kind });
    }
    Ok(commands)
}

fn at_line(start: usize) -> impl Fn(String) -> String {
    move |error| format!("line {}: {error}", start + 1)
}

fn duration(text: &str) -> Parsed<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    // A bare number is seconds.
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(sign * (seconds * 1000.0).round() as i64);
    }
    parse_duration_ms(text).map(|ms| sign * ms).map_err(|error| error.to_string())
}

fn parse_load(line: &str, body: &[&str]) -> Parsed<Load> {
    let mut parts = line.split_whitespace();
    let with_native = parts.next().is_some_and(|word| word.eq_ignore_ascii_case("load_with_nhcb"));
    let step_ms = duration(parts.next().ok_or("load without a step")?)?;
    let mut series: Vec<LoadedSeries> = Vec::new();
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    for line in body {
        if let Some((labels, offsets)) = parse_starts(line)? {
            starts = Some((labels, offsets));
            continue;
        }
        let (labels, rest) = split_metric(line)?;
        let items = parse_items(rest)?;
        let starts_ms = match starts.take() {
            Some((same, offsets)) if same == labels => offsets,
            Some((other, _)) => return Err(format!("start timestamps of {other} before {labels}")),
            None => Vec::new(),
        };
        series.retain(|other| other.labels != labels);
        series.push(LoadedSeries { labels, items, starts_ms });
    }
    Ok(Load { step_ms, with_native, series })
}

/// `metric@st -1m _ -30s+1sx3`
fn parse_starts(line: &str) -> Parsed<Option<(Labels, Vec<Option<i64>>)>> {
    let Some((metric, rest)) = line.split_once("@st") else { return Ok(None) };
    if metric.contains(char::is_whitespace) && !metric.trim_end().ends_with('}') {
        return Ok(None);
    }
    let (labels, _) = split_metric(metric)?;
    let mut offsets = Vec::new();
    for word in words(rest) {
        if let Some(count) = word.strip_prefix('_') {
            let gaps = if count.is_empty() { 1 } else { count[1..].parse().map_err(|_| "bad gap")? };
            offsets.extend(std::iter::repeat_n(None, gaps));
            continue;
        }
        let (values, times) = match word.split_once('x') {
            Some((values, count)) => (values, count.parse::<usize>().map_err(|_| "bad repetition")?),
            None => (word, 0),
        };
        let split = values.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
        let (start, step) = match split {
            Some(at) => (&values[..at], &values[at..]),
            None => (values, "0"),
        };
        let (start, step) = (duration(start)?, duration(step)?);
        offsets.extend((0..=times as i64).map(|i| Some(start + i * step)));
    }
    Ok(Some((labels, offsets)))
}

fn parse_eval(line: &str, body: &[&str]) -> Parsed<Eval> {
    let (command, rest) = line.split_once(char::is_whitespace).ok_or("eval without a query")?;
    let mut expected = Expected::default();
    match command {
        "eval" => {}
        "eval_fail" => expected.fail = Some(Vec::new()),
        "eval_warn" => expected.warn = Some(vec![Message::Any]),
        "eval_info" => expected.info = Some(vec![Message::Any]),
        "eval_ordered" => expected.ordered = true,
        other => return Err(format!("unknown command {other:?}")),
    }
    let rest = rest.trim_start();
    let (when, query) = if let Some(rest) = rest.strip_prefix("instant") {
        let rest = rest.trim_start();
        match rest.strip_prefix("at") {
            Some(rest) => {
                let (time, query) = word(rest)?;
                (When::Instant { time_ms: duration(time)? }, query)
            }
            None => (When::Instant { time_ms: 0 }, rest),
        }
    } else {
        let rest = rest.strip_prefix("range").ok_or("neither instant nor range")?;
        let (start, rest) = after_keyword(rest, "from")?;
        let (end, rest) = after_keyword(rest, "to")?;
        let (step, query) = after_keyword(rest, "step")?;
        (When::Range { start_ms: duration(start)?, end_ms: duration(end)?, step_ms: duration(step)? }, query)
    };
    for line in body {
        parse_expectation(line, &mut expected).map_err(|error| format!("{line:?}: {error}"))?;
    }
    Ok(Eval { text: line.to_owned(), query: query.to_owned(), when, expected })
}

fn word(text: &str) -> Parsed<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).ok_or("eval ends early")?;
    Ok((&text[..end], text[end..].trim_start()))
}

fn after_keyword<'a>(text: &'a str, keyword: &str) -> Parsed<(&'a str, &'a str)> {
    let rest = text.trim_start().strip_prefix(keyword).ok_or_else(|| format!("no {keyword}"))?;
    word(rest)
}

fn parse_expectation(line: &str, expected: &mut Expected) -> Parsed<()> {
    if let Some(text) = line.strip_prefix("expected_fail_message") {
        let message = Message::Exactly(text.trim().to_owned());
        expected.fail.get_or_insert_default().push(message);
        return Ok(());
    }
    if let Some(text) = line.strip_prefix("expected_fail_regexp") {
        let message = Message::Matching(text.trim().to_owned());
        expected.fail.get_or_insert_default().push(message);
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("expect ") {
        return parse_expect(rest.trim(), expected);
    }
    if let Ok(value) = line.parse() {
        expected.scalar = Some(value);
        return Ok(());
    }
    let (labels, rest) = split_metric(line)?;
    expected.series.push((labels, parse_items(rest)?));
    Ok(())
}

fn parse_expect(rest: &str, expected: &mut Expected) -> Parsed<()> {
    let (what, message) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let message = message.trim();
    let parsed = match (message.strip_prefix("msg:"), message.strip_prefix("regex:")) {
        (Some(text), _) => Message::Exactly(text.trim().to_owned()),
        (_, Some(text)) => Message::Matching(text.trim().to_owned()),
        _ => Message::Any,
    };
    match what {
        "fail" => expected.fail.get_or_insert_default().push(parsed),
        "warn" => expected.warn.get_or_insert_default().push(parsed),
        "info" => expected.info.get_or_insert_default().push(parsed),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => expected.string = Some(unquote(message)?),
        "range" => {
            let rest = message.strip_prefix("vector").ok_or("neither fail nor vector")?;
            let (start, rest) = after_keyword(rest, "from")?;
            let (_, rest) = after_keyword(rest, "to")?;
            let step = rest.strip_prefix("step").ok_or("no step")?.trim();
            expected.range_vector = Some((duration(start)?, duration(step)?));
        }
        other => return Err(format!("unknown expectation {other:?}")),
    }
    Ok(())
}

/// A Go string literal.
fn unquote(text: &str) -> Parsed<String> {
    let query = crate::promql::syntax::parse(text, &Default::default()).map_err(|error| error.to_string())?;
    match query.kind {
        crate::promql::syntax::ExprKind::String(text) => Ok(text),
        _ => Err(format!("{} is no string", go_text::quote(text))),
    }
}
