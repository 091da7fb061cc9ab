//! A folder, walked name by name: the lake sorts what is listed, so that nothing is held here but the open folders.

use super::file_item;
use crate::error::{Error, ErrorKind, Result};
use domain::Item;
use futures::stream::{BoxStream, StreamExt};
use std::fs::ReadDir;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Folders inside folders; more is a loop that we failed to see.
const MAX_DEPTH: usize = 64;
/// Items listed ahead of their use.
const LISTED_AHEAD: usize = 1024;

/// All regular files below `root` but hidden ones (a leading dot), following links, in the order of the file system.
pub(super) fn items(root: PathBuf) -> BoxStream<'static, Result<Item>> {
    let (send, receive) = mpsc::channel(LISTED_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = walk(&root, &send) {
            // a receiver that has gone wants no error either
            let _ = send.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(receive).boxed()
}

/// A folder being read.
struct Folder {
    /// Device and inode, to see a link that leads back up.
    identity: (u64, u64),
    names: ReadDir,
    /// Place in the walk, for messages: names of folders may name patients.
    number: u64,
}

fn walk(root: &Path, send: &mpsc::Sender<Result<Item>>) -> Result<()> {
    let mut folders_seen = 0;
    let mut open = vec![Folder::open(root, folders_seen)?];
    while let Some(folder) = open.last_mut() {
        let Some(entry) = folder.names.next() else {
            open.pop();
            continue;
        };
        let entry = entry.map_err(|e| unlistable(folder.number, &e))?;
        if entry.file_name().as_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // gone since it was listed, or a link to nothing: there is nothing to account for
        let Ok(facts) = path.metadata() else { continue };
        if facts.is_dir() {
            if open.iter().any(|above| above.identity == (facts.dev(), facts.ino())) {
                continue;
            }
            if open.len() >= MAX_DEPTH {
                let message = format!("SRC has folders more than {MAX_DEPTH} deep; name the folder with the images");
                return Err(Error::new(ErrorKind::Source, message));
            }
            folders_seen += 1;
            open.push(Folder::open(&path, folders_seen)?);
        } else if facts.is_file() && send.blocking_send(Ok(file_item(&path, &facts))).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Folder {
    fn open(path: &Path, number: u64) -> Result<Folder> {
        let opened = path.metadata().and_then(|facts| Ok((facts, std::fs::read_dir(path)?)));
        let (facts, names) = opened.map_err(|e| unlistable(number, &e))?;
        Ok(Folder { identity: (facts.dev(), facts.ino()), names, number })
    }
}

fn unlistable(number: u64, error: &std::io::Error) -> Error {
    let which = if number == 0 { "SRC".to_owned() } else { format!("folder number {number} below SRC") };
    let hint = "find it with `find SRC -type d ! -readable`";
    Error::new(ErrorKind::Source, format!("{which} cannot be listed: {}; {hint}", error.kind()))
}
