use serde_json::json;

use super::*;

fn grant(lease: u64, renewable: bool) -> (Grant, Instant) {
    let asked = Instant::now();
    let auth = json!({ "client_token": "hvs.x", "lease_duration": lease, "renewable": renewable });
    let grant = Grant::read(&json!({ "auth": auth }), asked).expect("a token was given");
    (grant, asked)
}

fn after(lease: u64, renewable: bool, seconds: u64) -> Next {
    let (grant, asked) = grant(lease, renewable);
    grant.next(asked + Duration::from_secs(seconds))
}

#[test]
fn a_token_is_reused_for_two_thirds_of_its_lease() {
    assert_eq!(after(3600, true, 0), Next::Reuse);
    assert_eq!(after(3600, true, 2400), Next::Reuse);
    assert_eq!(after(3600, true, 2401), Next::Renew);
    assert_eq!(after(3600, true, 3599), Next::Renew);
    assert_eq!(after(3600, true, 3600), Next::Login);
    assert_eq!(after(3600, true, 1_000_000), Next::Login);
}

#[test]
fn what_cannot_be_renewed_is_replaced() {
    assert_eq!(after(3600, false, 2400), Next::Reuse);
    assert_eq!(after(3600, false, 2401), Next::Login);
}

#[test]
fn no_run_begins_with_less_than_a_minute_left() {
    assert_eq!(after(120, true, 60), Next::Reuse);
    assert_eq!(after(120, true, 61), Next::Renew);
    assert_eq!(after(120, false, 61), Next::Login);
    assert_eq!(after(60, true, 0), Next::Reuse);
    assert_eq!(after(60, true, 1), Next::Renew);
    assert_eq!(after(30, false, 0), Next::Login);
}

#[test]
fn a_lease_of_zero_does_not_end() {
    assert_eq!(after(0, false, 0), Next::Reuse);
    assert_eq!(after(0, false, 100 * 365 * 86_400), Next::Reuse);
}

#[test]
fn a_clock_read_before_the_login_counts_as_no_time() {
    let (grant, asked) = grant(3600, true);
    let earlier = asked.checked_sub(Duration::from_millis(1));
    assert_eq!(grant.next(earlier.unwrap_or(asked)), Next::Reuse);
}

#[test]
fn tokens_for_one_run_are_not_kept() {
    let auths = [
        json!({ "client_token": "hvb.x", "lease_duration": 3600, "token_type": "batch" }),
        json!({ "client_token": "hvs.x", "lease_duration": 3600, "num_uses": 3 }),
        json!({ "client_token": "hvs.x", "lease_duration": 0, "num_uses": 1, "renewable": true }),
    ];
    for auth in auths {
        let asked = Instant::now();
        let grant = Grant::read(&json!({ "auth": auth }), asked).expect("a token was given");
        assert_eq!(grant.next(asked), Next::Login, "{auth}");
    }
}

#[test]
fn a_renewal_counts_from_its_own_time() {
    let (first, asked) = grant(3600, true);
    let (mut second, _) = grant(3600, true);
    second.since = asked + Duration::from_mins(50);
    let renewed = first.renewed(second).expect("it gave the whole lease");
    let at = |seconds| renewed.next(asked + Duration::from_secs(seconds));
    assert_eq!(at(5400), Next::Reuse);
    assert_eq!(at(5401), Next::Renew);
}

#[test]
fn a_renewal_that_gives_less_than_half_the_first_lease_is_not_taken() {
    let (first, _) = grant(3600, true);
    assert!(first.renewed(grant(1799, true).0).is_none());
    let half = first.renewed(grant(1800, true).0).expect("half is enough");
    // Measured by the login's lease, not by the last renewal's.
    assert!(half.renewed(grant(900, true).0).is_none());
    assert!(half.renewed(grant(0, true).0).is_some());
}

#[test]
fn answers_without_a_token_say_why() {
    let cases = [
        (json!({ "auth": null }), NoGrant::NoToken),
        (json!({ "auth": { "client_token": "" } }), NoGrant::NoToken),
        (
            json!({ "auth": { "client_token": "a\nb" } }),
            NoGrant::NoToken,
        ),
        (json!(null), NoGrant::NoToken),
        (json!(["html"]), NoGrant::NoToken),
        (
            json!({ "auth": null, "wrap_info": { "token": "hvs.w" } }),
            NoGrant::Wrapped,
        ),
        (
            json!({ "auth": { "client_token": "", "mfa_requirement": { "mfa_request_id": "1" } } }),
            NoGrant::SecondFactor,
        ),
    ];
    for (answer, why) in cases {
        let read = Grant::read(&answer, Instant::now()).map(|_| ());
        assert_eq!(read, Err(why), "{answer}");
    }
}
