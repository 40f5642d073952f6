//! As much of S3 as a run directory needs: objects, ranges, conditions; and faults, by count.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

/// A running store. It ends with the process.
pub(crate) struct Store {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (u64, Vec<u8>)>,
    /// Counts writes; the last one's number is the etag.
    writes: u64,
    requests: u64,
    is_flaky: bool,
    is_away: bool,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
}

impl Store {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<Mutex<State>>::default();
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { url, state }
    }

    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "sesame".to_owned()),
        ]
    }

    /// From now on some requests are refused, and some are done and not answered.
    pub(crate) fn be_flaky(&self) {
        self.lock().is_flaky = true;
    }

    /// From now on nothing may be written.
    pub(crate) fn refuse_writes(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    /// The names of all objects, with the bucket before them.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state.objects.get(key).map(|(_, content)| content.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let Some(answer) = state.lock().expect("no panic").take(&request) else {
            return;
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n",
            answer.status,
            answer.body.len(),
            answer.headers
        );
        let mut text = head.into_bytes();
        if request.method != "HEAD" {
            text.extend(answer.body);
        }
        if stream.get_mut().write_all(&text).is_err() {
            return;
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |n| n.parse());
    let mut body = vec![0; length.ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

impl State {
    /// None if the connection is to end without an answer.
    fn take(&mut self, request: &Request) -> Option<Answer> {
        self.requests += 1;
        let is_write = request.method == "PUT" || request.method == "POST";
        if self.is_away && is_write {
            return Some(Answer::empty("403 Forbidden"));
        }
        if self.is_flaky && self.requests % 5 == 2 {
            return Some(Answer::empty("503 Slow Down"));
        }
        let answer = self.answer(request);
        (!self.is_flaky || self.requests % 7 != 3).then_some(answer)
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let key = request.path.split('?').next().unwrap_or_default();
        let key = key.trim_start_matches('/').to_owned();
        let there = self.objects.get(&key);
        let condition = |name: &str| {
            request
                .headers
                .get(name)
                .map(|value| value.trim_matches('"'))
        };
        match request.method.as_str() {
            "PUT" => {
                let etag = there.map(|(etag, _)| etag.to_string());
                let is_refused = match (condition("if-match"), condition("if-none-match")) {
                    (Some(wanted), _) => etag.as_deref() != Some(wanted),
                    (_, Some(_)) => etag.is_some(),
                    _ => false,
                };
                if is_refused {
                    return Answer::empty("412 Precondition Failed");
                }
                self.writes += 1;
                let object = (self.writes, request.body.clone());
                self.objects.insert(key, object);
                Answer {
                    headers: format!("ETag: \"{}\"\r\n", self.writes),
                    ..Answer::empty("200 OK")
                }
            }
            "POST" => {
                let text = String::from_utf8_lossy(&request.body);
                let bucket = key.trim_end_matches('/');
                for part in text.split("<Key>").skip(1) {
                    let name = part.split("</Key>").next().unwrap_or_default();
                    self.objects.remove(&format!("{bucket}/{name}"));
                }
                Answer {
                    body: b"<DeleteResult></DeleteResult>".to_vec(),
                    ..Answer::empty("200 OK")
                }
            }
            _ => match there {
                None => Answer::empty("404 Not Found"),
                Some((etag, content)) => part_of(request, *etag, content),
            },
        }
    }
}

fn part_of(request: &Request, etag: u64, content: &[u8]) -> Answer {
    let headers = format!("ETag: \"{etag}\"\r\nLast-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n");
    let range = request.headers.get("range");
    let range = range.and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let Some((start, end)) = range else {
        return Answer {
            status: "200 OK",
            headers,
            body: content.to_vec(),
        };
    };
    let (start, end): (usize, usize) = (
        start.parse().expect("a number"),
        end.parse().expect("a number"),
    );
    let end = end.min(content.len() - 1);
    Answer {
        status: "206 Partial Content",
        headers: format!(
            "{headers}Content-Range: bytes {start}-{end}/{}\r\n",
            content.len()
        ),
        body: content[start..=end].to_vec(),
    }
}

impl Answer {
    fn empty(status: &'static str) -> Self {
        Self {
            status,
            headers: String::new(),
            body: Vec::new(),
        }
    }
}
