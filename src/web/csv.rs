//! Tables for spreadsheets.

/// A line of fields.
pub(super) fn line(fields: impl IntoIterator<Item = String>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|field| escaped(&field)).collect();
    format!("{}\r\n", fields.join(","))
}

/// A field that a spreadsheet would take for a formula gets an apostrophe in front.
fn escaped(field: &str) -> String {
    let is_formula = field.trim_start().starts_with(['=', '+', '-', '@']) || field.starts_with(['\t', '\r']);
    let field = if is_formula { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
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
            ("\t=x", "'\t=x"),
            ("a,b", "\"a,b\""),
            ("-\"x\"\n", "\"'-\"\"x\"\"\n\""),
        ] {
            assert_eq!(escaped(field), written);
        }
    }
}
