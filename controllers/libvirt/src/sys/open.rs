//! Opening a connection with a name and a password that are in memory only. (The wrapper's own call takes no closure, and reads
//! a field that libvirt leaves empty.)

use std::ffi::{CString, c_int, c_uint, c_void};
use std::{ptr, slice};

use virt::connect::Connect;
use virt::sys;

use super::last_error;
use crate::Error;
use crate::endpoint::Login;
use crate::error::Kind;

/// What may be asked for. Whether an unknown host is to be trusted is not among them.
const ASKED: [c_uint; 3] = [sys::VIR_CRED_AUTHNAME, sys::VIR_CRED_USERNAME, sys::VIR_CRED_PASSPHRASE];

/// Opens a connection. May block without bound.
pub(crate) fn open(uri: &str, login: Option<&Login>, read_only: bool) -> Result<Connect, Error> {
    let uri = CString::new(uri).map_err(|_| Error::new(Kind::Rejected, "the URI holds a NUL character"))?;
    let mut asked = ASKED.map(c_uint::cast_signed);
    let mut auth = sys::virConnectAuth {
        credtype: asked.as_mut_ptr(),
        ncredtype: c_uint::try_from(ASKED.len()).unwrap_or_default(),
        cb: Some(answer),
        cbdata: login.map_or(ptr::null_mut(), |login| ptr::from_ref(login).cast_mut().cast()),
    };
    let auth = if login.is_some() { ptr::from_mut(&mut auth) } else { ptr::null_mut() };
    let flags = if read_only { sys::VIR_CONNECT_RO } else { 0 };
    // SAFETY: all three pointers live until the call returns, and libvirt calls back on this thread during the call only.
    let opened = unsafe { sys::virConnectOpenAuth(uri.as_ptr(), auth, flags) };
    if opened.is_null() {
        return Err(last_error());
    }
    // SAFETY: libvirt has just made it and holds no other reference for us.
    Ok(unsafe { Connect::from_ptr(opened) })
}

/// Answers libvirt's questions; -1 where there is no answer.
unsafe extern "C" fn answer(asked: sys::virConnectCredentialPtr, count: c_uint, login: *mut c_void) -> c_int {
    if asked.is_null() || login.is_null() {
        return -1;
    }
    // SAFETY: libvirt passes an array of this length, and `login` is what `open` has given it.
    let (asked, login) = unsafe { (slice::from_raw_parts_mut(asked, count as usize), &*login.cast::<Login>()) };
    for question in asked {
        let text = match c_uint::try_from(question.type_) {
            Ok(sys::VIR_CRED_AUTHNAME | sys::VIR_CRED_USERNAME) => &login.user,
            Ok(sys::VIR_CRED_PASSPHRASE) => &login.password,
            Ok(_) | Err(_) => return -1,
        };
        let Ok(text) = CString::new(text.as_str()) else { return -1 };
        // SAFETY: a string of ours; libvirt frees the copy.
        let copy = unsafe { libc_strdup(text.as_ptr()) };
        if copy.is_null() {
            return -1;
        }
        question.result = copy;
        question.resultlen = c_uint::try_from(text.as_bytes().len()).unwrap_or_default();
    }
    0
}

unsafe extern "C" {
    /// The C library's `strdup`: libvirt frees what it is answered.
    #[link_name = "strdup"]
    fn libc_strdup(text: *const std::ffi::c_char) -> *mut std::ffi::c_char;
}
