//! A model for an offer that comes over a socket: a fal app has no page to load one.

use serde_json::Value;

use crate::library::loader::{Loader, Phase};
use crate::library::models::TINY;
use crate::library::wish::Wish;
use crate::session::Parameters;

/// Waits until no load is going on. Where nothing is loaded, what the offer names is loaded first, or the built-in
/// model when it names none.
pub(super) async fn ensure(loader: &Loader, offered: &Parameters) {
    let is_loading = matches!(loader.status().phase, Phase::Loading(_));
    if !is_loading && loader.loaded().is_empty() {
        loader.load(wishes(offered));
    }
    loader.settled().await;
}

/// The models of an offer's parameters, as its list or its graph names them.
fn wishes(offered: &Parameters) -> Vec<Wish> {
    let wish = |node: &str, model: &str| Wish {
        node_id: node.to_owned(),
        pipeline_id: model.to_owned(),
        load_params: None,
    };
    let listed = offered.get("pipeline_ids").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let nodes = offered
        .get("graph")
        .and_then(|graph| graph["nodes"].as_array());
    let drawn = nodes.into_iter().flatten().filter_map(|node| {
        let model = node["pipeline_id"].as_str()?;
        Some((node["id"].as_str().unwrap_or(model), model))
    });
    let mut wishes: Vec<_> = drawn.map(|(node, model)| wish(node, model)).collect();
    if wishes.is_empty() {
        wishes = listed.map(|model| wish(model, model)).collect();
    }
    if wishes.is_empty() {
        wishes.push(wish(TINY, TINY));
    }
    wishes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn models(offered: Value) -> Vec<String> {
        let Value::Object(offered) = offered else {
            panic!("no object: {offered}");
        };
        wishes(&offered)
            .into_iter()
            .map(|wish| wish.pipeline_id)
            .collect()
    }

    #[test]
    fn an_offer_that_names_nothing_gets_the_built_in_model() {
        assert_eq!(models(json!({ "noise_scale": 0.5 })), [TINY]);
        assert_eq!(models(json!({ "pipeline_ids": [], "graph": 7 })), [TINY]);
    }

    #[test]
    fn an_offer_gets_what_it_names_and_a_graph_has_the_last_word() {
        let graph = json!({ "nodes": [{ "id": "in" }, { "id": "a", "pipeline_id": "b" }] });

        assert_eq!(
            models(json!({ "pipeline_ids": ["sd-turbo"] })),
            ["sd-turbo"]
        );
        assert_eq!(
            models(json!({ "pipeline_ids": ["x"], "graph": graph })),
            ["b"]
        );
    }
}
