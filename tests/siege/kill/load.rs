//! Who works while the server is killed: writers, batches, readers, a revoker, shredders. Each ends at the first
//! request that is not answered, and gives back what it knows.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::model::{Cell, number, value};
use crate::{
    client::{Answer, Client, Request, Unknown},
    random::Random,
};

pub(super) const ACME: &str = "/v1/tenants/acme";
pub(super) const COLLECTIONS: &str = "/v1/tenants/acme/collections";

/// What all of them share.
pub(super) struct Field {
    pub(super) acks: watch::Sender<usize>,
    /// Set before the kill: from here on a request may stay without an answer.
    pub(super) killed: AtomicBool,
    /// Paths of what was shredded.
    pub(super) gone: Mutex<Vec<String>>,
    /// Paths that writers write to.
    pub(super) paths: Vec<String>,
}

/// A worker's connection, and what it was told.
pub(super) struct Hands {
    pub(super) client: Client,
    pub(super) owner: String,
    pub(super) operator: String,
    pub(super) random: Random,
    pub(super) field: Arc<Field>,
    /// Request ids of acknowledged changes to acme, each with its action in the trail.
    pub(super) told: Vec<(String, &'static str)>,
}

impl Hands {
    fn heard(&self, answer: Result<Answer, Unknown>) -> Result<Answer, Unknown> {
        if answer.is_err() {
            assert!(self.field.killed.load(Ordering::SeqCst), "a request was not answered, and nobody had killed the server");
        }
        answer
    }

    /// A change; a refusal for want of room is no answer and no change.
    async fn change(&mut self, action: &'static str, mut request: Request<'_>) -> Result<Answer, Unknown> {
        let id = self.random.hex(16);
        let headers = [request.headers, &[("x-request-id", id.as_str())]].concat();
        request.headers = &headers;
        let about_acme = request.path.starts_with(ACME);
        let answer = self.heard(self.client.send(request).await)?;
        if (200..300).contains(&answer.status) {
            if about_acme {
                self.told.push((id, action));
            }
            self.field.acks.send_modify(|acks| *acks += 1);
        }
        Ok(answer)
    }

    async fn change_json(&mut self, action: &'static str, method: Method, path: &str, body: &Value) -> Result<Answer, Unknown> {
        self.change_json_as(action, method, path, &self.owner.clone(), &[], body).await
    }

    async fn change_json_as(
        &mut self,
        action: &'static str,
        method: Method,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Unknown> {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.change(action, Request { method, path, token, headers: &headers, body: body.to_string().into_bytes() }).await
    }

    async fn get(&self, path: &str) -> Result<Answer, Unknown> {
        self.heard(self.client.get(path, &self.owner).await)
    }

    async fn put(&mut self, path: &str, token: &str, subject: &str, body: Vec<u8>) -> Result<Answer, Unknown> {
        self.change("record.write", Request { method: Method::PUT, path, token, headers: &[("lethe-subject", subject)], body }).await
    }
}

/// A write under an idempotency key.
#[derive(Debug, Clone)]
pub(super) struct Repeatable {
    pub(super) path: String,
    pub(super) subject: String,
    pub(super) key: String,
    pub(super) body: Vec<u8>,
    pub(super) number: u64,
    /// Of the answer, if there was one.
    pub(super) etag: Option<String>,
}

/// Puts and deletes single records.
pub(super) struct Writer {
    pub(super) cells: Vec<Cell>,
    pub(super) next: u64,
    /// Under way when the server was killed.
    pub(super) asked: Option<Repeatable>,
    /// The last that was acknowledged.
    pub(super) answered: Option<Repeatable>,
}

impl Writer {
    pub(super) async fn work(mut self, mut hands: Hands) -> (Self, Hands) {
        while self.step(&mut hands).await.is_ok() {}
        (self, hands)
    }

