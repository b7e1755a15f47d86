//! Commands as clients write them. `smtp-proto` reads them; what it passes over, and what of it would be dangerous, is
//! seen to here.

use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, AUTH_SCRAM_SHA_256, Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8,
    MailFrom, RcptTo, Request,
};

use super::limits::COMMAND_BYTES_MAX;
use super::reply::Reply;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Hello { kind: Hello, name: String },
    Mail { sender: String, bytes: u64, utf8: bool },
    Rcpt { recipient: String },
    Data,
    Bdat { bytes: u64, last: bool },
    Auth { mechanism: AuthMechanism, initial: Option<Vec<u8>> },
    StartTls,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    Helo,
    Ehlo,
    Lhlo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMechanism {
    Plain,
    Login,
    ScramSha256,
}

/// Why a command is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// The client is told so.
    Reply(Reply),
    /// Not a client of mail at all: the connection ends.
    Stranger,
}

impl From<Reply> for Bad {
    fn from(reply: Reply) -> Bad {
        Bad::Reply(reply)
    }
}

const UNKNOWN: Reply = Reply::new(500, "5.5.1", "There is no such command");
const NOT_OFFERED: Reply = Reply::new(502, "5.5.1", "That is not offered here");
const NOT_READABLE: Reply = Reply::new(501, "5.5.2", "That cannot be read");
const NO_PARAMETERS: Reply = Reply::new(501, "5.5.4", "That takes no parameters");
const NOT_KNOWN: Reply = Reply::new(555, "5.5.4", "A parameter that is not offered here");

/// Reads a line without its end.
pub(super) fn parse(line: &[u8]) -> Result<Command, Bad> {
    let text = std::str::from_utf8(line).map_err(|_| NOT_READABLE)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(NOT_READABLE.into());
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
    // A browser that was made to talk to us (its letters are ours to judge, not its requests), or a letter whose
    // DATA was refused.
    if matches!(&*word, "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT") || word.ends_with(':') {
        return Err(Bad::Stranger);
    }
    if word != "AUTH" && line.len() > COMMAND_BYTES_MAX {
        return Err(Reply::new(500, "5.5.6", "That line is too long").into());
    }
    match &*word {
        "DATA" | "STARTTLS" | "RSET" | "QUIT" if !rest.is_empty() => return Err(NO_PARAMETERS.into()),
        // A number that does not fit would become a small one, and the rest of the chunk commands.
        "BDAT" if rest.bytes().take_while(u8::is_ascii_digit).count() > 18 => return Err(NOT_READABLE.into()),
        // The one recipient without a domain (RFC 5321, 4.5.1).
        "RCPT" if rest.replace(' ', "").eq_ignore_ascii_case("TO:<postmaster>") => {
            return Ok(Command::Rcpt { recipient: "postmaster".to_owned() });
        }
        _ => {}
    }
    let whole = format!("{text}\r\n");
    match Request::parse(&mut whole.as_bytes().iter()) {
        Ok(request) => command(request.into_owned(), rest),
        Err(error) => Err(refused(error).into()),
    }
}

fn command(request: Request<String>, rest: &str) -> Result<Command, Bad> {
    Ok(match request {
        Request::Ehlo { host } => Command::Hello { kind: Hello::Ehlo, name: host },
        Request::Helo { host } => Command::Hello { kind: Hello::Helo, name: host },
        Request::Lhlo { host } => Command::Hello { kind: Hello::Lhlo, name: host },
        Request::Mail { from } => mail(from)?,
        Request::Rcpt { to } => rcpt(to)?,
        Request::Data => Command::Data,
        Request::Bdat { chunk_size, is_last } => Command::Bdat { bytes: chunk_size as u64, last: is_last },
        Request::Auth { mechanism, initial_response } => {
            let mechanism = match mechanism {
                AUTH_PLAIN => AuthMechanism::Plain,
                AUTH_LOGIN => AuthMechanism::Login,
                AUTH_SCRAM_SHA_256 => AuthMechanism::ScramSha256,
                _ => return Err(Reply::new(504, "5.5.4", "There is no such mechanism").into()),
            };
            if rest.split_ascii_whitespace().count() > 2 {
                return Err(NOT_READABLE.into());
            }
            let initial = Some(initial_response.into_bytes()).filter(|initial| !initial.is_empty());
            Command::Auth { mechanism, initial }
        }
        Request::StartTls => Command::StartTls,
        Request::Rset => Command::Rset,
        Request::Noop { .. } => Command::Noop,
        Request::Vrfy { .. } => Command::Vrfy,
        Request::Help { .. } => Command::Help,
        Request::Quit => Command::Quit,
        Request::Expn { .. } | Request::Etrn { .. } | Request::Atrn { .. } | Request::Burl { .. } => {
            return Err(NOT_OFFERED.into());
        }
    })
}

/// SIZE, BODY, SMTPUTF8 and AUTH, which says nothing to us (RFC 4954, 5). Every other parameter asks for what would
/// not be done.
fn mail(from: MailFrom<String>) -> Result<Command, Reply> {
    let known = MailFrom {
        address: from.address.clone(),
        flags: from.flags & (MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8),
        size: from.size,
        auth: from.auth.clone(),
        ..MailFrom::default()
    };
    if from != known {
        return Err(NOT_KNOWN);
    }
    let utf8 = from.flags & MAIL_SMTPUTF8 != 0;
    if !utf8 && !from.address.is_ascii() {
        return Err(Reply::new(553, "5.6.7", "That address needs SMTPUTF8"));
    }
    Ok(Command::Mail { sender: from.address, bytes: from.size as u64, utf8 })
}

