//! Answers that their peers do not take.
//!
//! Over HTTP/2 a peer can open a request, grant no window for its answer and answer every ping: no write to the
//! connection ever waits, so [`super::patience`] sees nothing. Each stream therefore runs in a task of its own
//! here, which ends, and resets the stream, when a part of the answer was not taken in time.
//!
//! [`Sent`] is the body of every answer. Over HTTP/2 it hands out small parts, so that "in time" means at least
//! [`PART`] bytes, and the last byte on its own: the task ends only when all before it was taken and there is
//! window for that one, so nothing stays behind in a buffer that no clock watches.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::watch;
use tracing::debug;

use super::extract::share::Place;
use super::tasks::Tasks;

/// What a peer must take of an answer within the time for progress, in bytes, unless less is left.
const PART: usize = 16 * 1024;

tokio::task_local! {
    static TURN: watch::Sender<Turn>;
}

/// Whose turn it is on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Ours: the request is at work, or the next part of its answer is being fetched.
    Ours,
    /// The peer's: a part waits to be taken.
    Peers,
}

/// How long a peer may leave a part of an answer.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    /// As a rule.
    pub(super) stall: Duration,
    /// Once the server is going down.
    pub(super) farewell: Duration,
    /// Told when it is.
    pub(super) tasks: Tasks,
}

impl Patience {
    /// Resolves when a part that waits from now on has waited too long.
    async fn over(&self) {
        let going_down = async {
            self.tasks.stopping().await;
            pass(self.farewell).await;
        };
        tokio::select! {
            () = pass(self.stall) => {}
            () = going_down => {}
        }
    }

    /// Resolves when the peer has let its turn pass.
    async fn over_on(&self, mut turn: watch::Receiver<Turn>) {
        loop {
            let peers = *turn.borrow_and_update() == Turn::Peers;
            let changed = tokio::select! {
                changed = turn.changed() => changed,
                () = self.over(), if peers => return,
            };
            if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// Runs the streams of HTTP/2 connections, and gives up those whose peers do not take their answers.
#[derive(Debug, Clone)]
pub(super) struct Streams(pub(super) Patience);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let patience = self.0.clone();
        let (turn, taken) = watch::channel(Turn::Ours);
        drop(self.0.tasks.spawn(async move {
            tokio::select! {
                _ = TURN.scope(turn, stream) => {}
                // What is dropped unfinished is reset.
                () = patience.over_on(taken) => {
                    metrics::counter!("lethe_http_answers_given_up_total").increment(1);
                    debug!("an answer was not taken in time");
                }
            }
        }));
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer: holds on to its place, and over HTTP/2 says whose turn it is.
    pub(super) struct Sent {
        #[pin]
        body: Body,
        place: Option<Place>,
        turn: Option<watch::Sender<Turn>>,
        // What was fetched and not handed out.
        rest: Bytes,
        // What is still to be fetched, where that is known.
        left: Option<u64>,
    }
}

impl Sent {
    /// To be made in the task that sends it. `len` is what the answer's head says of its length.
    pub(super) fn new(body: Body, len: Option<u64>, place: Option<Place>) -> Self {
        let left = body.size_hint().exact().or(len);
        Self { body, place, turn: TURN.try_with(watch::Sender::clone).ok(), rest: Bytes::new(), left }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        let Some(turn) = this.turn else { return this.body.poll_frame(cx) };
        if this.rest.is_empty() {
            let polled = this.body.as_mut().poll_frame(cx);
            let Poll::Ready(Some(Ok(frame))) = polled else {
                turn.send_replace(Turn::Ours);
                return polled;
            };
            match frame.into_data() {
                Ok(data) => *this.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
            *this.left = this.left.map(|left| left.saturating_sub(this.rest.len() as u64));
        }
        let last = *this.left == Some(0) || this.body.is_end_stream();
        let len = if last && this.rest.len() > 1 { this.rest.len().saturating_sub(1) } else { this.rest.len() };
        let part = this.rest.split_to(len.min(PART));
        turn.send_replace(Turn::Peers);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && (self.body.is_end_stream() || (self.turn.is_some() && self.left == Some(0)))
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_mins(10);

    fn patience(stall: Duration) -> Patience {
        Patience { stall, farewell: SHORT, tasks: Tasks::default() }
    }

    async fn parts(body: Body, len: Option<u64>) -> Vec<usize> {
        let (turn, _taken) = watch::channel(Turn::Ours);
        TURN.scope(turn, async {
            let mut sent = Sent::new(body, len, None);
            let mut parts = Vec::new();
            while !sent.is_end_stream() {
                let Some(frame) = sent.frame().await else { break };
                parts.push(frame.unwrap().into_data().unwrap().len());
            }
            parts
        })
        .await
    }

    #[tokio::test]
    async fn over_http_2_the_last_byte_goes_alone() {
        assert_eq!(parts(Body::from("abcd"), None).await, [3, 1]);
        assert_eq!(parts(Body::from("a"), None).await, [1]);
        assert_eq!(parts(Body::empty(), None).await, Vec::<usize>::new());
        assert_eq!(parts(Body::from(vec![0; PART + 1]), None).await, [PART, 1]);
        assert_eq!(parts(Body::from(vec![0; 2 * PART]), None).await, [PART, PART - 1, 1]);
        let chunks = || Body::from_stream(stream::iter([Ok::<_, std::io::Error>("ab"), Ok("cd")]));
        assert_eq!(parts(chunks(), Some(4)).await, [2, 1, 1], "the head tells where a stream ends");
        assert_eq!(parts(chunks(), None).await, [2, 2]);
    }

    #[tokio::test]
    async fn over_http_1_a_body_is_sent_as_it_is() {
        let mut sent = Sent::new(Body::from(vec![0; 3 * PART]), None, None);
        assert_eq!(sent.frame().await.unwrap().unwrap().into_data().unwrap().len(), 3 * PART);
        assert!(sent.is_end_stream());
    }

    #[tokio::test]
    async fn only_the_peers_turn_is_timed() {
        let (turn, taken) = watch::channel(Turn::Ours);
        let patience = patience(SHORT);
        let mut over = std::pin::pin!(patience.over_on(taken));
        assert!(tokio::time::timeout(SHORT * 4, over.as_mut()).await.is_err(), "work may take any time");
        turn.send_replace(Turn::Peers);
        tokio::time::timeout(LONG, over).await.unwrap();
    }

    #[tokio::test]
    async fn going_down_shortens_the_wait() {
        let (turn, taken) = watch::channel(Turn::Peers);
        let patience = patience(LONG);
        let mut over = std::pin::pin!(patience.over_on(taken));
        assert!(tokio::time::timeout(SHORT * 4, over.as_mut()).await.is_err());
        patience.tasks.stop();
        tokio::time::timeout(LONG, over).await.unwrap();
        drop(turn);
    }
}
