//! An HTTP server for disk images on the loopback interface, which can also misbehave.
//!
//! It speaks HTTP/1.1 by hand: an HTTP library rightly refuses to claim a length and then send something else.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::{TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// How a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// The whole file, or the range that was asked for.
    Good,
    /// At most this many bytes a second.
    Slow(u64),
    /// As [`Self::Slow`], with the version of the file in the head, so that the rest can be asked for.
    Steady(u64),
    /// This many bytes, then nothing while the connection stays open.
    StallAfter(u64),
    /// The true length in the head, this many bytes, then the end of the connection.
    CutAfter(u64),
    /// As [`Self::CutAfter`], with the version of the file in the head, so that the rest can be asked for, in as many pieces as it takes.
    Breaking(u64),
    /// A length in the head that is this many bytes less than what is sent.
    ClaimLess(u64),
    /// This status and an empty body.
    Status(u16),
}

/// An image that is served. As text it is what a Volume says to be filled with it: `source: {http: {url: …, checksum: …}}`.
#[derive(Clone, Debug)]
pub struct ServedImage {
    /// Where.
    pub url: String,
    /// `sha256:` and the digits.
    pub checksum: String,
}

impl fmt::Display for ServedImage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "source: {{http: {{url: '{}', checksum: '{}'}}}}", self.url, self.checksum)
    }
}

#[derive(Debug)]
struct Route {
    file: PathBuf,
    manners: Manners,
    requests: u32,
    /// Where the last answer began in the file.
    began: u64,
    /// The `Authorization` without which it answers 401.
    door: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    routes: Mutex<HashMap<String, Route>>,
    /// Where else the image of a name is said to be.
    redirects: Mutex<HashMap<String, String>>,
    stopped: AtomicBool,
}

/// The server; dropping it stops it and ends answers that stall.
#[derive(Debug)]
pub struct ImageServer {
    port: u16,
    shared: Arc<Shared>,
}

impl ImageServer {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        Self::start_on(0)
    }

    /// Starts it on `port`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_on(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("bind the image server")?;
        let port = listener.local_addr().context("read the bound port")?.port();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if served.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let served = Arc::clone(&served);
                // A client that goes away in the middle is its own business.
                std::thread::spawn(move || answer(&stream, &served));
            }
        });
        Ok(Self { port, shared })
    }

    /// Serves `file` under `name` and returns its URL; the same name again changes what is served and how, and keeps the count.
    pub fn serve(&self, name: &str, file: &Path, manners: Manners) -> String {
        let mut routes = lock(&self.shared.routes);
        let (requests, door) = routes.get(name).map_or((0, None), |route| (route.requests, route.door.clone()));
        routes.insert(name.to_owned(), Route { file: file.to_owned(), manners, requests, began: 0, door });
        self.url(name)
    }

    /// Says under `name` that the image is elsewhere, and returns the URL of the name.
    pub fn redirect(&self, name: &str, to: &str) -> String {
        lock(&self.shared.redirects).insert(name.to_owned(), to.to_owned());
        self.url(name)
    }

    /// Lets in at a name that is served only who sends this `Authorization`.
    pub fn lock(&self, name: &str, authorization: &str) {
        if let Some(route) = lock(&self.shared.routes).get_mut(name) {
            route.door = Some(authorization.to_owned());
        }
    }

    /// The URL of a name, also of one that is not served: that answers 404.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From which byte on a served name was asked for the last time.
    pub fn began(&self, name: &str) -> u64 {
        lock(&self.shared.routes).get(name).map_or(0, |route| route.began)
    }

    /// How often a served name was asked for.
    pub fn requests(&self, name: &str) -> u32 {
        lock(&self.shared.routes).get(name).map_or(0, |route| route.requests)
    }
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    head_only: bool,
    name: String,
    range: Option<(u64, Option<u64>)>,
    authorization: Option<String>,
}

fn answer(stream: &TcpStream, shared: &Shared) -> Result<()> {
    let mut head = Vec::new();
    for line in BufReader::new(stream.try_clone()?).lines() {
        match line? {
            line if line.is_empty() => break,
            line => head.push(line),
        }
    }
    let request = parse_request(&head).context("parse the request")?;
    let elsewhere = lock(&shared.redirects).get(&request.name).cloned();
    if let Some(to) = elsewhere {
        return send_head(stream, 302, &format!("Location: {to}\r\nContent-Length: 0\r\n"));
    }
    let found = lock(&shared.routes).get_mut(&request.name).map(|route| {
        route.requests += 1;
        route.began = request.range.map_or(0, |(first, _)| first);
        let stays_out = route.door.is_some() && route.door != request.authorization;
        (route.file.clone(), if stays_out { Manners::Status(401) } else { route.manners })
    });
    match found {
        None => send_head(stream, 404, "Content-Length: 0\r\n"),
        Some((_, Manners::Status(status))) => send_head(stream, status, "Content-Length: 0\r\n"),
        Some((file, manners)) => send_file(stream, &request, &file, manners, shared),
    }
}

fn parse_request(head: &[String]) -> Option<Request> {
    let mut words = head.first()?.split(' ');
    let head_only = words.next()? == "HEAD";
    let name = words.next()?.split('?').next()?.trim_start_matches('/').to_owned();
    let range = head.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let (from, to) =
            value.trim().strip_prefix("bytes=").filter(|_| key.eq_ignore_ascii_case("range"))?.split_once('-')?;
        Some((from.parse().ok()?, to.parse().ok()))
    });
    let authorization = head.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
    });
    Some(Request { head_only, name, range, authorization })
}

