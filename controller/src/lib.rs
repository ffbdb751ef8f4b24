//! The controller: REST, browser sessions, pipelines and the web page.

pub mod processor;
pub mod session;
