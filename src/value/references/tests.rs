use super::*;
use crate::value::tests::{loaded, schema};

#[test]
fn secrets_that_cannot_be_read_are_found_wherever_they_are() {
    let document = loaded(
        "
destinations:
  a: { type: s3, bucket: b, secret_access_key: { env: UNSET } }
  b: { type: sftp, url: 'sftp://h/p', password: plain }
jobs:
  j:
    source:
      type: redis
      password: { env: SET }
      sentinel: { master: m, urls: [], password: { file: /no/such } }
",
        [],
    );
    let problems = unreadable_secrets(&document, &schema(), &Env::from([("SET", "x")]));
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "destinations.a.secret_access_key: environment variable `UNSET` is not set",
            "jobs.j.source.sentinel.password: cannot read `/no/such`: no such file",
        ]
    );
}
