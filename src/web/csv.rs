//! Tables for spreadsheets.

pub(super) fn line(fields: impl IntoIterator<Item = String>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|field| escaped(&field)).collect();
    format!("{}\r\n", fields.join(","))
}

/// What begins a formula, also in the wide forms that some spreadsheets take for the same.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A field that a spreadsheet would take for a formula gets an apostrophe in front. In some countries fields end at a
/// semicolon or a tab as well: what stands behind one must not become a field of its own.
fn escaped(field: &str) -> String {
    let is_formula = field.trim_start().starts_with(SIGNS) || field.starts_with(['\t', '\r']);
    let field = if is_formula { format!("'{field}") } else { field.to_owned() };
    let needs_quotes = field.contains([',', ';', '\t', '"', '\n', '\r']);
    if needs_quotes { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_and_separators_are_harmless() {
        for (field, written) in [
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            (" @SUM(A1)", "' @SUM(A1)"),
            ("\t=x", "\"'\t=x\""),
            ("＝1+1", "'＝1+1"),
            ("a;=1+1", "\"a;=1+1\""),
            ("a,b", "\"a,b\""),
            ("-\"x\"\n", "\"'-\"\"x\"\"\n\""),
        ] {
            assert_eq!(escaped(field), written);
        }
    }
}
