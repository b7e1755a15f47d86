//! Checkpoints: the state of the log's owner at a position, in chunks.
//!
//! ```text
//!  header, 128 bytes │ chunks … │ released entries, in frames of their own │ trailer, 64 bytes
//!
//!  header    0 "UNANLOGC"  8 u16 format  10 u8 length of the tag  16 u64 log  24 u64 number  32 u64 position
//!           40 tag  104 zeros  124 u32 checksum of 0..124
//!  frame     0 u32 checksum of 4..16 and the body, salted as records are  4 u32 length  8 u32 kind  12 zeros
//!           16 body
//!  trailer   0 "UNANLOGD"  8 u64 number  16 u64 bytes in chunks  24 u64 chunks  32 u64 end of the chunks
//!           40 zeros  60 u32 checksum of 0..60
//! ```
//!
//! A checkpoint is written under a temporary name and renamed when all of it is durable, so a file of the final
//! name was whole once. The one before it goes when the new name is durable.

use crate::config::{CHUNK_BYTES_MAX, POSITION_MAX, TAG_BYTES_MAX};
use crate::disk::{Disk, DiskError, read_or_damaged};
use crate::error::{LogError, OpenError};
use crate::released::Released;
use crate::segment::NUMBER_MAX;

const HEADER_BYTES: u64 = 128;
const TRAILER_BYTES: u64 = 64;
const FRAME_BYTES: usize = 16;
const HEADER_MAGIC: &[u8; 8] = b"UNANLOGC";
const TRAILER_MAGIC: &[u8; 8] = b"UNANLOGD";
const FORMAT: u16 = 1;
const CHUNK: u32 = 1;
const RELEASED: u32 = 2;
const SUFFIX: &str = ".ckp";
/// Read at once when all chunks are read.
const AHEAD_BYTES: usize = 1 << 20;
/// Written but not synced, at most: so a sync that others wait for is never long.
const UNSYNCED_BYTES_MAX: u64 = 2 << 20;

pub fn name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 16).then_some(())?;
    u64::from_str_radix(digits, 16).ok().filter(|number| *number <= NUMBER_MAX)
}

/// A checkpoint in force, to be read in chunks, also on another thread.
#[derive(Clone, Debug)]
pub struct Checkpoint<D> {
    disk: D,
    log: u64,
    pub(crate) number: u64,
    position: u64,
    tag: Vec<u8>,
    bytes: u64,
    chunks: u64,
    chunks_end: u64,
}

impl<D: Disk> Checkpoint<D> {
    /// The last position whose entry the state contains.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The tag it was begun with.
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// Bytes in all chunks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Reads one chunk in place of what `into` held, and says where the next one is. The first is at locator 0;
    /// none is left if it returns none. A locator is good for this checkpoint only, at any later time.
    pub fn chunk(&self, locator: u64, into: &mut Vec<u8>) -> Result<Option<u64>, LogError> {
        into.clear();
        let offset = locator.max(HEADER_BYTES);
        if offset >= self.chunks_end {
            return Ok(None);
        }
        let read = frame(&self.disk, &name(self.number), self.salt(), offset, self.chunks_end, CHUNK, into);
        match read {
            Ok(true) => Ok(Some(offset + (FRAME_BYTES + into.len()) as u64)),
            Ok(false) => {
                into.clear();
                Err(LogError::Damaged(self.position))
            }
            Err(DiskError::NotFound(_)) => Err(LogError::Gone),
            Err(error) => Err(LogError::Read(error)),
        }
    }

    /// Reads all chunks in their order, once, much at a time: each is shown with its locator, until one is not wanted any
    /// more (`false`). Memory: 1 MiB, or the longest chunk. An error is a chunk that cannot be read, that one or one of the
    /// next: those before were shown.
    pub fn each(&self, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), LogError> {
        let name = name(self.number);
        let mut ahead = Ahead { disk: &self.disk, name, end: self.chunks_end, window: Vec::new(), at: 0 };
        let mut offset = HEADER_BYTES;
        while offset < self.chunks_end {
            let body = match ahead.frame(self.salt(), offset) {
                Ok(Some(body)) => body,
                Ok(None) => return Err(LogError::Damaged(self.position)),
                Err(DiskError::NotFound(_)) => return Err(LogError::Gone),
                Err(error) => return Err(LogError::Read(error)),
            };
            if !visit(offset, body) {
                break;
            }
            offset += (FRAME_BYTES + body.len()) as u64;
        }
        Ok(())
    }

    fn salt(&self) -> u32 {
        salt(self.log, self.number)
    }
}

/// A file that is read from its beginning to its end.
struct Ahead<'d, D> {
    disk: &'d D,
    name: String,
    end: u64,
    window: Vec<u8>,
    /// Where the window begins.
    at: u64,
}

