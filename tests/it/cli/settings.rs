//! Settings from flags, the environment and `.env` files, by every command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Ended, patchbay, run};
use crate::support::closed_port;

/// Every command with variables, and arguments with which it ends once it has read them.
const COMMANDS: [&[&str]; 16] = [
    // A wrong log format ends these.
    &["serve"],
    &["demo"],
    &["agent"],
    &["sandbox"],
    &["healthcheck"],
    &["swap"],
    &["ask", "[HOTSWAP:GET_CONFIG]"],
    &["contexts", "--username", "a", "--dashboard", "ftp://nowhere"],
    &["models"],
    &["keys"],
    &["bootstrap"],
    &["apply", "-f", "/nonexistent"],
    &["export"],
    &["reset"],
    &["doctor", "--json"],
    &["init", "--username", "a:b", "--host", "127.77.0.1"],
];

/// Not in the help, as they are other names of a setting.
const HIDDEN: [&str; 3] = ["FF_LLM_PROXY_BASE_URL", "PROXY_BASE_URL", "OPENAI_API_KEY"];

/// The flags and variables of a command's help.
async fn settings(command: &str) -> BTreeMap<String, String> {
    let help = run(patchbay(&[command, "--help"])).await.good();
    let mut flag = "";
    let mut found = BTreeMap::new();
    for line in help.lines() {
        // The text of a long flag begins below it.
        flag = line.split_whitespace().find(|word| word.starts_with("--")).unwrap_or(flag);
        if let Some((_, rest)) = line.split_once("[env: ") {
            let name = rest.split(['=', ']']).next().unwrap();
            found.insert(name.to_owned(), flag.to_owned());
        }
    }
    found
}

fn command(args: &[&str], dir: &Path) -> Command {
    let mut command = patchbay(args);
    command.current_dir(dir).env("PATCHBAY_LOG_FORMAT", "none");
    command
}

fn same(a: &Ended, b: &Ended) -> bool {
    (a.code, &a.out, &a.err) == (b.code, &b.out, &b.err)
}

#[tokio::test]
async fn an_empty_variable_is_an_unset_one() {
    let (unset, filled) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut seen = BTreeSet::new();
    for args in COMMANDS {
        let names: Vec<String> =
            settings(args[0]).await.into_keys().chain(HIDDEN.map(str::to_owned)).collect();
        let expected = run(command(args, unset.path())).await;
        for name in &names {
            let mut with = command(args, unset.path());
            with.env(name, "");
            let ended = run(with).await;
            assert!(same(&ended, &expected), "{name}: {} {}", ended.err, expected.err);
        }
        let lines = names.join("=\n") + "=\n";
        std::fs::write(filled.path().join(".env"), lines).unwrap();
        let ended = run(command(args, filled.path())).await;
        assert!(same(&ended, &expected), "{args:?}: {} {}", ended.err, expected.err);
        seen.extend(names);
    }
    assert!(seen.len() > 35, "{seen:?}");
    let help = run(patchbay(&["user", "--help"])).await.good();
    assert!(help.contains("PATCHBAY_USERS_FILE"));
    let mut list = patchbay(&["user", "list"]);
    list.env("PATCHBAY_USERS_FILE", "");
    assert!(run(list).await.err.contains("set PATCHBAY_USERS_FILE"));
}

/// An environment that blanks a variable does not hide that of the file.
#[tokio::test]
async fn a_file_counts_where_the_environment_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "PATCHBAY_LOG_FORMAT=xml\n").unwrap();
    let mut serve = patchbay(&["serve"]);
    serve.current_dir(dir.path()).env("PATCHBAY_LOG_FORMAT", " ");
    assert!(run(serve).await.err.contains("PATCHBAY_LOG_FORMAT is xml"));
    let mut serve = patchbay(&["serve"]);
    serve.current_dir(dir.path()).env("PATCHBAY_LOG_FORMAT", "json").env("RUST_LOG", "");
    let ended = run(serve).await;
    assert!(ended.err.contains("LITELLM_MASTER_KEY is not set"), "{}", ended.err);
}

