//! Room for what requests carry: the bodies of all callers together, from their first byte until they are answered.
//!
//! Each message has its largest size, and connections and streams are counted; their product is far more memory than a service has.
//! Who finds no room is refused at once with a hint when to ask again: a wait would hold what is half read.

use crate::error::{Error, ErrorKind};
use crate::protocol::status_of;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

/// Longest pause within a body. Who pauses for ever must not keep the room of others.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Bytes that are left.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<AtomicUsize>);

impl Room {
    pub fn of(bytes: usize) -> Room {
        Room(Arc::new(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// What one request holds of it, given back when it is dropped.
#[derive(Debug)]
struct Held {
    room: Room,
    bytes: AtomicUsize,
    refused: AtomicBool,
}

impl Held {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.room.take(bytes);
        if taken {
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
        } else {
            self.refused.store(true, Ordering::Release);
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.fetch_add(*self.bytes.get_mut(), Ordering::AcqRel);
    }
}

fn no_room() -> Error {
    Error::new(ErrorKind::Overloaded, "other requests fill the room for what they carry; ask again later")
}

/// gRPC calls find room for what they carry, or are refused.
pub(crate) async fn hold_grpc(State(room): State<Room>, request: Request, next: Next) -> Response {
    held(room, request, next).await.0
}

/// The same for HTTP calls.
pub(crate) async fn hold_http(State(room): State<Room>, request: Request, next: Next) -> Response {
    match held(room, request, next).await {
        (_, true) => no_room().into_response(),
        (response, false) => response,
    }
}

/// The answer, and whether there was no room for what was asked.
async fn held(room: Room, request: Request, next: Next) -> (Response, bool) {
    let held = Arc::new(Held { room, bytes: AtomicUsize::new(0), refused: AtomicBool::new(false) });
    let metered = |body: Body| Body::from_stream(metered(body.into_data_stream(), Arc::clone(&held), PAUSE_MAX));
    let response = next.run(request.map(metered)).await;
    (response, held.refused.load(Ordering::Acquire))
}

/// A body piece by piece, each piece when there is room for it.
fn metered(
    body: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin,
    held: Arc<Held>,
    pause_max: Duration,
) -> impl Stream<Item = Result<Bytes, Status>> {
    stream::unfold(Some((body, held)), move |left| async move {
        let (mut body, held) = left?;
        let piece = match timeout(pause_max, body.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(piece))) if held.take(piece.len()) => return Some((Ok(piece), Some((body, held)))),
            Ok(Some(Ok(_))) => status_of(&no_room()),
            Ok(Some(Err(error))) => Status::cancelled(error.to_string()),
            Err(_) => Status::deadline_exceeded(format!("the request paused for more than {pause_max:?}")),
        };
        Some((Err(piece), None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(room: &Room) -> Arc<Held> {
        Arc::new(Held { room: room.clone(), bytes: AtomicUsize::new(0), refused: AtomicBool::new(false) })
    }

    fn pieces(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, axum::Error>> + Unpin {
        stream::iter(sizes.iter().map(|size| Ok(Bytes::from(vec![0; *size]))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn bodies_share_the_room_and_give_it_back() {
        let room = Room::of(100);
        let (first, second) = (held(&room), held(&room));
        let pause = Duration::from_secs(1);
        let read: Vec<_> = metered(pieces(&[40, 30]), Arc::clone(&first), pause).collect().await;
        assert!(read.iter().all(Result::is_ok) && read.len() == 2);
        let read: Vec<_> = metered(pieces(&[20, 20, 5]), Arc::clone(&second), pause).collect().await;
        let [Ok(_), Err(refused)] = &read[..] else { panic!("{read:?}") };
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(second.refused.load(Ordering::Acquire) && !first.refused.load(Ordering::Acquire));
        drop((first, second));
        assert_eq!(room.0.load(Ordering::Acquire), 100);
    }

    #[tokio::test]
    async fn who_pauses_within_a_body_is_given_up() {
        let room = Room::of(100);
        let body = pieces(&[40]).chain(stream::pending());
        let read: Vec<_> = metered(body, held(&room), Duration::from_millis(20)).collect().await;
        let [Ok(_), Err(refused)] = &read[..] else { panic!("{read:?}") };
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(room.0.load(Ordering::Acquire), 100);
    }
}
