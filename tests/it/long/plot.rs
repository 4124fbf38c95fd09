//! Plots: panels of lines over days, one SVG file.

use std::fmt::Write;

/// One panel: a title that says the unit, and its lines.
pub struct Panel<'a> {
    pub title: &'a str,
    pub lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 150.0;
/// Room for the numbers at the left, the title above, the days below.
const LEFT: f64 = 70.0;
const ABOVE: f64 = 26.0;
const BELOW: f64 = 24.0;
const COLOURS: [&str; 4] = ["#1f6fb4", "#d1622b", "#3b9a4a", "#8a4fa8"];

/// The panels below each other; all begin at zero, so that what grows is seen to grow.
pub fn svg(panels: &[Panel<'_>], x_title: &str) -> String {
    let panel_height = ABOVE + HEIGHT + BELOW;
    let (width, height) = (LEFT + WIDTH + 20.0, panel_height * panels.len() as f64 + 10.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let top = panel_height * at as f64 + ABOVE;
        put_panel(&mut out, panel, top, x_title).expect("a String takes everything");
    }
    out.push_str("</svg>\n");
    out
}

fn put_panel(out: &mut String, panel: &Panel<'_>, top: f64, x_title: &str) -> std::fmt::Result {
    let points = || panel.lines.iter().flat_map(|(_, points)| points).filter(|(_, y)| y.is_finite());
    let x_max = points().map(|(x, _)| *x).fold(1e-9, f64::max);
    let y_max = points().map(|(_, y)| *y).fold(1e-9, f64::max) * 1.05;
    let place = |x: f64, y: f64| (LEFT + x / x_max * WIDTH, top + HEIGHT - y / y_max * HEIGHT);
    writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>", top - 9.0, panel.title)?;
    for quarter in 0..=4 {
        let value = y_max * f64::from(quarter) / 4.0;
        let (left, y) = place(0.0, value);
        let right = left + WIDTH;
        writeln!(out, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>")?;
        writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + 4.0,
            short(value)
        )?;
    }
    let bottom = top + HEIGHT + 15.0;
    writeln!(out, "<text x=\"{LEFT}\" y=\"{bottom}\">0</text>")?;
    let right = LEFT + WIDTH;
    writeln!(out, "<text x=\"{right}\" y=\"{bottom}\" text-anchor=\"end\">{x_max:.1} {x_title}</text>")?;
    let mut legend = right;
    for ((name, points), colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
        let drawn: Vec<String> = points
            .iter()
            .filter(|(_, y)| y.is_finite())
            .map(|(x, y)| place(*x, *y))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"");
        writeln!(out, "<polyline points=\"{}\" {style}/>", drawn.join(" "))?;
        let y = top - 9.0;
        writeln!(out, "<text x=\"{legend}\" y=\"{y}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>")?;
        legend -= 9.0 * name.len() as f64 + 16.0;
    }
    Ok(())
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}
