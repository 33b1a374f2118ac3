use super::*;

#[test]
fn the_short_form_names_the_series_after_the_file() {
    let url = Url::parse("sqlite:///data/my%20app.db?check=quick").unwrap();
    let (settings, series) = settings_from_url(&url).unwrap();
    assert_eq!(series, "my app");
    assert_eq!(settings["path"], "/data/my app.db");
    assert_eq!(settings["check"], "quick");
}

#[test]
fn a_short_form_with_a_host_or_without_a_file_is_refused() {
    for url in ["sqlite://data/app.db", "sqlite:///", "sqlite:///data/"] {
        assert!(
            settings_from_url(&Url::parse(url).unwrap()).is_err(),
            "{url}"
        );
    }
}
