//! A swap through a dashboard.

use patchbay::domain::assessment::Assessment;
use patchbay::domain::swap::PromptChange;
use serde_json::{Value, json};

use super::report::Report;
use super::{Plan, SwapArgs};
use crate::cli::dashboard::Dashboard;
use crate::cli::{Exit, Failure};

pub(super) async fn run(args: &SwapArgs, plan: &Plan, dashboard: &Dashboard) -> Result<Exit, Failure> {
    let mut report = Report::new(args.json, &plan.context, ("dashboard", dashboard.address()));
    let ended = carry_out(args, plan, dashboard, &mut report).await;
    Ok(report.end(ended))
}

async fn carry_out(
    args: &SwapArgs,
    plan: &Plan,
    dashboard: &Dashboard,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let context = plan.context.as_str();
    let mut exit = Exit::Done;
    if plan.undo {
        let last = last_swap(dashboard, args.target.name(), context).await?;
        let path = ["contexts", args.target.name(), context, "undo"];
        exit = receipt(&dashboard.post(&path, &[("swap", &last)]).await?, plan, report)?;
    } else if plan.model.is_some() || plan.prompt != PromptChange::Keep {
        let answer = dashboard.post(&["switch"], &form(args, plan)).await?;
        if args.dry_run {
            return checked(&answer, report);
        }
        if args.rehearse {
            return rehearsed(&answer, report);
        }
        exit = receipt(&answer, plan, report)?;
    }
    if plan.config && exit == Exit::Done {
        let path = ["contexts", args.target.name(), context, "refresh"];
        let config = dashboard.post(&path, &[]).await?;
        let text = |name: &str, none: &'static str| config[name].as_str().unwrap_or(none).to_owned();
        let shown = format!(
            "Model: {}\nProvider: {}\nSystem Prompt: {}",
            text("model", "-"),
            text("provider", "(default provider)"),
            text("prompt", "(default prompt)"),
        );
        report.response("config", &shown, config);
    }
    let is_sent = plan.model.is_some() || plan.prompt != PromptChange::Keep;
    if let Some(message) = plan.message.as_deref().filter(|_| !is_sent && exit == Exit::Done) {
        ask(args, plan, dashboard, message, report).await?;
    }
    Ok(exit)
}

/// A message that does not go along with a swap.
async fn ask(
    args: &SwapArgs,
    plan: &Plan,
    dashboard: &Dashboard,
    message: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let path = ["contexts", args.target.name(), plan.context.as_str(), "message"];
    let asked = dashboard.post(&path, &[("message", message)]).await?;
    let text =
        ["answer", "problem"].iter().filter_map(|name| asked[name].as_str()).find(|text| !text.is_empty());
    let text = text.unwrap_or_default();
    report.response("message", text, json!({ "served": asked["served"], "tokens": asked["tokens"] }));
    match asked["problem"].as_str() {
        Some(problem) => Err(Failure::failed(format!("the question has failed: {problem}"))),
        None => Ok(()),
    }
}

fn form<'a>(args: &'a SwapArgs, plan: &'a Plan) -> Vec<(&'static str, &'a str)> {
    let mut form = vec![("agent", args.target.name()), ("context", plan.context.as_str())];
    form.extend(plan.model.as_ref().map(|model| ("model", model.as_str())));
    match &plan.prompt {
        PromptChange::Set(prompt) => form.push(("prompt", prompt.as_str())),
        PromptChange::Clear => form.push(("clear_prompt", "1")),
        PromptChange::Keep => {}
    }
    if !args.no_probe {
        form.push(("probe", "1"));
    }
    form.extend(plan.message.as_deref().map(|message| ("message", message)));
    let flags = [
        ("check", args.dry_run),
        ("rehearse", args.rehearse),
        ("accept_size", args.accept_size),
        ("accept_cost", args.accept_cost),
    ];
    form.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, "1")));
    form
}

fn checked(check: &Value, report: &mut Report) -> Result<Exit, Failure> {
    report.fact("check", check.clone());
    let line = check["line"].as_str().unwrap_or_default();
    if !line.is_empty() {
        report.line("assessment", "Assessment", line.into());
    }
    if let Some(why) = check["refused"].as_str() {
        return Err(Failure::new(Exit::Refused, format!("would be refused: {why}")));
    }
    report.line("detail", "Check", check["detail"].clone());
    Ok(Exit::Done)
}

fn rehearsed(rehearsal: &Value, report: &mut Report) -> Result<Exit, Failure> {
    let proof = &rehearsal["proof"];
    report.fact("rehearsal", rehearsal.clone());
    if let Some(problem) = rehearsal["problem"].as_str() {
        return Err(Failure::failed(format!(
            "the rehearsal has failed, and nothing was switched: {problem}"
        )));
    }
    let answer = proof["answer"].as_str().unwrap_or_default();
    report.response("message", answer, json!({ "served": proof["served"], "tokens": proof["tokens"] }));
    report.line("rehearsed", "Rehearsed", rehearsal["model"].clone());
    Ok(Exit::Done)
}

/// The last successful swap, which `--undo` undoes.
async fn last_swap(dashboard: &Dashboard, agent: &str, context: &str) -> Result<String, Failure> {
    let known = dashboard.get(&["contexts", agent, context], &[]).await?;
    let done = |swap: &&Value| matches!(swap["outcome"].as_str(), Some("accepted" | "verified" | "proven"));
    let last = known["swaps"].as_array().and_then(|swaps| swaps.iter().find(done));
    let id = last.and_then(|swap| swap["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| Failure::failed("the dashboard knows no swap of this context"))
}

fn assessment(swap: &Value) -> Option<String> {
    let assessment: Assessment = serde_json::from_value(swap["assessment"].clone()).ok()?;
    Some(assessment.line()).filter(|line| !line.is_empty())
}

fn receipt(swap: &Value, plan: &Plan, report: &mut Report) -> Result<Exit, Failure> {
    let outcome = swap["outcome"].as_str().unwrap_or_default().to_owned();
    let steps = swap["steps"].as_array().map_or(&[][..], Vec::as_slice);
    for step in steps {
        let detail = step["detail"].as_str().unwrap_or_default();
        match step["kind"].as_str() {
            Some(name @ ("model" | "prompt")) => report.response(name, detail, json!({})),
            Some(_) if step["result"] == "failed" => report.line("failed", "Failed", detail.into()),
            _ => {}
        }
    }
    if let Some(line) = assessment(swap) {
        report.line("assessment", "Assessment", line.into());
    }
    if let Some(answer) = swap["proof"]["answer"].as_str() {
        let proof = &swap["proof"];
        report.response("message", answer, json!({ "served": proof["served"], "tokens": proof["tokens"] }));
    }
    report.fact("swap", swap.clone());
    report.line("outcome", "Outcome", outcome.as_str().into());
    match outcome.as_str() {
        "accepted" if plan.verify => {
            Err(Failure::new(Exit::NotVerified, "not verified: the configuration could not be read back"))
        }
        "accepted" | "verified" | "proven" => Ok(Exit::Done),
        "refused" => {
            Err(Failure::new(Exit::Refused, "not switched: a pre-flight check failed, nothing was sent"))
        }
        "" => Err(Failure::failed("the dashboard did not answer with a receipt")),
        other => Err(Failure::failed(format!("the swap ended as {other}"))),
    }
}
