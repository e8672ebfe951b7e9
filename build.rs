//! Names the build: reports must say which program made them, and the package's version stays the same between releases.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// All files below a folder.
fn files(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=build.rs");
    let mut sources = vec![PathBuf::from("Cargo.lock")];
    files(Path::new("src"), &mut sources)?;
    sources.sort();
    let mut all = Sha256::new();
    for path in &sources {
        let bytes = fs::read(path)?;
        // A name and a length before each, lest what moves from one file into the next goes unseen.
        all.update(format!("{} {}\n", path.display(), bytes.len()));
        all.update(bytes);
    }
    let digits: String = all.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
    println!("cargo:rustc-env=LOUPE_VERSION={}+{digits}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
