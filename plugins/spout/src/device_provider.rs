//! `spoutdeviceprovider`: the senders on this machine, for `gst-device-monitor-1.0` and sender browsers.
//!
//! ```text
//! gst-device-monitor-1.0 Source/Video
//! ```

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The provider.
    pub struct SpoutDeviceProvider(ObjectSubclass<imp::SpoutDeviceProvider>) @extends gst::DeviceProvider, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::DeviceProvider::register(
        Some(plugin),
        "spoutdeviceprovider",
        gst::Rank::PRIMARY,
        SpoutDeviceProvider::static_type(),
    )
}

mod imp {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, LazyLock, Mutex};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use gst::subclass::prelude::*;
    use texture_share::{Adapter, Backend, Description, Directory, ShareError};

    use super::*;
    use crate::device::SpoutDevice;
    use crate::errors;

    /// How often a started provider looks who is there.
    const LOOK_EVERY: Duration = Duration::from_millis(500);

    static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
        gst::DebugCategory::new(
            "spoutdeviceprovider",
            gst::DebugColorFlags::empty(),
            Some("Senders of video on this machine"),
        )
    });

    #[derive(Debug)]
    struct Watching {
        stop: Arc<AtomicBool>,
        thread: JoinHandle<()>,
    }

    #[derive(Debug, Default)]
    pub struct SpoutDeviceProvider {
        watching: Mutex<Option<Watching>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SpoutDeviceProvider {
        const NAME: &'static str = "GstSpoutDeviceProvider";
        type Type = super::SpoutDeviceProvider;
        type ParentType = gst::DeviceProvider;
    }

    impl ObjectImpl for SpoutDeviceProvider {}
    impl GstObjectImpl for SpoutDeviceProvider {}

    impl DeviceProviderImpl for SpoutDeviceProvider {
        fn metadata() -> Option<&'static gst::subclass::DeviceProviderMetadata> {
            static METADATA: LazyLock<gst::subclass::DeviceProviderMetadata> =
                LazyLock::new(|| {
                    gst::subclass::DeviceProviderMetadata::new(
                        "Spout device provider",
                        "Source/Video",
                        "Lists who shares video on this machine (Spout, shared memory)",
                        "The Scope live video authors",
                    )
                });
            Some(&METADATA)
        }

        fn probe(&self) -> Vec<gst::Device> {
            match look() {
                Ok(seen) => seen.iter().filter_map(device).map(Cast::upcast).collect(),
                Err(error) => {
                    gst::warning!(CAT, imp = self, "{}", errors::sentence(&error));
                    Vec::new()
                }
            }
        }

        fn start(&self) -> Result<(), gst::LoggableError> {
            let failed = |text: String| gst::loggable_error!(CAT, "{text}");
            // The first look is taken here, so that the devices are there when this returns.
            let directory = texture_share::open(Backend::Auto, Adapter::Auto)
                .map_err(|error| failed(errors::sentence(&error)))?;
            let mut known = Known::default();
            known.update(&self.obj(), see(&*directory).unwrap_or_default());
            let stop = Arc::new(AtomicBool::new(false));
            let (provider, stopped) = (self.obj().downgrade(), stop.clone());
            let thread = thread::Builder::new()
                .name("spout-devices".into())
                .spawn(move || {
                    loop {
                        thread::park_timeout(LOOK_EVERY);
                        let (false, Some(provider)) =
                            (stopped.load(Ordering::Acquire), provider.upgrade())
                        else {
                            return;
                        };
                        match see(&*directory) {
                            Ok(seen) => known.update(&provider, seen),
                            Err(error) => {
                                gst::warning!(CAT, obj = provider, "{}", errors::sentence(&error));
                            }
                        }
                    }
                })
                .map_err(|error| failed(format!("the watching thread did not start: {error}")))?;
            *self.watching.lock().unwrap() = Some(Watching { stop, thread });
            Ok(())
        }

        fn stop(&self) {
            let Some(watching) = self.watching.lock().unwrap().take() else {
                return;
            };
            watching.stop.store(true, Ordering::Release);
            watching.thread.thread().unpark();
            // The last reference may be dropped by the thread itself, which must not wait for its own end.
            let own = watching.thread.thread().id() == thread::current().id();
            if !own && watching.thread.join().is_err() {
                gst::error!(CAT, imp = self, "the watching thread had panicked");
            }
        }
    }

    /// A sender as it is listed.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Seen {
        sender: Description,
        backend: &'static str,
        active: bool,
    }

    fn look() -> Result<Vec<Seen>, ShareError> {
        see(&*texture_share::open(Backend::Auto, Adapter::Auto)?)
    }

    fn see(directory: &dyn Directory) -> Result<Vec<Seen>, ShareError> {
        let senders = directory.senders()?;
        let active = match senders.len() {
            0 => None,
            _ => directory.active()?,
        };
        let seen = senders.into_iter().map(|sender| Seen {
            active: Some(&sender.name) == active.as_ref(),
            backend: directory.backend(),
            sender,
        });
        Ok(seen.collect())
    }

    fn device(seen: &Seen) -> Option<SpoutDevice> {
        SpoutDevice::new(&seen.sender, seen.backend, seen.active)
    }

    /// What has been told so far.
    #[derive(Debug, Default)]
    struct Known(Vec<(Seen, SpoutDevice)>);

    impl Known {
        /// Tells of those that came, changed and went.
        fn update(&mut self, provider: &super::SpoutDeviceProvider, seen: Vec<Seen>) {
            let before = std::mem::take(&mut self.0);
            let mut gone: Vec<_> = before;
            for seen in seen {
                let same = |(known, _): &(Seen, SpoutDevice)| known.sender.name == seen.sender.name;
                let known = gone.iter().position(same).map(|at| gone.swap_remove(at));
                match known {
                    Some((known, device)) if known == seen => self.0.push((known, device)),
                    Some((_, old)) => {
                        if let Some(device) = device(&seen) {
                            provider.device_changed(&device, &old);
                            self.0.push((seen, device));
                        }
                    }
                    None => {
                        if let Some(device) = device(&seen) {
                            provider.device_add(&device);
                            self.0.push((seen, device));
                        }
                    }
                }
            }
            for (_, device) in gone {
                provider.device_remove(&device);
            }
        }
    }
}
