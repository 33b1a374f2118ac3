use std::fs;

use serde_json::json;

use super::*;

fn setting(value: serde_json::Value) -> SecretSetting {
    serde_json::from_value(value).unwrap()
}

fn from_file(content: &[u8]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, content).unwrap();
    let read = SecretSetting::File { file: file.clone() }.read(&Env::default());
    let name = file.to_string_lossy().into_owned();
    read.map(|secret| secret.expose().to_owned())
        .map_err(|error| error.replace(&name, "FILE"))
}

#[test]
fn a_secret_is_never_shown() {
    let secret = Secret::new("hunter2");
    assert_eq!(format!("{secret} {secret:?}"), "<redacted> <redacted>");
    assert_eq!(serde_json::to_value(&secret).unwrap(), "<redacted>");
    assert_eq!(secret.expose(), "hunter2");
    let plain = setting(json!("hunter2"));
    assert!(!format!("{plain:?}").contains("hunter2"));
    assert!(!format!("{:?}", Env::from([("A", "hunter2")])).contains("hunter2"));
}

#[test]
fn a_plain_secret_may_be_written_as_a_number_or_boolean() {
    for (value, text) in [
        (json!("x"), "x"),
        (json!(12345), "12345"),
        (json!(-1), "-1"),
        (json!(true), "true"),
    ] {
        assert_eq!(setting(value).read(&Env::default()).unwrap().expose(), text);
    }
    let yaml: SecretSetting = serde_yaml::from_str("12345").unwrap();
    assert_eq!(yaml.read(&Env::default()).unwrap().expose(), "12345");
}

#[test]
fn a_fraction_as_a_secret_is_refused_for_its_text_is_lost() {
    let error = serde_json::from_value::<SecretSetting>(json!(1.10))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "a secret that reads as a fraction must be in quotes");
}

#[test]
fn only_one_env_or_file_makes_a_reference_and_errors_keep_the_value_to_themselves() {
    assert_eq!(
        setting(json!({ "env": "X" })),
        SecretSetting::Env { env: "X".into() }
    );
    assert_eq!(
        setting(json!({ "file": "/x" })),
        SecretSetting::File { file: "/x".into() }
    );
    for value in [
        json!({}),
        json!({ "env": "A", "file": "hunter2" }),
        json!({ "env": "A", "hunter2": 1 }),
        json!({ "value": "hunter2" }),
        json!(["hunter2"]),
    ] {
        let error = serde_json::from_value::<SecretSetting>(value)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(
            error.contains("`{ env: NAME }` or `{ file: PATH }`"),
            "{error}"
        );
    }
}

#[test]
fn a_reference_is_shown_as_written_and_a_plain_value_is_not() {
    for (written, shown) in [
        (json!("hunter2"), json!("<redacted>")),
        (json!({ "env": "NAME" }), json!({ "env": "NAME" })),
        (
            json!({ "file": "/run/secret" }),
            json!({ "file": "/run/secret" }),
        ),
    ] {
        assert_eq!(serde_json::to_value(setting(written)).unwrap(), shown);
    }
}

#[test]
fn a_variable_is_read_when_asked_and_an_unset_or_empty_one_is_an_error() {
    let secret = setting(json!({ "env": "KEY" }));
    assert_eq!(
        secret.read(&Env::from([("KEY", "x\n")])).unwrap().expose(),
        "x\n"
    );
    let unset = secret.read(&Env::default()).unwrap_err();
    assert_eq!(unset, "environment variable `KEY` is not set");
    let empty = secret.read(&Env::from([("KEY", "")])).unwrap_err();
    assert_eq!(empty, "environment variable `KEY` is empty");
}

#[test]
fn a_file_loses_one_line_break_at_its_end_and_nothing_else() {
    assert_eq!(from_file(b"x").unwrap(), "x");
    assert_eq!(from_file(b"x\n").unwrap(), "x");
    assert_eq!(from_file(b"x\r\n").unwrap(), "x");
    assert_eq!(from_file(b" x \n\n").unwrap(), " x \n");
    assert_eq!(from_file(b"x\r").unwrap(), "x\r");
}

#[test]
fn a_file_is_read_again_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let secret = SecretSetting::File { file: file.clone() };
    for content in ["one", "two"] {
        fs::write(&file, content).unwrap();
        assert_eq!(secret.read(&Env::default()).unwrap().expose(), content);
    }
}

#[test]
fn a_file_that_gives_no_secret_is_an_error_with_its_path_and_the_reason() {
    assert_eq!(from_file(b"\n").unwrap_err(), "`FILE` is empty");
    assert_eq!(
        from_file(b"\xff").unwrap_err(),
        "cannot read `FILE`: it is not UTF-8 text"
    );
    let missing = SecretSetting::File {
        file: "/no/such/file".into(),
    };
    let error = missing.read(&Env::default()).unwrap_err();
    assert_eq!(error, "cannot read `/no/such/file`: no such file");
    let folder = SecretSetting::File { file: "/".into() };
    let error = folder.read(&Env::default()).unwrap_err();
    assert_eq!(error, "cannot read `/`: it is a directory");
}

#[test]
fn the_schema_marks_a_secret_by_its_format() {
    let schema = schemars::schema_for!(Option<SecretSetting>).to_value();
    assert_eq!(schema["$defs"]["Secret"]["format"], "secret");
}
