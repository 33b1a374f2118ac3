//! The plan against a slow and obvious second opinion, on random series.

use super::*;

/// What stays, by brute force: each rule asks of each backup whether too many others come before
/// it.
fn oracle(
    backups: &[Candidate],
    policy: &Policy,
    zone: &TimeZone,
    now: Timestamp,
) -> BTreeSet<String> {
    let ahead = |c: &Candidate| c.captured_at > now + 5.minutes();
    let rank = |c: &Candidate| (c.captured_at, c.id.clone());
    let present: Vec<&Candidate> = backups.iter().filter(|c| !ahead(c)).collect();
    // A backup stands for its group if no other manifest of the group is newer.
    let heads: Vec<&Candidate> = present
        .iter()
        .copied()
        .filter(|c| {
            !present
                .iter()
                .any(|o| o.data_key == c.data_key && rank(o) > rank(c))
        })
        .collect();
    let verified = |head: &Candidate| {
        present
            .iter()
            .any(|c| c.data_key == head.data_key && c.verified)
    };
    let newest = heads.iter().map(|c| c.captured_at).max();
    let label = |c: &Candidate, format: &str| {
        c.captured_at
            .to_zoned(zone.clone())
            .strftime(format)
            .to_string()
    };
    let by_rule = |head: &Candidate| {
        let newer = heads.iter().filter(|o| rank(o) > rank(head)).count();
        let periods = [
            (policy.daily, "%Y-%m-%d"),
            (policy.weekly, "%G-%V"),
            (policy.monthly, "%Y-%m"),
            (policy.yearly, "%Y"),
        ];
        let first_of_period = |(count, format): (Option<u32>, &str)| {
            let own = label(head, format);
            let later: BTreeSet<_> = heads
                .iter()
                .map(|o| label(o, format))
                .filter(|l| *l > own)
                .collect();
            let beaten = heads
                .iter()
                .any(|o| label(o, format) == own && rank(o) > rank(head));
            !beaten && later.len() < count.unwrap_or(0) as usize
        };
        newer < policy.keep_last.unwrap_or(0) as usize
            || policy.keep_within.is_some_and(|span| {
                !span.is_zero() && newest.is_some_and(|n| clock::since(head.captured_at, n) <= span)
            })
            || periods.into_iter().any(first_of_period)
    };
    let newest_verified = present
        .iter()
        .filter(|c| c.verified)
        .max_by_key(|c| rank(c));
    let mut kept: BTreeSet<&str> = heads
        .iter()
        .filter(|head| {
            by_rule(head) || newest_verified.is_some_and(|c| c.data_key == head.data_key)
        })
        .map(|head| head.data_key.as_str())
        .collect();
    let floor = policy
        .keep_min
        .unwrap_or(policy.keep_last.map_or(2, |n| n.min(2)));
    while heads
        .iter()
        .filter(|h| verified(h) && kept.contains(h.data_key.as_str()))
        .count()
        < floor as usize
    {
        let others = heads
            .iter()
            .filter(|h| verified(h) && !kept.contains(h.data_key.as_str()));
        let Some(next) = others.max_by_key(|h| rank(h)) else {
            break;
        };
        kept.insert(&next.data_key);
    }
    let needed: BTreeSet<&str> = backups
        .iter()
        .filter(|c| ahead(c))
        .map(|c| c.data_key.as_str())
        .collect();
    backups
        .iter()
        .filter(|c| kept.contains(c.data_key.as_str()) || needed.contains(c.data_key.as_str()))
        .map(|c| c.id.clone())
        .collect()
}

/// Moments that meet often in one hour, day, week or year, and sometimes in one second; around
/// changes of clock and of year; some of them ahead of `NOW`.
fn moments() -> impl Strategy<Value = Timestamp> {
    let anchor = prop::sample::select(vec![
        "2026-11-21T02:00:00Z",
        "2026-11-01T00:00:00Z",
        "2026-10-25T00:30:00Z",
        "2026-03-29T00:30:00Z",
        "2025-12-31T23:00:00Z",
        "2021-01-03T22:00:00Z",
        "2010-11-07T02:30:30Z",
    ]);
    let step = prop::sample::select(vec![1_i64, 60, 3600, 43_200, 86_400, 864_000]);
    (anchor, step, -12..12_i64).prop_map(|(anchor, step, n)| at(anchor) + (n * step).seconds())
}

fn series() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (moments(), 0..60_u8, prop::bool::weighted(0.8));
    prop::collection::vec(one, 0..40).prop_map(|drawn| {
        let candidate = |(n, (captured_at, data, verified)): (usize, (_, u8, _))| Candidate {
            id: format!("{n:02}"),
            captured_at,
            data_key: format!("data/{data}"),
            verified,
        };
        drawn.into_iter().enumerate().map(candidate).collect()
    })
}

prop_compose! {
    fn policies()(
        counts in prop::array::uniform5(prop::option::of(0..5_u32)),
        hours in prop::option::of(prop::sample::select(vec![0_u64, 1, 24, 240, 9000])),
        keep_min in prop::option::of(0..6_u32),
    ) -> Policy {
        let [keep_last, daily, weekly, monthly, yearly] = counts;
        let keep_within = hours.map(Duration::from_hours);
        Policy { keep_last, keep_within, daily, weekly, monthly, yearly, keep_min }
    }
}

fn zones() -> impl Strategy<Value = TimeZone> {
    let names = [
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Pacific/Kiritimati",
        "America/New_York",
    ];
    prop::sample::select(names.map(zone).to_vec())
}

