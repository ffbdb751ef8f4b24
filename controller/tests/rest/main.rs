//! The REST edge from outside: every route through `router().oneshot`, with fakes behind it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod app_socket;
mod assets;
mod cloud;
mod guard;
mod headless;
mod loading;
mod offers;
mod recordings;
mod requests;
mod server;
mod shapes;
mod support;
