//! What a server is shown to be let in: for the origin of the image alone, and never to be seen otherwise.

use data_encoding::BASE64;
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};

/// The most headers that an object may say.
const MOST: usize = 16;

/// Headers that the request has by itself, that its connection lives by, or that would make the answer another than the image.
const OURS: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The headers that let in. Its `Debug` shows nothing of their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(HeaderMap);

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
        let header = hidden(&header).ok_or("token has characters that no header can hold")?;
        Ok(Self(HeaderMap::from_iter([(AUTHORIZATION, header)])))
    }

    /// From a Secret whose keys are the names of headers.
    ///
    /// # Errors
    /// What is wrong with them, without their values.
    pub fn headers<'a>(values: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (key, value) in values {
            let name = HeaderName::try_from(key).map_err(|_| format!("{key} is no name of a header"))?;
            if OURS.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
                return Err(format!("the header {key} is the provider's own to send"));
            }
            let value =
                hidden(one_line(value)).ok_or_else(|| format!("{key} has characters that no header can hold"))?;
            if headers.insert(name, value).is_some() {
                return Err(format!("it has the header {key} twice"));
            }
        }
        match headers.len() {
            0 => Err("it has no header".to_owned()),
            1..=MOST => Ok(Self(headers)),
            _ => Err(format!("it has more than {MOST} headers")),
        }
    }

    /// These and others.
    ///
    /// # Errors
    /// When both say who asks.
    pub fn and(mut self, other: Self) -> Result<Self, &'static str> {
        if self.0.contains_key(AUTHORIZATION) && other.0.contains_key(AUTHORIZATION) {
            return Err("set credentialsRef or the header Authorization of headersRef, not both");
        }
        self.0.extend(other.0);
        Ok(self)
    }

    /// Who asks, as a header says it.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.0.get(AUTHORIZATION).cloned()
    }

    /// The headers, if this address is of the origin that they are for: scheme, host and port.
    pub(super) fn shown(&self, origin: &Url, url: &Url) -> Option<HeaderMap> {
        (origin.origin() == url.origin()).then(|| self.0.clone())
    }
}

/// The value of a header that is shown to nobody else.
fn hidden(value: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some(value)
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
        Credentials::of(value).map(|Credentials(headers)| text(&headers, "authorization"))
    }

    fn text(headers: &HeaderMap, name: &str) -> String {
        headers[name].to_str().unwrap_or_default().to_owned()
    }

    fn headers(values: &[(&'static str, &'static str)]) -> Result<Credentials, String> {
        Credentials::headers(values.iter().map(|(key, value)| (*key, value.as_bytes())))
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
    fn headers_are_the_users_but_for_those_that_the_request_lives_by() {
        let Credentials(seen) = headers(&[("X-Api-Key", "abc\n"), ("Accept", "*/*")]).unwrap();
        assert_eq!((text(&seen, "x-api-key"), text(&seen, "accept")), ("abc".to_owned(), "*/*".to_owned()));
        let refused = |values| headers(values).unwrap_err();
        assert_eq!(refused(&[]), "it has no header");
        for name in ["Host", "range", "If-None-Match", "Transfer-Encoding", "Proxy-Authorization"] {
            let sentence = format!("the header {name} is the provider's own to send");
            assert_eq!(headers(&[(name, "x")]).unwrap_err(), sentence);
        }
        assert_eq!(refused(&[("X-One", "a\r\nHost: b")]), "X-One has characters that no header can hold");
        assert_eq!(refused(&[("a b", "x")]), "a b is no name of a header");
        assert_eq!(refused(&[("X-One", "1"), ("x-one", "2")]), "it has the header x-one twice");
        let names: Vec<String> = (0..17).map(|number| format!("x-{number}")).collect();
        let many = Credentials::headers(names.iter().map(|name| (name.as_str(), b"x".as_slice())));
        assert_eq!(many.unwrap_err(), "it has more than 16 headers");
        let token = || Credentials::of(|key| (key == "token").then_some(b"secret".as_slice())).unwrap();
        let Credentials(both) = token().and(headers(&[("X-One", "1")]).unwrap()).unwrap();
        assert_eq!((text(&both, "authorization"), text(&both, "x-one")), ("Bearer secret".to_owned(), "1".to_owned()));
        assert!(token().and(headers(&[("Authorization", "x")]).unwrap()).is_err());
    }

    #[test]
    fn they_are_for_their_origin_alone_and_not_to_be_seen() {
        let token = Credentials::of(|key| (key == "token").then_some(b"secret".as_slice())).unwrap();
        let credentials = token.and(headers(&[("X-Api-Key", "secret")]).unwrap()).unwrap();
        let sent =
            |from: &str, to: &str| credentials.shown(&Url::parse(from).unwrap(), &Url::parse(to).unwrap()).is_some();
        assert!(sent("https://a.org/x", "https://a.org:443/y"));
        for other in ["http://a.org/x", "https://b.a.org/x", "https://a.org:8443/x"] {
            assert!(!sent("https://a.org/x", other), "{other}");
        }
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
