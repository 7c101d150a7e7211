//! The name of this process on a cluster, where nobody gave one: made once for the data folder and kept there.

use std::path::{Path, PathBuf};

use super::ServiceError;

const FILE: &str = "instance";

pub fn kept(folder: &Path) -> Result<String, ServiceError> {
    let path = folder.join(FILE);
    let fails = |path: PathBuf| move |source| ServiceError::Folder { path, source };
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Ok(_) => made(&path).map_err(fails(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => made(&path).map_err(fails(path)),
        Err(error) => Err(fails(path)(error)),
    }
}

fn made(path: &Path) -> std::io::Result<String> {
    let mut bytes = [0_u8; 6];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let name = bytes.iter().fold("faultline-".to_owned(), |name, byte| format!("{name}{byte:02x}"));
    let draft = path.with_extension("new");
    std::fs::write(&draft, &name)?;
    std::fs::rename(&draft, path)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_folder_keeps_its_name_and_no_other_has_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = super::kept(one.path()).unwrap();
        assert_eq!(super::kept(one.path()).unwrap(), name);
        assert_ne!(super::kept(other.path()).unwrap(), name);
    }
}
