//! One log line a second for each address whose requests are refused, with the number of those in between.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::login_throttle::network;

const WINDOW: Duration = Duration::from_secs(1);

/// Most addresses that have lines of their own; the others share one.
const MAX_ADDRESSES: usize = 256;

/// By address, how many came since its last line. Addresses that are quiet for a second are forgotten.
#[derive(Clone)]
pub(super) struct RefusalLog {
    message: &'static str,
    open: Arc<Mutex<HashMap<Option<IpAddr>, u64>>>,
}

impl RefusalLog {
    pub(super) fn new(message: &'static str) -> Self {
        Self { message, open: Arc::default() }
    }

    pub(super) fn note(&self, address: Option<IpAddr>) {
        let mut address = address.map(network);
        {
            let mut open = self.open();
            if open.len() >= MAX_ADDRESSES && !open.contains_key(&address) {
                address = None;
            }
            if let Some(count) = open.get_mut(&address) {
                *count += 1;
                return;
            }
            open.insert(address, 0);
        }
        self.log(address, 1);
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(WINDOW).await;
                let Some(count) = this.take(address) else { return };
                this.log(address, count);
            }
        });
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many came since the last line; none, and the address is forgotten, if there were no more.
    fn take(&self, address: Option<IpAddr>) -> Option<u64> {
        let mut open = self.open();
        let count = std::mem::take(open.get_mut(&address)?);
        if count == 0 {
            open.remove(&address);
            return None;
        }
        Some(count)
    }

    fn log(&self, address: Option<IpAddr>, count: u64) {
        let address = address.map(tracing::field::display);
        tracing::warn!(address, count, "{}", self.message);
    }
}
