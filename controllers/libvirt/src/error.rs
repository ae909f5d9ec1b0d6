//! The one error of the crate: libvirt's numeric codes, classified once.

use std::fmt;

use virt::sys;

use crate::endpoint::Transport;
use crate::trouble::Trouble;

/// What a caller has to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The host did not answer: connection refused, lost, or a deadline passed. Says nothing about the object.
    Unreachable,
    /// libvirt will refuse the same request again: bad description, unsupported, invalid in this state.
    Rejected,
    /// Something else holds the object for now: a job, a lock, an unanswered call. Worth another try soon.
    Busy,
    /// The credentials do not allow it.
    Denied,
    /// An object of that name, UUID or path is there already.
    Exists,
    /// The object the call was made on is gone. Lookups answer `None` instead.
    Gone,
    /// Everything else: the operation was valid and failed.
    Other,
}

/// A failed call, with libvirt's own sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The class.
    pub kind: Kind,
    /// libvirt's `virErrorNumber`; 0 when the failure is not libvirt's.
    pub code: u32,
    /// libvirt's `virErrorDomain`; 0 when the failure is not libvirt's.
    pub domain: u32,
    /// What is wrong between us and the host, of the failure to open a connection.
    pub trouble: Option<Trouble>,
    message: String,
}

impl Error {
    /// An error that did not come from libvirt itself.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, code: 0, domain: 0, trouble: None, message: message.into() }
    }

    /// Classifies what libvirt answered.
    pub fn from_codes(code: u32, domain: u32, message: &str) -> Self {
        let message = timeless(message.trim());
        Self { kind: classify(code, domain, &message), code, domain, trouble: None, message }
    }

    /// The host did not answer.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// The connection that a call was to go by, or went by, is not there any more.
    pub(crate) fn lost() -> Self {
        Self::unreachable("the connection to the host was lost")
    }

    /// The object is held by something else for now.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(Kind::Busy, message)
    }

    /// A failure of no other class.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(Kind::Other, message)
    }

    /// The failure to open a connection, told to people: what is wrong, and what to do about it. Files in `folder` are known to nobody.
    pub(crate) fn of_opening(self, transport: Transport, folder: Option<&str>) -> Self {
        let trouble = Trouble::of(&self, transport);
        let said = folder.map_or_else(|| self.message.clone(), |folder| self.message.replace(folder, ""));
        // Banners come in many lines.
        let said = said.split_whitespace().filter(|word| !word.starts_with("@@@")).collect::<Vec<_>>().join(" ");
        let message = match trouble.cure(transport) {
            Some(cure) => format!("{said}; {cure}"),
            None => said,
        };
        Self { trouble: Some(trouble), message, ..self }
    }

    /// libvirt's sentence, the same as `Display`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the driver does not know the flag or call: the caller may try a plainer one.
    pub fn is_unsupported(&self) -> bool {
        let unsupported =
            [sys::VIR_ERR_NO_SUPPORT, sys::VIR_ERR_ARGUMENT_UNSUPPORTED, sys::VIR_ERR_OPERATION_UNSUPPORTED];
        unsupported.contains(&self.code)
            || self.code == sys::VIR_ERR_INVALID_ARG && self.message.contains("unsupported flags")
    }

    /// Whether `qemu-img` failed, which libvirt starts when it has seen that nothing of a volume's name is there.
    pub fn is_of_qemu_img(&self) -> bool {
        self.kind == Kind::Other && self.message.contains("Child process (") && self.message.contains("qemu-img ")
    }

    /// Whether libvirt's schema refused a description.
    pub fn is_invalid_schema(&self) -> bool {
        self.code == sys::VIR_ERR_XML_INVALID_SCHEMA
    }

    /// Whether the host's processor lacks what a CPU needs.
    pub(crate) fn is_incompatible_cpu(&self) -> bool {
        self.code == sys::VIR_ERR_CPU_INCOMPATIBLE
    }

    /// Whether the state asked for is the state it is in already ("domain is not running", "already active").
    pub fn is_invalid_state(&self) -> bool {
        self.code == sys::VIR_ERR_OPERATION_INVALID
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<virt::error::Error> for Error {
    fn from(error: virt::error::Error) -> Self {
        Self::from_codes(error.code().to_raw(), error.domain().to_raw(), error.message())
    }
}

/// Turns "it is gone" into `None`, for calls whose object may vanish between two calls.
pub fn absent<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == Kind::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// The class of a libvirt error. Codes decide; a few codes are shared by unlike failures, and there words that have
/// been stable since libvirt 1.0 tell them apart.
fn classify(code: u32, domain: u32, message: &str) -> Kind {
    match code {
        sys::VIR_ERR_SYSTEM_ERROR | sys::VIR_ERR_INTERNAL_ERROR if of_transport(domain) => Kind::Unreachable,
        sys::VIR_ERR_SYSTEM_ERROR | sys::VIR_ERR_INTERNAL_ERROR | sys::VIR_ERR_OPERATION_FAILED => {
            by_words(message).unwrap_or(Kind::Other)
        }
        sys::VIR_ERR_NO_CONNECT
        | sys::VIR_ERR_INVALID_CONN
        | sys::VIR_ERR_RPC
        | sys::VIR_ERR_UNKNOWN_HOST
        | sys::VIR_ERR_GNUTLS_ERROR
        | sys::VIR_ERR_SSH
        | sys::VIR_ERR_LIBSSH => Kind::Unreachable,
        sys::VIR_ERR_OPERATION_TIMEOUT
        | sys::VIR_ERR_RESOURCE_BUSY
        | sys::VIR_ERR_BLOCK_COPY_ACTIVE
        | sys::VIR_ERR_AGENT_UNRESPONSIVE
        | sys::VIR_ERR_AGENT_UNSYNCED
        | sys::VIR_ERR_AGENT_COMMAND_TIMEOUT => Kind::Busy,
        sys::VIR_ERR_AUTH_FAILED
        | sys::VIR_ERR_AUTH_CANCELLED
        | sys::VIR_ERR_AUTH_UNAVAILABLE
        | sys::VIR_ERR_OPERATION_DENIED
        | sys::VIR_ERR_ACCESS_DENIED => Kind::Denied,
        sys::VIR_ERR_DOM_EXIST
        | sys::VIR_ERR_NETWORK_EXIST
        | sys::VIR_ERR_STORAGE_VOL_EXIST
        | sys::VIR_ERR_STORAGE_POOL_BUILT => Kind::Exists,
        sys::VIR_ERR_NO_DOMAIN
        | sys::VIR_ERR_NO_NETWORK
        | sys::VIR_ERR_NO_STORAGE_POOL
        | sys::VIR_ERR_NO_STORAGE_VOL
        | sys::VIR_ERR_NO_SECRET => Kind::Gone,
        sys::VIR_ERR_OPERATION_INVALID => by_words(message).unwrap_or(Kind::Rejected),
        _ if REJECTED.contains(&code) => Kind::Rejected,
        _ => Kind::Other,
    }
}

const REJECTED: [u32; 16] = [
    sys::VIR_ERR_NO_SUPPORT,
    sys::VIR_ERR_INVALID_ARG,
    sys::VIR_ERR_OS_TYPE,
    sys::VIR_ERR_NO_OS,
    sys::VIR_ERR_XML_ERROR,
    sys::VIR_ERR_XML_DETAIL,
    sys::VIR_ERR_XML_INVALID_SCHEMA,
    sys::VIR_ERR_INVALID_MAC,
    sys::VIR_ERR_CONFIG_UNSUPPORTED,
    sys::VIR_ERR_ARGUMENT_UNSUPPORTED,
    sys::VIR_ERR_OPERATION_UNSUPPORTED,
    sys::VIR_ERR_MIGRATE_UNSAFE,
    sys::VIR_ERR_CPU_INCOMPATIBLE,
    sys::VIR_ERR_OVERFLOW,
    sys::VIR_ERR_DEVICE_MISSING,
    sys::VIR_ERR_NO_NAME,
];

/// The message without the times that QEMU puts before its own: one failure is said in the same words each time.
fn timeless(message: &str) -> String {
    let line = |line: &str| line.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ");
    message.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_time(word: &str) -> bool {
    const SHAPE: &str = "0000-00-00T00:00:00.000000Z";
    let fits = |(shape, seen): (u8, u8)| if shape == b'0' { seen.is_ascii_digit() } else { seen == shape };
    word.len() == SHAPE.len() && SHAPE.bytes().zip(word.bytes()).all(fits)
}

/// The pair that means "the connection is gone" rather than "the hypervisor failed" (Nova uses the same).
fn of_transport(domain: u32) -> bool {
    domain == sys::VIR_FROM_REMOTE || domain == sys::VIR_FROM_RPC
}

/// What the generic codes do not tell: libvirt reports these with its generic codes.
fn by_words(message: &str) -> Option<Kind> {
    const BUSY: [&str; 5] = [
        "asynchronous jobs running",
        "is still being allocated",
        "is still in use",
        "Device or resource busy",
        "device is in the process of unplug",
    ];
    const EXISTS: [&str; 3] = ["already exists with uuid", "is already defined with", "already exists"];
    if BUSY.iter().any(|words| message.contains(words)) {
        return Some(Kind::Busy);
    }
    EXISTS.iter().any(|words| message.contains(words)).then_some(Kind::Exists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_qemu_is_said_in_the_same_words_whenever_it_happens() {
        let said =
            |time| format!("process exited: {time} qemu-system-x86_64: no memory\n{time} qemu: 2026-11-23 is a date\n");
        let error = |time| Error::from_codes(1, 0, &said(time));
        let first = error("2026-11-23T04:27:45.960035Z");
        assert_eq!(first, error("2027-01-01T00:00:00.000000Z"));
        assert_eq!(first.message(), "process exited: qemu-system-x86_64: no memory\nqemu: 2026-11-23 is a date");
    }

    #[test]
    fn each_failure_met_in_the_field_gets_its_class() {
        let cases = [
            (38, 7, "Failed to connect socket to '/run/s': Connection refused", Kind::Unreachable),
            (1, 7, "internal error: client socket is closed", Kind::Unreachable),
            (38, 13, "Cannot recv data: Connection reset by peer", Kind::Unreachable),
            (1, 10, "internal error: qemu unexpectedly closed the monitor", Kind::Other),
            (68, 10, "Timed out during operation: cannot acquire state change lock", Kind::Busy),
            (1, 18, "internal error: pool 'p' has asynchronous jobs running.", Kind::Busy),
            (38, 10, "Failed to terminate process 7 with SIGKILL: Device or resource busy", Kind::Busy),
            (9, 20, "operation failed: domain 'd' already exists with uuid 1", Kind::Exists),
            (90, 18, "storage volume 'v' exists already", Kind::Exists),
            (55, 10, "Requested operation is not valid: domain is not running", Kind::Rejected),
            (92, 20, "XML document failed to validate against schema", Kind::Rejected),
            (45, 50, "authentication failed", Kind::Denied),
            (42, 10, "Domain not found", Kind::Gone),
            (66, 30, "Secret not found: no secret with matching uuid 'u'", Kind::Gone),
            (9, 18, "Storage source conflict with pool: 'q'", Kind::Other),
        ];
        for (code, domain, message, kind) in cases {
            assert_eq!(Error::from_codes(code, domain, message).kind, kind, "{message}");
        }
    }

    #[test]
    fn that_the_program_failed_which_makes_files_is_told_from_what_came_before_it() {
        let killed = "internal error: Child process (/usr/bin/qemu-img create -f qcow2 -o preallocation=falloc /p/v 1K) unexpected fatal signal 15";
        let cases = [
            (1, killed, true),
            (1, "internal error: Child process (/sbin/lvcreate --name v) unexpected exit status 5", false),
            (9, "operation failed: volume target path '/p/qemu-img create' already exists", false),
            (27, "XML error: qemu-img ", false),
        ];
        for (code, message, expected) in cases {
            assert_eq!(Error::from_codes(code, 0, message).is_of_qemu_img(), expected, "{message}");
        }
    }

    #[test]
    fn the_sentence_shown_is_libvirts_own() {
        let error = Error::from_codes(42, 10, "Domain not found: no domain with matching name 'x'\n");
        assert_eq!(error.to_string(), "Domain not found: no domain with matching name 'x'");
    }

    #[test]
    fn only_gone_becomes_absent() {
        assert_eq!(absent::<()>(Err(Error::new(Kind::Gone, "x"))), Ok(None));
        assert_eq!(absent(Ok(1)), Ok(Some(1)));
        assert_eq!(absent::<()>(Err(Error::busy("x"))), Err(Error::busy("x")));
    }
}
