//! The controller: REST, browser sessions, pipelines and the web page.

pub mod api;
pub mod app_socket;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod guard;
pub mod library;
pub mod log;
pub mod media;
pub mod page;
pub mod processor;
pub mod secret;
pub mod server;
pub mod session;
