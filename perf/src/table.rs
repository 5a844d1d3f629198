//! Aligned text: columns of words stand to the left, columns of numbers to the right.

/// A table that is being filled.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    /// An empty row is a gap.
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    title: &'static str,
    is_word: bool,
}

impl Table {
    /// Titles of columns; those of words have a `<` before them.
    pub(crate) fn new<const N: usize>(titles: [&'static str; N]) -> Self {
        let columns = titles
            .into_iter()
            .map(|title| Column {
                title: title.trim_start_matches('<'),
                is_word: title.starts_with('<'),
            })
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// An empty line before whatever comes next.
    pub(crate) fn gap(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(crate) fn text(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        let all = || [&titles].into_iter().chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                all()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let lines: Vec<String> = all().map(|row| self.line(row, &widths)).collect();
        lines.join("\n")
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let padded: Vec<String> = row
            .iter()
            .zip(widths)
            .zip(&self.columns)
            .map(|((cell, &width), column)| {
                if column.is_word {
                    format!("{cell:width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_to_the_left_and_numbers_to_the_right() {
        let mut table = Table::new(["<system", "ns/event"]);
        table.row([String::from("rtrb"), String::from("7.0")]);
        table.gap();
        table.row([String::from("crossbeam-channel"), String::from("21.5")]);
        assert_eq!(
            table.text(),
            "system             ns/event\n\
             rtrb                    7.0\n\
             \n\
             crossbeam-channel      21.5"
        );
    }
}
