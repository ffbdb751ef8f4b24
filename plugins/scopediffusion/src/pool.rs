//! Memory for pictures: downstream's, where it offers a pool, else a pool of our own, so that no frame allocates.
//!
//! Drawing into downstream's memory saves it a copy: `spoutsink` shares such a picture as it is.

use gst::prelude::*;
use gst_video::VideoInfo;

/// Chooses the pool that pictures of `info` come from, and tells the query.
///
/// Downstream's first pool if it takes our configuration, else one of our own on downstream's allocator. `None` if
/// neither can be had; pictures are then allocated one by one.
pub(crate) fn choose(
    query: &mut gst::query::Allocation,
    info: &VideoInfo,
) -> Option<gst::BufferPool> {
    let caps = info.to_caps().ok()?;
    let strides = query
        .find_allocation_meta::<gst_video::VideoMeta>()
        .is_some();
    let (allocator, params) = query.allocation_params().next().unwrap_or_default();
    let offered: Vec<_> = query.allocation_pools().collect();
    let offers = offered
        .iter()
        .filter_map(|(pool, size, min, max)| Some((pool.clone()?, *size, *min, *max)));
    let least = u32::try_from(info.size()).ok()?;
    let own = (gst::BufferPool::new(), least, 0, 0);
    let (pool, size, min, max) = offers.chain([own]).find(|(pool, size, min, max)| {
        let mut config = pool.config();
        config.set_params(Some(&caps), (*size).max(least), *min, *max);
        config.set_allocator(allocator.as_ref(), Some(&params));
        let option = gst_video::BUFFER_POOL_OPTION_VIDEO_META;
        if strides && pool.has_option(option) {
            config.add_option(option);
        }
        pool.set_config(config).is_ok()
    })?;
    match offered.is_empty() {
        true => query.add_allocation_pool(Some(&pool), size, min, max),
        false => query.set_nth_allocation_pool(0, Some(&pool), size, min, max),
    }
    Some(pool)
}

/// A buffer from the pool, else one of its own. Never waits: downstream may hold every buffer of its pool for as long
/// as it likes.
pub(crate) fn take(pool: Option<&gst::BufferPool>, info: &VideoInfo) -> Option<gst::Buffer> {
    let now = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
    let pooled = pool.and_then(|pool| pool.acquire_buffer(Some(&now)).ok());
    pooled.or_else(|| gst::Buffer::with_size(info.size()).ok())
}

/// The pool agreed on, in use as long as this lives.
#[derive(Debug)]
pub(crate) struct Agreed(Option<gst::BufferPool>);

impl Agreed {
    /// Asks whoever is downstream of `pad`.
    pub(crate) fn with(pad: &gst::Pad, info: &VideoInfo) -> Self {
        let asked = info.to_caps().ok().and_then(|caps| {
            let mut query = gst::query::Allocation::new(Some(&caps), true);
            // Unanswered it is as good as empty.
            pad.peer_query(&mut query);
            choose(&mut query, info)
        });
        Self(asked.filter(|pool| pool.set_active(true).is_ok()))
    }

    pub(crate) fn pool(&self) -> Option<gst::BufferPool> {
        self.0.clone()
    }
}

impl Drop for Agreed {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            // Fails only if it is inactive already.
            let _ = pool.set_active(false);
        }
    }
}
