//! Queries: latency, caps, allocation.

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::ScopeDiffusion;
use crate::caps;

impl ScopeDiffusion {
    pub(super) fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(query) => {
                let mut upstream = gst::query::Latency::new();
                if !self.sinkpad.peer_query(&mut upstream) {
                    return false;
                }
                let (live, min, max) = upstream.result();
                let ours = self.processor.stats().latency;
                query.set(live, min + ours, max.opt_add(ours));
                true
            }
            gst::QueryViewMut::Caps(query) => {
                self.answer_caps(&self.sinkpad, query);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(query) => {
                self.answer_caps(&self.srcpad, query);
                true
            }
            // Pictures are new buffers, so downstream's allocation is none of upstream's business.
            gst::QueryViewMut::Allocation(query) => {
                query.add_allocation_meta::<gst_video::VideoMeta>(None);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    /// Caps pass through unchanged, so each side can do what the other can, at sizes the model works at.
    ///
    /// When the asker can do none of those sizes, the answer is as if there were no such limit: its caps then arrive,
    /// and are refused with an error that names the sizes, instead of a bare "not negotiated".
    fn answer_caps(&self, other: &gst::Pad, query: &mut gst::query::Caps) {
        let template = caps::template();
        let common = |one: &gst::Caps, two: &gst::Caps| {
            one.intersect_with_mode(two, gst::CapsIntersectMode::First)
        };
        let possible = common(&other.peer_query_caps(Some(&template)), &template);
        let workable = match self.processor.model() {
            Some(model) => caps::restrict(&possible, model.facts(), &self.processor.settings()),
            None => possible.clone(),
        };
        let answer = match query.filter_owned() {
            Some(filter) => {
                let narrowed = common(&filter, &workable);
                if narrowed.is_empty() {
                    common(&filter, &possible)
                } else {
                    narrowed
                }
            }
            None => workable,
        };
        query.set_result(&answer);
    }
}
