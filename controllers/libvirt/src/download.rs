//! The first bytes of a volume, as they are on the host now.

use virt::stream::Stream;

use crate::counters::Call;
use crate::error::absent;
use crate::sys::{Owned, abort_stream, finish_stream};
use crate::volume::Volume;
use crate::{Connection, Error};

impl Connection {
    /// At most `length` first bytes of the volume that is this file or device; `None` where no active pool has such a volume. For short
    /// lengths: it is read within the call.
    pub fn volume_head(&self, path: &str, length: usize) -> Result<Option<Vec<u8>>, Error> {
        let found = self.counted(Call::VolumeLookupByPath, |connect| connect.lookup_storage_vol_by_path(path));
        let Some(volume) = absent(found)?.map(|handle| Volume::new(handle, self)) else { return Ok(None) };
        let stream = Owned::new(self.counted(Call::VolumeDownload, |connect| {
            let stream = Stream::new(connect, 0)?;
            volume.handle.download(&stream, 0, length as u64, 0)?;
            Ok::<_, virt::error::Error>(stream)
        })?);
        let mut head = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match stream.recv(&mut head[filled..]) {
                Ok(0) => break,
                Ok(received) => filled += usize::try_from(received).unwrap_or_default(),
                Err(error) => {
                    abort_stream(&stream);
                    return Err(error.into());
                }
            }
        }
        finish_stream(&stream)?;
        head.truncate(filled);
        Ok(Some(head))
    }
}
