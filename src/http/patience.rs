//! A stream that gives up: when nothing comes first, or when what is to be sent is not taken.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::streams::Patience;

/// Fails with `TimedOut` if the first byte does not come, or a write is not taken, in time; sooner when the server goes down.
pub(super) struct Patient<S> {
    stream: S,
    /// Runs until the first byte has come, then whenever a write waits.
    deadline: Pin<Box<Sleep>>,
    greeted: bool,
    writing: bool,
    write_timeout: Duration,
    /// Resolves when the server goes down.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    farewell_timeout: Duration,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, first_byte_timeout: Duration, patience: &Patience) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(later(first_byte_timeout)));
        let stopping = Some(Box::pin(patience.tasks.stop_token().cancelled_owned()));
        Self {
            stream,
            deadline,
            greeted: false,
            writing: false,
            write_timeout: patience.stall,
            stopping,
            farewell_timeout: patience.farewell,
        }
    }

    /// Looks at the deadline while a write waits.
    fn while_writing<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing = false;
            return polled;
        }
        if !self.writing {
            self.writing = true;
            self.deadline.as_mut().reset(later(self.write_timeout));
        }
        if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready()) {
            self.stopping = None;
            self.write_timeout = self.write_timeout.min(self.farewell_timeout);
            let sooner = later(self.write_timeout).min(self.deadline.deadline());
            self.deadline.as_mut().reset(sooner);
        }
        if self.deadline.as_mut().poll(cx).is_ready() { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }
}

fn later(by: Duration) -> Instant {
    // Far enough for "never" where the sum would overflow.
    let now = Instant::now();
    now.checked_add(by).or_else(|| now.checked_add(Duration::from_hours(8_760))).unwrap_or(now)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if polled.is_ready() {
            this.greeted = true;
        } else if !this.greeted && this.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.while_writing(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.while_writing(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.while_writing(polled, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.while_writing(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::http::tasks::Tasks;

    fn patience(stall: Duration, tasks: &Tasks) -> Patience {
        Patience { stall, farewell: SHORT, tasks: tasks.clone() }
    }

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn silence_before_the_first_byte_ends_the_stream() {
        let (_peer, stream) = duplex(64);
        let mut stream = Patient::new(stream, SHORT, &patience(LONG, &Tasks::default()));
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn after_the_first_byte_reading_may_take_any_time() {
        let (mut peer, stream) = duplex(64);
        let mut stream = Patient::new(stream, SHORT, &patience(LONG, &Tasks::default()));
        peer.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        assert!(tokio::time::timeout(SHORT * 3, stream.read_u8()).await.is_err(), "it waits on");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_the_stream_and_a_slow_one_does_not() {
        let (mut peer, stream) = duplex(64);
        let mut stream = Patient::new(stream, LONG, &patience(SHORT * 4, &Tasks::default()));
        let slow = async {
            let mut taken = 0;
            while taken < 640 {
                tokio::time::timeout(SHORT, std::future::pending::<()>()).await.unwrap_err();
                taken += peer.read(&mut [0; 64]).await.unwrap();
            }
        };
        let (sent, ()) = tokio::join!(stream.write_all(&[0; 640]), slow);
        sent.unwrap();
        assert_eq!(stream.write_all(&[0; 640]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn going_down_shortens_the_wait_for_a_peer() {
        let (_peer, stream) = duplex(64);
        let tasks = Tasks::default();
        let mut stream = Patient::new(stream, LONG, &patience(LONG, &tasks));
        let stop = async {
            tokio::task::yield_now().await;
            tasks.stop();
        };
        let (sent, ()) = tokio::join!(stream.write_all(&[0; 640]), stop);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
