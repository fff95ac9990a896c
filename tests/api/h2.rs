//! An HTTP/2 peer written by hand: it opens streams as it likes, grants the window it likes, and answers every ping.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What came of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) answered: bool,
    pub(crate) data_len: usize,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
}

pub(crate) struct Peer {
    socket: TcpStream,
    read: Vec<u8>,
    pub(crate) streams: BTreeMap<u32, Stream>,
    next: u32,
    pub(crate) closed: bool,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header that is in no table.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut line = vec![0, u8::try_from(name.len()).unwrap()];
    line.extend(name.bytes());
    // RFC 7541, 5.1: seven bits, then seven at a time.
    if value.len() < 127 {
        line.push(u8::try_from(value.len()).unwrap());
    } else {
        line.push(127);
        let mut rest = value.len() - 127;
        while rest >= 128 {
            line.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        line.push(u8::try_from(rest).unwrap());
    }
    line.extend(value.bytes());
    line
}

impl Peer {
    /// Connects, granting each answer `window` bytes.
    pub(crate) async fn connect(address: &str, window: u32) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut setting = vec![0, 4];
        setting.extend(window.to_be_bytes());
        hello.extend(frame(SETTINGS, 0, 0, &setting));
        socket.write_all(&hello).await.unwrap();
        Self { socket, read: Vec::new(), streams: BTreeMap::new(), next: 1, closed: false }
    }

    /// Asks for a path; gives the stream.
    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> u32 {
        self.head("GET", path, headers, END_STREAM).await
    }

    /// Begins to put something there, and sends none of it; gives the stream.
    pub(crate) async fn begin_put(&mut self, path: &str, headers: &[(&str, &str)]) -> u32 {
        self.head("PUT", path, headers, 0).await
    }

    async fn head(&mut self, method: &str, path: &str, headers: &[(&str, &str)], end: u8) -> u32 {
        let mut block = Vec::new();
        for (name, value) in [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")].iter().chain(headers) {
            block.extend(literal(name, value));
        }
        let stream = self.next;
        self.next += 2;
        let chunks: Vec<&[u8]> = block.chunks(16_384).collect();
        let mut bytes = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            const CONTINUATION: u8 = 9;
            let last = if at + 1 == chunks.len() { END_HEADERS } else { 0 };
            bytes.extend(if at == 0 { frame(HEADERS, end | last, stream, chunk) } else { frame(CONTINUATION, last, stream, chunk) });
        }
        self.streams.insert(stream, Stream::default());
        self.socket.write_all(&bytes).await.unwrap();
        stream
    }

    /// Grants a stream more.
    pub(crate) async fn grant(&mut self, stream: u32, bytes: u32) {
        self.socket.write_all(&frame(WINDOW, 0, stream, &bytes.to_be_bytes())).await.unwrap();
    }

    /// Reads frames, answering pings and settings, until `enough`, the end of the connection, or too long a silence.
    pub(crate) async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        let reading = async {
            while !enough(self) && !self.closed {
                self.step().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), reading).await.expect("what was waited for does not come");
    }

    async fn step(&mut self) {
        while self.read.len() < 9 || self.read.len() < 9 + self.payload_len() {
            if self.socket.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                self.closed = true;
                return;
            }
        }
        let len = self.payload_len();
        let frame_of: Vec<u8> = self.read.drain(..9 + len).collect();
        let (kind, flags) = (frame_of[3], frame_of[4]);
        let number = u32::from_be_bytes([frame_of[5], frame_of[6], frame_of[7], frame_of[8]]);
        let stream = self.streams.entry(number).or_default();
        match kind {
            HEADERS => stream.answered = true,
            DATA => stream.data_len += len,
            RESET => stream.reset = true,
            PING if flags & ACK == 0 => drop(self.socket.write_all(&frame(PING, ACK, 0, &frame_of[9..])).await),
            SETTINGS if flags & ACK == 0 => drop(self.socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await),
            GO_AWAY => {}
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.streams.entry(number).or_default().ended = true;
        }
    }

    fn payload_len(&self) -> usize {
        usize::from(self.read[0]) << 16 | usize::from(self.read[1]) << 8 | usize::from(self.read[2])
    }

    pub(crate) fn all(&self, what: impl Fn(&Stream) -> bool) -> bool {
        self.streams.iter().filter(|(number, _)| **number > 0).all(|(_, stream)| what(stream))
    }
}
