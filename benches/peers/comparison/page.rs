//! The result as Markdown, and the page that keeps it.
//!
//! The page has a block for each data set whose result is worth keeping, between two comments that name it. A run
//! rewrites the block of its data set and no other; where the page has none, the page stays as it is.

use std::fmt::Write;

use super::ask::Asked;
use super::figures::{Better, Figure};
use super::servers::Kind;

/// What came of one server.
pub struct Column {
    pub kind: Kind,
    pub version: String,
    pub figures: Vec<Figure>,
    pub asked: Vec<Asked>,
    /// Of each question, what is different from Prometheus' answer; nothing where there is no Prometheus.
    pub differences: Vec<Option<String>>,
}

/// The block of a data set. Figures of others are beside those of the first column, which is ours.
pub fn block(heading: &[String], columns: &[Column], plot: &str) -> String {
    let mut out = String::new();
    for line in heading {
        writeln!(out, "- {line}").expect("a String takes everything");
    }
    for column in columns {
        writeln!(out, "- {} {}", column.kind.name(), column.version).expect("a String takes everything");
    }
    out.push('\n');
    let figures: Vec<_> = columns.iter().map(|column| (column.kind, &*column.figures)).collect();
    out.push_str(&table(&figures));
    if is_asked(columns) {
        out.push_str(&agreement(columns));
        out.push_str("\nEach question: the median of asking again, every result computed, in ms; in brackets the first.\n\n");
        out.push_str(&questions(columns));
    }
    out.push_str(&lost(columns));
    if is_asked(columns) {
        writeln!(out, "\n![How long each question takes]({plot})").expect("a String takes everything");
    }
    out
}

/// Whether questions are part of what was looked at.
pub fn is_asked(columns: &[Column]) -> bool {
    columns.iter().any(|column| !column.asked.is_empty())
}

/// A row per figure, a column per server; the best of a row is bold.
pub fn table(columns: &[(Kind, &[Figure])]) -> String {
    let names: Vec<_> = columns.iter().map(|(kind, _)| kind.name()).collect();
    let mut out = head("", &names);
    let titles = columns.first().map(|(_, figures)| *figures).unwrap_or_default();
    for (at, figure) in titles.iter().enumerate() {
        let row: Vec<&Figure> = columns.iter().map(|(_, figures)| &figures[at]).collect();
        let cells: Vec<String> = row
            .iter()
            .map(
                |figure| if is_best(figure, &row) { format!("**{}**", figure.text()) } else { figure.text() },
            )
            .collect();
        put_row(&mut out, &figure.title, &cells);
    }
    out
}

/// The first rows of a table: what is above the titles, and above each cell.
pub fn head(of_titles: &str, names: &[&str]) -> String {
    format!("| {of_titles} | {} |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len()))
}

pub fn put_row(out: &mut String, title: &str, cells: &[String]) {
    writeln!(out, "| {title} | {} |", cells.join(" | ")).expect("a String takes everything");
}

fn is_best(figure: &Figure, row: &[&Figure]) -> bool {
    figure.value.is_finite() && row.iter().all(|other| !is_better(other, figure))
}

fn is_better(one: &Figure, other: &Figure) -> bool {
    match one.better {
        Better::Less => one.value < other.value,
        Better::More => one.value > other.value,
    }
}

/// How many answers of each server are Prometheus', and how the others differ.
fn agreement(columns: &[Column]) -> String {
    let mut out = String::new();
    for column in columns.iter().filter(|column| !column.differences.is_empty()) {
        let all = column.differences.len();
        let same = column.differences.iter().filter(|difference| difference.is_none()).count();
        writeln!(out, "\n{}: {same} of {all} answers are Prometheus', to ten digits.", column.kind.name())
            .expect("a String takes everything");
        let questions = column.asked.iter().zip(&column.differences);
        for (question, difference) in questions.filter_map(|(of, why)| Some((of.name, why.as_ref()?))) {
            writeln!(out, "- {question}: {difference}").expect("a String takes everything");
        }
    }
    out
}

fn questions(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.kind.name()).collect();
    let mut out = head("", &names);
    let asked = columns.first().map(|column| column.asked.as_slice()).unwrap_or_default();
    for (at, question) in asked.iter().enumerate() {
        let answered = columns.iter().map(|column| &column.asked[at]).filter(|asked| asked.answer.is_ok());
        let best = answered.map(|asked| asked.again_ms).fold(f64::INFINITY, f64::min);
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let Asked { again_ms, first_ms, answer, .. } = &column.asked[at];
                match answer {
                    Err(_) => "not answered".to_owned(),
                    Ok(_) if *again_ms <= best => format!("**{again_ms:.1}** ({first_ms:.1})"),
                    Ok(_) => format!("{again_ms:.1} ({first_ms:.1})"),
                }
            })
            .collect();
        let size = match &question.answer {
            Ok((series, 0)) => format!("{series} texts"),
            Ok((series, points)) => format!("{series} series, {points} points"),
            Err(why) => format!("{why:.40}"),
        };
        put_row(&mut out, &format!("{} ({size})", question.name), &cells);
    }
    out
}

