//! The main job, as a person does it: the same against the sandbox and against real servers.

use crate::support::Browser;

/// What a scenario has to work with.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    pub(crate) username: String,
    pub(crate) password: String,
    /// The alias of the agent's key, which may call `openai/gpt-5-mini` alone at first.
    pub(crate) key_alias: String,
    /// Whether each context keeps a model of its own.
    pub(crate) is_per_context: bool,
}

/// The guide's three models, and what answers for each.
const MODELS: [(&str, &str); 3] = [
    ("openai/gpt-5", "I am gpt-5"),
    ("openai/gpt-5-mini", "I am gpt-5-mini"),
    ("anthropic/claude-sonnet-4-5", "I am claude-sonnet-4-5"),
];

/// Rows of a page of models.
const ROWS: usize = 50;

/// Log in, see models and key, relax the key, switch `switch-demo` through the three models and ask each.
pub(crate) async fn run(stage: &Stage) {
    log_in(stage).await;
    see_models(stage).await;
    refused_before_relaxing(stage).await;
    relax_key(stage).await;
    for (model, answer) in MODELS {
        switch_and_ask(stage, "switch-demo", model, answer).await;
    }
    two_contexts(stage).await;
    log_out(stage).await;
}

async fn log_in(stage: &Stage) {
    let page = stage.browser.get("/models").await;
    assert!(page.url.path().ends_with("/login"), "{}", page.url);
    let next = page.attributes("input[name=next]", "value").remove(0);
    let wrong = stage
        .browser
        .post("/login", &[("username", &stage.username), ("password", "nope"), ("next", &next)])
        .await;
    assert_eq!((wrong.status.as_u16(), wrong.has("[role=alert]")), (401, true));
    let form = [("username", stage.username.as_str()), ("password", &stage.password), ("next", &next)];
    let page = stage.browser.post("/login", &form).await;
    assert_eq!(page.status.as_u16(), 200);
    assert!(page.url.path().ends_with("/models"), "{}", page.url);
}

async fn see_models(stage: &Stage) {
    let names = stage.browser.get("/models").await.attributes("table#models tbody tr", "data-name");
    for (model, _) in MODELS {
        // A lived-in proxy has more than one page of models; where all are on the first, so are these.
        assert!(names.len() >= ROWS || names.iter().any(|name| name == model), "{model} in {names:?}");
        let found = stage.browser.get(&format!("/models?q={model}")).await;
        assert!(found.has(&row(model)), "{model}: {}", found.text());
    }
    // A name that a pattern covers as well has a row with the pattern's id.
    let (model, _) = MODELS[1];
    let found = stage.browser.get(&format!("/models?q={model}")).await;
    let mut titles = Vec::new();
    for id in found.attributes(&row(model), "data-id") {
        let page = stage.browser.get(&format!("/models/{id}")).await;
        assert_eq!(page.status.as_u16(), 200);
        titles.push(page.one("h1"));
    }
    assert!(titles.iter().any(|title| title == model), "{titles:?}");
}

fn row(model: &str) -> String {
    format!("table#models tbody tr[data-name='{model}']")
}

/// The key may call one model alone: a swap to another is refused before anything is sent.
async fn refused_before_relaxing(stage: &Stage) {
    let page = switch(stage, "switch-demo", "openai/gpt-5", "").await;
    assert_eq!((page.status.as_u16(), page.outcome().as_str()), (422, "refused"), "{}", page.text());
    assert!(page.one("#receipt").contains("may not call openai/gpt-5"), "{}", page.text());
}

async fn relax_key(stage: &Stage) {
    let page = stage.browser.get("/keys").await;
    let row = format!("table#keys tbody tr[data-alias='{}']", stage.key_alias);
    let hash = page.attributes(&row, "data-hash").remove(0);
    assert!(page.one(&row).contains("openai/gpt-5-mini"), "{}", page.one(&row));
    let page = stage.browser.post(&format!("/keys/{hash}/relax"), &[]).await;
    assert_eq!(page.status.as_u16(), 200);
    assert!(page.one("#flash[role=status]").contains("every model"), "{}", page.text());
    assert!(page.text().contains("May call every model"), "{}", page.text());
    let page = stage.browser.get("/keys").await;
    assert!(page.one(&row).contains("all models"), "{}", page.one(&row));
}

async fn switch(stage: &Stage, context: &str, model: &str, message: &str) -> crate::support::Page {
    let form = [
        ("agent", "task-agent"),
        ("context", context),
        ("model", model),
        ("message", message),
        ("probe", "1"),
    ];
    stage.browser.post("/switch", &form).await
}

async fn switch_and_ask(stage: &Stage, context: &str, model: &str, answer: &str) {
    let page = switch(stage, context, model, "Which model am I using?").await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    assert_eq!(page.outcome(), "proven", "{}", page.text());
    // Real agents may say more, such as the key they were called with.
    assert!(page.one("#receipt .answer").starts_with(answer), "{model}: {}", page.one("#receipt .answer"));
    assert!(page.one("#receipt").contains(model), "{}", page.one("#receipt"));
}

/// Where each context has a model of its own, two of them answer differently, whichever was switched last.
/// Where it is the agent's, the form says so before the button is pressed.
async fn two_contexts(stage: &Stage) {
    let page = stage.browser.get("/switch?agent=task-agent&context=other").await;
    assert_eq!(
        page.one(".scope").contains("All contexts share one model"),
        !stage.is_per_context,
        "{}",
        page.text()
    );
    if !stage.is_per_context {
        return;
    }
    let [(one, one_answer), (other, other_answer), _] = MODELS;
    for (first, second) in [("a", "b"), ("d", "c")] {
        assert_eq!(switch(stage, first, one, "").await.outcome(), "verified");
        assert_eq!(switch(stage, second, other, "").await.outcome(), "verified");
        let asked = tokio::join!(
            switch(stage, first, one, "Which model am I using?"),
            switch(stage, second, other, "Which model am I using?")
        );
        assert!(asked.0.one("#receipt .answer").starts_with(one_answer));
        assert!(asked.1.one("#receipt .answer").starts_with(other_answer));
        assert!(asked.0.one("#receipt .before-after div:first-child").contains(one), "{}", asked.0.text());
        assert!(asked.1.one("#receipt .before-after div:first-child").contains(other), "{}", asked.1.text());
    }
}

async fn log_out(stage: &Stage) {
    stage.browser.post("/logout", &[]).await;
    assert!(stage.browser.get("/models").await.url.path().ends_with("/login"));
}
