//! One file per behaviour area. `main.rs` only lists them.
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod app_socket;
mod browser;
mod cloud;
mod controller;
mod fal;
mod fal_app;
mod fal_signalling;
mod foreign_text;
mod headless;
mod layers;
mod licences;
mod no_copy;
mod obs;
mod page;
mod peers;
mod pipelines;
mod processor_contract;
mod recording;
mod secrets;
mod sharing;
mod spout;
mod spout_pipewire;
mod spout_soak;
mod spout_storm;
mod surface;
