//! What people learn of their configuration, from the real program.

use serde_json::json;

use crate::sandbox::{Ended, Sandbox, names};

fn check(sandbox: &Sandbox, yaml: &str) -> Ended {
    sandbox.write("config.yaml", yaml);
    sandbox.run(["config", "check"])
}

/// The mistakes found in a configuration, as `path what`.
fn mistakes(yaml: &str) -> Vec<String> {
    let ended = check(&Sandbox::new(), yaml);
    ended.code(2);
    assert_eq!(ended.stdout, "");
    let text = ended.stderr.trim_end();
    match text.split_once('\n') {
        Some((head, lines)) => {
            let lines: Vec<_> = lines.lines().map(squeeze).collect();
            let count = lines.len();
            assert_eq!(head, format!("error: config.yaml: has {count} mistakes"));
            lines
        }
        None => vec![squeeze(text.trim_start_matches("error: config.yaml: "))],
    }
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn three_mistakes_are_told_at_once_with_what_to_write() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "typo.yaml",
        "\
destinations:
  offsite: { type: s3, bucket: backups }
  nas: file:///backups
jobs:
  cache:
    source: { type: redis }
    schedule: { every: 1hour30 }
    retenton: { keep_last: 3 }
  app:
    source: { type: sqlite, path: /data/app.db }
    destinations: [nas, ofsite]
",
    );
    for command in ["run", "backup", "check", "status"] {
        let ended = sandbox.run([command, "--config", "typo.yaml"]);
        assert_eq!(
            ended.code(2).stderr,
            "error: typo.yaml: has 3 mistakes\n  \
             jobs.app.destinations[1]   no destination is called `ofsite`; there are `nas`, `offsite`\n  \
             jobs.cache.retenton        unknown key; did you mean `retention`?\n  \
             jobs.cache.schedule.every  `1hour30` is not a duration; write `1h30m`\n"
        );
        assert_eq!(ended.stdout, "", "{command}");
    }
    let ended = sandbox.run(["--json", "run", "--config", "typo.yaml"]);
    assert_eq!(ended.code(2).stderr, "");
    let error = &ended.document()["error"];
    assert_eq!(error["code"], 2);
    assert_eq!(error["what"], "typo.yaml");
    assert!(
        error["why"]
            .as_str()
            .unwrap()
            .contains("jobs.cache.retenton"),
        "{error}"
    );
}

#[test]
fn contradictions_are_found_wherever_they_are() {
    let job = |keys: &str| {
        mistakes(&format!(
            "destinations: {{ nas: 'file:///b' }}\njobs:\n  a:\n    source: {{ type: sqlite, path: /a.db }}\n    {keys}\n"
        ))
    };
    for (keys, said) in [
        (
            "schedule: { every: 1h, cron: '0 2 * * *' }",
            "jobs.a.schedule: has both `every` and `cron`; keep one",
        ),
        (
            "schedule: { cron: '61 * * * *' }",
            "jobs.a.schedule.cron: `61 * * * *` cannot be a schedule: `61` is not a valid minute (0-59)",
        ),
        (
            "schedule: { timezone: Mars/Base }",
            "jobs.a.schedule.timezone: `Mars/Base` is not a time zone; write an IANA name such as `Europe/Berlin`",
        ),
        (
            "schedule: { every: 5m, jitter: 5m }",
            "jobs.a.schedule.jitter: must be shorter than `every`",
        ),
        (
            "schedule: { jitter: 2h }",
            "jobs.a.schedule.jitter: must be shorter than `every`",
        ),
        (
            "schedule: { every: 500ms }",
            "jobs.a.schedule.every: must be at least `1s`",
        ),
        (
            "retention: { keep_last: 0 }",
            "jobs.a.retention: would keep nothing: every rule is zero; set at least one of `keep_last`, `keep_within`, `daily`, `weekly`, `monthly`, `yearly` above zero",
        ),
        (
            "retention: {}",
            "jobs.a.retention: names no rule; set at least one of `keep_last`, `keep_within`, `daily`, `weekly`, `monthly`, `yearly` above zero",
        ),
        (
            "destinations: []",
            "jobs.a.destinations: is empty; leave it out to use all",
        ),
        (
            "destinations: [nas, nas]",
            "jobs.a.destinations[1]: `nas` is named twice",
        ),
        (
            "destinations: [nsa]",
            "jobs.a.destinations[0]: no destination is called `nsa`; there is `nas`",
        ),
        (
            "seal: { compression: gzip, level: 12 }",
            "jobs.a.seal: gzip has the levels 1 to 9, not 12",
        ),
        (
            "seal: { level: 30 }",
            "jobs.a.seal.level: must be at most 19, not `30`",
        ),
        (
            "timeout: 90",
            "jobs.a.timeout: `90` has no unit; write `90s`",
        ),
        (
            "enabled: 'no'",
            "jobs.a.enabled: must be true or false, not `no`; write `false`",
        ),
        (
            "run_on: master",
            "jobs.a.run_on: must be one of `primary`, `replica`, `any`, `prefer_replica`, not `master`",
        ),
        (
            "series: ../x",
            "jobs.a.series: `../x` is not a name; use letters, digits, `_`, `.` and `-` and `{hostname}`, and do not begin with `.` or `-`",
        ),
    ] {
        assert_eq!(job(keys), [said], "{keys}");
    }
}

