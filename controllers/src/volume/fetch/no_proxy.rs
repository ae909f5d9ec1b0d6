//! Which image servers are asked without the proxy, in the words of `NO_PROXY` as Go's programs read them.
//! Source: <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>.

use std::net::IpAddr;

use reqwest::Url;

use super::address::canonical;

/// The servers that are asked directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Direct(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    All,
    /// Addresses that begin with so many bits of this one.
    Range(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    /// All names that end so, and the name itself, where it is one.
    Names {
        name: Option<String>,
        ending: String,
        port: Option<u16>,
    },
}

impl Direct {
    /// # Errors
    /// The entry that cannot be read.
    pub(super) fn new(entries: &[String]) -> Result<Self, String> {
        let rule = |entry: &String| Rule::of(entry.trim()).ok_or_else(|| entry.clone());
        entries.iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the server of this URL is one of them. A proxy's loopback interface is not the one that is meant here.
    pub(super) fn has(&self, url: &Url) -> bool {
        let (host, port) = (canonical(url.host_str().unwrap_or_default()), url.port_or_known_default());
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        is_here || self.0.iter().any(|rule| rule.has(&host, address, port))
    }
}

impl Rule {
    fn of(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, length)) = text.split_once('/') {
            let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse().ok()?);
            return (length <= bits(address).1).then_some(Self::Range(address, length));
        }
        if let Ok(address) = canonical(text).parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (canonical(host), Some(port.parse().ok()?)),
            None => (canonical(text), None),
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let host = if host.starts_with("*.") { host.trim_start_matches('*') } else { &host };
        let name = host.strip_prefix('.').unwrap_or(host);
        let is_name = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        let itself = (name.len() == host.len()).then(|| name.to_owned());
        Some(Self::Names { name: itself, ending: format!(".{name}"), port })
    }

    fn has(&self, host: &str, address: Option<IpAddr>, asked: Option<u16>) -> bool {
        let is_port = |port: &Option<u16>| port.is_none() || *port == asked;
        match self {
            Self::All => true,
            Self::Range(first, length) => address.is_some_and(|address| begins(address, *first, *length)),
            Self::Address(listed, port) => address == Some(*listed) && is_port(port),
            Self::Names { name, ending, port } => {
                address.is_none() && (name.as_deref() == Some(host) || host.ends_with(ending)) && is_port(port)
            }
        }
    }
}

/// Whether an address begins with so many bits of another of its kind.
fn begins(address: IpAddr, first: IpAddr, length: u8) -> bool {
    let ((address, whole), (first, other)) = (bits(address), bits(first));
    let differ = address ^ first;
    whole == other && differ.checked_shr(u32::from(whole - length)).unwrap_or_default() == 0
}

/// The bits of an address, and how many they are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(entry: &str, url: &str) -> bool {
        Direct::new(&[entry.to_owned()]).unwrap().has(&Url::parse(url).unwrap())
    }

    #[test]
    fn servers_are_listed_by_name_by_what_they_are_below_and_by_address() {
        let listed = [
            ("example.org", "http://example.org/"),
            ("Example.org.", "http://mirror.EXAMPLE.org./"),
            (".example.org", "https://mirror.example.org/"),
            ("*.example.org", "https://a.mirror.example.org/"),
            ("example.org:8080", "http://mirror.example.org:8080/"),
            ("example.org:443", "https://example.org/"),
            ("10.0.0.5", "http://10.0.0.5:8080/"),
            ("10.0.0.5:80", "http://10.0.0.5/"),
            ("10.0.0.0/8", "http://10.255.0.1/"),
            ("0.0.0.0/0", "http://10.255.0.1/"),
            ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/"),
            ("fd00::/8", "http://[fd12::1]/"),
            ("fd00::1", "http://[fd00::1]/"),
            ("[fd00::1]:8080", "http://[fd00::1]:8080/"),
            ("*", "http://anywhere.example.org/"),
        ];
        for (entry, url) in listed {
            assert!(has(entry, url), "{entry} {url}");
        }
    }

    #[test]
    fn what_is_not_listed_goes_by_the_proxy() {
        let others = [
            ("example.org", "http://notexample.org/"),
            ("example.org", "http://example.org.evil.com/"),
            (".example.org", "http://example.org/"),
            ("*.example.org", "http://example.org/"),
            ("example.org:8080", "http://example.org/"),
            ("10.0.0.0/8", "http://11.0.0.1/"),
            ("10.0.0.0/8", "http://[a00::1]/"),
            ("10.0.0.0/8", "http://host-in-10.example.org/"),
            ("10.0.0.5:80", "http://10.0.0.5:81/"),
            ("fd00::/8", "http://[fe12::1]/"),
        ];
        for (entry, url) in others {
            assert!(!has(entry, url), "{entry} {url}");
        }
    }

    #[test]
    fn the_loopback_interface_of_a_proxy_is_never_asked() {
        for url in
            ["http://localhost:80/", "http://LOCALHOST./", "https://127.3.2.1/", "http://127.1/", "http://[::1]/"]
        {
            assert!(Direct::new(&[]).unwrap().has(&Url::parse(url).unwrap()), "{url}");
        }
        assert!(!Direct::new(&[]).unwrap().has(&Url::parse("http://localhost.example.org/").unwrap()));
    }

    #[test]
    fn an_entry_that_says_nothing_is_told() {
        for entry in
            ["", ".", "*.", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "a b", "*example.org", "example.org:http", "a/b"]
        {
            assert_eq!(Direct::new(&[entry.to_owned()]), Err(entry.to_owned()));
        }
    }
}
