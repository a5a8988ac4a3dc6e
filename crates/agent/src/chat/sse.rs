//! Server-sent events as chat completions use them: one line of data each.

#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// The data of events that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|b| *b == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        String::from_utf8_lossy(&whole).lines().filter_map(data).map(str::to_owned).collect()
    }

    /// The data of a last event without a line break.
    pub(super) fn rest(&self) -> Option<String> {
        data(String::from_utf8_lossy(&self.partial).trim_end()).map(str::to_owned)
    }

    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }
}

fn data(line: &str) -> Option<&str> {
    let data = line.strip_prefix("data:")?.trim();
    (!data.is_empty()).then_some(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "data: {\"ä\":1}\r\n\r\n: ping\r\nevent: x\ndata:two\n\ndata: [DONE]";

    proptest! {
        #[test]
        fn it_makes_no_difference_in_what_pieces_a_stream_comes(cuts in prop::collection::vec(0..STREAM.len(), 0..9)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            cuts.push(STREAM.len());
            let (mut lines, mut read, mut from) = (Lines::default(), Vec::new(), 0);
            for cut in cuts {
                read.extend(lines.push(&STREAM.as_bytes()[from..cut]));
                from = cut;
            }
            read.extend(lines.rest());
            prop_assert_eq!(read, ["{\"ä\":1}", "two", "[DONE]"]);
        }
    }
}
