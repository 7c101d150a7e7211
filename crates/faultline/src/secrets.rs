//! The key under which secrets are hashed: the one from the settings, else one that is made once and kept in the data folder.

use std::io::Write;
use std::path::Path;

use faultline_adapters::secret::SecretKey;

use crate::settings::Settings;

/// The file in the data folder, readable by its owner only.
const FILE: &str = "secrets.key";

/// The key of this installation.
pub fn key(settings: &Settings) -> std::io::Result<SecretKey> {
    match &settings.secrets_key {
        Some(text) => Ok(SecretKey::from_passphrase(text.expose())),
        None => kept(&settings.data_folder),
    }
}

/// Whether a folder has a key of its own, made there or copied.
pub fn is_kept(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

fn kept(folder: &Path) -> std::io::Result<SecretKey> {
    let path = folder.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| {
                std::io::Error::other(format!(
                    "{} is not 32 bytes long; restore it from a backup: without it known secrets look new",
                    path.display()
                ))
            })?;
            Ok(SecretKey::new(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => made(&path),
        Err(error) => Err(error),
    }
}

fn made(path: &Path) -> std::io::Result<SecretKey> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    // Written whole beside its place and then renamed, so that a crash leaves no half of a key.
    let draft = path.with_extension("key.new");
    let mut file = options().write(true).create(true).truncate(true).open(&draft)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(SecretKey::new(bytes))
}

fn options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        kept(folder.path()).unwrap();
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        kept(folder.path()).unwrap();
        assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), bytes);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(folder.path().join(FILE)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join(FILE), b"half").unwrap();
        assert!(kept(folder.path()).unwrap_err().to_string().contains("backup"));
    }
}
