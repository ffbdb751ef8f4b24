//! The two WebSockets from outside, over real sockets on loopback, with fake sessions behind them.

mod client;
mod coming_in;
mod limits;
mod proxy;
mod scope;
mod yolo;

use client::Server;