#[tokio::test]
async fn an_empty_flag_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for args in COMMANDS {
        for flag in settings(args[0]).await.into_values() {
            let empty = format!("{flag}=");
            let ended = run(command(&[&args[..1], &[&*empty], &args[1..]].concat(), dir.path())).await;
            assert_eq!(ended.code, Some(2), "{args:?} {flag}: {}", ended.err);
            assert!(ended.err.contains(&flag), "{args:?}: {}", ended.err);
        }
    }
}

#[tokio::test]
async fn the_doctor_lists_every_setting_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut names = BTreeSet::from(HIDDEN.map(str::to_owned));
    for args in COMMANDS {
        names.extend(settings(args[0]).await.into_keys());
    }
    let mut command = patchbay(&["doctor", "--json"]);
    command.current_dir(dir.path());
    let secret = |name: &String| {
        let ends = ["URL", "_AGENTS", "PASSWORD", "TOKEN", "API_KEY", "MASTER_KEY", "DASHBOARD"];
        ends.iter().any(|end| name.ends_with(end))
    };
    for name in &names {
        let address = "postgres://user:s3cret@127.0.0.1:1/x?key=s3cret";
        command.env(name, if secret(name) { address } else { "1" });
    }
    command.env("PATCHBAY_BIND", "127.0.0.1:0");
    let ended = run(command).await;
    let told: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}", ended.err));
    let listed: BTreeSet<String> = told["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| setting["name"].as_str().unwrap().to_owned())
        .collect();
    let missing: Vec<_> = names.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!ended.out.contains("s3cret"), "{}", ended.out);
}

#[tokio::test]
async fn the_documentation_lists_every_setting() {
    let page = include_str!("../../../docs/configuration.md");
    let mut names = BTreeSet::from(HIDDEN.map(str::to_owned));
    for args in COMMANDS {
        names.extend(settings(args[0]).await.into_keys());
    }
    names.retain(|name| !page.contains(&format!("`{name}`")));
    assert!(names.is_empty(), "add to docs/configuration.md: {names:?}");
}

