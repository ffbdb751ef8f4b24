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
use super::queue::{Event, Pinned, Queue};
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

    /// The host's memory, for a device, too.
    pub(super) fn host(&self) -> Self {
        Self {
            allocator: Allocator::default(),
            memory: Allocator::default().memory_info().to_owned(),
            queue: None,
        }
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
    /// Where the host sees it; `None` is the same place, or on a device nowhere.
    pinned: Option<Pinned>,
    /// When the last copy out of `pinned` is done.
    sent: Option<Event>,
    kind: TensorElementType,
    shape: Vec<usize>,
    count: usize,
    /// What was written last.
    stamp: u64,
    /// Values of another kind, as the engine reads them.
    wide: Vec<f32>,
    /// Of the device that it lies on. Last, so that it goes last.
    queue: Option<Arc<Queue>>,
}

// SAFETY: `there` is the address of `tensor`'s own memory, which goes where the tensor goes.
unsafe impl Send for Slot {}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(sent) = &self.sent {
            // Copies out of our memory end before it does. An error has nobody to be told.
            let _ = sent.wait();
        }
    }
}

/// Memory of the host that a tensor's bytes come to.
#[derive(Debug)]
pub(super) enum Shore {
    Plain(Vec<u8>),
    /// With its room in bytes.
    Pinned(Pinned, usize),
}

impl Shore {
    /// Room for as many bytes as `slot` has.
    pub(super) fn of(slot: &Slot) -> Result<Self, String> {
        Ok(match &slot.queue {
            Some(queue) => Self::Pinned(Pinned::new(queue, slot.size())?, slot.size()),
            None => Self::Plain(Vec::with_capacity(slot.size())),
        })
    }

    /// What came; on a device the caller has waited for it.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            // SAFETY: it has that much, zeros at first.
            Self::Pinned(pinned, room) => unsafe {
                slice::from_raw_parts(pinned.place().as_ptr().cast(), *room)
            },
        }
    }
}

impl Slot {
    /// A tensor of zeros, or on a device of anything.
    pub(super) fn new(
        place: &Place,
        kind: TensorElementType,
        shape: &[usize],
    ) -> Result<Self, String> {
        let mut slot = Self::bare(place, kind, shape)?;
        if let Some(queue) = &slot.queue {
            slot.pinned = Some(Pinned::new(queue, slot.size())?);
            slot.sent = Some(Event::new(queue)?);
        }
        Ok(slot)
    }

    /// A tensor of zeros that only graphs look at.
    pub(super) fn hidden(
        place: &Place,
        kind: TensorElementType,
        shape: &[usize],
    ) -> Result<Self, String> {
        let slot = Self::bare(place, kind, shape)?;
        if let Some(queue) = &slot.queue {
            // SAFETY: the memory is that large; it goes back to the stream it came from.
            unsafe { queue.clear(slot.there, slot.size())? };
        }
        Ok(slot)
    }

