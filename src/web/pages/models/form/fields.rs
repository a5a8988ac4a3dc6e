//! The names of the form's fields, and what may stand in them.

use crate::domain::model_detail::REFERENCE;
use crate::domain::words::is_invisible;

pub(super) fn field_of(param: &str) -> &'static str {
    match param {
        "api_key" => "secret",
        "litellm_credential_name" => "credential",
        "api_base" => "api_base",
        "api_version" => "api_version",
        "model" => "model",
        "custom_llm_provider" => "provider",
        _ => "extra",
    }
}

pub(in super::super) fn label(field: &str) -> &'static str {
    match field {
        "name" => "Model name",
        "provider" => "Provider",
        "model" => "Upstream model",
        "secret" => "Secret",
        "credential" => "Stored credential",
        "api_base" => "Address",
        "api_version" => "API version",
        "rpm" => "Requests per minute",
        "tpm" => "Tokens per minute",
        "mode" => "Mode",
        "input_price" => "Price in",
        "output_price" => "Price out",
        "description" => "Description",
        "more" => "More models",
        _ => "More parameters",
    }
}

/// Why a name would not do, neither as a model's name nor as the provider's.
pub(in super::super) fn name_error(field: &str, text: &str) -> Option<&'static str> {
    let is_odd = |c: char| c.is_whitespace() || is_invisible(c);
    if text.chars().any(is_odd) {
        return Some("Blanks and invisible characters cannot be in here.");
    }
    // Addresses of endpoints are models of some providers.
    if text.starts_with('/') || text.ends_with('/') || (field == "name" && text.contains("//")) {
        return Some(
            "A part before or after a slash is missing: write provider/model, such as openai/gpt-5.",
        );
    }
    None
}

pub(super) fn is_address(text: &str) -> bool {
    let is_url = |text: &str| {
        url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    };
    text.starts_with(REFERENCE) || is_url(text)
}
