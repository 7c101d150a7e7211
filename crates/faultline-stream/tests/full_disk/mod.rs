//! A disk that is full for a process of its own, as real as a system call that says so (`full_disk.c`), without any rights.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where space runs out.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// Where something is written.
    Writes,
    /// Where it is made durable.
    Syncs,
}

pub struct FullDisk {
    folder: tempfile::TempDir,
    below: PathBuf,
}

impl FullDisk {
    /// What is below a folder, or beside it under its name, is on this disk for who has its environment.
    pub fn below(path: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/full_disk/full_disk.c");
        let library = folder.path().join("full_disk.so");
        // RocksDB needs a compiler as well.
        let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
        let made = Command::new(compiler)
            .args(["-O1", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // As the system names it.
        let above = path.parent().unwrap();
        std::fs::create_dir_all(above).unwrap();
        let below = above.canonicalize().unwrap().join(path.file_name().unwrap());
        Self { folder, below }
    }

    pub fn environment(&self) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", text(&self.folder.path().join("full_disk.so"))),
            ("FAULTLINE_FULL_BELOW", text(&self.below)),
            ("FAULTLINE_FULL_WHILE", text(&self.flag())),
        ]
    }

    fn flag(&self) -> PathBuf {
        self.folder.path().join("full")
    }

    pub fn fill(&self, at: At) {
        let says = match at {
            At::Writes => "write",
            At::Syncs => "sync",
        };
        // It is there with what it says, or not at all.
        let written = self.folder.path().join("full.new");
        std::fs::write(&written, says).unwrap();
        std::fs::rename(written, self.flag()).unwrap();
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.flag()).unwrap();
    }
}

/// Whether an error says that there is no space, where, and what to do.
pub fn assert_says_so(words: &str, folder: &Path) {
    let says = format!("no space is left on the disk of {}", folder.display());
    assert!(words.contains(&says) && words.contains("free space, then restart") && words.contains("No space left on device"), "{words}");
}
