//! The values that fields can have, and how each is read.

use std::fmt;

use bytes::Bytes;

use super::{FieldError, Key, Message};
use crate::id::{GroupId, MemberId, ProcessId, SiteId, ViewId};

/// An integer from -2^63 to 2^64 - 1: whatever an `i64` or a `u64` can hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Integer(i128);

impl Integer {
    /// As an `i64`, if it fits.
    pub fn as_i64(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }

    /// As a `u64`, if it fits.
    pub fn as_u64(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl From<i64> for Integer {
    fn from(value: i64) -> Integer {
        Integer(value.into())
    }
}

impl From<u64> for Integer {
    fn from(value: u64) -> Integer {
        Integer(value.into())
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value of a type that the program made: a name for the type, and bytes whose meaning is the program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The type's name.
    pub type_name: String,
    /// The value.
    pub bytes: Bytes,
}

/// A type of the program's own that fields can have.
pub trait OwnField: Sized {
    /// The type's name in messages; readers know it by this.
    const NAME: &'static str;

    /// The value as bytes.
    fn to_bytes(&self) -> Bytes;

    /// The value again; an error says what is wrong with the bytes.
    fn from_bytes(bytes: &[u8]) -> Result<Self, String>;

    /// The value as a field's.
    fn to_value(&self) -> Value {
        Value::Own(Own { type_name: Self::NAME.to_owned(), bytes: self.to_bytes() })
    }
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bytes.
    Bytes(Bytes),
    /// An integer.
    Integer(Integer),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// The address of a site.
    Site(SiteId),
    /// The address of a process.
    Process(ProcessId),
    /// A member of a group.
    Member(MemberId),
    /// A group.
    Group(GroupId),
    /// A view.
    View(ViewId),
    /// Values in order, of any types.
    List(Vec<Value>),
    /// A message within the message.
    Message(Message),
    /// A value of the program's own type.
    Own(Own),
    /// A value of a type that this version does not know, encoded as it came.
    Unknown(Unknown),
}

/// A value of a type that this version does not know. It can only come from decoding; it is passed on as it
/// was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub(super) encoded: Bytes,
}

/// The type of a value, to say in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// Bytes.
    Bytes,
    /// An integer.
    Integer,
    /// A floating-point number.
    Float,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// The address of a site.
    Site,
    /// The address of a process.
    Process,
    /// A member of a group.
    Member,
    /// A group.
    Group,
    /// A view.
    View,
    /// Values in order.
    List,
    /// A message.
    Message,
    /// The program's own.
    Own,
    /// Unknown to this version.
    Unknown,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bytes => "bytes",
            Type::Integer => "an integer",
            Type::Float => "a float",
            Type::Bool => "a bool",
            Type::Text => "text",
            Type::Site => "a site",
            Type::Process => "a process",
            Type::Member => "a member",
            Type::Group => "a group",
            Type::View => "a view",
            Type::List => "a list",
            Type::Message => "a message",
            Type::Own => "of the program's own type",
            Type::Unknown => "of an unknown type",
        })
    }
}

impl Value {
    /// The value's type.
    pub fn value_type(&self) -> Type {
        match self {
            Value::Bytes(_) => Type::Bytes,
            Value::Integer(_) => Type::Integer,
            Value::Float(_) => Type::Float,
            Value::Bool(_) => Type::Bool,
            Value::Text(_) => Type::Text,
            Value::Site(_) => Type::Site,
            Value::Process(_) => Type::Process,
            Value::Member(_) => Type::Member,
            Value::Group(_) => Type::Group,
            Value::View(_) => Type::View,
            Value::List(_) => Type::List,
            Value::Message(_) => Type::Message,
            Value::Own(_) => Type::Own,
            Value::Unknown(_) => Type::Unknown,
        }
    }
}

/// A type that fields can be read as.
pub trait FromValue<'m>: Sized {
    /// Reads a value; `key` is for the error.
    fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError>;
}

fn wrong_type(key: &Key, wanted: Type, value: &Value) -> FieldError {
    FieldError::WrongType { key: key.clone(), wanted, found: value.value_type() }
}

macro_rules! both_ways {
    ($($variant:ident: $inner:ty;)*) => {$(
        impl From<$inner> for Value {
            fn from(value: $inner) -> Value {
                Value::$variant(value)
            }
        }

        impl<'m> FromValue<'m> for $inner {
            fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
                match value {
                    Value::$variant(inner) => Ok(inner.clone()),
                    other => Err(wrong_type(key, Type::$variant, other)),
                }
            }
        }

        impl<'m> FromValue<'m> for &'m $inner {
            fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
                match value {
                    Value::$variant(inner) => Ok(inner),
                    other => Err(wrong_type(key, Type::$variant, other)),
                }
            }
        }
    )*};
}

both_ways! {
    Bytes: Bytes;
    Integer: Integer;
    Float: f64;
    Bool: bool;
    Text: String;
    Site: SiteId;
    Process: ProcessId;
    Member: MemberId;
    Group: GroupId;
    View: ViewId;
    Message: Message;
    Own: Own;
}

macro_rules! integers {
    ($($inner:ty: $wide:ty, $narrow:ident;)*) => {$(
        impl From<$inner> for Value {
            fn from(value: $inner) -> Value {
                Value::Integer(Integer::from(<$wide>::from(value)))
            }
        }

        impl<'m> FromValue<'m> for $inner {
            fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
                let integer: Integer = FromValue::from_value(key, value)?;
                let narrow = integer.$narrow().and_then(|wide| wide.try_into().ok());
                narrow.ok_or_else(|| FieldError::OutOfRange { key: key.clone(), value: integer })
            }
        }
    )*};
}

integers! {
    i32: i64, as_i64;
    u32: u64, as_u64;
    i64: i64, as_i64;
    u64: u64, as_u64;
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

impl<'m> FromValue<'m> for &'m str {
    fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
        let text: &String = FromValue::from_value(key, value)?;
        Ok(text)
    }
}

impl<'m> FromValue<'m> for &'m [u8] {
    fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
        let bytes: &Bytes = FromValue::from_value(key, value)?;
        Ok(bytes)
    }
}

impl<'m> FromValue<'m> for &'m [Value] {
    fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
        match value {
            Value::List(values) => Ok(values),
            other => Err(wrong_type(key, Type::List, other)),
        }
    }
}

/// A list whose elements all have the type asked for.
impl<'m, T: FromValue<'m>> FromValue<'m> for Vec<T> {
    fn from_value(key: &Key, value: &'m Value) -> Result<Self, FieldError> {
        let values: &[Value] = FromValue::from_value(key, value)?;
        values.iter().map(|value| T::from_value(key, value)).collect()
    }
}
