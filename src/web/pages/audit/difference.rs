//! What an entry's before and after have in common, and what not.

/// Two texts, by words: the same at the beginning and at the end, and different in between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) first: String,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) last: String,
}

impl Difference {
    pub(super) fn of(before: &str, after: &str) -> Self {
        let (old, new): (Vec<&str>, Vec<&str>) = (words(before), words(after));
        let first = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let (old_rest, new_rest) = (&old[first..], &new[first..]);
        let pairs = old_rest.iter().rev().zip(new_rest.iter().rev());
        let last = pairs.take_while(|(a, b)| a == b).count();
        Self {
            first: old[..first].concat(),
            before: old_rest[..old_rest.len() - last].concat(),
            after: new_rest[..new_rest.len() - last].concat(),
            last: old_rest[old_rest.len() - last..].concat(),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }
}

/// Words with the blanks after them; a comma or a semicolon is one of its own.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive([' ', '\n', ',', ';']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_between_what_does_not() {
        let parts = |before, after| {
            let Difference { first, before, after, last } = Difference::of(before, after);
            [first, before, after, last]
        };
        assert_eq!(parts("rpm 5, tpm 7, all", "rpm 5, tpm 9, all"), ["rpm 5, tpm ", "7,", "9,", " all"]);
        assert_eq!(parts("", "a b"), ["", "", "a b", ""]);
        assert_eq!(parts("a b", ""), ["", "a b", "", ""]);
        assert_eq!(parts("a a", "a a a"), ["a ", "", "a ", "a"]);
        assert!(Difference::of("same é", "same é").is_none());
    }
}
