//! Who somebody is: passwords, application passwords, and how often one may guess. Pure: time comes in as an
//! argument, and so does chance. `docs/smtp.md` says what is promised and every bound.
//!
//! Keep one [`Logins`] for a site and one [`Exchange`] for each connection; the requests `Authenticate` and `Sasl` of
//! every protocol machine are answered from them.

pub mod limits;
mod logins;
mod password;
mod rates;
mod recent;
mod scram;
#[cfg(test)]
mod tests;
mod throttle;

pub use logins::{Check, Checked, Logins, Password, credentials};
pub(crate) use password::named;
pub use password::{BadPassword, app_password, hash_password};
pub use rates::Rates;
pub(crate) use recent::Recent;
pub use scram::Exchange;
