//! The pool offered upstream: its buffers are memory that receivers see.
//!
//! Nothing is kept between buffers: each one is lent by the sender when it is asked for, because only the sender knows
//! what receivers are still looking at. While everything is lent out, ordinary memory is given, which is copied later.

use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use texture_share::{Lender, Loan};

glib::wrapper! {
    pub struct LendingPool(ObjectSubclass<imp::LendingPool>) @extends gst::BufferPool, gst::Object;
}

impl LendingPool {
    /// A pool of frames of `info`, configured.
    pub(super) fn new(lender: Arc<dyn Lender>, info: &gst_video::VideoInfo) -> Option<Self> {
        let pool: Self = glib::Object::new();
        *pool.imp().lender.lock().unwrap() = Some((lender, info.size()));
        let mut config = pool.config();
        let caps = info.to_caps().ok()?;
        config.set_params(Some(&caps), u32::try_from(info.size()).ok()?, 0, 0);
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_str());
        pool.set_config(config).ok().map(|()| pool)
    }
}

/// Lent memory as GStreamer wraps it.
struct Lent(Box<dyn Loan>);

impl AsMut<[u8]> for Lent {
    fn as_mut(&mut self) -> &mut [u8] {
        (*self.0).as_mut()
    }
}

mod imp {
    use super::*;

    #[derive(Debug, Default)]
    pub struct LendingPool {
        pub(super) lender: Mutex<Option<(Arc<dyn Lender>, usize)>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for LendingPool {
        const NAME: &'static str = "GstSpoutLendingPool";
        type Type = super::LendingPool;
        type ParentType = gst::BufferPool;
    }

    impl ObjectImpl for LendingPool {}
    impl GstObjectImpl for LendingPool {}

    impl BufferPoolImpl for LendingPool {
        fn options() -> &'static [&'static str] {
            &["GstBufferPoolOptionVideoMeta"]
        }

        fn start(&self) -> bool {
            // Nothing to prepare: what the parent would allocate here is not what we lend.
            true
        }

        fn acquire_buffer(
            &self,
            _params: Option<&gst::BufferPoolAcquireParams>,
        ) -> Result<gst::Buffer, gst::FlowError> {
            if !self.obj().is_active() {
                return Err(gst::FlowError::Flushing);
            }
            let lender = self.lender.lock().unwrap().clone();
            let Some((lender, size)) = lender else {
                return Err(gst::FlowError::Flushing);
            };
            // One of another size comes from a sender that has been reshaped since.
            let loan = lender.lend().map(Lent);
            let fitting = loan.and_then(|mut loan| (loan.as_mut().len() == size).then_some(loan));
            let memory = match fitting {
                Some(loan) => gst::Memory::from_mut_slice(loan),
                None => gst::Memory::with_size(size),
            };
            let mut buffer = gst::Buffer::new();
            buffer.make_mut().append_memory(memory);
            Ok(buffer)
        }

        fn release_buffer(&self, _buffer: gst::Buffer) {
            // Dropped: the memory goes back to the sender.
        }
    }
}
