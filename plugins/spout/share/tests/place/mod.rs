//! A folder of its own for the senders of a test.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use texture_share::backend::shm::{Folder, ShmDirectory};
use texture_share::{
    Directory, PixelFormat, Receiver, Sender, SenderName, SenderWish, Target, TextureWish, Video,
};

pub(crate) struct Place {
    _outer: tempfile::TempDir,
    pub(crate) folder: Folder,
    pub(crate) directory: ShmDirectory,
}

pub(crate) fn place() -> Place {
    let outer = tempfile::tempdir().unwrap();
    let folder = Folder::at(&outer.path().join("spout")).unwrap();
    let directory = ShmDirectory::of(folder.clone());
    Place {
        _outer: outer,
        folder,
        directory,
    }
}

pub(crate) fn name(name: &str) -> SenderName {
    SenderName::new(name).unwrap()
}

pub(crate) fn video(width: u32, height: u32) -> Video {
    Video::new(width, height, PixelFormat::Bgra8)
}

impl Place {
    pub(crate) fn sender(&self, called: &str, video: Video) -> Box<dyn Sender> {
        let wish = SenderWish {
            name: name(called),
            video,
            make_active: true,
            texture: TextureWish::default(),
        };
        self.directory.sender(&wish).unwrap()
    }

    pub(crate) fn receiver(&self, called: &str) -> Box<dyn Receiver> {
        self.directory
            .receiver(Target::Named(name(called)))
            .unwrap()
    }

    pub(crate) fn any(&self) -> Box<dyn Receiver> {
        self.directory
            .receiver(Target::Active { own: true })
            .unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
