//! `gst-scope`: live AI video from a terminal.

fn main() {}
