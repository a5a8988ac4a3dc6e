//! Virtual keys: what an admin does with them.

mod bulk;
mod canary;
mod forms;
mod large;
mod once;
mod permission;
mod renew;
pub(crate) mod scenario;
mod table;

use patchbay_sandbox::Generation;

use crate::support::{MASTER_KEY, Setup, TestApp};
use scenario::Stage;

const GENERATIONS: [Generation; 2] = [Generation::V1_80, Generation::V1_109];

/// A dashboard on a sandbox, and all that a scenario needs.
async fn stage(generation: Generation) -> (TestApp, Stage) {
    let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
    let stage = stage_of(&app).await;
    (app, stage)
}

/// The same on a dashboard whose keys page has not been opened yet.
async fn stage_of(app: &TestApp) -> Stage {
    Stage {
        browser: app.user().await,
        script: app.script(),
        proxy: app.sandbox.clone(),
        master_key: MASTER_KEY.to_owned(),
        agent_key_hash: app.agent_key_hash.clone(),
        prefix: "own-".to_owned(),
    }
}

#[tokio::test]
async fn everything_is_done_with_keys_on_both_generations() {
    for generation in GENERATIONS {
        let (_app, stage) = stage(generation).await;
        scenario::run(&stage).await;
    }
}
