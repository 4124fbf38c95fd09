//! The command line against the table of settings.

use super::*;
use crate::config::table::SETTINGS;

fn given(arguments: &[&str]) -> crate::config::Flags {
    let arguments = ["onggi", "serve"].iter().chain(arguments);
    let matches = command().try_get_matches_from(arguments).expect("valid command line");
    flags::given(matches.subcommand_matches(serve::NAME).expect("serve"))
}

#[test]
fn the_command_is_well_formed() {
    command().debug_assert();
}

#[test]
fn every_setting_is_in_the_help_with_its_default_and_its_variable() {
    let mut command = command();
    let serve = command.find_subcommand_mut(serve::NAME).expect("serve");
    let help = serve.render_long_help().to_string();
    let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in SETTINGS {
        assert!(help.contains(&format!("--{}", setting.name)), "{}", setting.name);
        assert!(flat.contains(&crate::config::table::environment_name(setting.name)), "{}", setting.name);
        assert!(flat.contains(setting.default), "{}", setting.name);
    }
}

#[test]
fn only_what_was_given_is_passed_on() {
    let flags = given(&[
        "--storage.tsdb.path=/x",
        "--query.timeout",
        "30s",
        "--web.enable-remote-write-receiver",
        "--config.file",
        "f.yml",
    ]);
    let value = |name: &str| flags.values.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(value("storage.tsdb.path"), Some("/x"));
    assert_eq!(value("query.timeout"), Some("30s"));
    assert_eq!(value("web.enable-remote-write-receiver"), Some("true"));
    assert_eq!(flags.values.len(), 3);
    assert_eq!(flags.config_file.as_deref(), Some("f.yml"));
}

#[test]
fn unknown_flags_are_refused_by_name() {
    let error = command().try_get_matches_from(["onggi", "serve", "--storage.paht=x"]).expect_err("unknown");
    assert!(error.to_string().contains("--storage.paht"), "{error}");
}

#[test]
fn a_cause_is_told_once() {
    let error = anyhow::Error::msg("no such file").context("read x: no such file").context("start");
    assert_eq!(describe(&error), "start: read x: no such file");
}
