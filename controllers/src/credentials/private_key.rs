//! SSH's private keys of a Secret, before they are used.

use anyhow::{bail, ensure};
use data_encoding::BASE64;

/// What a key of OpenSSH's own form begins with.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Checks that it is one, and that nobody would have to be asked for a passphrase.
pub(super) fn check(pem: &[u8]) -> anyhow::Result<()> {
    let Ok(text) = str::from_utf8(pem) else { bail!("it is not text") };
    let mut lines = text.lines().map(str::trim).skip_while(|line| !is_first(line));
    // What is there instead is not quoted: it may be a key whose lines are run together.
    let Some(first) = lines.next() else {
        bail!(
            "it is no private key: there is no line -----BEGIN OPENSSH PRIVATE KEY----- or the like, alone on its line"
        )
    };
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("-----END ")).collect();
    let is_encrypted = match first {
        "-----BEGIN OPENSSH PRIVATE KEY-----" => {
            let Ok(bytes) = BASE64.decode(body.concat().as_bytes()) else {
                bail!("it is no private key: what is in it is not Base64")
            };
            cipher(&bytes).is_none_or(|cipher| cipher != b"none")
        }
        _ => first.contains("ENCRYPTED") || body.iter().any(|line| line.contains("ENCRYPTED")),
    };
    ensure!(
        !is_encrypted,
        "it is encrypted, and nobody could be asked for its passphrase; write it without one (ssh-keygen -p -N '')"
    );
    Ok(())
}

/// Whether a line is the first of a private key, and nothing else.
fn is_first(line: &str) -> bool {
    let kind = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("PRIVATE KEY-----"));
    kind.is_some_and(|kind| kind.chars().all(|c| c.is_ascii_uppercase() || c == ' '))
}

/// The name of the cipher that a key is encrypted by.
fn cipher(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    rest.get(..usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const BODY: &str = "b3BlbnNzaC1rZXktdjEAAAAA";

    #[test]
    fn what_is_no_key_is_refused_and_never_quoted() {
        let shapes = [
            format!("{BEGIN}\\n{BODY}\\n-----END OPENSSH PRIVATE KEY-----\\n"),
            format!("{BEGIN} {BODY} -----END OPENSSH PRIVATE KEY-----"),
            format!("{BEGIN}{BODY}PRIVATE KEY-----"),
            "-----BEGIN CERTIFICATE-----".to_owned(),
            String::new(),
        ];
        let said =
            "it is no private key: there is no line -----BEGIN OPENSSH PRIVATE KEY----- or the like, alone on its line";
        for shape in shapes {
            assert_eq!(check(shape.as_bytes()).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn a_key_with_a_passphrase_is_refused() {
        let said =
            "it is encrypted, and nobody could be asked for its passphrase; write it without one (ssh-keygen -p -N '')";
        let shapes = [
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "AAAA"),
            ("-----BEGIN RSA PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"),
            (BEGIN, BODY),
        ];
        for (first, body) in shapes {
            assert_eq!(check(format!("{first}\n{body}\n").as_bytes()).unwrap_err().to_string(), said);
        }
        check(b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n").unwrap();
    }
}