    fn bare(place: &Place, kind: TensorElementType, shape: &[usize]) -> Result<Self, String> {
        let text = |error: ::ort::Error| error.message().to_string();
        let mut tensor = DynTensor::new(&place.allocator, kind, shape).map_err(text)?;
        let count = shape.iter().product();
        kind.byte_size(count).ok_or("a tensor of texts")?;
        Ok(Self {
            there: tensor.data_ptr_mut(),
            tensor,
            pinned: None,
            sent: None,
            kind,
            shape: shape.to_vec(),
            count,
            stamp: 0,
            wide: Vec::new(),
            queue: place.queue.clone(),
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

    pub(super) fn kind(&self) -> TensorElementType {
        self.kind
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
    pub(super) fn write(&mut self, values: Values<'_>, stamp: u64) -> Result<(), String> {
        if stamp != 0 && stamp == self.stamp {
            return Ok(());
        }
        self.stamp = 0;
        self.be_seen()?;
        if let Some(sent) = &self.sent {
            // What was written last may still be on its way out of the same memory.
            sent.wait()?;
        }
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
        if let (Some(queue), Some(sent)) = (&self.queue, &self.sent) {
            let (there, here) = (self.there, self.here().as_ptr());
            // SAFETY: both sides hold `size` bytes and live as long as this slot, which waits when it goes.
            unsafe { queue.copy(there, here, self.size())? };
            sent.record(queue)?;
        }
        self.stamp = stamp;
        Ok(())
    }

    /// An error for a tensor that the host does not see.
    fn be_seen(&self) -> Result<(), String> {
        match self.queue.is_some() && self.pinned.is_none() {
            true => Err("a tensor that only the device sees".into()),
            false => Ok(()),
        }
    }

    /// Takes the values over from another tensor of the same kind and shape at the same place.
    pub(super) fn follow(&mut self, other: &Self) -> Result<(), String> {
        if (self.kind, &self.shape) != (other.kind, &other.shape) {
            return Err(format!(
                "{:?} for a tensor of {:?}",
                other.shape, self.shape
            ));
        }
        self.stamp = 0;
        self.copy_in(other.there)
    }

    /// - `from`: as many bytes as this tensor has, at the same place.
    fn copy_in(&mut self, from: *const c_void) -> Result<(), String> {
        let size = if self.there.is_null() { 0 } else { self.size() };
        match &self.queue {
            // SAFETY: both are tensors of `size` bytes on the device, used in the order of its stream.
            Some(queue) => unsafe { queue.copy(self.there, from, size) },
            None => {
                // SAFETY: both are tensors of `size` bytes, and they are two.
                unsafe {
                    let there = self.there.cast::<u8>();
                    there.copy_from_nonoverlapping(from.cast(), size);
                }
                Ok(())
            }
        }
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
    pub(super) fn take(&mut self, value: &DynValue) -> Result<(), String> {
        let mut from = std::ptr::null_mut();
        // SAFETY: the value lives and is a tensor; its address is written to a place of ours.
        let status =
            unsafe { (::ort::api().GetTensorMutableData)(value.ptr().cast_mut(), &raw mut from) };
        // SAFETY: the status was just returned and is given to nobody else.
        let status = unsafe { ::ort::Error::result_from_status(status) };
        status.map_err(|error| error.message().to_string())?;
        self.copy_in(from.cast())?;
        match &self.queue {
            // `value` need not live longer than this.
            Some(queue) => queue.wait(),
            None => Ok(()),
        }
    }

    /// Sets the way of all bytes from `from` going, which must have that many.
    pub(super) fn put(&mut self, from: &Shore) -> Result<(), String> {
        if from.bytes().len() != self.size() {
            return Err("what was kept does not fit any more".into());
        }
        self.stamp = 0;
        self.copy_in(from.bytes().as_ptr().cast())
    }

    /// Sets the way of all bytes to `to` going, which must have room for them.
    pub(super) fn send(&self, to: &mut Shore) -> Result<(), String> {
        let size = self.size();
        match (&self.queue, to) {
            (Some(queue), Shore::Pinned(to, room)) if size <= *room => {
                // SAFETY: both sides hold that much; who owns `to` waits before it looks and before it goes.
                unsafe { queue.copy(to.place().as_ptr(), self.there, size) }
            }
            (None, Shore::Plain(to)) => {
                to.clear();
                // SAFETY: on the host the tensor is ours to read, all of it.
                to.extend_from_slice(unsafe { slice::from_raw_parts(self.there.cast(), size) });
                Ok(())
            }
            _ => Err("there is no room for what comes out".into()),
        }
    }

    /// Sets the way back to the host going; [`Queue::wait`] before looking.
    pub(super) fn fetch(&self) -> Result<(), String> {
        let Some(queue) = &self.queue else {
            return Ok(());
        };
        self.be_seen()?;
        // SAFETY: both sides hold `size` bytes and live as long as this slot; a run ends by waiting.
        unsafe { queue.copy(self.here().as_ptr(), self.there, self.size()) }
    }

    /// The values as numbers.
    pub(super) fn read(&mut self) -> Result<(&[usize], &[f32]), String> {
        self.be_seen()?;
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
