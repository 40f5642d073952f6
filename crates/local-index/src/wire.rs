//! A connection's bytes, as slow and as silent as the conditions have it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::conditions::Enforced;

/// A stream under conditions, or as it is.
pub(crate) struct Wire {
    stream: TcpStream,
    conditions: Option<Arc<Enforced>>,
    reading: Pause,
    writing: Pause,
}

/// What one direction waits for.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

// === impl Wire ===

impl Wire {
    pub(crate) fn new(stream: TcpStream, conditions: Option<Arc<Enforced>>) -> Self {
        Self {
            stream,
            conditions,
            reading: Pause::default(),
            writing: Pause::default(),
        }
    }

    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.conditions {
            None => Poll::Ready(()),
            Some(conditions) => self.writing.poll(context, || conditions.silent_until()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let Some(conditions) = &wire.conditions else {
            return Pin::new(&mut wire.stream).poll_read(context, buffer);
        };
        let blocked = || conditions.silent_until().or_else(|| conditions.link_free());
        ready!(wire.reading.poll(context, blocked));
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut wire.stream).poll_read(context, buffer));
        conditions.received(buffer.filled().len() - before);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        ready!(wire.poll_writable(context));
        Pin::new(&mut wire.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        ready!(wire.poll_writable(context));
        Pin::new(&mut wire.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

// === impl Pause ===

impl Pause {
    /// Ready when nothing is to be waited for any more.
    fn poll(&mut self, context: &mut Context<'_>, until: impl Fn() -> Option<Instant>) -> Poll<()> {
        loop {
            if let Some(sleep) = &mut self.0 {
                ready!(sleep.as_mut().poll(context));
                self.0 = None;
            }
            match until() {
                None => return Poll::Ready(()),
                Some(until) => self.0 = Some(Box::pin(sleep_until(until))),
            }
        }
    }
}
