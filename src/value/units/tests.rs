use std::time::Duration;

use proptest::prelude::*;
use schemars::schema_for;
use serde_json::json;

use super::*;

fn millis(text: &str) -> u64 {
    let duration: HumanDuration = text.parse().unwrap();
    u64::try_from(duration.0.as_millis()).unwrap()
}

fn duration_error(text: &str) -> String {
    text.parse::<HumanDuration>().unwrap_err().to_string()
}

fn bytes(text: &str) -> u64 {
    text.parse::<HumanSize>().unwrap().0
}

fn size_error(text: &str) -> String {
    text.parse::<HumanSize>().unwrap_err().to_string()
}

#[test]
fn durations_are_whole_numbers_with_units_longest_first() {
    assert_eq!(millis("90s"), 90_000);
    assert_eq!(millis("1h"), 3_600_000);
    assert_eq!(millis("1h30m"), 5_400_000);
    assert_eq!(millis("1h 30m"), 5_400_000);
    assert_eq!(millis(" 30d\n"), 30 * 86_400_000);
    assert_eq!(millis("2w"), 14 * 86_400_000);
    assert_eq!(millis("500ms"), 500);
    assert_eq!(millis("0"), 0);
    assert_eq!(millis("0s"), 0);
    assert_eq!(millis("36500d"), 36_500 * 86_400_000);
}

#[test]
fn a_duration_without_a_unit_is_an_error_with_the_unit_to_write() {
    assert_eq!(duration_error("30"), "`30` has no unit; write `30s`");
    assert_eq!(duration_error(" 90 "), "` 90 ` has no unit; write `90s`");
}

#[test]
fn a_duration_written_another_way_is_an_error_with_the_way_to_write_it() {
    for (text, advice) in [
        ("1hour30", "1h30m"),
        ("1 hour 30 minutes", "1h30m"),
        ("30m1h", "1h30m"),
        ("1h1h", "2h"),
        ("1H", "1h"),
        ("1.5h", "1h30m"),
        ("0.25 days", "6h"),
        ("PT1H30M", "1h30m"),
        ("1month", "30d"),
        ("1y", "365d"),
        ("2m30", "2m30s"),
    ] {
        assert_eq!(
            duration_error(text),
            format!("`{text}` is not a duration; write `{advice}`")
        );
    }
}

#[test]
fn text_that_is_no_duration_at_all_is_an_error_with_examples() {
    for text in [
        "", "soon", "-5s", "h", "1x", "1:30", "1h30x", "5ms1", "∞", "1é",
    ] {
        assert_eq!(
            duration_error(text),
            format!("`{text}` is not a duration; write it like `90s`, `1h30m` or `30d`")
        );
    }
}

#[test]
fn a_duration_beyond_a_hundred_years_is_too_long() {
    assert_eq!(
        duration_error("36501d"),
        "`36501d` is too long; the most is `36500d`"
    );
    assert_eq!(
        duration_error("200years"),
        "`200years` is too long; the most is `36500d`"
    );
    assert!(duration_error("99999999999999999999d").contains("not a duration"));
}

#[test]
fn durations_are_shown_in_days_and_shorter_units() {
    for (text, shown) in [
        ("2w", "14d"),
        ("90s", "1m30s"),
        ("36h", "1d12h"),
        ("0", "0s"),
    ] {
        assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), shown);
    }
    assert_eq!(
        HumanDuration(Duration::from_millis(1_500)).to_string(),
        "1s500ms"
    );
}

#[test]
fn sizes_are_whole_numbers_with_binary_or_decimal_units() {
    assert_eq!(bytes("64MiB"), 64 << 20);
    assert_eq!(bytes("64 MiB"), 64 << 20);
    assert_eq!(bytes("1GiB"), 1 << 30);
    assert_eq!(bytes("10MB"), 10_000_000);
    assert_eq!(bytes("512KiB"), 512 << 10);
    assert_eq!(bytes("1kB"), 1_000);
    assert_eq!(bytes("1024"), 1_024);
    assert_eq!(bytes("7B"), 7);
    assert_eq!(bytes("0"), 0);
}

