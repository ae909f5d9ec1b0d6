//! The bytes of a volume, as they are on the host now.

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
        self.on_all_pools()?;
        let found = self.counted(Call::VolumeLookupByPath, |connect| connect.lookup_storage_vol_by_path(path));
        let Some(volume) = absent(found)?.map(|handle| Volume::new(handle, &path.into(), self)) else {
            return Ok(None);
        };
        let stream = volume.download(0, length as u64)?;
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

/// How much is taken of a stream at once.
const PIECE: usize = 256 * 1024;

impl Volume<'_> {
    fn download(&self, offset: u64, length: u64) -> Result<Owned<Stream>, Error> {
        // While it is read libvirt holds nothing, so the pool is asked for no longer than it takes to begin.
        let _out = self.connection.on_pool(&self.pool, &self.pool)?;
        let stream = self.connection.counted(Call::VolumeDownload, |connect| {
            let stream = Stream::new(connect, 0)?;
            self.handle.download(&stream, offset, length, 0)?;
            Ok::<_, virt::error::Error>(stream)
        })?;
        Ok(Owned::new(stream))
    }

    /// Reads at most so many bytes from an offset on, and gives them on as they come. Takes as long as that takes.
    pub fn read(&self, offset: u64, length: u64, mut give: impl FnMut(&[u8])) -> Result<(), Error> {
        // To libvirt, nothing means all.
        if length == 0 {
            return Ok(());
        }
        let stream = self.download(offset, length)?;
        let mut piece = vec![0; PIECE];
        loop {
            match stream.recv(&mut piece) {
                Ok(0) => return finish_stream(&stream),
                Ok(received) => give(&piece[..usize::try_from(received).unwrap_or_default()]),
                Err(error) => {
                    abort_stream(&stream);
                    return Err(error.into());
                }
            }
        }
    }
}
