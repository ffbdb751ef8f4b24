//! Where senders are found: one socket per sender in a folder that only its user can enter.
//!
//! ```text
//!   $SPOUT_RUNTIME_DIR, else $XDG_RUNTIME_DIR/spout, else /tmp/spout-<uid>
//!     3f0a…  a socket, called by the hash of the sender's name (a path in a socket's address has 107 bytes, a name 239)
//!     active a link to one of them
//! ```
//!
//! A socket that refuses connections is a dead sender's. It is removed by whoever meets it, under the folder's lock, so
//! that nobody removes the socket of a sender that is just being born.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::socket::{connect_to, peer};
use crate::{SenderName, ShareError};

/// How long another process may hold the lock: nothing slow is done under it.
const PATIENCE: Duration = Duration::from_secs(2);

const ACTIVE: &str = "active";

/// The folder, found and checked.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// The folder's lock, held until dropped; the kernel drops it with a process that dies.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    folder: &'a Folder,
    _file: fs::File,
}

impl Folder {
    /// The folder that the environment says, made if need be.
    ///
    /// # Errors
    ///
    /// If no place can be used. A place that the environment names is final; the others are tried in turn.
    pub fn of_environment() -> Result<Self, ShareError> {
        if let Some(path) = std::env::var_os("SPOUT_RUNTIME_DIR").filter(|path| !path.is_empty()) {
            return Self::at(Path::new(&path)).map_err(none_of_system);
        }
        let user = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        let places = runtime
            .map(|path| Path::new(&path).join("spout"))
            .into_iter()
            .chain([PathBuf::from(format!("/tmp/spout-{user}"))]);
        let mut tried = Vec::new();
        for place in places {
            match Self::at(&place) {
                Ok(folder) => return Ok(folder),
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(ShareError::NoFolder { tried })
    }

    /// This folder, made if need be; whatever stands above it must exist.
    ///
    /// # Errors
    ///
    /// If it cannot be made, is no folder, belongs to another user, or others may enter it.
    pub fn at(path: &Path) -> Result<Self, ShareError> {
        let failed = |source| ShareError::System {
            doing: format!("making the folder `{}` for shared video", path.display()),
            source,
        };
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        // Not followed: a link that somebody put into /tmp must not lead us elsewhere.
        let found = fs::symlink_metadata(path).map_err(failed)?;
        if !found.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(ShareError::FolderForeign {
                path: path.to_owned(),
                owner: found.uid(),
            });
        }
        let mode = found.permissions().mode() & 0o777;
        match mode & 0o077 {
            0 => Ok(Self {
                path: path.to_owned(),
            }),
            _ => Err(ShareError::FolderOpen {
                path: path.to_owned(),
                mode,
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the sender of this name listens.
    pub(super) fn socket(&self, name: &SenderName) -> PathBuf {
        self.path
            .join(format!("{:032x}", hash(name.as_str().as_bytes())))
    }

    /// The address of a socket's path; a detour for one that is too long for an address. The file keeps it open.
    pub(super) fn address(path: &Path) -> io::Result<(PathBuf, Option<fs::File>)> {
        use std::os::fd::AsRawFd as _;
        if path.as_os_str().len() < 108 {
            return Ok((path.to_owned(), None));
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = fs::File::open(folder)?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
        Ok((short.join(name), Some(folder)))
    }

    /// Where somebody listens, or did.
    pub(super) fn sockets(&self) -> Result<Vec<PathBuf>, ShareError> {
        let entries = fs::read_dir(&self.path).map_err(|source| ShareError::System {
            doing: format!("reading the folder `{}`", self.path.display()),
            source,
        })?;
        let ours = |name: &OsString| {
            name.len() == 32 && name.clone().into_vec().iter().all(u8::is_ascii_hexdigit)
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(ours)
            .map(|name| self.path.join(name))
            .collect();
        found.sort();
        Ok(found)
    }

    /// The socket of the active sender.
    pub(super) fn active(&self) -> Option<PathBuf> {
        let target = fs::read_link(self.path.join(ACTIVE)).ok()?;
        // Only ever a name in this folder, whatever the link says.
        Some(self.path.join(target.file_name()?))
    }

    /// Waits for the lock, but not for ever.
    pub(super) fn lock(&self) -> Result<Locked<'_>, ShareError> {
        let failed = |source: io::Error| ShareError::System {
            doing: format!("locking the folder `{}`", self.path.display()),
            source,
        };
        let file = fs::File::open(&self.path).map_err(failed)?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Locked {
                        folder: self,
                        _file: file,
                    });
                }
                Err(Errno::AGAIN | Errno::INTR) if begun.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(2));
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    return Err(ShareError::FolderBusy {
                        path: self.path.clone(),
                    });
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}

/// What the system refuses of a place that was named is that there is no such place.
fn none_of_system(error: ShareError) -> ShareError {
    if let ShareError::System { doing, source } = error {
        let tried = vec![format!("{doing} failed: {source}")];
        return ShareError::NoFolder { tried };
    }
    error
}

/// Whether somebody listens at `path`.
pub(super) fn is_alive(path: &Path) -> bool {
    listener(path).is_some()
}

/// The process that listens at `path`; 0 if it has no time to say.
pub(super) fn listener(path: &Path) -> Option<u32> {
    let (address, _open) = Folder::address(path).ok()?;
    match connect_to(&address) {
        Ok(socket) => Some(peer(&socket)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
        Err(_) => None,
    }
}

impl Locked<'_> {
    /// Removes a dead sender's socket; false if its sender lives.
    pub(super) fn remove_dead(&self, path: &Path) -> bool {
        if is_alive(path) {
            return false;
        }
        // Gone already is as good.
        let _ = fs::remove_file(path);
        if self.folder.active().as_deref() == Some(path) {
            let _ = fs::remove_file(self.folder.path.join(ACTIVE));
        }
        true
    }

    /// Points `active` to a socket, in one step; to nothing if there is none.
    pub(super) fn set_active(&self, socket: Option<&Path>) -> io::Result<()> {
        let link = self.folder.path.join(ACTIVE);
        let Some(name) = socket.and_then(Path::file_name) else {
            return match fs::remove_file(link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        let new = self.folder.path.join("active.new");
        // Left behind by a process that died between the two steps; we have the lock.
        let _ = fs::remove_file(&new);
        symlink(name, &new)?;
        fs::rename(new, link)
    }
}

/// FNV-1a, 128 bits: short, the same everywhere and for ever, and two names that share one are not met.
fn hash(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}

#[cfg(test)]
mod tests {
    use super::super::socket::listen_at;
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::at(&outer.path().join("spout")).unwrap();
        (outer, folder)
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // From the FNV authors' test vectors.
        assert_eq!(hash(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn the_folder_is_made_for_its_user_alone() {
        let (_outer, folder) = folder();

        assert_eq!(
            fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(Folder::at(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_others_may_enter_a_link_and_a_missing_parent_are_refused() {
        let (outer, folder) = folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            Folder::at(folder.path()),
            Err(ShareError::FolderOpen { mode: 0o755, .. })
        ));

        let link = outer.path().join("link");
        symlink("/", &link).unwrap();
        assert!(matches!(Folder::at(&link), Err(ShareError::System { .. })));
        assert!(matches!(
            Folder::at(&outer.path().join("a/b")),
            Err(ShareError::System { .. })
        ));
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let foreign = match rustix::process::geteuid().is_root() {
            true => {
                std::os::unix::fs::chown(outer.path(), Some(1), None).unwrap();
                outer.path()
            }
            false => Path::new("/"),
        };
        assert!(matches!(
            Folder::at(foreign),
            Err(ShareError::FolderForeign { .. })
        ));
    }

    #[test]
    fn dead_sockets_are_removed_and_living_ones_stay() {
        let (_outer, folder) = folder();
        let [dead, living] =
            ["dead", "living"].map(|name| folder.socket(&SenderName::new(name).unwrap()));
        drop(listen_at(&dead).unwrap());
        let _listener = listen_at(&living).unwrap();
        let locked = folder.lock().unwrap();
        locked.set_active(Some(&dead)).unwrap();

        assert!(locked.remove_dead(&dead));
        assert!(!locked.remove_dead(&living));

        assert_eq!(folder.sockets().unwrap(), [living]);
        assert_eq!(folder.active(), None);
    }

    #[test]
    fn the_active_link_is_replaced_and_never_leads_out_of_the_folder() {
        let (_outer, folder) = folder();
        let [one, two] = ["one", "two"].map(|name| folder.socket(&SenderName::new(name).unwrap()));
        let locked = folder.lock().unwrap();

        locked.set_active(Some(&one)).unwrap();
        locked.set_active(Some(&two)).unwrap();
        assert_eq!(folder.active(), Some(two));
        locked.set_active(None).unwrap();
        assert_eq!(folder.active(), None);

        symlink("/etc/passwd", folder.path().join(ACTIVE)).unwrap();
        assert_eq!(folder.active(), Some(folder.path().join("passwd")));
    }

    #[test]
    fn the_lock_is_one_for_all() {
        let (_outer, folder) = folder();
        let held = folder.lock().unwrap();
        let again = fs::File::open(folder.path()).unwrap();

        assert!(flock(&again, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(held);
        assert!(flock(&again, FlockOperation::NonBlockingLockExclusive).is_ok());
    }

    #[test]
    fn a_path_too_long_for_an_address_takes_a_detour() {
        let outer = tempfile::tempdir().unwrap();
        let deep = outer.path().join("x".repeat(120));
        let folder = Folder::at(&deep).unwrap();
        let socket = folder.socket(&SenderName::new("far").unwrap());
        let (address, _open) = Folder::address(&socket).unwrap();

        let _listener = listen_at(&address).unwrap();

        assert!(socket.exists() && is_alive(&socket));
    }
}
