//! `patchbay serve` as a process of its own: its memory can be measured, and it can be killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::cli::patchbay;
use crate::support::{Browser, MASTER_KEY, PASSWORD, Script, USER};

/// The agent's key where no sandbox has issued one.
pub(super) const AGENT_KEY: &str = "sk-agent-of-a-test-0001";

/// A running dashboard. Dropped, it is killed as by `kill -9`.
pub(super) struct Dashboard {
    pub(super) base: String,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dashboard {
    /// Starts it, or says why it did not start.
    pub(super) async fn start(
        proxy: &str,
        agent: &str,
        database: &str,
        more: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = patchbay(&["serve"]);
        command
            .env("PATCHBAY_BIND", "127.0.0.1:0")
            .env("PATCHBAY_DATABASE_URL", database)
            .env("PATCHBAY_AGENTS", format!("task-agent={agent}"))
            .env("LITELLM_PROXY_URL", proxy)
            .env("LITELLM_MASTER_KEY", MASTER_KEY)
            .env("TASK_AGENT_API_KEY", AGENT_KEY)
            .env("UI_USERNAME", USER)
            .env("UI_PASSWORD", PASSWORD)
            .envs(more.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = tokio::sync::oneshot::channel();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        // Reads on, so that the dashboard can log on.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in stderr.lines().map_while(Result::ok) {
                let logged: Value = serde_json::from_str(&line).unwrap_or_default();
                let said = logged["message"].as_str().unwrap_or_default();
                if let (Some(base), true) = (said.strip_prefix("the dashboard is at "), found.is_some()) {
                    let _ = found.take().unwrap().send(base.to_owned());
                }
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        if let Ok(base) = address.await {
            return Ok(Self { base, child, log });
        }
        let _ = child.wait();
        let said = log.lock().unwrap().clone();
        Err(said)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn script(&self) -> Script {
        Script::new(&self.base)
    }

    pub(super) async fn user(&self) -> Browser {
        let browser = Browser::new(&self.base);
        let page = browser.post("/login", &[("username", USER), ("password", PASSWORD)]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        browser
    }

    /// Asks it to stop, as a service manager does, and waits for its end.
    pub(super) async fn stop(&mut self, patience: Duration) -> Option<ExitStatus> {
        let pid = self.pid().to_string();
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
        self.ended(patience).await
    }

    pub(super) async fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if tokio::time::Instant::now() > until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has in memory now, and the most that it had since [`Self::forget_peak`], in MiB.
    pub(super) fn memory(&self) -> (usize, usize) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| -> usize {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    pub(super) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }
}
