//! A `d3d11.dll` for tests under wine, whose own cannot share textures between processes.
//!
//! Lies beside the program (`WINEDLLOVERRIDES=d3d11=n,b`), loads the system's `d3d11.dll` and patches the methods that
//! make, open, copy and draw textures: one that is made to be shared gets a number and a named mapping with its
//! pixels. What is drawn or copied into it goes into the mapping, too; before it is copied from, it is brought up to
//! date. Keyed mutexes are made of named ones. NT handles and drawing by the graphics pipeline are not stood in for.
//!
//! Source: wine 8.0, and `ID3D11Device` as Microsoft documents it.

#![cfg(windows)]
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc,
    reason = "stands between a program and COM objects by their virtual tables, in tests only"
)]

mod exports;
mod keyed;
mod methods;
mod mirror;
