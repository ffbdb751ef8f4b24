//! Recordings on disk: what they are called, how much room they take, and when they go.
//!
//! They lie in one folder. Removed are only finished files of our own naming: those that are too old, and the oldest
//! ones when all together take too much. A file that was written to a moment ago stays, whoever writes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::config::RecordingConfig;
use crate::log::{TimeFormat, local_time};

/// What every recording's name begins with.
const PREFIX: &str = "recording-";
/// Length of the time in a name, as in `20261121_174455`.
const STAMP: usize = 15;
/// What recordings end in.
const ENDINGS: [&str; 2] = ["mp4", "webm"];
/// A file written to more recently than this may be another program's running recording.
const FRESH: Duration = Duration::from_secs(60);
/// Most letters of a node's id in a name.
const NODE: usize = 40;
/// Recordings of one session, one node and one second.
const SAME: u32 = 100;

/// Why there is no room for a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShelfError {
    /// What is left has to stay free.
    #[error(
        "the disk of `{}` is full: {left} MiB are left, and {spare} MiB must stay free",
        dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// Free, MiB.
        left: u64,
        /// What must stay free, MiB.
        spare: u64,
    },
    /// The recording has become as large as all recordings together may be.
    #[error("the recording has reached {0} MiB, which is all that recordings may take")]
    TooLarge(u64),
    /// The system refused.
    #[error("nothing can be recorded in `{}`: {reason}", dir.display())]
    Unwritable {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// The folder.
#[derive(Debug)]
pub struct Shelf {
    config: RecordingConfig,
    kept: Mutex<Vec<Kept>>,
}

/// A recording of this run of the program.
#[derive(Debug)]
struct Kept {
    session: String,
    node: Option<String>,
    path: PathBuf,
    finished: bool,
}

impl Shelf {
    /// The folder need not exist yet.
    pub fn new(config: RecordingConfig) -> Self {
        Self {
            config,
            kept: Mutex::default(),
        }
    }

    /// Makes an empty file for a new recording. Blocks.
    pub fn open(
        &self,
        session: &str,
        node: Option<&str>,
        ending: &str,
    ) -> Result<PathBuf, ShelfError> {
        self.sweep(SystemTime::now());
        let dir = &self.config.dir;
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.full(0),
            _ => ShelfError::Unwritable {
                dir: dir.clone(),
                reason: error.to_string(),
            },
        };
        fs::create_dir_all(dir).map_err(refused)?;
        self.room(0)?;
        let base = name(&local_time(TimeFormat::Recording), session, node);
        let mut outcome = Err(io::ErrorKind::AlreadyExists.into());
        for turn in 1..SAME {
            let tail = if turn > 1 {
                format!("_{turn}")
            } else {
                String::new()
            };
            let path = dir.join(format!("{base}{tail}.{ending}"));
            outcome = fs::File::create_new(&path).map(|_| path);
            let taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
            if !outcome.as_ref().is_err_and(taken) {
                break;
            }
        }
        let path = outcome.map_err(refused)?;
        self.kept.lock().unwrap().push(Kept {
            session: session.to_owned(),
            node: node.map(str::to_owned),
            path: path.clone(),
            finished: false,
        });
        Ok(path)
    }

    /// Whether a recording of `written` bytes may go on. Blocks for as long as the disk takes to tell.
    pub fn room(&self, written: u64) -> Result<(), ShelfError> {
        if written > self.config.total {
            return Err(ShelfError::TooLarge(self.config.total >> 20));
        }
        match rustix::fs::statvfs(&self.config.dir) {
            Ok(disk) => {
                let left = disk.f_bavail.saturating_mul(disk.f_frsize);
                if left < self.config.spare {
                    Err(self.full(left))
                } else {
                    Ok(())
                }
            }
            // Somebody removed the folder; the open file can still be written.
            Err(_) if written > 0 => Ok(()),
            Err(error) => Err(ShelfError::Unwritable {
                dir: self.config.dir.clone(),
                reason: error.to_string(),
            }),
        }
    }

    fn full(&self, left: u64) -> ShelfError {
        ShelfError::Full {
            dir: self.config.dir.clone(),
            left: left >> 20,
            spare: self.config.spare >> 20,
        }
    }

    /// From now on it can be fetched.
    pub fn finish(&self, path: &Path) {
        let mut kept = self.kept.lock().unwrap();
        for entry in kept.iter_mut().filter(|entry| entry.path == path) {
            entry.finished = true;
        }
    }

    /// Takes back a file that nothing was recorded to. Blocks.
    pub fn discard(&self, path: &Path) {
        self.kept.lock().unwrap().retain(|entry| entry.path != path);
        remove(path);
    }

    /// The newest finished recording of a session, or of one of its record nodes, if it is still there. Blocks.
    pub fn newest(&self, session: &str, node: Option<&str>) -> Option<PathBuf> {
        let kept = self.kept.lock().unwrap();
        let of_both = |entry: &&Kept| {
            entry.finished && entry.session == session && entry.node.as_deref() == node
        };
        let newest = kept.iter().rfind(of_both)?;
        newest.path.is_file().then(|| newest.path.clone())
    }

    /// Removes what is too old or too much. Blocks.
    pub fn sweep(&self, now: SystemTime) {
        let running: Vec<PathBuf> = {
            let mut kept = self.kept.lock().unwrap();
            kept.retain(|entry| !entry.finished || entry.path.is_file());
            let running = kept.iter().filter(|entry| !entry.finished);
            running.map(|entry| entry.path.clone()).collect()
        };
        let mut files = self.files();
        files.sort_by_key(|(_, _, written)| *written);
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (path, size, written) in files {
            let age = now.duration_since(written).unwrap_or_default();
            let too_old = self.config.keep.is_some_and(|keep| age > keep);
            let may_go = age > FRESH && !running.contains(&path);
            if may_go && (too_old || total > self.config.total) && remove(&path) {
                tracing::info!(path = %path.display(), "an old recording was removed");
                total -= size;
            }
        }
    }

    /// Our files with their sizes and when they were last written to.
    fn files(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let entries = fs::read_dir(&self.config.dir).into_iter().flatten();
        let ours = |entry: fs::DirEntry| {
            // Of a link this is the link's own: it is none of ours.
            let metadata = entry.metadata().ok()?;
            let is_ours = metadata.is_file() && is_ours(&entry.path());
            is_ours.then_some((entry.path(), metadata.len(), metadata.modified().ok()?))
        };
        entries.flatten().filter_map(ours).collect()
    }
}

fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a recording cannot be removed");
            false
        }
    }
}

/// A name without ending. A client names nodes, so only harmless letters of theirs are taken.
fn name(stamp: &str, session: &str, node: Option<&str>) -> String {
    let session: String = session.chars().take(8).collect();
    let node = node.map_or_else(String::new, |node| format!("-{}", harmless(node)));
    format!("{PREFIX}{stamp}-{}{node}", harmless(&session))
}

fn harmless(text: &str) -> String {
    let letter = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => letter,
        _ => '_',
    };
    text.chars().take(NODE).map(letter).collect()
}

/// The time in the name of one of our files.
fn stamp(path: &Path) -> Option<&str> {
    let stem = path.file_stem()?.to_str()?.strip_prefix(PREFIX)?;
    let stamp = stem.get(..STAMP)?;
    let is_time = stamp
        .bytes()
        .enumerate()
        .all(|(at, byte)| (at == 8 && byte == b'_') || (at != 8 && byte.is_ascii_digit()));
    is_time.then_some(stamp)
}

fn is_ours(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    stamp(path).is_some() && ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// What a client is told to call it: `recording-20261121_174455.mp4`, with the node's name before the time.
pub fn download_name(path: &Path, node: Option<&str>) -> String {
    let node = node.map_or_else(String::new, |node| format!("{}-", harmless(node)));
    let ending = path.extension().and_then(|ending| ending.to_str());
    format!(
        "{PREFIX}{node}{}.{}",
        stamp(path).unwrap_or_default(),
        ending.unwrap_or(ENDINGS[0])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn shelf(total: u64) -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().unwrap();
        let config = RecordingConfig {
            dir: folder.path().join("recordings"),
            keep: Some(DAY),
            total,
            spare: 0,
        };
        (folder, Shelf::new(config))
    }

    fn record(shelf: &Shelf, session: &str, bytes: usize) -> PathBuf {
        let path = shelf.open(session, None, "mp4").unwrap();
        fs::write(&path, vec![0; bytes]).unwrap();
        shelf.finish(&path);
        path
    }

    #[test]
    fn a_recording_is_found_once_it_is_finished() {
        let (_folder, shelf) = shelf(100);
        let path = shelf.open("one", None, "mp4").unwrap();
        assert_eq!(shelf.newest("one", None), None);

        shelf.finish(&path);
        let later = record(&shelf, "one", 1);

        assert_eq!(shelf.newest("one", None), Some(later.clone()));
        assert_eq!(shelf.newest("one", Some("node")), None);
        assert_eq!(shelf.newest("two", None), None);
        fs::remove_file(later).unwrap();
        assert_eq!(shelf.newest("one", None), None);
    }

    #[test]
    fn no_node_leads_out_of_the_folder() {
        let (_folder, shelf) = shelf(100);
        let long = "x".repeat(500);
        for node in ["../../evil", "/etc/passwd", "a\0b", "ü", "", ".", &long] {
            let path = shelf.open("../s/", Some(node), "mp4").unwrap();

            assert_eq!(path.parent(), Some(shelf.config.dir.as_path()), "{node:?}");
            assert!(is_ours(&path), "{path:?}");
            assert!(path.file_name().unwrap().len() < 100);
            shelf.finish(&path);
            assert_eq!(shelf.newest("../s/", Some(node)), Some(path));
        }
    }

    #[test]
    fn a_download_is_named_as_clients_expect() {
        let path = Path::new("/x/recording-20261121_174455-1f4712db_2.mp4");

        assert_eq!(download_name(path, None), "recording-20261121_174455.mp4");
        assert_eq!(
            download_name(path, Some("a b")),
            "recording-a_b-20261121_174455.mp4"
        );
    }

    #[test]
    fn old_recordings_go_and_other_files_stay() {
        let (_folder, shelf) = shelf(100);
        let (old, running) = (
            record(&shelf, "one", 1),
            shelf.open("two", None, "mp4").unwrap(),
        );
        let foreign = [
            "holiday.mp4",
            "recording-holiday.mp4",
            "recording-20261121_174455.txt",
        ];
        for name in foreign {
            fs::write(shelf.config.dir.join(name), "").unwrap();
        }

        shelf.sweep(SystemTime::now() + DAY - FRESH);
        assert!(old.exists());
        shelf.sweep(SystemTime::now() + DAY + FRESH);

        assert!(!old.exists() && running.exists());
        assert!(
            foreign
                .iter()
                .all(|name| shelf.config.dir.join(name).exists())
        );
    }

    #[test]
    fn the_oldest_go_while_all_together_are_too_much() {
        let (_folder, shelf) = shelf(100);
        let paths = ["one", "two", "three"].map(|session| record(&shelf, session, 45));
        let now = SystemTime::now();
        for (path, minutes) in paths.iter().zip([30, 20, 10]) {
            let written = now - Duration::from_secs(minutes * 60);
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(written).unwrap();
        }

        shelf.sweep(now);

        assert_eq!(
            paths.each_ref().map(|path| path.exists()),
            [false, true, true]
        );
    }

    #[test]
    fn a_recording_ends_with_the_room() {
        let (_folder, shelf) = shelf(5 << 20);
        shelf.open("one", None, "mp4").unwrap();

        assert_eq!(shelf.room(5 << 20), Ok(()));
        assert_eq!(shelf.room((5 << 20) + 1), Err(ShelfError::TooLarge(5)));

        let greedy = Shelf::new(RecordingConfig {
            spare: u64::MAX,
            ..shelf.config.clone()
        });
        assert!(matches!(
            greedy.open("one", None, "mp4"),
            Err(ShelfError::Full { .. })
        ));
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let (folder, shelf) = shelf(100);
        fs::write(folder.path().join("recordings"), "a file").unwrap();

        let refused = shelf.open("one", None, "mp4").unwrap_err();

        assert!(matches!(refused, ShelfError::Unwritable { .. }));
        assert!(
            refused
                .to_string()
                .contains(&shelf.config.dir.display().to_string())
        );
    }
}
