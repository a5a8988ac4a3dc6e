//! All that an admin does with keys: the same against the sandbox and against genuine proxies.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use reqwest::{Client, redirect};
use serde_json::{Value, json};

use crate::support::{Browser, Page, Script, client};

/// What a scenario has to work with. It makes keys whose aliases begin with `prefix`, and deletes them.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    pub(crate) script: Script,
    pub(crate) proxy: String,
    pub(crate) master_key: String,
    pub(crate) agent_key_hash: String,
    pub(crate) prefix: String,
}

const GPT: &str = "openai/gpt-5";
const MINI: &str = "openai/gpt-5-mini";

impl Stage {
    fn http() -> Client {
        client(redirect::Policy::none())
    }

    /// What the proxy itself says.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let request = Self::http().get(format!("{}{path}", self.proxy)).bearer_auth(&self.master_key);
        request.send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn info(&self, hash: &str) -> Value {
        self.ask(&format!("/key/info?key={hash}")).await["info"].take()
    }

    pub(crate) async fn tell(&self, path: &str, body: &Value) -> Value {
        let request = Self::http().post(format!("{}{path}", self.proxy)).bearer_auth(&self.master_key);
        request.json(body).send().await.unwrap().json().await.unwrap()
    }

    /// Whether the proxy takes the key for a chat.
    async fn chat(&self, key: &str, model: &str) -> u16 {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
        let request = Self::http().post(format!("{}/v1/chat/completions", self.proxy)).bearer_auth(key);
        request.json(&body).send().await.unwrap().status().as_u16()
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A new key, made by a script: its secret and its hash.
    pub(crate) async fn make(&self, name: &str, fields: &[(&str, &str)]) -> (String, String) {
        let alias = self.name(name);
        let fields: Vec<_> = [("alias", alias.as_str())].into_iter().chain(fields.iter().copied()).collect();
        let (status, made) = self.script.post("/keys", &fields).await;
        assert_eq!(status.as_u16(), 201, "{made}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["key"]), text(&made["info"]["hash"]))
    }

    async fn is_gone(&self, hash: &str) -> bool {
        let info = self.info(hash).await;
        info.is_null() || info["status"] == "deleted"
    }
}

pub(crate) async fn run(stage: &Stage) {
    create(stage).await;
    edit(stage).await;
    access(stage).await;
    block_and_delete(stage).await;
    replace(stage).await;
    search_and_download(stage).await;
    bulk(stage).await;
    matrix(stage).await;
    clean(stage).await;
}

async fn create(stage: &Stage) {
    let alias = stage.name("made");
    let form = [
        ("alias", alias.as_str()),
        ("access", "list"),
        ("models", GPT),
        ("models", MINI),
        ("max_budget", "12.5"),
        ("budget_duration", "30d"),
        ("duration", "7d"),
        ("rpm_limit", "100"),
        ("tpm_limit", "5000"),
        ("max_parallel_requests", "3"),
        ("user_id", "u-ada"),
        ("metadata", r#"{"team":"core","nested":{"a":[1]}}"#),
    ];
    let token = stage.browser.get("/keys/new").await.attributes("input[name=token]", "value").remove(0);
    let form: Vec<_> = form.into_iter().chain([("token", token.as_str())]).collect();
    let page = stage.browser.post("/keys", &form).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    assert_eq!(page.headers["cache-control"], "no-store");
    let secret = page.attributes("input#secret", "value").remove(0);
    assert!(secret.starts_with("sk-") && page.has("button[data-copies=secret]"), "{}", page.text());
    assert!(!page.url.as_str().contains(&secret));
    let again = stage.browser.post("/keys", &form).await;
    assert!(again.text().contains("already created"), "{}", again.text());
    assert!(!again.body.contains(&secret), "a reload shows the key again");
    let hash = made_key(&page);
    assert_eq!(made_key(&again), hash, "a reload made another key");

    let info = stage.info(&hash).await;
    assert_eq!(info["key_alias"], alias.as_str());
    assert_eq!(info["models"], json!([GPT, MINI]));
    assert_eq!((&info["max_budget"], &info["budget_duration"]), (&json!(12.5), &json!("30d")));
    assert_eq!((&info["rpm_limit"], &info["tpm_limit"]), (&json!(100), &json!(5000)));
    assert_eq!((&info["max_parallel_requests"], &info["user_id"]), (&json!(3), &json!("u-ada")));
    assert_eq!(info["metadata"], json!({ "team": "core", "nested": { "a": [1] } }));
    assert!(info["expires"].is_string());
    assert_eq!(stage.chat(&secret, GPT).await, 200);
    let refused = stage.chat(&secret, "anthropic/claude-sonnet-4-5").await;
    assert!([401, 403].contains(&refused), "{refused}");

    let page = stage.browser.post("/keys", &[("alias", alias.as_str()), ("access", "all")]).await;
    assert_eq!(page.status.as_u16(), 422);
    assert!(page.one("#alias-error").contains("alias already"), "{}", page.text());
    let page = stage.browser.post("/keys", &[("alias", "x"), ("access", "list")]).await;
    assert_eq!((page.status.as_u16(), page.has("#models-error")), (422, true), "{}", page.text());
}

/// The hash of the key that a page of a new key is about.
fn made_key(page: &Page) -> String {
    let links = page.attributes("nav.crumbs a", "href");
    links.last().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// The fields of a form as a browser would send them back.
fn sent_back(page: &Page) -> Vec<(String, String)> {
    let all = |selector: &str| {
        let names = page.attributes(selector, "name");
        let values = page.attributes(selector, "value");
        names.into_iter().zip(values)
    };
    all("main form input[type=hidden]").collect()
}

async fn edit(stage: &Stage) {
    let fields = [
        ("access", "all"),
        ("max_budget", "5"),
        ("duration", "30d"),
        ("rpm_limit", "7"),
        ("metadata", r#"{"team":"core","callback_secret_key":"hush","n":1}"#),
    ];
    let (_, hash) = stage.make("edited", &fields).await;
    let page = stage.browser.get(&format!("/keys/{hash}/edit")).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    assert!(!page.body.contains("hush"), "a secret of the metadata is shown");
    let seen = page.attributes("input[name=seen]", "value").remove(0);
    let metadata = page.one("textarea#metadata").replace("core", "edge");
    let alias = stage.name("edited");
    let form = [
        ("seen", seen.as_str()),
        ("alias", &alias),
        ("access", "none"),
        ("max_budget", ""),
        ("budget_duration", ""),
        ("duration", ""),
        ("never", "1"),
        ("rpm_limit", ""),
        ("tpm_limit", "900"),
        ("max_parallel_requests", ""),
        ("user_id", ""),
        ("metadata", &metadata),
        ("review", "1"),
    ];
    let page = stage.browser.post(&format!("/keys/{hash}"), &form).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    let changed = page.all("#differences tbody th");
    let expected = ["Models", "Budget", "Expires", "Requests per minute", "Tokens per minute", "Metadata"];
    assert_eq!(changed, expected, "{}", page.text());
    assert!(!page.one("#differences").contains("hush"));
    assert_eq!(stage.info(&hash).await["max_budget"], json!(5.0), "the review changed something");

    let form = sent_back(&page);
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let page = stage.browser.post(&format!("/keys/{hash}"), &form).await;
    assert!(page.one("#flash").contains("6 settings"), "{}", page.text());
    let info = stage.info(&hash).await;
    assert_eq!(info["models"], json!(["no-default-models"]));
    assert_eq!((&info["max_budget"], &info["expires"]), (&Value::Null, &Value::Null));
    assert_eq!((&info["rpm_limit"], &info["tpm_limit"]), (&Value::Null, &json!(900)));
    assert_eq!(info["metadata"], json!({ "team": "edge", "callback_secret_key": "hush", "n": 1 }));

    // Sent again, it is about a state that is no more.
    let page = stage.browser.post(&format!("/keys/{hash}"), &form).await;
    assert_eq!(page.status.as_u16(), 409, "{}", page.text());
    // A script names what it changes, and nothing else moves.
    let (status, key) = stage.script.post(&format!("/keys/{hash}"), &[("max_budget", "3")]).await;
    assert_eq!((status.as_u16(), &key["max_budget"], &key["tpm_limit"]), (200, &json!(3.0), &json!(900)));
    let taken = stage.name("made");
    let (status, key) = stage.script.post(&format!("/keys/{hash}"), &[("alias", &taken)]).await;
    assert_eq!((status.as_u16(), key["errors"]["alias"].is_string()), (422, true), "{key}");
}

async fn access(stage: &Stage) {
    let (_, hash) = stage.make("access", &[("access", "list"), ("models", MINI)]).await;
    let models = async || stage.info(&hash).await["models"].take();
    let page = stage.browser.post(&format!("/keys/{hash}/relax"), &[]).await;
    assert!(page.one("#flash").contains("every model"));
    assert_eq!(models().await, json!([]));
    let page = stage.browser.post(&format!("/keys/{hash}/restrict"), &[("models", GPT)]).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    assert_eq!(models().await, json!([GPT]));
    stage.browser.post(&format!("/keys/{hash}/allow"), &[("model", MINI)]).await;
    assert_eq!(models().await, json!([GPT, MINI]));
    let (status, key) = stage.script.post(&format!("/keys/{hash}/restrict"), &[]).await;
    assert_eq!((status.as_u16(), &key["access"]), (200, &json!("none")));
    assert_eq!(models().await, json!(["no-default-models"]));
    let page = stage.browser.get(&format!("/keys/{hash}")).await;
    assert!(page.text().contains("May call no model"), "{}", page.text());
}

async fn block_and_delete(stage: &Stage) {
    let (secret, hash) = stage.make("blocked", &[]).await;
    let page = stage.browser.post(&format!("/keys/{hash}/block"), &[]).await;
    assert!(page.one(".page-head").contains("blocked"), "{}", page.text());
    assert_eq!(stage.info(&hash).await["blocked"], true);
    assert_eq!(stage.chat(&secret, MINI).await, 401);
    let page = stage.browser.post(&format!("/keys/{hash}/unblock"), &[]).await;
    assert!(page.one(".page-head").contains("active"), "{}", page.text());
    assert_eq!(stage.chat(&secret, MINI).await, 200);

    let confirm = stage.name("blocked");
    let page = stage.browser.post(&format!("/keys/{hash}/delete"), &[("confirm", &confirm)]).await;
    assert!(page.url.path().ends_with("/keys") && page.one("#flash").contains("deleted"), "{}", page.text());
    assert!(stage.is_gone(&hash).await);
    // Once more: what is not there is not "deleted", whatever the proxy would say.
    let (status, error) = stage.script.post(&format!("/keys/{hash}/delete"), &[]).await;
    assert_eq!(status.as_u16(), 404, "{error}");
    let (status, _) = stage.script.post(&format!("/keys/{}/block", "ab".repeat(32)), &[]).await;
    assert_eq!(status.as_u16(), 404);

    let agents = &stage.agent_key_hash;
    let page = stage.browser.post(&format!("/keys/{agents}/delete"), &[("confirm", "yes")]).await;
    assert_eq!((page.status.as_u16(), page.has("#confirm-error")), (422, true), "{}", page.text());
    assert!(!stage.is_gone(agents).await);
}

async fn replace(stage: &Stage) {
    let fields = [
        ("access", "list"),
        ("models", MINI),
        ("max_budget", "4"),
        ("duration", "3d"),
        ("metadata", r#"{"team":"core"}"#),
    ];
    let (secret, old) = stage.make("replaced", &fields).await;
    let page = stage.browser.post(&format!("/keys/{old}/replace"), &[("old", "delete")]).await;
    let new_secret = page.attributes("input#secret", "value").remove(0);
    let new = made_key(&page);
    assert_ne!(new, old);
    // Both work until someone confirms that the new one was saved.
    assert_eq!(stage.chat(&secret, MINI).await, 200);
    assert!(!stage.is_gone(&old).await);
    let action = page.attributes("form[action$=retire]", "action").remove(0);
    let page = stage.browser.post(&action, &[]).await;
    assert_eq!(page.url.path(), format!("/keys/{new}"), "{}", page.text());
    assert!(stage.is_gone(&old).await);
    assert!(![200].contains(&stage.chat(&secret, MINI).await));
    assert_eq!(stage.chat(&new_secret, MINI).await, 200);
    let info = stage.info(&new).await;
    assert_eq!(info["key_alias"], stage.name("replaced").as_str());
    assert_eq!((&info["models"], &info["max_budget"]), (&json!([MINI]), &json!(4.0)));
    assert_eq!(info["metadata"], json!({ "team": "core" }));
    assert!(info["expires"].is_string());

    let later = [("old", "block"), ("grace", "2h")];
    let (status, answer) = stage.script.post(&format!("/keys/{new}/replace"), &later).await;
    assert_eq!((status.as_u16(), answer["key"].is_string()), (201, true));
    assert_eq!(stage.chat(&new_secret, MINI).await, 200, "the old key ends before its time");
    let page = stage.browser.get(&format!("/keys/{new}")).await;
    assert!(page.text().contains("was replaced by"), "{}", page.text());
    let page = stage.browser.post(&format!("/keys/{new}/keep"), &[]).await;
    assert!(!page.text().contains("was replaced by"), "{}", page.text());
}

async fn search_and_download(stage: &Stage) {
    stage.make("find-Me", &[("access", "none"), ("duration", "2d")]).await;
    stage.make("=cmd()", &[]).await;
    let find = stage.name("FIND");
    let page = stage.browser.get(&format!("/keys?q={find}")).await;
    let aliases = page.attributes("table#keys tbody tr", "data-alias");
    assert_eq!(aliases, [stage.name("find-Me")], "{}", page.text());
    assert!(page.one("table#keys tbody").contains("no models"));
    // By a model that it may call: the name of one that is on its list, or that all-access reaches.
    let page = stage.browser.get(&format!("/keys?q={GPT}&size=200")).await;
    let found = page.attributes("table#keys tbody tr", "data-alias");
    assert!(found.contains(&stage.name("made")) && found.contains(&stage.name("=cmd()")), "{found:?}");
    assert!(!found.contains(&stage.name("find-Me")), "{found:?}");
    let page = stage.browser.get(&format!("/keys?expires=7d&q={}", stage.prefix)).await;
    let found = page.attributes("table#keys tbody tr", "data-alias");
    assert!(found.contains(&stage.name("find-Me")) && !found.contains(&stage.name("edited")), "{found:?}");

    let file = stage.browser.get(&format!("/keys.csv?q={}", stage.prefix)).await;
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    let made = file.body.lines().find(|line| line.starts_with(&format!("{},", stage.name("made")))).unwrap();
    assert!(made.contains("\"openai/gpt-5, openai/gpt-5-mini\"") && made.contains("12.5"), "{made}");
}

async fn bulk(stage: &Stage) {
    let mut hashes = Vec::new();
    for number in 0..5 {
        hashes.push(stage.make(&format!("bulk-{number}"), &[("access", "none")]).await.1);
    }
    let filter = format!("q={}", stage.name("bulk-"));
    let page = stage.browser.post("/keys/bulk", &[("scope", "filter"), ("filter", &filter)]).await;
    assert_eq!(page.one("#bulk-count"), "5", "{}", page.text());
    // One is deleted behind Patchbay's back: it fails, the others do not.
    stage.tell("/key/delete", &json!({ "keys": [hashes[2]] })).await;
    let form = [
        ("scope", "filter"),
        ("filter", filter.as_str()),
        ("count", "5"),
        ("action", "restrict"),
        ("models", MINI),
    ];
    let page = stage.browser.post("/keys/bulk/run", &form).await;
    assert!(page.url.path().contains("/keys/bulk/"), "{}", page.text());
    let page = ended(stage, &page).await;
    let of = |page: &Page, name: &str| page.attributes("#progress", name).remove(0);
    assert_eq!(
        (of(&page, "data-done"), of(&page, "data-failed")),
        ("4".into(), "1".into()),
        "{}",
        page.text()
    );
    let failed = page.one(&format!("#results-by-key tr[data-hash='{}']", hashes[2]));
    assert!(failed.contains("failed") && failed.contains("no such key"), "{failed}");
    assert_eq!(stage.info(&hashes[0]).await["models"], json!([MINI]));
    let id = page.url.path().rsplit('/').next().unwrap().to_owned();
    let page = stage.browser.post(&format!("/keys/bulk/{id}/retry"), &[]).await;
    let page = ended(stage, &page).await;
    assert_eq!((of(&page, "data-done"), of(&page, "data-failed")), ("4".into(), "1".into()));

    // Selected ones; a deletion wants their number.
    let form = [("scope", "selected"), ("key", &hashes[0]), ("key", &hashes[1]), ("count", "2")];
    let delete = |confirm: &'static str| {
        let more = [("action", "delete"), ("confirm", confirm)];
        form.map(|(name, value)| (name, value as &str)).into_iter().chain(more).collect::<Vec<_>>()
    };
    let page = stage.browser.post("/keys/bulk/run", &delete("5")).await;
    assert_eq!((page.status.as_u16(), page.has("#confirm-error")), (422, true), "{}", page.text());
    let page = stage.browser.post("/keys/bulk/run", &delete("2")).await;
    let page = ended(stage, &page).await;
    assert_eq!(of(&page, "data-done"), "2", "{}", page.text());
    assert!(stage.is_gone(&hashes[0]).await && stage.is_gone(&hashes[1]).await);
}

/// The page of a job when it has ended.
async fn ended(stage: &Stage, page: &Page) -> Page {
    for _ in 0..200 {
        let page = stage.browser.send(stage.browser.http.get(page.url.clone())).await;
        if page.attributes("#progress", "data-running") == ["false"] {
            return page;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the change of many keys did not end");
}

async fn matrix(stage: &Stage) {
    let (_, hash) = stage.make("matrix", &[("access", "list"), ("models", MINI)]).await;
    let query = format!("q={}&models=openai/gpt-5", stage.name("matrix"));
    let page = stage.browser.get(&format!("/keys/matrix?{query}")).await;
    let cell = |model: &str| format!("#matrix tr[data-hash='{hash}'] td[data-model='{model}']");
    assert!(page.one(&cell(MINI)).starts_with('✓'), "{}", page.text());
    assert_eq!(page.one(&cell(GPT)), "+");
    let form = [("model", GPT), ("back", query.as_str())];
    let page = stage.browser.post(&format!("/keys/{hash}/allow"), &form).await;
    assert!(page.url.path().ends_with("/keys/matrix"), "{}", page.url);
    assert!(page.one(&cell(GPT)).starts_with('✓'), "{}", page.text());
    assert_eq!(stage.info(&hash).await["models"], json!([MINI, GPT]));
}

/// Deletes what was made.
pub(crate) async fn clean(stage: &Stage) {
    let list = stage.ask("/key/list?return_full_object=true&size=100").await;
    let made = list["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["key_alias"].as_str().is_some_and(|alias| alias.starts_with(&stage.prefix)));
    for key in made {
        stage.tell("/key/delete", &json!({ "keys": [key["token"]] })).await;
    }
}
