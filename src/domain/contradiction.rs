//! What an answer says of its model against the model that was asked for. It is no evidence, and is shown all the same.

/// Words after which a model names itself: “I am …”, “the model is …”, “powered by …”.
const BEFORE: [&str; 6] = ["am", "i'm", "i’m", "is", "by", "model"];

/// Answers are searched this far, in characters.
const MAX_SEARCHED: usize = 2_000;

/// The first model by which `text` calls itself that is none of `models`.
pub fn named_otherwise<'a>(text: &'a str, models: &[&str]) -> Option<&'a str> {
    let end = text.char_indices().nth(MAX_SEARCHED).map_or(text.len(), |(at, _)| at);
    let trimmed = |word: &'a str| word.trim_matches(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> =
        text[..end].split_whitespace().map(trimmed).filter(|word| !word.is_empty()).collect();
    words.windows(2).find_map(|pair| {
        let is_introduced = BEFORE.contains(&pair[0].to_lowercase().as_str());
        (is_introduced && looks_like_a_model(pair[1]) && differs(pair[1], models)).then_some(pair[1])
    })
}

/// Whether `named` means none of `models`: providers and dates of a release are left out by some.
pub fn differs(named: &str, models: &[&str]) -> bool {
    !models.iter().any(|model| is_same(bare(named), bare(model)))
}

fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn is_same(a: &str, b: &str) -> bool {
    let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let Some((start, rest)) = long.split_at_checked(short.len()) else { return false };
    let is_release = |rest: &str| {
        rest.starts_with(['-', '@'])
            && rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '@'))
            && rest.chars().filter(char::is_ascii_digit).count() >= 3
    };
    start.eq_ignore_ascii_case(short) && (rest.is_empty() || is_release(rest))
}

fn looks_like_a_model(word: &str) -> bool {
    let has = |of: fn(&char) -> bool| word.chars().any(|c| of(&c));
    has(char::is_ascii_digit) && has(char::is_ascii_alphabetic) && word.contains(['-', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_names_another_is_found() {
        let found = |text| named_otherwise(text, &["openai/gpt-5"]);
        assert_eq!(found("I am gpt-5-mini."), Some("gpt-5-mini"));
        assert_eq!(
            found("Hi! I'm **anthropic/claude-sonnet-4-5**, at your service."),
            Some("anthropic/claude-sonnet-4-5")
        );
        assert_eq!(found("This was powered by gemini-2.5-pro"), Some("gemini-2.5-pro"));
        for agrees in
            ["I am gpt-5", "I am openai/GPT-5.", "I am gpt-5-2025-08-07", "", "I am", "I am a model"]
        {
            assert_eq!(found(agrees), None, "{agrees}");
        }
        for no_name in ["Today is 2026-11-27.", "Compare gpt-5 with claude-sonnet-4-5.", "It is well-known."]
        {
            assert_eq!(found(no_name), None, "{no_name}");
        }
        assert_eq!(found(&format!("{} I am gpt-5-mini", "é".repeat(MAX_SEARCHED))), None);
    }

    #[test]
    fn dates_and_providers_make_no_other_model() {
        assert!(!differs("azure/gpt-4o-2024-11-20", &["openai/gpt-4o"]));
        assert!(!differs("claude-sonnet-4-5@20250929", &["anthropic/claude-sonnet-4-5"]));
        assert!(!differs("gpt-4", &["openai/gpt-4-0613"]));
        assert!(differs("gpt-4-5", &["openai/gpt-4"]));
        assert!(differs("gpt-4o", &["openai/gpt-4"]));
        assert!(differs("éé", &["é/ü"]));
        assert!(differs("gpt-4o", &[]));
    }
}
