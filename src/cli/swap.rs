//! `patchbay swap`, with the flags and texts of the guide's helper. Goes through a dashboard where there is one.

mod direct;
mod report;
mod routed;

use clap_complete::ArgValueCompleter;
use patchbay::domain::context::ContextId;
use patchbay::domain::control::looks_like_control;
use patchbay::domain::model::ModelSpec;
use patchbay::domain::swap::PromptChange;

use super::args::{self, LocalArgs, LoginArgs, TargetArgs};
use super::dashboard::Dashboard;
use super::{EXIT_CODES, Exit, Failure, complete};

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay swap --model openai gpt-5 --context switch-demo
  patchbay swap --model anthropic/claude-sonnet-4-5 --context switch-demo --verify
  patchbay swap --message 'Which model am I using?' --context switch-demo
  patchbay swap --prompt 'You are concise.' --config --context switch-demo
  patchbay swap --undo --context switch-demo
  patchbay swap --model openai gpt-5 --context switch-demo --dashboard https://patchbay.example

It goes through the dashboard of --dashboard, or through one that runs on this machine, and otherwise directly to the
agent, as with --direct or --url. The last line on standard error says which.

Order: model, prompt, config, message. --undo restores what the last swap from here, or of the dashboard, replaced.

{EXIT_CODES}"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct SwapArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Model to switch to: provider/model, or both as two words
    #[arg(long, num_args = 1..=2, value_names = ["PROVIDER", "MODEL"], add = ArgValueCompleter::new(complete::models))]
    model: Vec<String>,
    /// The provider of a model that is named alone
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// System prompt to set; an empty one restores the agent's own
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A message to send afterwards
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// Show the configuration
    #[arg(long)]
    config: bool,
    /// The conversation [default: a new one]
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::contexts))]
    context: Option<String>,
    /// Read the configuration back; exit code 3 if it is another one
    #[arg(long)]
    verify: bool,
    /// Restore what the last swap replaced
    #[arg(long, requires = "context", conflicts_with_all = ["model", "provider", "prompt"])]
    undo: bool,
    /// The whole report as JSON
    #[arg(long)]
    json: bool,
    /// Go through this dashboard, which checks the swap, proves it and keeps it in its audit [default: one that runs
    /// on this machine]
    #[arg(long, env = "PATCHBAY_DASHBOARD", value_name = "URL")]
    dashboard: Option<String>,
    /// Send the control messages to the agent, and use no dashboard
    #[arg(long)]
    direct: bool,
    #[command(flatten)]
    local: LocalArgs,
    /// Skip the dashboard's probe of the model
    #[arg(long)]
    no_probe: bool,
    /// Preview only: whether the conversation fits and what the switch costs
    #[arg(long, conflicts_with_all = ["undo", "config"])]
    dry_run: bool,
    /// Switch and ask in a throw-away context first: nothing is sent to the real one
    #[arg(long, conflicts_with_all = ["undo", "config", "verify", "dry_run"])]
    rehearse: bool,
    /// Switch even if the conversation does not fit the new model's window
    #[arg(long)]
    accept_size: bool,
    /// Accept the cost of reading the conversation again, where the dashboard asks for that
    #[arg(long)]
    accept_cost: bool,
    #[command(flatten)]
    login: LoginArgs,
}

struct Plan {
    context: ContextId,
    model: Option<ModelSpec>,
    prompt: PromptChange,
    message: Option<String>,
    config: bool,
    verify: bool,
    undo: bool,
}

impl Plan {
    fn swaps(&self) -> bool {
        self.model.is_some() || self.prompt != PromptChange::Keep || self.undo
    }
}

impl SwapArgs {
    pub(super) async fn run(&self) -> Result<Exit, Failure> {
        let plan = self.plan()?;
        match self.dashboard().await? {
            Some(dashboard) => routed::run(self, &plan, &dashboard).await,
            None => direct::run(self, &plan).await,
        }
    }

