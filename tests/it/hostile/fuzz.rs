//! Inputs nobody thought of: recordings and seeds, torn, doubled, spliced and flipped, given to every reader.
//!
//! It runs on stable Rust, without coverage to guide it: seconds for each reader with the tests, as long as
//! `FUZZ_SECONDS` says otherwise. A run is repeated by its number, `FUZZ_SEED`, which a failure names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use patchbay::clients::a2a::Agent;
use patchbay::clients::build_http;
use patchbay::clients::litellm::{LiteLlm, Timeouts};
use patchbay::domain::context::ContextId;
use patchbay::domain::control::{AgentConfig, ControlMessage, Prompt, looks_like_control};
use patchbay::domain::env_file;
use patchbay::domain::model::ModelSpec;
use patchbay::domain::redact;
use tokio::sync::watch;

use super::{count_panics, panics};
use crate::support::{TestApp, spawn};

/// Longest that one input may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes inputs out of others.
struct Mutator {
    corpus: Vec<Vec<u8>>,
    state: u64,
    seed: u64,
    until: Instant,
    tried: usize,
}

/// Bytes that mean something to one of the readers.
const TOKENS: [&[u8]; 32] = [
    b"[HOTSWAP:",
    b"]",
    b"[",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"\n\n",
    b"\r\n",
    b"data: ",
    b"event:",
    b"id:",
    b":",
    b",",
    b"&",
    b"=",
    b"%",
    b"%00",
    b"#",
    b"'",
    b"*a",
    b"&a",
    b"<<: ",
    b"- ",
    b"\xff\xfe",
    b"\xe2\x80\xae",
];

impl Mutator {
    fn new(corpus: Vec<Vec<u8>>) -> Self {
        assert!(corpus.len() > 5, "{} seeds", corpus.len());
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seed = number("FUZZ_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0) | 1;
        let seconds = number("FUZZ_SECONDS").unwrap_or(3);
        eprintln!("FUZZ_SEED={seed}, {} seeds", corpus.len());
        Self { corpus, state: seed, seed, until: Instant::now() + Duration::from_secs(seconds), tried: 0 }
    }

    /// A number below `most`: xorshift, so that a run can be repeated.
    fn below(&mut self, most: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % most.max(1)
    }

    /// The next input; each seed as it is first. None when the time is over.
    fn next(&mut self) -> Option<Vec<u8>> {
        self.tried += 1;
        if let Some(seed) = self.corpus.get(self.tried - 1) {
            return Some(seed.clone());
        }
        if Instant::now() > self.until {
            eprintln!("{} inputs", self.tried - 1);
            return None;
        }
        let at = self.below(self.corpus.len());
        let mut input = self.corpus[at].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(200_000);
        Some(input)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, len) = (self.below(input.len()), 1 + self.below(64));
        let to = (from + len).min(input.len());
        match self.below(8) {
            0 => input.truncate(from),
            1 => drop(input.drain(from..to)),
            2 => {
                let part = input[from..to].to_vec();
                let times = 1 + self.below(300);
                let place = self.below(input.len());
                input.splice(place..place, part.repeat(times));
            }
            3 if !input.is_empty() => input[from] = u8::try_from(self.below(256)).unwrap(),
            4 if !input.is_empty() => input[from] ^= 1 << self.below(8),
            5 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(from..from, token.repeat(1 + self.below(3)));
            }
            6 => {
                let other = self.below(self.corpus.len());
                let other = self.corpus[other].clone();
                let start = self.below(other.len());
                input.splice(from..to, other[start..].iter().copied());
            }
            _ => {
                let digits = TOKENS[8 + self.below(5)];
                if let Some(place) = input[from..].iter().position(u8::is_ascii_digit) {
                    input.splice(from + place..=from + place, digits.iter().copied());
                }
            }
        }
    }

    /// What holds of every reader: it neither panicked nor took long.
    fn check(&self, input: &[u8], begun: Instant) {
        let told =
            || format!("FUZZ_SEED={} input {}: {:?}", self.seed, self.tried, String::from_utf8_lossy(input));
        assert!(begun.elapsed() < PATIENCE, "{:?} for {}", begun.elapsed(), told());
        assert_eq!(panics(), 0, "{}", told());
    }
}

/// The bodies of all recordings below `tests/wire/NAME`.
fn recorded(name: &str) -> Vec<Vec<u8>> {
    fn collect(folder: &Path, found: &mut Vec<Vec<u8>>) {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                collect(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let Ok(recording) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            let body = &recording["response"]["body"];
            found.push(body.as_str().map_or_else(|| body.to_string(), str::to_owned).into_bytes());
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name), &mut found);
    found
}

/// The seeds in `tests/it/hostile/corpus/NAME`, one in a line, or in a paragraph where `by` is an empty line.
fn seeds(name: &str, by: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hostile/corpus").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.split(by).map(|seed| seed.as_bytes().to_vec()).collect()
}

/// A server that answers whatever it is told to.
struct Echo {
    url: url::Url,
    body: Arc<Mutex<Vec<u8>>>,
    _guard: tokio_util::sync::DropGuard,
}

async fn echo(kind: &'static str) -> Echo {
    let body = Arc::new(Mutex::new(Vec::new()));
    let answer = Arc::clone(&body);
    let router = Router::new().fallback(move || {
        let body = answer.lock().unwrap().clone();
        async move { ([(header::CONTENT_TYPE, kind)], body) }
    });
    let (address, guard) = spawn(router).await;
    Echo { url: format!("http://{address}").parse().unwrap(), body, _guard: guard }
}

