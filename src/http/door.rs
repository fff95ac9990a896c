//! The listener: connections, their number and their patience. HTTP/1.1 and HTTP/2, over TLS or, on loopback only, plainly.
//!
//! Over the connection limit a plain connection is answered 503 and closed, a TLS one closed. A connection that
//! sends nothing, or takes nothing, for too long is closed; how long it lives in all is not limited. Over HTTP/2 an
//! answer that is not taken is given up alone ([`super::streams`]). On shutdown no connection is accepted any more,
//! each open one finishes its requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::patience::Patient;
use super::streams::{Patience, Streams};
use super::tasks::Tasks;
use crate::domain::limits;

/// The limits of connections. Times are for lack of progress.
#[derive(Debug, Clone, Copy)]
pub struct DoorOptions {
    /// Connections open at a time.
    pub max_connections: usize,
    /// For a request's head, also the first on a connection, and a TLS handshake.
    pub head_timeout: Duration,
    /// For each single step of sending an answer.
    pub progress_timeout: Duration,
    /// The same once the server goes down.
    pub farewell_timeout: Duration,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            max_connections: usize::try_from(limits::CONNECTIONS.max).unwrap_or(usize::MAX),
            head_timeout: Duration::from_secs(30),
            progress_timeout: Duration::from_mins(1),
            farewell_timeout: Duration::from_secs(10),
        }
    }
}

/// A bound listener. Plain HTTP is possible on loopback only.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsHandle>,
    options: DoorOptions,
}

#[derive(Clone)]
struct TlsHandle(TlsAcceptor);

impl std::fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Plain HTTP was asked for on an address that others can reach.
    #[error("plain HTTP is served on loopback only: configure TLS, or listen on 127.0.0.1 or [::1]")]
    PlainBeyondLoopback,
    /// The address cannot be bound.
    #[error("cannot listen there: {0}")]
    Bind(#[source] io::Error),
}

impl Door {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`DoorError`] says why not.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>, options: DoorOptions) -> Result<Self, DoorError> {
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(DoorError::PlainBeyondLoopback);
        }
        let listener = TcpListener::bind(address).await.map_err(DoorError::Bind)?;
        let address = listener.local_addr().map_err(DoorError::Bind)?;
        let tls = tls.map(|config| TlsHandle(TlsAcceptor::from(config)));
        Ok(Self { listener, address, tls, options })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL it answers under.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Accepts connections until `tasks` are told to stop; each is a task of its own, which ends with its last request.
    pub async fn serve(self, router: Router, tasks: Tasks) {
        let connections = Arc::new(Semaphore::new(self.options.max_connections));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = tasks.stopping() => return,
            };
            let stream = match accepted {
                Ok((stream, _peer)) => stream,
                Err(error) => {
                    self.after_failed_accept(&error, &tasks).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                metrics::counter!("lethe_http_connections_refused_total").increment(1);
                self.refuse(stream, &tasks);
                continue;
            };
            self.welcome(stream, router.clone(), &tasks, permit);
        }
    }

    /// Out of file descriptors, most likely: accepting again at once would only burn a core.
    async fn after_failed_accept(&self, error: &io::Error, tasks: &Tasks) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        warn!(kind = ?error.kind(), "accepting a connection failed");
        let _ = tokio::time::timeout(Duration::from_millis(100), tasks.stopping()).await;
    }

    fn refuse(&self, mut stream: TcpStream, tasks: &Tasks) {
        const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        if self.tls.is_none() {
            drop(tasks.spawn(async move {
                let _ = tokio::time::timeout(Duration::from_secs(1), async {
                    stream.write_all(ANSWER).await?;
                    stream.shutdown().await
                })
                .await;
            }));
        }
    }

    fn welcome(&self, stream: TcpStream, router: Router, tasks: &Tasks, permit: OwnedSemaphorePermit) {
        let options = self.options;
        let tls = self.tls.clone();
        let inner = tasks.clone();
        drop(tasks.spawn(async move {
            let _permit = permit;
            let open = OpenConnection::new();
            match tls {
                None => converse(stream, router, &inner, options).await,
                Some(TlsHandle(acceptor)) => match tokio::time::timeout(options.head_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, router, &inner, options).await,
                    Ok(Err(_)) | Err(_) => metrics::counter!("lethe_http_tls_failures_total").increment(1),
                },
            }
            drop(open);
        }));
    }
}

/// Counts itself among the open connections.
struct OpenConnection;

impl OpenConnection {
    fn new() -> Self {
        metrics::gauge!("lethe_http_connections").increment(1.0);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("lethe_http_connections").decrement(1.0);
    }
}

/// Serves one connection to its end, or to the end of its running requests once the tasks are told to stop.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, tasks: &Tasks, options: DoorOptions) {
    let patience = Patience { stall: options.progress_timeout, farewell: options.farewell_timeout, tasks: tasks.clone() };
    let mut builder = auto::Builder::new(Streams(patience.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(options.head_timeout).max_buf_size(HARD_MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(limits::STREAMS.max).unwrap_or(u32::MAX))
        .max_header_list_size(HARD_MAX_HEADER_LIST)
        .keep_alive_interval(options.head_timeout)
        .keep_alive_timeout(options.head_timeout);
    let patient = Patient::new(stream, options.head_timeout, &patience);
    let connection = builder.serve_connection(TokioIo::new(patient), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tasks.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err() {
        // What the error says may hold what was sent.
        debug!("a connection broke");
    }
}

/// Beyond the table's limits, which answer with a problem document, hyper itself refuses with a bare 431. Of HTTP/1.1 header
/// lines it takes 100 where it is told nothing else; told so, it would allocate 14 kB for each request.
const HARD_MAX_HEAD_BYTES: usize = 128 * 1024;
const HARD_MAX_HEADER_LIST: u32 = 128 * 1024;
