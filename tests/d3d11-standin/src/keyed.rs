//! The mutex in a texture, made of a named one: all programs that open the texture share it.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use windows::Win32::Foundation::{E_FAIL, E_NOTIMPL, HANDLE, WAIT_ABANDONED, WAIT_OBJECT_0};
use windows::Win32::Graphics::Dxgi::{
    IDXGIDeviceSubObject_Impl, IDXGIKeyedMutex, IDXGIKeyedMutex_Impl, IDXGIObject_Impl,
};
use windows::Win32::System::Threading::{CreateMutexA, ReleaseMutex, WaitForSingleObject};
use windows::core::{Error, GUID, HRESULT, IUnknown, Owned, PCSTR, Ref, Result, implement};

use crate::mirror::Mirror;

/// What `AcquireSync` answers when it waited in vain, and when an owner died: successes of their own.
const TIMEOUT: HRESULT = HRESULT(0x102);
const ABANDONED: HRESULT = HRESULT(0x80);

#[implement(IDXGIKeyedMutex)]
struct Keyed {
    mirror: Arc<Mirror>,
    /// The mirror's.
    mutex: HANDLE,
}

/// The mutex of a mirrored texture.
pub(crate) fn of(mirror: Arc<Mirror>) -> Result<IDXGIKeyedMutex> {
    let name = format!("SharedTextureStandIn_mutex_{:08x}\0", mirror.token);
    if mirror.mutex.get().is_none() {
        let mutex = unsafe { CreateMutexA(None, false, PCSTR(name.as_ptr())) }?;
        // Another thread's is as good.
        let _ = mirror.mutex.set(unsafe { Owned::new(mutex) });
    }
    let mutex = mirror
        .mutex
        .get()
        .map_or(HANDLE::default(), |mutex| **mutex);
    Ok(Keyed { mirror, mutex }.into())
}

impl IDXGIKeyedMutex_Impl for Keyed_Impl {
    fn AcquireSync(&self, key: u64, milliseconds: u32) -> Result<()> {
        let until = Instant::now() + Duration::from_millis(milliseconds.into());
        let header = self.mirror.header();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            let outcome = unsafe { WaitForSingleObject(self.mutex, left) };
            if outcome == WAIT_ABANDONED {
                header.spoilt.store(1, Ordering::SeqCst);
            } else if outcome != WAIT_OBJECT_0 {
                return Err(Error::from_hresult(TIMEOUT));
            }
            if header.spoilt.load(Ordering::SeqCst) != 0 {
                unsafe { ReleaseMutex(self.mutex) }?;
                return Err(Error::from_hresult(ABANDONED));
            }
            if header.key.load(Ordering::SeqCst) == key {
                return Ok(());
            }
            unsafe { ReleaseMutex(self.mutex) }?;
            if left == 0 {
                return Err(Error::from_hresult(TIMEOUT));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn ReleaseSync(&self, key: u64) -> Result<()> {
        self.mirror.header().key.store(key, Ordering::SeqCst);
        unsafe { ReleaseMutex(self.mutex) }.map_err(|_| Error::from_hresult(E_FAIL))
    }
}

impl IDXGIDeviceSubObject_Impl for Keyed_Impl {
    fn GetDevice(&self, _kind: *const GUID, _out: *mut *mut c_void) -> Result<()> {
        Err(Error::from_hresult(E_NOTIMPL))
    }
}

impl IDXGIObject_Impl for Keyed_Impl {
    fn SetPrivateData(&self, _name: *const GUID, _len: u32, _data: *const c_void) -> Result<()> {
        Err(Error::from_hresult(E_NOTIMPL))
    }

    fn SetPrivateDataInterface(&self, _name: *const GUID, _data: Ref<'_, IUnknown>) -> Result<()> {
        Err(Error::from_hresult(E_NOTIMPL))
    }

    fn GetPrivateData(&self, _name: *const GUID, _len: *mut u32, _data: *mut c_void) -> Result<()> {
        Err(Error::from_hresult(E_NOTIMPL))
    }

    fn GetParent(&self, _kind: *const GUID, _out: *mut *mut c_void) -> Result<()> {
        Err(Error::from_hresult(E_NOTIMPL))
    }
}
