"""Knocks at a VNC console as a viewer does (RFC 6143, section 7.1) and tells what came of it: `open` where no password is asked for,
else `granted` or `refused`.  rfb.py PORT PASSWORD"""
import socket
import subprocess
import sys

port, password = int(sys.argv[1]), sys.argv[2]
door = socket.create_connection(("127.0.0.1", port), 10)
stream = door.makefile("rwb")


def say(text):
    stream.write(text)
    stream.flush()


stream.read(12)
say(b"RFB 003.008\n")
ways = stream.read(stream.read(1)[0])
if 2 not in ways:
    print("open")
    sys.exit()
say(b"\2")
# The key of DES is the password, each byte with its bits turned round.
key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0")[:8])
cipher = ["openssl", "enc", "-des-ecb", "-nopad", "-K", key.hex(), "-provider", "legacy", "-provider", "default"]
say(subprocess.run(cipher, input=stream.read(16), capture_output=True, check=True).stdout)
print("granted" if stream.read(4) == bytes(4) else "refused")
