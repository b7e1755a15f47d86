"""A mail program, for the tests: one command a line of standard input, one answer a line of standard output, as JSON.

Python's own imaplib and smtplib speak, so that the server is not tested against what its own authors believe.
"""

import base64
import hashlib
import hmac
import imaplib
import json
import re
import secrets
import smtplib
import socket
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
    connection = connections.pop(name)
    if isinstance(connection, smtplib.SMTP):
        connection.quit()
    else:
        connection.logout()


def smtp(name, host, port, user=None, password=None, tls=None, starttls=False, lmtp=False):
    """Connects to a server of letters; gives what it offers."""
    context = ssl.create_default_context(cafile=tls) if tls else None
    if tls and not starttls:
        connection = smtplib.SMTP_SSL(host, port, context=context, timeout=60)
    else:
        connection = (smtplib.LMTP if lmtp else smtplib.SMTP)(host, port, timeout=60)
    connection.ehlo_or_helo_if_needed()
    if starttls:
        connection.starttls(context=context)
        connection.ehlo()
    connections[name] = connection
    if user:
        try:
            connection.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            return {"refused": error.smtp_code}
    return sorted(connection.esmtp_features)


def injected(name, host, port, tls, lines):
    """Says something behind STARTTLS in the same segment, and then, inside TLS, the rest. Gives what is said inside TLS."""
    connection = socket.create_connection((host, port), timeout=60)
    connection.recv(4096)
    for line in lines[:-2]:
        connection.sendall(line.encode())
        connection.recv(4096)
    connection.sendall(lines[-2].encode())
    said = b""
    while not said.endswith(b"\r\n"):
        said += connection.recv(4096)
    context = ssl.create_default_context(cafile=tls)
    inside = context.wrap_socket(connection, server_hostname="localhost")
    inside.sendall(lines[-1].encode())
    told = b""
    while True:
        more = inside.recv(4096)
        if not more:
            return {"clear": said.decode(), "inside": told.decode()}
        told += more


class Scram:
    """The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding."""

    def __init__(self, user, password):
        self.password = password.encode()
        self.nonce = secrets.token_hex(12)
        self.bare = "n=%s,r=%s" % (user, self.nonce)
        self.said = self.signature = None

    def answer(self, challenge):
        if self.said is None:
            self.said = self.bare
            return "n,," + self.bare
        if self.signature is None:
            return self.proof(challenge)
        assert challenge == "v=" + self.signature, "the server does not know the password"
        return ""

    def proof(self, challenge):
        nonce, salt, rounds = (field[2:] for field in challenge.split(","))
        assert nonce.startswith(self.nonce), challenge
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(salt), int(rounds))
        without_proof = "c=biws,r=" + nonce
        said = ",".join([self.bare, challenge, without_proof]).encode()
        key = mac(salted, b"Client Key")
        stored = hashlib.sha256(key).digest()
        proof = bytes(a ^ b for a, b in zip(key, mac(stored, said)))
        self.signature = base64.b64encode(mac(mac(salted, b"Server Key"), said)).decode()
        return "%s,p=%s" % (without_proof, base64.b64encode(proof).decode())


def mac(key, message):
    return hmac.digest(key, message, "sha256")


def scram_imap(name, host, port, user, password):
    """Logs in by SCRAM; gives what was offered before, or why it was refused."""
    connection = imaplib.IMAP4(host, port, timeout=60)
    offered = sorted(connection.capabilities)
    scram = Scram(user, password)
    try:
        connection.authenticate("SCRAM-SHA-256", lambda challenge: scram.answer(challenge.decode()).encode())
    except imaplib.IMAP4.error as error:
        return {"offered": offered, "refused": str(error)}
    assert scram.signature, "the server has proved that it knows the password"
    connections[name] = connection
    return {"offered": offered}


def scram_smtp(name, host, port, user, password):
    """The same at a port for submission."""
    connection = smtplib.SMTP(host, port, timeout=60)
    connection.ehlo()
    offered = connection.esmtp_features["auth"].split()
    scram = Scram(user, password)
    try:
        connection.auth("SCRAM-SHA-256", lambda challenge=b"": scram.answer(challenge.decode()))
    except smtplib.SMTPAuthenticationError as error:
        return {"offered": offered, "refused": error.smtp_code}
    assert scram.signature, "the server has proved that it knows the password"
    connections[name] = connection
    return {"offered": offered}


def send(name, sender, to, text):
    """Sends a letter. Gives the reply to it, or what was said against it, and against single recipients."""
    connection = connections[name]
    try:
        against = connection.sendmail(sender, to, text.replace("\n", "\r\n").encode())
        return {"code": 250, "against": {to: line_of(*reply) for to, reply in against.items()}}
    except smtplib.SMTPRecipientsRefused as error:
        return {"code": 550, "against": {to: line_of(*reply) for to, reply in error.recipients.items()}}
    except smtplib.SMTPResponseException as error:
        return {"code": error.smtp_code, "text": error.smtp_error.decode()}


def hand_over(name, sender, to, text):
    """Hands over a letter by LMTP, which has a reply for each recipient that was taken; smtplib reads one only."""
    connection = connections[name]
    assert connection.mail(sender)[0] == 250
    replies = [connection.rcpt(one) for one in to]
    if any(code == 250 for code, _ in replies):
        assert connection.docmd("DATA")[0] == 354
        connection.send(text.replace("\n", "\r\n").encode() + b".\r\n")
        replies = [connection.getreply() if code == 250 else (code, text) for code, text in replies]
    else:
        connection.rset()
    return [line_of(*one) for one in replies]


def line_of(code, text):
    return "%d %s" % (code, text.decode())


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
