//! The words of the spec and those of libvirt, one table for both ways.

use apis::domain::{
    BalloonModel, BootDevice, ChannelType, ClockOffset, ConsoleType, CpuMode, CrashAction, DirectMode, DiskBus,
    DiskCache, DiskDevice, DiskDiscard, DiskIo, DiskProtocol, DiskZeroes, EndAction, FeaturePolicy, FilesystemAccess,
    FilesystemDriver, GraphicsType, InputBus, InputType, InterfaceModel, LinkState, MemAccess, MemorySource, NumaMode,
    PanicModel, RngSource, SoundModel, TcpProtocol, TickPolicy, TimerName, TpmModel, VideoModel, WatchdogAction,
};

/// A choice of the spec that libvirt has a word for.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every choice and its word.
    const WORDS: &'static [(Self, &'static str)];

    /// libvirt's word. A choice that the table lacks has none; a test finds it.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(choice, _)| *choice == self).map_or("", |(_, word)| word)
    }

    /// The choice that has this word.
    fn read(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(choice, _)| *choice)
    }
}

macro_rules! words {
    ($($choices:ident { $($choice:ident $word:literal),* })*) => {
        $(impl Word for $choices {
            const WORDS: &'static [(Self, &'static str)] = &[$(($choices::$choice, $word)),*];
        })*

        #[cfg(test)]
        mod tests {
            use super::*;

            /// The compiler sees to it that no choice is without a word.
            #[test]
            fn every_choice_has_a_word_and_is_found_by_it() {
                $(for (choice, word) in $choices::WORDS {
                    match choice { $($choices::$choice => {})* }
                    assert!(choice.word() == *word && $choices::read(word) == Some(*choice), "{word}");
                })*
            }
        }
    };
}

words! {
    BalloonModel { Virtio "virtio", None "none" }
    BootDevice { Disk "hd", Cdrom "cdrom", Network "network" }
    ChannelType { Unix "unix", SpiceVmc "spicevmc" }
    ClockOffset { Utc "utc", Localtime "localtime" }
    ConsoleType { Pty "pty", File "file", Tcp "tcp" }
    CpuMode { Custom "custom", HostModel "host-model", HostPassthrough "host-passthrough", Maximum "maximum" }
    CrashAction {
        Destroy "destroy", Restart "restart", CoredumpDestroy "coredump-destroy",
        CoredumpRestart "coredump-restart"
    }
    DirectMode { Bridge "bridge", Vepa "vepa", Private "private", Passthrough "passthrough" }
    DiskBus { Virtio "virtio", Scsi "scsi", Sata "sata", Ide "ide", Usb "usb" }
    DiskCache {
        None "none", Writethrough "writethrough", Writeback "writeback", Directsync "directsync", Unsafe "unsafe"
    }
    DiskDevice { Disk "disk", Cdrom "cdrom" }
    DiskDiscard { Unmap "unmap", Ignore "ignore" }
    DiskIo { Threads "threads", Native "native", IoUring "io_uring" }
    DiskProtocol { Rbd "rbd", Iscsi "iscsi", Nbd "nbd", Http "http", Https "https" }
    DiskZeroes { Off "off", On "on", Unmap "unmap" }
    EndAction { Destroy "destroy", Restart "restart" }
    FilesystemAccess { Passthrough "passthrough", Mapped "mapped", Squash "squash" }
    FilesystemDriver { Path "path", Virtiofs "virtiofs" }
    FeaturePolicy { Require "require", Optional "optional", Force "force", Disable "disable", Forbid "forbid" }
    GraphicsType { Vnc "vnc", Spice "spice" }
    InputBus { Usb "usb", Virtio "virtio" }
    InputType { Tablet "tablet", Mouse "mouse", Keyboard "keyboard" }
    InterfaceModel { Virtio "virtio", E1000 "e1000", E1000e "e1000e", Rtl8139 "rtl8139" }
    LinkState { Up "up", Down "down" }
    MemAccess { Shared "shared", Private "private" }
    MemorySource { Anonymous "anonymous", File "file", Memfd "memfd" }
    NumaMode {
        Strict "strict", Preferred "preferred", Interleave "interleave", Restrictive "restrictive"
    }
    PanicModel { Isa "isa", Hyperv "hyperv" }
    RngSource { Urandom "/dev/urandom", Random "/dev/random" }
    SoundModel { Ich9 "ich9", Ich6 "ich6", Ac97 "ac97", Usb "usb" }
    TcpProtocol { Raw "raw", Telnet "telnet" }
    TickPolicy { Delay "delay", Catchup "catchup", Merge "merge", Discard "discard" }
    TimerName {
        Rtc "rtc", Pit "pit", Hpet "hpet", Tsc "tsc", Kvmclock "kvmclock", Hypervclock "hypervclock"
    }
    TpmModel { Crb "tpm-crb", Tis "tpm-tis" }
    VideoModel { Virtio "virtio", Vga "vga", Cirrus "cirrus", Bochs "bochs", Qxl "qxl", None "none" }
    WatchdogAction {
        Reset "reset", Shutdown "shutdown", Poweroff "poweroff", Pause "pause", Dump "dump", None "none",
        InjectNmi "inject-nmi"
    }
}
