//! Texts as a reader sees them who resolves escapes: `%2D`, `\u002d`, `\"`, `&#45;`.

/// A text without one level of escapes, and where each of its bytes begins in the text that is shown.
pub(super) struct View {
    pub(super) text: String,
    pub(super) offsets: Vec<usize>,
}

impl View {
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), offsets: (0..=text.len()).collect() }
    }

    /// The same with another level resolved; none where there is none.
    pub(super) fn resolved(&self) -> Option<Self> {
        let (mut text, mut offsets) = (String::new(), Vec::new());
        let mut at = 0;
        let mut is_changed = false;
        while let Some(c) = self.text[at..].chars().next() {
            let (c, len) = match escape(&self.text.as_bytes()[at..]) {
                Some((byte, len)) => {
                    is_changed = true;
                    (char::from(byte), len)
                }
                None => (c, c.len_utf8()),
            };
            let begin = self.offsets[at];
            text.push(c);
            offsets.resize(text.len(), begin);
            at += len;
        }
        offsets.push(self.offsets[self.text.len()]);
        is_changed.then_some(Self { text, offsets })
    }
}

/// The printable ASCII character that an escape stands for, and the escape's length.
fn escape(bytes: &[u8]) -> Option<(u8, usize)> {
    let number = |from: usize, len: usize, radix: u32| {
        let digits = std::str::from_utf8(bytes.get(from..from + len)?).ok()?;
        let code = u8::try_from(u32::from_str_radix(digits, radix).ok()?).ok()?;
        (digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && (b' '..=b'~').contains(&code)).then_some(code)
    };
    match bytes {
        [b'%', ..] => number(1, 2, 16).map(|code| (code, 3)),
        [b'\\', b'u', b'{', ..] => {
            let len = bytes[3..].iter().take(7).position(|byte| *byte == b'}')?;
            number(3, len, 16).map(|code| (code, len + 4))
        }
        [b'\\', b'u', ..] => number(2, 4, 16).map(|code| (code, 6)),
        [b'\\', b'x', ..] => number(2, 2, 16).map(|code| (code, 4)),
        [b'\\', c @ (b'"' | b'/' | b'\\' | b'\''), ..] => Some((*c, 2)),
        [b'&', b'#', rest @ ..] => {
            let len = rest.iter().take(6).position(|byte| *byte == b';')?;
            let (from, radix) = if matches!(rest, [b'x' | b'X', ..]) { (1, 16) } else { (0, 10) };
            number(2 + from, len.checked_sub(from)?, radix).map(|code| (code, len + 3))
        }
        _ => [("&quot;", b'"'), ("&amp;", b'&'), ("&apos;", b'\'')]
            .into_iter()
            .find(|(name, _)| bytes.starts_with(name.as_bytes()))
            .map(|(name, byte)| (byte, name.len())),
    }
}
