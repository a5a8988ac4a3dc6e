//! The registry, the spend and the health of the proxy.

use patchbay::clients::litellm::Database;
use patchbay::clients::{ClientError, Meaning};
use patchbay::domain::model::{Deployment, Source};
use serde_json::json;

use super::recording::recording;
use super::replay::{Exchange, play};
use super::{GENERATIONS, MASTER, proxy};

/// One line that says all of a deployment.
fn line(deployment: &Deployment) -> String {
    let Deployment { name, upstream_model, provider, source, mode, api_base, access_groups, .. } = deployment;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let (provider, mode, base) = (text(provider), text(mode), text(api_base));
    let tokens = format!("{:?}/{:?}", deployment.max_input_tokens, deployment.max_output_tokens);
    let price = format!("{:?}/{:?}", deployment.input_cost_per_token, deployment.output_cost_per_token);
    let rest = format!("{} {access_groups:?} {}", text(&deployment.description), deployment.blocked);
    let (source, id) = (source.as_str(), &deployment.id);
    format!("{id}|{name}|{upstream_model}|{provider}|{source}|{mode}|{base}|{tokens}|{price}|{rest}")
        .replace("Some", "")
        .replace("None", "-")
}

/// The first page of deployments.
const ROWS: &str = "/v2/model/info?page=1&size=250";

const BASE: &str = "http://127.0.0.1:18080/v1";
const GPT5: &str = "(272000)/(128000)|(1.25e-6)/(1e-5)";

