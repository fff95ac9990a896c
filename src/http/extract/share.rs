//! Memory for bodies that are read whole: one budget for all requests, of which each takes its share before it reads.
//!
//! A body's first 64 KiB are free, for the number of requests bounds them: so an order to shred finds room while
//! batches have taken all of it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::FromRequest;
use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::limits::{self, Limit};
use crate::http::Api;
use crate::http::problem::Problem;

/// Bytes of each body that cost nothing.
const FREE: u64 = limits::INLINE_VALUE_LEN.max;

/// A request's place among those at work, shared like its memory.
pub(in crate::http) type Place = Arc<OwnedSemaphorePermit>;

/// What a request has of the budget. Its clones are the same share, given back when the last one goes.
#[derive(Clone)]
pub(in crate::http) struct Share(Arc<Held>);

struct Held {
    budget: Arc<Semaphore>,
    limit: Limit,
    permits: Mutex<Vec<OwnedSemaphorePermit>>,
}

impl Share {
    /// Nothing yet; one permit of the budget is a byte.
    pub(in crate::http) fn of(budget: &Arc<Semaphore>, limit: Limit) -> Self {
        Self(Arc::new(Held { budget: Arc::clone(budget), limit, permits: Mutex::default() }))
    }

    /// Takes what a body needs that grows from `from` to `to` bytes.
    ///
    /// # Errors
    /// [`Code::Busy`](crate::http::problem::Code::Busy), naming the limit, if there is not so much left.
    pub(super) fn grow(&self, from: u64, to: u64) -> Result<(), Problem> {
        let more = to.saturating_sub(FREE).saturating_sub(from.saturating_sub(FREE));
        if more == 0 {
            return Ok(());
        }
        let busy = || Problem::limit(self.0.limit);
        let more = u32::try_from(more).map_err(|_| busy())?;
        let permit = Arc::clone(&self.0.budget).try_acquire_many_owned(more).map_err(|_| busy())?;
        self.0.permits.lock().unwrap_or_else(PoisonError::into_inner).push(permit);
        Ok(())
    }
}

/// A body that nothing has been read of, and its request's share.
pub(in crate::http) struct Unread {
    pub(super) body: Body,
    pub(super) share: Share,
}

impl FromRequest<Api> for Unread {
    type Rejection = Infallible;

    async fn from_request(mut request: Request<Body>, api: &Api) -> Result<Self, Infallible> {
        // `layers` holds the other end until the request is answered, and its caller until all is done: so what was parsed of
        // the body is paid for, too.
        let share = request.extensions_mut().remove::<Share>().unwrap_or_else(|| api.make_share());
        Ok(Self { body: request.into_body(), share })
    }
}
