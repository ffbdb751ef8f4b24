//! Which provider runs which of a graph's operations.

#![allow(
    unsafe_code,
    reason = "asks the C interface for what the crate does not wrap"
)]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::ptr;
use std::slice;

use ::ort::AsPointer;
use ::ort::session::Session;

/// What a session must be opened with to be asked.
pub(super) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// The providers of a graph, as ONNX Runtime calls them, and how many operations each has.
pub(super) fn of(session: &Session) -> Vec<(String, usize)> {
    let api = ::ort::api();
    let (mut parts, mut count) = (ptr::null(), 0);
    // SAFETY: the session lives; both answers are written to places of ours.
    let status = unsafe {
        (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut parts, &raw mut count)
    };
    // SAFETY: the status was just returned and is given to nobody else.
    if unsafe { ::ort::Error::result_from_status(status) }.is_err() || parts.is_null() {
        return Vec::new();
    }
    // SAFETY: the list belongs to the session, which lives, and is that long.
    let parts = unsafe { slice::from_raw_parts(parts, count) };
    let mut found = BTreeMap::new();
    for part in parts {
        let (mut name, mut nodes, mut count) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the part belongs to the session; the answer is written to a place of ours.
        let status = unsafe { (api.EpAssignedSubgraph_GetEpName)(*part, &raw mut name) };
        // SAFETY: the status was just returned and is given to nobody else.
        let named = unsafe { ::ort::Error::result_from_status(status) };
        // SAFETY: as for the name.
        let status =
            unsafe { (api.EpAssignedSubgraph_GetNodes)(*part, &raw mut nodes, &raw mut count) };
        // SAFETY: the status was just returned and is given to nobody else.
        let counted = unsafe { ::ort::Error::result_from_status(status) };
        if named.is_err() || counted.is_err() || name.is_null() {
            continue;
        }
        // SAFETY: a text of the session's that ends with a zero.
        let name = unsafe { CStr::from_ptr(name) };
        *found
            .entry(name.to_string_lossy().into_owned())
            .or_default() += count;
    }
    found.into_iter().collect()
}
