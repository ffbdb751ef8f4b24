//! Uploaded files: found, served and stored inside one folder.
//!
//! A name from outside is a list of plain path steps or it is refused; a symbolic link that leads out is refused too.
//! An upload goes to a hidden file beside its target and takes the name in one step, so nobody sees half a file.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;

/// How files that are still coming in are called.
const PART_PREFIX: &str = ".upload-";
/// Folders below folders to list.
const DEPTH: usize = 8;

/// Kinds of files by their extensions.
const KINDS: [(&str, &[&str]); 3] = [
    ("image", &["png", "jpg", "jpeg", "webp", "bmp"]),
    ("video", &["mp4", "avi", "mov", "mkv", "webm"]),
    ("audio", &["wav", "mp3", "flac", "ogg"]),
];

/// Why a file is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// The name leads out of the folder, or is none.
    #[error("`{0}` is not a name inside the assets folder")]
    BadName(String),
    /// Not an extension we take.
    #[error("Invalid file type. Allowed: {}", allowed())]
    BadType,
    /// Not a video.
    #[error("`{0}` is no video")]
    NoFilm(String),
    /// There is no such file.
    #[error("Asset not found")]
    NotFound,
    /// More bytes than an upload may have.
    #[error("the upload is larger than {0} bytes")]
    TooLarge(u64),
    /// The connection broke before the last byte.
    #[error("the upload broke off: {0}")]
    Interrupted(String),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn allowed() -> String {
    let extensions: Vec<_> = KINDS
        .iter()
        .flat_map(|(_, extensions)| *extensions)
        .copied()
        .collect();
    extensions.join(", ")
}

/// One file, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asset {
    /// Name without extension.
    pub name: String,
    /// Absolute path on this machine.
    pub path: PathBuf,
    /// Size, MiB, two decimals.
    pub size_mb: f64,
    /// The folder inside the assets folder.
    pub folder: Option<String>,
    /// `image`, `video` or `audio`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Unix seconds.
    pub created_at: f64,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Assets {
    root: PathBuf,
    limit: u64,
}

impl Assets {
    /// The files below `root`, which need not exist yet; uploads have at most `limit` bytes.
    pub fn new(root: PathBuf, limit: u64) -> Self {
        Self {
            root: std::path::absolute(&root).unwrap_or(root),
            limit,
        }
    }

    /// Largest upload, bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The files of one kind or of all, newest first. Blocks.
    pub fn list(&self, kind: Option<&str>) -> Vec<Asset> {
        let known = kind.filter(|kind| KINDS.iter().any(|(known, _)| known == kind));
        let mut assets = Vec::new();
        self.collect(&self.root, DEPTH, &mut assets);
        assets.retain(|asset| known.is_none_or(|kind| asset.kind == kind));
        assets.sort_by(|a, b| {
            let newest = b.created_at.total_cmp(&a.created_at);
            newest.then_with(|| (&a.folder, &a.name).cmp(&(&b.folder, &b.name)))
        });
        assets
    }

