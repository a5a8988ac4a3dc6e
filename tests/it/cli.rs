//! The command line: the real binary against the built-in agent, a dashboard and the sandbox proxy.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod crash;
mod databases;
mod demo;
mod hosts;
mod init;
mod looks;
mod settings;
mod swap;
mod tls;
mod user;

use std::process::{Command, Output};

/// The binary, with nothing of this machine's settings.
pub(crate) fn patchbay(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchbay"));
    command.args(args).env_clear().current_dir("/");
    command
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it printed, if it ended well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{} {}", self.out, self.err);
        self.out
    }
}

pub(crate) async fn run(mut command: Command) -> Ended {
    Ended::of(tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap())
}
