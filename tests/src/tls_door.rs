//! HTTPS before an image server, for those who know its certificate and show a header.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Error, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

/// The door; it answers until the process ends.
#[derive(Clone, Debug)]
pub struct TlsDoor {
    port: u16,
    /// Its certificate in PEM, which is its own authority and also for the name in [`Self::NAME`].
    pub certificate: String,
}

impl TlsDoor {
    /// A name that leads nowhere but by a proxy.
    pub const NAME: &'static str = "images.invalid";

    /// Opens it before the image server at `port`, for requests with this line in their head.
    ///
    /// # Errors
    /// When there is no port.
    pub fn open(port: u16, line: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), Self::NAME.to_owned()])?.self_signed(&key)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let (config, listener, line) = (Arc::new(config), TcpListener::bind("127.0.0.1:0")?, line.to_lowercase());
        let door = Self { port: listener.local_addr()?.port(), certificate: certificate.pem() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, line) = (config.clone(), line.clone());
                thread::spawn(move || answer(config, stream, port, &line));
            }
        });
        Ok(door)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a name behind it.
    pub fn url(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/{name}", self.port)
    }
}

fn answer(config: Arc<ServerConfig>, stream: TcpStream, behind: u16, wanted: &str) -> Result<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    let (mut head, mut line, mut let_in) = (String::new(), String::new(), false);
    while stream.read_line(&mut line)? > 2 {
        let_in |= line.trim().to_lowercase() == wanted;
        head.push_str(&line);
        line.clear();
    }
    let stream = stream.get_mut();
    if let_in {
        let mut server = TcpStream::connect(("127.0.0.1", behind))?;
        write!(server, "{head}\r\n")?;
        std::io::copy(&mut server, stream)?;
    } else {
        write!(stream, "HTTP/1.1 403 .\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    }
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}
