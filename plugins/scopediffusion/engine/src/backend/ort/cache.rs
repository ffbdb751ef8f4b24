//! What a provider made of a graph, kept between starts: on the CPU the optimised graph, for
//! TensorRT its engines, which take minutes to build.
//!
//! An entry is named by a hash over everything that it depends on: the graph and what lies beside
//! it, the runtime's version, the provider, the processor's instructions. Anything else is simply
//! another entry, and whoever wants room may remove all of them at any time.
//!
//! Decision: an entry that was cut short or altered is worse than none, so each has its own sum
//! beside it, written last. Without a fitting sum an entry is removed and made anew. Sum and names
//! need not withstand an attacker: who can write here can write the models.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::backend::Changes;
use crate::folder::Part;
use crate::onnx::{self, Place, TensorOutline};

/// Largest graph with its weights that is kept, bytes: beyond it the runtime cannot write one file.
const LARGEST: u64 = 1_900_000_000;

/// A place for one graph's entry.
#[derive(Debug)]
pub(super) struct Entry {
    graph: PathBuf,
    sum: PathBuf,
    part: PathBuf,
    engines: PathBuf,
}

impl Entry {
    /// The entry of a graph in `dir`, made if need be. `None` if it cannot be kept: weights that
    /// change while the program runs, or too many of them, or no room for it.
    ///
    /// - `made_by`: version and provider.
    pub(super) fn of(
        dir: &Path,
        part: &Part,
        changes: &Changes<'_>,
        made_by: &str,
    ) -> Option<Self> {
        if !changes.weights.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(made_by.as_bytes());
        hasher.write(&instructions());
        let size = match changes.content.or(part.bytes()) {
            Some(bytes) => {
                hasher.write(bytes);
                bytes.len() as u64
            }
            None => hash_file(part.path(), &mut hasher).ok()?,
        };
        let beside = part.path().parent().filter(|dir| dir.is_dir());
        let size = size
            + beside
                .map_or(Ok(0), |dir| hash_listing(dir, part, &mut hasher))
                .ok()?;
        if size > LARGEST {
            return None;
        }
        if let Err(error) = fs::create_dir_all(dir) {
            tracing::warn!(dir = %dir.display(), %error, "the cache cannot be used");
            return None;
        }
        let name = format!("{}-{:016x}", part.role(), hasher.finish());
        let file = |ending: &str| dir.join(format!("{name}{ending}"));
        Some(Self {
            graph: file(".onnx"),
            sum: file(".sum"),
            part: file(&format!(".{}.part", std::process::id())),
            engines: file(".engines"),
        })
    }

    /// The optimised graph, if there is a sound one.
    pub(super) fn graph(&self) -> Option<&Path> {
        let promised = fs::read_to_string(&self.sum).ok();
        let found = sum_of(&self.graph).ok();
        if promised.is_some() && promised == found {
            return Some(&self.graph);
        }
        if promised.is_some() || found.is_some() {
            tracing::warn!(entry = %self.graph.display(), "removed from the cache: it is not as it was written");
            self.forget();
        }
        None
    }

    /// Where the runtime shall write the optimised graph.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// Keeps what the runtime has written. Without room for it nothing is kept, and neither is a graph whose weights lie
    /// in files beside the original: the runtime looks for those beside the entry.
    pub(super) fn keep(&self) {
        let kept = stands_alone(&self.part)
            .and_then(|()| sum_of(&self.part))
            .and_then(|sum| {
                fs::rename(&self.part, &self.graph)?;
                fs::write(&self.sum, sum)
            });
        if let Err(error) = kept {
            tracing::debug!(entry = %self.graph.display(), %error, "not kept");
            self.forget();
        }
    }

    /// Removes the entry.
    pub(super) fn forget(&self) {
        for file in [&self.sum, &self.graph, &self.part] {
            // What is not there need not be removed.
            let _ = fs::remove_file(file);
        }
    }

    /// A folder for TensorRT's engines of this graph.
    pub(super) fn engines(&self) -> Option<&Path> {
        fs::create_dir_all(&self.engines).ok()?;
        Some(&self.engines)
    }

    /// Removes the engines. True if there were any.
    pub(super) fn forget_engines(&self) -> bool {
        let empty =
            fs::read_dir(&self.engines).map_or(true, |mut entries| entries.next().is_none());
        !empty && fs::remove_dir_all(&self.engines).is_ok()
    }
}

/// Refuses a graph that needs other files.
fn stands_alone(graph: &Path) -> io::Result<()> {
    let file = File::open(graph)?;
    let length = file.metadata()?.len();
    let outline = onnx::outline(file, length)?;
    let is_elsewhere = |weight: &TensorOutline| matches!(weight.place, Place::Outside { .. });
    if outline.tensors.iter().any(is_elsewhere) {
        return Err(io::Error::other("its weights lie in another file"));
    }
    Ok(())
}

/// What the processor can do, as far as the runtime lays weights out by it.
fn instructions() -> Vec<u8> {
    let mut known = std::env::consts::ARCH.as_bytes().to_vec();
    #[cfg(target_arch = "x86_64")]
    known.extend(
        [
            is_x86_feature_detected!("avx"),
            is_x86_feature_detected!("avx2"),
            is_x86_feature_detected!("fma"),
            is_x86_feature_detected!("avx512f"),
            is_x86_feature_detected!("avx512vnni"),
        ]
        .map(u8::from),
    );
    known
}

/// Adds a file's content; returns its length.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> io::Result<u64> {
    let (mut file, mut length) = (File::open(path)?, 0);
    let mut block = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(length);
        }
        hasher.write(&block[..read]);
        length += read as u64;
    }
}

/// Adds names, lengths and times of the files in a graph's folder, in order; returns their length together. What
/// belongs to another graph there does not count.
fn hash_listing(dir: &Path, part: &Part, hasher: &mut DefaultHasher) -> io::Result<u64> {
    let entries: io::Result<Vec<_>> = fs::read_dir(dir)?.collect();
    let mut entries = entries?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut together = 0;
    entries.retain(|entry| part.may_use(&entry.file_name().to_string_lossy()));
    for entry in entries {
        let about = entry.metadata()?;
        let time = about.modified()?.duration_since(UNIX_EPOCH);
        hasher.write(entry.file_name().as_encoded_bytes());
        hasher.write_u64(about.len());
        hasher.write_u128(time.map_or(0, |time| time.as_nanos()));
        together += about.len();
    }
    Ok(together)
}

fn sum_of(path: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    let length = hash_file(path, &mut hasher)?;
    Ok(format!("{length} {:016x}\n", hasher.finish()))
}
