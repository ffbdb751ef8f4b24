//! TLS with the system's certificates, without a process-wide choice of cryptography.

use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;

use crate::error::FalError;

/// The configuration of every connection.
pub(super) fn config() -> Result<rustls::ClientConfig, FalError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map(|config| config.with_no_client_auth())
        .map_err(|err| FalError::Unreachable {
            host: "any host over TLS".into(),
            reason: format!("the system's certificates cannot be used: {err}"),
        })
}