/// Where another server is better than the first, which is ours.
fn lost(columns: &[Column]) -> String {
    let Some((ours, others)) = columns.split_first() else { return String::new() };
    let mut out = format!("\nWhere {} is not the best:\n\n", ours.kind.name());
    let without = out.len();
    for (at, figure) in ours.figures.iter().enumerate() {
        let better = others.iter().map(|other| (other.kind, &other.figures[at]));
        for (kind, theirs) in better.filter(|(_, theirs)| is_better(theirs, figure)) {
            let (title, mine, text) = (&figure.title, figure.text(), theirs.text());
            writeln!(out, "- {title}: {mine}, {} {text}", kind.name()).expect("a String takes everything");
        }
    }
    for (at, asked) in ours.asked.iter().enumerate() {
        for other in others.iter().filter(|other| other.asked[at].answer.is_ok()) {
            let (name, mine, theirs) = (asked.name, asked.again_ms, other.asked[at].again_ms);
            if theirs < mine {
                let whose = other.kind.name();
                writeln!(out, "- {name}: {mine:.1} ms, {whose} {theirs:.1} ms")
                    .expect("a String takes everything");
            }
        }
    }
    if out.len() == without {
        out.push_str("- nowhere\n");
    }
    out
}

/// The page with another block of this name; `None` where it has no such block.
pub fn with_block(page: &str, name: &str, block: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{block}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: Kind, cpu: f64, rate: f64, again_ms: f64) -> Column {
        let answer = Ok((2, 6));
        let asked = Asked { name: "q", first_ms: 9.0, again_ms, remembered_ms: 0.1, answer };
        Column {
            kind,
            version: "1".to_owned(),
            figures: vec![Figure::less("cpu", cpu, 1), Figure::more("rate", rate, 0)],
            asked: vec![asked],
            differences: vec![(kind == Kind::VictoriaMetrics).then(|| "1 values differ".to_owned())],
        }
    }

    #[test]
    fn the_best_is_bold_and_what_is_lost_is_said() {
        let columns = [column(Kind::Onggi, 0.5, 100.0, 7.0), column(Kind::VictoriaMetrics, 1.5, 200.0, 3.0)];

        let block = block(&["a machine".to_owned()], &columns, "plot.svg");

        let check = |want: &str| assert!(block.contains(want), "{want} in\n{block}");
        check("- a machine\n- Onggi 1\n- VictoriaMetrics 1\n");
        check(
            "|  | Onggi | VictoriaMetrics |\n|---|---:|---:|\n| cpu | **0.5** | 1.5 |\n| rate | 100 | **200** |\n",
        );
        check("VictoriaMetrics: 0 of 1 answers are Prometheus', to ten digits.\n- q: 1 values differ\n");
        check("| q (2 series, 6 points) | 7.0 (9.0) | **3.0** (9.0) |\n");
        check("not the best:\n\n- rate: 100, VictoriaMetrics 200\n- q: 7.0 ms, VictoriaMetrics 3.0 ms\n");
    }

    #[test]
    fn a_block_takes_the_place_of_the_one_of_its_name() {
        let page = "head\n<!-- begin a -->\nold\n<!-- end a -->\n<!-- begin b -->\n<!-- end b -->\ntail\n";

        let written = with_block(page, "a", "new\n").unwrap();

        assert_eq!(written, page.replace("old", "new"));
        assert_eq!(with_block(&written, "a", "new\n"), Some(written.clone()));
        assert_eq!(with_block(page, "c", "new\n"), None);
    }
}