#[test]
fn a_mistake_in_one_part_hides_none_in_another() {
    let found = mistakes(
        "\
destinations:
  s3: { type: s3, bucket: a/b, concurrency: 99, access_key_id: k }
  url: s3://b?regoin=eu
  folder: /backups
  ftp: ftp://x
jobs:
  -d:
    source: { type: sqlit }
  a:
    source: { type: redis, url: 'http://x' }
    timeout: 90
    sched: {}
  b:
grace: 1 hour
",
    );
    for said in [
        "destinations.s3.bucket must be the name of a bucket, without slashes",
        "destinations.s3.concurrency must be at most 64, not `99`",
        "destinations.s3.secret_access_key is missing: `access_key_id` is set and needs it",
        "destinations.url `regoin` in the URL: unknown key; did you mean `region`?",
        "destinations.folder is not a URL; write `file:///backups`",
        "destinations.ftp `ftp:` is no destination; write `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`",
        "jobs.-d is not a name; use letters, digits, `-`, `_` and `.`, and begin with a letter, a digit or `_`",
        "jobs.-d.source.type must be one of `sqlite`, `redis`, `vault`, not `sqlit`; did you mean `sqlite`?",
        "jobs.a.source.url `http:` is not a scheme of Redis; write `redis://host:6379`, `rediss://host:6379` (TLS) or `unix:///path/to/redis.sock`",
        "jobs.a.timeout `90` has no unit; write `90s`",
        "jobs.a.sched unknown key; did you mean `schedule`?",
        "jobs.b missing key `source`",
        "grace `1 hour` is not a duration; write `1h`",
    ] {
        assert!(found.iter().any(|line| line == said), "{said}\n{found:#?}");
    }
    assert_eq!(found.len(), 13, "{found:#?}");
}

#[test]
fn two_jobs_cannot_share_a_series_in_one_destination() {
    let yaml = "\
destinations: { nas: 'file:///b', far: 'file:///f' }
jobs:
  a: { source: { type: sqlite, path: /a.db }, destinations: [nas] }
  b: { source: { type: sqlite, path: /b.db }, destinations: [nas, far], series: a }
";
    assert_eq!(
        mistakes(yaml),
        [
            "jobs.b: files its backups under `a` in `nas`, as `a` does; give it a `series` of its own"
        ]
    );
    check(&Sandbox::new(), &yaml.replace("[nas, far]", "[far]")).ok();
    check(
        &Sandbox::new(),
        &yaml.replace("series: a", "series: a, enabled: false"),
    )
    .ok();
}

#[test]
fn a_job_needs_a_destination() {
    assert_eq!(
        mistakes("jobs:\n  a: { source: { type: sqlite, path: /a.db } }\n"),
        ["jobs.a: has no destination; name one under `destinations`"]
    );
}

#[test]
fn a_job_with_a_source_and_nothing_else_is_complete() {
    let sandbox = Sandbox::new();
    sandbox.folder("backups");
    sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ nas: 'file://{0}/backups' }}\njobs:\n  app: {{ source: {{ type: sqlite, path: {0}/app.db }} }}\n",
            sandbox.root().display()
        ),
    );
    sandbox.run(["backup"]).ok();
    sandbox.run(["status"]).ok();
    let shown = sandbox.run(["config", "show", "--json"]).ok().document();
    assert_eq!(shown["jobs"]["app"]["schedule"]["timezone"], "UTC");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let sandbox = Sandbox::new();
    sandbox.folder("folder");
    sandbox.write("binary.yaml", [0xff, 0xfe, 0x00]);
    sandbox.write("list.yaml", "- a\n");
    sandbox.write("broken.yaml", "jobs:\n  a: [\n");
    sandbox.write("twice.yaml", "jobs: {}\njobs: {}\n");
    for (file, why) in [
        ("missing.yaml", "no such file or directory"),
        ("folder", "is a directory"),
        ("binary.yaml", "is not UTF-8 text"),
        ("list.yaml", "must be a map of keys, such as `jobs:`"),
        (
            "broken.yaml",
            "line 3, column 1: did not find expected node content, while parsing a flow node",
        ),
        ("twice.yaml", "jobs: is there twice; keep one"),
        (
            "/dev/zero",
            "is longer than 4.0 MiB, so it is no configuration",
        ),
    ] {
        let ended = sandbox.run(["config", "check", "--config", file]);
        assert_eq!(ended.code(2).stderr, format!("error: {file}: {why}\n"));
        let json = sandbox.run(["config", "check", "--json", "--config", file]);
        assert_eq!(json.code(2).document()["error"]["why"], why);
    }
}

