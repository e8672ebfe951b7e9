//! Small tables of a station or a person: a CSV with a header, read whole, whose mistakes name file, line and column.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::piece::nearest;
use crate::spec::parse::csv_fields;

/// A mistake in a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CsvMistake {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// The column; empty where it is about the whole line.
    pub column: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CsvMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path.display(), self.line)?;
        if !self.column.is_empty() {
            write!(f, "column `{}`: ", self.column)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a table says nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its header or its text cannot be used.
    #[error(transparent)]
    Mistake(#[from] CsvMistake),
}

/// A table: its rows under the columns that were asked for.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    columns: Vec<&'static str>,
    /// Columns that were not asked for.
    pub others: Vec<String>,
    /// Rows that have as many fields as the header.
    pub rows: Vec<Row>,
    /// Rows that have not.
    pub mistakes: Vec<CsvMistake>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its line, from 1.
    pub line: usize,
    fields: Vec<Option<String>>,
}

impl Table {
    /// Reads a table with the `required` columns, in any order, and those of the `optional` ones that it has. Fields are separated
    /// by commas and may stand in double quotes; further columns are left alone.
    ///
    /// # Errors
    /// Where the file cannot be read, is no text, or its header lacks a column or has one twice.
    pub fn read(path: &Path, required: &[&'static str], optional: &[&'static str]) -> Result<Self, CsvError> {
        let bytes = crate::files::read(path).map_err(|source| CsvError::Read { path: path.to_owned(), source })?;
        let wrong = |line: usize, column: &str, message: String| CsvMistake {
            path: path.to_owned(),
            line,
            column: column.to_owned(),
            message,
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            wrong(line, "", "is no text (UTF-8)".into())
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim().is_empty());
        let Some((head, header)) = lines.next() else {
            return Err(wrong(1, "", format!("is empty; the columns are {}", required.join(", "))).into());
        };
        let names = csv_fields(header);
        let columns: Vec<&'static str> = required.iter().chain(optional).copied().collect();
        let mut places = Vec::new();
        for name in &columns {
            let mut at = names.iter().enumerate().filter(|(_, n)| n == name).map(|(i, _)| i);
            let first = at.next();
            if at.next().is_some() {
                return Err(wrong(head, name, "the column is there twice".into()).into());
            }
            let near = || names.iter().find(|n| !columns.contains(&n.as_str()) && nearest(n, &[name]).is_some());
            match (first, near()) {
                (None, Some(near)) => {
                    let message = format!("the column is missing; `{near}` looks like it mistyped");
                    return Err(wrong(head, name, message).into());
                }
                (None, None) if required.contains(name) => {
                    let message = if header.contains(';') {
                        "the column is missing; the fields must be separated by commas, not `;`"
                    } else {
                        "the column is missing from the header"
                    };
                    return Err(wrong(head, name, message.into()).into());
                }
                (first, _) => places.push(first),
            }
        }
        let others = names.iter().filter(|n| !n.is_empty() && !columns.contains(&n.as_str())).cloned().collect();
        let mut table = Table { path: path.to_owned(), columns, others, rows: vec![], mistakes: vec![] };
        for (line, text) in lines {
            let fields = csv_fields(text);
            if fields.len() != names.len() {
                let message = format!("{} fields, the header has {}", fields.len(), names.len());
                table.mistakes.push(wrong(line, "", message));
                continue;
            }
            let of = |at: &Option<usize>| at.map(|i| fields[i].clone()).filter(|f| !f.is_empty());
            table.rows.push(Row { line, fields: places.iter().map(of).collect() });
        }
        Ok(table)
    }

    /// A field; none where it is empty or the table has no such column.
    pub fn get<'a>(&self, row: &'a Row, column: &str) -> Option<&'a str> {
        let i = self.columns.iter().position(|c| *c == column)?;
        row.fields[i].as_deref()
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// Where it is empty.
    pub fn need<'a>(&self, row: &'a Row, column: &str) -> Result<&'a str, CsvMistake> {
        self.get(row, column).ok_or_else(|| self.mistake(row, column, "is empty"))
    }

    /// A finite number; none where the field is empty.
    ///
    /// # Errors
    /// Where it is no such number.
    pub fn number(&self, row: &Row, column: &str) -> Result<Option<f64>, CsvMistake> {
        let Some(text) = self.get(row, column) else { return Ok(None) };
        match text.parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(Some(v)),
            _ => Err(self.mistake(row, column, format!("`{text}` is no number"))),
        }
    }

    /// A mistake in a row.
    pub fn mistake(&self, row: &Row, column: &str, message: impl Into<String>) -> CsvMistake {
        CsvMistake { path: self.path.clone(), line: row.line, column: column.to_owned(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Table, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let without = |e: CsvError| e.to_string().replace(&format!("{}/", dir.path().display()), "");
        Table::read(&path, &["piece_id", "value"], &["remark"]).map_err(without)
    }

    #[test]
    fn columns_in_any_order() {
        let t = read("\u{feff}value, x ,piece_id\r\n1.5,\"a, b\",p1\r\n\r\n,,p2\r\nnan,,p3\n1,2\n").unwrap();
        assert_eq!(t.rows.len(), 3);
        assert_eq!((t.need(&t.rows[0], "piece_id"), t.number(&t.rows[0], "value")), (Ok("p1"), Ok(Some(1.5))));
        assert_eq!((t.number(&t.rows[1], "value"), t.get(&t.rows[1], "remark")), (Ok(None), None));
        let m = t.number(&t.rows[2], "value").unwrap_err();
        assert!(m.to_string().ends_with("t.csv:5: column `value`: `nan` is no number"), "{m}");
        assert!(t.mistakes[0].to_string().ends_with("t.csv:6: 2 fields, the header has 3"), "{:?}", t.mistakes);
    }

    #[test]
    fn a_header_that_cannot_be_used() {
        let error = |text: &str| read(text).unwrap_err();
        assert_eq!(error("piece_id\n"), "t.csv:1: column `value`: the column is missing from the header");
        assert!(error("\npiece_id,vaule\n").starts_with("t.csv:2: column `value`: the column is missing; `vaule`"));
        assert!(error("piece_id;value\n").contains("not `;`"));
        assert!(error("piece_id,value,remrak\n").contains("column `remark`"), "an optional column mistyped");
        assert!(error("piece_id,value,value\n").contains("twice"));
        assert!(error("").starts_with("t.csv:1: is empty"));
        assert!(Table::read(Path::new("no.csv"), &[], &[]).is_err_and(|e| e.to_string().starts_with("no.csv: ")));
    }
}
