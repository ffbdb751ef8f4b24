//! What this machine has.

use std::path::Path;
use std::process::{Command, Stdio};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::AppState;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/hardware/info", get(info))
}

async fn info(State(state): State<AppState>) -> Json<Value> {
    let spout = state.library.keepers.has_element("spoutsink");
    let gpu = tokio::task::spawn_blocking(gpu).await.ok().flatten();
    let absent = |what: &str| {
        json!({
            "available": false,
            "reason": format!("this build has no {what}"),
            "install_hint": null,
        })
    };
    Json(json!({
        "vram_gb": gpu.as_ref().map(|gpu| gpu.total_mb / 1024.0),
        "spout": if spout {
            json!({ "available": true, "reason": null, "install_hint": null })
        } else {
            absent("Spout elements")
        },
        "ndi": absent("NDI"),
        "syphon": absent("Syphon"),
        "gpu": gpu.map(|gpu| gpu.name),
    }))
}

/// What a far client is told that this machine is.
pub(crate) async fn told() -> Map<String, Value> {
    let gpu = tokio::task::spawn_blocking(gpu).await.ok().flatten();
    Map::from_iter([
        (
            "vram_gb".into(),
            json!(gpu.as_ref().map(|gpu| gpu.total_mb / 1024.0)),
        ),
        ("gpu".into(), json!(gpu.map(|gpu| gpu.name))),
    ])
}

/// The first GPU.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gpu {
    pub(super) name: String,
    /// Memory in use, MiB.
    pub(super) used_mb: f64,
    /// Memory in all, MiB.
    pub(super) total_mb: f64,
}

/// Asks the driver's own tool, so no GPU library is linked or loaded. Blocks; `None` without an NVIDIA driver.
pub(super) fn gpu() -> Option<Gpu> {
    if !Path::new("/dev/nvidiactl").exists() {
        return None;
    }
    let output = Command::new("nvidia-smi")
        .args([
            "--query-gpu=memory.used,memory.total,name",
            "--format=csv,noheader,nounits",
            "--id=0",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(text: &str) -> Option<Gpu> {
    // The name comes last: it may hold a comma.
    let mut fields = text.lines().next()?.splitn(3, ',').map(str::trim);
    Some(Gpu {
        used_mb: fields.next()?.parse().ok()?,
        total_mb: fields.next()?.parse().ok()?,
        name: fields.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_answer_is_read() {
        assert_eq!(
            parse("513, 143771, NVIDIA H200\n"),
            Some(Gpu {
                name: "NVIDIA H200".into(),
                used_mb: 513.0,
                total_mb: 143_771.0
            })
        );
        assert_eq!(parse("No devices were found"), None);
        assert_eq!(parse("[N/A], [N/A], a, b"), None);
    }
}