/// The dashboard's variables may be exported for all.
#[tokio::test]
async fn agent_and_sandbox_have_variables_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (taken, dashboards) = (taken.local_addr().unwrap().to_string(), closed_port().await.to_string());
    for (name, own, flag) in
        [("agent", "PATCHBAY_AGENT_BIND", "--bind"), ("sandbox", "PATCHBAY_SANDBOX_BIND", "--bind")]
    {
        let start = |variables: &[(&str, &str)]| {
            let mut command = patchbay(&[name]);
            command.current_dir(dir.path()).env("PATCHBAY_AGENT_DATABASE_URL", "sqlite::memory:");
            command.envs(variables.iter().copied());
            command
        };
        // Both name an address that cannot be taken, so that the process ends and tells which it was.
        for variables in
            [&[("PATCHBAY_BIND", "192.0.2.1:1"), (own, &*taken)][..], &[("PATCHBAY_BIND", &taken)]]
        {
            let ended = run(start(variables)).await;
            assert_eq!(ended.code, Some(1), "{}", ended.err);
            for part in [&*taken, own, flag] {
                assert!(ended.err.contains(part), "{part}: {}", ended.err);
            }
            assert_eq!(ended.err.matches("Address already in use").count(), 1, "{}", ended.err);
        }
    }
    let mut agent = patchbay(&["agent"]);
    agent.current_dir(dir.path()).env("PATCHBAY_AGENT_BIND", dashboards);
    agent.env("PATCHBAY_DATABASE_URL", "postgres://u:s3cret@h/x");
    let ended = run(agent).await;
    assert!(
        ended.err.contains("PATCHBAY_AGENT_DATABASE_URL") && !ended.err.contains("s3cret"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_reference_to_another_variable_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let text = "export\tLITELLM_MASTER_KEY=sk-1\nTASK_AGENT_API_KEY=${OTHER}\nUI_PASSWORD='${MEANT}'\n";
    std::fs::write(dir.path().join(".env"), text).unwrap();
    for args in [
        &["serve", "--bind", "192.0.2.1:1"][..],
        &["models", "--proxy-url", "http://127.0.0.1:9"],
        &["doctor"],
    ] {
        let mut command = patchbay(args);
        command.current_dir(dir.path()).env("PATCHBAY_DATABASE_URL", "sqlite::memory:");
        let ended = run(command).await;
        let all = format!("{}{}", ended.out, ended.err);
        assert!(
            all.contains("the value of TASK_AGENT_API_KEY refers to another variable"),
            "{args:?}: {all}"
        );
        assert!(
            !all.contains("LITELLM_MASTER_KEY is not set") && !all.contains("UI_PASSWORD refers"),
            "{all}"
        );
    }
}

/// As `>` of Windows PowerShell writes it.
#[tokio::test]
async fn a_file_in_utf16_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<u8> =
        "\u{feff}LITELLM_MASTER_KEY=sk-1\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for file in [".env", "env", "models.yaml", "key"] {
        let path = dir.path().join(file);
        std::fs::write(&path, &text).unwrap();
        let mut command = patchbay(&["bootstrap", "--wait", "1", "--proxy-url", "http://127.0.0.1:9"]);
        command.current_dir(dir.path()).env("PATCHBAY_DATABASE_URL", "sqlite::memory:");
        command.env("PATCHBAY_ENV_FILE", if file == "env" { "env" } else { "none" });
        match file {
            "models.yaml" => {
                command.env("PATCHBAY_MODELS_FILE", file).env("LITELLM_MASTER_KEY", "sk-1");
            }
            "key" => {
                command.env("LITELLM_MASTER_KEY_FILE", file);
            }
            _ => {}
        }
        let ended = run(command).await;
        assert_ne!(ended.code, Some(0));
        assert!(ended.err.contains(file) && ended.err.contains("iconv -f UTF-16"), "{file}: {}", ended.err);
        assert_eq!(std::fs::read(&path).unwrap(), text);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{file}");
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn a_command_that_reaches_nobody_names_the_address_and_its_flag() {
    let dir = tempfile::tempdir().unwrap();
    for (args, flag, variable) in [
        (&["models"][..], "--proxy-url", "LITELLM_PROXY_URL"),
        (&["keys"], "--proxy-url", "LITELLM_PROXY_URL"),
        (&["export"], "--proxy-url", "LITELLM_PROXY_URL"),
        (&["bootstrap", "--wait", "0.1"], "--proxy-url", "LITELLM_PROXY_URL"),
        (&["ask", "hi"], "--url", "PATCHBAY_AGENT_URL"),
        (&["swap", "--config"], "--url", "PATCHBAY_AGENT_URL"),
        (&["swap", "--model", "a/b"], "--url", "PATCHBAY_AGENT_URL"),
        (&["contexts"], "--dashboard", "PATCHBAY_DASHBOARD"),
        (&["swap", "--model", "a/b"], "--dashboard", "PATCHBAY_DASHBOARD"),
        (&["healthcheck"], "--url", "PATCHBAY_HEALTH_URL"),
    ] {
        let url = "http://user:s3cret@127.0.0.1:9/x";
        let mut command = patchbay(&[&args[..1], &[flag, url], &args[1..]].concat());
        command.current_dir(dir.path()).env("LITELLM_MASTER_KEY", "sk-1");
        command.env("PATCHBAY_DATABASE_URL", "sqlite::memory:");
        let ended = run(command).await;
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.err);
        for part in ["127.0.0.1:9", flag, variable, "Connection refused"] {
            assert_eq!(ended.err.matches(part).count(), 1, "{args:?} {part}: {}", ended.err);
        }
        assert!(!format!("{}{}", ended.out, ended.err).contains("s3cret"), "{}", ended.err);
    }
}
