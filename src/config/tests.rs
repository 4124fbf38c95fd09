//! Names, precedence, refusals of settings.

use super::source::{ConfigError, Flags};
use super::table::{self, SETTINGS};
use super::*;
use crate::model::time::{DAY_MS, YEAR_MS};

fn flags(pairs: &[(&str, &str)]) -> Flags {
    let values = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Flags { config_file: None, values }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn refusal(given: &Flags, environment: &[(&str, &str)]) -> String {
    Config::load(given, variables(environment)).expect_err("must be refused").to_string()
}

#[test]
fn defaults_are_valid_and_every_setting_is_read() {
    let config = Config::load(&Flags::default(), []).expect("defaults");

    assert_eq!(config.web.listen_address.to_string(), "0.0.0.0:9595");
    assert_eq!(config.storage.path, PathBuf::from("./data"));
    assert_eq!(config.storage.retention_ms, YEAR_MS);
    assert_eq!(config.remote_write.body_bytes_max, 32 << 20);
    assert_eq!(config.web.route_prefix, "");
    assert_eq!(config.query.memory_bytes_max, config.memory_limit_bytes / 4);
    assert_eq!(config.query.result_cache_bytes, config.memory_limit_bytes / 32);
    assert_eq!(config.effective.len(), SETTINGS.len());
}

#[test]
fn the_table_is_sorted_and_no_name_is_taken_twice() {
    assert!(SETTINGS.is_sorted_by_key(|s| s.name));
    let mut names: Vec<_> = SETTINGS.iter().flat_map(|s| s.aliases.iter().chain([&s.name])).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for setting in SETTINGS {
        assert!(!setting.help.is_empty() && !setting.expected.is_empty(), "{}", setting.name);
    }
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("onggi.yml");
    std::fs::write(
        &path,
        "# ours\nstorage.retention: 15d\nquery.max-samples: 1000\nweb.listen-address: 127.0.0.1:1\nlog.level: debug\n",
    )
    .expect("write file");
    let path = path.to_string_lossy().into_owned();
    let environment = [("ONGGI_QUERY_MAX_SAMPLES", "2000"), ("ONGGI_LOG_LEVEL", "warn"), ("HOME", "/")];
    let given = Flags { config_file: Some(path.clone()), ..flags(&[("log.level", "error")]) };

    let config = Config::load(&given, variables(&environment)).expect("valid");

    assert_eq!(config.log.level, tracing::Level::ERROR);
    assert_eq!(config.query.samples_max, 2000);
    assert_eq!(config.storage.retention_ms, 15 * DAY_MS);
    assert_eq!(config.web.listen_address.to_string(), "127.0.0.1:1");
    assert_eq!(config.query.concurrency_max, 20);
    let origin = |name: &str| {
        let effective = config.effective.iter().find(|e| e.name == name).expect("known");
        effective.origin.to_string()
    };
    assert_eq!(origin("log.level"), "flag --log.level");
    assert_eq!(origin("query.max-samples"), "environment variable ONGGI_QUERY_MAX_SAMPLES");
    assert_eq!(origin("storage.retention"), format!("key storage.retention of {path}"));
}

#[test]
fn the_file_may_be_named_by_the_environment_and_may_be_empty() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("empty.yml");
    std::fs::write(&path, "# nothing yet\n\n").expect("write file");
    let path = path.to_string_lossy().into_owned();

    assert!(Config::load(&Flags::default(), [("ONGGI_CONFIG_FILE".to_owned(), path)]).is_ok());
    let text = refusal(&Flags::default(), &[("ONGGI_CONFIG_FILE", "/nonexistent/onggi.yml")]);
    assert!(text.contains("/nonexistent/onggi.yml"), "{text}");
}

#[test]
fn retention_rules_are_a_list_in_the_file_and_a_text_elsewhere() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("onggi.yml");
    let yaml = "query.max-samples: 1000\nretention:\n  - match: '{__name__=~\"debug_.*\"}'\n    for: 3d\n";
    std::fs::write(&path, yaml).expect("write file");
    let given = Flags { config_file: Some(path.to_string_lossy().into_owned()), ..Flags::default() };

    let from_file = Config::load(&given, []).expect("valid");
    let text = r#"[{"match":"{__name__=~\"debug_.*\"}","for":"3d"}]"#;
    let from_flag = Config::load(&flags(&[("retention", text)]), []).expect("valid");

    assert_eq!(from_file.storage.retention_rules.len(), 1);
    assert_eq!(from_file.storage.retention_rules, from_flag.storage.retention_rules);
    assert_eq!(from_file.query.samples_max, 1000);
    let text_of = |config: &Config| {
        config.effective.iter().find(|e| e.name == "retention").expect("known").value.clone()
    };
    assert_eq!(text_of(&from_file), text_of(&from_flag));
    let refused = refusal(&flags(&[("retention", "[{match: up, for: 1s}]")]), &[]);
    assert!(refused.contains("--retention") && refused.contains("1s"), "{refused}");
}

