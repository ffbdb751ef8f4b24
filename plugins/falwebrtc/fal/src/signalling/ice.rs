//! Candidates and the servers that help to find them.

use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// One address a peer may be reached at. Field names are the W3C's in snake case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidate {
    /// The candidate line, starting with `candidate:`.
    pub candidate: String,
    /// Media id of its section.
    pub sdp_mid: Option<String>,
    /// Index of its section.
    pub sdp_mline_index: Option<u16>,
}

impl IceCandidate {
    /// Takes a candidate line, with or without `a=`; `None` when it is empty, which means *no more candidates*.
    pub fn new(line: &str, sdp_mid: Option<String>, sdp_mline_index: Option<u16>) -> Option<Self> {
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let value = line.strip_prefix("candidate:").unwrap_or(line).trim();
        (!value.is_empty()).then(|| Self {
            candidate: format!("candidate:{value}"),
            sdp_mid,
            sdp_mline_index,
        })
    }

    /// Reads the field of a message; null, missing and empty are `None`.
    pub(crate) fn from_json(value: Option<&Value>) -> Option<Self> {
        let (line, fields) = match value? {
            // Some write the bare line.
            Value::String(line) => (line.as_str(), None),
            Value::Object(fields) => (fields.get("candidate")?.as_str()?, Some(fields)),
            _ => return None,
        };
        let field = |name| fields.and_then(|fields: &Map<_, _>| fields.get(name));
        Self::new(
            line,
            field("sdpMid").and_then(Value::as_str).map(str::to_owned),
            field("sdpMLineIndex")
                .and_then(Value::as_u64)
                .and_then(|index| index.try_into().ok()),
        )
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "candidate": self.candidate,
            "sdpMid": self.sdp_mid,
            "sdpMLineIndex": self.sdp_mline_index,
        })
    }
}

/// A STUN or TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, …
    pub urls: Vec<String>,
    /// Of a TURN server.
    pub username: Option<String>,
    /// Of a TURN server.
    pub credential: Option<Secret>,
}

impl IceServer {
    /// Reads a list of servers; entries without a URL are left out.
    pub(crate) fn list_from_json(value: Option<&Value>) -> Vec<Self> {
        let servers = value.and_then(Value::as_array).map(Vec::as_slice);
        servers
            .unwrap_or_default()
            .iter()
            .filter_map(Self::from_json)
            .collect()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let urls: Vec<String> = match value.get("urls").or_else(|| value.get("url"))? {
            Value::String(url) => vec![url.clone()],
            Value::Array(urls) => urls
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => return None,
        };
        (!urls.is_empty()).then(|| Self {
            urls,
            username: text("username"),
            credential: text("credential").map(Secret::new),
        })
    }

    /// For the wire, password and all.
    pub(crate) fn to_json(&self) -> Value {
        let mut server = json!({"urls": self.urls});
        if let Some(username) = &self.username {
            server["username"] = json!(username);
        }
        if let Some(credential) = &self.credential {
            server["credential"] = json!(credential.expose());
        }
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_line_is_taken_in_every_spelling() {
        let wanted = "candidate:1 1 UDP 2122 192.0.2.1 5000 typ host";
        for line in [
            wanted.to_owned(),
            format!("a={wanted}"),
            format!(" a={wanted}\r\n"),
            wanted.replace("candidate:", ""),
        ] {
            let candidate = IceCandidate::new(&line, None, Some(0)).unwrap();
            assert_eq!(candidate.candidate, wanted, "{line:?}");
        }
    }

    #[test]
    fn null_missing_and_empty_are_the_end() {
        for field in [
            json!(null),
            json!(""),
            json!({}),
            json!({"candidate": null}),
            json!({"candidate": ""}),
            json!({"candidate": "candidate:", "sdpMid": "0"}),
            json!(7),
        ] {
            assert_eq!(IceCandidate::from_json(Some(&field)), None, "{field}");
        }
        assert_eq!(IceCandidate::from_json(None), None);
    }

    #[test]
    fn a_candidate_survives_its_json() {
        let candidate = IceCandidate::new("candidate:1 1 udp 1 ::1 9 typ host", None, Some(3));
        let written = candidate.as_ref().unwrap().to_json();
        assert_eq!(IceCandidate::from_json(Some(&written)), candidate);
    }

    #[test]
    fn servers_come_in_several_shapes() {
        let list = json!([
            {"urls": "stun:a"},
            {"urls": ["turn:b", 7], "username": "u", "credential": "canary"},
            {"url": "stun:c"},
            {"urls": []},
            {"username": "u"},
            7,
        ]);
        let servers = IceServer::list_from_json(Some(&list));

        let urls: Vec<_> = servers
            .iter()
            .map(|server| server.urls[0].as_str())
            .collect();
        assert_eq!(urls, ["stun:a", "turn:b", "stun:c"]);
        assert_eq!(servers[1].credential.as_ref().unwrap().expose(), "canary");
        assert!(!format!("{servers:?}").contains("canary"));
        assert_eq!(servers[1].to_json()["credential"], "canary");
        assert_eq!(IceServer::list_from_json(Some(&json!({}))), []);
    }
}
