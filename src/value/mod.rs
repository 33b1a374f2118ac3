//! How settings are written, read, merged and checked: units, secrets, the YAML document with the
//! environment laid over it, and the copy that is safe to show.
//!
//! Nothing here knows an engine, a store or the configuration itself. What keys there are, and what
//! they hold, comes from a JSON Schema as schemars derives it; apart from the standard keywords it
//! reads the formats `duration`, `size`, `secret`, `name`, `series` and `url`.

mod document;
mod env;
mod redact;
mod references;
mod schema;
mod secret;
mod units;
mod variables;
mod words;

pub use document::{Problem, from_strings, load, load_over};
pub use env::Env;
pub use redact::{redact, redact_text};
pub use references::unreadable_secrets;
pub use secret::{Secret, SecretSetting};
pub use units::{HumanDuration, HumanSize, ParseUnitError, format_age, format_bytes};
pub use variables::variables;
pub use words::{closest, one_of, quote};

#[cfg(test)]
mod tests;
