//! Lines with paint on them: widths are counted before colour is applied, so that columns stay columns.

use unicode_width::UnicodeWidthStr as _;

/// What the text is printed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// Columns; `None` where nothing is wrapped or cut: a file, a pipe.
    pub(crate) width: Option<usize>,
    /// May colours be used?
    pub(crate) color: bool,
}

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Nothing special.
    Plain,
    /// Names and answers.
    Bold,
    /// What stands beside.
    Dim,
    /// Well.
    Good,
    /// Not well: a person must act.
    Bad,
    /// To be known.
    Warn,
    /// At work.
    Work,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Work => "36",
        }
    }
}

/// One line: pieces of text and their paint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line(Vec<(String, Paint)>);

impl Line {
    /// A line of one plain piece.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self::default().plus(text, Paint::Plain)
    }

    /// A line of one painted piece.
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self::default().plus(text, paint)
    }

    /// Adds a piece.
    pub(crate) fn plus(mut self, text: impl Into<String>, paint: Paint) -> Self {
        self.0.push((text.into(), paint));
        self
    }

    /// Adds a plain piece.
    pub(crate) fn and(self, text: impl Into<String>) -> Self {
        self.plus(text, Paint::Plain)
    }

    /// Adds another line's pieces.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Adds spaces up to this column.
    pub(crate) fn pad_to(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.width());
        self.and(" ".repeat(missing))
    }

    /// Columns that it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text.width()).sum()
    }

    /// Cut to so many columns, `…` at the end where something is missing.
    pub(crate) fn clip(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns.saturating_sub(1);
        let mut kept = Vec::new();
        for (text, paint) in self.0 {
            let part = take_columns(&text, left);
            left -= part.width();
            let whole = part.len() == text.len();
            kept.push((part.to_owned(), paint));
            if !whole {
                break;
            }
        }
        kept.push(("…".to_owned(), Paint::Plain));
        Self(kept)
    }

    /// The text, without spaces at the end.
    pub(crate) fn to_text(&self, color: bool) -> String {
        let mut out = String::new();
        for (text, paint) in &self.0 {
            match (color, paint.code()) {
                (true, code) if !code.is_empty() && !text.is_empty() => {
                    out.push_str(&format!("\x1b[{code}m{text}\x1b[0m"));
                }
                _ => out.push_str(text),
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

/// The longest beginning of `text` that fits.
fn take_columns(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.encode_utf8(&mut [0; 4]).width();
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// Breaks between words so that no line is wider; a longer word is cut.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        if !line.is_empty() && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        while line.is_empty() && word.width() > columns {
            let part = take_columns(word, columns);
            lines.push(part.to_owned());
            word = &word[part.len()..];
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Lines from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page(pub(crate) Vec<Line>);

impl Page {
    /// A line.
    pub(crate) fn line(&mut self, line: Line) {
        self.0.push(line);
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) {
        self.0.push(Line::default());
    }

    /// Another page below.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `head`, then `text` wrapped behind it with a hanging indent.
    pub(crate) fn hanging(&mut self, head: Line, text: &str, paint: Paint, canvas: Canvas) {
        let indent = head.width();
        let parts = match canvas.width {
            Some(width) => wrap(text, width.saturating_sub(indent)),
            None => vec![text.to_owned()],
        };
        let mut head = Some(head);
        for part in parts {
            let start = head.take().unwrap_or_else(|| Line::of(" ".repeat(indent)));
            self.line(start.plus(part, paint));
        }
    }

    /// `  Because       its live migration …`: labels in one column, texts wrapped in the other.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)], canvas: Canvas) {
        let column = 2 + fields.iter().map(|(label, _)| label.width()).max().unwrap_or(0) + 3;
        for (label, text) in fields {
            self.hanging(Line::of("  ").plus(*label, Paint::Dim).pad_to(column), text, Paint::Plain, canvas);
        }
    }

    /// Columns; the last one is wrapped where it can be, or stands below where the line is too narrow.
    pub(crate) fn table(&mut self, indent: usize, rows: Vec<Vec<Line>>, canvas: Canvas) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.saturating_sub(1))
            .map(|i| rows.iter().filter_map(|row| row.get(i)).map(Line::width).max().unwrap_or(0))
            .collect();
        let start_of_last =
            indent + widths.iter().map(|width| width + if *width > 0 { 3 } else { 0 }).sum::<usize>();
        for mut row in rows {
            let last = if row.len() == columns { row.pop() } else { None };
            let mut line = Line::of(" ".repeat(indent));
            let mut column = indent;
            for (cell, width) in row.into_iter().zip(&widths) {
                column += width + if *width > 0 { 3 } else { 0 };
                line = line.join(cell).pad_to(column);
            }
            self.last_cell(line, last.unwrap_or_default(), indent, start_of_last, canvas);
        }
    }

    fn last_cell(&mut self, line: Line, last: Line, indent: usize, column: usize, canvas: Canvas) {
        let paint = last.0.first().map_or(Paint::Plain, |(_, paint)| *paint);
        match canvas.width {
            Some(width) if column + last.width() > width => {
                let text: String = last.0.into_iter().map(|(text, _)| text).collect();
                if column + 24 <= width {
                    self.hanging(line.pad_to(column), &text, paint, canvas);
                } else {
                    self.line(line);
                    self.hanging(Line::of(" ".repeat(indent + 4)), &text, paint, canvas);
                }
            }
            _ => self.line(line.join(last)),
        }
    }

    /// The text, one line each.
    pub(crate) fn to_text(&self, canvas: Canvas) -> String {
        self.0.iter().map(|line| line.to_text(canvas.color) + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Canvas = Canvas { width: Some(40), color: false };
    const FILE: Canvas = Canvas { width: None, color: false };

    #[test]
    fn colour_is_on_the_text_and_not_in_its_width() {
        let line = Line::painted("✓", Paint::Good).and(" ctl-2").pad_to(12).plus("done", Paint::Dim);
        assert_eq!(line.width(), 16);
        assert_eq!(line.to_text(false), "✓ ctl-2     done");
        assert_eq!(line.to_text(true), "\x1b[32m✓\x1b[0m ctl-2     \x1b[2mdone\x1b[0m");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        let line = Line::of("abc").plus("日本語", Paint::Good);
        assert_eq!(line.clone().clip(9).to_text(false), "abc日本語");
        assert_eq!(line.clone().clip(8).to_text(false), "abc日本…");
        assert_eq!(line.clip(7).to_text(false), "abc日…");
    }

    #[test]
    fn text_is_broken_between_words_and_a_long_word_is_cut() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a 0123456789abc", 8), ["a", "01234567", "89abc"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn the_last_column_wraps_where_it_can_and_stands_below_where_it_cannot() {
        let row = |a: &str, b: &str| vec![Line::of(a), Line::of(b)];
        let mut page = Page::default();
        page.table(2, vec![row("ctl-2", "a text that is wider than it may be"), row("x", "short")], NARROW);
        assert_eq!(
            page.to_text(NARROW),
            "  ctl-2   a text that is wider than it\n          may be\n  x       short\n"
        );

        let mut page = Page::default();
        page.table(2, vec![row("a-name-of-twenty-four-ch", "and a text beside it")], NARROW);
        assert_eq!(page.to_text(NARROW), "  a-name-of-twenty-four-ch\n      and a text beside it\n");

        let mut page = Page::default();
        page.table(2, vec![row("ctl-2", "a text that is never wrapped in a file, however long it is")], FILE);
        assert_eq!(
            page.to_text(FILE),
            "  ctl-2   a text that is never wrapped in a file, however long it is\n"
        );
    }
}
