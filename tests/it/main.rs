//! One file per behaviour area. `main.rs` only lists them.

mod layers;
mod licences;
mod processor_contract;
mod surface;
