//! What servers answered, and whether two answers say the same.
//!
//! Two answers agree when they have the same series with the same times, and values that are equal to ten digits.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The largest relative difference of values that agree.
const DIFFERENCE_MAX: f64 = 1e-10;

type Points = Vec<(i64, f64)>;

/// Points by series; texts of look-ups have no points.
pub struct Answer(BTreeMap<String, Points>);

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Evaluated { result: Vec<Row> },
    Texts(Vec<String>),
    Series(Vec<BTreeMap<String, String>>),
}

/// A series of a vector has one point, one of a matrix has many.
#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
}

type Point = (f64, String);

impl Answer {
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let rows: BTreeMap<String, Points> = match body.data {
            Data::Evaluated { result } => {
                let read = |row: Row| -> Result<(String, Points), String> {
                    let points = row.values.into_iter().chain(row.value).map(point);
                    Ok((format!("{:?}", row.metric), points.collect::<Result<Points, String>>()?))
                };
                result.into_iter().map(read).collect::<Result<_, String>>()?
            }
            Data::Texts(texts) => texts.into_iter().map(|text| (text, Vec::new())).collect(),
            Data::Series(series) => {
                series.into_iter().map(|labels| (format!("{labels:?}"), Vec::new())).collect()
            }
        };
        Ok(Self(rows))
    }

    pub fn series(&self) -> usize {
        self.0.len()
    }

    pub fn points(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// What is different about another answer to the same question; `None` where they agree.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let common = self.0.keys().filter(|series| other.0.contains_key(*series)).count();
        if (common, common) != (self.series(), other.series()) {
            return Some(format!(
                "{} series instead of {}, {common} in common",
                other.series(),
                self.series()
            ));
        }
        let (mut other_times, mut other_values, mut largest) = (0, 0, 0.0_f64);
        for (points, theirs) in self.0.values().zip(other.0.values()) {
            let theirs: BTreeMap<i64, f64> = theirs.iter().copied().collect();
            let shared = points.iter().filter_map(|(at_ms, value)| Some((*value, *theirs.get(at_ms)?)));
            let mut shared_points = 0;
            for (a, b) in shared {
                shared_points += 1;
                let difference = relative_difference(a, b);
                other_values += usize::from(difference > DIFFERENCE_MAX);
                largest = largest.max(difference);
            }
            other_times += points.len() + theirs.len() - 2 * shared_points;
        }
        match (other_times, other_values) {
            (0, 0) => None,
            (0, _) => Some(format!("{other_values} values differ, by up to {largest:.0e}")),
            _ => Some(format!("{other_times} points are in one only, {other_values} values differ")),
        }
    }
}

fn point((at_s, text): Point) -> Result<(i64, f64), String> {
    let value = match &*text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| format!("{text:?} is not a number"))?,
    };
    Ok(((at_s * 1000.0).round() as i64, value))
}

fn relative_difference(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let difference = (a - b).abs() / a.abs().max(b.abs());
    if difference.is_nan() { f64::INFINITY } else { difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: &str) -> Answer {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#);
        Answer::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn order_and_the_eleventh_digit_do_not_matter() {
        let one = answer(
            r#"[{"metric":{"a":"1"},"values":[[1.5,"1"],[2,"NaN"]]},{"metric":{"a":"2"},"values":[[1,"3.00000000001"]]}]"#,
        );
        let other = answer(
            r#"[{"metric":{"a":"2"},"values":[[1,"3"]]},{"metric":{"a":"1"},"values":[[1.500,"1.0"],[2,"NaN"]]}]"#,
        );

        assert_eq!(one.difference(&other), None);
        assert_eq!((one.series(), one.points()), (2, 3));
    }

    #[test]
    fn what_differs_is_named() {
        let one = answer(r#"[{"metric":{},"value":[1,"2"]}]"#);
        let check =
            |other: &str, want: &str| assert_eq!(one.difference(&answer(other)).as_deref(), Some(want));

        check("[]", "0 series instead of 1, 0 in common");
        check(r#"[{"metric":{"a":"1"},"value":[1,"2"]}]"#, "1 series instead of 1, 0 in common");
        check(r#"[{"metric":{},"value":[1,"2.2"]}]"#, "1 values differ, by up to 9e-2");
        check(r#"[{"metric":{},"value":[1,"+Inf"]}]"#, "1 values differ, by up to inf");
        check(r#"[{"metric":{},"value":[2,"2"]}]"#, "2 points are in one only, 0 values differ");
    }

    #[test]
    fn look_ups_are_compared_by_their_texts() {
        let read = |data: &str| Answer::read(format!(r#"{{"data":{data}}}"#).as_bytes()).unwrap();

        assert_eq!(read(r#"["b","a"]"#).difference(&read(r#"["a","b"]"#)), None);
        assert_eq!(read(r#"[{"a":"1"}]"#).difference(&read(r#"[{"a":"1"}]"#)), None);
        assert!(read(r#"["a"]"#).difference(&read(r#"["b"]"#)).is_some());
    }
}