    fn collect(&self, folder: &Path, depth: usize, assets: &mut Vec<Asset>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            // Links are not followed, so a list never leaves the folder or runs in circles.
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            if metadata.is_dir() && depth > 0 {
                self.collect(&path, depth - 1, assets);
            } else if metadata.is_file() {
                assets.extend(self.describe(&path, &metadata));
            }
        }
    }

    fn describe(&self, path: &Path, metadata: &Metadata) -> Option<Asset> {
        let kind = kind_of(path)?;
        let folder = path
            .parent()?
            .strip_prefix(&self.root)
            .ok()?
            .to_string_lossy();
        let modified = metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Some(Asset {
            name: path.file_stem()?.to_string_lossy().into_owned(),
            path: path.to_owned(),
            size_mb: (metadata.len() as f64 / f64::from(1 << 20) * 100.0).round() / 100.0,
            folder: (!folder.is_empty()).then(|| folder.into_owned()),
            kind,
            created_at: modified.map_or(0.0, |at| at.as_secs_f64()),
        })
    }

    /// The file of that name, for reading. An absolute path stands for its last step, as clients hold such paths.
    /// Blocks.
    pub fn find(&self, name: &str) -> Result<PathBuf, AssetError> {
        let base = name
            .starts_with('/')
            .then(|| name.rsplit('/').next())
            .flatten();
        let path = self.inside(base.unwrap_or(name))?;
        if path.is_file() {
            Ok(path)
        } else {
            Err(AssetError::NotFound)
        }
    }

    /// The video of that name: as [`Assets::find`], or by an absolute path inside the folder, or by its name without
    /// folder and extension. Blocks.
    pub fn film(&self, name: &str) -> Result<PathBuf, AssetError> {
        let inside = Path::new(name).strip_prefix(&self.root).ok();
        let plain = inside.and_then(Path::to_str).unwrap_or(name);
        let found = match self.find(plain) {
            Err(AssetError::NotFound) => {
                let films = self.list(Some("video"));
                let named = films.into_iter().find(|film| film.name == name);
                named.map(|film| film.path).ok_or(AssetError::NotFound)
            }
            found => found,
        }?;
        match kind_of(&found) {
            Some("video") => Ok(found),
            _ => Err(AssetError::NoFilm(name.chars().take(200).collect())),
        }
    }

    /// The picture of that name, or of the path that [`Assets::list`] gave for it. Blocks.
    pub fn picture(&self, name: &str) -> Result<PathBuf, AssetError> {
        let listed = Path::new(name).strip_prefix(&self.root).ok();
        let path = self.find(listed.and_then(Path::to_str).unwrap_or(name))?;
        match kind_of(&path) {
            Some("image") => Ok(path),
            Some(_) | None => Err(AssetError::BadType),
        }
    }

    /// Makes room for an upload under that name. Blocks.
    pub fn receive(&self, name: &str) -> Result<Upload, AssetError> {
        let target = self.inside(name)?;
        kind_of(&target).ok_or(AssetError::BadType)?;
        let bad_name = || AssetError::BadName(name.to_owned());
        let folder = target.parent().ok_or_else(bad_name)?;
        fs::create_dir_all(folder).map_err(|err| refusal(err, name))?;
        if target.is_dir() || self.leads_out(folder) {
            return Err(bad_name());
        }
        let part = folder.join(format!("{PART_PREFIX}{}", uuid::Uuid::new_v4()));
        let file = fs::File::create_new(&part).map_err(|err| refusal(err, name))?;
        Ok(Upload {
            file: Some(file),
            part,
            target,
            received: 0,
            limit: self.limit,
        })
    }

    /// Describes a stored file. Blocks.
    pub fn describe_file(&self, path: &Path) -> Result<Asset, AssetError> {
        self.describe(path, &fs::metadata(path)?)
            .ok_or(AssetError::BadType)
    }

    /// Removes what interrupted uploads of an earlier run left behind. Blocks.
    pub fn sweep(&self) {
        sweep(&self.root, DEPTH);
    }

    fn inside(&self, name: &str) -> Result<PathBuf, AssetError> {
        let bad_name = || AssetError::BadName(name.chars().take(200).collect());
        let mut steps = Path::new(name).components().peekable();
        let plain = |step: &Component<'_>| match step {
            Component::Normal(step) => !step.as_encoded_bytes().starts_with(b"."),
            _ => false,
        };
        let is_plain = steps.peek().is_some() && steps.all(|step| plain(&step));
        if !is_plain || name.contains(['\\', ':']) || name.chars().any(char::is_control) {
            return Err(bad_name());
        }
        let path = self.root.join(name);
        if self.leads_out(&path) {
            Err(bad_name())
        } else {
            Ok(path)
        }
    }

    /// Whether links on the way take the path, as far as it exists, out of the folder.
    fn leads_out(&self, path: &Path) -> bool {
        let Ok(root) = self.root.canonicalize() else {
            return false;
        };
        let real = path.ancestors().find_map(|path| path.canonicalize().ok());
        real.is_none_or(|real| !real.starts_with(root))
    }
}

fn sweep(folder: &Path, depth: usize) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_part = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PART_PREFIX.as_bytes());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => sweep(&entry.path(), depth - 1),
            Ok(kind) if kind.is_file() && is_part => drop(fs::remove_file(entry.path())),
            Ok(_) | Err(_) => {}
        }
    }
}

/// A name the file system will not have is the sender's fault, the rest is ours.
fn refusal(err: io::Error, name: &str) -> AssetError {
    match err.kind() {
        io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => AssetError::BadName(name.chars().take(200).collect()),
        _ => AssetError::Io(err),
    }
}

fn kind_of(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    let kind = KINDS
        .iter()
        .find(|(_, extensions)| extensions.contains(&extension.as_str()))?;
    Some(kind.0)
}

/// A file coming in; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    file: Option<fs::File>,
    part: PathBuf,
    target: PathBuf,
    received: u64,
    limit: u64,
}