#[test]
fn the_control_grammar_takes_anything() {
    count_panics();
    let mut mutator = Mutator::new(seeds("control", "\n"));
    while let Some(input) = mutator.next() {
        let begun = Instant::now();
        let text = String::from_utf8_lossy(&input);
        let is_control = looks_like_control(&text);
        if let Ok(spec) = text.parse::<ModelSpec>() {
            let sent = ControlMessage::Model(spec).to_text();
            assert!(looks_like_control(&sent) && !sent.contains(char::is_control), "{sent:?}");
        }
        if let Ok(prompt) = text.parse::<Prompt>() {
            let sent = ControlMessage::Prompt(Some(prompt)).to_text();
            assert!(looks_like_control(&sent), "{sent:?}");
        }
        assert!(!is_control || text.to_ascii_uppercase().contains("HOTSWAP"), "{text:?}");
        let _ = AgentConfig::parse(&text);
        let _ = text.parse::<ContextId>();
        let clean = redact::secrets(&text);
        assert_eq!(redact::secrets(&clean), clean, "what is clean stays as it is");
        assert!(!redact::error_text(&text).contains(char::is_control));
        mutator.check(&input, begun);
    }
}

#[test]
fn the_env_file_takes_anything() {
    count_panics();
    let mut mutator = Mutator::new(seeds("env", "\n\n"));
    while let Some(input) = mutator.next() {
        let begun = Instant::now();
        let values = env_file::parse(&input);
        assert!(values.keys().all(|name| !name.contains('=') && !name.contains('\n')), "{values:?}");
        if let Ok(edited) = env_file::set(&input, "FUZZED", "sk-1") {
            assert_eq!(env_file::parse(&edited).get("FUZZED").map(String::as_str), Some("sk-1"));
        }
        mutator.check(&input, begun);
    }
}

#[tokio::test]
async fn an_agents_answers_take_anything() {
    count_panics();
    let server = echo("application/json").await;
    let context: ContextId = "c".parse().unwrap();
    let mut mutator = Mutator::new(recorded("a2a"));
    while let Some(input) = mutator.next() {
        input.clone_into(&mut server.body.lock().unwrap());
        let begun = Instant::now();
        let agent = Agent::new(build_http().unwrap(), server.url.clone());
        let _ = agent.card().await;
        // A task that says it is working is asked for again until the time is over.
        let _ = agent.send(&context, "hi", Duration::from_millis(60)).await;
        let _ = agent.list_contexts().await;
        mutator.check(&input, begun);
    }
}

#[tokio::test]
async fn an_agents_events_take_anything() {
    count_panics();
    let server = echo("text/event-stream").await;
    let context: ContextId = "c".parse().unwrap();
    let mut corpus = seeds("events", "\n----\n");
    corpus.extend(recorded("a2a").into_iter().map(|body| [b"data: ", &*body, b"\n\n"].concat()));
    let mut mutator = Mutator::new(corpus);
    while let Some(input) = mutator.next() {
        input.clone_into(&mut server.body.lock().unwrap());
        let begun = Instant::now();
        let agent = Agent::new(build_http().unwrap(), server.url.clone());
        let _ = agent.ask(&context, "hi", Duration::from_millis(60), &watch::Sender::default()).await;
        mutator.check(&input, begun);
    }
}

#[tokio::test]
async fn a_proxys_answers_take_anything() {
    count_panics();
    let server = echo("application/json").await;
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { admin: second, chat: second };
    let proxy = LiteLlm::new(build_http().unwrap(), server.url.clone(), "sk-master-1".into(), timeouts);
    let (hash, model) = ("ab".repeat(32).parse().unwrap(), "openai/gpt-5".parse().unwrap());
    let mut mutator = Mutator::new(recorded("litellm"));
    while let Some(input) = mutator.next() {
        input.clone_into(&mut server.body.lock().unwrap());
        let begun = Instant::now();
        if let Ok(deployments) = proxy.deployments().await {
            let ids: BTreeSet<_> = deployments.iter().map(|deployment| &deployment.id).collect();
            assert!(ids.len() <= deployments.len());
        }
        let _ = proxy.details().await;
        let _ = proxy.keys(1).await;
        let _ = proxy.key_record(&hash).await;
        let _ = proxy.health().await;
        let _ = proxy.global_spend().await;
        let _ = proxy.probe(&"sk-agent-1".into(), &model).await;
        mutator.check(&input, begun);
    }
}

#[tokio::test]
async fn lists_of_models_take_anything() {
    count_panics();
    let app = TestApp::start().await;
    let browser = app.user().await;
    let mut mutator = Mutator::new(seeds("model_list", "\n----\n"));
    while let Some(input) = mutator.next() {
        let begun = Instant::now();
        let yaml = String::from_utf8_lossy(&input).into_owned();
        let page = browser.post("/models/import", &[("yaml", &yaml)]).await;
        assert!(page.status.as_u16() < 500, "{}: {yaml:?}", page.status);
        mutator.check(&input, begun);
    }
}

#[tokio::test]
async fn query_strings_take_anything() {
    count_panics();
    let app = TestApp::start().await;
    let browser = app.user().await;
    let mut mutator = Mutator::new(seeds("queries", "\n"));
    while let Some(input) = mutator.next() {
        let begun = Instant::now();
        // What a client can send at all: the rest is refused before it gets here.
        let sent: String =
            String::from_utf8_lossy(&input).chars().filter(|c| !c.is_control()).take(6_000).collect();
        let (path, query) = sent.split_once('?').unwrap_or(("/models", &sent));
        let pages = ["/models", "/keys", "/audit", "/contexts", "/switch", "/keys/matrix", "/keys.csv"];
        let path = pages.iter().find(|page| **page == path).unwrap_or(&pages[query.len() % pages.len()]);
        let page = browser.get(&format!("{path}?{query}")).await;
        assert!(page.status.as_u16() < 500, "{}: {path}?{query}", page.status);
        mutator.check(&input, begun);
    }
}
