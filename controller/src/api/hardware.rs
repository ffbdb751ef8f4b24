//! What this machine has.

use std::path::Path;
use std::process::{Command, Stdio};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/hardware/info", get(info))
}

async fn info(State(state): State<AppState>) -> Json<Value> {
    let spout = state.library.keepers.has_element("spoutsink");
    let memory = tokio::task::spawn_blocking(gpu_memory).await.ok().flatten();
    let absent = |what: &str| {
        json!({
            "available": false,
            "reason": format!("this build has no {what}"),
            "install_hint": null,
        })
    };
    Json(json!({
        "vram_gb": memory.map(|memory| memory.total_mb / 1024.0),
        "spout": if spout {
            json!({ "available": true, "reason": null, "install_hint": null })
        } else {
            absent("Spout elements")
        },
        "ndi": absent("NDI"),
        "syphon": absent("Syphon"),
    }))
}

/// Memory of the first GPU, MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GpuMemory {
    pub(super) used_mb: f64,
    pub(super) total_mb: f64,
}

/// Asks the driver's own tool, so no GPU library is linked or loaded. Blocks; `None` without an NVIDIA driver.
pub(super) fn gpu_memory() -> Option<GpuMemory> {
    if !Path::new("/dev/nvidiactl").exists() {
        return None;
    }
    let output = Command::new("nvidia-smi")
        .args([
            "--query-gpu=memory.used,memory.total",
            "--format=csv,noheader,nounits",
            "--id=0",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(line: &str) -> Option<GpuMemory> {
    let (used, total) = line.lines().next()?.split_once(',')?;
    Some(GpuMemory {
        used_mb: used.trim().parse().ok()?,
        total_mb: total.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_answer_is_read() {
        assert_eq!(
            parse("513, 143771\n"),
            Some(GpuMemory {
                used_mb: 513.0,
                total_mb: 143_771.0
            })
        );
        assert_eq!(parse("No devices were found"), None);
        assert_eq!(parse("[N/A], [N/A]"), None);
    }
}
