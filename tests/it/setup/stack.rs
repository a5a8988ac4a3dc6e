//! `Dockerfile` and `compose.yaml`: their structure, and their commands and health checks, run as they are worded,
//! on one machine with one env file. `tests/stack/run` has the same done in a bare chroot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{BOTH, Stage};
use crate::cli::{Ended, patchbay, run};
use crate::support::{MASTER_KEY, Script, closed_port};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compose() -> Value {
    let text = std::fs::read_to_string(root().join("compose.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The last instruction of a Dockerfile with this name, and what follows it.
fn instruction(name: &str) -> String {
    let text = std::fs::read_to_string(root().join("Dockerfile")).unwrap().replace("\\\n", " ");
    let last = text.lines().rfind(|line| line.starts_with(&format!("{name} "))).map(str::to_owned);
    last.unwrap_or_else(|| panic!("the Dockerfile has no {name}"))[name.len() + 1..].to_owned()
}

/// The words of an instruction in its JSON form.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The login, which has no default.
const PASSWORD: &str = "a password of one's own";

/// `${NAME:-default}` as its default, and `${UI_PASSWORD:?…}` as a password.
fn defaulted(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.find("${") {
        let end = start + text[start..].find('}').unwrap();
        let default = match text[start..end].split_once(":?") {
            Some(("${UI_PASSWORD", _)) => PASSWORD,
            Some((name, _)) => panic!("{name} has to be set"),
            None => text[start..end].split_once(":-").map_or("", |(_, default)| default),
        };
        let default = default.to_owned();
        text.replace_range(start..=end, &default);
    }
    text
}

#[test]
fn the_compose_file_hangs_together() {
    const KNOWN: [&str; 20] = [
        "networks",
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "env_file",
        "environment",
        "healthcheck",
        "image",
        "logging",
        "mem_limit",
        "pids_limit",
        "ports",
        "read_only",
        "restart",
        "security_opt",
        "tmpfs",
        "user",
        "volumes",
        "init",
    ];
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["llm-proxy", "llm-proxy-bootstrap", "llm-proxy-db", "patchbay", "task-agent"]);
    for (name, service) in services {
        let unknown: Vec<_> =
            service.as_object().unwrap().keys().filter(|key| !KNOWN.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        assert!(service["image"].is_string(), "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(source.starts_with("./") || compose["volumes"].get(source).is_some(), "{name}: {volume}");
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = services.get(other).unwrap_or_else(|| panic!("{name} waits for {other}"));
            match how["condition"].as_str().unwrap() {
                // The image has a health check of its own.
                "service_healthy" => {
                    assert!(other["healthcheck"]["test"].is_array() || other["build"].is_string(), "{name}");
                }
                "service_completed_successfully" => assert_eq!(other["restart"], "no", "{name}"),
                other => panic!("{name} waits for {other}"),
            }
        }
    }
    let published = |name: &str| strings(&services[name]["ports"]);
    assert_eq!(published("llm-proxy"), ["127.0.0.1:10999:4000"]);
    assert_eq!(published("task-agent"), ["127.0.0.1:10900:8000"]);
    assert_eq!(published("patchbay"), ["127.0.0.1:10950:10950"]);
    // Where FuzzForge's workflows call the agent.
    assert_eq!(strings(&services["task-agent"]["networks"]["default"]["aliases"]), ["fuzzforge-task-agent"]);
    assert_eq!(services["task-agent"]["environment"]["PATCHBAY_AGENT_BIND"], "0.0.0.0:8000");
    assert!(root().join("volumes/litellm/config.yaml").is_file(), "the proxy's config is mounted");
}

#[test]
fn every_service_is_confined() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        for limit in ["mem_limit", "pids_limit"] {
            assert!(!service[limit].is_null(), "{name}: {limit}");
        }
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}");
        assert!(service["logging"]["options"]["max-file"].is_string(), "{name}");
        let image = defaulted(service["image"].as_str().unwrap());
        let (_, tag) = image.rsplit_once(':').unwrap();
        let numbers = tag.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).count();
        assert!(numbers >= 2 && !tag.contains("latest"), "{name}: {image} is another image tomorrow");
        assert!(service.get("user").is_some() || image.contains("non_root"), "{name} runs as root");
    }
    // Volumes of another stack would be opened by another release, or with another C library.
    assert_ne!(compose["name"], "fuzzforge");
    for (key, volume) in compose["volumes"].as_object().unwrap() {
        assert!(volume["name"].as_str().unwrap().starts_with("patchbay_"), "{key}");
    }
    let mounted = strings(&compose["services"]["task-agent"]["volumes"]);
    assert_eq!(mounted, ["./volumes/agent:/env:ro", "agent_data:/data"]);
    assert_eq!(compose["services"]["task-agent"]["env_file"], Value::Null);
}

