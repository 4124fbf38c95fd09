//! The comparison with peers (`benches/peers`) goes through: a small one, of this server alone.

#[path = "../../benches/peers/comparison/mod.rs"]
mod comparison;

use std::fs;
use std::time::Duration;

use comparison::{Growth, Kind, Settings};

#[test]
fn a_small_comparison_answers_everything_and_writes_its_page() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("RESULTS.md");
    let empty = |name: &str| format!("<!-- begin {name} -->\n<!-- end {name} -->\n");
    fs::write(&page, empty("900 series, 1 h") + &empty("growth")).unwrap();
    let settings = Settings {
        series: 900,
        minutes: 60,
        connections: 2,
        request_series: 2000,
        runs: 1,
        repeats: 2,
        mixed: Duration::from_secs(2),
        mixed_rate: 20_000.0,
        mixed_loops: 1,
        quiet: Duration::from_secs(1),
        settle_max: Duration::from_secs(10),
        is_pinned: false,
        growth: Some(Growth { series: vec![300], samples: 3000, long_series: 300, days: vec![1] }),
        servers: vec![Kind::Onggi],
        folder: directory.path().join("work"),
        ..Settings::from_environment(directory.path(), &page)
    };

    comparison::run(&settings);

    let written = fs::read_to_string(&page).unwrap();
    let check = |want: &str| assert!(written.contains(want), "{want} is not in\n{written}");
    check("| the same with settling, ms |");
    check("| restart after SIGKILL: until answered, s |");
    check("Where Onggi is not the best:\n\n- nowhere\n");
    check("| 300 series, 10 scrapes: samples per second |");
    check("| 300 series, cpu by namespace, 1 d, ms |");
    assert!(!written.contains("not answered"), "{written}");
    let plot = fs::read_to_string(directory.path().join("900-series-1-h.svg")).unwrap();
    assert!(plot.contains("<circle"));
}