#[test]
fn prometheus_names_are_the_same_settings() {
    let given = flags(&[("storage.tsdb.path", "/var/x"), ("storage.tsdb.retention.time", "100y")]);
    let config = Config::load(&given, []).expect("valid");
    assert_eq!(config.storage.path, PathBuf::from("/var/x"));
    assert_eq!(config.storage.retention_ms, 100 * YEAR_MS);

    let text = refusal(&flags(&[("storage.tsdb.path", "/a"), ("storage.path", "/b")]), &[]);
    assert!(text.contains("--storage.tsdb.path") && text.contains("--storage.path"), "{text}");

    let over =
        Config::load(&flags(&[("storage.path", "/b")]), variables(&[("ONGGI_STORAGE_TSDB_PATH", "/a")]));
    assert_eq!(over.expect("a flag beats a variable").storage.path, PathBuf::from("/b"));
}

#[test]
fn unknown_names_are_refused_by_name() {
    let text = refusal(&Flags::default(), &[("ONGGI_STORAGE_PAHT", "x")]);
    assert!(text.contains("ONGGI_STORAGE_PAHT"), "{text}");
    let text = refusal(&flags(&[("storage.paht", "x")]), &[]);
    assert!(text.contains("--storage.paht"), "{text}");

    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("bad.yml");
    let check = |yaml: &str, want: &str| {
        std::fs::write(&path, yaml).expect("write file");
        let given = Flags { config_file: Some(path.to_string_lossy().into_owned()), ..Flags::default() };
        let text = refusal(&given, &[]);
        assert!(text.contains(want) && text.contains("bad.yml"), "{yaml:?}: {text}");
    };
    check("storage.paht: x\n", "storage.paht");
    check("storage:\n  path: x\n", "flat YAML map");
    check("storage.path: a\nstorage.path: b\n", "duplicate");
    check("- storage.path\n", "flat YAML map");
    check("storage.path: a\nstorage.tsdb.path: b\n", "name the same setting");
    check("config.file: x\n", "config.file");
}

#[test]
fn bad_values_are_refused_with_what_was_expected() {
    let check = |name: &str, value: &str| {
        let text = refusal(&flags(&[(name, value)]), &[]);
        let expected = table::find(name).expect("known").expected;
        assert!(text.contains(&format!("--{name}")) && text.contains(expected), "{name}={value}: {text}");
    };
    check("storage.retention", "forever");
    check("storage.retention", "101y");
    check("storage.retention", "0");
    check("storage.path", "");
    check("memory.limit", "1MiB");
    check("memory.limit", "99999999999999999999GiB");
    check("memory.limit", "12 apples");
    check("web.listen-address", "9595");
    check("web.listen-address", ":x");
    check("web.external-url", "example.com");
    check("web.external-url", "http://");
    check("web.external-url", "http://a/b?c");
    check("web.route-prefix", "x");
    check("web.route-prefix", "/{a}");
    check("web.cors.origin", "(");
    check("web.max-connections", "0");
    check("web.max-connections", "-1");
    check("web.enable-remote-write-receiver", "false");
    check("query.max-concurrency", "100000");
    check("query.timeout", "0s");
    check("ha.cluster-label", "");
    check("ha.cluster-label", "__name__");
    check("ha.replica-label", "__name__");
    check("ha.replica-label", "cluster");
    check("ha.failover-after", "0s");
    check("log.level", "loud");
    check("log.format", "xml");
    check("enable-feature", "promql-experimental-functions,flying");
}

#[test]
fn ha_pairs_are_looked_for_unless_their_label_has_no_name() {
    let config = Config::load(&Flags::default(), []).expect("defaults");
    let ha = config.ha.expect("looked for");
    assert_eq!((ha.cluster_label.as_str(), ha.replica_label.as_str()), ("cluster", "__replica__"));
    assert_eq!(ha.failover_after, Duration::from_secs(30));

    assert!(Config::load(&flags(&[("ha.replica-label", "")]), []).expect("valid").ha.is_none());
}

