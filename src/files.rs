//! Reading what a user names.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// The bytes of a regular file. A pipe or a device in a file's place would be waited for for ever, and stop the other pieces.
///
/// # Errors
/// As [`std::fs::read`]; and where it is no regular file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "is no regular file"));
    }
    std::fs::read(path)
}

/// Its text, without the mark that some editors put before UTF-8.
///
/// # Errors
/// As [`read`]; and where it is no UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read(path)?;
    let bytes = without_mark(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::new(ErrorKind::InvalidData, "is no text (UTF-8)")),
    }
}

/// A file's bytes without the byte order mark of UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_or_a_folder_is_no_file() {
        assert!(read(Path::new("/dev/zero")).is_err() && read(&std::env::temp_dir()).is_err());
    }

    #[test]
    fn the_mark_of_utf_8_is_no_text() {
        let path = std::env::temp_dir().join(format!("loupe-mark-{}.json", std::process::id()));
        std::fs::write(&path, "\u{feff}{}").unwrap();
        let text = read_text(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.unwrap(), "{}");
    }
}
