//! Scope's node graph, read as a chain of models.
//!
//! Decision: one chain, from the first sink back to where its frames come from. Record nodes hang at its end or its
//! beginning, and one sink may share the picture with other applications. Everything else in the graph (what leads to
//! further sinks, parameter edges) is let through and has no effect.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::session::{RecordNode, Tap};

/// A model's place in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The node's id.
    pub node_id: String,
    /// Scope's `pipeline_id`.
    pub pipeline_id: String,
}

impl Stop {
    /// A model under its own name.
    pub fn of(pipeline_id: &str) -> Self {
        Self {
            node_id: pipeline_id.to_owned(),
            pipeline_id: pipeline_id.to_owned(),
        }
    }
}

/// A source on the server's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSource {
    /// `spout`, `video_file` or `test`.
    pub mode: String,
    /// Which one of them.
    pub name: String,
    /// It stands on its head.
    pub flipped: bool,
}

/// Source modes of the browser's, and of the server's.
const CLIENTS: [&str; 2] = ["video", "camera"];
const SERVERS: [&str; 3] = ["spout", "video_file", "test"];

/// What a graph comes down to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// The models between source and sink, in the order of the frames.
    pub stops: Vec<Stop>,
    /// Whether frames come from outside.
    pub has_source: bool,
    /// Where from, if not from the browser.
    pub server_source: Option<ServerSource>,
    /// Where it may be recorded.
    pub records: Vec<RecordNode>,
    /// Every sink's id, the chain's own first.
    pub sinks: Vec<String>,
    /// Every source's id.
    pub sources: Vec<String>,
    /// The name to share the picture under, where a sink says so.
    pub shared_as: Option<String>,
}

/// Where a node gets its frames from.
#[derive(Debug)]
struct Node<'a> {
    id: &'a str,
    kind: &'a str,
    fields: &'a Map<String, Value>,
}

/// Reads a graph whose fields have the right types already.
///
/// # Errors
///
/// Everything wrong with it at once, a sentence each.
pub fn read(graph: &Map<String, Value>) -> Result<Chain, Vec<String>> {
    let nodes: Vec<_> = objects(graph, "nodes").filter_map(node).collect();
    let edges: Vec<_> = objects(graph, "edges").collect();
    let errors = structural_errors(&nodes, &edges);
    if errors.is_empty() {
        follow(&nodes, &edges).map_err(|err| vec![err])
    } else {
        Err(errors)
    }
}

fn objects<'a>(
    graph: &'a Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    graph
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
}

fn node(fields: &Map<String, Value>) -> Option<Node<'_>> {
    Some(Node {
        id: text(fields, "id")?,
        kind: text(fields, "type")?,
        fields,
    })
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    fields
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn from(edge: &Map<String, Value>) -> Option<&str> {
    text(edge, "from").or_else(|| text(edge, "from_node"))
}

