//! Connections to the server, straight over hyper: the generator shares the machine with the server, so that what it
//! costs is taken from what it measures.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header, request};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{super::failure::Problem, values::Value};
use crate::server::Tasks;

/// A streamed body is made in pieces of this size.
const PIECE_LEN: u64 = 64 * 1024;
/// Of an answer that is no success at most so much is read.
const PROBLEM_LEN_MAX: usize = 64 * 1024;

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1: one request at a time on a connection.
    #[value(name = "1")]
    One,
    /// HTTP/2.
    #[value(name = "2")]
    Two,
}

/// Where requests go, and as whom.
pub(crate) struct Target {
    /// `http` or `https`.
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host:port` as it stands in a URL.
    pub(crate) authority: String,
    /// What stands before every path.
    pub(crate) base: String,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) version: HttpVersion,
    pub(crate) token: HeaderValue,
    pub(crate) tasks: Tasks,
}

/// Why an operation failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server refused.
    Refused(Box<Problem>),
    /// It answered something else than it must, bytes or status.
    Wrong(&'static str),
    /// The connection broke.
    Broken(String),
}

impl Trouble {
    /// A fixed text for each kind, or the server's own code: nothing about the request.
    pub(crate) fn code(&self) -> String {
        match self {
            Self::Refused(problem) => format!("{} {}", problem.status, problem.code),
            Self::Wrong(code) => (*code).to_owned(),
            Self::Broken(_) => "connection-broken".to_owned(),
        }
    }
}

impl From<hyper::Error> for Trouble {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// One request at a time to the server; with HTTP/2 several share a connection.
pub(crate) struct Wire {
    pub(crate) target: Arc<Target>,
    sender: Sender,
    /// How often the connection had been opened anew when `sender` came from it.
    turn: u64,
    line: Arc<Mutex<Line>>,
}

enum Sender {
    One(http1::SendRequest<Load>),
    Two(http2::SendRequest<Load>),
}

/// What the streams of a connection share: the one that was opened last in its place.
#[derive(Default)]
struct Line {
    turn: u64,
    sender: Option<http2::SendRequest<Load>>,
}

impl Wire {
    /// Opens a connection for `streams` requests at a time.
    pub(crate) async fn open(target: &Arc<Target>, streams: usize) -> Result<Vec<Self>, Trouble> {
        let line = Arc::<Mutex<Line>>::default();
        let wire = |sender| Self { target: Arc::clone(target), sender, turn: 0, line: Arc::clone(&line) };
        Ok(match Self::connect(target).await? {
            one @ Sender::One(_) => vec![wire(one)],
            Sender::Two(sender) => (0..streams).map(|_| wire(Sender::Two(sender.clone()))).collect(),
        })
    }

    async fn connect(target: &Arc<Target>) -> Result<Sender, Trouble> {
        let broken = |error: std::io::Error| Trouble::Broken(format!("the server cannot be reached: {error}"));
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        match &target.tls {
            None => Self::shake_hands(target, stream).await,
            Some(connector) => {
                let name = ServerName::try_from(target.host.clone()).map_err(|_| Trouble::Broken("no name for a certificate".into()))?;
                let stream = connector.connect(name, stream).await.map_err(broken)?;
                Self::shake_hands(target, stream).await
            }
        }
    }

    async fn shake_hands(target: &Arc<Target>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, Trouble> {
        let io = TokioIo::new(stream);
        match target.version {
            HttpVersion::One => {
                let (sender, connection) = http1::handshake(io).await?;
                drop(target.tasks.spawn(connection));
                Ok(Sender::One(sender))
            }
            HttpVersion::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                drop(target.tasks.spawn(connection));
                Ok(Sender::Two(sender))
            }
        }
    }

    /// Opens another connection in place of this one. Of the streams that one took with it the first does, and the others find it here:
    /// a break leaves as many connections as there were.
    pub(crate) async fn reopen(&mut self) -> Result<(), Trouble> {
        let mut line = self.line.lock().await;
        let found = if line.turn == self.turn { None } else { line.sender.clone() };
        self.sender = match found {
            Some(sender) => Sender::Two(sender),
            None => {
                let fresh = Self::connect(&self.target).await?;
                line.turn = line.turn.saturating_add(1);
                if let Sender::Two(sender) = &fresh {
                    line.sender = Some(sender.clone());
                }
                fresh
            }
        };
        self.turn = line.turn;
        Ok(())
    }

    /// The head of a request to `path`, which begins with a slash.
    pub(crate) fn head(&self, method: Method, path: &str) -> request::Builder {
        self.head_as(method, path, &self.target.token)
    }

    /// The same with another token.
    pub(crate) fn head_as(&self, method: Method, path: &str, token: &HeaderValue) -> request::Builder {
        let target = &self.target;
        let head = Request::builder().method(method).header(header::AUTHORIZATION, token);
        match target.version {
            HttpVersion::One => head.uri(format!("{}{path}", target.base)).header(header::HOST, &target.authority),
            HttpVersion::Two => {
                head.version(http::Version::HTTP_2).uri(format!("{}://{}{}{path}", target.scheme, target.authority, target.base))
            }
        }
    }

    /// Sends a request and waits for the head of a successful answer.
    pub(crate) async fn send(&mut self, head: request::Builder, load: Load) -> Result<Answer, Trouble> {
        let answer = self.send_any(head, load).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.trouble().await) }
    }

    /// The same for an answer of any status.
    pub(crate) async fn send_any(&mut self, head: request::Builder, load: Load) -> Result<Answer, Trouble> {
        let request = head.body(load).map_err(|_| Trouble::Wrong("malformed-request"))?;
        let response = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, body })
    }
}

/// An answer whose body is still to come.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Incoming,
}

impl Answer {
    /// Reads to the end; hands each piece on.
    pub(crate) async fn each(mut self, mut take: impl FnMut(&[u8])) -> Result<(), Trouble> {
        while let Some(frame) = self.body.frame().await {
            if let Some(piece) = frame?.data_ref() {
                take(piece);
            }
        }
        Ok(())
    }

    /// Reads to the end without looking.
    pub(crate) async fn done(self) -> Result<(), Trouble> {
        self.each(|_| {}).await
    }

    /// All of it.
    pub(crate) async fn bytes(self) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        self.each(|piece| bytes.extend_from_slice(piece)).await?;
        Ok(bytes)
    }

    /// What an answer that is no success says.
    pub(crate) async fn trouble(self) -> Trouble {
        let status = self.status;
        let mut bytes = Vec::new();
        let take = |piece: &[u8]| {
            let room = PROBLEM_LEN_MAX.saturating_sub(bytes.len());
            bytes.extend(piece.iter().take(room));
        };
        if let Err(trouble) = self.each(take).await {
            return trouble;
        }
        let mut problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.title.is_empty() {
            status.canonical_reason().unwrap_or("no reason given").clone_into(&mut problem.title);
        }
        // A code becomes a key of the report: what is no code of ours is not repeated.
        if problem.code.is_empty() || problem.code.len() > 64 || !problem.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            "no-code".clone_into(&mut problem.code);
        }
        Trouble::Refused(Box::new(problem))
    }
}

/// A request's body.
pub(crate) enum Load {
    /// None.
    Empty,
    /// These bytes.
    Whole(Bytes),
    /// A value that is made while it is sent.
    Made {
        /// Which.
        value: Value,
        /// How much of it is sent.
        sent: u64,
    },
}

impl Load {
    fn left(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Made { value, sent } => value.len().saturating_sub(*sent),
        }
    }
}

impl Body for Load {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let load = self.get_mut();
        if load.left() == 0 {
            return Poll::Ready(None);
        }
        let piece = match load {
            Self::Empty => return Poll::Ready(None),
            Self::Whole(bytes) => std::mem::take(bytes),
            Self::Made { value, sent } => {
                let piece = value.part(*sent, PIECE_LEN);
                *sent = sent.saturating_add(piece.len() as u64);
                piece
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn streams_whose_connection_broke_share_the_next_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(Target {
            scheme: "http".into(),
            host: "127.0.0.1".into(),
            port,
            authority: format!("127.0.0.1:{port}"),
            base: String::new(),
            tls: None,
            version: HttpVersion::Two,
            token: HeaderValue::from_static("Bearer none"),
            tasks: Tasks::default(),
        });
        // Who connects says its first words without waiting for an answer.
        let connected = || std::iter::from_fn(|| listener.accept().ok()).count();
        let mut wires = Wire::open(&target, 3).await.unwrap();
        assert_eq!((wires.len(), connected()), (3, 1));
        for breaks in 0..2 {
            for wire in &mut wires {
                wire.reopen().await.unwrap();
            }
            assert_eq!(connected(), 1, "after break {breaks}");
        }
    }
}
