use std::time::Duration;

/// How long things may take, and how often they are tried. Not configurable: the defaults suit
/// slow links and loaded stores, the tests use shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct GcsLimits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// One attempt at a request without a large body, its answer included.
    pub request: Duration,
    /// The time an upload or a download may stand still.
    pub stall: Duration,
    /// The slowest upload that is waited for, in bytes per second.
    pub slowest: u64,
    /// How often a request is tried without any progress between.
    pub attempts: u32,
    /// The wait before the second attempt, at most; it doubles with each further one.
    pub backoff: Duration,
    /// The longest wait that a busy store may ask for.
    pub retry_after: Duration,
    /// Until credentials are found.
    pub credentials: Duration,
    /// How long an unused connection for control requests is trusted.
    pub idle: Duration,
    /// What is in flight when an upload is dropped gets this time to end by itself.
    pub wind_down: Duration,
    /// Until a failed upload is removed.
    pub clean_up: Duration,
}

impl Default for GcsLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            slowest: 32 << 10,
            attempts: 5,
            backoff: Duration::from_secs(1),
            retry_after: Duration::from_secs(30),
            credentials: Duration::from_secs(10),
            idle: Duration::from_secs(50),
            wind_down: Duration::from_secs(5),
            clean_up: Duration::from_mins(1),
        }
    }
}

impl GcsLimits {
    /// One attempt at sending `bytes`.
    pub(super) fn upload(&self, bytes: usize) -> Duration {
        self.request + Duration::from_secs(bytes as u64 / self.slowest.max(1))
    }
}
