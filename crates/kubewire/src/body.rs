//! Response bodies: whole, in pieces, or a stream.
//!
//! A list is kept as the items that the store shares and joined piece by piece while it is sent, so that a large list costs one
//! piece of memory beside the items. Compression happens on the same path, a piece at a time, so that it never blocks a thread for
//! long. A stream is one box, so that an idle watch costs little.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::Write,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::Stream;
use http_body::{Frame, SizeHint};

/// Pieces are joined up to this many bytes for one write.
const PIECE: usize = 64 * 1024;

/// A response body. Sending it cannot fail; a watch that must end just ends.
pub struct Body(Kind);

enum Kind {
    Whole(Bytes),
    Pieces(VecDeque<Bytes>),
    Compressed(Box<Compressed>),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

struct Compressed {
    pieces: VecDeque<Bytes>,
    /// `None` once the trailer is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Kind::Whole(Bytes::new()))
    }

    /// The pieces one after the other.
    pub fn pieces(pieces: VecDeque<Bytes>) -> Self {
        Self(Kind::Pieces(pieces))
    }

    /// The pieces one after the other, compressed with gzip at its fastest level.
    pub fn gzip(pieces: VecDeque<Bytes>) -> Self {
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        Self(Kind::Compressed(Box::new(Compressed { pieces, encoder })))
    }

    /// What the stream yields, each item sent at once.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(stream)))
    }

    /// Number of bytes, if known beforehand.
    pub fn len(&self) -> Option<u64> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes.len() as u64),
            Kind::Pieces(pieces) => Some(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Kind::Compressed(_) | Kind::Stream(_) => None,
        }
    }

    /// Whether it is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// This body as indented JSON for people, or as it is where it is not whole or too large for anybody to read.
    #[must_use]
    pub(crate) fn prettier(self) -> Self {
        const READABLE: u64 = 8 << 20;
        if self.len().is_none_or(|len| len > READABLE) {
            return self;
        }
        let text: Bytes = match self.0 {
            Kind::Whole(bytes) => bytes,
            Kind::Pieces(pieces) => pieces.into_iter().flatten().collect(),
            other => return Self(other),
        };
        let pretty =
            serde_json::from_slice::<serde_json::Value>(&text).and_then(|value| serde_json::to_vec_pretty(&value));
        pretty.map_or(Self::from(text), |mut pretty| {
            pretty.push(b'\n');
            Self::from(pretty)
        })
    }

    /// This body with gzip, or as it is where it is a stream.
    #[must_use]
    pub fn compressed(self) -> Self {
        match self.0 {
            Kind::Whole(bytes) => Self::gzip(VecDeque::from([bytes])),
            Kind::Pieces(pieces) => Self::gzip(pieces),
            kind @ (Kind::Compressed(_) | Kind::Stream(_)) => Self(kind),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(Kind::Whole(bytes.into()))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Body").field(&self.len()).finish()
    }
}

/// Takes about [`PIECE`] bytes from the front; a large single piece is passed on without a copy.
fn next_piece(pieces: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = pieces.pop_front()?;
    if first.len() >= PIECE || pieces.is_empty() {
        return Some(first);
    }
    let mut joined = BytesMut::with_capacity(PIECE);
    joined.extend_from_slice(&first);
    while let Some(next) = pieces.front() {
        if joined.len() + next.len() > PIECE {
            break;
        }
        joined.extend_from_slice(next);
        pieces.pop_front();
    }
    Some(joined.freeze())
}

impl Compressed {
    /// The next compressed bytes. Writing into a `Vec` does not fail; an error would end the body.
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            match next_piece(&mut self.pieces) {
                Some(mut piece) => {
                    // A huge piece is taken in steps, so that one poll stays short.
                    let step = piece.split_to(piece.len().min(4 * PIECE));
                    if piece.has_remaining() {
                        self.pieces.push_front(piece);
                    }
                    encoder.write_all(&step).ok()?;
                    if !encoder.get_ref().is_empty() {
                        return Some(std::mem::take(encoder.get_mut()).into());
                    }
                }
                None => return self.encoder.take()?.finish().ok().map(Bytes::from),
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let next = match &mut self.get_mut().0 {
            Kind::Whole(bytes) if bytes.is_empty() => None,
            Kind::Whole(bytes) => Some(std::mem::take(bytes)),
            Kind::Pieces(pieces) => next_piece(pieces),
            Kind::Compressed(compressed) => compressed.next(),
            Kind::Stream(stream) => match stream.as_mut().poll_next(cx) {
                Poll::Ready(item) => item,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map(SizeHint::with_exact).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures::FutureExt;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    fn collect(body: Body) -> Bytes {
        body.collect().now_or_never().unwrap().unwrap().to_bytes()
    }

    proptest! {
        #[test]
        fn pieces_and_gzip_carry_the_same_bytes(sizes in proptest::collection::vec(0usize..200_000, 0..6)) {
            let pieces: VecDeque<Bytes> =
                sizes.iter().enumerate().map(|(n, size)| Bytes::from(vec![n as u8; *size])).collect();
            let wanted: Vec<u8> = pieces.iter().flatten().copied().collect();
            let body = Body::pieces(pieces.clone());
            prop_assert_eq!(body.len(), Some(wanted.len() as u64));
            prop_assert!(collect(body) == wanted);
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&collect(Body::gzip(pieces))[..]).read_to_end(&mut unpacked).unwrap();
            prop_assert!(unpacked == wanted);
        }
    }
}
