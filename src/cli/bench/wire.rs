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
}

enum Sender {
    One(http1::SendRequest<Load>),
    Two(http2::SendRequest<Load>),
}

impl Wire {
    /// Opens a connection for `streams` requests at a time.
    pub(crate) async fn open(target: &Arc<Target>, streams: usize) -> Result<Vec<Self>, Trouble> {
        let broken = |error: std::io::Error| Trouble::Broken(format!("the server cannot be reached: {error}"));
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        match &target.tls {
            None => Self::shake_hands(target, stream, streams).await,
            Some(connector) => {
                let name = ServerName::try_from(target.host.clone()).map_err(|_| Trouble::Broken("no name for a certificate".into()))?;
                let stream = connector.connect(name, stream).await.map_err(broken)?;
                Self::shake_hands(target, stream, streams).await
            }
        }
    }

    async fn shake_hands(
        target: &Arc<Target>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        streams: usize,
    ) -> Result<Vec<Self>, Trouble> {
        let io = TokioIo::new(stream);
        let wire = |sender| Self { target: Arc::clone(target), sender };
        match target.version {
            HttpVersion::One => {
                let (sender, connection) = http1::handshake(io).await?;
                drop(target.tasks.spawn(connection));
                Ok(vec![wire(Sender::One(sender))])
            }
            HttpVersion::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                drop(target.tasks.spawn(connection));
                Ok((0..streams).map(|_| wire(Sender::Two(sender.clone()))).collect())
            }
        }
    }

    /// Opens another connection in place of this one.
    pub(crate) async fn reopen(&mut self) -> Result<(), Trouble> {
        if let Some(fresh) = Self::open(&self.target, 1).await?.into_iter().next() {
            *self = fresh;
        }
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
