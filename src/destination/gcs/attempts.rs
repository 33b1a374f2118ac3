use std::time::Duration;

use super::bucket::Bucket;
use super::error::{Cause, Failure};

/// The attempts at one thing: how many are left, and the wait before the next.
pub(super) struct Attempts<'a> {
    bucket: &'a Bucket,
    failed: u32,
    renewed: bool,
}

impl<'a> Attempts<'a> {
    pub fn new(bucket: &'a Bucket) -> Self {
        Self {
            bucket,
            failed: 0,
            renewed: false,
        }
    }

    /// There was progress: the count begins anew.
    pub fn progress(&mut self) {
        self.failed = 0;
        self.renewed = false;
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// The failure itself, when another attempt makes no sense or there have been enough.
    pub async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        let (clients, limits) = (&self.bucket.clients, &self.bucket.limits);
        if failure.is_refused_login() && !self.renewed && !clients.login.is_anonymous() {
            self.renewed = true;
            clients.login.renew().await;
            return Ok(());
        }
        self.failed += 1;
        if !failure.is_passing() || self.failed >= limits.attempts {
            return Err(failure);
        }
        if matches!(failure.cause, Cause::Timeout | Cause::Connection) {
            clients.forget_control().await;
        }
        let grown = limits.backoff * 2_u32.saturating_pow(self.failed - 1);
        let jitter = rand::random_range(0.5..=1.0);
        let asked = failure.retry_after.unwrap_or(Duration::ZERO);
        let wait = grown.mul_f64(jitter).max(asked.min(limits.retry_after));
        tracing::debug!(bucket = %self.bucket.name, ?failure, ?wait, "a request is tried again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

impl Bucket {
    /// The first success of `attempt`, each of which is given the time of a small request.
    pub async fn retried<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut attempts = Attempts::new(self);
        loop {
            let limited = tokio::time::timeout(self.limits.request, attempt()).await;
            match limited.unwrap_or_else(|_| Err(Failure::timeout())) {
                Ok(done) => return Ok(done),
                Err(failure) => attempts.after(failure).await?,
            }
        }
    }
}
