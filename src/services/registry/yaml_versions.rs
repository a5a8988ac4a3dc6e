//! Where a list reads differently for LiteLLM, which takes it for YAML 1.1, than here, which is YAML 1.2.

/// Most places that are named.
const MOST: usize = 20;

/// A sentence for each value that the two read differently.
pub(super) fn differences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // The indentation of a block of text, in which there are no values.
    let mut block: Option<usize> = None;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let indent = line.len() - line.trim_start().len();
        if line.trim().is_empty() || block.is_some_and(|start| indent > start) {
            continue;
        }
        block = line.trim_end().ends_with(['|', '>']).then_some(indent);
        for value in values(line) {
            if let Some(other) = in_1_1(value) {
                let text = format!(
                    "Line {number}: LiteLLM reads {value} as {other}, Patchbay does not. Put quotes around it."
                );
                found.push(text);
            }
        }
        if found.len() >= MOST {
            break;
        }
    }
    found.truncate(MOST);
    found
}

/// The plain values of a line, without keys and comments.
#[expect(clippy::match_same_arms, reason = "the order of the arms counts")]
fn values(line: &str) -> Vec<&str> {
    let (mut found, mut start, mut quote) = (Vec::new(), 0, None);
    let mut previous = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => (quote, start) = (None, at + 1),
            (Some(_), _) => {}
            (None, '"' | '\'') if line[start..at].trim().is_empty() => quote = Some(c),
            (None, '#') if previous.is_whitespace() => {
                found.push(&line[start..at]);
                start = line.len();
                break;
            }
            (None, ' ') if matches!(previous, ':' | '-') && line[start..at].trim().len() <= 1 => start = at,
            // What stands before a colon is a key.
            (None, ' ') if previous == ':' => start = at,
            (None, ',' | ']' | '}') => {
                found.push(&line[start..at]);
                start = at + 1;
            }
            (None, '[' | '{') if line[start..at].trim().is_empty() => start = at + 1,
            _ => {}
        }
        previous = c;
    }
    if quote.is_none() {
        found.push(&line[start..]);
    }
    found.into_iter().map(str::trim).filter(|value| !value.is_empty() && !value.ends_with(':')).collect()
}

/// What YAML 1.1 takes a plain value for, where YAML 1.2 takes it for something else.
fn in_1_1(value: &str) -> Option<&'static str> {
    let digits = value.trim_start_matches(['-', '+']);
    let is_all = |text: &str, fits: fn(char) -> bool| !text.is_empty() && text.chars().all(fits);
    let is_number = |text: &str| is_all(text, |c| c.is_ascii_digit() || c == '_');
    if matches!(value, "yes" | "Yes" | "YES" | "on" | "On" | "ON") {
        return Some("true");
    }
    if matches!(value, "no" | "No" | "NO" | "off" | "Off" | "OFF") {
        return Some("false");
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.len() > 1 && digits.starts_with('0') && is_all(digits, |c| matches!(c, '0'..='7' | '_')) {
        return Some("an octal number");
    }
    if digits.starts_with("0o") && is_all(&digits[2..], |c| c.is_digit(8)) {
        return Some("text");
    }
    if digits.contains(':') && digits.split(':').all(is_number) {
        return Some("a number in base 60");
    }
    if digits.contains('_') && is_number(digits) {
        return Some("a number");
    }
    let parts: Vec<&str> = digits.split('-').collect();
    let is_date = matches!(parts.as_slice(), [year, month, day]
        if year.len() == 4 && [1, 2].contains(&month.len()) && [1, 2].contains(&day.len())
            && parts.iter().all(|part| is_number(part)));
    is_date.then_some("a date")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_the_two_versions_read_differently() {
        let text = "model_list:\n- model_name: yes\n  litellm_params: {model: openai/x, tags: [on, 'off', y], rpm: 010}\n  \
                    model_info:\n    a: 12:30 # noon\n    b: 1_000\n    c: 2025-01-02\n    d: 0o17\n    e: \"no\"\n    \
                    note: |\n      no: yes\n    f: NO\n";
        let found = differences(text);
        let lines: Vec<_> = found.iter().map(|one| one.split(" as ").next().unwrap_or_default()).collect();
        let expected = [
            "Line 2: LiteLLM reads yes",
            "Line 3: LiteLLM reads on",
            "Line 3: LiteLLM reads 010",
            "Line 5: LiteLLM reads 12:30",
            "Line 6: LiteLLM reads 1_000",
            "Line 7: LiteLLM reads 2025-01-02",
            "Line 8: LiteLLM reads 0o17",
            "Line 12: LiteLLM reads NO",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn names_nothing_that_both_read_alike() {
        let text = "model_list:\n- model_name: openai/gpt-5-2025-01-02\n  litellm_params: {model: x, rpm: 10, on: 0.5, \
                    api_base: http://host:80/v1, price: 1.25e-6, is: true, none: null, text: yes it is, v: 2024-02-15-preview}\n";
        assert_eq!(differences(text), Vec::<String>::new());
    }
}
