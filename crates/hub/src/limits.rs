//! Rate limits: token buckets, one for each endpoint that asks for it, and one for each address that posts what does not
//! verify.
//!
//! A verified sender meets only its endpoint's own limit (none by default). An address whose deliveries fail verification
//! uses up a small bucket; while it is empty the hub answers 429 without looking at the body, so that guessing signatures
//! or URLs costs the hub nothing. The table of addresses is bounded; IPv6 counts by /64, since that is what one host gets.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::Instant,
};

/// Addresses remembered at most; the fullest buckets are forgotten first, they carry the least information.
const MAX_ADDRESSES: usize = 65_536;

/// A token bucket.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full bucket of `burst` tokens that refills at `per_second`.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, state: Mutex::new((burst, Instant::now())) }
    }

    /// Takes a token; otherwise says how many seconds until there is one.
    pub fn take(&self, now: Instant) -> Result<(), u32> {
        let Ok(mut state) = self.state.lock() else { return Ok(()) };
        refill(&mut state, self.per_second, self.burst, now);
        if state.0 >= 1.0 {
            state.0 -= 1.0;
            return Ok(());
        }
        Err(((1.0 - state.0) / self.per_second).ceil().clamp(1.0, 3600.0) as u32)
    }
}

fn refill(state: &mut (f64, Instant), per_second: f64, burst: f64, now: Instant) {
    let elapsed = now.saturating_duration_since(state.1).as_secs_f64();
    *state = ((state.0 + elapsed * per_second).min(burst), now);
}

/// Buckets of addresses that posted what did not verify.
#[derive(Debug)]
pub struct Offenders {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Offenders {
    /// Each address may fail `burst` times at once and `per_second` on the long run.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Whether `address` may be listened to; otherwise in how many seconds.
    pub fn check(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        let Ok(mut buckets) = self.buckets.lock() else { return Ok(()) };
        let Some(state) = buckets.get_mut(&network(address)) else { return Ok(()) };
        refill(state, self.per_second, self.burst, now);
        if state.0 >= 1.0 { Ok(()) } else { Err(((1.0 - state.0) / self.per_second).ceil().clamp(1.0, 3600.0) as u32) }
    }

    /// Notes that a delivery from `address` did not verify.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let Ok(mut buckets) = self.buckets.lock() else { return };
        if buckets.len() >= MAX_ADDRESSES {
            let (per_second, burst) = (self.per_second, self.burst);
            buckets.retain(|_, state| {
                refill(state, per_second, burst, now);
                state.0 < burst / 2.0
            });
            if buckets.len() >= MAX_ADDRESSES {
                buckets.clear();
            }
        }
        let state = buckets.entry(network(address)).or_insert((self.burst, now));
        refill(state, self.per_second, self.burst, now);
        state.0 = (state.0 - 1.0).max(0.0);
    }
}

/// The network that counts as one sender: an IPv4 address, or an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let bucket = Bucket { state: Mutex::new((2.0, start)), ..Bucket::new(1.0, 2.0) };
        assert_eq!(bucket.take(start), Ok(()));
        assert_eq!(bucket.take(start), Ok(()));
        assert_eq!(bucket.take(start), Err(1));
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Ok(()));
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Err(1));
    }

    #[test]
    fn only_failures_use_up_an_address() {
        let offenders = Offenders::new(1.0, 3.0);
        let now = Instant::now();
        let (bad, good): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..3 {
            assert_eq!(offenders.check(bad, now), Ok(()));
            offenders.failed(bad, now);
        }
        assert_eq!(offenders.check(bad, now), Err(1));
        assert_eq!(offenders.check(good, now), Ok(()));
        assert_eq!(offenders.check(bad, now + Duration::from_secs(2)), Ok(()));
    }

    #[test]
    fn ipv6_counts_by_its_64() {
        let offenders = Offenders::new(1.0, 1.0);
        let now = Instant::now();
        offenders.failed("2001:db8::1".parse().unwrap(), now);
        assert!(offenders.check("2001:db8::2".parse().unwrap(), now).is_err());
        assert!(offenders.check("2001:db8:0:1::2".parse().unwrap(), now).is_ok());
        offenders.failed("192.0.2.7".parse().unwrap(), now);
        assert!(
            offenders.check("::ffff:192.0.2.7".parse().unwrap(), now).is_err(),
            "mapped addresses are the same host"
        );
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let offenders = Offenders::new(1.0, 10.0);
        let now = Instant::now();
        for n in 0..(MAX_ADDRESSES as u32 + 10) {
            offenders.failed(IpAddr::V4(n.into()), now);
        }
        assert!(offenders.buckets.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
