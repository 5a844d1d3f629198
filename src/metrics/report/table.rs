//! Aligned text tables and readable numbers.

/// A table: columns of text, flush left, then columns of numbers, flush right.
///
/// Widths are counted in characters; wide scripts come out of line, which reports can bear.
#[derive(Debug)]
pub(crate) struct Table {
    text_column_count: usize,
    rows: Vec<Vec<String>>,
}

/// How far table lines are indented, and the least space between columns.
const GAP: &str = "  ";

impl Table {
    /// An empty table with these headings.
    pub(crate) fn new<const T: usize, const N: usize>(text: [&str; T], numbers: [&str; N]) -> Self {
        let headings = text.into_iter().chain(numbers).map(str::to_owned).collect();
        Self {
            text_column_count: T,
            rows: vec![headings],
        }
    }

    /// Adds a row with as many cells as there are headings.
    pub(crate) fn row<const T: usize, const N: usize>(
        &mut self,
        text: [String; T],
        numbers: [String; N],
    ) {
        debug_assert_eq!(
            T, self.text_column_count,
            "text cells under number headings"
        );
        debug_assert_eq!(T + N, self.rows[0].len(), "a cell without a heading");
        self.rows.push(text.into_iter().chain(numbers).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The lines of the table; `none` if it has no rows.
    pub(crate) fn to_text(&self) -> String {
        if self.rows.len() == 1 {
            return format!("{GAP}none\n");
        }
        let width = |cell: &String| cell.chars().count();
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| width(&row[column]))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(GAP);
                if column < self.text_column_count {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("{cell:>width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A time in the unit that suits it, with 3 significant digits: `870 ns`, `1.25 µs`, `12.5 ms`,
/// `125 s`; from 1,000 s on in whole seconds.
#[must_use]
pub fn readable_ns(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    for (unit_ns, unit) in [(1_000_u64, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")] {
        // Wider than u64, as rounding adds to it.
        let (ns, unit_ns) = (u128::from(ns), u128::from(unit_ns));
        for (places, limit) in [(2_u32, 1_000), (1, 1_000), (0, 1_000)] {
            let scale = 10_u128.pow(places);
            // Rounded half up first, so that 999.6 µs becomes 1.00 ms and not 1000 µs.
            let rounded = (ns * scale + unit_ns / 2) / unit_ns;
            if rounded < limit {
                let (whole, part) = (rounded / scale, rounded % scale);
                return match places {
                    0 => format!("{whole} {unit}"),
                    places => format!("{whole}.{part:0width$} {unit}", width = places as usize),
                };
            }
        }
    }
    let seconds = (u128::from(ns) + 500_000_000) / 1_000_000_000;
    format!(
        "{} s",
        grouped(u64::try_from(seconds).expect("fewer seconds than nanoseconds"))
    )
}

/// A count with a comma after every three digits.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A name with what would move the cursor or break the line escaped.
pub(crate) fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        // Line and paragraph separators are no control characters to Rust, the rest of what a
        // terminal obeys is.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}
