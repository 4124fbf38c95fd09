//! Numbers as Go writes them: in annotations, in `count_values`, in labels.

/// Go's `%g`: shortest digits that read back, exponent below 1e-4 and from 1e6 on.
pub fn format_g(value: f64) -> String {
    format_float(value, Some((-4, 6)))
}

/// Go's `strconv.FormatFloat(value, 'f', -1, 64)`: shortest digits, never an exponent.
pub fn format_f(value: f64) -> String {
    format_float(value, None)
}

/// OpenMetrics' canonical floats: as `%g`, whole numbers with `.0`.
pub fn format_open_metrics(value: f64) -> String {
    let mut text = format_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

fn format_float(value: f64, exponents: Option<(i32, i32)>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    match exponents {
        Some((low, high)) if exponent < low || exponent >= high => {
            let digits = scientific.split_once('e').map_or(scientific.as_str(), |(digits, _)| digits);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_go() {
        let check = |value: f64, g: &str, f: &str| {
            assert_eq!(format_g(value), g);
            assert_eq!(format_f(value), f);
        };
        check(0.0, "0", "0");
        check(-0.0, "-0", "-0");
        check(1.5, "1.5", "1.5");
        check(1e21, "1e+21", "1000000000000000000000");
        check(123456789.0, "1.23456789e+08", "123456789");
        check(0.0001, "0.0001", "0.0001");
        check(0.00001, "1e-05", "0.00001");
        check(f64::NAN, "NaN", "NaN");
        check(f64::INFINITY, "+Inf", "+Inf");
        assert_eq!(format_open_metrics(1.0), "1.0");
        assert_eq!(format_open_metrics(0.99), "0.99");
    }
}
