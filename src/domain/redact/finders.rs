//! What looks like a secret. Each finder returns the first of its kind from an offset on, and passes over no part of the
//! text more than a few times, so that a search stays linear.

use std::cell::Cell;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::REDACTED;
use super::names::{is_secret_name, is_strong};

#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) put: &'static str,
}

pub(super) type Finder = fn(&str, usize) -> Option<Found>;

/// Longest name, and longest user name with password in an address, in bytes.
const MAX_NAME: usize = 64;
const MAX_AUTHORITY: usize = 512;

/// What is found in any text. The last decodes, and searches by the others.
pub(super) const FINDERS: [Finder; 12] = [
    credentials,
    schemeless_credentials,
    openai_key,
    vendor_key,
    jwt,
    private_key,
    bearer,
    // A provider quotes a rejected key (`wire/litellm/1.80/chat_upstream_401`).
    |text, from| after(text, from, "key provided: ", 1),
    assignment,
    webhook,
    basic,
    encoded,
];

/// Beginnings of keys of known services.
const VENDORS: [&str; 15] = [
    "AIza",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "gsk_",
    "hf_",
    "pb_",
    "pplx-",
    "xai-",
    "xoxb-",
    "xoxp-",
];

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Ends a value without quotes.
fn is_end(c: char) -> bool {
    !c.is_ascii_graphic() || "\"'`,;&<>()[]{}\\".contains(c)
}

fn len_while(text: &str, is_in: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_in(c)).unwrap_or(text.len())
}

fn offsets<'t>(text: &'t str, from: usize, mark: &'t str) -> impl Iterator<Item = usize> + 't {
    text[from..].match_indices(mark).map(move |(at, _)| from + at)
}

/// The first of several marks that is accepted. All are searched in one pass: one mark after the other would make the
/// search of a text with many of one and none of another quadratic.
fn first_of(
    text: &str,
    from: usize,
    marks: &[&str],
    accept: impl Fn(usize, &str) -> Option<Found>,
) -> Option<Found> {
    let bytes = text.as_bytes();
    (from..bytes.len()).find_map(|at| {
        let mark = marks.iter().find(|mark| bytes[at..].starts_with(mark.as_bytes()))?;
        accept(at, mark)
    })
}

/// The end of the token that a mark stands in. Marks come in order, so each token is measured once, however many marks it
/// has.
#[derive(Default)]
struct TokenEnd(Cell<usize>);

impl TokenEnd {
    fn of(&self, text: &str, start: usize) -> usize {
        if start >= self.0.get() {
            self.0.set(start + len_while(&text[start..], is_token));
        }
        self.0.get()
    }
}

