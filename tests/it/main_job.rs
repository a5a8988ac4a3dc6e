//! The main job against the sandbox, in both generations.

use patchbay_sandbox::Generation;

use crate::scenario::{self, Stage};
use crate::support::{PASSWORD, Setup, TestApp, USER};

async fn on(generation: Generation, base_path: &'static str) {
    let app = TestApp::with(Setup { generation, base_path, ..Setup::default() }).await;
    scenario::run(&Stage {
        browser: app.anonymous(),
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
        key_alias: "task-agent".to_owned(),
        is_per_context: true,
    })
    .await;
}

#[tokio::test]
async fn on_1_80() {
    on(Generation::V1_80, "").await;
}

#[tokio::test]
async fn on_1_109() {
    on(Generation::V1_109, "").await;
}

#[tokio::test]
async fn below_a_path() {
    on(Generation::V1_109, "/tools/patchbay").await;
}
