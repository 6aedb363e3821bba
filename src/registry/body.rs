//! What a request carries: nothing, some bytes, or a part of a file.
#![expect(clippy::disallowed_methods, reason = "reads the files that are sent")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc::{self, Receiver};

/// How much of a file is read at once.
const PIECE: u64 = 256 * 1024;

/// What a request carries. It can be sent again.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payload {
    /// Nothing.
    #[default]
    Nothing,
    /// Some bytes.
    Bytes(Bytes),
    /// A part of a file.
    Part {
        /// Which file.
        file: OnDisk,
        /// Where it begins.
        from: u64,
        /// How many bytes.
        length: u64,
    },
}

/// A file that is sent.
#[derive(Clone, Debug)]
pub(crate) enum OnDisk {
    /// By its name; opened for every request.
    Path(Arc<PathBuf>),
    /// An open one, which need not have a name.
    Open(Arc<File>),
}

impl OnDisk {
    fn open(&self) -> io::Result<Arc<File>> {
        match self {
            Self::Path(path) => File::open(&**path).map(Arc::new),
            Self::Open(file) => Ok(Arc::clone(file)),
        }
    }
}

impl Payload {
    /// How many bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part { length, .. } => *length,
        }
    }

    /// The body of one request. `moved` counts the bytes that have left.
    pub(crate) fn body(&self, moved: &Arc<AtomicU64>) -> Pieces {
        let source = match self {
            Self::Nothing => Source::Bytes(Bytes::new()),
            Self::Bytes(bytes) => Source::Bytes(bytes.clone()),
            Self::Part { file, from, length } => {
                // A disk may be slow; other connections are not to wait for it.
                let (sender, receiver) = mpsc::channel(2);
                let (file, mut from, end) = (file.clone(), *from, from + length);
                tokio::task::spawn_blocking(move || {
                    let file = file.open();
                    while from < end {
                        let file = file.as_ref().map_err(|error| io::Error::from(error.kind()));
                        let piece = file.and_then(|file| piece(file, from, end));
                        let failed = piece.is_err();
                        from += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                        // Nobody listens any more where the request was given up.
                        if sender.blocking_send(piece).is_err() || failed {
                            break;
                        }
                    }
                });
                Source::File(receiver)
            }
        };
        Pieces { source, left: self.length(), moved: Arc::clone(moved) }
    }
}

fn piece(file: &File, from: u64, end: u64) -> io::Result<Bytes> {
    let length = usize::try_from((end - from).min(PIECE)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from)?;
    Ok(Bytes::from(bytes))
}

/// A body, piece by piece.
#[derive(Debug)]
pub(crate) struct Pieces {
    source: Source,
    left: u64,
    moved: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    File(Receiver<io::Result<Bytes>>),
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut self.source {
            Source::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Source::File(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(piece) => piece.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into())),
            },
        };
        Poll::Ready(Some(piece.map(|piece| {
            self.left = self.left.saturating_sub(piece.len() as u64);
            self.moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Frame::data(piece)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
