use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How far one stream of bytes has come; written by the work, read by whoever draws it.
#[derive(Debug)]
pub struct Meter {
    /// What moves: a destination's name, or `verifying`.
    pub label: String,
    /// Bytes to come, as far as known; 0 if not.
    pub total: u64,
    done: AtomicU64,
}

impl Meter {
    /// Counts `bytes` more.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// The meters of the work at hand.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Vec<Arc<Meter>>>>);

impl Progress {
    /// Starts a meter, which runs until it is dropped by the work.
    pub fn start(&self, label: impl Into<String>, total: u64) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            label: label.into(),
            total,
            done: AtomicU64::new(0),
        });
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|meter| Arc::strong_count(meter) > 1);
        meters.push(Arc::clone(&meter));
        meter
    }

    /// The meters that run now.
    pub fn running(&self) -> Vec<Arc<Meter>> {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters
            .iter()
            .filter(|meter| Arc::strong_count(meter) > 1)
            .cloned()
            .collect()
    }
}