fn send_head(mut stream: &TcpStream, status: u16, fields: &str) -> Result<()> {
    Ok(write!(stream, "HTTP/1.1 {status} .\r\nConnection: close\r\nAccept-Ranges: bytes\r\n{fields}\r\n")?)
}

fn send_file(stream: &TcpStream, request: &Request, path: &Path, manners: Manners, shared: &Shared) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let size = file.metadata()?.len();
    let Some(part) = part_of(request.range, size) else {
        return send_head(stream, 416, &format!("Content-Range: bytes */{size}\r\nContent-Length: 0\r\n"));
    };
    let length = part.end - part.start;
    let claimed = if let Manners::ClaimLess(less) = manners { length.saturating_sub(less) } else { length };
    let range = format!("Content-Range: bytes {}-{}/{size}\r\n", part.start, part.end.saturating_sub(1));
    // Who asks for a part is sent it whatever `If-Range` says: the file is the same for as long as a test serves it by that name.
    let tag = if matches!(manners, Manners::Breaking(_) | Manners::Steady(_)) { "ETag: \"one\"\r\n" } else { "" };
    let (status, range) = if request.range.is_some() { (206, range.as_str()) } else { (200, "") };
    send_head(
        stream,
        status,
        &format!("Content-Type: application/octet-stream\r\n{tag}{range}Content-Length: {claimed}\r\n"),
    )?;
    if request.head_only {
        return Ok(());
    }
    file.seek(SeekFrom::Start(part.start))?;
    send_body(stream, file.take(length), manners, shared)
}

fn part_of(range: Option<(u64, Option<u64>)>, size: u64) -> Option<Range<u64>> {
    let (from, to) = range.unwrap_or((0, None));
    let end = to.map_or(size, |last| size.min(last.saturating_add(1)));
    (from < end || (range.is_none() && size == 0)).then_some(from..end)
}

fn send_body(mut stream: &TcpStream, body: std::io::Take<File>, manners: Manners, shared: &Shared) -> Result<()> {
    match manners {
        Manners::Good | Manners::ClaimLess(_) | Manners::Status(_) => copy(body, stream)?,
        Manners::CutAfter(count) | Manners::Breaking(count) => copy(body.take(count), stream)?,
        Manners::StallAfter(count) => {
            copy(body.take(count), stream)?;
            stream.flush()?;
            while !shared.stopped.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50));
            }
        }
        Manners::Slow(rate) | Manners::Steady(rate) => {
            let mut body = body;
            // Twenty small portions a second look like a slow line; one large one would look like a stall.
            let rate = rate.max(1);
            let portion = rate.div_ceil(20);
            let pause = Duration::from_millis(1000 * portion / rate);
            while copy_some(&mut body, stream, portion)? > 0 && !shared.stopped.load(Ordering::Relaxed) {
                sleep(pause);
            }
        }
    }
    Ok(())
}

fn copy(mut body: impl std::io::Read, mut stream: &TcpStream) -> Result<()> {
    std::io::copy(&mut body, &mut stream).map(drop).context("send the body")
}

fn copy_some(body: &mut std::io::Take<File>, mut stream: &TcpStream, count: u64) -> Result<u64> {
    std::io::copy(&mut body.by_ref().take(count), &mut stream).context("send a part of the body")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(url: &str, more: &[&str]) -> Result<String> {
        crate::process::run("curl", &[&["-sS", "--max-time", "2", "-w", "|%{http_code}", url], more].concat())
    }

    fn server(manners: Manners) -> (ImageServer, crate::Scratch, String) {
        let folder = crate::Scratch::new("images").unwrap();
        let file = folder.path().join("image");
        std::fs::write(&file, "0123456789").unwrap();
        let server = ImageServer::start().unwrap();
        let url = server.serve("image", &file, manners);
        (server, folder, url)
    }

    #[test]
    fn a_good_route_gives_the_file_and_its_ranges_and_counts_requests() {
        let (server, _folder, url) = server(Manners::Good);
        assert_eq!(fetch(&url, &[]).unwrap(), "0123456789|200");
        assert_eq!(fetch(&url, &["-r", "2-4"]).unwrap(), "234|206");
        assert_eq!(fetch(&url, &["-r", "8-"]).unwrap(), "89|206");
        assert_eq!(fetch(&url, &["-r", "10-"]).unwrap(), "|416");
        assert_eq!(server.requests("image"), 4);
    }

    #[test]
    fn an_unknown_name_is_not_found() {
        let (server, _folder, _) = server(Manners::Good);
        assert_eq!(fetch(&server.url("other"), &[]).unwrap(), "|404");
    }

    #[test]
    fn misbehaving_routes_misbehave_as_told() {
        // curl ends with 18 when bytes are missing and with 28 when time is up.
        for (manners, reason) in [
            (Manners::CutAfter(3), "exit status: 18"),
            (Manners::Breaking(3), "exit status: 18"),
            (Manners::StallAfter(3), "exit status: 28"),
            (Manners::Slow(2), "exit status: 28"),
        ] {
            let (_server, _folder, url) = server(manners);
            let error = format!("{:#}", fetch(&url, &[]).unwrap_err());
            assert!(error.contains(reason), "{manners:?}: {error}");
        }
        let (_server, _folder, url) = server(Manners::ClaimLess(4));
        assert_eq!(fetch(&url, &[]).unwrap(), "012345|200");
        let (_server, _folder, url) = self::server(Manners::Status(503));
        assert_eq!(fetch(&url, &[]).unwrap(), "|503");
    }
}