    async fn step(&mut self, hands: &mut Hands) -> Result<(), Unknown> {
        let at = hands.random.below(self.cells.len());
        let (repeats, deletes) = (hands.random.once_in(3), hands.random.once_in(5));
        let cell = &mut self.cells[at];
        let path = format!("{COLLECTIONS}/{}", cell.path);
        if deletes && cell.is_there() {
            let request = Request { method: Method::DELETE, path: &path, token: &hands.owner.clone(), headers: &[], body: Vec::new() };
            let Ok(answer) = hands.change("record.delete", request).await else {
                cell.unanswered(None);
                return Err(Unknown);
            };
            match answer.status {
                204 => cell.acknowledged(None),
                503 => {}
                _ => panic!("DELETE {path}: {} {}", answer.status, answer.text()),
            }
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        let body = value(&cell.path, number, hands.random.below(cell.len_end));
        let key = hands.random.hex(8);
        let mut headers = vec![("lethe-subject", cell.subject.as_str())];
        let mut repeatable = None;
        if repeats {
            headers.push(("idempotency-key", &key));
            let (path, subject, key) = (cell.path.clone(), cell.subject.clone(), key.clone());
            repeatable = Some(Repeatable { path, subject, key, body: body.clone(), number, etag: None });
        }
        let request = Request { method: Method::PUT, path: &path, token: &hands.owner.clone(), headers: &headers, body };
        let Ok(answer) = hands.change("record.write", request).await else {
            cell.unanswered(Some(number));
            self.asked = repeatable;
            return Err(Unknown);
        };
        match answer.status {
            201 | 204 => {
                cell.acknowledged(Some(number));
                if let Some(mut repeatable) = repeatable {
                    repeatable.etag = Some(answer.headers["etag"].to_str().unwrap().to_owned());
                    self.answered = Some(repeatable);
                }
            }
            503 => {}
            _ => panic!("PUT {path}: {} {}", answer.status, answer.text()),
        }
        Ok(())
    }
}

/// Batches over two collections. Batch n writes n to three records, puts (even) or deletes (odd) a fourth, and makes a pair.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// 0 before the first.
    pub(super) acknowledged: u64,
    /// It was sent and not answered.
    pub(super) tried: bool,
    /// The first batch of this life.
    pub(super) first: u64,
}

pub(super) const SAME: [&str; 3] = ["people/records/batch/0", "files/records/batch/1", "people/records/batch/2"];
pub(super) const EVEN: &str = "files/records/batch/3";

pub(super) fn pair(number: u64) -> [String; 2] {
    [format!("people/records/pair/{number}"), format!("files/records/pair/{number}")]
}

impl Batches {
    pub(super) async fn work(mut self, mut hands: Hands) -> (Self, Hands) {
        self.first = self.acknowledged + 1;
        while self.step(&mut hands).await.is_ok() {}
        (self, hands)
    }