fn structural_errors(nodes: &[Node<'_>], edges: &[&Map<String, Value>]) -> Vec<String> {
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for node in nodes {
        if !seen.insert(node.id) {
            errors.push(format!("duplicate node id `{}`", node.id));
        }
        match node.kind {
            "pipeline" if text(node.fields, "pipeline_id").is_none() => {
                errors.push(format!("pipeline node `{}` has no pipeline_id", node.id));
            }
            "node" if text(node.fields, "node_type_id").is_none() => {
                errors.push(format!("node `{}` has no node_type_id", node.id));
            }
            "source" => errors.extend(source_error(node)),
            _ => {}
        }
    }
    if !nodes.iter().any(|node| node.kind == "sink") {
        errors.push("the graph has no sink".into());
    }
    for edge in edges {
        let ends = [from(edge), text(edge, "to_node")];
        let lost = ends
            .into_iter()
            .map(Option::unwrap_or_default)
            .filter(|end| !seen.contains(end));
        errors.extend(lost.map(|end| format!("an edge names `{end}`, which is no node")));
    }
    errors
}

fn source_error(node: &Node<'_>) -> Option<String> {
    match text(node.fields, "source_mode") {
        None => None,
        Some(mode) if CLIENTS.contains(&mode) || SERVERS.contains(&mode) => None,
        Some(other) => Some(format!(
            "source `{}` has source_mode `{other}`; this server knows {}",
            node.id,
            [&CLIENTS[..], &SERVERS[..]].concat().join(", ")
        )),
    }
}

/// Walks from the first sink against the stream.
fn follow(nodes: &[Node<'_>], edges: &[&Map<String, Value>]) -> Result<Chain, String> {
    let ids = |kind: &str| {
        let of_kind = nodes.iter().filter(|node| node.kind == kind);
        of_kind.map(|node| node.id.to_owned()).collect()
    };
    let mut chain = Chain {
        sinks: ids("sink"),
        sources: ids("source"),
        shared_as: nodes.iter().find_map(shared_as),
        ..Chain::default()
    };
    let mut passed = Vec::new();
    let mut at = nodes.iter().find(|node| node.kind == "sink");
    while let Some(node) = at {
        if passed.contains(&node.id) {
            return Err(format!("the frames go round in a circle at `{}`", node.id));
        }
        passed.push(node.id);
        match node.kind {
            "source" => {
                chain.has_source = true;
                chain.server_source = server_source(node);
            }
            "pipeline" => chain.stops.insert(
                0,
                Stop {
                    node_id: node.id.to_owned(),
                    pipeline_id: text(node.fields, "pipeline_id")
                        .unwrap_or_default()
                        .to_owned(),
                },
            ),
            _ => {}
        }
        let before = feeder(node, edges)?;
        at = nodes.iter().find(|node| Some(node.id) == before);
    }
    if chain.stops.is_empty() && !chain.has_source {
        return Err("nothing leads to the sink".into());
    }
    for node in nodes.iter().filter(|node| node.kind == "record") {
        // The sink passes on what it gets, so hanging behind it is hanging beside it.
        let tap = match feeder(node, edges)? {
            Some(end) if passed[..passed.len().min(2)].contains(&end) => Some(Tap::Picture),
            Some(source) if chain.has_source && passed.last() == Some(&source) => Some(Tap::Input),
            Some(_) | None => None,
        };
        chain.records.push(RecordNode {
            id: node.id.to_owned(),
            tap,
        });
    }
    Ok(chain)
}

fn server_source(node: &Node<'_>) -> Option<ServerSource> {
    let mode = text(node.fields, "source_mode").filter(|mode| SERVERS.contains(mode))?;
    let flipped = node.fields.get("source_flip_vertical");
    Some(ServerSource {
        mode: mode.to_owned(),
        name: text(node.fields, "source_name")
            .unwrap_or_default()
            .to_owned(),
        flipped: flipped.and_then(Value::as_bool) == Some(true),
    })
}

fn shared_as(node: &Node<'_>) -> Option<String> {
    let shares = node.kind == "sink" && text(node.fields, "sink_mode") == Some("spout");
    shares.then(|| {
        text(node.fields, "sink_name")
            .unwrap_or_default()
            .to_owned()
    })
}

/// The one node whose frames go into this one.
fn feeder<'a>(
    node: &Node<'_>,
    edges: &[&'a Map<String, Value>],
) -> Result<Option<&'a str>, String> {
    let mut feeder = None;
    for edge in edges
        .iter()
        .filter(|edge| text(edge, "to_node") == Some(node.id))
    {
        let port = text(edge, "to_port").unwrap_or("video");
        if text(edge, "kind").unwrap_or("stream") != "stream" {
            continue;
        }
        match port {
            "video" if feeder.is_some() => {
                return Err(format!("two streams go into port `video` of `{}`", node.id));
            }
            "video" => feeder = from(edge),
            other => return Err(format!("`{}` has no input port `{other}`", node.id)),
        }
    }
    Ok(feeder)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(graph: &Value) -> Result<Chain, Vec<String>> {
        read(graph.as_object().unwrap())
    }

    fn edge(from: &str, to: &str) -> Value {
        json!({ "from": from, "from_port": "video", "to_node": to, "to_port": "video", "kind": "stream" })
    }

    fn stop(node_id: &str, pipeline_id: &str) -> Stop {
        Stop {
            node_id: node_id.into(),
            pipeline_id: pipeline_id.into(),
        }
    }

    #[test]
    fn models_come_in_the_order_of_the_frames() {
        let chain = read_json(&json!({
            "nodes": [
                { "id": "out", "type": "sink" },
                { "id": "b", "type": "pipeline", "pipeline_id": "scope-tiny" },
                { "id": "a", "type": "pipeline", "pipeline_id": "passthrough" },
                { "id": "in", "type": "source", "source_mode": "camera" },
            ],
            "edges": [edge("b", "out"), edge("a", "b"), edge("in", "a")],
        }));

        let stops = vec![stop("a", "passthrough"), stop("b", "scope-tiny")];
        assert_eq!(
            chain,
            Ok(Chain {
                stops,
                has_source: true,
                sinks: vec!["out".into()],
                sources: vec!["in".into()],
                ..Chain::default()
            })
        );
    }

    #[test]
    fn a_graph_without_source_makes_its_frames_from_nothing() {
        let chain = read_json(&json!({
            "nodes": [{ "id": "a", "type": "pipeline", "pipeline_id": "x" }, { "id": "out", "type": "sink" }],
            "edges": [{ "from_node": "a", "to_node": "out" }],
        }));

        assert_eq!(
            chain,
            Ok(Chain {
                stops: vec![stop("a", "x")],
                sinks: vec!["out".into()],
                ..Chain::default()
            })
        );
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let errors = read_json(&json!({
            "nodes": [
                { "id": "a", "type": "pipeline" },
                { "id": "a", "type": "node" },
                { "id": "in", "type": "source", "source_mode": "ndi" },
            ],
            "edges": [edge("a", "nowhere")],
        }));

        assert_eq!(
            errors.unwrap_err(),
            [
                "pipeline node `a` has no pipeline_id",
                "duplicate node id `a`",
                "node `a` has no node_type_id",
                "source `in` has source_mode `ndi`; this server knows video, camera, spout, video_file, test",
                "the graph has no sink",
                "an edge names `nowhere`, which is no node",
            ]
        );
    }

    #[test]
    fn a_circle_a_crossing_and_an_unknown_port_are_refused() {
        let nodes = json!([
            { "id": "a", "type": "pipeline", "pipeline_id": "x" },
            { "id": "b", "type": "pipeline", "pipeline_id": "x" },
            { "id": "out", "type": "sink" },
        ]);
        let mut audio = edge("a", "out");
        audio["to_port"] = "audio".into();

        for (edges, error) in [
            (
                json!([edge("a", "b"), edge("b", "a"), edge("a", "out")]),
                "the frames go round in a circle at `a`",
            ),
            (
                json!([edge("a", "out"), edge("b", "out")]),
                "two streams go into port `video` of `out`",
            ),
            (json!([audio]), "`out` has no input port `audio`"),
            (json!([]), "nothing leads to the sink"),
        ] {
            assert_eq!(
                read_json(&json!({ "nodes": nodes, "edges": edges })).unwrap_err(),
                [error]
            );
        }
    }

    #[test]
    fn a_source_and_a_sink_may_be_the_servers_own() {
        let chain = read_json(&json!({
            "nodes": [
                { "id": "in", "type": "source", "source_mode": "video_file", "source_name": "clip",
                  "source_flip_vertical": true },
                { "id": "out", "type": "sink" },
                { "id": "more", "type": "sink", "sink_mode": "spout", "sink_name": "Out" },
            ],
            "edges": [edge("in", "out"), edge("in", "more")],
        }))
        .unwrap();

        let clip = ServerSource {
            mode: "video_file".into(),
            name: "clip".into(),
            flipped: true,
        };
        assert_eq!(chain.server_source, Some(clip));
        assert_eq!(chain.shared_as.as_deref(), Some("Out"));
        assert_eq!(chain.sinks, ["out", "more"]);
    }

    #[test]
    fn record_nodes_hang_at_either_end_of_the_chain() {
        let chain = read_json(&json!({
            "nodes": [
                { "id": "in", "type": "source" },
                { "id": "a", "type": "pipeline", "pipeline_id": "x" },
                { "id": "b", "type": "pipeline", "pipeline_id": "y" },
                { "id": "out", "type": "sink" },
                { "id": "picture", "type": "record" },
                { "id": "behind", "type": "record" },
                { "id": "input", "type": "record" },
                { "id": "between", "type": "record" },
                { "id": "loose", "type": "record" },
            ],
            "edges": [
                edge("in", "a"), edge("a", "b"), edge("b", "out"),
                edge("b", "picture"), edge("out", "behind"), edge("in", "input"), edge("a", "between"),
            ],
        }));

        let record = |id: &str, tap| RecordNode { id: id.into(), tap };
        let expected = [
            record("picture", Some(Tap::Picture)),
            record("behind", Some(Tap::Picture)),
            record("input", Some(Tap::Input)),
            record("between", None),
            record("loose", None),
        ];
        assert_eq!(chain.unwrap().records, expected);
    }

    #[test]
    fn without_a_model_the_source_is_the_picture() {
        let chain = read_json(&json!({
            "nodes": [
                { "id": "in", "type": "source" },
                { "id": "out", "type": "sink" },
                { "id": "film", "type": "record" },
            ],
            "edges": [edge("in", "out"), edge("in", "film")],
        }));

        assert_eq!(chain.unwrap().records[0].tap, Some(Tap::Picture));
    }

    #[test]
    fn parameter_edges_are_no_stream() {
        let mut parameter = edge("b", "a");
        parameter["kind"] = "parameter".into();
        let chain = read_json(&json!({
            "nodes": [
                { "id": "a", "type": "pipeline", "pipeline_id": "x" },
                { "id": "b", "type": "node", "node_type_id": "scheduler" },
                { "id": "out", "type": "sink" },
            ],
            "edges": [parameter, edge("a", "out")],
        }));

        assert_eq!(chain.unwrap().stops, [stop("a", "x")]);
    }
}
