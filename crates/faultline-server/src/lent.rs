//! A request's body that comes back when its route is done with it, so that what is left can be read before the answer goes out.
//!
//! A connection that is closed while the sender still sends is reset, and a reset can take the answer away before it is read: the
//! sender of a report that is too large would learn nothing of why.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// The most that is read of a body which nobody wants, in bytes and in time.
const REST_BYTES: usize = 4 << 20;
const REST_TIME: Duration = Duration::from_millis(500);

/// What is left of a body.
#[derive(Clone, Default)]
pub(crate) struct Rest(Arc<Mutex<Option<Body>>>);

/// A body that comes back to its [`Rest`].
struct Lent {
    body: Option<Body>,
    /// Whether the sender has begun to send.
    is_on_its_way: bool,
    rest: Rest,
}

/// Lends a body to a route. A sender who waits to be asked (`Expect: 100-continue`) sends nothing until the body is first read.
pub(crate) fn lend(body: Body, waits: bool) -> (Body, Rest) {
    let rest = Rest::default();
    (Body::new(Lent { body: Some(body), is_on_its_way: !waits, rest: rest.clone() }), rest)
}

impl Rest {
    /// Reads what is left, up to a bound, and throws it away.
    pub async fn drain(self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let mut bytes = 0;
        let read = async {
            while bytes < REST_BYTES
                && let Some(Ok(frame)) = body.frame().await
            {
                bytes += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // Whoever sends more, or slower, may be cut off.
        let _ = timeout(REST_TIME, read).await;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.is_on_its_way {
            *self.rest.0.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_on_its_way = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}
