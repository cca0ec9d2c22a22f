//! Text that came from somewhere else, made safe for a terminal. Every text that is printed and was not
//! written by us goes through [`clean`] or [`clean_lines`]; whole views go through [`clean_view`].

use std::{borrow::Cow, fmt::Write as _};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Can the character steer a terminal, or make text look like other text?
fn is_unsafe(c: char) -> bool {
    // Directions, joiners and breaks: what is read would not be what is there.
    let unseen =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || unseen
}

/// One line: control and direction characters become `\n`, `\x1b`, `\u{202e}`.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// As [`clean`], but lines stay lines and tabs become spaces: for messages of several lines.
pub(crate) fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_unsafe(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_unsafe(c) || keep(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push(' '),
            c if u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// A view in which every text is clean: what renderers get.
///
/// # Errors
/// When the view cannot be read back, which a view of checked names and plain texts always can.
pub(crate) fn clean_view<T: Serialize + DeserializeOwned>(view: &T) -> Result<T, serde_json::Error> {
    let mut value = serde_json::to_value(view)?;
    clean_value(&mut value);
    serde_json::from_value(value)
}

fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(better) = clean(text) {
                *text = better;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(clean_value),
        Value::Object(map) => map.values_mut().for_each(clean_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A view as JSON, safe on a terminal: what JSON does not escape by itself (DEL, C1, directions) is escaped.
///
/// # Errors
/// When the view cannot be written, which a view always can.
pub(crate) fn json<T: Serialize>(view: &T, pretty: bool) -> Result<String, serde_json::Error> {
    let text = if pretty { serde_json::to_string_pretty(view)? } else { serde_json::to_string(view)? };
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && is_unsafe(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_steer_a_terminal_is_spelled_out() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}31mc\x7f\0"), "a\\x1b[2Jb\\x9b31mc\\x7f\\x00");
        assert_eq!(clean("one\r\ntwo\tthree"), "one\\r\\ntwo three");
        assert_eq!(clean("user\u{202e}nimda\u{200b}"), "user\\u{202e}nimda\\u{200b}");
        assert_eq!(clean("ctl-2 → müde ✓"), "ctl-2 → müde ✓");
    }

    #[test]
    fn lines_stay_lines_where_they_are_wanted() {
        assert_eq!(clean_lines("a\nb\x07"), "a\nb\\x07");
    }

    #[test]
    fn a_view_is_clean_in_every_text_that_it_holds() {
        let view = serde_json::json!({"a": ["x\x1b[1m", {"b": "y\nz"}], "n": 1});
        let clean = clean_view(&view).unwrap();
        assert_eq!(clean, serde_json::json!({"a": ["x\\x1b[1m", {"b": "y\\nz"}], "n": 1}));
    }

    #[test]
    fn json_escapes_what_json_would_let_through_and_still_means_the_same() {
        let hostile = "\u{9b}31m\u{7f}\u{202e}\x1b";
        let text = json(&hostile, false).unwrap();
        assert_eq!(text, "\"\\u009b31m\\u007f\\u202e\\u001b\"\n");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }
}
