//! `spoutdeviceprovider`: who is there, and who comes and goes.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use gst::prelude::*;

mod ground;

use ground::{Sending, caps, name};

fn listed(name: &str) -> Option<gst::Device> {
    let provider = gst::DeviceProviderFactory::by_name("spoutdeviceprovider").unwrap();
    let mut devices = provider.devices().into_iter();
    devices.find(|device| device.display_name() == name)
}

#[test]
fn a_sender_is_listed_with_what_it_sends_and_makes_its_own_source() {
    let name = name();
    let mut sending = Sending::new(&name, &caps("RGBA", 64, 48));
    sending.send(vec![5; 64 * 48 * 4]);

    let device = listed(&name).unwrap();

    assert!(device.caps().unwrap().can_intersect(&caps("RGBA", 64, 48)));
    assert!(device.has_classes("Source/Video"));
    let properties = device.properties().unwrap();
    assert_eq!(properties.get::<&str>("sender-name").unwrap(), name);
    assert_eq!(
        properties.get::<u32>("process").unwrap(),
        std::process::id()
    );
    let source = device.create_element(Some("mine")).unwrap();
    assert_eq!(source.name(), "mine");
    assert_eq!(source.property::<String>("sender-name"), name);
    drop(sending);
    assert!(listed(&name).is_none());
}

#[test]
fn a_monitor_is_told_who_comes_changes_and_goes() {
    ground::init();
    let name = name();
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some("Source/Video"), None).unwrap();
    monitor.start().unwrap();
    let bus = monitor.bus();
    let told = |kind: gst::MessageType| loop {
        let message = bus
            .timed_pop_filtered(ground::GENEROUS, &[kind])
            .expect("nothing was told");
        let device = match message.view() {
            gst::MessageView::DeviceAdded(added) => added.device(),
            gst::MessageView::DeviceRemoved(removed) => removed.device(),
            gst::MessageView::DeviceChanged(changed) => changed.device_changed().0,
            _ => unreachable!("only these were asked for"),
        };
        if device.display_name() == name {
            return device;
        }
    };
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![5; 256]);
    told(gst::MessageType::DeviceAdded);

    sending.caps(&caps("BGRA", 16, 4));
    sending.send(vec![5; 256]);
    let changed = told(gst::MessageType::DeviceChanged);
    assert!(changed.caps().unwrap().can_intersect(&caps("BGRA", 16, 4)));

    drop(sending);
    told(gst::MessageType::DeviceRemoved);
    monitor.stop();
}
