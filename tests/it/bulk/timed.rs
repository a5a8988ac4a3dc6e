//! Bulk swaps for a time, with a question, and what is counted before they begin.

use serde_json::{Value, json};
use sqlx::Connection as _;

use super::{MINI, MODEL, begin, counts, model_of, relax, settled, swaps_of};
use crate::database;
use crate::support::{Browser, Setup, TestApp};
use crate::swaps::Ahead;
use crate::web::fakes::{FakeAgent, Manner};

async fn ready(ahead: &Ahead) -> TestApp {
    let app = TestApp::with(Setup { clock: ahead.clock(), ..Setup::default() }).await;
    relax(&app).await;
    app
}

async fn switch(app: &TestApp, context: &str, model: &str, more: &[(&str, &str)]) -> Value {
    let mut form = vec![("agent", "task-agent"), ("context", context), ("model", model)];
    form.extend_from_slice(more);
    let (status, swap) = app.script().post("/switch", &form).await;
    assert!(status.is_success(), "{swap}");
    swap
}

async fn ends(app: &TestApp, job: &str) -> [u64; 4] {
    let (_, job) = app.script().get(&format!("/bulk/{job}")).await;
    ["waiting", "back", "switched", "stuck"].map(|what| job["ends"][what].as_u64().unwrap())
}

#[tokio::test]
async fn contexts_go_back_at_the_end_but_for_those_that_were_switched_again() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    let id = begin(&app, "a b c", &[("minutes", "120"), ("message", "Which model are you?")]).await;
    assert_eq!(counts(&settled(&app, &id).await), [3, 0, 0, 0]);
    assert_eq!(swaps_of(&app, "a").await[0]["outcome"], "proven", "the question proves each");
    assert_eq!(ends(&app, &id).await, [3, 0, 0, 0]);
    switch(&app, "b", "anthropic/claude-sonnet-4-5", &[]).await;
    ahead.by(119 * 60);
    app.switcher().end_timed_swaps().await;
    assert_eq!(ends(&app, &id).await, [2, 0, 1, 0]);
    ahead.by(61);
    app.switcher().end_timed_swaps().await;
    assert_eq!(ends(&app, &id).await, [0, 2, 1, 0]);
    for (context, model) in [("a", MINI), ("b", "anthropic/claude-sonnet-4-5"), ("c", MINI)] {
        assert_eq!(model_of(&app, context).await, model, "{context}");
    }
    let page = app.user().await.get(&format!("/bulk/{id}")).await;
    assert!(page.one("#ends").contains("2 went back, 1 switched again"), "{}", page.one("#ends"));
}

/// What was meant for a time is not where a later timed swap goes back to.
#[tokio::test]
async fn timed_swaps_one_after_the_other_go_back_to_what_was_before_the_first() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    switch(&app, "a", MODEL, &[("minutes", "60")]).await;
    ahead.by(60);
    switch(&app, "a", "anthropic/claude-sonnet-4-5", &[("minutes", "60")]).await;
    ahead.by(60);
    // The same model again, by a job.
    let form =
        [("agent", "task-agent"), ("ids", "a"), ("model", "anthropic/claude-sonnet-4-5"), ("minutes", "60")];
    let id = app.script().post("/bulk", &form).await.1["id"].as_str().unwrap().to_owned();
    settled(&app, &id).await;
    assert_eq!(ends(&app, &id).await, [1, 0, 0, 0]);
    ahead.by(61 * 60);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model_of(&app, "a").await, MINI);
    assert_eq!(ends(&app, &id).await, [0, 1, 0, 0]);
    // Nothing is tried again.
    let swaps = swaps_of(&app, "a").await.len();
    ahead.by(3600);
    app.switcher().end_timed_swaps().await;
    assert_eq!(swaps_of(&app, "a").await.len(), swaps);
}

#[tokio::test]
async fn timers_are_counted_and_kept_or_replaced_by_choice() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    switch(&app, "timed", "anthropic/claude-sonnet-4-5", &[("minutes", "30")]).await;
    let form = [("agent", "task-agent"), ("ids", "timed other"), ("model", MODEL)];
    let (_, counted) = app.script().post("/bulk/new", &form).await;
    assert_eq!((&counted["count"], &counted["timed"]), (&json!(2), &json!(1)), "{counted}");
    let kept = begin(&app, "timed other", &[("timers", "keep")]).await;
    assert_eq!(counts(&settled(&app, &kept).await), [1, 0, 1, 0]);
    assert_eq!(model_of(&app, "timed").await, "anthropic/claude-sonnet-4-5");
    let replaced = begin(&app, "timed", &[]).await;
    assert_eq!(counts(&settled(&app, &replaced).await), [1, 0, 0, 0]);
    ahead.by(3600);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model_of(&app, "timed").await, MODEL, "its former time is over");
}

