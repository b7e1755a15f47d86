//! One connection in use: a task that reads and a task that writes.
//!
//! The reader takes as much as there is in one go, cuts it into packets without copying and hands them over as
//! one batch. The writer takes everything that waits and writes it in as few calls as it can.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Semaphore;
use tokio_rustls::TlsStream;

use super::PACKET_BYTES_MAX;
use super::outbox::{Outgoing, PREFIX_BYTES, PROBE_BIT};
use super::peer::{Peer, Running};
use crate::input::{Down, Input};
use crate::metrics::Metrics;
use crate::{Refusal, Socket};

/// A connection under TLS.
pub(crate) type Stream = TlsStream<Socket>;

/// What is asked of the kernel at a time, once the peer is known.
pub(crate) const SOCKET_READ_BYTES: usize = 256 * 1024;

/// The buffer that packets are cut from.
const READ_BYTES: usize = 256 * 1024;

/// Less room than this in the buffer is not worth a read: a TLS record is 16 KiB.
const READ_ROOM_BYTES: usize = 16 * 1024;

/// After a batch of this size the reader lets others run.
const YIELD_BYTES: usize = 128 * 1024;

/// What rustls may hold back while the socket is not writable.
pub(crate) const TLS_WRITE_BYTES: usize = 256 * 1024;

/// The slices of one write: rustls looks at each of them for every record.
const SLICES: usize = 32;

/// A packet longer than any may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The next packet in the buffer, if it is there as a whole, and whether it is a probe.
pub(crate) fn cut(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<(bool, Bytes)>, TooLong> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let prefix = u32::from_le_bytes(*prefix);
    let length = (prefix & !PROBE_BIT) as usize;
    if length > bytes_max {
        return Err(TooLong);
    }
    if buffer.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some((prefix & PROBE_BIT != 0, buffer.split_to(length).freeze())))
}

/// Runs a connection until it ends, and says so to the peer.
pub(crate) fn run(
    stream: Stream,
    peer: Arc<Peer>,
    running: Running,
    metrics: Arc<Metrics>,
    limits: Limits,
) -> (impl Future<Output = ()> + Send, impl Future<Output = ()> + Send) {
    let (reader, writer) = split(stream);
    let reader =
        Reader { stream: reader, peer: peer.clone(), running: running.clone(), metrics: metrics.clone() };
    let writer = Writer { stream: writer, peer, running, metrics, stuck: limits.stuck };
    (reader.run(limits.inbound_bytes_max), writer.run())
}

/// The bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) inbound_bytes_max: usize,
    pub(crate) stuck: Duration,
}

struct Reader {
    stream: ReadHalf<Stream>,
    peer: Arc<Peer>,
    running: Running,
    metrics: Arc<Metrics>,
}

impl Reader {
    async fn run(mut self, inbound_bytes_max: usize) {
        let mut stop = self.running.stop.clone();
        let reason = tokio::select! {
            _ = stop.changed() => return,
            reason = self.read(inbound_bytes_max) => reason,
        };
        if self.peer.down(self.running.id, reason) {
            tracing::debug!(peer = %self.peer.site, %reason, "connection ended");
        }
    }