#[test]
fn a_configuration_that_is_a_link_to_nothing_is_not_passed_over() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("..data/gone.yaml", sandbox.path("config.yaml")).unwrap();
    let ended = sandbox.run(["config", "check"]);
    assert_eq!(
        ended.code(2).stderr,
        "error: config.yaml: no such file or directory\n"
    );
}

#[test]
fn an_empty_file_is_sound_and_has_nothing_to_run() {
    let sandbox = Sandbox::new();
    sandbox.write("config.yaml", "");
    sandbox.run(["config", "check"]).ok();
    let ended = sandbox.run(["run"]);
    assert!(
        ended
            .code(2)
            .stderr
            .starts_with("error: configuration: has no job to run\nhint: "),
        "{ended:#?}"
    );
}

#[test]
fn checking_touches_neither_sources_nor_destinations() {
    let sandbox = Sandbox::new();
    let yaml = format!(
        "\
destinations:
  nas: file://{0}/not-there
  s3: {{ type: s3, bucket: b, endpoint: 'http://127.0.0.1:9', ca_cert: {0}/no.pem }}
jobs:
  app: {{ source: {{ type: sqlite, path: {0}/no.db }} }}
  cache: {{ source: {{ type: redis, url: 'redis://127.0.0.1:9', data_dir: {0}/no }} }}
",
        sandbox.root().display()
    );
    let ended = check(&sandbox, &yaml);
    assert_eq!(
        ended.ok().stdout,
        "ok  config.yaml, 2 jobs, 2 destinations\n"
    );
    assert_eq!(names(sandbox.root()), ["config.yaml"]);
    let document = sandbox.run(["config", "check", "--json"]).ok().document();
    assert_eq!(
        document,
        json!({ "file": "config.yaml", "jobs": 2, "destinations": 2 })
    );
}

#[test]
fn a_destination_given_as_url_is_checked_like_any_other() {
    let sandbox = Sandbox::new();
    for (url, said) in [
        (
            "s3://b?regoin=eu",
            "error: s3://b: regoin: unknown key; did you mean `region`?\n",
        ),
        (
            "s3://b?concurrency=99",
            "error: s3://b: concurrency: must be at most 64, not `99`\n",
        ),
        (
            "s3://b?part_size=1MiB",
            "error: s3://b: part_size: must be 5MiB to 5GiB\n",
        ),
        (
            "ftp://host/x",
            "error: ftp://host/x: `ftp:` is no destination; write `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`\n",
        ),
        (
            "nas",
            "error: destination: none is called `nas`\nhint: the configuration names none\n",
        ),
        (
            "/backups",
            "error: /backups: is neither the name of a destination nor a URL\nhint: a folder is written `file:///backups`\n",
        ),
    ] {
        let ended = sandbox.run(["list", "--destination", url]);
        assert_eq!(ended.code(2).stderr, said);
    }
}

#[test]
fn the_schema_describes_every_key() {
    fn undescribed(at: &serde_json::Value, path: &str, found: &mut Vec<String>) {
        for (key, property) in at["properties"].as_object().into_iter().flatten() {
            let here = format!("{path}.{key}");
            if property.get("const").is_none() && property["description"].as_str().is_none() {
                found.push(here.clone());
            }
            undescribed(property, &here, found);
        }
        for branch in ["oneOf", "anyOf"] {
            for choice in at[branch].as_array().into_iter().flatten() {
                undescribed(choice, path, found);
            }
        }
    }
    let schema = Sandbox::new().run(["config", "schema"]).ok().document();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let mut found = Vec::new();
    undescribed(&schema, "", &mut found);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        undescribed(definition, name, &mut found);
    }
    assert!(found.is_empty(), "no description: {found:#?}");
}
