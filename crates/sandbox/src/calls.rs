//! The log of upstream calls.

use std::collections::VecDeque;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct ChatCall {
    pub model: String,
    pub key_alias: Option<String>,
    pub messages: Vec<Value>,
}

#[derive(Default)]
pub(super) struct Calls {
    kept: VecDeque<(usize, ChatCall)>,
    bytes: usize,
}

impl Calls {
    const MOST: usize = 10_000;
    const MOST_BYTES: usize = 64 * 1024 * 1024;

    /// `size` is that of the request, in bytes.
    pub(super) fn push(&mut self, size: usize, call: ChatCall) {
        self.kept.push_back((size, call));
        self.bytes += size;
        while self.kept.len() > Self::MOST || self.bytes > Self::MOST_BYTES {
            let Some((size, _)) = self.kept.pop_front() else { break };
            self.bytes -= size;
        }
    }

    pub(super) fn all(&self) -> Vec<ChatCall> {
        self.kept.iter().map(|(_, call)| call.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(model: &str) -> ChatCall {
        ChatCall { model: model.to_owned(), key_alias: None, messages: Vec::new() }
    }

    #[test]
    fn forgets_the_oldest() {
        let mut calls = Calls::default();
        for number in 0..=Calls::MOST {
            calls.push(1, call(&number.to_string()));
        }
        assert_eq!(calls.all().len(), Calls::MOST);
        assert_eq!(calls.all()[0].model, "1");
        calls.push(Calls::MOST_BYTES, call("huge"));
        assert_eq!(calls.all(), [call("huge")]);
    }
}
