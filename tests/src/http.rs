//! The one HTTP request tests make themselves: a GET on the loopback interface.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Status and body of a GET from a loopback port. HTTP/1.0, so that the answer ends where the connection ends.
///
/// # Errors
/// When nobody listens, or the answer is not HTTP or takes longer than five seconds.
pub fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("connect to port {port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).context("set a deadline")?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").context("send the request")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("find the end of the answer's head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("read the answer's status")?;
    Ok((status, body.to_owned()))
}
