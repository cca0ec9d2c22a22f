//! What an OVSDB server answers to a transaction of selects (RFC 7047), read strictly.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ovsdb, sys::units::printable_line};

/// One row, by column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub(super) struct Row(Map<String, Value>);

/// The rows of each select, in their order.
///
/// # Errors
/// When the server refused one of them, or answered in another form.
pub(super) fn parse<const N: usize>(said: &str) -> Result<[Vec<Row>; N], String> {
    let answers: Vec<Value> = serde_json::from_str(said)
        .map_err(|error| format!("its answer is not the JSON that is expected: {error}"))?;
    let all = answers.into_iter().map(rows).collect::<Result<Vec<_>, _>>()?;
    <[Vec<Row>; N]>::try_from(all).map_err(|all| format!("it answered {} selects, not {N}", all.len()))
}

fn rows(answer: Value) -> Result<Vec<Row>, String> {
    let Value::Object(mut answer) = answer else {
        return Err("it did not carry out a select, because one before it failed".to_owned());
    };
    if let Some(error) = answer.get("error") {
        let part = |value: &Value| printable_line(value.as_str().unwrap_or_default());
        let details = answer.get("details").map(part).unwrap_or_default();
        return Err(format!("it answered {:?}: {details}", part(error)));
    }
    let rows = answer.remove("rows").ok_or("an answer has no rows")?;
    serde_json::from_value(rows)
        .map_err(|error| format!("an answer's rows are not what is expected: {error}"))
}

/// The only row of a table.
pub(super) fn only<'a>(table: &str, rows: &'a [Row]) -> Result<&'a Row, String> {
    match rows {
        [row] => Ok(row),
        _ => Err(format!("it has {} rows {table}, not 1", rows.len())),
    }
}

impl Row {
    fn cell(&self, column: &str) -> Result<&Value, String> {
        self.0.get(column).ok_or_else(|| format!("it has no column {column}"))
    }

    /// A text. Raw: it is compared and handed back, and made printable by whoever shows it.
    pub(super) fn text(&self, column: &str) -> Result<String, String> {
        ovsdb::text(self.cell(column)?, column).map(str::to_owned)
    }

    /// The texts of a set; one alone may stand without its set.
    pub(super) fn texts(&self, column: &str) -> Result<Vec<String>, String> {
        let cells = ovsdb::elements(self.cell(column)?).iter();
        cells.map(|cell| ovsdb::text(cell, column).map(str::to_owned)).collect()
    }

    /// A number that counts.
    pub(super) fn count(&self, column: &str) -> Result<u64, String> {
        self.cell(column)?.as_u64().ok_or_else(|| format!("{column} is no number from 0 on"))
    }

    /// A map of texts.
    pub(super) fn map(&self, column: &str) -> Result<BTreeMap<String, String>, String> {
        let pairs = ovsdb::map(self.cell(column)?, column)?;
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_is_said_and_never_an_empty_table() {
        // As ovsdb-server 3.1.0 answers a column that it does not have; null is a select that was not carried out.
        let refused =
            r#"[{"details":"nix is not a valid column name","error":"syntax error","syntax":"[\"nix\"]"}]"#;
        assert!(parse::<1>(refused).unwrap_err().contains("nix is not a valid column name"));
        assert!(parse::<1>("[null]").unwrap_err().contains("did not carry out"));
        for bad in
            ["", "{}", "[{}]", "[{\"rows\":1}]", "[{\"rows\":[1]}]", "[]", "[{\"rows\":[]},{\"rows\":[]}]"]
        {
            assert!(parse::<1>(bad).is_err(), "{bad}");
        }
        assert!(only("SB_Global", &[]).unwrap_err().contains("0 rows SB_Global"));
    }

    #[test]
    fn cells_are_of_their_form_or_refused() {
        let [rows] = parse::<1>(
            r#"[{"rows":[{"a":"x\"\ny","n":7,"m":["map",[["k","v"]]],"s":["set",["p","q"]],"none":["set",[]]}]}]"#,
        )
        .unwrap();
        let row = only("T", &rows).unwrap();
        assert_eq!(row.text("a").unwrap(), "x\"\ny");
        assert_eq!((row.count("n").unwrap(), row.map("m").unwrap()["k"].as_str()), (7, "v"));
        assert_eq!(row.texts("s").unwrap(), ["p", "q"]);
        assert_eq!(row.texts("a").unwrap(), ["x\"\ny"]);
        assert!(row.texts("none").unwrap().is_empty());
        assert!(row.text("none").is_err() && row.text("n").is_err() && row.count("a").is_err());
        assert!(row.map("s").is_err() && row.text("missing").unwrap_err().contains("no column missing"));
        let [rows] = parse::<1>(r#"[{"rows":[{"n":-1}]}]"#).unwrap();
        assert!(rows[0].count("n").is_err());
    }
}