impl<D: Disk> Ahead<'_, D> {
    /// The body of the chunk that begins here; none if there is no whole one.
    fn frame(&mut self, salt: u32, offset: u64) -> Result<Option<&[u8]>, DiskError> {
        let Some(head) = self.bytes(offset, FRAME_BYTES)?.and_then(|bytes| bytes.first_chunk().copied())
        else {
            return Ok(None);
        };
        let Some(length) = length_of(&head, CHUNK) else { return Ok(None) };
        let frame = self.bytes(offset, FRAME_BYTES + length)?;
        let body = frame.map(|frame| &frame[FRAME_BYTES..]);
        Ok(body.filter(|body| sum(salt, offset, &head, body).to_le_bytes() == head[..4]))
    }

    /// So many bytes from an offset on, if the file has them before its end and they can be read. Offsets rise.
    fn bytes(&mut self, offset: u64, want: usize) -> Result<Option<&[u8]>, DiskError> {
        if offset + want as u64 > self.end {
            return Ok(None);
        }
        let passed = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        if passed.saturating_add(want) > self.window.len() {
            self.window.drain(..passed.min(self.window.len()));
            self.at = offset;
            let held = self.window.len();
            let rest = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            self.window.resize(want.max(AHEAD_BYTES).min(rest), 0);
            let into = &mut self.window[held..];
            match self.disk.read_once(&self.name, offset + held as u64, into) {
                Ok(read) if read == into.len() => {}
                Ok(_) | Err(DiskError::Unreadable(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let start = (offset - self.at) as usize;
        Ok(self.window.get(start..start + want))
    }
}

fn salt(log: u64, number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&log.to_le_bytes()), &number.to_le_bytes())
}

/// Reads a frame's body. False if there is no whole one of this kind before `end`.
fn frame<D: Disk>(
    disk: &D,
    name: &str,
    salt: u32,
    offset: u64,
    end: u64,
    kind: u32,
    body: &mut Vec<u8>,
) -> Result<bool, DiskError> {
    let mut head = [0; FRAME_BYTES];
    if !read_or_damaged(disk, name, offset, &mut head)? {
        return Ok(false);
    }
    let Some(length) = length_of(&head, kind) else { return Ok(false) };
    if offset.saturating_add((FRAME_BYTES + length) as u64) > end {
        return Ok(false);
    }
    body.resize(length, 0);
    if !read_or_damaged(disk, name, offset + FRAME_BYTES as u64, body)? {
        return Ok(false);
    }
    Ok(sum(salt, offset, &head, body).to_le_bytes() == head[..4])
}

/// The length of a frame's body, if its head is one of this kind.
fn length_of(head: &[u8; FRAME_BYTES], kind: u32) -> Option<usize> {
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = u32_at(4) as usize;
    (u32_at(8) == kind && length <= CHUNK_BYTES_MAX).then_some(length)
}

fn sum(salt: u32, offset: u64, head: &[u8; FRAME_BYTES], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(salt, &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &head[4..]), body)
}

/// Opens the checkpoint file of this number. None if it is damaged in its header, its trailer or the released
/// entries; damage of a chunk is found when it is read.
pub fn open<D: Disk>(
    disk: &D,
    log: u64,
    number: u64,
    file_bytes: u64,
) -> Result<Option<(Checkpoint<D>, Released)>, OpenError> {
    let name = name(number);
    let mut header = [0; HEADER_BYTES as usize];
    let mut trailer = [0; TRAILER_BYTES as usize];
    let Some(trailer_at) = file_bytes.checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES) else {
        return Ok(None);
    };
    if !read_or_damaged(disk, &name, 0, &mut header)?
        || !read_or_damaged(disk, &name, trailer_at, &mut trailer)?
    {
        return Ok(None);
    }
    let u64_of = |bytes: &[u8], at: usize| bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let closed = |bytes: &[u8]| {
        let (summed, sum) = bytes.split_at(bytes.len() - 4);
        sum == crc32c::crc32c(summed).to_le_bytes()
    };
    if &header[..8] != HEADER_MAGIC || !closed(&header) {
        return Ok(None);
    }
    let format = u16::from_le_bytes([header[8], header[9]]);
    if format > FORMAT {
        return Err(OpenError::Newer { name, format, known: FORMAT });
    }
    let tag_bytes = usize::from(header[10]);
    let chunks_end = u64_of(&trailer, 32);
    let sane = &trailer[..8] == TRAILER_MAGIC
        && closed(&trailer)
        && u64_of(&trailer, 8) == number
        && u64_of(&header, 24) == number
        && u64_of(&header, 16) == log
        && tag_bytes <= TAG_BYTES_MAX
        && (HEADER_BYTES..=trailer_at).contains(&chunks_end)
        && u64_of(&header, 32) < POSITION_MAX;
    if !sane {
        return Ok(None);
    }
    let (mut encoded, mut body, mut offset) = (Vec::new(), Vec::new(), chunks_end);
    while offset < trailer_at {
        if !frame(disk, &name, salt(log, number), offset, trailer_at, RELEASED, &mut body)? {
            return Ok(None);
        }
        encoded.extend_from_slice(&body);
        offset += (FRAME_BYTES + body.len()) as u64;
    }
    let checkpoint = Checkpoint {
        disk: disk.clone(),
        log,
        number,
        position: u64_of(&header, 32),
        tag: header[40..40 + tag_bytes].to_vec(),
        bytes: u64_of(&trailer, 16),
        chunks: u64_of(&trailer, 24),
        chunks_end,
    };
    Ok(Released::decode(&encoded).map(|released| (checkpoint, released)))
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub struct Writing {
    pub number: u64,
    pub position: u64,
    pub released: Released,
    log: u64,
    tag: Vec<u8>,
    offset: u64,
    unsynced: u64,
    bytes: u64,
    chunks: u64,
    frame: Vec<u8>,
}