fn is_inside_word(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn openai_key(text: &str, from: usize) -> Option<Found> {
    let end = TokenEnd::default();
    offsets(text, from, "sk-").find_map(|start| {
        let len = end.of(text, start) - start;
        // `sk-...abcd` is the proxy's own mask.
        let masked = text[start..].starts_with("sk-...");
        let found = Found { start, end: start + len, put: "sk-[redacted]" };
        (len > 6 && !masked && !is_inside_word(text, start)).then_some(found)
    })
}

fn vendor_key(text: &str, from: usize) -> Option<Found> {
    let token = TokenEnd::default();
    first_of(text, from, &VENDORS, |start, mark| {
        let end = token.of(text, start);
        let min = if matches!(mark, "AIza") { 21 } else { 16 };
        (end - start >= min && !is_inside_word(text, start)).then_some(Found { start, end, put: REDACTED })
    })
}

/// Three parts of base64, of which the first begins as JSON does.
fn jwt(text: &str, from: usize) -> Option<Found> {
    // Of the token: its end, and its last dot but one.
    let (mut end, mut dot) = (from, None);
    offsets(text, from, "eyJ").find_map(|start| {
        if start >= end {
            end = start + len_while(&text[start..], is_token);
            dot = text[start..end].rmatch_indices('.').nth(1).map(|(at, _)| start + at);
        }
        let is_jwt = dot.is_some_and(|dot| dot > start);
        let found = Found { start, end, put: REDACTED };
        (is_jwt && end - start > 20 && !is_inside_word(text, start)).then_some(found)
    })
}

fn private_key(text: &str, from: usize) -> Option<Found> {
    const RULE: &str = "-----";
    offsets(text, from, "-----BEGIN ").find_map(|start| {
        let rest = &text[start + RULE.len()..];
        let title = &rest[..rest.find(RULE)?];
        if title.len() > MAX_NAME || !title.ends_with("PRIVATE KEY") {
            return None;
        }
        let foot = rest.find("-----END ").map(|foot| start + RULE.len() + foot + RULE.len());
        let end = foot.and_then(|foot| Some(foot + text[foot..].find(RULE)? + RULE.len()));
        Some(Found { start, end: end.unwrap_or(text.len()), put: REDACTED })
    })
}

fn bearer(text: &str, from: usize) -> Option<Found> {
    first_of(text, from, &["Bearer ", "bearer ", "BEARER "], |at, mark| value(text, at + mark.len(), 7))
}

/// The first token of at least `min` characters that follows `mark`, without a full stop at its end.
fn after(text: &str, from: usize, mark: &str, min: usize) -> Option<Found> {
    offsets(text, from, mark).find_map(|at| value(text, at + mark.len(), min))
}

/// The value that begins at `start`, unless it is no secret or was found already.
fn value(text: &str, start: usize, min: usize) -> Option<Found> {
    // `openai_key` handles these. What is refused is refused before its end is looked for.
    if text[start..].starts_with("sk-") || is_reference_to(&text[start..]) {
        return None;
    }
    let token = text[start..].split(is_end).next()?.trim_end_matches('.');
    (!is_reference(token) && token.len() >= min).then_some(Found {
        start,
        end: start + token.len(),
        put: REDACTED,
    })
}

fn is_reference(text: &str) -> bool {
    is_reference_to(text) || ["null", "None", "true", "false"].contains(&text)
}

fn is_reference_to(text: &str) -> bool {
    ["os.environ/", "oidc/", "env:", "file:", "${"].iter().any(|start| text.starts_with(start))
}

/// `password=…`, `"token": "…"`, `?sig=…`: what follows the name of a secret.
fn assignment(text: &str, from: usize) -> Option<Found> {
    text[from..].match_indices(['=', ':']).find_map(|(at, sign)| {
        let at = from + at;
        let before = text[..at].trim_end_matches(' ').trim_end_matches(['"', '\'']);
        let shortest = before.floor_char_boundary(before.len().saturating_sub(MAX_NAME));
        let name_len = before[shortest..].chars().rev().take_while(|c| is_token(*c)).count();
        let (rest, name) = before.split_at(before.len() - name_len);
        if name.len() < 2 {
            return None;
        }
        let is_query = sign == "=" && rest.ends_with(['?', '&', ';', '#']);
        // In JSON these two are not only of secrets: `"code": "invalid_api_key"`.
        let is_field =
            text[..at].trim_end_matches(' ').ends_with(['"', '\'']) && !["code", "key"].contains(&name);
        if !(is_strong(name) || (is_query || is_field) && is_secret_name(name)) {
            return None;
        }
        let after = &text[at + 1..];
        let blank = after.len() - after.trim_start_matches([' ', '=']).len();
        let mut start = at + 1 + blank;
        for scheme in ["Bearer ", "Basic ", "Token ", "bearer ", "basic "] {
            start += if text[start..].starts_with(scheme) { scheme.len() } else { 0 };
        }
        let quote = text[start..].chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(quote) = quote else {
            // In prose a word may follow, or the proxy's hash of a key (`wire/litellm/1.80/chat_rpm_exceeded`).
            let is_prose = sign == ":" && blank > 0;
            let found = value(text, start, if is_prose { 4 } else { 1 })?;
            let token = &text[found.start..found.end];
            let is_hash = token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
            return (!is_prose || !is_hash).then_some(found);
        };
        start += 1;
        let end = text[start..].find(quote).map_or(text.len(), |end| start + end);
        let inner = &text[start..end];
        let is_open = !inner.is_empty() && !inner.contains(REDACTED) && !is_reference(inner);
        (is_open && !inner.starts_with("sk-")).then_some(Found { start, end, put: REDACTED })
    })
}

/// User name and password of an address. A password may hold what should have been escaped.
fn credentials(text: &str, from: usize) -> Option<Found> {
    offsets(text, from, "://").find_map(|at| {
        let start = at + "://".len();
        let is_past = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let upto = text.floor_char_boundary(start + MAX_AUTHORITY);
        let authority_end = |c: char| is_past(c) || matches!(c, '/' | '?' | '#');
        let authority = text[start..upto].split(authority_end).next()?;
        let (_, port) = authority.split_once(':').unwrap_or_default();
        let is_port = authority.starts_with('[') || port.bytes().all(|byte| byte.is_ascii_digit());
        let all = if is_port { authority } else { text[start..upto].split(is_past).next()? };
        let end = start + authority.rfind('@').or_else(|| all.rfind('@'))?;
        // An empty match would be found again forever.
        (end > start && &text[start..end] != REDACTED).then_some(Found { start, end, put: REDACTED })
    })
}

/// `user:password@host` without a scheme before it.
fn schemeless_credentials(text: &str, from: usize) -> Option<Found> {
    let is_user = |c: char| c.is_ascii_alphanumeric() || "._%+-~!$*".contains(c);
    text[from..].match_indices('@').find_map(|(at, _)| {
        let at = from + at;
        let earliest = text.floor_char_boundary(at.saturating_sub(MAX_NAME * 2)).max(from);
        let token = text[earliest..at]
            .rsplit(|c: char| c.is_whitespace() || "\"'`<>()[]{},;=/".contains(c))
            .next()?;
        let (user, password) = token.split_once(':')?;
        let host = len_while(&text[at + 1..], is_token);
        let start = at - token.len();
        let is_path = text[..start].ends_with('/');
        (!user.is_empty() && user.chars().all(is_user) && !password.is_empty() && host > 1 && !is_path)
            .then_some(Found { start, end: at, put: REDACTED })
    })
}

/// Anyone who knows such an address may post there: its path is the secret.
fn webhook(text: &str, from: usize) -> Option<Found> {
    const MARKS: [&str; 5] = ["://hooks.", "/webhook/", "/webhooks/", "/webhookb2/", "api.telegram.org/bot"];
    first_of(text, from, &MARKS, |at, mark| {
        let inside = at + mark.len();
        let upto = text.floor_char_boundary(inside + MAX_AUTHORITY);
        let host =
            if mark.starts_with("://") { text[inside..upto].split(is_end).next()?.find('/')? + 1 } else { 0 };
        value(text, inside + host, 6)
    })
}

const BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// What a token of base64 stands for, if that is a text.
fn decoded(token: &str) -> Option<String> {
    let bytes = STANDARD.decode(token).or_else(|_| URL_SAFE.decode(token)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains(|c: char| c.is_control() && !c.is_ascii_whitespace())).then_some(text)
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_')
}

/// The end of what begins at `start`, with padding.
fn base64_end(text: &str, start: usize) -> usize {
    let end = start + len_while(&text[start..], is_base64);
    end + len_while(&text[end..], |c| c == '=').min(2)
}

fn basic(text: &str, from: usize) -> Option<Found> {
    first_of(text, from, &["Basic ", "basic ", "BASIC "], |at, mark| {
        let start = at + mark.len();
        let end = base64_end(text, start);
        let holds = decoded(&text[start..end]).is_some_and(|text| text.contains(':'));
        holds.then_some(Found { start, end, put: REDACTED })
    })
}

/// A text in base64 that holds a secret.
fn encoded(text: &str, from: usize) -> Option<Found> {
    const MIN: usize = 12;
    let mut start = from;
    while start < text.len() {
        start += len_while(&text[start..], |c| !is_base64(c));
        let end = base64_end(text, start);
        if end - start >= MIN && !is_inside_word(text, start) {
            let inner = decoded(&text[start..end]);
            let holds = |inner: String| FINDERS.iter().rev().skip(1).any(|find| find(&inner, 0).is_some());
            if inner.is_some_and(holds) {
                return Some(Found { start, end, put: REDACTED });
            }
        }
        start = end;
    }
    None
}

/// Query and fragment of an address.
pub(super) fn tail(text: &str, from: usize) -> Option<Found> {
    let mut start = from;
    loop {
        start += text[start..].find("://")?;
        let len = len_while(&text[start..], |c| !(c.is_whitespace() || "\"'`<>\\".contains(c)));
        if let Some(at) = text[start..start + len].find(['?', '#']) {
            return Some(Found { start: start + at, end: start + len, put: "" });
        }
        start += len;
    }
}
