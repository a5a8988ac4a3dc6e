//! Virtual keys on a genuine proxy.

use patchbay::domain::key::KeyHash;
use secrecy::SecretString;

use super::{dashboard, setting};
use crate::keys::scenario::{self, Stage};
use crate::support::{Browser, PASSWORD, Script, USER};

async fn stage(base: &str) -> Stage {
    let browser = Browser::new(base);
    browser.post("/login", &[("username", USER), ("password", PASSWORD)]).await;
    Stage {
        browser,
        script: Script::new(base),
        proxy: setting("LIVE_PROXY"),
        master_key: setting("LIVE_MASTER_KEY"),
        agent_key_hash: KeyHash::of(&SecretString::from(setting("LIVE_AGENT_KEY"))).to_string(),
        prefix: format!("live-{}-", &uuid::Uuid::new_v4().simple().to_string()[..8]),
    }
}

#[tokio::test]
async fn everything_is_done_with_keys() {
    let (base, _guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
    scenario::run(&stage(&base).await).await;
}
