//! Bodies as they arrive: counted against a limit, and given up when they stall.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};

use super::share::Unread;
use crate::domain::limits::Limit;
use crate::http::problem::{Code, Problem};

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum BodyFailure {
    /// The connection broke, or the message was not what it said it would be.
    Broken,
    /// No byte came for the time that is allowed between two.
    Stalled,
    /// Longer than this limit.
    TooLong(Limit),
}

impl From<BodyFailure> for Problem {
    fn from(failure: BodyFailure) -> Self {
        match failure {
            BodyFailure::Broken => Self::new(Code::IncompleteBody),
            BodyFailure::Stalled => Self::with(Code::IncompleteBody, "the body made no progress for too long; nothing was stored"),
            BodyFailure::TooLong(limit) => Self::limit(limit),
        }
    }
}

/// The body's data: fails once it is over `limit`, or makes no progress for `progress_timeout`. Its total time is not limited.
pub(in crate::http) fn watched(
    body: Body,
    progress_timeout: Duration,
    limit: Limit,
) -> impl Stream<Item = Result<Bytes, BodyFailure>> + Send {
    let state = (body.into_data_stream(), 0_u64, false);
    stream::unfold(state, move |(mut data, seen, ended)| async move {
        if ended {
            return None;
        }
        let next = match tokio::time::timeout(progress_timeout, data.next()).await {
            Err(_) => Err(BodyFailure::Stalled),
            Ok(None) => return None,
            Ok(Some(Err(_))) => Err(BodyFailure::Broken),
            Ok(Some(Ok(chunk))) => Ok(chunk),
        };
        let seen = seen.saturating_add(next.as_ref().map_or(0, |chunk| chunk.len() as u64));
        let next = if seen > limit.max { Err(BodyFailure::TooLong(limit)) } else { next };
        let ended = next.is_err();
        Some((next, (data, seen, ended)))
    })
}

/// Reads on and forgets, at most what the limit would have allowed and one MiB: who is still sending when the refusal comes
/// would find a broken connection instead of it.
async fn drain(body: Body, progress_timeout: Duration, limit: Limit) {
    const MORE: u64 = 1_048_576;
    let bound = Limit { max: limit.max.saturating_add(MORE), ..limit };
    let mut chunks = std::pin::pin!(watched(body, progress_timeout, bound));
    while let Some(Ok(_)) = chunks.next().await {}
}

/// The whole of a body that is small by its limit: refused before anything is read where its announced length is over the
/// limit or over what is left of the memory for bodies.
pub(in crate::http) async fn read_all(unread: Unread, progress_timeout: Duration, limit: Limit) -> Result<Bytes, Problem> {
    let Unread { body, share } = unread;
    let announced = http_body::Body::size_hint(&body).lower();
    let fits = if announced > limit.max { Err(Problem::limit(limit)) } else { share.grow(0, announced) };
    if let Err(problem) = fits {
        drain(body, progress_timeout, limit).await;
        return Err(problem);
    }
    let mut chunks = std::pin::pin!(watched(body, progress_timeout, limit));
    let mut whole = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
    let mut paid = announced;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        let len = (whole.len() as u64).saturating_add(chunk.len() as u64);
        if let Err(problem) = share.grow(paid, len) {
            drop((whole, share));
            while let Some(Ok(_)) = chunks.next().await {}
            return Err(problem);
        }
        paid = paid.max(len);
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::limits;
    use crate::http::extract::share::Share;

    const TEN: Limit = Limit { name: "ten", max: 10, unit: "bytes" };

    fn chunks(chunks: Vec<Result<Bytes, std::io::Error>>) -> Body {
        Body::from_stream(stream::iter(chunks))
    }

    async fn collect(body: Body) -> (usize, Option<BodyFailure>) {
        let mut stream = std::pin::pin!(watched(body, Duration::from_millis(50), TEN));
        let mut len: usize = 0;
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => len = len.saturating_add(chunk.len()),
                Err(failure) => {
                    assert!(stream.next().await.is_none(), "nothing follows a failure");
                    return (len, Some(failure));
                }
            }
        }
        (len, None)
    }

    #[tokio::test]
    async fn a_body_ends_at_its_limit_its_break_or_its_stall() {
        let part = || Ok(Bytes::from_static(b"12345"));
        assert_eq!(collect(chunks(vec![part(), part()])).await, (10, None));
        assert_eq!(collect(chunks(vec![part(), part(), part()])).await, (10, Some(BodyFailure::TooLong(TEN))));
        assert_eq!(collect(chunks(vec![part(), Err(std::io::ErrorKind::ConnectionReset.into())])).await, (5, Some(BodyFailure::Broken)));
        let stalled = Body::from_stream(stream::iter(vec![part()]).chain(stream::pending()));
        assert_eq!(collect(stalled).await, (5, Some(BodyFailure::Stalled)));
    }

    fn budget(bytes: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(bytes))
    }

    fn of(body: Body, budget: &Arc<Semaphore>) -> Unread {
        Unread { body, share: Share::of(budget, limits::BODIES_LEN) }
    }

    #[tokio::test]
    async fn bodies_share_what_memory_there_is_for_them() {
        const KIB: usize = 1024;
        let budget = budget(100 * KIB);
        let read = |unread| read_all(unread, Duration::from_secs(1), limits::JSON_BODY_LEN);
        let first = of(Body::from(vec![0; 100 * KIB]), &budget);
        let share = first.share.clone();
        assert_eq!(read(first).await.unwrap().len(), 100 * KIB);
        assert_eq!(budget.available_permits(), 64 * KIB, "held while the request is at work; 64 KiB are free");
        let large = || Body::from(vec![0; 129 * KIB]);
        assert_eq!(read(of(large(), &budget)).await.unwrap_err().code(), Code::Busy);
        assert_eq!(budget.available_permits(), 64 * KIB, "a refused one holds nothing");
        // The same where the length is not announced: it pays as it grows.
        let part = || Ok(Bytes::from(vec![0; 43 * KIB]));
        assert_eq!(read(of(chunks(vec![part(), part(), part()]), &budget)).await.unwrap_err().code(), Code::Busy);
        assert_eq!(read(of(chunks(vec![part(), part()]), &budget)).await.unwrap().len(), 86 * KIB);
        assert_eq!(read(of(Body::from(vec![0; 64 * KIB]), &self::budget(0))).await.unwrap().len(), 64 * KIB, "a small one always fits");
        drop(share);
        assert_eq!(read(of(large(), &budget)).await.unwrap().len(), 129 * KIB);
        assert_eq!(budget.available_permits(), 100 * KIB, "all is given back");
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_refused_and_forgotten() {
        let read = |len| read_all(of(Body::from(vec![0; len]), &budget(0)), Duration::from_secs(1), TEN);
        assert_eq!(read(11).await.unwrap_err().code(), Code::LimitExceeded);
        assert_eq!(read(10).await.unwrap().len(), 10);
        assert_eq!(Problem::from(BodyFailure::TooLong(limits::VALUE_LEN)).code(), Code::TooLarge);
    }
}
