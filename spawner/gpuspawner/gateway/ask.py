"""What sshd runs to learn what a key opens; OpenSSH calls it an AuthorizedKeysCommand.

Run by the system's own Python without any package, for each key that a client offers, as the account without
a shell. That can read nothing of ours, so sshd's configuration holds the program itself. It hands the key on
to the gateway's process and prints the answer. No answer lets nobody in.
"""

import signal
import socket
import sys

MOST_BYTES = 256 * 1024
SECONDS = 10


def main() -> int:
    """``SOCKET KIND KEY``, with the name of an abstract socket; the exit code is 0 also for *no*."""
    path, kind, key = sys.argv[1:4]
    # With a timeout of its own, a socket does not wait where others fill the queue, but fails at once.
    signal.alarm(SECONDS)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{path}")
        connection.sendall(f"{kind} {key}\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if len(answer) > MOST_BYTES:
                return 1
    sys.stdout.write(answer.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
