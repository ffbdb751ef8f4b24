//! The mutex that lies in a texture.
#![allow(unsafe_code, reason = "the mutex is asked by its table of methods")]

use windows::Win32::Foundation::{S_OK, WAIT_ABANDONED};
use windows::Win32::Graphics::Dxgi::IDXGIKeyedMutex;
use windows::core::Interface;

use super::device::Texture;
use super::kernel::PATIENCE;

/// The key that Spout's programs use on both sides.
const KEY: u64 = 0;

/// A turn at the texture, until dropped.
#[derive(Debug)]
pub(super) struct Keyed(IDXGIKeyedMutex);

/// What came of asking for a turn.
#[derive(Debug)]
pub(super) enum Asked {
    Turn(Keyed),
    /// Somebody else kept it for too long.
    Busy,
    /// Its owner died, and the texture is of no more use, Direct3D says: its sender has to make a new one.
    Spoilt,
}

pub(super) fn ask(texture: &Texture) -> Asked {
    let Ok(mutex) = texture.texture.cast::<IDXGIKeyedMutex>() else {
        return Asked::Busy;
    };
    let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: the mutex is alive. By its table, because a wait in vain is a success to `Result`.
    let outcome = unsafe { (Interface::vtable(&mutex).AcquireSync)(mutex.as_raw(), KEY, patience) };
    if outcome == S_OK {
        Asked::Turn(Keyed(mutex))
    } else if outcome.0.cast_unsigned() == WAIT_ABANDONED.0 {
        Asked::Spoilt
    } else {
        Asked::Busy
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        // SAFETY: acquired with the same key.
        let _ = unsafe { self.0.ReleaseSync(KEY) };
    }
}
