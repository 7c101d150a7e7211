//! A disk that gives back something else than it was given.

use std::path::Path;

/// Makes it so that RocksDB does not understand what it keeps of its own folder, which nobody has open.
pub fn damage(folder: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("MANIFEST") {
            let mut bytes = std::fs::read(file.path())?;
            bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x55);
            std::fs::write(file.path(), bytes)?;
        }
    }
    Ok(())
}