#[test]
fn the_prefix_is_the_path_of_the_external_url_unless_given() {
    let check = |url: &str, prefix: Option<&str>, want: &str| {
        let mut pairs = vec![("web.external-url", url)];
        pairs.extend(prefix.map(|p| ("web.route-prefix", p)));
        let config = Config::load(&flags(&pairs), []).expect("valid");
        assert_eq!(config.web.route_prefix, want, "{url} {prefix:?}");
    };
    check("http://example.com", None, "");
    check("https://example.com:1/a/b/", None, "/a/b");
    check("https://example.com/a", Some("/"), "");
    check("https://example.com/a", Some("/c/"), "/c");
}

#[test]
fn bytes_have_units() {
    let check = |text: &str, want: Option<u64>| assert_eq!(value::bytes(text).ok(), want, "{text}");
    check("4096", Some(4096));
    check("32MiB", Some(32 << 20));
    check("32MB", Some(32 << 20));
    check("1.5GiB", Some(3 << 29));
    check("1TiB", Some(1 << 40));
    check("7B", Some(7));
    check("", None);
    check("-1", None);
    check(".5GiB", None);
    check("1e3", None);
    check("99999999999TiB", None);
}

#[test]
fn features_are_a_list() {
    let features =
        value::features("promql-delayed-name-removal, promql-experimental-functions").expect("valid");
    assert!(features.experimental_functions && features.delayed_name_removal);
    assert_eq!(value::features("").expect("valid"), value::Features::default());
    assert!(value::features("nope").is_err());
}

#[test]
fn a_yaml_error_is_no_panic() {
    for yaml in ["\u{0}", "a: [", "a: {b: c}", "&a *a", "!!binary x", "\t- :"] {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("odd.yml");
        std::fs::write(&path, yaml).expect("write file");
        let given = Flags { config_file: Some(path.to_string_lossy().into_owned()), ..Flags::default() };
        assert!(matches!(
            Config::load(&given, []),
            Err(ConfigError::Yaml { .. } | ConfigError::UnknownKey { .. })
        ));
    }
}

#[test]
fn a_replicas_name_is_the_hosts_unless_given_and_a_bucket_has_no_size() {
    let url = ("bucket.url", "file:///bucket");
    let bucket = |more: &[(&str, &str)]| {
        let config = Config::load(&flags(&[&[url], more].concat()), []).expect("settings");
        config.bucket.expect("a bucket")
    };
    assert!(Config::load(&flags(&[("replica.name", "a")]), []).expect("settings").bucket.is_none());
    assert_eq!(bucket(&[]).replica_name, machine::host_name());
    assert_eq!(bucket(&[("replica.name", "a-1.b")]).replica_name, "a-1.b");
    let refused = refusal(&flags(&[url, ("replica.name", "a/b")]), &[]);
    assert!(refused.contains("--replica.name"), "{refused}");
    let refused = refusal(&flags(&[url, ("storage.retention.size", "1GB")]), &[]);
    assert!(refused.contains("--storage.retention.size") && refused.contains("age only"), "{refused}");
}

#[test]
fn only_a_bucket_that_is_only_read_is_shown_as_it_was() {
    let url = ("bucket.url", "memory:");
    let given =
        |pairs: &[(&str, &str)]| Config::load(&flags(pairs), []).expect("valid").bucket.expect("a bucket");
    let bucket = given(&[url]);
    assert_eq!((bucket.read_only, bucket.at_ms), (false, None));
    for (text, at_ms) in [("1970-01-01T01:00:01.5+01:00", 1_500), ("-2.25", -2_250)] {
        let bucket = given(&[url, ("read-only", "true"), ("at", text)]);
        assert_eq!((bucket.read_only, bucket.at_ms), (true, Some(at_ms)), "{text}");
    }

    let refused = |pairs: &[(&str, &str)], why: &str| {
        let refusal = refusal(&flags(pairs), &[]);
        assert!(refusal.contains(why), "{refusal}");
    };
    refused(&[("read-only", "true")], "--bucket.url is missing");
    refused(&[url, ("at", "5")], "--read-only is missing");
    refused(&[url, ("read-only", "true"), ("at", "yesterday")], "2006-01-02T15:04:05Z");
    refused(&[url, ("read-only", "true"), ("at", "1e300")], "out of range");
}
