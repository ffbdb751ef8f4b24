//! One tensor with a fixed place where its graph computes, and the host's view of it.
//!
//! On the CPU both are the same memory: what the engine writes is what the graph reads. On a device
//! the host's side is pinned memory, copied in the order of the model's stream.

#![allow(
    unsafe_code,
    reason = "looks at tensors by their address, which is fixed for their life"
)]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use ::ort::AsPointer;
use ::ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::Session;
use ::ort::value::{DynTensor, DynValue, TensorElementType};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::super::Values;
use super::queue::{Pinned, Queue};
use crate::frame;

/// Where a graph computes.
#[derive(Debug)]
pub(super) struct Place {
    memory: MemoryInfo<'static>,
    allocator: Allocator,
    queue: Option<Arc<Queue>>,
}

impl Place {
    /// Where `session` computes: on the device of `queue`, or without one on the host.
    pub(super) fn of(session: &Session, queue: Option<Arc<Queue>>) -> ::ort::Result<Self> {
        let (device, index) = match &queue {
            None => (AllocationDevice::CPU, 0),
            Some(queue) => (AllocationDevice::CUDA, queue.device()),
        };
        let memory = || {
            MemoryInfo::new(
                device.clone(),
                index,
                AllocatorType::Device,
                MemoryType::Default,
            )
        };
        Ok(Self {
            allocator: match &queue {
                None => Allocator::default(),
                Some(_) => Allocator::new(session, memory()?)?,
            },
            memory: memory()?,
            queue,
        })
    }

    pub(super) fn queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    /// To hold while something else of its owner changes.
    pub(super) fn queue_handle(&self) -> Option<Arc<Queue>> {
        self.queue.clone()
    }

    pub(super) fn memory(&self) -> &MemoryInfo<'static> {
        &self.memory
    }
}

/// A tensor.
#[derive(Debug)]
pub(super) struct Slot {
    tensor: DynTensor,
    /// Where the graph sees it.
    there: *mut c_void,
    /// Where the host sees it; `None` is the same place.
    pinned: Option<Pinned>,
    kind: TensorElementType,
    shape: Vec<usize>,
    count: usize,
    /// What was written last.
    stamp: u64,
    /// Values of another kind, as the engine reads them.
    wide: Vec<f32>,
}

// SAFETY: `there` is the address of `tensor`'s own memory, which goes where the tensor goes.
unsafe impl Send for Slot {}

impl Slot {
    /// A tensor of zeros, or on a device of anything.
    pub(super) fn new(
        place: &Place,
        kind: TensorElementType,
        shape: &[usize],
    ) -> Result<Self, String> {
        let text = |error: ::ort::Error| error.message().to_string();
        let mut tensor = DynTensor::new(&place.allocator, kind, shape).map_err(text)?;
        let count = shape.iter().product();
        let bytes = kind.byte_size(count).ok_or("a tensor of texts")?;
        let pinned = match place.queue() {
            Some(queue) => Some(Pinned::new(queue, bytes)?),
            None => None,
        };
        Ok(Self {
            there: tensor.data_ptr_mut(),
            tensor,
            pinned,
            kind,
            shape: shape.to_vec(),
            count,
            stamp: 0,
            wide: Vec::new(),
        })
    }

    pub(super) fn tensor(&self) -> &DynTensor {
        &self.tensor
    }

