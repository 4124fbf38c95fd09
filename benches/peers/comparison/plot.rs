//! Plots: how long each question takes on each server, one SVG file.

use std::fmt::Write;

/// A line of dots: what was asked, and a value for each server.
pub struct Line<'a> {
    pub title: &'a str,
    pub values: Vec<f64>,
}

const LEFT: f64 = 210.0;
const WIDTH: f64 = 640.0;
const LINE: f64 = 17.0;
/// Room for the title and the names of the servers, and for the numbers below.
const ABOVE: f64 = 56.0;
const BELOW: f64 = 34.0;
const COLOURS: [&str; 3] = ["#d1622b", "#1f6fb4", "#3b9a4a"];

/// One line below the other, each with a dot for each name, on a scale of powers of ten.
pub fn svg(title: &str, names: &[&str], lines: &[Line<'_>], unit: &str) -> String {
    let (width, height) = (LEFT + WIDTH + 30.0, ABOVE + LINE * lines.len() as f64 + BELOW);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    put(&mut out, title, names, lines, unit).expect("a String takes everything");
    out.push_str("</svg>\n");
    out
}

fn put(out: &mut String, title: &str, names: &[&str], lines: &[Line<'_>], unit: &str) -> std::fmt::Result {
    let (first, last) = powers(lines);
    let bottom = ABOVE + LINE * lines.len() as f64;
    let place = |value: f64| LEFT + (value.log10() - f64::from(first)) / f64::from(last - first) * WIDTH;
    writeln!(out, "<text x=\"12\" y=\"20\" font-weight=\"bold\">{}</text>", escaped(title))?;
    for (at, (name, colour)) in names.iter().zip(COLOURS).enumerate() {
        let x = LEFT + 150.0 * at as f64;
        writeln!(out, "<circle cx=\"{x}\" cy=\"38\" r=\"4.5\" fill=\"{colour}\"/>")?;
        writeln!(out, "<text x=\"{}\" y=\"42\">{name}</text>", x + 10.0)?;
    }
    for power in first..=last {
        let value = 10_f64.powi(power);
        let x = place(value);
        writeln!(out, "<path d=\"M{x:.1} {}V{bottom}\" stroke=\"#ddd\"/>", ABOVE - 6.0)?;
        let y = bottom + 16.0;
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{value} {unit}</text>")?;
    }
    for (at, line) in lines.iter().enumerate() {
        let y = ABOVE + LINE * (at as f64 + 0.5);
        let text = escaped(line.title);
        writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 10.0, y + 4.0)?;
        writeln!(out, "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#eee\"/>", LEFT + WIDTH)?;
        // Ours is drawn last, above the others.
        for (value, colour) in line.values.iter().zip(COLOURS).rev().filter(|(value, _)| **value > 0.0) {
            let x = place(*value);
            writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>")?;
        }
    }
    Ok(())
}

/// The powers of ten that all values lie between.
fn powers(lines: &[Line<'_>]) -> (i32, i32) {
    let logarithms = || {
        let values = lines.iter().flat_map(|line| &line.values);
        values.filter(|value| value.is_finite() && **value > 0.0).map(|value| value.log10())
    };
    let first = logarithms().fold(f64::INFINITY, f64::min).floor();
    let last = logarithms().fold(f64::NEG_INFINITY, f64::max).ceil();
    if first < last { (first as i32, last as i32) } else { (0, 1) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_above_nothing_is_a_dot_and_text_is_escaped() {
        let lines = [
            Line { title: "a < b", values: vec![0.5, 20.0] },
            Line { title: "c", values: vec![3.0, f64::NAN] },
        ];

        let svg = svg("t", &["one", "two"], &lines, "ms");

        let dots = svg.matches("<circle").count() - 2;
        assert_eq!(dots, 3);
        assert!(svg.contains("a &lt; b") && svg.contains(">0.1 ms<") && svg.contains(">100 ms<"));
    }
}
