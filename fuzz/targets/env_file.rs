//! Env files: read, and edited.
#![no_main]

use patchbay::domain::env_file;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let values = env_file::parse(input);
    assert!(values.keys().all(|name| !name.contains('=') && !name.contains('\n')));
    if let Ok(edited) = env_file::set(input, "FUZZED", "sk-1") {
        assert_eq!(env_file::parse(&edited).get("FUZZED").map(String::as_str), Some("sk-1"));
    }
});
