/// Aligns rows into columns, two spaces apart. The last column is not padded.
pub(super) fn align(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| visible(cell))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if row[column + 1..].iter().any(|later| !later.is_empty()) {
                    let pad = widths[column] - visible(cell) + 2;
                    line.extend(std::iter::repeat_n(' ', pad));
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

/// Characters that take room: escape sequences do not.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for c in cell.chars() {
        match (escape, c) {
            (false, '\u{1b}') => escape = true,
            (false, _) => count += 1,
            (true, 'm') => escape = false,
            (true, _) => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        let rows = vec![
            vec!["\u{1b}[31mab\u{1b}[0m".to_owned(), "x".to_owned()],
            vec!["abcd".to_owned(), "y".to_owned()],
        ];
        assert_eq!(align(&rows), ["\u{1b}[31mab\u{1b}[0m    x", "abcd  y"]);
    }
}
