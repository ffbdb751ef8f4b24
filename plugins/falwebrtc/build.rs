//! Hands the commit and date to `plugin_define!`.

fn main() {
    gst_plugin_version_helper::info();
}
