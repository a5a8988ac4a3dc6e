//! `patchbay ask`.

use clap_complete::ArgValueCompleter;
use patchbay::domain::control::looks_like_control;
use serde_json::json;

use super::args::{self, TargetArgs};
use super::{EXIT_CODES, Exit, Failure, complete, table};

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay ask Which model am I using?
  patchbay ask --context switch-demo --json 'And now?'

{EXIT_CODES}"))]
pub(crate) struct AskArgs {
    /// The question; its words need no quotes
    #[arg(required = true, value_name = "TEXT", trailing_var_arg = true)]
    text: Vec<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// The conversation to ask in [default: a new one]
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::contexts))]
    context: Option<String>,
    /// Answer, model and tokens as JSON
    #[arg(long)]
    json: bool,
}

impl AskArgs {
    pub(super) async fn run(&self) -> Result<Exit, Failure> {
        let text = self.text.join(" ");
        if looks_like_control(&text) {
            return Err(Failure::usage("this looks like a control message: use patchbay swap"));
        }
        let (agent, context) = (self.target.agent()?, args::context(self.context.as_deref())?);
        let answer = agent.send(&context, &text, self.target.timeout).await;
        let answer = answer.map_err(|error| self.target.failed(&error))?;
        if self.json {
            let report = json!({
                "context": context, "answer": answer.shown(), "served": answer.served, "tokens": answer.tokens,
            });
            say!("{report:#}");
        } else {
            say!("{}", table::shown(answer.shown()));
        }
        if answer.context.is_some() {
            eprintln!("patchbay: {}", args::STRAY);
        }
        Ok(Exit::Done)
    }
}