#[tokio::test]
async fn the_whole_registry_of_1_80_is_read() {
    let replay = play([recording("litellm/1.80/model_info").played().target(ROWS)]).await;
    let seen: Vec<_> = proxy(&replay).deployments().await.unwrap().iter().map(line).collect();
    let config = "16d78eb1cacfdd5f73971fb034974b24c3a11135222e693cd15e6f137a3fd286";
    let expected = [
        format!("{config}|config-mock|openai/config-mock|openai|config|-|-|-/-|(0.0)/(0.0)|- [] false"),
        format!(
            "788e60c5-b263-4a1f-8aca-61ceccafae17|gpt-5|openai/gpt-5|openai|database|chat|{BASE}|{GPT5}|\
             free text [] false"
        ),
        format!(
            "98996781-7b5e-4bca-8d94-b4828b677e39|gpt-5|openai/gpt-5|openai|database|chat|{BASE}|{GPT5}|- [] false"
        ),
        format!(
            "aad327f4-535b-49ea-9b46-43ed7e1b6420|gpt-5-mini|openai/gpt-5-mini|openai|database|chat|{BASE}|\
             (272000)/(128000)|(2.5e-7)/(2e-6)|- [] false"
        ),
        "my-own-id-1|mock-1|openai/mock|openai|database|-|-|-/-|-/-|- [] false".to_owned(),
        format!(
            "4e70ca5f-1247-4c07-90fa-f2c6a29be6f3|priced|openai/gpt-5|openai|database|chat|{BASE}|\
             (272000)/(128000)|(0.001)/(0.01)|- [\"beta\"] false"
        ),
        "7107a7ac-952f-4654-a707-dbc2a5f3c3a4|dead|openai/dead|openai|database|-|http://127.0.0.1:1/v1|-/-|-/-|\
         - [] false"
            .to_owned(),
        format!(
            "10a593b8-c5a4-43b5-a4d2-c7e9b24a1364|bad-key|openai/gpt-5|openai|database|chat|{BASE}|{GPT5}|\
             - [] false"
        ),
        "f1084684-03ff-43c9-a7f1-0f7ef6b0beda|ünï/co:de <b>&\"|openai/x|openai|database|-|-|-/-|-/-|- [] false"
            .to_owned(),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_registry_of_1_109_is_read() {
    let replay = play([recording("litellm/1.109/model_info").played().target(ROWS)]).await;
    let seen: Vec<_> = proxy(&replay).deployments().await.unwrap().iter().map(line).collect();
    let config = "16d78eb1cacfdd5f73971fb034974b24c3a11135222e693cd15e6f137a3fd286";
    let expected = [
        // Unlike 1.80 it does not make up a price of 0.
        format!("{config}|config-mock|openai/config-mock|openai|config|-|-|-/-|-/-|- [] false"),
        format!(
            "33936275-ed3a-4785-9b85-26455d497e35|priced|openai/gpt-5|openai|database|chat|{BASE}|\
             (272000)/(128000)|(0.001)/(0.01)|- [\"beta\"] false"
        ),
        // 1.80 keeps a model without a name to itself.
        "5421c16e-c6f0-4e7b-8e21-73b0339319db||openai/x|openai|database|-|-|-/-|-/-|- [] false".to_owned(),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn credentials_in_an_upstreams_address_are_masked() {
    for generation in GENERATIONS {
        let played = recording(&format!("litellm/{generation}/x_model_info_many_secrets")).played();
        let replay = play([played.target(ROWS)]).await;
        let seen = proxy(&replay).deployments().await.unwrap();
        assert_eq!(seen[0].api_base.as_deref(), Some("http://[redacted]@127.0.0.1:18080/v1"), "{generation}");
        let told = format!("{seen:?} {}", serde_json::to_string(&seen).unwrap());
        for secret in ["hunter2", "aad-", "mcs", "Bear"] {
            assert!(!told.contains(secret), "{generation}: {secret} in {told}");
        }
    }
}

#[tokio::test]
async fn what_the_environment_holds_is_shown_as_the_proxy_tells_it() {
    for (generation, base) in [("1.80", "os.environ/BED_UPSTREAM_BASE"), ("1.109", BASE)] {
        let played = recording(&format!("litellm/{generation}/x_model_info_env_api_base")).played();
        let replay = play([played.target(ROWS)]).await;
        let seen = proxy(&replay).deployments().await.unwrap();
        assert_eq!(seen[0].api_base.as_deref(), Some(base), "{generation}");
    }
}

#[tokio::test]
async fn a_virtual_key_in_the_place_of_the_master_key_still_reads_models() {
    for generation in GENERATIONS {
        let recorded = recording(&format!("litellm/{generation}/virtual_key_model_info"));
        let replay = play([recorded.played().target(ROWS)]).await;
        let client = super::proxy_with(&replay, recorded.key().unwrap());
        assert!(!client.deployments().await.unwrap().is_empty(), "{generation}");
    }
}

#[tokio::test]
async fn without_its_database_only_1_80_goes_on_telling_models() {
    let pages = Exchange::new("GET", ROWS, 500, "Internal Server Error").content_type("text/plain");
    let settings = Exchange::new("GET", "/router/settings", 500, "{}");
    let replay = play([pages, settings, recording("litellm/1.80/dbdown_model_info").played()]).await;
    assert_eq!(proxy(&replay).deployments().await.unwrap().len(), 7);
    let replay = play([recording("litellm/1.109/dbdown_model_info").played().target(ROWS)]).await;
    let error = proxy(&replay).deployments().await.unwrap_err();
    assert_eq!(error.meaning(), Some(Meaning::DatabaseDown));
    assert_eq!(
        error.to_string(),
        "the proxy answered 503: Service Unavailable, the authentication database is temporarily unreachable. \
         Please retry shortly."
    );
}

#[tokio::test]
async fn an_odd_row_does_not_cost_the_registry() {
    let mut recorded = recording("litellm/1.109/model_info");
    let rows = recorded.body()["data"].as_array_mut().unwrap();
    let good = rows.len();
    rows[1]["litellm_params"] = json!(null);
    rows[1]["model_info"]["max_input_tokens"] = json!({ "a": [1] });
    rows[1]["model_info"]["access_groups"] = json!("beta");
    rows[1]["model_info"]["blocked"] = json!(true);
    rows.insert(1, json!(null));
    rows.insert(2, json!("gpt-5"));
    rows.push(json!([1, { "id": "x" }]));
    rows.push(json!({ "model_name": "no id", "litellm_params": { "model": "openai/x" }, "model_info": {} }));
    rows.push(json!({ "model_name": "no info", "model_info": 5 }));
    let replay = play([recorded.played().target(ROWS)]).await;
    let seen = proxy(&replay).deployments().await.unwrap();
    assert_eq!(seen.len(), good);
    let odd = &seen[1];
    assert_eq!(
        (odd.name.as_str(), odd.upstream_model.as_str(), odd.api_base.as_deref()),
        ("priced", "", None)
    );
    assert_eq!((odd.max_input_tokens, odd.access_groups.len(), odd.blocked), (None, 0, true));
    assert_eq!((odd.provider.as_deref(), odd.source), (Some("openai"), Source::Database));
}

#[tokio::test]
async fn what_is_no_registry_is_not_an_empty_one() {
    let bodies = [
        ("{}", "an answer without its list"),
        (r#"{"data":{"a":1}}"#, "an answer without its list"),
        (r#"{"data":["gpt-5","gpt-5-mini"]}"#, "a list of 2, none of which can be read"),
        (r#"["gpt-5"]"#, "an answer without its list"),
    ];
    for (body, detail) in bodies {
        let replay = play([Exchange::new("GET", ROWS, 200, body)]).await;
        let error = proxy(&replay).deployments().await.unwrap_err();
        let ClientError::NotUnderstood { detail: seen, .. } = &error else { panic!("{body}: {error:?}") };
        assert_eq!(seen, detail, "{body}");
    }
    let replay = play([Exchange::new("GET", ROWS, 200, r#"{"data":[]}"#)]).await;
    assert_eq!(proxy(&replay).deployments().await.unwrap(), []);
}

#[tokio::test]
async fn the_spend_is_read_and_null_before_the_first_call() {
    for (generation, spend) in [("1.80", 1_001.168_357_25), ("1.109", 1_000.967_376_75)] {
        let replay = play([recording(&format!("litellm/{generation}/global_spend")).played()]).await;
        assert!((proxy(&replay).global_spend().await.unwrap() - spend).abs() < 1e-9, "{generation}");
        let mut fresh = recording(&format!("litellm/{generation}/global_spend"));
        fresh.body()["spend"] = json!(null);
        let replay = play([fresh.played()]).await;
        assert!(proxy(&replay).global_spend().await.unwrap().abs() < f64::EPSILON, "{generation}");
    }
}

/// Names of recordings that are asked for in this order, and what the health is then.
type Case<'a> = (&'a [&'a str], Option<&'a str>, Database);

#[tokio::test]
async fn the_health_is_read_in_all_its_states() {
    let cases: &[Case<'_>] = &[
        (&["1.80/health_readiness"], Some("1.80.17"), Database::Connected),
        (&["1.80/dbback_readiness"], Some("1.80.17"), Database::Connected),
        // It goes on saying so until its cache of two minutes ends.
        (&["1.80/dbdown_readiness_1"], Some("1.80.17"), Database::Connected),
        (&["1.80/dbdown_readiness_3", "1.80/health_readiness_details"], None, Database::Down),
        (&["1.109/health_readiness", "1.109/health_readiness_details"], Some("1.109.1"), Database::Connected),
        (&["1.109/dbdown_readiness_1", "1.109/dbdown_model_info"], None, Database::Down),
        (&["1.109/dbdown_readiness_1", "1.109/health_readiness_details"], Some("1.109.1"), Database::Down),
        (&["1.109/dbback_readiness", "1.109/health_readiness_details"], Some("1.109.1"), Database::Connected),
    ];
    for (names, version, database) in cases {
        let mut script: Vec<_> =
            names.iter().map(|name| recording(&format!("litellm/{name}")).played()).collect();
        if let Some(details) = script.get_mut(1) {
            details.asked.target = "/health/readiness/details".to_owned();
        }
        let replay = play(script).await;
        let health = proxy(&replay).health().await.unwrap();
        assert_eq!((health.version.as_deref(), health.database), (*version, *database), "{names:?}");
    }
}

#[tokio::test]
async fn a_proxy_without_a_database_says_so() {
    let body = r#"{"status":"healthy","db":"Not connected","litellm_version":"1.80.17"}"#;
    let replay = play([Exchange::new("GET", "/health/readiness", 200, body)]).await;
    assert_eq!(proxy(&replay).health().await.unwrap().database, Database::None);
}

#[tokio::test]
async fn a_gateways_503_is_not_the_proxys_database() {
    let page = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n</html>";
    let exchange = Exchange::new("GET", "/health/readiness", 503, page).content_type("text/html").key(MASTER);
    let replay = play([exchange]).await;
    let error = proxy(&replay).health().await.unwrap_err();
    assert_eq!(error.meaning(), Some(Meaning::Other));
    assert_eq!(
        error.to_string(),
        "the proxy answered 503: a web page titled “503 Service Temporarily Unavailable”"
    );
}

/// What `config-lived-in.yaml` of the recorded proxies configures.
const LIVED_IN: [&str; 14] = [
    "openai/*",
    "anthropic/*",
    "openai/gpt-5",
    "openai/gpt-5",
    "openai/gpt-5-mini",
    "anthropic/claude-sonnet-4-5",
    "gpt-4o",
    "openai/dead",
    "acme/dead",
    "acme/gone",
    "acme/half",
    "acme/half",
    "openai/text-embedding-3-small",
    "openai/gpt-image-1",
];

#[tokio::test]
async fn rows_aliases_and_fallbacks_are_read_from_each_release() {
    for release in ["1.74", "1.80", "1.109"] {
        let played = |name: &str| recording(&format!("litellm/{release}/lived_in_{name}")).played();
        let mut script = vec![played("v2_model_info"), played("router_settings")];
        if release == "1.74" {
            script.push(played("config_callbacks"));
        }
        let replay = play(script).await;
        let seen = proxy(&replay).registered().await.unwrap();
        let names: Vec<&str> = seen.deployments.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, LIVED_IN, "{release}");
        let aliases: Vec<_> =
            seen.routing.aliases.iter().map(|(name, alias)| (name.as_str(), alias.target.as_str())).collect();
        assert_eq!(aliases, [("acme/smart", "openai/gpt-5"), ("acme/smart-dead", "acme/dead")], "{release}");
        let fallbacks: Vec<_> = seen.routing.fallbacks.iter().flatten().collect();
        let pairs: Vec<_> = fallbacks.iter().map(|one| (one.name.as_str(), one.to.join(","))).collect();
        let expected = ["openai/dead", "acme/dead"].map(|name| (name, "openai/gpt-5".to_owned()));
        assert_eq!(pairs, expected, "{release}");
    }
}

#[tokio::test]
async fn an_expanded_list_is_read_as_the_rows_that_were_configured() {
    for release in ["1.74", "1.109"] {
        let pages = Exchange::new("GET", ROWS, 500, r#"{"detail":{"error":"DB not connected"}}"#);
        let settings = Exchange::new("GET", "/router/settings", 500, "{}");
        let listed = recording(&format!("litellm/{release}/lived_in_model_info")).played();
        let replay = play([pages, settings, listed]).await;
        let seen = proxy(&replay).registered().await.unwrap();
        let mut names: Vec<&str> = seen.deployments.iter().map(|one| one.name.as_str()).collect();
        let mut expected = LIVED_IN.to_vec();
        if release == "1.109" {
            // Both wildcards ask for models of openai/*, and one of the lists begins with a name that has a slash more.
            assert_eq!(names.iter().filter(|name| name.ends_with('*')).count(), 2, "{names:?}");
            names.retain(|name| !name.ends_with('*'));
            expected.retain(|name| !name.ends_with('*'));
        }
        names.sort_unstable();
        expected.sort_unstable();
        // Without the settings it is not known whether acme/dead or its alias is the row's own name.
        let is_sure = |name: &&str| !name.starts_with("acme/");
        let only = |names: Vec<&'static str>| names.into_iter().filter(is_sure).collect::<Vec<_>>();
        let names: Vec<&str> = names.into_iter().filter(|name| is_sure(name)).collect();
        assert_eq!(names, only(expected), "{release}");
        assert_eq!(seen.routing.fallbacks, None);
        assert_eq!(seen.routing.aliases["acme/smart"].target, "openai/gpt-5");
    }
}

#[tokio::test]
async fn credentials_are_read_by_name_alone() {
    for release in ["1.74", "1.80", "1.109"] {
        let replay = play([recording(&format!("litellm/{release}/lived_in_credentials")).played()]).await;
        let seen = proxy(&replay).credentials().await.unwrap();
        assert_eq!(seen.len(), 1, "{release}");
        assert_eq!((seen[0].name.as_str(), seen[0].provider.as_deref()), ("bed", Some("openai")));
        assert!(!format!("{seen:?}").contains("sk**"), "{seen:?}");
    }
}
