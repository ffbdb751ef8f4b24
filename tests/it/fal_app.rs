//! The fal app of the tests does what the tests of the cloud path take for granted.

use anyhow::Result;
use scope_tests::{FalApp, http};
use serde_json::json;

#[test]
fn tokens_are_for_the_right_key_and_in_the_chosen_shape() -> Result<()> {
    let app = FalApp::start(Some("id:secret"))?;
    let body = json!({"allowed_apps": ["app"], "token_expiration": 120});

    let refused = http::request(&app.address, "POST", "/tokens/", Some(&body))?;
    assert_eq!(refused.status, 401, "{}", refused.text());

    app.faults(&json!({"token": {"status": 403, "body": {"detail": "User is locked."}}}))?;
    let locked = http::request(&app.address, "POST", "/tokens/", Some(&body))?;
    assert_eq!(
        (locked.status, locked.json()?),
        (403, json!({"detail": "User is locked."}))
    );
    assert_eq!(app.report()?["tokens"], 2);
    Ok(())
}

#[test]
fn an_upgrade_is_refused_as_often_as_was_said() -> Result<()> {
    let app = FalApp::start(None)?;
    app.faults(&json!({"attempts": [{"upgrade_status": 503}, {"upgrade_status": 429}]}))?;
    let knock = || http::request(&app.address, "GET", "/owner/app/webrtc", None);

    assert_eq!(knock()?.status, 503);
    assert_eq!(knock()?.status, 429);
    // Let in, and then it is no WebSocket client.
    assert_eq!(knock()?.status, 400);
    assert_eq!(app.report()?["attempts"], 3);
    Ok(())
}
