//! What the asker of a federation understands: negotiated as Prometheus 3.5 does.
//!
//! Its debugging forms of protobuf (`encoding=text` and `compact-text`) are not spoken here: their
//! spaces are random by design, and whoever lists a second form gets that.

use axum::http::{HeaderMap, header};

use super::names::Escaping;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// Messages, each with its length before it.
    Protobuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub form: Form,
    pub escaping: Escaping,
}

impl Format {
    /// Of all `Accept` headers the first is read, as in Go.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Self::negotiate(accept.unwrap_or_default())
    }

    /// The dearest range that is known, else text. Escaping may stand in a range that is not.
    fn negotiate(accept: &str) -> Self {
        let mut ranges: Vec<Range<'_>> = accept.split(',').map(Range::read).collect();
        ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::default();
        for range in ranges {
            escaping = range.parameter("escaping").and_then(Escaping::parse).unwrap_or(escaping);
            if let Some(form) = range.form() {
                return Self { form, escaping };
            }
        }
        Self { form: Form::Text, escaping }
    }

    pub fn content_type(self) -> String {
        let kind = match self.form {
            Form::Text => "text/plain; version=0.0.4; charset=utf-8",
            Form::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        };
        format!("{kind}; escaping={}", self.escaping.as_str())
    }
}

/// One media range of `Accept`.
struct Range<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            .collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q");
        let quality = quality.and_then(|(_, value)| value.parse().ok()).unwrap_or(1.0);
        Self { kind, parameters, quality }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn form(&self) -> Option<Form> {
        match self.kind {
            "application/vnd.google.protobuf" => {
                let is_known = self.parameter("proto") == Some("io.prometheus.client.MetricFamily")
                    && self.parameter("encoding") == Some("delimited");
                is_known.then_some(Form::Protobuf)
            }
            "text/plain" => {
                matches!(self.parameter("version"), None | Some("" | "0.0.4" | "1.0.0")).then_some(Form::Text)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_form_that_is_known_is_taken() {
        const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily";
        let check = |accept: &str, form: Form, escaping: Escaping| {
            assert_eq!(Format::negotiate(accept), Format { form, escaping }, "{accept}");
        };
        check("", Form::Text, Escaping::Underscores);
        check("*/*", Form::Text, Escaping::Underscores);
        check("text/plain;version=1.0.0;escaping=allow-utf-8", Form::Text, Escaping::Utf8);
        check("text/plain; escaping=bogus", Form::Text, Escaping::Underscores);
        check("application/json;escaping=dots", Form::Text, Escaping::Dots);
        check(&format!("{PROTOBUF};encoding=delimited"), Form::Protobuf, Escaping::Underscores);
        check(&format!("{PROTOBUF};encoding=text"), Form::Text, Escaping::Underscores);
        check(
            &format!("{PROTOBUF};encoding=delimited;q=0.4,text/plain;q=0.5"),
            Form::Text,
            Escaping::Underscores,
        );
        check(
            &format!("text/plain;q=0.1,{PROTOBUF};encoding=delimited;escaping=values;q=0.5"),
            Form::Protobuf,
            Escaping::Values,
        );
    }
}
