"""A mail program, for the tests: one command a line of standard input, one answer a line of standard output, as JSON.

Python's own imaplib speaks IMAP, so that the server is not tested against what its own authors believe.
"""

import imaplib
import json
import re
import ssl
import sys

imaplib.Commands.setdefault("IDLE", ("SELECTED",))
connections = {}


def connect(name, host, port, user, password, tls=None, starttls=False):
    context = ssl.create_default_context(cafile=tls) if tls else None
    if tls and not starttls:
        connection = imaplib.IMAP4_SSL(host, port, ssl_context=context, timeout=60)
    else:
        connection = imaplib.IMAP4(host, port, timeout=60)
        if starttls:
            connection.starttls(context)
    connection.login(user, password)
    connections[name] = connection
    return sorted(connection.capabilities)


def select(name, mailbox="INBOX"):
    connection = connections[name]
    count = int(good(connection.select(mailbox))[0])
    validity = int(connection.response("UIDVALIDITY")[1][0])
    return {"count": count, "validity": validity}


def append(name, text, flags="", mailbox="INBOX"):
    letter = text.replace("\n", "\r\n").encode()
    answer = good(connections[name].append(mailbox, flags, None, letter))[0].decode()
    return int(re.search(r"APPENDUID \d+ (\d+)", answer).group(1))


def letters(name):
    """UID, flags and text of each letter of the selected mailbox."""
    found = good(connections[name].uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])"))
    told = []
    for item in found:
        if isinstance(item, tuple):
            head = item[0].decode()
            uid = int(re.search(r"UID (\d+)", head).group(1))
            flags = sorted(re.search(r"FLAGS \(([^)]*)\)", head).group(1).split())
            told.append([uid, flags, item[1].decode().replace("\r\n", "\n")])
    return told


def store(name, uid, op, flags):
    good(connections[name].uid("STORE", str(uid), op, "(%s)" % flags))


def expunge(name):
    good(connections[name].expunge())


def idle(name):
    """Begins to wait; `pushed` takes what comes."""
    connection = connections[name]
    connection.send(b"idle IDLE\r\n")
    while not connection.readline().startswith(b"+"):
        pass


def pushed(name, wanted):
    """Reads what is pushed until a line has what is wanted, and ends the waiting."""
    connection = connections[name]
    while True:
        line = connection.readline()
        assert line, "the connection has ended"
        if wanted.encode() in line:
            break
    connection.send(b"DONE\r\n")
    while not connection.readline().startswith(b"idle OK"):
        pass
    return line.decode().strip()


def close(name):
    connections.pop(name).logout()


def refused(name, **how):
    try:
        connect(name, **how)
    except imaplib.IMAP4.error as error:
        return str(error)
    raise AssertionError("it was let in")


def good(answer):
    kind, data = answer
    assert kind == "OK", answer
    return data


for line in sys.stdin:
    asked = json.loads(line)
    try:
        told = {"ok": globals()[asked.pop("do")](**asked)}
    except Exception as error:  # The test says which.
        told = {"error": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(told), flush=True)
