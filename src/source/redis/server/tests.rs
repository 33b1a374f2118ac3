use super::*;

fn tcp_of(url: &str) -> (String, u16, bool) {
    match Server::parse(url).expect("it is a server's URL").address {
        Address::Tcp { host, port, tls } => (host, port, tls),
        Address::Unix(path) => panic!("{} is a socket", path.display()),
    }
}

#[test]
fn schemes_say_how_to_connect() {
    assert_eq!(tcp_of("redis://cache"), ("cache".into(), 6379, false));
    assert_eq!(
        tcp_of("valkey://cache:7000/"),
        ("cache".into(), 7000, false)
    );
    assert_eq!(
        tcp_of("rediss://10.0.0.7:6380"),
        ("10.0.0.7".into(), 6380, true)
    );
    assert_eq!(tcp_of("valkeys://[::1]:6380"), ("::1".into(), 6380, true));
    for url in [
        "unix:///run/my%20redis.sock",
        "redis+unix:///run/my%20redis.sock",
    ] {
        let server = Server::parse(url).expect("it is a socket's URL");
        assert_eq!(server.address, Address::Unix("/run/my redis.sock".into()));
    }
}

#[test]
fn a_database_and_a_protocol_are_accepted_and_not_used() {
    for url in [
        "redis://cache/3",
        "redis://cache/0?protocol=resp3",
        "redis://cache?db=2",
    ] {
        assert_eq!(tcp_of(url), ("cache".into(), 6379, false));
    }
}

#[test]
fn the_login_is_decoded() {
    let server = Server::parse("redis://a%40b:p%2Fw@cache").expect("it is a server's URL");
    assert_eq!(server.username.as_deref(), Some("a@b"));
    assert_eq!(server.password.expect("it has one").expose(), "p/w");
    let server = Server::parse("redis://:pw@cache").expect("it is a server's URL");
    assert_eq!(server.username, None);
}

#[test]
fn what_is_shown_is_the_place_alone() {
    let shown = |url| {
        Server::parse(url)
            .expect("it is a server's URL")
            .to_string()
    };
    assert_eq!(shown("redis://ann:hunter2@cache:7000/1"), "cache:7000");
    assert_eq!(shown("redis://:hunter2@[::1]"), "[::1]:6379");
    assert_eq!(shown("unix:///run/redis.sock"), "/run/redis.sock");
    let server = Server::parse("redis://ann:hunter2@cache").expect("it is a server's URL");
    assert!(!format!("{server:?}").contains("hunter2"));
}

#[test]
fn other_urls_are_refused_without_being_repeated() {
    let cases = [
        ("ann:hunter2@cache", "not a scheme"),
        ("//ann:hunter2@cache", "not a URL"),
        ("https://ann:hunter2@cache", "not a scheme"),
        ("redis://ann:hunter2@cache/data", "no database number"),
        ("redis://ann:hunter2@cache?data_dir=/data", "`data_dir`"),
        (
            "rediss://ann:hunter2@cache#insecure",
            "certificates are checked",
        ),
        ("redis:///hunter2", "names no host"),
        ("unix://hunter2", "names no socket"),
        ("unix:///", "names no socket"),
    ];
    for (url, words) in cases {
        let why = Server::parse(url).expect_err("it is no server's URL");
        assert!(why.contains(words), "{url}: {why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
}
