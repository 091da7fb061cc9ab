//! A folder, walked in the order of its URIs.

use super::{file_item, uri};
use crate::error::{Error, ErrorKind, Result};
use domain::Item;
use futures::stream::{BoxStream, StreamExt};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Folders inside folders; more is a loop that we failed to see.
const MAX_DEPTH: usize = 64;
/// Items listed ahead of their use.
const LISTED_AHEAD: usize = 1024;

/// All regular files below `root` but hidden ones (a leading dot), following links, in the order of their URIs.
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

/// One folder's names in one piece of memory: about 12 bytes a name beside the name itself.
struct Folder {
    path: PathBuf,
    /// Device and inode, to see a link that leads back up.
    identity: (u64, u64),
    names: Vec<u8>,
    /// Ordered last to first, so that the next one is popped.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    length: u16,
    is_folder: bool,
}

fn walk(root: &Path, send: &mpsc::Sender<Result<Item>>) -> Result<()> {
    let mut folders_seen = 0_u64;
    let mut open = vec![Folder::read(root.to_owned(), folders_seen)?];
    while let Some(folder) = open.last_mut() {
        let Some(entry) = folder.entries.pop() else {
            open.pop();
            continue;
        };
        let path = folder.path.join(OsStr::from_bytes(folder.name(entry)));
        // gone since it was listed: there is nothing to account for
        let Ok(facts) = path.metadata() else { continue };
        if facts.is_dir() {
            folders_seen += 1;
            if open.iter().any(|above| above.identity == (facts.dev(), facts.ino())) {
                continue;
            }
            if open.len() >= MAX_DEPTH {
                let message = format!("SRC has folders more than {MAX_DEPTH} deep; name the folder with the images");
                return Err(Error::new(ErrorKind::Source, message));
            }
            open.push(Folder::read(path, folders_seen)?);
        } else if facts.is_file() && send.blocking_send(Ok(file_item(&path, &facts))).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Folder {
    fn read(path: PathBuf, number: u64) -> Result<Folder> {
        // folder names may name patients, so the message does not
        let wrong = |e: std::io::Error| {
            let which = if number == 0 { "SRC".to_owned() } else { format!("folder number {number} below SRC") };
            let hint = "find it with `find SRC -type d ! -readable`";
            Error::new(ErrorKind::Source, format!("{which} cannot be listed: {}; {hint}", e.kind()))
        };
        let facts = path.metadata().map_err(wrong)?;
        let mut folder = Folder { identity: (facts.dev(), facts.ino()), path, names: Vec::new(), entries: Vec::new() };
        for entry in std::fs::read_dir(&folder.path).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name();
            let name = name.as_bytes();
            if name.starts_with(b".") {
                continue;
            }
            let kind = entry.file_type().map_err(wrong)?;
            let is_folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
            let too_many = "a folder of SRC has more than 4 GiB of names; split it";
            let start = u32::try_from(folder.names.len()).map_err(|_| Error::new(ErrorKind::Source, too_many))?;
            let length = u16::try_from(name.len()).map_err(|_| Error::new(ErrorKind::Source, too_many))?;
            folder.names.extend_from_slice(name);
            folder.entries.push(Entry { start, length, is_folder });
        }
        let names = std::mem::take(&mut folder.names);
        folder.entries.sort_unstable_by(|a, b| order(&names, *b, *a));
        folder.names = names;
        Ok(folder)
    }

    fn name(&self, entry: Entry) -> &[u8] {
        slice(&self.names, entry)
    }
}

fn slice(names: &[u8], entry: Entry) -> &[u8] {
    &names[entry.start as usize..entry.start as usize + usize::from(entry.length)]
}

/// Order of the URIs that lie at or below two entries of one folder: a folder counts with the `/` that follows it.
fn order(names: &[u8], a: Entry, b: Entry) -> Ordering {
    let form = |e: Entry| uri::encoded(slice(names, e)).chain(e.is_folder.then_some(b'/'));
    form(a).cmp(form(b))
}
