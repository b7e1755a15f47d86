//! Messages made of typed fields: what programs say to each other.
//!
//! A [`Message`] maps keys, names or numbers, to [`Value`]s. A reader asks for the fields it knows, each with
//! the type it expects; fields it does not know do not disturb it and stay in the message when it is passed
//! on. So a program can add a field without breaking older readers, and a program that learns of a new kind
//! of value tomorrow reads today's messages.
//!
//! ```
//! use wire::fields::Message;
//! use wire::SiteId;
//!
//! let question = Message::new().with("who", "cooper").with("week", 12u64).with("from", SiteId(3));
//! let bytes = question.encode()?;
//! let read = Message::decode(&bytes)?;
//! assert_eq!(read.get::<&str>("who")?, "cooper");
//! assert_eq!(read.get::<u64>("week")?, 12);
//! assert!(read.get::<&str>("week").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`mod@file`] writes messages to files and reads them back.

mod encoding;
pub mod file;
mod value;

use std::collections::BTreeMap;
use std::fmt;

pub use encoding::{DecodeError, EncodeError};
pub use value::{FromValue, Integer, Own, OwnField, Type, Value};

/// Messages within messages and lists within lists: at most so deep.
pub const DEPTH_MAX: usize = 32;
/// The longest encoding of a message.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The most values in a message, those in lists and nested messages counted: it bounds what a hostile message
/// can make its reader allocate beyond its own length. What is larger goes in as bytes.
pub const VALUES_MAX: usize = 1 << 16;

/// A field's key: a name, or a number for those who count bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A number.
    Number(u32),
    /// A name.
    Name(String),
}

impl From<&str> for Key {
    fn from(name: &str) -> Key {
        Key::Name(name.to_owned())
    }
}

impl From<String> for Key {
    fn from(name: String) -> Key {
        Key::Name(name)
    }
}

impl From<u32> for Key {
    fn from(number: u32) -> Key {
        Key::Number(number)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Number(number) => write!(f, "{number}"),
            Key::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// Why a field could not be read. The message is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The message has no such field.
    #[error("no field {0}")]
    Missing(Key),
    /// The field has another type.
    #[error("field {key} is {found}, not {wanted}")]
    WrongType {
        /// The field.
        key: Key,
        /// The type that was asked for.
        wanted: Type,
        /// The type it has.
        found: Type,
    },
    /// The field is an integer that the type asked for cannot hold.
    #[error("field {key} is the integer {value}: out of range")]
    OutOfRange {
        /// The field.
        key: Key,
        /// Its value.
        value: Integer,
    },
    /// The field has the program's own type asked for, or says so, but its bytes do not.
    #[error("field {key} is no good {type_name}: {why}")]
    BadOwn {
        /// The field.
        key: Key,
        /// The program's own type.
        type_name: String,
        /// What the type says.
        why: String,
    },
}

/// A message: fields by key. The order of fields has no meaning; a key stands once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    fields: BTreeMap<Key, Value>,
}

impl Message {
    /// A message without fields.
    pub fn new() -> Message {
        Message::default()
    }

    /// The message with this field, too; a field of the same key is replaced.
    #[must_use]
    pub fn with(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Message {
        self.set(key, value);
        self
    }

    /// Sets a field and returns what it replaced.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        self.fields.insert(key.into(), value.into())
    }

    /// Takes a field out.
    pub fn remove(&mut self, key: impl Into<Key>) -> Option<Value> {
        self.fields.remove(&key.into())
    }

    /// A field of the type asked for: `get::<&str>("who")`, `get::<u64>(3)`, `get::<Bytes>("body")` and so on.
    /// Byte strings come as slices of what was decoded; nothing is copied.
    pub fn get<'m, T: FromValue<'m>>(&'m self, key: impl Into<Key>) -> Result<T, FieldError> {
        let key = key.into();
        match self.fields.get(&key) {
            Some(value) => T::from_value(&key, value),
            None => Err(FieldError::Missing(key)),
        }
    }

    /// A field of the type asked for, if the message has it; a field of another type is still an error.
    pub fn find<'m, T: FromValue<'m>>(&'m self, key: impl Into<Key>) -> Result<Option<T>, FieldError> {
        match self.get(key) {
            Ok(value) => Ok(Some(value)),
            Err(FieldError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A field of the program's own type.
    pub fn get_own<T: OwnField>(&self, key: impl Into<Key>) -> Result<T, FieldError> {
        let key = key.into();
        let own: &Own = self.get(key.clone())?;
        let bad = |why| FieldError::BadOwn { key, type_name: T::NAME.to_owned(), why };
        if own.type_name != T::NAME {
            return Err(bad(format!("it is a {:?}", own.type_name)));
        }
        T::from_bytes(&own.bytes).map_err(bad)
    }

    /// The value under a key, whatever its type.
    pub fn value(&self, key: impl Into<Key>) -> Option<&Value> {
        self.fields.get(&key.into())
    }

    /// Every field, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.fields.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}
