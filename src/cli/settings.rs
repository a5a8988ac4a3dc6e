//! Where settings come from: flags, else the environment, else files. An empty variable is an unset one.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use patchbay::config::dotenv;
use patchbay::domain::env_file;

/// Read outside of the command line's arguments.
const OTHERS: [&str; 2] = [patchbay::telemetry::LOG_FORMAT, "RUST_LOG"];

/// Settings of the agent and the sandbox, and the dashboard's ones that are used where they are unset.
const SHARED: [(&str, &str); 3] = [
    ("PATCHBAY_AGENT_BIND", "PATCHBAY_BIND"),
    ("PATCHBAY_AGENT_DATABASE_URL", "PATCHBAY_DATABASE_URL"),
    ("PATCHBAY_SANDBOX_BIND", "PATCHBAY_BIND"),
];

/// The variables of the environment and of the files with settings.
pub(crate) struct Settings {
    /// The highest precedence first.
    files: Vec<(PathBuf, HashMap<String, String>)>,
    /// What is probably not meant as it stands. Without values.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        for path in dotenv::files() {
            match dotenv::read_bytes(&path) {
                Ok(bytes) => {
                    warnings.extend(env_file::unexpanded(&bytes).iter().map(|name| {
                        let file = path.display();
                        format!("{file}: the value of {name} refers to another variable, which is not expanded: write \
                                 the value itself, or put it in single quotes if it is meant as it stands")
                    }));
                    files.push((path, env_file::parse(&bytes)));
                }
                // Most commands do not need another user's file.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    eprintln!("patchbay: {} is not read: {error}", path.display());
                }
                Err(error) => return Err(error).context(format!("{} cannot be read", path.display())),
            }
        }
        Ok(Self { files, warnings })
    }

    /// A variable's value, and where it is set.
    pub(crate) fn find(&self, name: &str) -> Option<(String, String)> {
        let own = std::env::var(name).ok().filter(|value| is_filled(value));
        own.map(|value| (value, "environment".to_owned())).or_else(|| self.in_files(name))
    }

    fn in_files(&self, name: &str) -> Option<(String, String)> {
        self.files.iter().find_map(|(path, values)| {
            let value = values.get(name).filter(|value| is_filled(value))?;
            Some((value.clone(), path.display().to_string()))
        })
    }

    /// Gives every argument the value of its variable as its default.
    pub(crate) fn apply(&self, mut command: Command) -> Command {
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        for name in names {
            command = command.mut_subcommand(name, |sub| self.apply(sub));
        }
        command.mut_args(|arg| {
            let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { return arg };
            let set = std::env::var_os(name);
            if set.as_ref().is_some_and(|value| value.to_str().is_none_or(is_filled)) {
                return arg;
            }
            let shared = || self.find(SHARED.iter().find(|(own, _)| *own == name)?.1);
            let value = self.in_files(name).or_else(shared);
            // The argument holds the variable's empty value already.
            let arg = if set.is_some() { arg.env(Resettable::Reset) } else { arg };
            match value {
                // Hidden in the help: it may be a secret.
                Some((value, _)) => arg.default_value(value).hide_default_value(true),
                None => arg,
            }
        })
    }

    /// Every setting of `command` and its subcommands that is set: its name, whether it is a secret, its value, and
    /// where that comes from.
    pub(crate) fn list(&self, command: &Command) -> Vec<(String, bool, String, String)> {
        let mut names: Vec<(String, bool)> = Vec::new();
        collect(command, &mut names);
        names.extend(OTHERS.map(|name| (name.to_owned(), false)));
        let found = names.into_iter().filter_map(|(name, is_secret)| {
            let (value, origin) = self.find(&name)?;
            Some((name, is_secret, value, origin))
        });
        found.collect()
    }
}

fn collect(command: &Command, names: &mut Vec<(String, bool)>) {
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { continue };
        if !names.iter().any(|(known, _)| known == name) {
            names.push((name.to_owned(), arg.is_hide_env_values_set()));
        }
    }
    command.get_subcommands().for_each(|sub| collect(sub, names));
}

fn is_filled(value: &str) -> bool {
    !value.trim().is_empty()
}

/// Refuses a flag with an empty value, by the flag's name.
pub(crate) fn refuse_empty_flags(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_empty = |arg: &&clap::Arg| {
        let id = arg.get_id().as_str();
        let is_given = matches!(matches.try_contains_id(id), Ok(true))
            && matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut values = matches.try_get_raw(id).ok().flatten().filter(|_| is_given).into_iter().flatten();
        values.any(|value| value.to_str().is_some_and(|value| !is_filled(value)))
    };
    // An empty prompt is the agent's own.
    let flags = command.get_arguments().filter(|arg| arg.get_long().is_some_and(|flag| flag != "prompt"));
    let empty = flags.filter(is_empty).find_map(clap::Arg::get_long).map(str::to_owned);
    if let Some(flag) = empty {
        return Err(command.error(ErrorKind::InvalidValue, format!("--{flag}: it is empty")));
    }
    match matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand_mut(name)?, matches)))
    {
        Some((command, matches)) => refuse_empty_flags(command, matches),
        None => Ok(()),
    }
}
