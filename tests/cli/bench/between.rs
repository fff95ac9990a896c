//! A server between `lethe bench` and the real one: it passes everything on, and tells lies about what comes back.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode, header};
use lethe::http::{
    door::{Door, DoorOptions},
    tasks::Tasks,
    tls::Certificate,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::with_a_server::Served;

/// Requests that a slow answer waits for: many more than another connection needs to go on.
const SLOW: usize = 200;

/// What the generator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// GET of a list of records.
    List,
    /// GET of a record.
    Record,
    /// POST of a batch.
    Batch,
    /// POST of an order to shred.
    Order,
    /// Anything else.
    Other,
}

impl Asked {
    fn of(method: &Method, path: &str) -> Self {
        match method.as_str() {
            "GET" if path.ends_with("/records") => Self::List,
            "GET" if path.contains("/records/") => Self::Record,
            "POST" if path.ends_with("/batch") => Self::Batch,
            "POST" if path.ends_with("/shreds") => Self::Order,
            _ => Self::Other,
        }
    }
}

/// How an answer goes its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// As it is.
    Whole,
    /// Late.
    Slow,
    /// The connection breaks in the midst of it.
    Broken,
    /// The same, and nothing listens any more.
    Last,
}

/// What the real server answered, to be bent.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) fate: Fate,
}

impl Answer {
    /// Changes the document that it is.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut document = serde_json::from_slice(&self.body).unwrap();
        change(&mut document);
        self.body = serde_json::to_vec(&document).unwrap();
    }
}

/// It runs until it is dropped.
pub(super) struct Between {
    pub(super) url: String,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

/// What is done to an answer.
type Lie = Box<dyn Fn(Asked, &mut Answer) + Send + Sync>;

struct Shared {
    honest: String,
    client: reqwest::Client,
    lie: Lie,
    tasks: Tasks,
    answered: Mutex<Vec<Asked>>,
}

impl Between {
    /// In front of `served`.
    pub(super) fn start(served: &Served, lie: impl Fn(Asked, &mut Answer) + Send + Sync + 'static) -> Self {
        Self::open(served, None, lie)
    }

    /// An honest one behind TLS, by the certificate in `tls.pem`, that speaks the protocol of this name alone.
    pub(super) fn behind_tls(served: &Served, protocol: &str) -> Self {
        let certificate = Certificate::load(&served.path("tls.pem"), &served.path("tls.key")).unwrap();
        let mut config = rustls::ServerConfig::clone(&certificate.server_config().unwrap());
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Self::open(served, Some(Arc::new(config)), |_, _| ())
    }

    fn open(served: &Served, tls: Option<Arc<rustls::ServerConfig>>, lie: impl Fn(Asked, &mut Answer) + Send + Sync + 'static) -> Self {
        // Fails where it is installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (honest, tasks) = (served.url().to_owned(), Tasks::default());
        let shared = Arc::new(Shared { honest, client, lie: Box::new(lie), tasks: tasks.clone(), answered: Mutex::default() });
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&shared));
        let runtime = Runtime::new().unwrap();
        let url = runtime.block_on(async {
            let door = Door::bind("127.0.0.1:0".parse().unwrap(), tls, DoorOptions::default()).await.unwrap();
            let url = door.url();
            drop(tasks.spawn(door.serve(router, tasks.clone())));
            url
        });
        Self { url, shared, _runtime: runtime }
    }

    /// What it has answered, in the order of its answers.
    pub(super) fn answered(&self) -> Vec<Asked> {
        self.shared.answered.lock().unwrap().clone()
    }
}

async fn pass_on(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let asked = Asked::of(&head.method, head.uri.path());
    let url = format!("{}{}", shared.honest, head.uri.path_and_query().unwrap());
    let mut headers = head.headers;
    headers.remove(header::HOST);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let honest = shared.client.request(head.method, url).headers(headers).body(body).send().await.unwrap();
    let (status, body) = (honest.status(), honest.bytes().await.unwrap().to_vec());
    let mut answer = Answer { status, body, fate: Fate::Whole };
    (shared.lie)(asked, &mut answer);
    if answer.fate == Fate::Slow {
        for _ in 0..SLOW {
            shared.client.get(format!("{}/health/live", shared.honest)).send().await.unwrap();
        }
    }
    shared.answered.lock().unwrap().push(asked);
    match answer.fate {
        Fate::Whole | Fate::Slow => (answer.status, answer.body).into_response(),
        Fate::Broken => broken(),
        Fate::Last => {
            shared.tasks.stop();
            broken()
        }
    }
}

/// A body that never comes to its end.
fn broken() -> Response {
    Body::from_stream(stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))])).into_response()
}
