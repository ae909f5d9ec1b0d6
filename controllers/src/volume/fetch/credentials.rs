//! What a server is shown to be let in: for the origin of the image alone, and never to be seen otherwise.

use data_encoding::BASE64;
use reqwest::{Url, header::HeaderValue};

/// The header that lets in. Its `Debug` shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(HeaderValue);

impl Credentials {
    /// From the keys of a Secret: `token`, or `username` and `password`. The line break at the end of a value, as editors leave it,
    /// is no part of it.
    ///
    /// # Errors
    /// What is wrong with the keys, without their values.
    pub fn of<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, &'static str> {
        let value = |key| value(key).map(one_line);
        let header = match (value("token"), value("username"), value("password")) {
            (Some(token), None, None) => [b"Bearer ".as_slice(), token].concat(),
            (None, Some(name), Some(_)) if name.contains(&b':') => return Err("username has a colon in it"),
            (None, Some(name), Some(password)) => {
                format!("Basic {}", BASE64.encode(&[name, b":", password].concat())).into_bytes()
            }
            (Some(_), _, _) => return Err("set token, or username and password, not both"),
            (None, _, _) => return Err("it needs the key token, or username and password"),
        };
        let mut header =
            HeaderValue::from_bytes(&header).map_err(|_| "token has characters that no header can hold")?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// The header, if this address is of the origin that it is for: scheme, host and port.
    pub(super) fn header(&self, origin: &Url, url: &Url) -> Option<HeaderValue> {
        (origin.origin() == url.origin()).then(|| self.0.clone())
    }
}

/// A value without the line break at its end.
fn one_line(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(values: &[(&str, &'static str)]) -> Result<String, &'static str> {
        let value = |key: &str| values.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_bytes());
        Credentials::of(value).map(|Credentials(header)| header.to_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_secret_holds_a_token_or_a_name_and_a_password() {
        assert_eq!(header(&[("token", "abc\n")]), Ok("Bearer abc".to_owned()));
        assert_eq!(header(&[("username", "me"), ("password", "p w\n")]), Ok("Basic bWU6cCB3".to_owned()));
        let missing = Err("it needs the key token, or username and password");
        assert_eq!(header(&[]), missing);
        assert_eq!(header(&[("username", "me")]), missing);
        assert_eq!(header(&[("token", "t"), ("username", "me")]), Err("set token, or username and password, not both"));
        assert_eq!(header(&[("username", "a:b"), ("password", "c")]), Err("username has a colon in it"));
        assert_eq!(header(&[("token", "a\nb")]), Err("token has characters that no header can hold"));
    }

    #[test]
    fn they_are_for_their_origin_alone_and_not_to_be_seen() {
        let credentials = Credentials::of(|key| (key == "token").then_some(b"secret".as_slice())).unwrap();
        let sent =
            |from: &str, to: &str| credentials.header(&Url::parse(from).unwrap(), &Url::parse(to).unwrap()).is_some();
        assert!(sent("https://a.org/x", "https://a.org:443/y"));
        for other in ["http://a.org/x", "https://b.a.org/x", "https://a.org:8443/x"] {
            assert!(!sent("https://a.org/x", other), "{other}");
        }
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
