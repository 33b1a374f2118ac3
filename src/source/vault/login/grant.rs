use std::time::{Duration, Instant};

use serde_json::Value;

use crate::value::Secret;

/// With less time left than this, a token is not begun with: a capture may ask more than once.
const MARGIN: Duration = Duration::from_mins(1);

/// A token that a login or a renewal gave us, and how long it is good.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub token: Secret,
    /// From just before it was asked for, so that our count ends no later than the server's.
    since: Instant,
    /// None: it does not end.
    lease: Option<Duration>,
    /// The lease the login gave, which a renewal near the token's maximum falls short of.
    full: Option<Duration>,
    renewable: bool,
    /// Not for one run only, as batch tokens and those with a number of uses are.
    lasting: bool,
}

/// What to do with a token before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Reuse,
    Renew,
    Login,
}

/// Why an answer of success holds no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoGrant {
    SecondFactor,
    Wrapped,
    NoToken,
}

impl Grant {
    /// The token in the answer to a request that was sent at `asked`.
    pub fn read(answer: &Value, asked: Instant) -> Result<Self, NoGrant> {
        let auth = &answer["auth"];
        let token = auth["client_token"].as_str().unwrap_or_default();
        if !auth["mfa_requirement"].is_null() {
            return Err(NoGrant::SecondFactor);
        }
        if !answer["wrap_info"].is_null() {
            return Err(NoGrant::Wrapped);
        }
        if !is_token(token) {
            return Err(NoGrant::NoToken);
        }
        let seconds = auth["lease_duration"].as_u64().filter(|lease| *lease > 0);
        let lease = seconds.map(Duration::from_secs);
        let uses = auth["num_uses"].as_i64().unwrap_or(0);
        Ok(Self {
            token: Secret::new(token),
            since: asked,
            lease,
            full: lease,
            renewable: auth["renewable"].as_bool().unwrap_or(false),
            lasting: uses == 0 && auth["token_type"] != "batch",
        })
    }

    pub fn next(&self, now: Instant) -> Next {
        if !self.lasting {
            return Next::Login;
        }
        let Some(lease) = self.lease else {
            return Next::Reuse;
        };
        let left = lease.saturating_sub(now.saturating_duration_since(self.since));
        if left >= MARGIN.max(lease / 3) {
            Next::Reuse
        } else if self.renewable && !left.is_zero() {
            Next::Renew
        } else {
            Next::Login
        }
    }

    /// The token after its renewal; nothing where the server gave so little that its maximum is
    /// near.
    pub fn renewed(&self, renewal: Self) -> Option<Self> {
        let enough = match (self.full, renewal.lease) {
            (Some(full), Some(lease)) => lease >= full / 2,
            _ => true,
        };
        enough.then_some(Self {
            full: self.full,
            ..renewal
        })
    }

    #[cfg(test)]
    pub fn age(&mut self, seconds: u64) {
        let earlier = self.since.checked_sub(Duration::from_secs(seconds));
        self.since = earlier.expect("the machine has been up for longer");
    }
}

/// Whether this can be a token: a header carries it, so there are neither blanks nor line breaks.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
