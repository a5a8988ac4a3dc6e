//! Which keys may hold a text: the parts of three bytes that texts are made of, noted for each block of keys.
//!
//! Most of the texts of 100,000 keys hold nothing of what is typed, and to look through them all takes milliseconds.
//! A block that lacks one of the parts of a text cannot hold it. Parts share numbers, so that a block may be
//! looked through for nothing, and none is ever left out by mistake.

const BLOCK: usize = 64;

/// How many blocks a segment has at most; the last one has all the keys that are left.
const BLOCKS: usize = 16;

/// How many numbers there are. The texts of 64 keys have some hundred different parts.
const NUMBERS: usize = 8 * 1024;

/// Bytes of a part.
const PART: usize = 3;

/// Some blocks of a segment: a bit for each.
pub(super) type Blocks = u16;

pub(super) fn block_of(row: usize) -> usize {
    (row / BLOCK).min(BLOCKS - 1)
}

/// The rows of a block, of a segment with `len` of them.
pub(super) fn rows_of(block: usize, len: usize) -> std::ops::Range<usize> {
    let end = if block == BLOCKS - 1 { len } else { (block + 1) * BLOCK };
    (block * BLOCK).min(len)..end.min(len)
}

/// The numbers of a text's parts; none of a text that is shorter than a part.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = u16> + '_ {
    text.as_bytes().windows(PART).map(|part| {
        let part = part.iter().fold(0, |part, byte| part << 8 | u32::from(*byte));
        // The upper bits of a product with an odd number depend on all bits of the part (Knuth, volume 3, 6.4).
        let number = part.wrapping_mul(0x9E37_79B1) >> (u32::BITS - NUMBERS.ilog2());
        u16::try_from(number).unwrap_or_default()
    })
}

#[derive(Debug)]
pub(super) struct Grams(Box<[Blocks]>);

impl Default for Grams {
    fn default() -> Self {
        Self(vec![0; NUMBERS].into())
    }
}

impl Grams {
    pub(super) fn note(&mut self, block: usize, text: &str) {
        for number in numbers(text) {
            self.0[usize::from(number)] |= 1 << block;
        }
    }

    /// The blocks that may hold the text of these numbers: all, if it has none.
    pub(super) fn blocks(&self, numbers: &[u16]) -> Blocks {
        let mut blocks = Blocks::MAX;
        for number in numbers {
            blocks &= self.0[usize::from(*number)];
            if blocks == 0 {
                break;
            }
        }
        blocks
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_holds_a_text_is_never_left_out_and_few_others_are_in() {
        let mut grams = Grams::default();
        for row in 0..1_000 {
            grams.note(block_of(row), &format!("team-{row:04}\nsk-...{:04}", 9_999 - row));
        }
        let mut looked_through = 0;
        for row in 0..1_000 {
            let numbers: Vec<u16> = numbers(&format!("team-{row:04}")).collect();
            let blocks = grams.blocks(&numbers);
            assert!(blocks & 1 << block_of(row) != 0, "{row}");
            looked_through += blocks.count_ones();
        }
        assert!(looked_through < 2_500, "{looked_through} blocks for 1,000 texts");
    }

    #[test]
    fn every_row_is_in_one_block_however_many_there_are() {
        for len in [0, 1, 63, 64, 65, 1_000, 1_099, 5_000] {
            let rows: Vec<usize> = (0..BLOCKS).flat_map(|block| rows_of(block, len)).collect();
            assert_eq!(rows, (0..len).collect::<Vec<_>>());
            assert!(rows.iter().all(|row| rows_of(block_of(*row), len).contains(row)));
        }
    }
}
