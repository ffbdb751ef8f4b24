//! Other processors in place of the present ones, while the stream runs.

use std::path::Path;
use std::time::Duration;

use scope_controller::cloud::Cloud;
use scope_controller::config::{Config, RawConfig};
use scope_controller::processor::Processor;
use scope_controller::session::{Models, Parameters, SessionError, Sessions};
use serde_json::json;

use crate::client::{Wish, until};
use crate::recording::{furniture, shelf};
use crate::{patch, processor, registry, streaming};

/// A cloud that nobody connects to.
pub(crate) fn nowhere() -> Cloud {
    let config = Config::new(RawConfig::default(), Path::new("/")).unwrap();
    Cloud::new(config.cloud)
}

/// Loaded models of a test: two plain effects that can be told apart by the size they leave.
#[derive(Debug)]
pub(crate) struct TwoSizes;

impl Models for TwoSizes {
    fn bind(&self, ids: &[String]) -> Result<(Vec<Processor>, Parameters), String> {
        let size = match ids {
            [id] if id == "small" => Some((160, 112)),
            [id] if id == "wide" => Some((256, 96)),
            [id] if id == "passthrough" => return Ok((vec![], Parameters::new())),
            _ => return Err(format!("`{}` is not loaded", ids.join(","))),
        };
        Ok((vec![processor("identity", &[], size)], Parameters::new()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processor_is_changed_while_the_stream_runs() {
    let sessions = registry();
    let folder = tempfile::tempdir().unwrap();
    sessions.furnish(furniture(shelf(&folder.path().join("recordings"))));
    let (client, id) = streaming(&sessions, &Wish::default()).await;

    for (pipeline, size) in [
        ("small", (160, 112)),
        ("wide", (256, 96)),
        ("passthrough", (320, 240)),
        ("small", (160, 112)),
    ] {
        sessions
            .apply_parameters(patch(&json!({"pipeline_ids": [pipeline]})))
            .await
            .unwrap();
        until(pipeline, Duration::from_secs(20), || {
            *client.seen.size.lock().unwrap() == Some(size)
        })
        .await;
        client.see(5).await;
    }
    let refused = sessions
        .apply_parameters(patch(&json!({"pipeline_ids": ["unknown"]})))
        .await;

    assert_eq!(
        refused,
        Err(SessionError::BadParameter("`unknown` is not loaded".into()))
    );
    client.see(5).await;
    assert_eq!(*client.seen.size.lock().unwrap(), Some((160, 112)));
    assert_eq!(sessions.metrics().len(), 1, "{id} lives on");
}