impl Writing {
    pub fn temporary(&self) -> String {
        format!("{:016x}.tmp", self.number)
    }

    /// Makes the file. Nothing is durable.
    pub fn begin<D: Disk>(
        disk: &D,
        log: u64,
        number: u64,
        position: u64,
        tag: &[u8],
        released: Released,
    ) -> Result<Writing, DiskError> {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(HEADER_MAGIC);
        header[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        header[10] = tag.len() as u8;
        header[16..24].copy_from_slice(&log.to_le_bytes());
        header[24..32].copy_from_slice(&number.to_le_bytes());
        header[32..40].copy_from_slice(&position.to_le_bytes());
        header[40..40 + tag.len()].copy_from_slice(tag);
        let sum = crc32c::crc32c(&header[..124]);
        header[124..].copy_from_slice(&sum.to_le_bytes());
        let writing = Writing {
            number,
            position,
            released,
            log,
            tag: tag.to_vec(),
            offset: HEADER_BYTES,
            unsynced: HEADER_BYTES,
            bytes: 0,
            chunks: 0,
            frame: Vec::new(),
        };
        disk.create(&writing.temporary())?;
        disk.write_at(&writing.temporary(), 0, &header)?;
        Ok(writing)
    }

    /// Writes a chunk, and says by which locator it will be found.
    pub fn chunk<D: Disk>(&mut self, disk: &D, bytes: &[u8]) -> Result<u64, DiskError> {
        let locator = self.offset;
        self.write(disk, CHUNK, bytes)?;
        self.bytes += bytes.len() as u64;
        self.chunks += 1;
        Ok(locator)
    }

    fn write<D: Disk>(&mut self, disk: &D, kind: u32, body: &[u8]) -> Result<(), DiskError> {
        let mut head = [0; FRAME_BYTES];
        head[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&kind.to_le_bytes());
        let sum = sum(salt(self.log, self.number), self.offset, &head, body);
        head[..4].copy_from_slice(&sum.to_le_bytes());
        self.frame.clear();
        self.frame.extend_from_slice(&head);
        self.frame.extend_from_slice(body);
        let name = self.temporary();
        disk.write_at(&name, self.offset, &self.frame)?;
        self.offset += self.frame.len() as u64;
        self.unsynced += self.frame.len() as u64;
        if self.unsynced >= UNSYNCED_BYTES_MAX {
            disk.sync(&name)?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Writes what comes behind the chunks. What is left is to sync, rename and sync the directory.
    pub fn finish<D: Disk>(&mut self, disk: &D) -> Result<Checkpoint<D>, DiskError> {
        let chunks_end = self.offset;
        for part in self.released.encode().chunks(CHUNK_BYTES_MAX) {
            self.write(disk, RELEASED, part)?;
        }
        let mut trailer = [0; TRAILER_BYTES as usize];
        trailer[..8].copy_from_slice(TRAILER_MAGIC);
        trailer[8..16].copy_from_slice(&self.number.to_le_bytes());
        trailer[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        trailer[24..32].copy_from_slice(&self.chunks.to_le_bytes());
        trailer[32..40].copy_from_slice(&chunks_end.to_le_bytes());
        let sum = crc32c::crc32c(&trailer[..60]);
        trailer[60..].copy_from_slice(&sum.to_le_bytes());
        disk.write_at(&self.temporary(), self.offset, &trailer)?;
        Ok(Checkpoint {
            disk: disk.clone(),
            log: self.log,
            number: self.number,
            position: self.position,
            tag: self.tag.clone(),
            bytes: self.bytes,
            chunks: self.chunks,
            chunks_end,
        })
    }
}