    /// The dashboard to go through, if there is one.
    async fn dashboard(&self) -> Result<Option<Dashboard>, Failure> {
        let given = self.dashboard.as_deref().map(str::trim).filter(|url| !url.is_empty());
        if let Some(url) = given.filter(|_| !self.direct) {
            return self.login.dashboard(url).map(Some);
        }
        let here = self.local.address();
        if !self.direct && !self.target.is_address() {
            let dashboard = self.login.dashboard(&here)?;
            if dashboard.is_there().await {
                return Ok(Some(dashboard));
            }
        }
        let flags = [
            ("--no-probe", self.no_probe),
            ("--dry-run", self.dry_run),
            ("--rehearse", self.rehearse),
            ("--accept-size", self.accept_size),
            ("--accept-cost", self.accept_cost),
        ];
        match flags.iter().find(|(_, is_set)| *is_set) {
            Some((flag, _)) => {
                let why = format!("{flag}: this needs a dashboard: give --dashboard, or start one at {here}");
                Err(Failure::usage(why))
            }
            None => Ok(None),
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let message = self.message.clone();
        if message.as_deref().is_some_and(looks_like_control) {
            return Err(Failure::usage("--message: this looks like a control message: use the other flags"));
        }
        if message.as_deref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Failure::usage("--message: it is empty"));
        }
        let plan = Plan {
            context: args::context(self.context.as_deref())?,
            model: spec(&self.model, self.provider.as_deref())?,
            prompt: prompt(self.prompt.as_deref())?,
            message,
            config: self.config,
            verify: self.verify,
            undo: self.undo,
        };
        if plan.verify && !plan.swaps() {
            return Err(Failure::usage("--verify: there is no swap to verify"));
        }
        if self.rehearse && !plan.swaps() {
            return Err(Failure::usage("--rehearse: give --model or --prompt beside it"));
        }
        if !plan.swaps() && !plan.config && plan.message.is_none() {
            return Err(Failure::usage(
                "nothing to do: give --model, --prompt, --config, --message or --undo",
            ));
        }
        Ok(plan)
    }
}

/// `--model PROVIDER MODEL`, `--model provider/model`, or `--model MODEL --provider PROVIDER`.
fn spec(words: &[String], provider: Option<&str>) -> Result<Option<ModelSpec>, Failure> {
    let (first, model) = match words {
        [] if provider.is_some() => return Err(Failure::usage("--provider: it wants --model beside it")),
        [] => return Ok(None),
        [model] => (None, model),
        [first, model, ..] => (Some(first.as_str()), model),
    };
    let text = match first.or(provider) {
        // In the helper's words.
        Some(_) if model.contains('/') => {
            return Err(Failure::usage("Provide either provider/model or use provider argument, not both"));
        }
        Some(provider) => format!("{provider}/{model}"),
        None => model.clone(),
    };
    text.parse().map(Some).map_err(|error| Failure::usage(format!("--model: {error}")))
}

fn prompt(text: Option<&str>) -> Result<PromptChange, Failure> {
    match text {
        None => Ok(PromptChange::Keep),
        Some(text) if text.trim().is_empty() => Ok(PromptChange::Clear),
        Some(text) => match text.parse() {
            Ok(prompt) => Ok(PromptChange::Set(prompt)),
            Err(error) => Err(Failure::usage(format!("--prompt: {error}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_model_like_the_guides_helper() {
        const TWICE: &str = "Provide either provider/model or use provider argument, not both";
        for (words, provider, expected) in [
            (&["openai", "gpt-5"][..], None, "openai/gpt-5"),
            (&["openai/gpt-5"], None, "openai/gpt-5"),
            (&["gpt-5"], Some("openai"), "openai/gpt-5"),
            (&["openrouter/meta/llama"], None, "openrouter/meta/llama"),
            (&[], None, "none"),
            (&["openai", "openai/gpt-5"], None, TWICE),
            (&["openai/gpt-5"], Some("openai"), TWICE),
            (&["gpt-5"], None, "gpt-5"),
            (&["openai/"], None, "--model: "),
            (&["openai", ""], None, "--model: "),
            (&["openai", "gpt 5"], None, "--model: "),
            (&["open ai", "x"], None, "--model: "),
            (&[], Some("openai"), "--provider: "),
        ] {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let read = match spec(&words, provider) {
                Ok(spec) => spec.map_or_else(|| "none".to_owned(), |spec| spec.to_string()),
                Err(failure) => failure.text,
            };
            assert!(
                if expected.ends_with(' ') { read.starts_with(expected) } else { read == expected },
                "{read}"
            );
        }
    }
}