#[test]
fn a_size_written_another_way_is_an_error_with_the_way_to_write_it() {
    for (text, advice) in [
        ("64M", "64MiB"),
        ("64m", "64MiB"),
        ("64Mi", "64MiB"),
        ("64mib", "64MiB"),
        ("64mb", "64MB"),
        ("1.5GiB", "1536MiB"),
        ("1t", "1TiB"),
        ("12 bytes", "12B"),
    ] {
        assert_eq!(
            size_error(text),
            format!("`{text}` is not a size; write `{advice}`")
        );
    }
}

#[test]
fn text_that_is_no_size_at_all_is_an_error_with_examples() {
    for text in ["", "big", "-1MiB", "MiB", "1xB", "1MiB/s", "1é", "1éb"] {
        assert_eq!(
            size_error(text),
            format!("`{text}` is not a size; write it like `64MiB`, `1GiB` or `10MB`")
        );
    }
    assert_eq!(size_error("99999999PiB"), "`99999999PiB` is too large");
    assert_eq!(
        size_error("99999999999999999999"),
        "`99999999999999999999` is too large"
    );
}

#[test]
fn sizes_are_shown_in_the_unit_with_the_smallest_number() {
    for text in ["64MiB", "10MB", "1GiB", "128GB", "1025B", "0", "1KiB"] {
        assert_eq!(text.parse::<HumanSize>().unwrap().to_string(), text);
    }
    assert_eq!(HumanSize(1_024_000).to_string(), "1000KiB");
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same(millis in 0..36_500 * 86_400_000_u64, size: u64) {
        let duration = HumanDuration(Duration::from_millis(millis));
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        prop_assert_eq!(HumanSize(size).to_string().parse(), Ok(HumanSize(size)));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[0-9.]{0,25} ?[a-zA-Zéµ]{0,4}[0-9]{0,3}\\PC{0,3}") {
        let _ = text.parse::<HumanDuration>();
        let _ = text.parse::<HumanSize>();
    }
}

#[test]
fn units_are_strings_in_documents_and_named_by_format_in_the_schema() {
    let duration: HumanDuration = serde_json::from_value(json!("90s")).unwrap();
    assert_eq!(serde_json::to_value(duration).unwrap(), json!("1m30s"));
    let size: HumanSize = serde_json::from_value(json!("64MiB")).unwrap();
    assert_eq!(serde_json::to_value(size).unwrap(), json!("64MiB"));
    assert!(serde_json::from_value::<HumanSize>(json!("64M")).is_err());

    let duration = schema_for!(HumanDuration);
    assert_eq!(
        (&duration.as_value()["type"], &duration.as_value()["format"]),
        (&json!("string"), &json!("duration"))
    );
    let size = schema_for!(HumanSize);
    assert_eq!(
        (&size.as_value()["type"], &size.as_value()["format"]),
        (&json!("string"), &json!("size"))
    );
}

#[test]
fn people_read_sizes_in_binary_units_with_one_decimal_below_ten() {
    for (bytes, shown) in [
        (0, "0 B"),
        (12, "12 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (482 << 20, "482 MiB"),
        (1 << 30, "1.0 GiB"),
        (3 << 29, "1.5 GiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (10 * (1 << 20) - 1, "10 MiB"),
        (20 << 40, "20 TiB"),
        (u64::MAX, "16384 PiB"),
    ] {
        assert_eq!(format_bytes(bytes), shown, "{bytes}");
    }
}

#[test]
fn people_read_ages_in_one_unit() {
    for (seconds, shown) in [
        (0, "0 s"),
        (12, "12 s"),
        (60, "1 min"),
        (19 * 60 + 59, "19 min"),
        (3_600, "1 h"),
        (4 * 3_600, "4 h"),
        (47 * 3_600, "47 h"),
        (48 * 3_600, "2 d"),
        (14 * 86_400, "14 d"),
    ] {
        assert_eq!(format_age(Duration::from_secs(seconds)), shown);
    }
}
