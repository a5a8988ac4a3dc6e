//! Lists of models, as people upload and paste them.
#![no_main]

use patchbay::services::registry::{has_model_list, read_document, read_mapping, write_document};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let _ = has_model_list(&text);
    let _ = read_mapping(&text);
    if let Ok(document) = read_document(&text) {
        let written = write_document(&document).expect("what was read can be written");
        let again = read_document(&written).expect("what was written can be read");
        assert_eq!(again, document);
    }
});
