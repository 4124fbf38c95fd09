//! The expressions of test scripts: ours, and Prometheus' where `ONGGI_PROMQLTEST_DIR` names a folder
//! of them.

use std::path::{Path, PathBuf};

use super::super::{ExprKind, ast_json, parse};
use super::everything;

/// Of every `eval` line.
pub fn expressions() -> Vec<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql")];
    folders.extend(std::env::var_os("ONGGI_PROMQLTEST_DIR").map(PathBuf::from));
    let mut expressions = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "test") {
                let text = std::fs::read_to_string(&path).expect("scripts are text");
                expressions.extend(text.lines().filter_map(expression_of).map(str::to_owned));
            }
        }
    }
    expressions
}

/// The expression of an `eval …` line.
fn expression_of(line: &str) -> Option<&str> {
    let (command, rest) = line.trim().split_once(' ')?;
    if !command.starts_with("eval") {
        return None;
    }
    let words = match rest.split_once(' ')?.0 {
        "instant" => 3,
        "range" => 7,
        _ => return None,
    };
    let mut rest = rest.trim_start();
    for _ in 0..words {
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    Some(rest)
}

#[test]
fn expressions_of_test_scripts_are_read_and_read_again() {
    let expressions = expressions();
    for query in &expressions {
        let expr = parse(query, &everything()).unwrap_or_else(|error| panic!("{query}: {error}"));
        let again = parse(&expr.to_string(), &everything()).expect("printed text is read");
        assert_eq!(again.to_string(), expr.to_string());
        assert!(ast_json(&expr).is_object());
        assert!(!matches!(expr.kind, ExprKind::Matrix(_)) || query.contains('['));
    }
    assert!(expressions.len() > 50, "only {} expressions were found", expressions.len());
}
