//! Which keys of a segment fit.

use memchr::memmem::Finder;

use super::grams::{Blocks, block_of, numbers, rows_of};
use super::segment::{HASH_LEN, NO_TIME, Row, Segment};
use crate::domain::key::Access;

/// What a row says without its texts, for filters.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    pub blocked: bool,
    /// When it ends, in milliseconds; none at `i64::MIN`.
    expires: i64,
    /// US dollars.
    pub spend: f64,
    max_budget: f64,
}

impl From<&Row> for Glance {
    fn from(row: &Row) -> Self {
        Self { blocked: row.blocked, expires: row.expires, spend: row.spend, max_budget: row.max_budget }
    }
}

impl Glance {
    pub fn expires_ms(&self) -> Option<i64> {
        (self.expires != NO_TIME).then_some(self.expires)
    }

    pub fn max_budget(&self) -> Option<f64> {
        Some(self.max_budget).filter(|budget| !budget.is_nan())
    }
}

pub struct Wanted<'a> {
    /// Part of alias, masked name, owner, hash, or of the name of a model that a key names; empty for all.
    pub text: &'a str,
    /// Whether an access will do where the text is not found: for the text being a model's name.
    pub reaches: Option<&'a dyn Fn(&Access) -> bool>,
    /// Whether an access will do at all; none where any will.
    pub access: Option<&'a dyn Fn(&Access) -> bool>,
    /// Whether the rest will do; none where any will.
    pub glance: Option<&'a dyn Fn(&Glance) -> bool>,
}

impl Wanted<'_> {
    pub(super) fn is_all(&self) -> bool {
        self.text.is_empty() && self.access.is_none() && self.glance.is_none()
    }
}

/// A text in lower case, with all that is needed to find it made once.
struct Text {
    lower: String,
    finder: Finder<'static>,
    numbers: Vec<u16>,
    is_hex: bool,
}

impl Text {
    /// None of an empty text: every key holds that.
    fn new(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let is_hex = lower.len() <= HASH_LEN && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
        let finder = Finder::new(lower.as_bytes()).into_owned();
        (!lower.is_empty()).then(|| Self { numbers: numbers(&lower).collect(), finder, is_hex, lower })
    }

    fn find_in_block(&self, segment: &Segment, block: usize, found: &mut [bool]) {
        let rows = rows_of(block, segment.len());
        let end_of = |row: usize| segment.rows[row].lower_end as usize;
        let Some(last) = rows.clone().last() else { return };
        let mut from = rows.start.checked_sub(1).map_or(0, end_of);
        while let Some(at) = self.finder.find(&segment.lower.as_bytes()[from..end_of(last)]) {
            let at = from + at;
            let row =
                rows.start + segment.rows[rows.clone()].partition_point(|row| row.lower_end as usize <= at);
            found[row] = true;
            // On with the next row: once is enough.
            from = end_of(row);
        }
    }

    fn find_in_hashes(&self, segment: &Segment, found: &mut [bool]) -> Blocks {
        let (hashes, mut from, mut blocks) = (segment.hashes.as_bytes(), 0, 0);
        if !self.is_hex {
            return blocks;
        }
        while let Some(at) = self.finder.find(&hashes[from..]) {
            let at = from + at;
            let row = at / HASH_LEN;
            let is_within = at % HASH_LEN + self.lower.len() <= HASH_LEN;
            from = if is_within { (row + 1) * HASH_LEN } else { at + 1 };
            if is_within {
                found[row] = true;
                blocks |= 1 << block_of(row);
            }
        }
        blocks
    }
}

/// A question about accesses, each of which many keys have: asked once for each.
struct Asked<'a> {
    segment: &'a Segment,
    answers: Vec<Option<bool>>,
    question: &'a dyn Fn(&Access) -> bool,
}

impl<'a> Asked<'a> {
    fn new(segment: &'a Segment, question: &'a dyn Fn(&Access) -> bool) -> Self {
        Self { segment, answers: vec![None; segment.accesses.len()], question }
    }

    fn of(&mut self, row: &Row) -> bool {
        let answer = &mut self.answers[row.access as usize];
        *answer.get_or_insert_with(|| (self.question)(&self.segment.access(row.access)))
    }
}

pub(super) struct Search<'a> {
    wanted: &'a Wanted<'a>,
    text: Option<Text>,
}

impl<'a> Search<'a> {
    pub(super) fn new(wanted: &'a Wanted<'a>) -> Self {
        Self { wanted, text: Text::new(wanted.text) }
    }

    /// The rows that fit, in their order.
    pub(super) fn rows(&self, segment: &Segment) -> Vec<usize> {
        let rows = match &self.text {
            Some(text) => self.holding(text, segment),
            None => (0..segment.len()).collect(),
        };
        if rows.is_empty() || (self.wanted.access.is_none() && self.wanted.glance.is_none()) {
            return rows;
        }
        let mut may = self.wanted.access.map(|may| Asked::new(segment, may));
        let fits = |at: &usize| {
            let row = &segment.rows[*at];
            self.wanted.glance.is_none_or(|fits| fits(&Glance::from(row)))
                && may.as_mut().is_none_or(|may| may.of(row))
        };
        rows.into_iter().filter(fits).collect()
    }

    fn holding(&self, text: &Text, segment: &Segment) -> Vec<usize> {
        let mut blocks = segment.grams.blocks(&text.numbers);
        if blocks == 0 && !text.is_hex && self.wanted.reaches.is_none() {
            return Vec::new();
        }
        let mut found = vec![false; segment.len()];
        let all = 0..Blocks::BITS as usize;
        for block in all.clone().filter(|block| blocks & 1 << block != 0) {
            text.find_in_block(segment, block, &mut found);
        }
        blocks |= text.find_in_hashes(segment, &mut found);
        if self.wanted.reaches.is_some() {
            blocks = Blocks::MAX;
        }
        let names = |models: &[String]| models.iter().any(|model| model.to_lowercase().contains(&text.lower));
        let question = |access: &Access| {
            matches!(access, Access::List(models) if names(models))
                || self.wanted.reaches.is_some_and(|reaches| reaches(access))
        };
        let mut will_do = Asked::new(segment, &question);
        let rows =
            all.filter(|block| blocks & 1 << block != 0).flat_map(|block| rows_of(block, segment.len()));
        rows.filter(|at| found[*at] || will_do.of(&segment.rows[*at])).collect()
    }
}
