//! A web server of files for as long as a test wants it: ranges, etags, and faults by a seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How often what goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// The share of requests for parts that are refused, break off, or are cut short, a third each.
    pub(crate) share: f64,
    /// How long every request takes before it is answered.
    pub(crate) delay: Duration,
}

/// A running server.
pub(crate) struct Web {
    url: String,
    state: Arc<Mutex<State>>,
    hanging: Arc<Notify>,
    task: JoinHandle<()>,
}

struct State {
    files: BTreeMap<String, File>,
    trouble: Trouble,
    random: StdRng,
    /// What is done with requests for what stands in the middle of a file.
    middle: Option<Then>,
    /// What the query of every request must be.
    query: Option<&'static str>,
}

/// What is done with a request that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Refuse,
    Hang,
}

#[derive(Clone)]
struct File {
    content: Arc<Vec<u8>>,
    etag: String,
}

impl Web {
    pub(crate) async fn start(trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            trouble,
            random: StdRng::seed_from_u64(81),
            middle: None,
            query: None,
        }));
        let hanging = Arc::new(Notify::new());
        let serving = (Arc::clone(&state), Arc::clone(&hanging));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.0.clone(), serving.1.clone()));
            }
        });
        Self {
            url: format!("http://{address}"),
            state,
            hanging,
            task,
        }
    }

    /// Serves the content of a file under a name; says the URL.
    pub(crate) fn put(&self, name: &str, file: &Path) -> String {
        let content = std::fs::read(file).expect("a file");
        self.put_bytes(name, content)
    }

    /// Serves bytes under a name, as a new version of what is there; says the URL.
    pub(crate) fn put_bytes(&self, name: &str, content: Vec<u8>) -> String {
        let mut state = self.lock();
        let version: u64 = state.random.random();
        let file = File {
            content: content.into(),
            etag: format!("\"{version:x}\""),
        };
        state.files.insert(format!("/{name}"), file);
        format!("{}/{name}", self.url)
    }

    /// What to do with requests for data that begin in the middle fifth of a file, instead of answering them.
    pub(crate) fn in_the_middle(&self, then: Option<Then>) {
        self.lock().middle = then;
    }

    /// Waits for a request that hangs.
    pub(crate) async fn hangs(&self) {
        self.hanging.notified().await;
    }

    /// Refuses requests without this query.
    pub(crate) fn require(&self, query: &'static str) {
        self.lock().query = Some(query);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an answer is and how much of it is sent.
struct Answer {
    head: String,
    body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    cut: Option<usize>,
    /// Nothing is sent and the connection stays.
    hangs: bool,
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, hanging: Arc<Notify>) {
    let mut stream = BufReader::new(stream);
    let mut lines: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if !matches!(stream.read_line(&mut line).await, Ok(read) if read > 0) {
            return;
        }
        if line != "\r\n" {
            lines.push(line);
            continue;
        }
        let delay = state.lock().expect("no panic").trouble.delay;
        tokio::time::sleep(delay).await;
        let answer = state.lock().expect("no panic").answer(&lines);
        lines.clear();
        let Some(Answer {
            head,
            body,
            cut,
            hangs,
        }) = answer
        else {
            return;
        };
        if hangs {
            hanging.notify_one();
            std::future::pending::<()>().await;
        }
        let sent = &body[..cut.unwrap_or(body.len())];
        let is_sent =
            stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(sent).await.is_ok();
        if !is_sent || cut.is_some() {
            return;
        }
    }
}

impl State {
    /// The answer to a request; none where the connection ends without one.
    fn answer(&mut self, lines: &[String]) -> Option<Answer> {
        let mut words = lines[0].split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let header = |name: &str| {
            let fields = lines[1..].iter().filter_map(|line| line.split_once(": "));
            let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
            values.next().map(|(_, value)| value.trim())
        };
        let plain = |status: &str| Answer {
            head: format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"),
            body: Vec::new(),
            cut: None,
            hangs: false,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if self.query.is_some_and(|required| required != query) {
            return Some(plain("403 Forbidden"));
        }
        let Some(File { content, etag }) = self.files.get(path).cloned() else {
            return Some(plain("404 Not Found"));
        };
        let size = content.len();
        if method == "HEAD" {
            return Some(Answer {
                head: format!("HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: {size}\r\n\r\n"),
                body: Vec::new(),
                cut: None,
                hangs: false,
            });
        }
        if header("if-match").is_some_and(|asked| asked != etag) {
            return Some(plain("412 Precondition Failed"));
        }
        let (first, last) = header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // Planning looks at headers there.
        let is_data = last - first > 4096;
        if let Some(then) = self.middle
            && is_data
            && (size * 2 / 5..size * 3 / 5).contains(&first)
        {
            return Some(Answer {
                hangs: then == Then::Hang,
                ..plain("403 Forbidden")
            });
        }
        let body = content[first..=last].to_vec();
        let mut cut = None;
        if self.random.random_bool(self.trouble.share) {
            match self.random.random_range(0..3) {
                0 => return Some(plain("503 Slow Down")),
                1 => return None,
                _ => cut = Some(self.random.random_range(0..body.len())),
            }
        }
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\netag: {etag}\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{size}\r\n\r\n",
            body.len()
        );
        Some(Answer {
            head,
            body,
            cut,
            hangs: false,
        })
    }
}
