//! App ids: `owner/app`, with a namespace before it or a path behind it.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::endpoint::is_fal_host;
use crate::error::FalError;

/// First parts that are no owner but a kind of app.
const NAMESPACES: [&str; 2] = ["workflows", "comfy"];

/// Which app of whom, and the path in it if the id names one.
///
/// Read from `owner/app[/path…]`, `123-app` (the older form of `123/app`) or a whole `https://` or `wss://` URL on a fal host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppId {
    namespace: Option<String>,
    owner: String,
    alias: String,
    path: Option<String>,
}

impl AppId {
    /// `owner/app` with its namespace, without the path.
    pub fn base(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}/{}", self.owner, self.alias),
            None => format!("{}/{}", self.owner, self.alias),
        }
    }

    /// The app's name without its owner: what legacy tokens are scoped to.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Whose app it is.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The path the id itself names, without slashes around it.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The path to use: the `option` where it says something, else the id's own, else `default`.
    pub fn path_or<'a>(&'a self, option: &'a str, default: &'a str) -> &'a str {
        let option = option.trim().trim_matches('/');
        if option.is_empty() {
            self.path().unwrap_or(default)
        } else {
            option
        }
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base())?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

impl FromStr for AppId {
    type Err = FalError;

    fn from_str(text: &str) -> Result<Self, FalError> {
        let invalid = |reason| FalError::InvalidAppId {
            // A pasted URL may carry a token in its query.
            id: text.split(['?', '#']).next().unwrap_or_default().to_owned(),
            reason,
        };
        let id = if text.contains("://") {
            let url = Url::parse(text.trim()).map_err(|_| invalid("the URL cannot be read"))?;
            if !matches!(url.scheme(), "https" | "wss") {
                return Err(invalid("a URL must be https or wss"));
            }
            if !url.host_str().is_some_and(is_fal_host) {
                return Err(invalid(
                    "the URL is on no fal host; give owner/app and set the run URL instead",
                ));
            }
            url.path().to_owned()
        } else {
            text.to_owned()
        };
        let id = id.trim().trim_matches('/');
        if id.is_empty() {
            return Err(invalid("it is empty"));
        }
        let formatted;
        let id = if id.contains('/') {
            id
        } else {
            formatted = numbered(id).ok_or_else(|| invalid("it must be owner/app"))?;
            &formatted
        };
        let mut parts: Vec<&str> = id.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid("a part between slashes is empty"));
        }
        if !parts.iter().all(|part| is_plain(part)) {
            return Err(invalid("a part has characters that no app id has"));
        }
        let namespace = NAMESPACES
            .contains(&parts[0])
            .then(|| parts.remove(0).to_owned());
        if parts.len() < 2 {
            return Err(invalid("it must be owner/app"));
        }
        Ok(Self {
            namespace,
            owner: parts[0].to_owned(),
            alias: parts[1].to_owned(),
            path: (parts.len() > 2).then(|| parts[2..].join("/")),
        })
    }
}

/// `123-app` as `123/app`.
fn numbered(id: &str) -> Option<String> {
    let (owner, app) = id.split_once('-')?;
    let digits = !owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_digit());
    let name = !app.is_empty()
        && app
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (digits && name).then(|| format!("{owner}/{app}"))
}

/// Whether a part can stand in a URL's path as it is, and stays where it stands.
fn is_plain(part: &str) -> bool {
    part != "."
        && part != ".."
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~@:+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> (Option<String>, String, String, Option<String>) {
        let id: AppId = text.parse().unwrap();
        (id.namespace, id.owner, id.alias, id.path)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn ids_are_taken_apart() {
        for (text, namespace, owner, alias, path) in [
            ("fal-ai/fast-sdxl", None, "fal-ai", "fast-sdxl", None),
            (
                "fal-ai/fast-sdxl/image-to-image",
                None,
                "fal-ai",
                "fast-sdxl",
                some("image-to-image"),
            ),
            (
                "workflows/fal-ai/fast-sdxl",
                some("workflows"),
                "fal-ai",
                "fast-sdxl",
                None,
            ),
            ("comfy/o/a/p/q", some("comfy"), "o", "a", some("p/q")),
            ("123-myapp", None, "123", "myapp", None),
            ("12-my-app-x", None, "12", "my-app-x", None),
            (" /o/a/realtime/ ", None, "o", "a", some("realtime")),
            ("wss://fal.run/o/a/ws?x=1", None, "o", "a", some("ws")),
            ("https://fal.run/o/a", None, "o", "a", None),
        ] {
            assert_eq!(
                parts(text),
                (namespace, owner.to_owned(), alias.to_owned(), path),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_no_app_is_refused() {
        for text in [
            "",
            " ",
            "/",
            "just-an-id",
            "abc-def",
            "123-my_app",
            "o",
            "/x",
            "a/",
            "workflows/a",
            "a//b",
            "a/../b",
            "a/b?c",
            "a/b c",
            "https://example.com/o/a",
            "https://notfal.run/o/a",
            "http://fal.run/o/a",
            "https://",
        ] {
            assert!(
                matches!(text.parse::<AppId>(), Err(FalError::InvalidAppId { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_refused_url_does_not_repeat_its_query() {
        let refused = "https://example.com/o/a?fal_jwt_token=canary"
            .parse::<AppId>()
            .unwrap_err();
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }

    #[test]
    fn the_option_beats_the_id_and_the_id_the_default() {
        let bare: AppId = "o/a".parse().unwrap();
        let with_path: AppId = "o/a/p".parse().unwrap();

        assert_eq!(bare.path_or("", "webrtc"), "webrtc");
        assert_eq!(with_path.path_or("", "webrtc"), "p");
        assert_eq!(with_path.path_or("/x/y/", "webrtc"), "x/y");
    }

    proptest! {
        #[test]
        fn any_text_is_an_id_or_an_error(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<AppId>() {
                prop_assert_eq!(id.to_string().parse::<AppId>().unwrap(), id);
            }
        }
    }
}
