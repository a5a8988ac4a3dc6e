//! The file of named users.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Subcommand;
use patchbay::config::users::{self, Editor, Hash, NamedUser};
use patchbay::domain::role::Role;
use secrecy::SecretString;
use serde_json::json;

use super::{Exit, Failure};

/// Longest line that is read as a password, in bytes.
const MAX_LINE: u64 = 8 * 1024;

#[derive(clap::Args)]
pub(crate) struct UserArgs {
    /// The file
    #[arg(long, env = "PATCHBAY_USERS_FILE", value_name = "FILE", global = true)]
    users_file: Option<PathBuf>,
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Add a user
    Add {
        /// Name
        name: String,
        /// What the user may do: viewer looks, operator swaps and asks, admin changes models and keys
        #[arg(long, value_name = "ROLE", default_value = "viewer")]
        role: Role,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another password
    Passwd {
        /// Name
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another role
    Role {
        /// Name
        name: String,
        /// viewer, operator or admin
        role: Role,
    },
    /// Take a user out: a running dashboard ends their sessions
    Remove {
        /// Name
        name: String,
    },
    /// List the users, without their passwords
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct PasswordArgs {
    /// Read the password from standard input, up to the end of its line
    #[arg(long)]
    password_stdin: bool,
}

impl UserArgs {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let path = self.users_file.filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| Failure::usage("give --users-file, or set PATCHBAY_USERS_FILE"))?;
        let mut file = Editor::open(&path)?;
        let users = file.users()?;
        let find = |name: &str| users.iter().find(|user| user.name == name).cloned();
        let there = |name: &str| find(name).ok_or_else(|| Failure::usage(format!("there is no user {name}")));
        match self.command {
            UserCommand::List { json } => list(&users, json),
            UserCommand::Add { name, role, password } => {
                users::check_name(&name).map_err(Failure::usage)?;
                if find(&name).is_some() {
                    return Err(Failure::usage(format!(
                        "there is a user {name}: passwd and role change them"
                    )));
                }
                file.set(&NamedUser { hash: password.hash()?, name, role });
            }
            UserCommand::Passwd { name, password } => {
                let user = there(&name)?;
                file.set(&NamedUser { hash: password.hash()?, ..user });
            }
            UserCommand::Role { name, role } => file.set(&NamedUser { role, ..there(&name)? }),
            UserCommand::Remove { name } => {
                there(&name)?;
                file.remove(&name);
            }
        }
        file.save_if_changed()?;
        Ok(Exit::Done)
    }
}

fn list(users: &[NamedUser], is_json: bool) {
    if is_json {
        let all = users.iter().map(|user| json!({ "name": user.name, "role": user.role }));
        return say!("{:#}", all.collect::<serde_json::Value>());
    }
    let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or_default();
    for user in users {
        say!("{:width$}  {}", user.name, user.role.as_str());
    }
}

impl PasswordArgs {
    fn hash(&self) -> Result<Hash, Failure> {
        let password = if self.password_stdin { from_stdin()? } else { from_terminal()? };
        users::check_password(&password).map_err(Failure::usage)?;
        Ok(Hash::of(&password)?)
    }
}

fn from_stdin() -> Result<SecretString, Failure> {
    use std::io::Read as _;
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_LINE).read_line(&mut line)?;
    Ok(SecretString::from(line.trim_end_matches(['\r', '\n'])))
}

fn from_terminal() -> Result<SecretString, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("not a terminal; use --password-stdin"));
    }
    let (first, second) = (rpassword::prompt_password("Password: ")?, rpassword::prompt_password("Again: ")?);
    if first != second {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(SecretString::from(first))
}