#[test]
fn the_compose_file_has_no_password_for_the_login() {
    for service in ["patchbay", "llm-proxy"] {
        let password = &compose()["services"][service]["environment"]["UI_PASSWORD"];
        let (_, sentence) = password.as_str().unwrap().split_once("${UI_PASSWORD:?").unwrap();
        assert!(sentence.contains("export UI_PASSWORD="), "{sentence}");
    }
    let text = std::fs::read_to_string(root().join("compose.yaml")).unwrap();
    assert!(!text.contains("fuzzforge123"));
}

#[test]
fn the_image_is_bare_and_runs_as_nobody() {
    assert_eq!(instruction("FROM"), "scratch");
    assert_eq!(instruction("USER"), "65532:65532");
    assert_eq!(words(&instruction("ENTRYPOINT")), ["/usr/bin/patchbay"]);
    let version = format!("VERSION={}", env!("CARGO_PKG_VERSION"));
    assert_eq!(instruction("ARG"), version, "the label's version is the crate's");
    let image = format!("patchbay:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(compose()["services"]["patchbay"]["image"], image.as_str());
}

/// The services of the image, as processes of this machine.
struct Machine {
    /// What stands in the files, and what it is here: hosts, ports, folders.
    here: Vec<(&'static str, String)>,
    /// The folder that is the file system's root for them, and its binary.
    chroot: Option<PathBuf>,
    running: Vec<Child>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Machine {
    fn here(&self, text: &str) -> String {
        self.here.iter().fold(defaulted(text), |text, (there, here)| text.replace(there, here))
    }

    /// A command of a service: what its image says, and what the compose file changes of that.
    fn command(&self, name: &str, words: &[String]) -> Command {
        let words: Vec<String> = words.iter().map(|word| self.here(word)).collect();
        assert_eq!(words[0], "/usr/bin/patchbay");
        let mut command = if let Some(chroot) = &self.chroot {
            let mut command = Command::new("chroot");
            command.arg("--userspec=65532:65532").arg(chroot).args(&words).env_clear();
            // Without it, chroot itself would not be found.
            command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
            command
        } else {
            let rest: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            patchbay(&rest)
        };
        for pair in instruction("ENV").split_whitespace() {
            let (name, value) = pair.split_once('=').unwrap();
            command.env(name, self.here(value));
        }
        let service = &compose()["services"][name];
        // Where a folder is mounted elsewhere than in the other services.
        let mounts = strings(&service["volumes"]);
        let agents = mounts.iter().any(|mount| mount.starts_with("./volumes/agent:/env"));
        for (variable, value) in service["environment"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let value = if agents { value.replace("/env/", "/agent/") } else { value.to_owned() };
            command.env(variable, self.here(&value));
        }
        if self.chroot.is_none() {
            command.env_remove("SSL_CERT_FILE");
        }
        command
    }

    fn words_of(name: &str) -> Vec<String> {
        [words(&instruction("ENTRYPOINT")), strings(&compose()["services"][name]["command"])].concat()
    }

    fn start(&mut self, name: &str) {
        let mut command = self.command(name, &Self::words_of(name));
        self.running.push(command.stderr(Stdio::null()).spawn().unwrap());
    }

    /// Runs a service's health check, its own or its image's, until it is well.
    async fn is_healthy(&self, name: &str) {
        let own = &compose()["services"][name]["healthcheck"]["test"];
        let words = match own.as_array() {
            Some(test) => {
                assert_eq!(test[0], "CMD");
                strings(own)[1..].to_vec()
            }
            None => words(&instruction("HEALTHCHECK")),
        };
        let mut last = String::new();
        for _ in 0..100 {
            let ended: Ended = run(self.command(name, &words)).await;
            if ended.code == Some(0) {
                return;
            }
            last = ended.err;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} does not become healthy: {last}");
    }
}

/// The env file as the template has it, filled in.
fn env_file(master_key: &str) -> String {
    let template = std::fs::read_to_string(root().join("volumes/env/.env.template")).unwrap();
    let filled = BTreeMap::from([
        ("LITELLM_MASTER_KEY=sk-change-me-to-something-long", format!("LITELLM_MASTER_KEY={master_key}")),
        ("LITELLM_OPENAI_API_KEY=", "LITELLM_OPENAI_API_KEY=sk-openai-1".to_owned()),
        ("LITELLM_ANTHROPIC_API_KEY=", "LITELLM_ANTHROPIC_API_KEY=sk-ant-1".to_owned()),
    ]);
    let lines = template.lines().map(|line| filled.get(line).map_or(line, String::as_str));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// What a binary needs beside itself; nothing where it is static, as in the image.
fn libraries(binary: &OsStr) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(binary).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// `/env`, `/agent`, `/data`, and for a chroot the image's other files.
fn furnish(dir: &Path, master_key: &str) -> Option<PathBuf> {
    for folder in ["env", "agent", "data"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
        std::fs::set_permissions(dir.join(folder), Permissions::from_mode(0o1777)).unwrap();
    }
    std::fs::write(dir.join("env/.env"), env_file(master_key)).unwrap();
    let binary = std::env::var_os("STACK_BINARY")?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(dir.join("usr/bin")).unwrap();
    for library in libraries(&binary) {
        let there = dir.join(library.strip_prefix("/").unwrap());
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::copy(&library, there).unwrap();
    }
    std::fs::copy(binary, dir.join("usr/bin/patchbay")).unwrap();
    std::fs::create_dir_all(dir.join("etc/ssl/certs")).unwrap();
    std::fs::copy("/etc/ssl/certs/ca-certificates.crt", dir.join("etc/ssl/certs/ca-certificates.crt"))
        .unwrap();
    // What a container engine puts into every container.
    std::fs::create_dir_all(dir.join("dev")).unwrap();
    std::fs::write(dir.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    for (device, minor) in [("null", "3"), ("random", "8"), ("urandom", "9")] {
        let node = dir.join("dev").join(device);
        let made = Command::new("mknod").args(["-m", "666"]).arg(node).args(["c", "1", minor]).status();
        assert!(made.unwrap().success(), "{device}");
    }
    // The files belong to who runs the services, as volumes/env does.
    for own in ["env", "env/.env", "agent", "data"] {
        std::os::unix::fs::chown(dir.join(own), Some(65532), Some(65532)).unwrap();
    }
    Some(dir.to_owned())
}

#[tokio::test]
async fn the_stack_comes_up_as_its_files_word_it() {
    let stage = Stage::start(BOTH[0]).await;
    // The stage's folder has an env file of its own, which would be read in the file system's root.
    up(&stage.proxy, MASTER_KEY, &stage.dir.path().join("image")).await;
}

/// Bootstrap, agent, dashboard, in the order of the file, on a proxy; then the main job.
pub(crate) async fn up(proxy: &str, master_key: &str, dir: &Path) {
    let chroot = furnish(dir, master_key);
    let (agent, dashboard) = (closed_port().await.to_string(), closed_port().await.to_string());
    let mut here = vec![
        ("http://llm-proxy:4000", proxy.to_owned()),
        ("task-agent:8000", agent.clone()),
        ("0.0.0.0:8000", agent.clone()),
        ("127.0.0.1:8000", agent.clone()),
        ("127.0.0.1:10900", agent.clone()),
        ("0.0.0.0:10950", dashboard.clone()),
    ];
    if chroot.is_none() {
        let folder = |name: &str| dir.join(name).display().to_string();
        here.extend([("sqlite:///data", format!("sqlite://{}", folder("data")))]);
        here.extend([("/env/", format!("{}/", folder("env"))), ("/agent/", format!("{}/", folder("agent")))]);
    }
    let mut machine = Machine { here, chroot, running: Vec::new() };
    let bootstrap = machine.command("llm-proxy-bootstrap", &Machine::words_of("llm-proxy-bootstrap"));
    let told = run(bootstrap).await.good();
    assert!(told.contains("+ key      task-agent"), "{told}");
    let of_agent = std::fs::read_to_string(dir.join("agent/.env")).unwrap();
    let names: Vec<_> = of_agent.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(names, ["OPENAI_API_KEY", "LITELLM_MODEL"], "not the agent's own alone");
    machine.start("task-agent");
    machine.is_healthy("task-agent").await;
    machine.start("patchbay");
    machine.is_healthy("patchbay").await;
    let answer = run(patchbay(&["ask", "--url", &format!("http://{agent}/a2a/litellm_agent"), "who?"])).await;
    let said = answer.good();
    assert!(said.starts_with("I am "), "{said}");
    let script = Script::with(&format!("http://{dashboard}"), "fuzzforge", PASSWORD);
    let form = [
        ("agent", "task-agent"),
        ("context", "switch-demo"),
        ("model", "openai/gpt-5"),
        ("probe", "1"),
        ("message", "Which model am I using?"),
    ];
    let (status, receipt) = script.post("/switch", &form).await;
    assert!(status.is_success(), "{receipt}");
    assert!(receipt.to_string().contains("proven"), "{receipt}");
}
