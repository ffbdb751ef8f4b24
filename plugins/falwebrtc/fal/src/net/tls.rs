//! TLS with the system's certificates, without a process-wide choice of cryptography.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::error::FalError;

/// The configuration of every connection.
pub(super) fn config() -> Result<ClientConfig, FalError> {
    finished(BuilderVerifierExt::with_platform_verifier)
}

/// A configuration that trusts nobody, for a system without certificates.
pub(super) fn distrusting() -> Result<ClientConfig, FalError> {
    finished(|builder| Ok(builder.with_root_certificates(RootCertStore::empty())))
}

type Verified = Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error>;

fn finished(
    verified: impl FnOnce(ConfigBuilder<ClientConfig, WantsVerifier>) -> Verified,
) -> Result<ClientConfig, FalError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(verified)
        .map(|config| config.with_no_client_auth())
        .map_err(|err| FalError::Unreachable {
            host: "any host over TLS".into(),
            reason: format!("the system's certificates cannot be used: {err}"),
        })
}