#[tokio::test]
async fn agent_that_is_down_at_the_end_is_tried_for_an_hour() {
    let ahead = Ahead::default();
    let agent = FakeAgent::per_context(Manner::Good).await;
    let setup = Setup { clock: ahead.clock(), agent: Some(agent.url.clone()), ..Setup::default() };
    let app = TestApp::with(setup).await;
    relax(&app).await;
    let id = begin(&app, "a", &[("minutes", "10")]).await;
    assert_eq!(counts(&settled(&app, &id).await), [1, 0, 0, 0]);
    agent.set(Manner::Fails500);
    for _ in 0..3 {
        ahead.by(25 * 60);
        app.switcher().end_timed_swaps().await;
    }
    let still = ends(&app, &id).await;
    assert_eq!(still, [0, 0, 0, 1], "75 minutes after the start it is given up");
    let (_, audit) = app.script().get("/audit?what=swap&object=task-agent/a").await;
    let details = audit["entries"].as_array().unwrap().iter().filter_map(|entry| entry["detail"].as_str());
    assert_eq!(details.filter(|detail| detail.contains("tried for an hour")).count(), 1, "{audit}");
    assert_eq!(agent.model_of("a"), MODEL);
}

/// A replica that is gone had switched the context, and not written that down.
#[tokio::test]
async fn context_of_a_timed_swap_that_was_cut_off_goes_back_as_well() {
    let ahead = Ahead::default();
    let (_dir, database_url) = database::lasting().await;
    let setup = Setup { clock: ahead.clock(), database_url: Some(database_url.clone()), ..Setup::default() };
    let mut app = TestApp::with(setup).await;
    relax(&app).await;
    let id = begin(&app, "a", &[("minutes", "10")]).await;
    settled(&app, &id).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    for statement in [
        "delete from reverts",
        "update swaps set outcome = 'unknown', finished_at = null, config_after = null, replica = 'gone'",
        "update job_items set state = 'running'",
        "update jobs set state = 'running', ended_at = null",
        "delete from locks",
        "insert into locks (name, replica, holder, token) select 'job/' || id, 'gone', 'jobs', 1 from jobs",
    ] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    app.restart(|_| ()).await;
    assert_eq!(counts(&settled(&app, &id).await), [1, 0, 0, 0]);
    assert_eq!(model_of(&app, "a").await, MODEL);
    ahead.by(601);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model_of(&app, "a").await, MINI);
}

#[tokio::test]
async fn count_says_how_many_conversations_fit_and_what_they_cost() {
    let app = TestApp::start().await;
    relax(&app).await;
    let info = json!({ "max_input_tokens": 50 });
    let params = json!({ "model": "gpt-4o-mini", "custom_llm_provider": "openai", "api_key": "os.environ/X",
        "input_cost_per_token": 0.1 });
    let body = json!({ "model_name": "openai/small", "litellm_params": params, "model_info": info });
    app.admin("/model/new", &body).await;
    let browser = app.user().await;
    let long =
        "How does a conversation grow with every turn, in all detail, and with an example for each of them?";
    for (context, message) in [("long", long), ("short", "Hi.")] {
        switch(&app, context, MODEL, &[]).await;
        let path = format!("/contexts/task-agent/{context}/message");
        assert!(browser.post(&path, &[("message", message)]).await.status.is_success());
    }
    let form = [("agent", "task-agent"), ("ids", "long short new"), ("model", "openai/small")];
    let (_, counted) = app.script().post("/bulk/new", &form).await;
    let fits = &counted["fits"];
    assert_eq!(fits["too_long"][0][0], "long", "{fits}");
    assert_eq!(
        (fits["fits"].as_u64().unwrap() + fits["tight"].as_u64().unwrap(), &fits["not_known"]),
        (1, &json!(1)),
        "{fits}"
    );
    assert!(fits["reread"].as_f64().unwrap() > 0.5, "{fits}");
    // More than PATCHBAY_CONFIRM_COST has to be accepted.
    let (status, refused) = app.script().post("/bulk", &form).await;
    assert_eq!(status.as_u16(), 422, "{refused}");
    assert!(refused["errors"]["accept_cost"].is_string(), "{refused}");
    let job = begin_on(&app, "openai/small").await;
    let job = settled(&app, &job).await;
    assert_eq!(counts(&job), [2, 1, 0, 0], "{job}");
    let refused = job["items"].as_array().unwrap().iter().find(|item| item["context"] == "long").unwrap();
    assert!(refused["why"].as_str().unwrap().contains("does not fit"), "{refused}");
}

async fn begin_on(app: &TestApp, model: &str) -> String {
    let form = [("agent", "task-agent"), ("ids", "long short new"), ("model", model), ("accept_cost", "1")];
    app.script().post("/bulk", &form).await.1["id"].as_str().unwrap().to_owned()
}

/// The pages of an agent and of a model lead to the form, filled.
#[tokio::test]
async fn all_contexts_of_an_agent_or_on_a_model_are_chosen_from_its_page() {
    let app = TestApp::start().await;
    relax(&app).await;
    switch(&app, "one", MODEL, &[]).await;
    switch(&app, "two", "anthropic/claude-sonnet-4-5", &[]).await;
    let browser = app.user().await;
    let follow = async |browser: &Browser, page: &str, link: &str| {
        let page = browser.get(page).await;
        let href = page.attributes("a.button", "href").into_iter().find(|href| href.contains(link));
        let form = browser.get(&href.expect("a link to the form")).await;
        let mut ids: Vec<String> = form.one("#ids").split_whitespace().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(follow(&browser, "/agents/task-agent", "/bulk/new").await, ["one", "two"]);
    let (_, models) = app.script().get(&format!("/models?q={MODEL}")).await;
    let id = models["deployments"].as_array().unwrap().iter().find(|one| one["name"] == MODEL).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(follow(&browser, &format!("/models/{id}"), "/bulk/new").await, ["one"]);
}
