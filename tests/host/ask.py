"""Asks a DNS server one question by UDP and prints its answers, a line each, or the name of its refusal.
ask.py SERVER NAME A|SRV|TXT"""
import socket
import struct
import sys

TYPES = {"A": 1, "TXT": 16, "SRV": 33}
REFUSALS = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def name_at(message, at):
    # A name may go on elsewhere in the message: it, and where what is after it begins.
    parts, after = [], None
    while message[at]:
        if message[at] >= 0xC0:
            after = after or at + 2
            at = struct.unpack(">H", message[at : at + 2])[0] & 0x3FFF
        else:
            parts.append(message[at + 1 : at + 1 + message[at]].decode())
            at += 1 + message[at]
    return ".".join(parts), after or at + 1


def shown(kind, message, at, length):
    if kind == 1:
        return "A " + socket.inet_ntoa(message[at : at + 4])
    if kind == 16:
        return "TXT " + message[at + 1 : at + 1 + message[at]].decode()
    if kind == 33:
        return "SRV %d %d %d " % struct.unpack(">HHH", message[at : at + 6]) + name_at(message, at + 6)[0]
    return "type %d, %d bytes" % (kind, length)


server, name, kind = sys.argv[1:]
question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0" + struct.pack(">HH", TYPES[kind], 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.settimeout(5)
    asked.connect((server, 53))
    asked.send(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + question)
    message = asked.recv(4096)
_, flags, _, answers, _, _ = struct.unpack(">HHHHHH", message[:12])
if flags & 15:
    print(REFUSALS.get(flags & 15, flags & 15))
at = name_at(message, 12)[1] + 4
for _ in range(answers):
    at = name_at(message, at)[1]
    kind, _, _, length = struct.unpack(">HHIH", message[at : at + 10])
    print(shown(kind, message, at + 10, length))
    at += 10 + length