    async fn read(&mut self, inbound_bytes_max: usize) -> Down {
        // At least one buffer's worth, or the connection could never hand anything over.
        let budget_max = u32::try_from(inbound_bytes_max.max(2 * READ_BYTES)).unwrap_or(u32::MAX);
        let budget = Arc::new(Semaphore::new(budget_max as usize));
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            if buffer.capacity() - buffer.len() < READ_ROOM_BYTES {
                buffer.reserve(READ_BYTES);
            }
            match read_batch(&mut self.stream, &mut buffer).await {
                Ok(0) | Err(_) => return Down::Closed,
                Ok(bytes) => self.metrics.bytes_received.add(bytes as u64),
            }
            let mut packets = Vec::new();
            let mut bytes = 0;
            loop {
                match cut(&mut buffer, PACKET_BYTES_MAX) {
                    Ok(Some((false, packet))) => {
                        bytes += packet.len();
                        packets.push(packet);
                    }
                    Ok(Some((true, probe))) => {
                        self.metrics.probes_received.count();
                        let site = self.peer.site;
                        self.peer.hand_over(self.running.id, |inputs| inputs.send(Input::Probe(site, probe)));
                    }
                    Ok(None) => break,
                    Err(TooLong) => {
                        self.metrics.refuse(Refusal::PacketTooLong);
                        return Down::Expelled;
                    }
                }
            }
            if packets.is_empty() {
                continue;
            }
            self.metrics.packets_received.add(packets.len() as u64);
            // Empty packets cost something, too: nobody may queue them for nothing.
            let cost = u32::try_from(bytes + packets.len()).unwrap_or(u32::MAX).min(budget_max);
            let permit = budget.clone().acquire_many_owned(cost).await.expect("the budget is never closed");
            let input = Input::Packets(self.peer.site, packets);
            if !self.peer.hand_over(self.running.id, |inputs| inputs.send_budgeted(input, permit)) {
                return Down::Closed;
            }
            if bytes >= YIELD_BYTES {
                // A fast peer must not keep this thread from everything else.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Waits for bytes, then takes what there is, as long as there is room for a whole record.
async fn read_batch(stream: &mut ReadHalf<Stream>, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut total = 0;
    poll_fn(|cx| {
        while buffer.capacity() - buffer.len() >= READ_ROOM_BYTES {
            match pin!(stream.read_buf(buffer)).poll(cx) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(bytes)) => total += bytes,
                // The error comes again at the next read, when what came before it has been handed over.
                Poll::Ready(Err(_)) if total > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if total > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(total))
    })
    .await
}

struct Writer {
    stream: WriteHalf<Stream>,
    peer: Arc<Peer>,
    running: Running,
    metrics: Arc<Metrics>,
    stuck: Duration,
}

impl Writer {
    async fn run(mut self) {
        let mut stop = self.running.stop.clone();
        let reason = tokio::select! {
            _ = stop.changed() => return,
            reason = self.write() => reason,
        };
        self.peer.down(self.running.id, reason);
    }

    async fn write(&mut self) -> Down {
        loop {
            let Some(batch) = self.peer.take(self.running.id) else { return Down::Closed };
            let bytes = batch.bytes();
            if bytes == 0 {
                self.running.wake.notified().await;
                continue;
            }
            match self.write_batch(batch).await {
                Ok(()) => self.metrics.bytes_sent.add(bytes as u64),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.metrics.writes_stuck.count();
                    return Down::Silent;
                }
                Err(_) => return Down::Closed,
            }
        }
    }

    async fn write_batch(&mut self, mut batch: Outgoing) -> io::Result<()> {
        while batch.has_remaining() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = batch.chunks_vectored(&mut slices);
            let write = write_vectored(&mut self.stream, &slices[..count]);
            let written = tokio::time::timeout(self.stuck, write).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            batch.advance(written);
            self.peer.written(self.running.id, written);
        }
        tokio::time::timeout(self.stuck, self.stream.flush()).await?
    }
}

async fn write_vectored(stream: &mut WriteHalf<Stream>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    poll_fn(|cx| pin!(&mut *stream).poll_write_vectored(cx, slices)).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_that_is_too_long_is_refused_before_it_is_read() {
        let mut buffer = BytesMut::from(&100u32.to_le_bytes()[..]);
        assert_eq!(cut(&mut buffer, 99), Err(TooLong));
        assert_eq!(cut(&mut buffer, 100), Ok(None));
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_the_stream_is_cut(
            packets in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..50)), 0..20),
            step in 1usize..40,
        ) {
            let mut stream = Vec::new();
            for (probe, packet) in &packets {
                let prefix = packet.len() as u32 | if *probe { PROBE_BIT } else { 0 };
                stream.extend_from_slice(&prefix.to_le_bytes());
                stream.extend_from_slice(packet);
            }
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for part in stream.chunks(step) {
                buffer.extend_from_slice(part);
                while let Some((probe, packet)) = cut(&mut buffer, 64).expect("none is too long") {
                    found.push((probe, packet.to_vec()));
                }
            }
            prop_assert_eq!(found, packets);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = cut(&mut buffer, 128) {}
        }
    }
}
