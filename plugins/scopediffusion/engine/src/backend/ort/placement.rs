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

/// Whether a graph wants an input in the host's memory: only operations on the CPU look at it.
pub(super) fn is_on_host(session: &Session, input: &str) -> bool {
    let api = ::ort::api();
    let inputs = session.inputs();
    let mut places = vec![ptr::null(); inputs.len()];
    // SAFETY: the session lives; there is room for an answer for each of its inputs.
    let status = unsafe {
        (api.SessionGetMemoryInfoForInputs)(session.ptr(), places.as_mut_ptr(), places.len())
    };
    // SAFETY: the status was just returned and is given to nobody else.
    if unsafe { ::ort::Error::result_from_status(status) }.is_err() {
        return false;
    }
    let at = inputs.iter().position(|port| port.name() == input);
    let place = at.map_or(ptr::null(), |at| places[at]);
    if place.is_null() {
        return false;
    }
    let mut kind = ::ort::sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_GPU;
    // SAFETY: the answer belongs to the session, which lives; its kind is written to a place of ours.
    unsafe { (api.MemoryInfoGetDeviceType)(place, &raw mut kind) };
    kind == ::ort::sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU
}