    async fn step(&mut self, hands: &mut Hands) -> Result<(), Unknown> {
        let number = self.acknowledged + 1;
        let put = |path: &str, more: Value| {
            let (collection, key) = path.split_once("/records/").unwrap();
            let mut op = json!({"op": "put", "collection": collection, "key": key, "subjects": ["batch"],
                "value_base64": base64_of(&value(path, number, 500))});
            op.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            op
        };
        let mut ops: Vec<Value> = SAME.iter().map(|path| put(path, json!({}))).collect();
        if number.is_multiple_of(2) {
            ops.push(put(EVEN, json!({"if_none_match": "*"})));
        } else if number > 1 {
            ops.push(json!({"op": "delete", "collection": "files", "key": "batch/3"}));
        }
        ops.extend(pair(number).iter().map(|path| put(path, json!({"if_none_match": "*"}))));
        let answer = hands.change_json("record.write", Method::POST, &format!("{ACME}/batch"), &json!({ "ops": ops })).await;
        self.tried = answer.is_err();
        let answer = answer?;
        match answer.status {
            200 => self.acknowledged = number,
            503 => {}
            _ => panic!("batch {number}: {} {}", answer.status, answer.text()),
        }
        Ok(())
    }
}

pub(super) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Reads whatever there is: what comes must be whole, and nothing that was shredded may come.
pub(super) async fn read(hands: Hands) -> Hands {
    let mut hands = hands;
    while read_step(&mut hands).await.is_ok() {}
    hands
}

async fn read_step(hands: &mut Hands) -> Result<(), Unknown> {
    let gone = {
        let gone = hands.field.gone.lock().unwrap();
        if gone.is_empty() { None } else { Some(gone[hands.random.below(gone.len())].clone()) }
    };
    if let Some(path) = gone.filter(|_| hands.random.once_in(4)) {
        let answer = hands.get(&path).await?;
        assert!(matches!(answer.status, 404 | 410 | 503), "GET {path} after its shred: {} {}", answer.status, answer.text());
    } else if hands.random.once_in(6) {
        let answer = hands.get(&format!("{COLLECTIONS}/people/records?limit=20")).await?;
        assert!(matches!(answer.status, 200 | 503), "a list: {} {}", answer.status, answer.text());
    } else {
        let field = Arc::clone(&hands.field);
        let path = &field.paths[hands.random.below(field.paths.len())];
        let answer = hands.get(&format!("{COLLECTIONS}/{path}")).await?;
        match answer.status {
            200 => drop(number(path, &answer.bytes)),
            404 | 410 | 503 => {}
            _ => panic!("GET {path}: {} {}", answer.status, answer.text()),
        }
    }
    Ok(())
}

/// A reader's token.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) revoked: Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revoked {
    No,
    Tried,
    Yes,
}

/// Makes tokens and revokes most of them.
pub(super) async fn revoke(mut tokens: Vec<Token>, mut hands: Hands) -> (Vec<Token>, Hands) {
    while revoke_step(&mut tokens, &mut hands).await.is_ok() {}
    (tokens, hands)
}

async fn revoke_step(tokens: &mut Vec<Token>, hands: &mut Hands) -> Result<(), Unknown> {
    let made = hands.change_json("token.create", Method::POST, &format!("{ACME}/tokens"), &json!({"role": "reader"})).await?;
    if made.status == 503 {
        return Ok(());
    }
    let made = made.expect(201, "a token").json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    tokens.push(Token { id: text("id"), text: text("token"), revoked: Revoked::No });
    if hands.random.once_in(4) {
        return Ok(());
    }
    let token = tokens.last_mut().unwrap();
    let path = format!("{ACME}/tokens/{}", token.id);
    token.revoked = Revoked::Tried;
    let request = Request { method: Method::DELETE, path: &path, token: &hands.owner.clone(), headers: &[], body: Vec::new() };
    let answer = hands.change("token.revoke", request).await?;
    token.revoked = if answer.status == 503 { Revoked::No } else { Revoked::Yes };
    if token.revoked == Revoked::Yes {
        answer.expect(204, "a revocation");
        let list = format!("{COLLECTIONS}/people/records?limit=1");
        let refused = hands.heard(hands.client.get(&list, &token.text).await)?;
        assert!(matches!(refused.status, 401 | 503), "a revoked token: {} {}", refused.status, refused.text());
    }
    Ok(())
}

/// An order to shred, and what it is to take.
#[derive(Debug)]
pub(super) struct Order {
    /// The tenant's path and its owner's token.
    pub(super) tenant: String,
    pub(super) token: String,
    pub(super) body: Value,
    /// Path and value of each acknowledged record.
    pub(super) records: Vec<(String, Vec<u8>)>,
    pub(super) id: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) ordered: Ordered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ordered {
    No,
    Tried,
    Pending,
    Done,
}

/// Makes something new, and shreds it.
pub(super) async fn shred(first: u64, mut hands: Hands) -> (Vec<Order>, Hands) {
    let mut orders = Vec::new();
    for number in first.. {
        if shred_step(number, &mut orders, &mut hands).await.is_err() {
            break;
        }
    }
    (orders, hands)
}

async fn shred_step(number: u64, orders: &mut Vec<Order>, hands: &mut Hands) -> Result<(), Unknown> {
    let name = format!("s{number}");
    let mut order = Order {
        tenant: ACME.into(),
        token: hands.owner.clone(),
        body: Value::Null,
        records: Vec::new(),
        id: None,
        certificate: None,
        ordered: Ordered::No,
    };
    let paths = match hands.random.below(12) {
        0 => {
            order.tenant = format!("/v1/tenants/{name}");
            let body = json!({ "tenant": name });
            let made = hands.change_json_as("", Method::POST, "/v1/tenants", &hands.operator.clone(), &[], &body).await?;
            if made.status == 503 {
                return Ok(());
            }
            made.expect(201, "a tenant").json()["token"].as_str().unwrap().clone_into(&mut order.token);
            let collection = format!("{}/collections/c", order.tenant);
            hands.change_json_as("", Method::PUT, &collection, &order.token, &[], &json!({})).await?;
            order.body = json!({"scope": "tenant", "confirm": name});
            vec![format!("{collection}/records/x"), format!("{collection}/records/y")]
        }
        1 => {
            let collection = format!("{COLLECTIONS}/{name}");
            hands.change_json("collection.write", Method::PUT, &collection, &json!({"shred_unit": "subject"})).await?;
            order.body = json!({"scope": "collection", "collection": name});
            vec![format!("{collection}/records/x"), format!("{collection}/records/y")]
        }
        2 => {
            order.body = json!({"scope": "record", "collection": "notes", "key": name});
            vec![format!("{COLLECTIONS}/notes/records/{name}")]
        }
        _ => {
            order.body = json!({"scope": "subject", "subject": name});
            ["people/records/a", "people/records/b", "notes/records/c", "files/records/d"]
                .iter()
                .map(|path| format!("{COLLECTIONS}/{path}/{name}"))
                .collect()
        }
    };
    orders.push(order);
    let order = orders.last_mut().unwrap();
    for path in paths {
        let body = value(&path, number, if hands.random.once_in(6) { 150_000 } else { 300 });
        let answer = hands.put(&path, &order.token, &name, body.clone()).await?;
        match answer.status {
            201 => order.records.push((path, body)),
            // A collection whose making was refused, or a write that was.
            404 | 503 => {}
            _ => panic!("PUT {path}: {} {}", answer.status, answer.text()),
        }
    }
    let prefer = if hands.random.once_in(3) { "respond-async" } else { "wait=30" };
    let path = format!("{}/shreds", order.tenant);
    order.ordered = Ordered::Tried;
    let answer = hands.change_json_as("shred.order", Method::POST, &path, &order.token, &[("prefer", prefer)], &order.body).await?;
    let told = answer.json();
    order.ordered = match answer.status {
        200 => Ordered::Done,
        202 => Ordered::Pending,
        // It was not there, or there was no room: the next life tells which.
        404 | 503 => return Ok(()),
        _ => panic!("shred {}: {} {}", order.body, answer.status, answer.text()),
    };
    order.id = told["id"].as_str().map(str::to_owned);
    order.certificate = told["certificate"].as_str().map(str::to_owned);
    assert_eq!(order.certificate.is_some(), order.ordered == Ordered::Done, "{told}");
    if order.tenant == ACME {
        let gone =
            order.records.iter().map(|(path, _)| path.clone()).filter(|path| order.ordered == Ordered::Done || !path.contains("/files/"));
        hands.field.gone.lock().unwrap().extend(gone);
    }
    Ok(())
}
