//! Names between UTF-8 and the system's ANSI code page, and what the registry says.
#![allow(unsafe_code, reason = "the system converts by pointers")]

use windows::Win32::Foundation::ERROR_SUCCESS;
use windows::Win32::Globalization::{
    CP_ACP, MULTI_BYTE_TO_WIDE_CHAR_FLAGS, MultiByteToWideChar, WideCharToMultiByte,
};
use windows::Win32::System::Registry::{HKEY_CURRENT_USER, RRF_RT_REG_DWORD, RegGetValueA};
use windows::core::s;

use crate::directory::{DEFAULT_SLOTS, RawName};
use crate::name::LONGEST_NAME;
use crate::{NameError, SenderName};

/// A name as other programs write it; `None` if the code page cannot write all of it within the limit.
pub(super) fn to_ansi(name: &SenderName) -> Result<RawName, NameError> {
    let wide: Vec<u16> = name.as_str().encode_utf16().collect();
    let mut bytes = vec![0_u8; name.as_str().len() * 4];
    // SAFETY: both slices are passed with their lengths.
    let len = unsafe {
        WideCharToMultiByte(
            CP_ACP,
            0,
            &wide,
            Some(&mut bytes),
            windows::core::PCSTR::null(),
            None,
        )
    };
    bytes.truncate(usize::try_from(len).unwrap_or(0));
    let longest = LONGEST_NAME;
    match bytes.len() {
        0 => Err(NameError::Empty),
        len if len > longest => Err(NameError::TooLong { len, longest }),
        _ => Ok(bytes),
    }
}

/// What other programs have written, as text.
pub(super) fn from_ansi(name: &[u8]) -> String {
    if name.is_empty() {
        return String::new();
    }
    let mut wide = vec![0_u16; name.len()];
    // SAFETY: both slices are passed with their lengths; no code page makes more units than bytes.
    let len = unsafe {
        MultiByteToWideChar(
            CP_ACP,
            MULTI_BYTE_TO_WIDE_CHAR_FLAGS(0),
            name,
            Some(&mut wide),
        )
    };
    wide.truncate(usize::try_from(len).unwrap_or(0));
    String::from_utf16_lossy(&wide)
}

/// A program's path as records carry it; empty if the code page cannot write it.
pub(super) fn path(path: &str) -> Vec<u8> {
    let short: String = path.chars().take(120).collect();
    SenderName::of_other(&short)
        .ok()
        .and_then(|path| to_ansi(&path).ok())
        .unwrap_or_default()
}

/// How many senders the user allows, `MaxSenders` of Spout's registry key.
pub(super) fn most_senders() -> usize {
    let mut value = 0_u32;
    let mut len = 4_u32;
    // SAFETY: value and length are passed as what they are and outlive the call.
    let outcome = unsafe {
        RegGetValueA(
            HKEY_CURRENT_USER,
            s!("Software\\Leading Edge\\Spout"),
            s!("MaxSenders"),
            RRF_RT_REG_DWORD,
            None,
            Some((&raw mut value).cast()),
            Some(&mut len),
        )
    };
    match usize::try_from(value) {
        Ok(value @ 1..=4096) if outcome == ERROR_SUCCESS => value,
        _ => DEFAULT_SLOTS,
    }
}