fn rcpt(to: RcptTo<String>) -> Result<Command, Reply> {
    let known = RcptTo { address: to.address.clone(), ..RcptTo::default() };
    if to != known {
        return Err(NOT_KNOWN);
    }
    Ok(Command::Rcpt { recipient: to.address })
}

fn refused(error: Error) -> Reply {
    match error {
        Error::UnknownCommand => UNKNOWN,
        Error::InvalidSenderAddress => Reply::new(501, "5.1.7", "That is no address of a sender"),
        Error::InvalidRecipientAddress => Reply::new(501, "5.1.3", "That is no address of a recipient"),
        Error::SyntaxError { syntax } => {
            Reply { code: 501, status: "5.5.4", text: format!("It is written {syntax}").into() }
        }
        Error::InvalidParameter { .. } => Reply::new(501, "5.5.4", "A parameter that cannot be read"),
        Error::UnsupportedParameter { .. } => NOT_KNOWN,
        Error::NeedsMoreData { .. } | Error::ResponseTooLong | Error::InvalidResponse { .. } => NOT_READABLE,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(_) => "fine".to_owned(),
            Err(Bad::Reply(reply)) => format!("{} {}", reply.code, reply.status),
            Err(Bad::Stranger) => "stranger".to_owned(),
        }
    }

    fn sender(line: &str) -> (String, u64, bool) {
        match parse(line.as_bytes()) {
            Ok(Command::Mail { sender, bytes, utf8 }) => (sender, bytes, utf8),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn senders_and_their_parameters() {
        assert_eq!(sender("mail from:<>"), (String::new(), 0, false));
        assert_eq!(sender("MAIL FROM: <a@x.org> SIZE=12 BODY=8BITMIME"), ("a@x.org".into(), 12, false));
        assert_eq!(sender("MAIL FROM:<\u{e9}@x> SMTPUTF8 AUTH=<>"), ("\u{e9}@x".into(), 0, true));
        assert_eq!(sender("MAIL FROM:<a@x> AUTH=e+3Dmc2@example.com").0, "a@x");
        assert_eq!(sender("MAIL FROM:<@r1,@r2:a@x.org>").0, "a@x.org");
        for (line, wanted) in [
            ("MAIL FROM:<a@x> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<a@x> RET=FULL", "555 5.5.4"),
            ("MAIL FROM:<a@x> REQUIRETLS", "555 5.5.4"),
            ("MAIL FROM:<a@x> FOO=1", "555 5.5.4"),
            ("MAIL FROM:<a@x> SIZE=x", "501 5.5.4"),
            ("MAIL FROM:<\u{e9}@x>", "553 5.6.7"),
            ("MAIL FROM:<a", "501 5.1.7"),
            ("MAIL FROM:a@x", "501 5.5.4"),
            ("MAIL FROM:<a@x", "501 5.5.4"),
            ("MAIL FROM:<a>", "501 5.1.7"),
            ("MAIL", "501 5.5.4"),
            ("RCPT TO:<a@x> NOTIFY=NEVER", "555 5.5.4"),
            ("RCPT TO:<>", "fine"),
            ("RCPT TO:<a@x> x", "555 5.5.4"),
            ("RCPT TO:<postmaster>", "fine"),
            ("RCPT TO:<a>", "501 5.1.3"),
        ] {
            assert_eq!(code(line), wanted, "{line}");
        }
    }

    #[test]
    fn other_commands() {
        for (line, wanted) in [
            ("EHLO [192.0.2.1]", "fine"),
            ("EHLO", "501 5.5.4"),
            ("DATA", "fine"),
            ("DATA x", "501 5.5.4"),
            ("STARTTLS now", "501 5.5.4"),
            ("QUIT ", "fine"),
            ("NOOP and so on", "fine"),
            ("BDAT 12 LAST", "fine"),
            ("BDAT 12 FIRST", "501 5.5.4"),
            ("BDAT x", "501 5.5.4"),
            ("BDAT -1", "501 5.5.4"),
            ("BDAT 999999999999999999999", "501 5.5.2"),
            ("BDAT 18446744073709551615", "501 5.5.2"),
            ("AUTH CRAM-MD5", "504 5.5.4"),
            ("AUTH PLAIN a b", "501 5.5.2"),
            ("AUTH", "501 5.5.4"),
            ("EXPN x", "502 5.5.1"),
            ("HALLO", "500 5.5.1"),
            ("", "500 5.5.1"),
            ("GET / HTTP/1.1", "stranger"),
            ("Subject: x", "stranger"),
            ("NOOP \u{0}", "501 5.5.2"),
            ("NOOP \u{7f}", "501 5.5.2"),
        ] {
            assert_eq!(code(line), wanted, "{line:?}");
        }
        assert_eq!(code(&format!("NOOP {}", "x".repeat(COMMAND_BYTES_MAX))), "500 5.5.6");
        assert_eq!(code(&format!("AUTH PLAIN {}", "x".repeat(COMMAND_BYTES_MAX))), "fine");
        let initial = |line: &str| match parse(line.as_bytes()) {
            Ok(Command::Auth { initial, .. }) => initial,
            other => panic!("{other:?}"),
        };
        assert_eq!(initial("AUTH scram-sha-256"), None);
        assert_eq!(initial("AUTH PLAIN ="), Some(b"=".to_vec()));
    }

    proptest! {
        #[test]
        fn any_line(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn any_parameters(line in "(MAIL FROM|RCPT TO|BDAT|AUTH|EHLO)[:]?( ?<[a@\"\\\\.,: ]{0,8}>)?( (SIZE|BODY|AUTH|BY|ENVID|HOLDFOR|HOLDUNTIL|MTRK|ORCPT|RRVS|TRANSID)=?[0-9+;:<>a-zT-]{0,24}){0,3}") {
            let _ = parse(line.as_bytes());
        }
    }
}
