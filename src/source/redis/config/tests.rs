use serde_json::{Value, json};

use super::*;
use crate::source::SourceConfig;

fn config(settings: Value) -> RedisConfig {
    serde_json::from_value(settings).expect("the settings can be read")
}

fn contradictions(settings: Value) -> Vec<(&'static str, String)> {
    config(settings).contradictions()
}

#[test]
fn every_key_has_a_default() {
    let config = config(json!({}));
    assert_eq!(config.url.to_string(), "redis://localhost:6379");
    assert_eq!(config.dump(), PathBuf::from("/data/dump.rdb"));
    assert_eq!(config.mode, Mode::File);
    assert!(config.contradictions().is_empty());
}

#[test]
fn unknown_keys_are_refused() {
    for settings in [json!({ "ur": "redis://a" }), json!({ "mode": "stream" })] {
        serde_json::from_value::<RedisConfig>(settings).expect_err("there is no such setting");
    }
    let typed = json!({ "type": "redis", "data_dirs": "/data" });
    serde_json::from_value::<SourceConfig>(typed).expect_err("there is no such key");
}

#[test]
fn the_reference_shows_the_defaults_and_hides_what_is_secret() {
    let schema = schemars::schema_for!(RedisConfig).to_value();
    let properties = schema["properties"].as_object().expect("a block has keys");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(properties["url"]["default"], "redis://localhost:6379");
    assert_eq!(properties["url"]["format"], "uri");
    assert_eq!(properties["data_dir"]["default"], "/data");
    for (key, property) in properties {
        assert!(
            property["description"].is_string(),
            "{key} is not described"
        );
    }
    assert!(schema.to_string().contains(r#""format":"secret""#));
}

#[test]
fn a_password_in_the_url_is_never_shown() {
    let config =
        config(json!({ "url": "rediss://ann:hunter2@cache:6380/0", "password": "hunter2" }));
    let shown = format!("{config:?} {} {}", config.url, json!(config));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("cache:6380"), "{shown}");
}

#[test]
fn contradictions_name_their_key() {
    let cases = [
        (
            json!({ "url": "http://localhost" }),
            "url",
            "not a scheme of Redis",
        ),
        (
            json!({ "dump_filename": "../dump.rdb" }),
            "dump_filename",
            "`data_dir`",
        ),
        (
            json!({ "dump_filename": "" }),
            "dump_filename",
            "not a file name",
        ),
        (
            json!({ "dump_filename": ".." }),
            "dump_filename",
            "not a file name",
        ),
        (json!({ "ca_cert": "/ca.pem" }), "ca_cert", "rediss://"),
        (
            json!({ "url": "unix:///s", "tls_server_name": "x" }),
            "tls_server_name",
            "rediss://",
        ),
        (
            json!({ "url": "rediss://a", "client_cert": "/c" }),
            "client_cert",
            "client_key",
        ),
        (
            json!({ "url": "rediss://a", "client_key": "/k" }),
            "client_key",
            "client_cert",
        ),
    ];
    for (settings, key, words) in cases {
        let found = contradictions(settings);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, key, "{found:?}");
        assert!(found[0].1.contains(words), "{found:?}");
    }
    let sound = json!({ "url": "rediss://a", "client_cert": "/c", "client_key": "/k" });
    assert!(contradictions(sound).is_empty());
    let many = json!({ "dump_filename": "a/b", "ca_cert": "/ca", "tls_server_name": "x" });
    let keys: Vec<_> = contradictions(many)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["dump_filename", "ca_cert", "tls_server_name"]);
}

#[test]
fn the_short_form_takes_settings_from_its_query() {
    let url = "redis://ann:a%20b@cache:7000?data_dir=/srv/my%20data&max_age=2h";
    let url = Url::parse(url).expect("it is a URL");
    let (settings, series) = settings_from_url(&url).expect("it is a source");
    assert_eq!(series, "redis");
    assert_eq!(settings["url"], "redis://ann:a%20b@cache:7000");
    assert_eq!(settings["max_age"], "2h");
    let SourceConfig::Redis(config) = serde_json::from_value(settings).expect("settings are sound")
    else {
        panic!("the type is redis")
    };
    assert_eq!(config.dump(), PathBuf::from("/srv/my data/dump.rdb"));
    assert_eq!(
        config
            .server()
            .expect("it is a URL")
            .password
            .expect("it has one")
            .expose(),
        "a b"
    );
}

#[test]
fn a_short_form_that_cannot_be_meant_is_refused() {
    for url in [
        "redis:///",
        "redis://a?data_dir=/a&data_dir=/b",
        "redis://a?type=sqlite",
    ] {
        let url = Url::parse(url).expect("it is a URL");
        settings_from_url(&url).expect_err("it cannot be meant");
    }
}
