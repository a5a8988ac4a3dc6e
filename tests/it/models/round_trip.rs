//! What is exported changes nothing where it is applied again: any registry that the stand-in can hold.

use std::process::Command;

use patchbay_sandbox::Generation;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use reqwest::StatusCode;
use reqwest::redirect::Policy;
use serde_json::{Map, Value, json};

use super::BOTH;
use super::lived_in::lived_in;
use crate::cli::{patchbay, run};
use crate::support::{MASTER_KEY, Setup, TestApp, client};

const NAMES: [&str; 14] = [
    "openai/*",
    "any/*",
    "a*b",
    "openai/gpt-5",
    "gpt-5",
    "yes",
    "1.5",
    "~",
    "müß/x",
    "a b",
    "x/y z",
    "null",
    "- a",
    "team/smart",
];

const MODELS: [&str; 5] = [
    "openai/*",
    "openai/gpt-5",
    "gpt-5-mini",
    "anthropic/claude-sonnet-4-5",
    "openai/text-embedding-3-small",
];

/// What YAML could misread, beside any text and number.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        (0.0..1e6_f64).prop_map(Value::from),
        Just(json!(1.25e-6)),
        any::<bool>().prop_map(Value::from),
        select(vec![
            "010",
            "12:30",
            "yes",
            "no",
            "null",
            "~",
            "# no comment",
            "line\nbreak",
            "1e3",
            "0x1f",
            "- a",
            ""
        ])
        .prop_map(Value::from),
        "[ -~äß世]{1,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 1..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_credentials() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    proptest::sample::subsequence(
        vec![
            ("api_key", "os.environ/KEY"),
            ("api_key", "raw-secret"),
            ("litellm_credential_name", "prod-openai"),
            ("vertex_credentials", "/etc/creds.json"),
            ("azure_ad_token", "oidc/github/x"),
            ("api_base", "https://host/v1"),
        ],
        0..4,
    )
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let fields: Vec<_> = names.iter().map(|_| option::of(any_value())).collect();
    fields.prop_map(move |values| {
        let pairs = names.iter().zip(values);
        pairs.filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect()
    })
}

prop_compose! {
    fn any_row()(
        name in select(&NAMES[..]),
        model in select(&MODELS[..]),
        credentials in any_credentials(),
        mut params in some_of(&["rpm", "timeout", "tags", "weight", "organization", "extra_body"]),
        mut info in some_of(&["description", "base_model", "custom"]),
        groups in option::of(vec("[a-z]{1,8}", 1..3)),
        mode in option::of(select(vec!["chat", "embedding"])),
    ) -> Value {
        params.insert("model".to_owned(), json!(model));
        params.extend(credentials.into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
        info.extend(groups.map(|groups| ("access_groups".to_owned(), json!(groups))));
        info.extend(mode.map(|mode| ("mode".to_owned(), json!(mode))));
        json!({ "model_name": name, "litellm_params": params, "model_info": info })
    }
}

async fn rows(app: &TestApp) -> Value {
    let request = client(Policy::none()).get(format!("{}/v2/model/info?size=1000", app.sandbox));
    request.bearer_auth(MASTER_KEY).send().await.unwrap().json().await.unwrap()
}

async fn changes_nothing(generation: Generation, added: &[Value]) {
    let config_models = [("config/*", "openai/*"), ("config/one", "openai/gpt-5")];
    let config_models = config_models.map(|(name, model)| (name.to_owned(), model.to_owned())).to_vec();
    let app =
        TestApp::with(Setup { generation, config_models, is_furnished: false, ..Setup::default() }).await;
    lived_in(&app).await;
    for row in added {
        app.admin("/model/new", row).await;
    }
    let before = rows(&app).await;
    let dir = tempfile::tempdir().unwrap();
    let command = |args: &[&str]| -> Command {
        let mut command = patchbay(args);
        command.current_dir(dir.path()).env("LITELLM_PROXY_URL", &app.sandbox);
        command.env("LITELLM_MASTER_KEY", MASTER_KEY).env("PATCHBAY_DATABASE_URL", "sqlite::memory:");
        command
    };
    let list = run(command(&["export", "--all"])).await.good();
    assert!(list.contains("openai/*") && !list.contains("raw-secret"), "{list}");
    std::fs::write(dir.path().join("list.yaml"), &list).unwrap();
    let told = run(command(&["apply", "-f", "list.yaml", "--prune", "--json"])).await.good();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["changed"], 0, "{told:#}\n{list}");
    assert_eq!(rows(&app).await, before, "{list}");

    // The dashboard's import, with and without what is in the configuration file.
    for (source, left) in [("all", 0), ("database", 2)] {
        let list = app.user().await.get(&format!("/models/export?source={source}")).await.body;
        let (status, plan) = app.script().post("/models/import", &[("yaml", &list)]).await;
        assert_eq!(status, StatusCode::CREATED, "{plan}");
        let items = plan["plan"]["items"].as_array().unwrap();
        let changed: Vec<_> = items.iter().filter(|item| item["step"] != "same").collect();
        assert!(changed.is_empty(), "{changed:?}\n{list}");
        assert_eq!(plan["plan"]["only_at_proxy"].as_array().unwrap().len(), left, "{plan}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn exported_registry_is_applied_without_a_change(
        generation in select(&BOTH[..]),
        added in vec(any_row(), 0..12),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(changes_nothing(generation, &added));
    }
}
