//! How bytes, times and lines are written for people.

use std::io::Write as _;

use crate::model::time::{SECOND_MS, format_duration_ms};
use crate::storage::survey::inventory::Amount;

/// `512 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `3 blocks with 1.5 MiB`.
pub fn amount(amount: Amount, what: &str) -> String {
    format!("{} with {}", count(amount.objects, what), bytes(amount.bytes))
}

/// `1 block`, `2 blocks`.
pub fn count(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// In UTC; a time that no calendar has is written as milliseconds since 1970.
pub fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| at.to_string())
}

/// To the second; what is shorter to the millisecond.
pub fn duration(duration_ms: u64) -> String {
    let duration_ms = i64::try_from(duration_ms).unwrap_or(i64::MAX);
    let shown = if duration_ms < SECOND_MS { duration_ms } else { duration_ms / SECOND_MS * SECOND_MS };
    format_duration_ms(shown)
}

/// Prints lines, as one write.
pub fn print(lines: &[String]) -> std::io::Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    std::io::stdout().lock().write_all(text.as_bytes())
}

/// What a foreign hand has put into the bucket does not move the cursor.
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_are_short() {
        let check = |number: u64, want: &str| assert_eq!(bytes(number), want);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(3 << 20, "3.0 MiB");
        check(u64::MAX, "16384.0 PiB");
        assert_eq!(amount(Amount { objects: 1, bytes: 7 }, "block"), "1 block with 7 B");
        assert_eq!(amount(Amount { objects: 2, bytes: 7 }, "block"), "2 blocks with 7 B");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(i64::MAX), format!("{} ms", i64::MAX));
        assert_eq!([duration(999), duration(61_999), duration(0)], ["999ms", "1m1s", "0s"]);
        assert_eq!(plain("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
