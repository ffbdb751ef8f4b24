//! `gst-scope version`.

use super::CommandError;
use crate::config::GIT_COMMIT;

#[expect(clippy::print_stdout, reason = "the answer of this command")]
pub(super) fn run() -> Result<(), CommandError> {
    println!("gst-scope {} ({GIT_COMMIT})", env!("CARGO_PKG_VERSION"));
    gst::init().map_err(|err| CommandError::new(&err, "install GStreamer 1.22 or newer"))?;
    println!("{}", gst::version_string());
    Ok(())
}
