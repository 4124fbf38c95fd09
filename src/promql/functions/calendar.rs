//! Parts of a date in UTC, proleptic Gregorian, for any second that a float can name.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarField {
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
    Month,
    Year,
}

impl CalendarField {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "day_of_month" => Self::DayOfMonth,
            "day_of_week" => Self::DayOfWeek,
            "day_of_year" => Self::DayOfYear,
            "days_in_month" => Self::DaysInMonth,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// The field at `seconds` since 1970, fractions cut off.
    pub fn at(self, seconds: f64) -> f64 {
        // Go converts a NaN or an out-of-range float to the least integer on amd64.
        let in_range = (-9.3e18..9.2e18).contains(&seconds);
        self.at_second(if in_range { seconds as i64 } else { i64::MIN })
    }

    fn at_second(self, second: i64) -> f64 {
        // Go's calendar begins in the year -292277022399: seconds before it, with them the least
        // integer, come round as if they had no sign.
        let second = match second {
            ..FIRST_SECOND => i128::from(second) + (1 << 64),
            _ => i128::from(second),
        };
        let day = second.div_euclid(86_400) as i64;
        let second_of_day = second.rem_euclid(86_400) as i64;
        let (year, month, day_of_month) = civil(day);
        match self {
            Self::DayOfMonth => f64::from(day_of_month),
            Self::DayOfWeek => (day + 4).rem_euclid(7) as f64,
            Self::DayOfYear => (day - days_before(year, 1) + 1) as f64,
            Self::DaysInMonth => {
                let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                (days_before(next_year, next_month) - days_before(year, month)) as f64
            }
            Self::Hour => (second_of_day / 3600) as f64,
            Self::Minute => (second_of_day % 3600 / 60) as f64,
            Self::Month => f64::from(month),
            Self::Year => year as f64,
        }
    }
}

/// The first second of the year -292277022399.
const FIRST_SECOND: i64 = -9_223_372_028_715_321_600;

const DAYS_OF_400_YEARS: i64 = 146_097;

/// Year, month and day of a day counted from 1970-01-01; years begin in March inside, so that the
/// leap day comes last.
fn civil(day: i64) -> (i64, u8, u8) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(DAYS_OF_400_YEARS);
    let day_of_era = shifted.rem_euclid(DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day_of_month as u8)
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i64, month: u8) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_OF_400_YEARS + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::CalendarField::*;
    use super::*;

    #[test]
    fn fields_of_known_moments() {
        // 2024-02-29T23:59:58Z, a Thursday.
        let leap = 1_709_251_198.9;
        let check = |field: CalendarField, seconds: f64, want: f64| {
            assert_eq!(field.at(seconds), want, "{field:?}");
        };
        check(Year, leap, 2024.0);
        check(Month, leap, 2.0);
        check(DayOfMonth, leap, 29.0);
        check(DayOfWeek, leap, 4.0);
        check(DayOfYear, leap, 60.0);
        check(DaysInMonth, leap, 29.0);
        check(Hour, leap, 23.0);
        check(Minute, leap, 59.0);
        check(Year, -0.5, 1970.0);
        check(Year, -1.0, 1969.0);
        check(DaysInMonth, 0.0, 31.0);
        check(DayOfWeek, 0.0, 4.0);
    }

    #[test]
    fn the_calendar_agrees_with_itself_over_centuries() {
        for day in (-1_000_000..1_000_000).step_by(97) {
            let (year, month, day_of_month) = civil(day);
            assert_eq!(days_before(year, month) + i64::from(day_of_month) - 1, day);
        }
    }

    #[test]
    fn seconds_before_the_first_year_come_round() {
        let date = |seconds: f64| [Year, Month, DayOfMonth, DayOfYear, Minute].map(|field| field.at(seconds));
        for seconds in [f64::NAN, f64::INFINITY, 1e19, -1e19] {
            assert_eq!(date(seconds), [292_277_026_596.0, 12.0, 4.0, 339.0, 30.0]);
        }
        assert_eq!(Year.at_second(FIRST_SECOND), -292_277_022_399.0);
        assert!(Year.at_second(FIRST_SECOND - 1) > 292_277_026_596.0);
    }

    #[test]
    fn no_float_is_too_odd() {
        for seconds in [f64::NAN, f64::INFINITY, f64::MIN, 1e300, -1e18] {
            for field in [Year, DaysInMonth, DayOfYear, Minute] {
                assert!(field.at(seconds).is_finite());
            }
        }
    }
}