impl Upload {
    /// Takes the next bytes. Blocks.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), AssetError> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.received > self.limit {
            return Err(AssetError::TooLarge(self.limit));
        }
        match &mut self.file {
            Some(file) => Ok(io::Write::write_all(file, bytes)?),
            None => Ok(()),
        }
    }

    /// Gives the file its name. Blocks.
    pub fn finish(mut self) -> Result<PathBuf, AssetError> {
        drop(self.file.take());
        fs::rename(&self.part, &self.target).map_err(|err| refusal(err, "this"))?;
        Ok(self.target.clone())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name any more.
        let _ = fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets(limit: u64) -> (tempfile::TempDir, Assets) {
        let folder = tempfile::tempdir().unwrap();
        let assets = Assets::new(folder.path().join("assets"), limit);
        (folder, assets)
    }

    fn store(assets: &Assets, name: &str, bytes: &[u8]) -> Result<PathBuf, AssetError> {
        let mut upload = assets.receive(name)?;
        upload.write(bytes)?;
        upload.finish()
    }

    #[test]
    fn a_stored_file_is_listed_and_found() {
        let (_folder, assets) = assets(100);

        store(&assets, "sub/a.png", b"picture").unwrap();

        let listed = assets.list(Some("image"));
        assert_eq!(
            (listed[0].name.as_str(), listed[0].folder.as_deref()),
            ("a", Some("sub"))
        );
        assert_eq!(assets.find("sub/a.png").unwrap(), listed[0].path);
        assert!(assets.list(Some("audio")).is_empty());
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let (folder, assets) = assets(100);
        fs::write(folder.path().join("secret.png"), "").unwrap();

        for name in [
            "../secret.png",
            "a/../../secret.png",
            "..\\secret.png",
            "C:secret.png",
            "",
            ".",
            "./",
            ".hidden.png",
            "a/./../../secret.png",
            "a\0.png",
            "..",
            "a/.ssh/x.png",
        ] {
            assert!(
                matches!(assets.receive(name), Err(AssetError::BadName(_))),
                "stored {name:?}"
            );
            assert!(
                matches!(assets.find(name), Err(AssetError::BadName(_))),
                "found {name:?}"
            );
        }
        assert!(matches!(
            assets.receive("/etc/x.png"),
            Err(AssetError::BadName(_))
        ));
        assert!(matches!(
            assets.find("/etc/passwd"),
            Err(AssetError::NotFound)
        ));
    }

    #[test]
    fn a_video_is_found_by_path_name_and_stem_and_nothing_else_is() {
        let (folder, assets) = assets(100);
        let path = store(&assets, "sub/clip.mp4", b"").unwrap();
        store(&assets, "a.png", b"").unwrap();
        fs::write(folder.path().join("secret.mp4"), "").unwrap();

        for name in ["sub/clip.mp4", "clip", path.to_str().unwrap()] {
            assert_eq!(assets.film(name).unwrap(), path, "{name}");
        }
        assert!(matches!(assets.film("a.png"), Err(AssetError::NoFilm(_))));
        let secret = folder.path().join("secret.mp4");
        for name in ["../secret.mp4", secret.to_str().unwrap(), "", "nothing"] {
            assert!(assets.film(name).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_out_is_refused() {
        let (folder, assets) = assets(100);
        store(&assets, "a.png", b"").unwrap();
        fs::write(folder.path().join("secret.png"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("assets/out")).unwrap();

        assert!(matches!(
            assets.find("out/secret.png"),
            Err(AssetError::BadName(_))
        ));
        assert!(matches!(
            assets.receive("out/new.png"),
            Err(AssetError::BadName(_))
        ));
        assert!(matches!(
            assets.receive("out/new/new.png"),
            Err(AssetError::BadName(_))
        ));
        assert_eq!(assets.list(None).len(), 1);
    }

    #[test]
    fn an_upload_that_grows_too_large_leaves_nothing_behind() {
        let (folder, assets) = assets(3);

        assert!(matches!(
            store(&assets, "a.png", b"four"),
            Err(AssetError::TooLarge(3))
        ));

        assert_eq!(
            fs::read_dir(folder.path().join("assets")).unwrap().count(),
            0
        );
    }

    #[test]
    fn leftovers_are_swept_and_files_are_not() {
        let (folder, assets) = assets(100);
        store(&assets, "a.png", b"").unwrap();
        fs::write(folder.path().join("assets/.upload-1"), "").unwrap();

        assets.sweep();

        assert_eq!(
            fs::read_dir(folder.path().join("assets")).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_name_too_long_for_the_file_system_is_the_senders_fault() {
        let (_folder, assets) = assets(100);

        let refused = store(&assets, &format!("{}.png", "a".repeat(300)), b"");

        assert!(
            matches!(refused, Err(AssetError::BadName(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn only_pictures_films_and_sounds_are_stored() {
        let (_folder, assets) = assets(100);

        for name in ["a.html", "a.svg", "a", "a.png.exe"] {
            assert!(
                matches!(assets.receive(name), Err(AssetError::BadType)),
                "{name}"
            );
        }
    }
}
