//! An offer's body, read into what a session needs: description, parameters and the chain of processors.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::parameters;
use super::route;
use super::shape::{Shape, check_fields, optional, required};
use crate::cloud::Cloud;
use crate::library::loader::Loader;
use crate::session::Offer;

/// Reads and checks a body; nothing is started yet.
pub(super) fn read(
    mut body: Map<String, Value>,
    loader: &Loader,
    cloud: &Cloud,
) -> Result<Offer, ApiError> {
    let fields = [
        required("sdp", Shape::Text),
        required("type", Shape::Text),
        optional("initialParameters", Shape::Object),
    ];
    let mut issues = check_fields(&fields, &body, &["body".into()]);
    let sent = match body.remove("initialParameters") {
        Some(Value::Object(sent)) => sent,
        Some(_) | None => Map::new(),
    };
    let loc = ["body".into(), "initialParameters".into()];
    let sent = parameters::read(sent, &loc).map_err(|more| issues.extend(more));
    let (Ok(sent), true) = (sent, issues.is_empty()) else {
        return Err(issues.into());
    };

    let mut sent = sent;
    let route = route::read(&mut sent)?;
    let wanted = route.wanted(sent, Vec::new(), loader, cloud)?;
    let sdp = body
        .get("sdp")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok(Offer { sdp, wanted })
}
