//! What is said of a database that cannot be opened.

use super::{Ended, patchbay, run};

async fn open(command: &str, variable: &str, url: &str) -> Ended {
    let mut command = patchbay(&[command]);
    command.env("LITELLM_MASTER_KEY", "sk-1").env("PATCHBAY_BIND", "127.0.0.1:0").env("RUST_LOG", "trace");
    command.env("LITELLM_PROXY_URL", "http://127.0.0.1:9").env(variable, url);
    run(command).await
}

#[tokio::test]
async fn a_password_with_signs_is_not_quoted() {
    for sign in ["#", "/", "?", "%ff", "?x=", "#%", "/@", "?@"] {
        for password in [format!("s3cret{sign}w0rd"), format!("123{sign}w0rd")] {
            let url = format!("postgres://user:{password}@127.0.0.1:9/name");
            for command in ["serve", "bootstrap", "export", "doctor"] {
                let ended = open(command, "PATCHBAY_DATABASE_URL", &url).await;
                let told = format!("{}{}", ended.out, ended.err);
                assert_eq!(ended.code, Some(1), "{command} {url}: {told}");
                assert!(!told.contains("s3cret") && !told.contains("w0rd"), "{command} {url}: {told}");
                for part in ["PATCHBAY_DATABASE_URL (--database-url)", "percent-encode"] {
                    assert_eq!(told.matches(part).count(), 1, "{command} {url}: {told}");
                }
            }
        }
    }
    // These are no mistakes.
    for password in ["s3cret@w0rd", "s3cret w0rd", "s3cret:w0rd", "s3cret%23w0rd"] {
        let url = format!("postgres://user:{password}@127.0.0.1:9/name?application_name=a%40b");
        let ended = open("export", "PATCHBAY_DATABASE_URL", &url).await;
        assert!(!ended.err.contains("percent-encode"), "{password}: {}", ended.err);
        assert!(!ended.err.contains("s3cret") && !ended.err.contains("w0rd"), "{password}: {}", ended.err);
    }
    let ended = open("agent", "PATCHBAY_DATABASE_URL", "postgres://user:s3cret@127.0.0.1:9/name").await;
    assert!(
        ended.err.contains("PATCHBAY_AGENT_DATABASE_URL") && !ended.err.contains("s3cret"),
        "{}",
        ended.err
    );
    let ended = open("serve", "PATCHBAY_DATABASE_URL", "mysql://user:s3cret@127.0.0.1:9/name").await;
    assert!(ended.err.contains("PATCHBAY_DATABASE_URL") && !ended.err.contains("s3cret"), "{}", ended.err);
}

/// Files cannot be made in /sys, not even by root.
#[tokio::test]
async fn an_sqlite_file_that_cannot_be_opened_is_named_with_the_reason_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("file"), "not a database, but a text that is long enough to be looked at")
        .unwrap();
    for (command, variable) in [
        ("serve", "PATCHBAY_DATABASE_URL"),
        ("bootstrap", "PATCHBAY_DATABASE_URL"),
        ("agent", "PATCHBAY_AGENT_DATABASE_URL"),
    ] {
        for (path, reasons) in [
            (at("missing/x.db"), &["No such file or directory"][..]),
            (at("file/x.db"), &["Not a directory"]),
            (at("file"), &["file is not a database", "it is no SQLite database"]),
            (dir.path().display().to_string(), &["Is a directory", "unable to open database file"]),
            ("/sys/x.db".to_owned(), &["ermission", "Read-only", "unable to open database file"]),
        ] {
            let ended = open(command, variable, &format!("sqlite://{path}")).await;
            assert_eq!(ended.code, Some(1), "{command} {path}: {}", ended.err);
            let told = ended.err.lines().find(|line| line.starts_with("patchbay: ")).unwrap_or_default();
            for part in [&*format!("{path} cannot be opened"), &format!("{variable} (--database-url)")] {
                assert_eq!(told.matches(part).count(), 1, "{command} {part}: {}", ended.err);
            }
            let found: usize = reasons.iter().map(|reason| told.matches(reason).count()).sum();
            assert_eq!(found, 1, "{command} {path}: {told}");
        }
    }
}
