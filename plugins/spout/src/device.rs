//! One sender, as GStreamer lists devices.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use texture_share::Description;

use crate::video::outgoing;

glib::wrapper! {
    /// A sender that was alive when it was listed.
    pub struct SpoutDevice(ObjectSubclass<imp::SpoutDevice>) @extends gst::Device, gst::Object;
}

impl SpoutDevice {
    /// `None` for a sender whose pixels GStreamer has no word for.
    pub(crate) fn new(sender: &Description, backend: &str, active: bool) -> Option<Self> {
        let caps = outgoing(&sender.video)?.to_caps().ok()?;
        let properties = gst::Structure::builder("spout-sender")
            .field("sender-name", sender.name.as_str())
            .field("backend", backend)
            .field("process", sender.process)
            .field("program", sender.program.as_str())
            .field("active", active)
            .build();
        Some(
            glib::Object::builder()
                .property("display-name", sender.name.as_str())
                .property("device-class", "Source/Video")
                .property("caps", caps)
                .property("properties", properties)
                .build(),
        )
    }
}

mod imp {
    use super::*;

    #[derive(Debug, Default)]
    pub struct SpoutDevice;

    #[glib::object_subclass]
    impl ObjectSubclass for SpoutDevice {
        const NAME: &'static str = "GstSpoutDevice";
        type Type = super::SpoutDevice;
        type ParentType = gst::Device;
    }

    impl ObjectImpl for SpoutDevice {}
    impl GstObjectImpl for SpoutDevice {}

    impl DeviceImpl for SpoutDevice {
        fn create_element(&self, name: Option<&str>) -> Result<gst::Element, gst::LoggableError> {
            let sender = self.obj().display_name();
            let element: crate::spoutsrc::SpoutSrc = glib::Object::builder()
                .property("sender-name", sender.as_str())
                .build();
            if let Some(name) = name {
                element.set_property("name", name);
            }
            Ok(element.upcast())
        }
    }
}
