//! Connecting to the cloud, as far as it goes without one.

use scope_controller::config::{RawCloud, RawConfig};
use scope_controller::secret::Secret;
use serde_json::json;

use crate::support::Scope;

#[tokio::test]
async fn a_body_that_is_none_is_422() {
    let scope = Scope::new();

    for body in [
        json!({"app_id": 7}),
        json!({"api_key": []}),
        json!({"initial_parameters": "x"}),
        json!({"initial_parameters": {"noise_scale": 7}}),
    ] {
        for path in ["/api/v1/fal/connect", "/api/v1/cloud/connect"] {
            let reply = scope.post(path, &body).await;
            reply.assert_error(422, "invalid_request");
        }
    }
}

#[tokio::test]
async fn missing_credentials_are_named_and_nothing_is_connected() {
    let scope = Scope::new();

    for (body, missing) in [
        (json!({}), "no app id"),
        (json!({"app_id": " ", "api_key": "k"}), "no app id"),
        (json!({"app_id": "owner/app"}), "no API key"),
    ] {
        let reply = scope.post("/api/v1/fal/connect", &body).await;
        reply.assert_error(400, "cloud_not_configured");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with(missing), "{detail}");
    }
    let status = scope.get("/api/v1/fal/status").await.json();
    assert_eq!(
        (&status["connected"], &status["connecting"]),
        (&json!(false), &json!(false))
    );
    for path in ["/api/v1/fal/disconnect", "/api/v1/cloud/disconnect"] {
        assert_eq!(scope.post(path, &json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn configured_credentials_show_as_such_and_never_themselves() {
    let scope = Scope::with(RawConfig {
        cloud: RawCloud {
            app_id: Some("owner/app".into()),
            api_key: Some(Secret::new("canary-key")),
            ..RawCloud::default()
        },
        ..RawConfig::default()
    });

    let reply = scope.get("/api/v1/cloud/status").await;

    assert_eq!(reply.json()["credentials_configured"], json!(true));
    assert!(!String::from_utf8_lossy(&reply.body).contains("canary"));
}
