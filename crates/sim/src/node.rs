//! The production machine as a [`Host`]: a [`stack::Node`] and the words that the properties understand.