    pub(super) fn tensor_mut(&mut self) -> &mut DynTensor {
        &mut self.tensor
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of the whole tensor.
    fn size(&self) -> usize {
        self.kind.byte_size(self.count).unwrap_or(0)
    }

    fn here(&self) -> NonNull<c_void> {
        let here = match &self.pinned {
            Some(pinned) => Some(pinned.place()),
            None => NonNull::new(self.there),
        };
        here.unwrap_or(NonNull::<u128>::dangling().cast())
    }

    /// The host's view. `T` must be of the kind.
    fn values<T>(&self) -> &[T] {
        debug_assert!(size_of::<T>() * self.count == self.size());
        // SAFETY: the memory holds `count` values of that kind, aligned as the runtime and CUDA align theirs (64
        // bytes and more), initialised at first and by every writer; without any, the address may be anything.
        unsafe { slice::from_raw_parts(self.here().as_ptr().cast(), self.count) }
    }

    fn values_mut<T>(&mut self) -> &mut [T] {
        debug_assert!(size_of::<T>() * self.count == self.size());
        // SAFETY: as above, and nobody else looks at it while `self` is borrowed: a run holds it, too.
        unsafe { slice::from_raw_parts_mut(self.here().as_ptr().cast(), self.count) }
    }

    /// Writes values in the kind that the graph wants, unless they are there already.
    ///
    /// - `values`: as many as the tensor has.
    pub(super) fn write(
        &mut self,
        values: Values<'_>,
        stamp: u64,
        queue: Option<&Queue>,
    ) -> Result<(), String> {
        if stamp != 0 && stamp == self.stamp {
            return Ok(());
        }
        self.stamp = 0;
        let length = match values {
            Values::Real(real) => real.len(),
            Values::Whole(whole) => whole.len(),
            Values::Bytes(bytes) => bytes.len(),
        };
        if length != self.count {
            return Err(format!("{length} values for a tensor of {:?}", self.shape));
        }
        match (values, self.kind) {
            (Values::Real(real), TensorElementType::Float32) => {
                self.values_mut::<f32>().copy_from_slice(real);
            }
            (Values::Real(real), TensorElementType::Float16) => {
                self.values_mut::<f16>().convert_from_f32_slice(real);
            }
            (Values::Real(real), TensorElementType::Int64) => {
                fill(self.values_mut(), real, |value| *value as i64);
            }
            (Values::Real(real), TensorElementType::Int32) => {
                fill(self.values_mut(), real, |value| *value as i32);
            }
            (Values::Whole(whole), TensorElementType::Int64) => {
                self.values_mut::<i64>().copy_from_slice(whole);
            }
            (Values::Whole(whole), TensorElementType::Int32) => {
                fill(self.values_mut(), whole, |value| {
                    i32::try_from(*value).unwrap_or(i32::MAX)
                });
            }
            (Values::Whole(whole), TensorElementType::Float32) => {
                fill(self.values_mut(), whole, |value| *value as f32);
            }
            (Values::Bytes(bytes), TensorElementType::Uint8) => {
                self.values_mut::<u8>().copy_from_slice(bytes);
            }
            (_, kind) => return Err(format!("an input of an unexpected type ({kind:?})")),
        }
        if let Some(queue) = queue {
            let (there, here) = (self.there, self.here().as_ptr());
            // SAFETY: both sides hold `size` bytes and live as long as this slot; a run ends by waiting.
            unsafe { queue.copy(there, here, self.size())? };
        }
        self.stamp = stamp;
        Ok(())
    }

    /// Writes a picture, `[H, W, 3]`, into a tensor `[1, 3, H, W]` on the host.
    pub(super) fn write_picture(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() != self.count {
            let shape = &self.shape;
            return Err(format!(
                "a picture of {} bytes for a tensor of {shape:?}",
                bytes.len()
            ));
        }
        match self.kind {
            TensorElementType::Float32 => frame::spread(bytes, self.values_mut()),
            TensorElementType::Float16 => {
                let mut wide = std::mem::take(&mut self.wide);
                wide.resize(self.count, 0.0);
                frame::spread(bytes, &mut wide);
                self.values_mut::<f16>().convert_from_f32_slice(&wide);
                self.wide = wide;
            }
            kind => return Err(format!("an input of an unexpected type ({kind:?})")),
        }
        Ok(())
    }

    /// Takes the values over from a tensor of the same kind and shape at the same place.
    pub(super) fn take(&mut self, value: &DynValue, queue: Option<&Queue>) -> Result<(), String> {
        let (mut from, size) = (std::ptr::null_mut(), self.size());
        // SAFETY: the value lives and is a tensor; its address is written to a place of ours.
        let status =
            unsafe { (::ort::api().GetTensorMutableData)(value.ptr().cast_mut(), &raw mut from) };
        // SAFETY: the status was just returned and is given to nobody else.
        let status = unsafe { ::ort::Error::result_from_status(status) };
        status.map_err(|error| error.message().to_string())?;
        match queue {
            // SAFETY: both are tensors of `size` bytes on the device; `value` outlives the wait below.
            Some(queue) => unsafe {
                queue.copy(self.there, from.cast(), size)?;
                queue.wait()?;
            },
            // SAFETY: both are tensors of `size` bytes, and they are two.
            None => unsafe {
                let size = if self.there.is_null() { 0 } else { size };
                self.there
                    .cast::<u8>()
                    .copy_from_nonoverlapping(from.cast(), size);
            },
        }
        Ok(())
    }

    /// Sets the way back to the host going; [`Queue::wait`] before looking.
    pub(super) fn fetch(&self, queue: &Queue) -> Result<(), String> {
        // SAFETY: both sides hold `size` bytes and live as long as this slot; a run ends by waiting.
        unsafe { queue.copy(self.here().as_ptr(), self.there, self.size()) }
    }

    /// The values as numbers.
    pub(super) fn read(&mut self) -> Result<(&[usize], &[f32]), String> {
        match self.kind {
            TensorElementType::Float32 => Ok((&self.shape, self.values())),
            TensorElementType::Float16 => {
                let mut wide = std::mem::take(&mut self.wide);
                wide.resize(self.count, 0.0);
                self.values::<f16>().convert_to_f32_slice(&mut wide);
                self.wide = wide;
                Ok((&self.shape, &self.wide))
            }
            kind => Err(format!("an output of an unexpected type ({kind:?})")),
        }
    }

    /// The values of a tensor of bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self.kind {
            TensorElementType::Uint8 => self.values(),
            _ => &[],
        }
    }
}

fn fill<T, F>(to: &mut [T], from: &[F], cast: impl Fn(&F) -> T) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = cast(from);
    }
}
