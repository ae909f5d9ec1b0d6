//! A proxy before image servers: whatever the name of a server, it goes to this machine's, and it tells what it was asked for.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use data_encoding::BASE64;

/// The proxy; it answers until the process ends.
#[derive(Clone, Debug)]
pub struct ImageProxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Whom it lets in and where to.
#[derive(Clone, Debug)]
struct Rules {
    /// The `Proxy-Authorization` of those it lets in.
    login: String,
    /// The server that it connects nobody to.
    shut: String,
}

impl ImageProxy {
    /// Opens it for a user with a password, who are let to all servers but one.
    ///
    /// # Errors
    /// When there is no port.
    pub fn open((user, password): (&str, &str), shut: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind the proxy")?;
        let login = format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()));
        let (rules, asked) = (Rules { login, shut: shut.to_owned() }, Arc::default());
        let proxy = Self { port: listener.local_addr()?.port(), asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rules, asked) = (rules.clone(), Arc::clone(&asked));
                thread::spawn(move || answer(&stream, &rules, &asked));
            }
        });
        Ok(proxy)
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The first lines of what it was asked for, each once, in their order as text.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = lock(&self.asked).clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(stream: &TcpStream, rules: &Rules, asked: &Mutex<Vec<String>>) -> Result<()> {
    let (mut reader, mut lines, mut line) = (BufReader::new(stream.try_clone()?), Vec::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        lines.push(std::mem::take(&mut line).trim().to_owned());
    }
    let first = lines.first().context("read the request")?.clone();
    lock(asked).push(first.clone());
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().context("read the target")?);
    let header = |line: &String| Some(line.split_once(": ")?.1.to_owned());
    let is_login = |line: &&String| line.to_lowercase().starts_with("proxy-authorization:");
    if lines.iter().find(is_login).and_then(header).as_ref() != Some(&rules.login) {
        return refuse(stream, "407 Proxy Authentication Required");
    }
    let (server, path) = match method {
        "CONNECT" => (target, ""),
        _ => target.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("read the URL")?,
    };
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "80"));
    if host == rules.shut {
        return refuse(stream, "403 Forbidden");
    }
    let mut server = TcpStream::connect(("127.0.0.1", port.parse()?))?;
    if method == "CONNECT" {
        let mut client = stream;
        write!(client, "HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        let rest: Vec<_> = lines[1..].iter().filter(|line| !is_login(line)).map(|line| format!("{line}\r\n")).collect();
        write!(server, "{method} /{path} HTTP/1.1\r\n{}\r\n", rest.concat())?;
    }
    relay(stream, &server)
}

fn refuse(mut stream: &TcpStream, status: &str) -> Result<()> {
    Ok(write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?)
}

/// Passes on what either says, until both have ended.
fn relay(mut client: &TcpStream, mut server: &TcpStream) -> Result<()> {
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let sent = std::io::copy(&mut server, &mut client);
    // Whoever still waits for either of the two waits for nothing.
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    let _ = up.join();
    Ok(sent.map(drop)?)
}
