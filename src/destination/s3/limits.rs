use std::time::Duration;

/// How long things may take, and how often they are tried. Not configurable: the defaults suit
/// slow links and loaded stores, the tests use shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct S3Limits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// One attempt at a request without a large body, its answer included.
    pub request: Duration,
    /// The time an upload or a download may stand still.
    pub stall: Duration,
    /// The slowest upload of a part that is waited for, in bytes per second.
    pub slowest: u64,
    /// One attempt at completing a multipart upload: stores may copy all its parts then.
    pub complete: Duration,
    /// How often a request is tried.
    pub attempts: u32,
    /// The wait before the second attempt, at most; it doubles with each further one.
    pub backoff: Duration,
    /// Until credentials are found.
    pub credentials: Duration,
    /// What is in flight when an upload fails or is dropped gets this time to end by itself.
    pub wind_down: Duration,
    /// Until a failed upload is removed.
    pub clean_up: Duration,
    /// Parts of one upload.
    pub parts: u64,
}

impl Default for S3Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            slowest: 32 << 10,
            complete: Duration::from_mins(5),
            attempts: 4,
            backoff: Duration::from_secs(1),
            credentials: Duration::from_secs(10),
            wind_down: Duration::from_secs(5),
            clean_up: Duration::from_mins(1),
            parts: 10_000,
        }
    }
}

impl S3Limits {
    /// One attempt at sending `bytes`.
    pub(super) fn upload(&self, bytes: usize) -> Duration {
        self.request + Duration::from_secs(bytes as u64 / self.slowest.max(1))
    }
}
