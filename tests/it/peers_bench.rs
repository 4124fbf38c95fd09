//! The comparison with peers (`benches/peers`) goes through, and so does the look at how costs grow: small ones, of
//! this server alone.

#[path = "../../benches/peers/comparison/mod.rs"]
pub mod comparison;

use std::fs;
use std::time::Duration;

use comparison::{Growth, Kind, Settings};

#[test]
fn a_small_comparison_answers_everything_and_writes_its_page() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("RESULTS.md");
    let empty = |name: &str| format!("<!-- begin {name} -->\n<!-- end {name} -->\n");
    fs::write(&page, empty("900 series, 1 h") + &empty("900 series, 450 s") + &empty("growth")).unwrap();
    let settings = Settings {
        sets: vec!["own".to_owned()],
        series: 900,
        seconds: 3600,
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
        growth: Growth { series: vec![300, 900], samples: 6000, long_series: 300, days: vec![1] },
        servers: vec![Kind::Onggi],
        folder: directory.path().join("work"),
        ..Settings::from_environment(directory.path(), &page)
    };

    comparison::run_all(&settings);
    comparison::run_all(&Settings { seconds: 450, is_only_written: true, ..settings.clone() });
    comparison::grow(&settings);

    let written = fs::read_to_string(&page).unwrap();
    let check = |want: &str| assert!(written.contains(want), "{want} is not in\n{written}");
    check("| the same with settling, ms |");
    check("| restart after SIGKILL: until answered, s |");
    check("Where Onggi is not the best:\n\n- nowhere\n");
    check("| Onggi | 300 series, 20 scrapes | 900 series, 8 scrapes | grows by |");
    check("| CPU per series when it is first seen, µs |");
    check("| Onggi, 300 series, a sample a minute | 1 d | grows by |");
    check("| last hour: cpu by namespace, ms |");
    check("| all of it: average of load, ms per day |");
    assert!(!written.contains("not answered"), "{written}");
    let plot = fs::read_to_string(directory.path().join("900-series-1-h.svg")).unwrap();
    assert!(plot.contains("<circle"));
}
