//! Cells of a row as an OVSDB server and its tools write them in JSON (RFC 7047, 5.1), read strictly: raw, and made
//! printable by whoever shows them.

use std::collections::BTreeMap;

use serde_json::Value;

/// A text.
///
/// # Errors
/// When it is none.
pub(crate) fn text<'a>(cell: &'a Value, column: &str) -> Result<&'a str, String> {
    cell.as_str().ok_or_else(|| format!("{column} is no text"))
}

/// The elements of a set; one element may stand without its set.
pub(crate) fn elements(cell: &Value) -> &[Value] {
    match tagged(cell) {
        Some(("set", Value::Array(all))) => all,
        _ => std::slice::from_ref(cell),
    }
}

/// A reference to a row.
///
/// # Errors
/// When it is none.
pub(crate) fn uuid<'a>(cell: &'a Value, column: &str) -> Result<&'a str, String> {
    match tagged(cell) {
        Some(("uuid", Value::String(uuid))) => Ok(uuid),
        _ => Err(format!("{column} is no reference")),
    }
}

/// A map of texts.
///
/// # Errors
/// When it is none.
pub(crate) fn map<'a>(cell: &'a Value, column: &str) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let Some(("map", Value::Array(pairs))) = tagged(cell) else {
        return Err(format!("{column} is no map"));
    };
    let pair = |pair: &'a Value| match pair.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((text(key, column)?, text(value, column)?)),
        _ => Err(format!("{column} is no map of pairs")),
    };
    pairs.iter().map(pair).collect()
}

fn tagged(cell: &Value) -> Option<(&str, &Value)> {
    match cell.as_array().map(Vec::as_slice) {
        Some([Value::String(tag), value]) => Some((tag, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_of_their_form_or_refused() {
        let (set, none) = (json!(["set", ["p", "q"]]), json!(["set", []]));
        assert_eq!(text(&json!("x\"\ny"), "c").unwrap(), "x\"\ny");
        assert_eq!(elements(&set), [json!("p"), json!("q")]);
        assert_eq!(elements(&json!("alone")), [json!("alone")]);
        assert!(elements(&none).is_empty());
        assert_eq!(uuid(&json!(["uuid", "u"]), "c").unwrap(), "u");
        assert_eq!(map(&json!(["map", [["k", "v"]]]), "c").unwrap()["k"], "v");
        assert!(text(&json!(7), "c").unwrap_err().contains("c is no text") && text(&none, "c").is_err());
        assert!(uuid(&json!("u"), "c").unwrap_err().contains("c is no reference"));
        for bad in [set, json!("m"), json!(["map", [["k"]]]), json!(["map", [["k", 7]]]), json!(["map", "k"])]
        {
            assert!(map(&bad, "c").is_err(), "{bad}");
        }
    }
}
