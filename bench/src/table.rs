//! A table for people: the first column to the left, numbers to the right, words above.
//!
//! ```text
//! server   deliveries/s  CPU µs
//! omnivox         19998    6.41
//! floor A         20001    5.70
//! ```

/// Rows of cells under a header.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|cell| (*cell).to_owned()).collect();
        Self { rows: vec![header] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len(), "one cell per column");
        self.rows.push(cells);
    }

    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("  {cell:>width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Microseconds with the digits that a reader can use: `850`, `7.41`, and from ten thousand on `12.3 ms`.
pub(crate) fn microseconds(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.1} ms", v / 1_000.0),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

/// A cell for what may be unknown.
pub(crate) fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["server", "rate", "µs"]);
        table.row(vec!["omnivox".into(), "19998".into(), "6.41".into()]);
        table.row(vec!["a".into(), "1".into(), String::new()]);
        let expected = "server    rate    µs\nomnivox  19998  6.41\na            1\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn microseconds_have_useful_digits() {
        for (value, shown) in [(0.4, "0.40"), (7.414, "7.41"), (850.4, "850"), (9_999.0, "9999"), (12_345.0, "12.3 ms")] {
            assert_eq!(microseconds(value), shown);
        }
        assert_eq!(or_dash(None), "-");
    }
}
