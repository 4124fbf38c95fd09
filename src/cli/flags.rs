//! The table of settings as flags, and back.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::config::Flags;
use crate::config::table::{CONFIG_FILE, SETTINGS, Setting, environment_name};

/// One flag per setting and one per alias, grouped as the settings are.
pub fn args() -> impl Iterator<Item = Arg> {
    args_of(&[""])
}

/// As [`args`], of the settings whose names begin with one of `groups`, and the file of settings.
pub fn args_of(groups: &'static [&'static str]) -> impl Iterator<Item = Arg> {
    let config_file = Arg::new(CONFIG_FILE)
        .long(CONFIG_FILE)
        .value_name("FILE")
        .help("YAML file of settings, flat, keys named as the flags [env: ONGGI_CONFIG_FILE]")
        .help_heading("config");
    let settings = settings_of(groups).flat_map(|setting| {
        let names = std::iter::once(&setting.name).chain(setting.aliases);
        names.map(move |name| arg(setting, name))
    });
    std::iter::once(config_file).chain(settings)
}

fn settings_of(groups: &'static [&'static str]) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| groups.iter().any(|group| setting.name.starts_with(group)))
}

fn arg(setting: &'static Setting, name: &'static str) -> Arg {
    let is_alias = name != setting.name;
    let help = if is_alias { format!("The same as --{}", setting.name) } else { help(setting) };
    let arg = Arg::new(name)
        .long(name)
        .help(help)
        .help_heading(setting.group())
        .action(ArgAction::Set)
        .allow_hyphen_values(true);
    if setting.is_switch() {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("true|false")
    } else {
        arg.value_name(setting.value)
    }
}

fn help(setting: &Setting) -> String {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    format!("{}{default} [env: {}]", setting.help, environment_name(setting.name))
}

/// What the command line gave.
pub fn given(matches: &ArgMatches) -> Flags {
    given_of(matches, &[""])
}

/// What a command line gave that has the flags of [`args_of`].
pub fn given_of(matches: &ArgMatches, groups: &'static [&'static str]) -> Flags {
    let text = |name: &str| {
        let is_given = matches.value_source(name) == Some(ValueSource::CommandLine);
        matches.get_one::<String>(name).filter(|_| is_given).cloned()
    };
    let names = settings_of(groups).flat_map(|s| std::iter::once(&s.name).chain(s.aliases));
    let values = names.filter_map(|name| Some(((*name).to_owned(), text(name)?)));
    Flags { config_file: text(CONFIG_FILE), values: values.collect() }
}
