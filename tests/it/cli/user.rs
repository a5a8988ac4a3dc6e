//! `patchbay user`: the file of named users.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use super::patchbay;

/// Exit code, and both outputs.
fn user(file: &Path, args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = patchbay(&["user"])
        .args(args)
        .env("PATCHBAY_USERS_FILE", file)
        .current_dir(file.parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that wants no password may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn users_are_added_changed_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let password = "correct horse: battery";
    let done = |args: &[&str], input: &str| {
        let (code, out, error) = user(&file, args, input);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        assert!(!out.contains("argon2"), "{out}");
        out
    };
    done(&["add", "grace", "--role", "operator", "--password-stdin"], &format!("{password}\n"));
    done(&["add", "li", "--password-stdin"], password);
    assert_eq!(done(&["list"], ""), "grace  operator\nli     viewer\n");
    let hash = || std::fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned();
    let (first, _) = (hash(), done(&["passwd", "grace", "--password-stdin"], "another password"));
    assert_ne!(first, hash());
    done(&["role", "grace", "admin"], "");
    done(&["remove", "li"], "");
    assert_eq!(done(&["list"], ""), "grace  admin\n");
    assert!(!hash().contains("another") && hash().starts_with("grace:$argon2id$"), "{}", hash());

    for (args, why) in [
        (&["add", "grace", "--password-stdin"][..], "there is a user grace"),
        (&["add", "a:b", "--password-stdin"], "no colon"),
        (&["add", "bob", "--role", "root", "--password-stdin"], "viewer, operator or admin"),
        (&["passwd", "nobody", "--password-stdin"], "no user nobody"),
        (&["remove", "nobody"], "no user nobody"),
        (&["add", "bob"], "--password-stdin"),
    ] {
        let (code, _, error) = user(&file, args, password);
        assert!(code == 2 && error.contains(why), "{args:?}: {code} {error}");
    }
    let (code, _, error) = user(&file, &["add", "bob", "--password-stdin"], "short\n");
    assert!(code == 2 && error.contains("at least 8"), "{error}");
    std::fs::write(&file, "grace:oops:admin\n").unwrap();
    let (code, _, error) = user(&file, &["list"], "");
    assert!(code == 1 && error.contains("line 1") && !error.contains("oops"), "{error}");
}
