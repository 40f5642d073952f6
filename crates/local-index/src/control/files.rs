//! Where the named indexes of a directory stand: `indexes/NAME/index.json`, and the store beside it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::definition::Definition;

const INDEXES: &str = "indexes";
const FILE: &str = "index.json";

pub(super) fn folder(dir: &Path, name: &str) -> PathBuf {
    dir.join(INDEXES).join(name)
}

/// The indexes of a directory. What a crash left of others is removed.
pub(super) fn read(dir: &Path) -> io::Result<Vec<Definition>> {
    let entries = match fs::read_dir(dir.join(INDEXES)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let file = folder.join(FILE);
        match fs::read(&file) {
            Ok(text) => found.push(serde_json::from_slice(&text).map_err(|error| {
                let text = format!("{} is damaged: {error}", file.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_dir_all(&folder)?,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Writes what an index is, whole or not at all.
pub(super) fn write(dir: &Path, definition: &Definition) -> io::Result<()> {
    let folder = folder(dir, &definition.name);
    fs::create_dir_all(&folder)?;
    let new = folder.join("index.json.new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(definition)?)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    sync(&folder)?;
    sync(&dir.join(INDEXES))?;
    sync(dir)
}

/// Makes what is left in an index's folder no index.
pub(super) fn forget(dir: &Path, name: &str) -> io::Result<()> {
    let folder = folder(dir, name);
    fs::remove_file(folder.join(FILE))?;
    sync(&folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