fn kept(plan: &Plan) -> BTreeSet<String> {
    plan.keep.iter().map(|kept| kept.id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_plan_is_what_brute_force_finds(
        backups in series(), policy in policies(), zone in zones(),
    ) {
        let plan = plan(&backups, &policy, &zone, at(NOW));
        if policy.problem().is_some() {
            prop_assert!(plan.refused.is_some() && plan.remove.is_empty());
        } else {
            prop_assert_eq!(&plan.refused, &None);
            prop_assert_eq!(kept(&plan), oracle(&backups, &policy, &zone, at(NOW)));
        }
    }

    #[test]
    fn every_manifest_is_in_one_list_with_a_reason_and_newest_first(
        backups in series(), policy in policies(), zone in zones(),
    ) {
        let plan = plan(&backups, &policy, &zone, at(NOW));
        let listed = |ids: Vec<&String>| -> Vec<_> {
            let of = |id: &String| backups.iter().find(|c| c.id == *id).map(|c| c.captured_at);
            ids.into_iter().map(|id| (of(id), id.clone())).collect()
        };
        let keep = listed(plan.keep.iter().map(|kept| &kept.id).collect());
        let remove = listed(plan.remove.iter().map(|gone| &gone.id).collect());
        prop_assert!(keep.is_sorted_by(|a, b| a > b) && remove.is_sorted_by(|a, b| a > b));
        let all: BTreeSet<_> = keep.iter().chain(&remove).map(|(_, id)| id).collect();
        prop_assert_eq!((all.len(), keep.len() + remove.len()), (backups.len(), backups.len()));
        prop_assert!(plan.keep.iter().all(|kept| !kept.reasons.is_empty()));
    }

    #[test]
    fn the_newest_verified_backup_never_goes(
        backups in series(), policy in policies(), zone in zones(),
    ) {
        let plan = plan(&backups, &policy, &zone, at(NOW));
        let credible = |c: &&Candidate| c.verified && c.captured_at <= at(NOW) + 5.minutes();
        if let Some(newest) = backups.iter().filter(credible).max_by_key(|c| (c.captured_at, &c.id)) {
            prop_assert!(kept(&plan).contains(&newest.id));
        }
    }

    #[test]
    fn nothing_dated_ahead_goes(backups in series(), policy in policies(), zone in zones()) {
        let plan = plan(&backups, &policy, &zone, at(NOW));
        let ahead = backups.iter().filter(|c| c.captured_at > at(NOW) + 5.minutes());
        let ahead: BTreeSet<_> = ahead.map(|c| c.id.clone()).collect();
        prop_assert!(ahead.is_subset(&kept(&plan)));
        prop_assert_eq!(ahead, plan.future.into_iter().collect());
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(
        (backups, shuffled) in series().prop_flat_map(|b| (Just(b.clone()), Just(b).prop_shuffle())),
        policy in policies(),
        zone in zones(),
    ) {
        prop_assert_eq!(
            plan(&backups, &policy, &zone, at(NOW)),
            plan(&shuffled, &policy, &zone, at(NOW))
        );
    }

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do(
        backups in series(), policy in policies(), zone in zones(),
    ) {
        let first = plan(&backups, &policy, &zone, at(NOW));
        let left: Vec<_> =
            backups.into_iter().filter(|c| kept(&first).contains(&c.id)).collect();
        let second = plan(&left, &policy, &zone, at(NOW));
        prop_assert_eq!(second.remove, vec![]);
    }

    /// The rules, that is: the floor fills up only what they leave open, so it may let one go that
    /// it held before. It never holds fewer in all.
    #[test]
    fn another_rule_never_removes_more(
        backups in series(), policy in policies(), more in policies(), zone in zones(),
    ) {
        let merged = Policy {
            keep_last: policy.keep_last.max(more.keep_last),
            keep_within: policy.keep_within.max(more.keep_within),
            daily: policy.daily.max(more.daily),
            weekly: policy.weekly.max(more.weekly),
            monthly: policy.monthly.max(more.monthly),
            yearly: policy.yearly.max(more.yearly),
            keep_min: policy.keep_min,
        };
        prop_assume!(policy.problem().is_none());
        let backups: Vec<_> =
            backups.into_iter().filter(|c| c.captured_at <= at(NOW) + 5.minutes()).collect();
        let kept = |policy: &Policy, keep_min| {
            kept(&plan(&backups, &Policy { keep_min, ..policy.clone() }, &zone, at(NOW)))
        };
        prop_assert!(kept(&policy, Some(0)).is_subset(&kept(&merged, Some(0))));
        let data = |ids: BTreeSet<String>| -> BTreeSet<_> {
            backups.iter().filter(|c| ids.contains(&c.id)).map(|c| &c.data_key).collect()
        };
        let floor = Some(policy.floor());
        prop_assert!(data(kept(&policy, floor)).len() <= data(kept(&merged, floor)).len());
    }
}

#[test]
fn ten_thousand_manifests_are_planned_in_no_time() {
    let backups: Vec<_> = (0..10_000_u32)
        .map(|n| Candidate {
            id: format!("{n:05}"),
            captured_at: at("2024-01-01T00:00:00Z") + (i64::from(n) * 15).minutes(),
            data_key: format!("data/{}", n / 3),
            verified: n % 7 != 0,
        })
        .collect();
    let policy = Policy {
        keep_last: Some(7),
        keep_within: Some(days(30)),
        daily: Some(7),
        weekly: Some(4),
        monthly: Some(12),
        yearly: Some(3),
        keep_min: Some(2),
    };
    let started = std::time::Instant::now();
    let plan = plan(&backups, &policy, &zone("Europe/Berlin"), at(NOW));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(plan.keep.len() + plan.remove.len(), backups.len());
    assert!(
        plan.keep.len() > 2880 && plan.keep.len() < 2950,
        "{}",
        plan.keep.len()
    );
}
