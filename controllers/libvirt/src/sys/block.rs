//! What a disk is on its host. The `virt` crate's call takes no error for an answer, and reads what was never written then.

use std::ffi::CString;

use virt::domain::Domain;
use virt::sys;

use super::last_error;
use crate::Error;

/// How many bytes the file or device of a disk holds, which is named by its target or path.
pub(crate) fn block_physical(domain: &Domain, disk: &str) -> Result<u64, Error> {
    let disk = CString::new(disk).map_err(|_| Error::other("a disk's name has a zero byte"))?;
    let mut info = sys::virDomainBlockInfo { capacity: 0, allocation: 0, physical: 0 };
    // SAFETY: the handle is valid; the name lives for the call, and what is written is a structure of ours.
    let done = unsafe { sys::virDomainGetBlockInfo(domain.as_ptr(), disk.as_ptr(), &raw mut info, 0) };
    if done < 0 { Err(last_error()) } else { Ok(info.physical) }
}
